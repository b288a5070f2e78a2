"""What a request asks for. The body decides; headers such as `Mcp-Name` are only checked against it, by the SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.types import Message, Receive


@dataclass(frozen=True)
class Incoming:
    """One JSON-RPC message, as far as authorization needs to know it.

    Attributes:
        id: the request's id, to answer it with.
        method: such as `tools/call`; None if the body is not one message that has a method.
        tool: the name of the tool that is called.
        arguments: what it is called with.
        readable: False if the body is not JSON.
    """

    id: str | int | None = None
    method: str | None = None
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    readable: bool = True


def parse_message(body: bytes) -> Incoming:
    """Read the body of a POST. What is not a call of a tool stays the SDK's to judge, batches included."""
    try:
        # Stricter than the SDK's two parsers (`json.loads` also takes UTF-16): what we cannot read we do not pass on,
        # so nothing can be one thing here and another there. A key that is repeated counts last in all three.
        message = json.loads(body.decode("utf-8"))
    except (ValueError, RecursionError):
        return Incoming(readable=False)
    if not isinstance(message, dict):
        return Incoming()
    method, params = message.get("method"), message.get("params")
    tool = params.get("name") if method == "tools/call" and isinstance(params, dict) else None
    arguments = params.get("arguments") if isinstance(tool, str) and isinstance(params, dict) else None
    return Incoming(
        id=_id(message.get("id")),
        method=method if isinstance(method, str) else None,
        tool=tool if isinstance(tool, str) else None,
        arguments=arguments if isinstance(arguments, dict) else {},
    )


async def read_body(receive: Receive) -> tuple[bytes, Receive]:
    """Return the whole body, and a `receive` that gives it once more. Bound its size before.

    Raises:
        ConnectionResetError: the client went away.
    """
    body = b""
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ConnectionResetError("the client disconnected")
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    again: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return again.pop() if again else await receive()

    return body, replay


def _id(value: Any) -> str | int | None:
    if isinstance(value, str) and not _is_text(value):
        return None
    return value if isinstance(value, str | int) and not isinstance(value, bool) else None


def _is_text(value: str) -> bool:
    """Say whether a string can be sent: JSON can escape half of a surrogate pair, and no encoding has that."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
