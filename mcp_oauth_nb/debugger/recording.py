"""A run as a value that can be written down and played again: what was asked, and what was answered.

    recording = Recording.of(run)
    Recording.from_dict(json.loads(json.dumps(recording.to_dict()))) == recording

No secret is in it. Where a server sent one, a stand-in takes its place: `stand-in-access_token-1`, the same one for
the same secret, so that rotation can still be told from repetition.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

from ..oauth.errors import ConfigurationError
from ..oauth.masking import JSONRPC_SECRET_NAMES, is_secret_name, mask_fields, scrub
from ..trace.messages import Message

if TYPE_CHECKING:
    from ..client.auth import McpAuth
    from .debug_gate import Held
    from .exchange import Seen
    from .step import Step

#: How to speak: `auto` 2026-07-28 where the server can, `legacy` the newest version with a handshake, or an older one.
Mode = Literal["auto", "legacy", "2025-06-18", "2025-03-26"]

#: Stands for `state` in a recorded callback: it was equal to that of the authorization request.
OWN_STATE = "stand-in-state"

#: The headers of an answer that a client goes by. Others, such as dates, are not recorded.
RELEVANT_HEADERS = frozenset(
    "content-type www-authenticate cache-control pragma location retry-after allow mcp-session-id "
    "mcp-protocol-version access-control-allow-origin access-control-allow-headers "
    "access-control-expose-headers".split()
)


@dataclass(frozen=True)
class Setup:
    """What a run was opened with.

    Attributes:
        url: the MCP endpoint; empty for a lab.
        lab: the arguments of `Lab.open()`; empty for a server.
        client: how the client introduces itself: `name`, `redirect_uri`, `metadata_url`, `registered`.
        tool, arguments, more, mode: as for `FlowDebugger.open()`.
        used: the lab had a token before the run began, so that a new one is not like it.
    """

    url: str = ""
    lab: Mapping[str, Any] = field(default_factory=dict)
    client: Mapping[str, Any] = field(default_factory=dict)
    tool: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    mode: Mode = "auto"
    used: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The arguments of `FlowDebugger.open()` beside the lab."""
        return {"tool": self.tool, "arguments": self.arguments, "more": self.more}


