"""What the search for secrets is to find, by definition."""

from __future__ import annotations

from mcp_oauth_nb.oauth.secret_index import SHORTEST_PIECE, Index


def index_of(forms: list[str], *more: str) -> Index:
    index = Index()
    index.add({form: [form] for form in forms})
    for form in more:
        index.add({form: [form]})
    return index


def plainly(text: str, forms: list[str]) -> list[tuple[int, str]]:
    """By definition: from left to right, at each place the longest."""
    found, at = [], 0
    while at < len(text):
        longest = max((form for form in forms if text.startswith(form, at)), key=len, default=None)
        if longest is not None:
            found.append((at, longest))
        at += len(longest) if longest is not None else 1
    return found


def piece_before(text: str, forms: list[str]) -> str:
    """By definition: the longest end of a text with which a form begins."""
    ends = (text[at:] for at in range(len(text) - SHORTEST_PIECE + 1))
    return next((end for end in ends if any(form.startswith(end) for form in forms)), "")
