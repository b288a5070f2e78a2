"""Shared by all programs here: one loop thread, a kernel that shows honest errors, one call for many, people's pages.

Main names: `loops.run`, `single_flight.SingleFlight`, `pages.page`. It imports `oauth`. All its modules are public.
"""
