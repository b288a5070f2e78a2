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
class RuleVerdict:
    """What a value came to, why, and what it should be."""

    outcome: Outcome
    message: str = ""
    should: str = ""


@dataclass(frozen=True)
class RuleContext:
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


Test = Callable[[Any, RuleContext], RuleVerdict]
#: Judges that a field is not there.
Absent = Callable[[RuleContext], RuleVerdict]


def quoted(value: Any) -> str:
    """Return a value as JSON, for a message."""
    return printable(json.dumps(value, ensure_ascii=False), 80)


# -- of a field that is not there ------------------------------------------------------------------------------


def required(should: str) -> Absent:
    """The document is unusable without it."""
    return lambda _: RuleVerdict("failed", "It is missing.", should)


def advised(message: str, should: str) -> Absent:
    """The document can do without it, to its disadvantage."""
    return lambda _: RuleVerdict("warning", message, should)


def optional(meaning: str = "") -> Absent:
    """It may be missing; the sentence says what is meant then."""
    return lambda _: RuleVerdict("not applicable", f"It is missing, which is allowed. {meaning}".rstrip())


# -- URLs ------------------------------------------------------------------------------------------------------


def problem_of(value: Any) -> str:
    """Say in a sentence why a value is no URL that a client may send something to; empty if it is one."""
    if not isinstance(value, str):
        return f"{quoted(value)} is not a string."
    problem = url_problem(value)
    return f"{quoted(value)} {problem}." if problem else ""


_A_URL = f"an absolute https URL without a fragment (http on {LOOPBACK_TEXT} only)"


def endpoint(value: Any, _: RuleContext) -> RuleVerdict:
    """A URL that a client, or a browser, sends secrets to."""
    problem = problem_of(value)
    if problem:
        return RuleVerdict("failed", problem, _A_URL)
    return RuleVerdict("passed", "It has no TLS, which is for this machine only." if value.startswith("http:") else "")


def link(value: Any, _: RuleContext) -> RuleVerdict:
    """A page for people."""
    # A front end that opens `javascript:` from here would run it.
    if isinstance(value, str) and value.isprintable() and is_web(value):
        return RuleVerdict("passed")
    return RuleVerdict("failed", f"{quoted(value)} is not the URL of a web page.", "an https URL")


def issuer(value: Any, context: RuleContext) -> RuleVerdict:
    """The name of an authorization server, compared character by character."""
    problem = problem_of(value)
    if not problem and "?" in value:
        problem = f"{quoted(value)} has a query."
    if problem:
        return RuleVerdict("failed", problem, "an https URL without query and fragment")
    if context.expected and value != context.expected:
        # RFC 8414 section 3.3: identical, a slash at the end included.
        return RuleVerdict(
            "failed",
            f"It is not {quoted(context.expected)}, from whose address the document came: a client must not use it.",
            f"exactly {printable(context.expected)}",
        )
    return RuleVerdict("passed", "It is exactly the issuer that was asked for." if context.expected else "")


def resource(value: Any, context: RuleContext) -> RuleVerdict:
    """The name of an MCP server, as tokens for it will carry it."""
    problem = problem_of(value)
    if problem:
        return RuleVerdict("failed", problem, "the URL of the MCP endpoint, https and without a fragment")
    if context.expected and _canonical(value) != _canonical(context.expected):
        parts = urlsplit(context.expected)
        if _canonical(value) == f"{parts.scheme}://{parts.netloc}".lower():
            return RuleVerdict(
                "warning",
                "It speaks for the whole origin, not for this server alone.",
                f"{printable(context.expected)}",
            )
        # RFC 9728 section 3.3
        return RuleVerdict(
            "failed",
            f"It describes another resource than {quoted(context.expected)}: a client must not use it.",
            f"{printable(context.expected)}",
        )
    return RuleVerdict("passed", "It is the server that was asked." if context.expected else "")


def _canonical(url: str) -> str:
    # MCP, canonical server URI: scheme and host in lower case, and no slash at the end.
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path}{query}".removesuffix("/")


def issuers(value: Any, _: RuleContext) -> RuleVerdict:
    """The authorization servers whose tokens a resource accepts."""
    verdict = words()(value, RuleContext())
    if verdict.outcome != "passed":
        return verdict
    for name in value:
        if (bad := issuer(name, RuleContext())).outcome == "failed":
            return bad
    if len(value) > 1:
        return RuleVerdict("passed", f"There are {len(value)}; the client chooses, and most take the first.")
    return RuleVerdict("passed")


