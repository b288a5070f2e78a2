"""The shipping authorization at the gate: its way through the browser, its requests and its clock.

The browser's part of a flow is two stops: the authorization URL on its way out, the callback on its way in. A run sees
the person at the browser as a link to open, and perhaps an address that is pasted.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit, urlunsplit

from mcp.shared.auth import AuthorizationCodeResult

from ..client.auth import McpAuth
from ..client.redirect import CheckIssuer, Redirect
from ..client.transport import TransportFactory
from ..oauth.authorization import callback_parameters, code_or_error
from ..oauth.clock import Clock
from ..oauth.errors import ReauthorizeError, SessionError
from ..oauth.masking import mask_url
from ..oauth.patience import Patience
from ..store.grants import MemoryGrantStore
from ..trace.messages import BROWSER, CLIENT
from .debug_gate import Held
from .exchange import Seen

if TYPE_CHECKING:
    from .run import FlowRun


async def at_browser(run: FlowRun, kind: Literal["authorize", "callback"], url: str) -> str:
    """Hold a URL that goes to the browser, or comes from it.

    Returns:
        The URL as it is to be used: with the parameters that were changed meanwhile.
    """
    parts = urlsplit(url)
    place = mask_url(url).partition("?")[0]
    held = Held(kind, place, dict(parse_qsl(parts.query, keep_blank_values=True)))
    await run.gate.hold(held)
    if held.changed:
        url = urlunsplit(parts._replace(query=urlencode(held.parameters)))
    number = run.sent(held)
    going = kind == "authorize"
    run.trace.record(
        sender=CLIENT if going else BROWSER,
        receiver=BROWSER if going else CLIENT,
        protocol="http",
        kind="notification",
        title=f"{'open' if going else 'GET'} {place}",
        url=mask_url(url),
    )
    run.arrived(number, Seen(kind, "GET", url))
    return url


class PasteWaiter:
    """Waits for an address that somebody pastes. It belongs to one event loop, but may be handed one from any thread.

    Args:
        changed: is called when the link comes and when it goes.

    Attributes:
        link: what is to be opened now, or an empty text.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.link = ""
        self._changed = changed
        self._answer: asyncio.Future[str] | None = None

    async def wait(self, url: str) -> str:
        """Show the link until an address is pasted, or the wait is cancelled because the browser came by itself."""
        self.link = url
        self._answer = asyncio.get_running_loop().create_future()
        self._changed()
        try:
            return await self._answer
        finally:
            self.link, self._answer = "", None
            self._changed()

    def paste(self, url: str) -> None:
        """Hand over the address.

        Raises:
            SessionError: no flow waits for an address.
        """
        answer = self._answer
        if answer is None:
            raise SessionError("No browser is waited for.", hint="Step to the authorization request first.")
        answer.get_loop().call_soon_threadsafe(_set, answer, url.strip())


def _set(answer: asyncio.Future[str], url: str) -> None:
    if not answer.done():
        answer.set_result(url)


class Ahead:
    """A clock ahead of another one: by it, tokens expire without a wait."""

    def __init__(self, clock: Clock):
        self._clock = clock
        self._ahead = 0.0

    def now(self) -> float:
        """See `Clock`."""
        return self._clock.now() + self._ahead

    def skip(self, seconds: float) -> None:
        """Put this clock further ahead."""
        self._ahead += seconds


class _GatedRedirect(Redirect):
    """The way through the browser, with a stop before and after."""

    def __init__(self, run: FlowRun, redirect_uri: str, **options: Any):
        super().__init__(redirect_uri, **options)
        self._run = run
        self._uri = redirect_uri

    async def start(self, redirect_uri: str | None = None) -> str:
        """See `Redirect`."""
        self._uri = await super().start(redirect_uri)
        return self._uri

    async def send(self, url: str, check_issuer: CheckIssuer) -> None:
        await super().send(await at_browser(self._run, "authorize", url), check_issuer)

    @property
    def _state(self) -> str:
        # A changed request may have no state.
        return parse_qs(urlsplit(self._url).query).get("state", [""])[-1]

    def _read(self, url: str) -> AuthorizationCodeResult:
        """Take whatever comes back: it is judged after the gate, so that one sees what the client refuses."""
        if "code" not in code_or_error(url):
            raise _Declined(url)
        return AuthorizationCodeResult(code=url)

    async def answer(self) -> AuthorizationCodeResult:
        """Wait for the browser, hold its callback at the gate, and verify what leaves the gate."""
        try:
            brought = (await super().answer()).code
        except _Declined as declined:
            brought = declined.url
        self._run.recorder.brought(brought, self._state)
        url = f"{self._uri}?{urlencode(callback_parameters(brought))}"
        try:
            return super()._read(await at_browser(self._run, "callback", url))
        except ReauthorizeError as refused:
            # The error may carry another one, which is raised in its place; see `Redirect`.
            raise getattr(refused, "error", refused) from None


class _Declined(ReauthorizeError):
    """The browser brought an error; a listener then shows so."""

    def __init__(self, url: str):
        super().__init__("The authorization server sent the browser back with an error.")
        self.url = url


@dataclasses.dataclass(frozen=True)
class GatedAuth(McpAuth):
    """The same authorization, with everything at the gate."""

    run: FlowRun | None = dataclasses.field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls, auth: McpAuth, person: PasteWaiter, *, run: FlowRun, carrier: TransportFactory, clock: Clock
    ) -> GatedAuth:
        """Make it from another one.

        Args:
            person: pastes the address, if `auth` has no function for that.
            run: what its way through the browser belongs to.
            carrier: carries its requests.
            clock: tells when a token has expired.
        """
        given = {field.name: getattr(auth, field.name) for field in dataclasses.fields(McpAuth)}
        # A store of its own: a run begins without a token, and leaves none behind.
        given |= {"carrier": carrier, "clock": clock, "store": MemoryGrantStore(), "patience": Patience()}
        if auth.paste is None:
            # The person and the listener are waited for together: the first answer counts.
            given |= {"paste": person.wait, "show": lambda text: None}
        return cls(**given, run=run)

    def redirect(self) -> Redirect:
        """See `McpAuth`."""
        assert self.run is not None, "made by `of`"
        return _GatedRedirect(self.run, self.way_back(), **self.redirect_options())