def public(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tool's arguments without what is secret in them."""
    masked = mask_fields(dict(arguments), JSONRPC_SECRET_NAMES)
    return dict(masked)


def client_of(auth: McpAuth) -> dict[str, Any]:
    """Return how a client introduces itself, without what is secret about it."""
    registered = auth.client.model_dump(mode="json", exclude_none=True) if auth.client is not None else None
    return {
        "name": auth.client_name,
        "redirect_uri": auth.redirect_uri,
        "metadata_url": auth.client_metadata_url,
        "registered": registered and {name: _public(name, value) for name, value in registered.items()},
    }


def _public(name: str, value: Any) -> Any:
    return f"stand-in-{name}" if is_secret_name(name) and value else mask_fields(value)


# -- while a run goes on ---------------------------------------------------------------------------------------


class Recorder:
    """Records, during a run, the facts that its masked trace does not show."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._names: dict[bytes, str] = {}
        self._begun: dict[int, tuple[str, bool]] = {}
        self._sent: list[tuple[dict[str, str], dict[str, str | None]]] = []
        self._answered: dict[int, dict[str, str]] = {}
        self._brought: dict[int, dict[str, str]] = {}

    def begun(self, action: str, *, cancelled: bool) -> None:
        """An action begins; the one before it was perhaps cancelled."""
        self._begun[len(self._sent)] = action, cancelled

    def sent(self, held: Held) -> None:
        """Record a request that leaves the gate, with its changes."""
        changes = {name: _changed(held, name) for name in held.changed}
        self._sent.append((held.shown(), changes))

    def arrived(self, number: int, seen: Seen) -> None:
        """An exchange is complete."""
        answer = {} if "jsonrpc" in seen.answer else seen.answer
        names = {name: value for name, value in answer.items() if is_secret_name(name)}
        self._answered[number] = {
            name: self._stand_in(name, value) for name, value in names.items() if isinstance(value, str) and value
        }

    def brought(self, url: str, state: str) -> None:
        """A browser came back.

        Args:
            url: where to, with everything that it brought.
            state: what it was sent away with.
        """
        given = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        shown = {
            scrub(name): self._stand_in(name, value) if is_secret_name(name) else scrub(value)
            for name, value in given.items()
        }
        if "state" in given:
            shown["state"] = OWN_STATE if given["state"] == state else "stand-in-other-state"
        self._brought[len(self._sent) - 1] = shown

    def _stand_in(self, name: str, secret: str) -> str:
        # Neither the secret nor a hash that others could compute is kept.
        digest = hashlib.blake2b(secret.encode("utf-8", "surrogatepass"), key=self._key).digest()
        if digest not in self._names:
            known = sum(other.startswith(f"stand-in-{name}-") for other in self._names.values())
            self._names[digest] = f"stand-in-{name}-{known + 1}"
        return self._names[digest]

    def step(self, number: int, step: Step) -> RecordedStep:
        """Write one step down, by its number from 0."""
        sent, changes = self._sent[number]
        begins, cancels = self._begun.get(number, ("", False))
        answer = _answer(step.messages[1], self._answered.get(number, {})) if len(step.messages) > 1 else None
        return RecordedStep(
            kind=step.kind,
            asks=asked(step),
            begins=begins,
            cancels=cancels,
            sent=sent,
            changes=changes,
            predicted=step.predicted,
            at=round(step.messages[0].at, 3) if step.messages else 0.0,
            answer=answer,
            brought=self._brought.get(number, {}),
            error=type(step.error).__name__ if step.error is not None else "",
        )


def _changed(held: Held, name: str) -> str | None:
    value = held.parameters.get(name)
    if value is None or not is_secret_name(name):
        return held.shown().get(name)
    # A stand-in is as long as the secret was: there are rules for lengths, such as RFC 7636 section 4.1.
    scheme, space, credentials = value.rpartition(" ")
    return scheme + space + ("changed-" * len(credentials))[: len(credentials)]


def asked(step: Step) -> str:
    """Say what a step asked for: the method, the address, and what an MCP message is about."""
    return step.messages[0].title if step.messages else ""


def _answer(message: Message, stand_ins: Mapping[str, str]) -> RecordedAnswer:
    status = message.title.partition(" ")[0]
    if message.protocol == "http" and not status.isdigit():
        return RecordedAnswer(failed=message.title.rpartition(" ")[2])
    body = message.body
    if stand_ins and isinstance(body, dict):
        body = {name: stand_ins.get(name, value) for name, value in body.items()}
    headers = {name: value for name, value in message.headers.items() if name in RELEVANT_HEADERS}
    at = round(message.at, 3)
    return RecordedAnswer(status=int(status) if status.isdigit() else None, headers=headers, body=body, at=at)


# -- the value -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RecordedAnswer:
    """What was answered.

    Attributes:
        status: of HTTP; None for a server in process.
        headers: those that a client goes by, masked.
        body: a JSON value or a text, masked; of an event stream its message, or a list of them.
        at: when, in seconds since the epoch.
        failed: how the connection failed, where there was no answer, such as `ConnectError`.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    at: float = 0.0
    failed: str = ""

    def answering(self, identifier: Any) -> RecordedAnswer:
        """Return the same answer to an MCP request of another number."""
        body = self.body
        messages = [_numbered(m, identifier) for m in (body if isinstance(body, list) else [body])]
        return dataclasses.replace(self, body=messages if isinstance(body, list) else messages[0])

    @property
    def content(self) -> bytes:
        """The body as it crosses the wire."""
        return wire_form(self.headers.get("content-type", ""), self.body).encode()


def _numbered(message: Any, identifier: Any) -> Any:
    # A message with a method is the server's own request, or a notification.
    answers = isinstance(message, dict) and "jsonrpc" in message and "method" not in message
    return {**message, "id": identifier} if answers and message.get("id") is not None else message


def wire_form(content_type: str, body: Any) -> str:
    """Write a recorded body as a server would."""
    media = content_type.partition(";")[0].strip().lower()
    if body is None:
        return ""
    if media == "text/event-stream" and not isinstance(body, str):
        return "".join(
            f"event: message\ndata: {json.dumps(m)}\n\n" for m in (body if isinstance(body, list) else [body])
        )
    if media == "application/x-www-form-urlencoded" and isinstance(body, dict):
        return urlencode(body)
    # A text in place of JSON says why there is none; it must not become valid JSON.
    return body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)


