"""What went over the wire: recorders, messages, sequence diagrams.

Main names: `recorder.Trace`, `messages.Exchange`, `diagram.Diagram`. It imports `oauth`. All its modules are public.
"""