# -- lists, flags, texts ---------------------------------------------------------------------------------------

_NOTHING: Mapping[str, str] = {}


def words(needs: Mapping[str, str] = _NOTHING, discouraged: Mapping[str, str] = _NOTHING) -> Test:
    """Make a test for a list of strings.

    Args:
        needs: words that must be in it, each with the reason.
        discouraged: words that should not be, each with the reason.
    """

    def test(value: Any, _: RuleContext) -> RuleVerdict:
        if not isinstance(value, list) or not all(isinstance(word, str) and word for word in value):
            return RuleVerdict(
                "failed", f"{quoted(value)} is not a list of strings.", f"a list, such as {_as_list(value)}"
            )
        if not value:
            # RFC 8414 section 3.2, RFC 9728 section 3.2
            return RuleVerdict("failed", "It is an empty list.", "left out, or a list with something in it")
        good = [word for word in value if word not in discouraged]
        for word, reason in needs.items():
            if word not in value:
                return RuleVerdict("failed", f"It lacks {quoted(word)}: {reason}", quoted([*good, word]))
        for word, reason in discouraged.items():
            if word in value:
                return RuleVerdict("warning", f"It offers {quoted(word)}: {reason}", f"the list without {quoted(word)}")
        return RuleVerdict("passed")

    return test


def _as_list(value: Any) -> str:
    return quoted(value.split() if isinstance(value, str) and value.strip() else ["..."])


# RFC 6749 section 3.3: printable ASCII without space, quote and backslash.
_SCOPE = re.compile(r"[!\x23-\x5b\x5d-\x7e]+")


def scopes(value: Any, context: RuleContext) -> RuleVerdict:
    """A list of scopes, one to an element."""
    verdict = words()(value, context)
    if verdict.outcome != "passed":
        return verdict
    for scope in value:
        if not _SCOPE.fullmatch(scope):
            return RuleVerdict("failed", f"{quoted(scope)} is not one scope.", quoted(scope.replace('"', "").split()))
    return verdict


def signing_algorithms(value: Any, context: RuleContext) -> RuleVerdict:
    """Algorithms for signed client assertions."""
    # RFC 8414 section 2: the value "none" must not be used.
    if isinstance(value, list) and "none" in value:
        return RuleVerdict("failed", '"none" is no signature.', "algorithms that sign, such as RS256 and ES256")
    return words()(value, context)


def signing_algorithms_for(methods: str) -> Absent:
    """The algorithms of signed assertions are required where the field of that name offers such assertions."""

    def absent(context: RuleContext) -> RuleVerdict:
        if context.has(methods, "private_key_jwt") or context.has(methods, "client_secret_jwt"):
            return RuleVerdict(
                "failed", f"It is missing, but {methods} offers signed assertions.", '["ES256"] or the like'
            )
        return RuleVerdict("not applicable", "Only signed assertions need it, and they are not offered.")

    return absent


def flag(value: Any, _: RuleContext) -> RuleVerdict:
    """True or false."""
    if not isinstance(value, bool):
        return RuleVerdict("failed", f"{quoted(value)} is neither true nor false.", "true or false, without quotes")
    return RuleVerdict("passed")


def text(value: Any, _: RuleContext) -> RuleVerdict:
    """Words for people."""
    if not isinstance(value, str) or not value.strip():
        return RuleVerdict("failed", f"{quoted(value)} is not a text.", "a string")
    if not value.isprintable():
        return RuleVerdict("warning", "It has characters that are not printable, which can mislead.", "plain words")
    return RuleVerdict("passed")


def signed(value: Any, _: RuleContext) -> RuleVerdict:
    """A JSON Web Token that repeats the document."""
    if not isinstance(value, str) or value.count(".") != 2:
        return RuleVerdict("failed", f"{quoted(value)} is not a JSON Web Token.", "header.payload.signature")
    return RuleVerdict(
        "warning", "Its signature was not checked here; signed values go before the plain ones.", "checked"
    )


def anything(value: Any, _: RuleContext) -> RuleVerdict:
    """A structure of its own, or a field that nobody here knows."""
    return RuleVerdict("not applicable", "Its value is not checked here.")
