"""What a field of a metadata document may be: small judgements, put together in `metadata_fields`.

A test takes the value and the document around it; what it says of a value from the network is escaped and cut.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .check import Outcome
from .masking import printable
from .urls import LOOPBACK_TEXT, is_web, url_problem


@dataclass(frozen=True)
class Verdict:
    """What a value came to, why, and what it should be."""

    outcome: Outcome
    message: str = ""
    should: str = ""


@dataclass(frozen=True)
class Context:
    """What stands around a value.

    Attributes:
        document: all fields.
        expected: the issuer that was asked for, or the URL of the MCP server; empty if not known.
    """

    document: Mapping[str, Any] = field(default_factory=dict)
    expected: str = ""

    def has(self, name: str, word: str) -> bool:
        """Say whether a field is a list with this word in it."""
        value = self.document.get(name)
        return isinstance(value, list) and word in value


Test = Callable[[Any, Context], Verdict]
#: Judges that a field is not there.
Absent = Callable[[Context], Verdict]


def quoted(value: Any) -> str:
    """Return a value as JSON, for a message."""
    return printable(json.dumps(value, ensure_ascii=False), 80)


# -- of a field that is not there ------------------------------------------------------------------------------


def required(should: str) -> Absent:
    """The document is unusable without it."""
    return lambda _: Verdict("failed", "It is missing.", should)


def advised(message: str, should: str) -> Absent:
    """The document can do without it, to its disadvantage."""
    return lambda _: Verdict("warning", message, should)


def optional(meaning: str = "") -> Absent:
    """It may be missing; the sentence says what is meant then."""
    return lambda _: Verdict("not applicable", f"It is missing, which is allowed. {meaning}".rstrip())


# -- URLs ------------------------------------------------------------------------------------------------------


def problem_of(value: Any) -> str:
    """Say in a sentence why a value is no URL that a client may send something to; empty if it is one."""
    if not isinstance(value, str):
        return f"{quoted(value)} is not a string."
    problem = url_problem(value)
    return f"{quoted(value)} {problem}." if problem else ""


_A_URL = f"an absolute https URL without a fragment (http on {LOOPBACK_TEXT} only)"


def endpoint(value: Any, _: Context) -> Verdict:
    """A URL that a client, or a browser, sends secrets to."""
    problem = problem_of(value)
    if problem:
        return Verdict("failed", problem, _A_URL)
    return Verdict("passed", "It has no TLS, which is for this machine only." if value.startswith("http:") else "")


def link(value: Any, _: Context) -> Verdict:
    """A page for people."""
    # A front end that opens `javascript:` from here would run it.
    if isinstance(value, str) and value.isprintable() and is_web(value):
        return Verdict("passed")
    return Verdict("failed", f"{quoted(value)} is not the URL of a web page.", "an https URL")


def issuer(value: Any, context: Context) -> Verdict:
    """The name of an authorization server, compared character by character."""
    problem = problem_of(value)
    if not problem and "?" in value:
        problem = f"{quoted(value)} has a query."
    if problem:
        return Verdict("failed", problem, "an https URL without query and fragment")
    if context.expected and value != context.expected:
        # RFC 8414 section 3.3: identical, a slash at the end included.
        return Verdict(
            "failed",
            f"It is not {quoted(context.expected)}, from whose address the document came: a client must not use it.",
            f"exactly {printable(context.expected)}",
        )
    return Verdict("passed", "It is exactly the issuer that was asked for." if context.expected else "")


def resource(value: Any, context: Context) -> Verdict:
    """The name of an MCP server, as tokens for it will carry it."""
    problem = problem_of(value)
    if problem:
        return Verdict("failed", problem, "the URL of the MCP endpoint, https and without a fragment")
    if context.expected and _canonical(value) != _canonical(context.expected):
        parts = urlsplit(context.expected)
        if _canonical(value) == f"{parts.scheme}://{parts.netloc}".lower():
            return Verdict(
                "warning",
                "It speaks for the whole origin, not for this server alone.",
                f"{printable(context.expected)}",
            )
        # RFC 9728 section 3.3
        return Verdict(
            "failed",
            f"It describes another resource than {quoted(context.expected)}: a client must not use it.",
            f"{printable(context.expected)}",
        )
    return Verdict("passed", "It is the server that was asked." if context.expected else "")


def _canonical(url: str) -> str:
    # MCP, canonical server URI: scheme and host in lower case, and no slash at the end.
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path}{query}".removesuffix("/")


def issuers(value: Any, _: Context) -> Verdict:
    """The authorization servers whose tokens a resource accepts."""
    verdict = words()(value, Context())
    if verdict.outcome != "passed":
        return verdict
    for name in value:
        if (bad := issuer(name, Context())).outcome == "failed":
            return bad
    if len(value) > 1:
        return Verdict("passed", f"There are {len(value)}; the client chooses, and most take the first.")
    return Verdict("passed")


# -- lists, flags, texts ---------------------------------------------------------------------------------------

_NOTHING: Mapping[str, str] = {}


def words(needs: Mapping[str, str] = _NOTHING, discouraged: Mapping[str, str] = _NOTHING) -> Test:
    """Make a test for a list of strings.

    Args:
        needs: words that must be in it, each with the reason.
        discouraged: words that should not be, each with the reason.
    """

    def test(value: Any, _: Context) -> Verdict:
        if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
            return Verdict("failed", f"{quoted(value)} is not a list of strings.", f"a list, such as {_as_list(value)}")
        if not value:
            # RFC 8414 section 3.2, RFC 9728 section 3.2
            return Verdict("failed", "It is an empty list.", "left out, or a list with something in it")
        good = [word for word in value if word not in discouraged]
        for word, reason in needs.items():
            if word not in value:
                return Verdict("failed", f"It lacks {quoted(word)}: {reason}", quoted([*good, word]))
        for word, reason in discouraged.items():
            if word in value:
                return Verdict("warning", f"It offers {quoted(word)}: {reason}", f"the list without {quoted(word)}")
        return Verdict("passed")

    return test


def _as_list(value: Any) -> str:
    return quoted(value.split() if isinstance(value, str) and value.strip() else ["..."])


# RFC 6749 section 3.3: printable ASCII without space, quote and backslash.
_SCOPE = re.compile(r"[!\x23-\x5b\x5d-\x7e]+")


def scopes(value: Any, context: Context) -> Verdict:
    """A list of scopes, one to an element."""
    verdict = words()(value, context)
    if verdict.outcome != "passed":
        return verdict
    for scope in value:
        if not _SCOPE.fullmatch(scope):
            return Verdict("failed", f"{quoted(scope)} is not one scope.", quoted(scope.replace('"', "").split()))
    return verdict


def signing_algorithms(value: Any, context: Context) -> Verdict:
    """Algorithms for signed client assertions."""
    # RFC 8414 section 2: the value "none" must not be used.
    if isinstance(value, list) and "none" in value:
        return Verdict("failed", '"none" is no signature.', "algorithms that sign, such as RS256 and ES256")
    return words()(value, context)


def signing_algorithms_for(methods: str) -> Absent:
    """The algorithms of signed assertions are required where the field of that name offers such assertions."""

    def absent(context: Context) -> Verdict:
        if context.has(methods, "private_key_jwt") or context.has(methods, "client_secret_jwt"):
            return Verdict("failed", f"It is missing, but {methods} offers signed assertions.", '["ES256"] or the like')
        return Verdict("not applicable", "Only signed assertions need it, and they are not offered.")

    return absent


def flag(value: Any, _: Context) -> Verdict:
    """True or false."""
    if not isinstance(value, bool):
        return Verdict("failed", f"{quoted(value)} is neither true nor false.", "true or false, without quotes")
    return Verdict("passed")


def text(value: Any, _: Context) -> Verdict:
    """Words for people."""
    if not isinstance(value, str) or not value.strip():
        return Verdict("failed", f"{quoted(value)} is not a text.", "a string")
    if not value.isprintable():
        return Verdict("warning", "It has characters that are not printable, which can mislead.", "plain words")
    return Verdict("passed")


def signed(value: Any, _: Context) -> Verdict:
    """A JSON Web Token that repeats the document."""
    if not isinstance(value, str) or value.count(".") != 2:
        return Verdict("failed", f"{quoted(value)} is not a JSON Web Token.", "header.payload.signature")
    return Verdict("warning", "Its signature was not checked here; signed values go before the plain ones.", "checked")


def anything(value: Any, _: Context) -> Verdict:
    """A structure of its own, or a field that nobody here knows."""
    return Verdict("not applicable", "Its value is not checked here.")
