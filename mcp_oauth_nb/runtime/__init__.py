"""What async code needs in a notebook: one loop thread, a kernel that shows honest errors, a call that many share.

Main names: `loops.run`, `loops.on`, `single_flight.SingleFlight`. It imports `oauth`. Public is all but `wakeup`, which
is a part of `kernel`.
"""
