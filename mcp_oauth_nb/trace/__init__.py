"""What went over the wire: recorders, messages, sequence diagrams.

Main names: `recorder.Trace`, `messages.Exchange`, `diagram.Diagram`. It imports `oauth` and `runtime`. Public:
`recorder`, `messages`, `diagram`, `diff`, `http`, `httpx2`, `frames`, `token_family`.
"""
