"""How URLs and JSON are laid out for a person: one parameter to a line, and no line break that does not help."""

from __future__ import annotations

import json
from typing import Any

#: The width that notebooks and terminals show without a scroll bar.
WIDTH = 96

# Servers and browsers take hardly any longer address, and nobody copies one.
_LONGEST_URL = 8_000
_BEGINNING = 200


def url_lines(url: str) -> list[str]:
    """Split a URL before each parameter of its query: joined again, the lines are the URL."""
    address, question, query = url.partition("?")
    if not question:
        return [url]
    first, *others = query.split("&")
    return [address, f"?{first}", *(f"&{parameter}" for parameter in others)]


def shown_url(url: str) -> str:
    """Return a URL as it is shown to whoever is to open it: a server chooses how long it is."""
    if len(url) <= _LONGEST_URL:
        return url
    return f"{url[:_BEGINNING]}… ({len(url):,} characters, too many to be copied)"


def json_text(value: Any, width: int = WIDTH) -> str:
    """Write JSON like `json.dumps(value, indent=2)`, but keep on one line what fits there."""
    return _json(value, width, "")


def _json(value: Any, width: int, indent: str) -> str:
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or not value or len(indent) + len(line) <= width:
        return line
    deeper = indent + "  "
    if isinstance(value, list):
        items = [_json(item, width, deeper) for item in value]
        opening, closing = "[", "]"
    else:
        names = {key: json.dumps(str(key), ensure_ascii=False) for key in value}
        items = [f"{names[key]}: {_json(item, width - len(names[key]) - 2, deeper)}" for key, item in value.items()]
        opening, closing = "{", "}"
    return f"{opening}\n{deeper}" + f",\n{deeper}".join(items) + f"\n{indent}{closing}"
