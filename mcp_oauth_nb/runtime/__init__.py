"""What makes async code safe in a notebook: one loop thread, a kernel that shows honest errors, one flight for many.

Main names: `loops.run`, `loops.on`, `single_flight.SingleFlight`. It imports `oauth`. Public is all but `wakeup`, which
is a part of `kernel`.
"""
