"""The parts of a run that should be the same the next time, and the differences between two runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from ..oauth.masking import MASK, printable
from ..trace.messages import Message
from .recording import RELEVANT_HEADERS, asked
from .run import FlowRun
from .step import STEPS, Step

#: Stands in the place of any secret: only that there was one is compared.
SECRET = "(secret)"

_MISSING = object()
# Parameters of an authorization request that are new each time, beside secrets.
_FRESH = frozenset({"state", "code", "code_challenge", "nonce"})

Path = tuple[str, ...]

# Members that a live server answers differently each time, such as the user's own data: only their type is compared.
_VOLATILE = frozenset(
    "id client_id client_id_issued_at client_secret_expires_at registration_client_uri expires_in "
    "refresh_token_expires_in ttlMs content structuredContent".split()
)
_UNREADABLE = re.compile(r"\A\([\d,]+ bytes of ")
_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?")


def observe(run: FlowRun) -> list[dict[str, Any]]:
    """Reduce each step of a run to the parts that should be the same the next time, as JSON values."""
    return [_step(step) for step in run.steps]


def _step(step: Step) -> dict[str, Any]:
    observed: dict[str, Any] = {
        "kind": step.kind,
        "asks": asked(step),
        "answer": _answer(step.messages),
        "checks": {check.name: check.outcome for check in step.checks},
    }
    if step.error is not None:
        observed["error"] = type(step.error).__name__
    return observed


def _answer(messages: tuple[Message, ...]) -> Any:
    if not messages:
        return None
    message = messages[-1]
    if message.kind == "notification":
        return _parameters(message.url)
    if len(messages) == 1:
        return None
    status = message.title.partition(" ")[0]
    answer: dict[str, Any] = {"status": int(status) if status.isdigit() else message.title}
    if message.protocol == "http":
        answer["headers"] = {n: _reduced(value) for n, value in message.headers.items() if n in RELEVANT_HEADERS}
    return {**answer, "body": _without_id(_reduced(message.body))}


def _parameters(url: str) -> dict[str, Any]:
    """Return the parameters in the browser's URL; of those that are new each time only the names."""
    query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    return {name: SECRET if name in _FRESH else _reduced(value) for name, value in query.items()}


def _reduced(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _reduced(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_reduced(item) for item in value]
    # The number of bytes of an unreadable body is not compared, as a recording does not play them again.
    return _UNREADABLE.sub("(bytes of ", MASK.sub(SECRET, value)) if isinstance(value, str) else value


def _without_id(body: Any) -> Any:
    # The client counts its messages; the number says nothing about the server.
    if isinstance(body, list):
        return [_without_id(message) for message in body]
    is_message = isinstance(body, dict) and "jsonrpc" in body
    return {name: value for name, value in body.items() if name != "id"} if is_message else body


# -- what differs ----------------------------------------------------------------------------------------------


def differences(then: Mapping[str, Any], now: Mapping[str, Any], *, live: bool = False) -> list[str]:
    """Compare a step that was observed with what it is now.

    Args:
        live: a server answered now. Values that are new each time then count by their type: client ids, dates,
            lifetimes, and tools' results.

    Returns:
        A line for each field that differs.
    """
    if then["kind"] != now["kind"]:
        return [f"it was {_title(then['kind'])}, and is {_title(now['kind'])} now: {now['asks']}"]
    found = list(_compare(("asks",), then["asks"], now["asks"], live))
    found += _compare(("answer",), then["answer"], now["answer"], live)
    # A later version of this package may check more.
    checks = {name: now["checks"].get(name, _MISSING) for name in then["checks"]}
    found += [
        f"check “{name}”: was {then['checks'][name]}, is {_shown(outcome)} now"
        for name, outcome in checks.items()
        if outcome != then["checks"][name]
    ]
    return found + list(_compare(("the client's error",), then.get("error"), now.get("error"), live))


def _compare(path: Path, then: Any, now: Any, live: bool) -> Iterator[str]:
    by_type = live and path[-1] in _VOLATILE
    if isinstance(then, Mapping) and isinstance(now, Mapping) and not by_type:
        for name in (*then, *(name for name in now if name not in then)):
            yield from _compare((*path, str(name)), then.get(name, _MISSING), now.get(name, _MISSING), live)
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now) and not by_type:
        for index, (was, is_) in enumerate(zip(then, now, strict=True)):
            yield from _compare((*path, str(index)), was, is_, live)
    elif not _same(then, now, by_type, live):
        yield f"{'.'.join(path)}: was {_shown(then)}, is {_shown(now)} now"


def _same(then: Any, now: Any, by_type: bool, live: bool) -> bool:
    if by_type:
        return type(then) is type(now)
    if live and isinstance(then, str) and isinstance(now, str):
        return _DATE.sub("(date)", then) == _DATE.sub("(date)", now)
    # 1 is not True, nor 1.0.
    return type(then) is type(now) and bool(then == now)


def _shown(value: Any) -> str:
    if value is _MISSING:
        return "missing"
    return printable(json.dumps(value, ensure_ascii=False))


def _title(kind: str) -> str:
    return f"“{STEPS[kind].title}”" if kind in STEPS else kind
