"""How a secret looks in what others write: in a literal of Python or JSON, in HTML, in a URL."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote

# Looks the same wherever it is written.
_ORDINARY = re.compile(r"[A-Za-z0-9._-]+")
# A state is as long and as odd as its sender likes, and may have a hundred forms. A longer one has two.
_LONGEST = 256

_ESCAPED = re.compile("%[0-9A-F]{2}")
# What is not escaped in a URL, beside letters and digits: by Python in a path; by a browser's encodeURIComponent; where
# a URL is taken as somebody wrote it.
_SAFE = ("/", "!'()*", "!$%&'()*+,/:;=?@[\\]^`{|}")


def forms(secret: str) -> frozenset[str]:
    """Return every form of a secret in which it is searched for: one, if it has no character that anybody escapes."""
    if _ORDINARY.fullmatch(secret):
        return frozenset({secret})
    if len(secret) > _LONGEST:
        return frozenset({secret, _quoted(secret)})
    literals = frozenset({secret, *_literals(secret)})
    # A literal in a literal, such as the repr of JSON; a literal in HTML.
    return literals.union(_each(_literals, literals), _each(_in_html, literals), _in_urls(secret))


def _each(write: Callable[[str], Iterator[str]], texts: Iterable[str]) -> Iterator[str]:
    return (written for text in texts for written in write(text))


def _literals(text: str) -> Iterator[str]:
    # Behind a double quote Python writes literals in single quotes, and escapes those. In double quotes it does not.
    for literal in (
        repr(f'"{text}')[2:-1],
        ascii(f'"{text}')[2:-1],
        repr(f'"{text}'.encode("utf-8", "surrogatepass"))[3:-1],
    ):
        yield literal
        yield literal.replace(r"\'", "'")
    yield json.dumps(text)[1:-1]
    yield json.dumps(text, ensure_ascii=False)[1:-1]


def _in_html(text: str) -> Iterator[str]:
    yield html.escape(text, quote=False)
    escaped = html.escape(text)
    yield escaped
    # As Jinja writes quotes.
    yield escaped.replace("&quot;", "&#34;").replace("&#x27;", "&#39;")


def _in_urls(text: str) -> Iterator[str]:
    quoted = _quoted(text)
    # What the WHATWG's url-encoded form leaves, which browsers send: `*-._` (Python leaves `~`, too).
    in_form = _quoted(text, "*").replace("~", "%7E")
    within_another = _quoted(quoted)
    for one in (quoted, quoted.replace("~", "%7E"), in_form, within_another, *(_quoted(text, safe) for safe in _SAFE)):
        for form in (one, one.replace("%20", "+")):
            yield form
            yield _ESCAPED.sub(lambda match: match[0].lower(), form)


def _quoted(text: str, safe: str = "") -> str:
    # Half a surrogate pair is in no encoding, but a peer can write it in JSON.
    return quote(text, safe=safe, errors="surrogatepass")
