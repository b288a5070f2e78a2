"""Plays a recorded run again: the shipping client, against the answers that were recorded, without a network.

now = await replay(recording)                       # offline
now = await replay(recording.against("live"))       # the server as it is today
now.differences(expected)                           # of each step; nothing if all is as it was
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
from mcp.shared.auth import OAuthClientInformationFull
from mcp_types import METHOD_NOT_FOUND

from ..client.auth import McpAuth
from ..lab.lab import Lab
from ..oauth import errors
from ..oauth.clock import ManualClock
from ..oauth.errors import ConfigurationError, SessionError
from ..oauth.masking import escape, mask_url
from ..trace.frames import call_title
from ..trace.recorder import Trace
from .comparison import differences, observe
from .debug_gate import KIND, step_of
from .exchange import json_object
from .guided_flow import GuidedFlow
from .http_flow import HttpFlow, is_real
from .recording import OWN_STATE, RecordedAnswer, RecordedStep, Recording
from .run import FlowRun, MakeFlow

#: How long a client may wait for what the recording does not have, in seconds.
_PATIENCE = 10.0

_MCP = frozenset({"handshake", "list", "call", "authorized"})


class NotRecorded(SessionError):
    """The client asked for something that it did not ask for when the run was recorded."""

    hint = "An answer that differs from the recorded one led it there; or another version of the client asks otherwise."


# -- the recorded world ----------------------------------------------------------------------------------------


class Answers:
    """The servers and the person of a recording.

    Args:
        recording: what they answer. Each answer is given once, in order.
    """

    def __init__(self, recording: Recording):
        self._setup = recording.setup
        self._steps = recording.steps
        self._left = [
            number for number, step in enumerate(recording.steps) if step.kind not in ("authorize", "callback")
        ]
        self._sent_away = [step for step in recording.steps if step.kind == "authorize"]
        self.clock = ManualClock(recording.steps[0].at if recording.steps else 0.0)

    def auth(self) -> McpAuth:
        """Return how the client authorizes here: as it did, with this person and without a network."""
        return McpAuth(
            **_client(self._setup.client, self._redirect_uri()),
            paste=self._person,
            show=lambda text: None,
            open_browser=lambda url: True,
            listen=False,
            clock=self.clock,
            carrier=lambda: _Transport(self),
            token_bytes=random.Random("replay").randbytes,
            resolver=_no_names,
        )

    def _redirect_uri(self) -> str:
        # The recorded redirect URI is used with its port: the server's answers name it.
        sent = (step.sent.get("redirect_uri") for step in self._steps if step.kind == "authorize")
        return next((uri for uri in sent if uri), str(self._setup.client["redirect_uri"]))

    async def _person(self, url: str) -> str:
        query = dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))
        step = self._sent_away.pop(0) if self._sent_away else RecordedStep("authorize", "")
        if not step.brought:
            await _nobody(step.error)
        brought = dict(step.brought)
        if brought.get("state") == OWN_STATE:
            brought["state"] = query.get("state", "")
        return f"{query.get('redirect_uri') or self._redirect_uri()}?{urlencode(brought)}"

    def answer(self, request: httpx2.Request, body: bytes) -> httpx2.Response:
        """Answer one request.

        Raises:
            NotRecorded: it was not asked then.
            httpx2.TransportError: there was no answer then.
        """
        message = _message(body)
        place = mask_url(str(request.url)).partition("?")[0]
        asks = escape(f"{request.method} {place}" + (f" {call_title(message)}" if "method" in message else ""))
        kind = request.extensions.get(KIND) or step_of(
            request.method, str(request.url), request.headers, body, self._setup.url
        )
        if kind is None:
            return _not_of_the_flow(request, message)
        number = next(
            (n for n in self._left if self._steps[n].asks == asks and _alike(self._steps[n].kind, kind)), None
        )
        answer = self._steps[number].answer if number is not None else None
        if number is None or answer is None:
            raise NotRecorded(f"The recording has no answer, or no further one, to {asks}.")
        self._left.remove(number)
        self._set_clock(number, answer)
        if answer.failed:
            raise _failure(answer.failed)
        return _response(answer, message)

    def _set_clock(self, number: int, answer: RecordedAnswer) -> None:
        # A token had expired before it was refreshed; otherwise the next request was made right after this answer.
        following = self._steps[number + 1] if number + 1 < len(self._steps) else None
        until = following.at if following is not None and following.kind == "refresh" else answer.at
        self.clock.advance(max(0.0, until - self.clock.now()))


class _Transport(httpx2.AsyncBaseTransport):
    def __init__(self, answers: Answers):
        self._answers = answers

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._answers.answer(request, await request.aread())


def _client(client: Mapping[str, Any], redirect_uri: str) -> dict[str, Any]:
    registered = client.get("registered")
    return {
        "client_name": client["name"],
        "redirect_uri": redirect_uri,
        "client_metadata_url": client.get("metadata_url"),
        "client": OAuthClientInformationFull.model_validate(registered) if registered else None,
    }


async def _no_names(host: str) -> Sequence[str]:
    raise OSError("no network")


async def _nobody(error: str) -> None:
    """Repeat an authorization that did not end: with the error that was recorded, or by waiting for ever."""
    kind = getattr(errors, error, None)
    if not (isinstance(kind, type) and issubclass(kind, errors.McpOAuthError)):
        await asyncio.Event().wait()
        return
    raise kind("Nobody came back when this was recorded.")


def _alike(recorded: str, kind: str) -> bool:
    # MCP requests with and without a token are alike here: the flow tells them apart.
    return recorded == kind or (recorded in _MCP and kind in _MCP)


def _message(body: bytes) -> dict[str, Any]:
    message = json_object(body)
    return message if "jsonrpc" in message else {}


def _not_of_the_flow(request: httpx2.Request, message: Mapping[str, Any]) -> httpx2.Response:
    """Answer what no step is: a notification, the stream that a server may offer, the end of a session."""
    if "method" not in message or "id" not in message:
        return httpx2.Response(202 if request.method == "POST" else 405, request=request)
    error = {"code": METHOD_NOT_FOUND, "message": "Not recorded"}
    return httpx2.Response(200, json={"jsonrpc": "2.0", "id": message["id"], "error": error}, request=request)


def _response(answer: RecordedAnswer, message: Mapping[str, Any]) -> httpx2.Response:
    if answer.status is None:
        raise NotRecorded("The recorded answer has no status.")
    content = answer.answering(message.get("id")).content
    return httpx2.Response(answer.status, headers=dict(answer.headers), stream=httpx2.ByteStream(content))


def _failure(name: str) -> httpx2.TransportError:
    kind = getattr(httpx2, name, None)
    known = isinstance(kind, type) and issubclass(kind, httpx2.TransportError)
    return kind("as it was recorded") if known and kind is not None else httpx2.ConnectError(name)


# -- playing ---------------------------------------------------------------------------------------------------


def flow_of(recording: Recording, auth: McpAuth | None = None) -> MakeFlow:
    """Return what makes the flow of a recording over HTTP: against its answers, or a live server.

    Args:
        auth: how to authorize with a live server; as it was recorded, with a browser, if not given.

    Raises:
        ConfigurationError: it is the recording of a lab, or a live server needs a secret that was not recorded.
    """
    setup = recording.setup
    if setup.lab:
        raise ConfigurationError(
            "This is the recording of a lab, which is its own replay.",
            hint=f"FlowDebugger.open(await Lab.open(seed={setup.lab['seed']}))",
        )

    def make(run: FlowRun) -> HttpFlow:
        options: dict[str, Any]
        if recording.live:
            ways = auth or _live_auth(setup.client)
            real = is_real(recording.live)
            options = {"auth": ways, "trace": Trace(ways.clock), "real": real}
        else:
            answers = Answers(recording)
            options = {"auth": answers.auth(), "trace": Trace(answers.clock), "real": False}
        return HttpFlow(run, recording.live or setup.url, mode=setup.mode, **setup.options, **options)

    return make


def _live_auth(client: Mapping[str, Any]) -> McpAuth:
    if (client.get("registered") or {}).get("client_secret"):
        raise ConfigurationError(
            "The client has a secret, which is not in the recording.",
            hint="Pass `auth=McpAuth(client=...)` with the secret.",
        )
    return McpAuth(**_client(client, str(client["redirect_uri"])))


@dataclass(frozen=True)
class Replayed:
    """The result of a replay.

    Attributes:
        steps: what was observed of each step; see `observe`.
        ended: why no further step was taken; empty if the recording has no further one.
        live: a server answered, not the recording.
    """

    steps: list[dict[str, Any]]
    ended: str = ""
    live: bool = False

    def differences(self, expected: Sequence[Mapping[str, Any]], number: int | None = None) -> list[str]:
        """Return a line for each difference, and nothing if there is none.

        Args:
            expected: what `observe` returned of the recorded run.
            number: look at this step alone, from 1; otherwise at all, and at what came after them.
        """
        if number is None:
            each = [line for n in range(1, len(expected) + 1) for line in self.differences(expected, n)]
            return each + ([self.ended] if self.ended and not each else [])
        then = expected[number - 1]
        if number > len(self.steps):
            return [f"{_named(number, then)} was not taken: {self.ended or 'there was nothing more to send'}"]
        now = self.steps[number - 1]
        return [f"{_named(number, then)}: {line}" for line in differences(then, now, live=self.live)]


def _named(number: int, step: Mapping[str, Any]) -> str:
    return f"Step {number}, {step['kind']} ({step['asks']})"


async def replay(
    recording: Recording, *, auth: McpAuth | None = None, really: bool = False, patience: float = _PATIENCE
) -> Replayed:
    """Play a recording: the actions that were begun, the steps that were taken, the changes that were made.

    Args:
        auth: how to authorize with a live server; see `flow_of`.
        really: send changed requests to a live server that is not on this machine.
        patience: seconds that the client may wait for what the recording does not have.

    Raises:
        ConfigurationError: see `flow_of`; or `really` is missing.
    """
    async with _run_of(recording, auth) as run:
        return replayed(run, recording, await play(run, recording, really=really, patience=patience))


def replayed(run: FlowRun, recording: Recording, ended: str = "") -> Replayed:
    """Return what came of a run that played a recording.

    Args:
        ended: what `play` returned.
    """
    steps = observe(run)
    if recording.live:
        # The observation names the recorded server and the recorded redirect URI, so that it can be compared.
        steps = _translated(steps, {**_origins(recording), **_redirects(recording, steps)})
    return Replayed(steps, ended, bool(recording.live))


@asynccontextmanager
async def _run_of(recording: Recording, auth: McpAuth | None) -> AsyncIterator[FlowRun]:
    setup = recording.setup
    lab = await Lab.open(**setup.lab) if setup.lab else None
    try:
        if lab is not None:
            run = FlowRun(lambda run: GuidedFlow(run, lab, **setup.options))
        else:
            run = FlowRun(flow_of(recording, auth))
        try:
            yield run
        finally:
            await run.aclose()
    finally:
        if lab is not None:
            await lab.aclose()


async def play(run: FlowRun, recording: Recording, *, really: bool = False, patience: float = _PATIENCE) -> str:
    """Take the recorded steps that a run has not taken yet.

    Args:
        really, patience: as for `replay`. A live server, and the person there, have as long as they need.

    Returns:
        Why it stopped before the last of them, or what would be sent after it; empty if it went as recorded.

    Raises:
        ConfigurationError: a change is to be sent to a real server, and `really` is missing.
    """
    for step in recording.steps[len(run.steps) :]:
        if not await _is_ready(run, step):
            return _why(run)
        if step.changes:
            run.change(really=really, **step.changes)
        try:
            async with asyncio.timeout(None if recording.live else patience):
                await run.step(predict=step.predicted)
        except TimeoutError:
            return f"the client waits for something else than {step.asks} answered"
    more = run.pending
    return f"the client goes on, with {more.kind}: {more.summary}" if more is not None else ""


async def _is_ready(run: FlowRun, step: RecordedStep) -> bool:
    """Begin the action that a step begins; say whether there is something to send."""
    if not step.begins:
        return run.pending is not None
    if run.state == "stepping":
        if not step.cancels:
            return False
        await run.cancel()
    return await run.begin(step.begins) is not None


def _why(run: FlowRun) -> str:
    if run.error is not None:
        return f"the client stopped: {type(run.error).__name__}: {run.error.message}"
    more = run.pending
    return f"the client sends {more.kind} instead: {more.summary}" if more is not None else "nothing more was sent"


# -- another server, another day -------------------------------------------------------------------------------


def _origins(recording: Recording) -> dict[str, str]:
    def origin(url: str) -> str:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc}"

    return {recording.live: recording.setup.url, origin(recording.live): origin(recording.setup.url)}


def _redirects(recording: Recording, steps: list[dict[str, Any]]) -> dict[str, str]:
    """Map the redirect URIs of now to the recorded ones: another port was free."""
    then = [step.asks for step in recording.steps if step.kind == "callback"]
    now = [step["asks"] for step in steps if step["kind"] == "callback"]
    return {is_.removeprefix("GET "): was.removeprefix("GET ") for was, is_ in zip(then, now, strict=False)}


def _translated(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _translated(item, names) for name, item in value.items()}
    if isinstance(value, list):
        return [_translated(item, names) for item in value]
    if isinstance(value, str):
        for now, then in names.items():
            value = value.replace(now, then)
    return value
