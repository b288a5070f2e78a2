"""What travels beside the requests and answers of a flow: all of it is here, each with the reason.

A flow is a generator of requests, which httpx2 sends. Between the flow, the transport above it and the one below it
there are requests and answers, and nothing else. So they carry in their extensions:

    ATTEMPTS   request   flow -> `retrying`      how often it may be sent: the flow alone knows what asks for a token
    ERROR      both      `retrying` -> flow      httpx2 tells a flow nothing of a request that failed
    GRANT      request   flow -> flow            another call may hold another grant before the answer is there
    CHALLENGE  answer    `reading` -> `step_up`  the SDK is shown a plain challenge, and what was read is read once
    FINDINGS   answer    `reading` -> `reading`  what was odd is told only if an authorization begins with that answer
    SCOPE      request   `transport` -> flow     an interrupt must not come between a token's answer and the store

Two more are elsewhere, as they are about other things than requests. `context.Stop` is a BaseException, since the SDK
logs every other error with its traceback. By the number in the data of a JSON-RPC error `transport` finds an error
again that would end the SDK's whole connection if it were raised there.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import anyio
import httpx2

from ..oauth.challenge import AuthChallenge
from ..oauth.errors import McpOAuthError
from ..store.grants import Grant

T = TypeVar("T")

Message = httpx2.Request | httpx2.Response


class Extension(Generic[T]):
    """One value that a request or an answer may carry."""

    def __init__(self, name: str):
        self._name = f"mcp-oauth-nb/{name}"

    def put(self, message: Message, value: T) -> None:
        """Have a message carry the value."""
        message.extensions[self._name] = value

    def of(self, message: Message) -> T | None:
        """Return the value, if the message carries one."""
        value: T | None = message.extensions.get(self._name)
        return value

    def at(self, message: Message) -> T:
        """Return the value of a message that carries one."""
        value: T = message.extensions[self._name]
        return value


ATTEMPTS = Extension[int]("attempts")
ERROR = Extension[McpOAuthError]("error")
GRANT = Extension[Grant]("grant")
CHALLENGE = Extension[AuthChallenge | None]("challenge")
FINDINGS = Extension[tuple[str, ...]]("findings")
SCOPE = Extension[anyio.CancelScope]("scope")
