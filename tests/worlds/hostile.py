"""What a hostile server sends: texts, JSON values and whole bodies, as a corpus and as hypothesis strategies."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

#: Characters of every kind, lone surrogates too: JSON can escape them.
characters = st.characters(exclude_categories=())
texts = st.text(characters, max_size=60)

TEXTS = [
    "",
    " ",
    "\x00",
    "a\x00b",
    "\r\nSet-Cookie: a=b",
    "\ud800",
    "\udfff" * 20,
    "secret-\ud800-of-more-than-twelve",
    "\u202e\u2066evil\u2069",
    "\ufeff",
    "é" * 30,
    "℀.example",
    "e\u0301" * 50,
    "%",
    "%zz%00%ff%ed%a0%80",
    "&" * 1000,
    "=" * 1000,
    '"' * 999,
    "\\" * 999,
    "<" * 1000,
    "'\"><script>alert(1)</script>",
    "9" * 400,
    "9" * 5000,
    "-" + "9" * 5000,
    "1e999",
    "٣٦٠٠",
    "NaN",
    "null",
    "../../etc/passwd",
    "http://[",
    "http://[::1",
    "https://[v1.x]/",
    "http://a:99999999999/",
    "http://a:x/",
    "https://" + "a" * 70_000,
    "https://user:pass@evil.example/",
    "https://xn--/",
    "https://xn--a.xn--" + "b" * 80,
    "https://\ud800/",
    "https://a/\ud800",
    "https://a\x00b/",
    "https://a b/",
    "https:///path",
    "//evil.example/",
    "javascript:alert(1)",
    "data:text/html,x",
    "https://169.254.169.254/",
    "https://0x7f.1/",
    "Bearer " * 500,
    "Bearer " + "a" * 5000 + '="',
    "Bearer a=b, " * 200,
    'Bearer resource_metadata="http://[", scope="' + "x " * 500 + '"',
    'Bearer error="insufficient_scope", scope="\\"\\\\"',
]

NUMBERS = [0, -1, 1, 2**31, 2**63, 2**64, 10**30, 10**400, -(10**400), 0.5, -0.0, 1e308, 3600.5]
VALUES: list[Any] = [
    None,
    True,
    False,
    *NUMBERS,
    *TEXTS,
    [],
    {},
    [[]],
    [None],
    [""],
    ["\ud800"],
    [1],
    [{}],
    {"": ""},
    {"\ud800": "\ud800"},
    ["x"] * 5000,
    {str(number): number for number in range(2000)},
]

#: The worst of them, for where each costs more.
FEW: list[Any] = [
    None,
    True,
    10**400,
    1e308,
    [],
    [{}],
    {"\ud800": "\ud800"},
    "",
    "\x00",
    "secret-\ud800-of-more-than-twelve",
    "\u202e\u2066evil\u2069",
    "é" * 30,
    "https://xn--/",
    "https:///path",
    "http://[",
    "https://\ud800/",
    "javascript:alert(1)",
    "9" * 5000,
]

leaves = st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.floats() | texts | st.sampled_from(TEXTS)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=8
)


def nested(depth: int, opening: bytes = b"[", closing: bytes = b"]") -> bytes:
    """Brackets in brackets."""
    return opening * depth + closing * depth


#: Bodies that are no document at all, or a strange one.
BODIES = [
    b"",
    b" ",
    b"\x00" * 100,
    b"\xff\xfe\x00",
    b"\xef\xbb\xbf{}",
    "{}".encode("utf-16"),
    "{}".encode("utf-32"),
    b"null",
    b"7",
    b'"text"',
    b"[]",
    b"{}",
    b"{" * 1000,
    b'{"a"',
    b'{"a": 1,}',
    b'{"a": NaN}',
    b'{"a": Infinity}',
    b'{"a": 1e999}',
    b'{"a": -1e999}',
    b'{"expires_in": ' + b"9" * 5000 + b"}",
    b'{"a": "\\ud800"}',
    b'{"a": "\\udc00\\ud800"}',
    b'{"\\ud800": 1}',
    b'{"a": "\xff"}',
    b'{"a": "\xed\xa0\x80"}',
    b'{"a": "\\u0000"}',
    b'{"a": 1, "a": 2}',
    b"<!doctype html><title>Sign in</title>",
    *(nested(depth) for depth in (100, 400, 490, 900, 990, 3000, 100_000)),
    *(nested(depth, b'{"a":', b"}").replace(b":}", b":1}", 1) for depth in (100, 400, 490, 900, 990, 3000, 100_000)),
    nested(300, b'{"error":', b"}").replace(b":}", b":1}", 1),
]


def changed(document: dict[str, Any], name: str, value: Any) -> bytes:
    """Write a document with one member changed. What JSON in Python writes and others do not is left in: NaN."""
    return json.dumps({**document, name: value}).encode("ascii")


def variants(document: dict[str, Any], values: list[Any] = VALUES) -> list[bytes]:
    """Write a document with each of its members changed to each hostile value."""
    return [changed(document, name, value) for name in document for value in values]


def header_values() -> list[bytes]:
    """The texts as a header may carry them: RFC 9110 section 5.5 leaves bytes above 0x7f to the reader."""
    encoded = [text.encode(codec, "replace") for text in TEXTS for codec in ("utf-8", "latin-1")]
    return [*dict.fromkeys(value.translate(None, b"\x00\r\n") for value in encoded)]


def big(size: int) -> dict[str, bytes]:
    """Bodies of a size, each made to be expensive for somebody."""
    fill = {
        "many members": (b'{"": 0', b"".join(b',"%d":0' % number for number in range(size // 10)), b"}"),
        "one long text": (b'{"error": "', b"a" * size, b'"}'),
        "escapes": (b'{"error": "', b"\\ud800" * (size // 6), b'"}'),
        "texts": (b'{"scopes": ["', b'","'.join([b"abcdefghijklm"] * (size // 16)), b'"]}'),
        "tokens": (b'{"token": ["', b'","'.join(b"%016x" % n for n in range(size // 19)), b'"]}'),
        "digits": (b'{"expires_in": ', b"9" * size, b"}"),
        "brackets": (b'{"a": ', nested(size // 2), b"}"),
        "bearers": (b'{"error_description": "', b"Bearer " * (size // 7), b'"}'),
        "quotes": (b'{"error_description": "', b'\\"' * (size // 2), b'"}'),
        "fields": (b"a=1", b"&a%d=1" * 0 + b"&b=1" * (size // 4), b""),
        "percents": (b"error=", b"%25" * (size // 3), b""),
    }
    return {name: (start + middle + end)[:size] for name, (start, middle, end) in fill.items()}


def mutated(document: dict[str, Any]) -> st.SearchStrategy[bytes]:
    """Documents in which some members are hostile, are missing or are new; and bytes that were changed at random."""
    names = sorted(document)
    members = st.dictionaries(st.sampled_from(names) | texts, values, max_size=3)
    gone = st.sets(st.sampled_from(names), max_size=2)

    def build(new: dict[str, Any], without: set[str]) -> bytes:
        kept = {name: value for name, value in {**document, **new}.items() if name not in without}
        return json.dumps(kept).encode("ascii")

    whole = json.dumps(document).encode("ascii")
    cut = st.tuples(st.integers(0, len(whole)), st.binary(max_size=4), st.integers(0, 4)).map(
        lambda change: whole[: change[0]] + change[1] + whole[change[0] + change[2] :]
    )
    return st.builds(build, members, gone) | cut | st.binary(max_size=40)
