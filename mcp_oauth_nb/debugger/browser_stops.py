"""The browser's part of a flow, as two stops: the authorization URL on its way out, the callback on its way in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from ..oauth.masking import mask_url
from ..trace.messages import BROWSER, CLIENT
from .exchange import Seen
from .gate import Held

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
