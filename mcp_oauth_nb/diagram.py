"""A sequence of messages as a diagram: text for terminals, Mermaid for documents, SVG for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .wire import Message


@dataclass(frozen=True, repr=False)
class Diagram:
    messages: Sequence[Message]
