"""The text of a `.env` file that reads back as it was meant: python-dotenv has quotes, comments and `${...}`."""

from __future__ import annotations

import re
from collections.abc import Mapping

# Read back as they are without quotes.
_PLAIN = re.compile(r"[A-Za-z0-9_\-./:,@+%]*")


def write(values: Mapping[str, str]) -> str:
    """Write variables, one to a line.

    Args:
        values: by their names; an empty one gives `NAME=`, which counts as not set.
    """
    return "".join(f"{name}={quoted(value)}\n" for name, value in values.items())


def quoted(value: str) -> str:
    """Write a value so that python-dotenv reads the same."""
    if _PLAIN.fullmatch(value):
        return value
    text = value.replace("\\", "\\\\").replace("'", "\\'")
    # `${NAME}` is replaced even within single quotes, but a name that is nobody's may have a default.
    return "'" + text.replace("${", "${:-$}{") + "'"
