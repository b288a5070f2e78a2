"""One requirement, held against what was seen: passed, failed, a warning, or not applicable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Outcome = Literal["passed", "failed", "warning", "not applicable"]

#: A sign beside each word, so that no colour has to be told apart.
SIGNS: dict[Outcome, str] = {"passed": "✔", "failed": "✘", "warning": "!", "not applicable": "–"}


@dataclass(frozen=True)
class Check:
    """What a requirement came to.

    Attributes:
        name: the requirement in a few words.
        outcome: what it came to.
        message: what was seen, without secrets.
        should: what the server (or client) should have sent instead; empty unless failed or warned of.
        reference: the section that asks for it.
    """

    name: str
    outcome: Outcome
    message: str = ""
    should: str = ""
    reference: str = ""

    def __str__(self) -> str:
        parts = [
            f"{SIGNS[self.outcome]} {self.name}",
            self.message,
            f"It should be: {self.should}" if self.should else "",
        ]
        text = ". ".join(part.removesuffix(".") for part in parts if part)
        return f"{text} ({self.reference})" if self.reference else text