@dataclass(frozen=True)
class RecordedStep:
    """One step.

    Attributes:
        kind: its key in `STEPS`.
        asks: the method, the address, and what an MCP message is about.
        begins: the action that begins with it.
        cancels: the action before was cancelled.
        sent: its parameters, masked.
        changes: what was changed before it was sent; None for dropped.
        predicted: what somebody thought would come of it.
        at: when, in seconds since the epoch.
        answer: None while there is none, and for the browser's steps.
        brought: what the browser came back with, after this step sent it away.
        error: the class of the error by which the client stopped after it.
    """

    kind: str
    asks: str
    begins: str = ""
    cancels: bool = False
    sent: Mapping[str, str] = field(default_factory=dict)
    changes: Mapping[str, str | None] = field(default_factory=dict)
    predicted: str = ""
    at: float = 0.0
    answer: RecordedAnswer | None = None
    brought: Mapping[str, str] = field(default_factory=dict)
    error: str = ""


class Recorded(Protocol):
    """A run, as far as it is written down."""

    @property
    def setup(self) -> Setup:
        """What it was opened with."""
        ...

    @property
    def steps(self) -> tuple[Step, ...]:
        """What was taken so far."""
        ...

    recorder: Recorder


@dataclass(frozen=True)
class Recording:
    """A run that can be played again; see `replay`.

    Attributes:
        setup: what it was opened with.
        steps: what was asked and answered.
        live: the server to ask instead of the recorded answers.
    """

    setup: Setup
    steps: tuple[RecordedStep, ...]
    live: str = ""

    @classmethod
    def of(cls, run: Recorded) -> Recording:
        """Write a run down.

        Raises:
            ConfigurationError: there is nothing to write down, or it could not be played again.
        """
        if not run.steps:
            raise ConfigurationError("No step was taken yet.", hint="Take the steps first: `await debug.run()`.")
        if run.setup.used:
            raise ConfigurationError(
                "The lab had a token before the run began, so a new lab is not like it.",
                hint="Open the debugger on a new lab, and take the steps again.",
            )
        return cls(run.setup, tuple(run.recorder.step(number, step) for number, step in enumerate(run.steps)))

    def against(self, server: str | None) -> Recording:
        """Return the same recording, to be played against a server instead of the recorded answers.

        Args:
            server: its MCP endpoint, or `live` for the one that was recorded; None or empty for none.
        """
        if not server:
            return self
        return dataclasses.replace(self, live=self.setup.url if server == "live" else server)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON has it; what is empty is left out."""
        return {
            "setup": _without_defaults(self.setup),
            "steps": [
                {**_without_defaults(step), **({"answer": _without_defaults(step.answer)} if step.answer else {})}
                for step in self.steps
            ],
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Recording:
        """Read what `to_dict` wrote.

        Raises:
            ConfigurationError: it is something else.
        """
        try:
            steps = [{**step, "answer": _read(step.get("answer"))} for step in value["steps"]]
            return cls(Setup(**value["setup"]), tuple(RecordedStep(**step) for step in steps))
        except (KeyError, TypeError) as error:
            raise ConfigurationError(
                f"This is not a recording ({error}).", hint="Export the run again with this version of the package."
            ) from None


def _read(answer: Mapping[str, Any] | None) -> RecordedAnswer | None:
    return RecordedAnswer(**answer) if answer is not None else None


def _without_defaults(value: Any) -> dict[str, Any]:
    given = {field.name: (getattr(value, field.name), _default(field)) for field in dataclasses.fields(value)}
    return {name: item for name, (item, default) in given.items() if item != default}


def _default(field: dataclasses.Field[Any]) -> Any:
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()
