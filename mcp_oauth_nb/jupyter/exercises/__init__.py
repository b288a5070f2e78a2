"""Checks for the notebooks' exercises: each looks at an answer and says what is still missing.

    answer = ...                       # the learner's
    nb03.check_verifier(answer)        # "Not yet: ..." until it is right; it never raises

One module for each notebook; the solutions are in `notebooks/solutions`, and a test runs them.
"""

from .verdict import Verdict, checked, not_yet, right

__all__ = ["Verdict", "checked", "not_yet", "right"]
