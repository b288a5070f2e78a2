"""The door to `jupyter.exercises`: the path that the notebooks name."""

from __future__ import annotations

import importlib
from types import ModuleType


def __getattr__(name: str) -> ModuleType:
    if not (name.startswith("nb") and name[2:].isdigit()):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f".jupyter.exercises.{name}", __package__)
