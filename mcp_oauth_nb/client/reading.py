"""What the SDK's client reads of a server, read first by this package: challenges and metadata documents.

The SDK finds a challenge's parameters with a pattern, wherever in the header they stand, and drops a document with one
bad field without a word. So it is given what our readers made of them: one plain Bearer challenge, and documents that
have nothing in them but what can be used. What was dropped is kept for the error that may come of it.
"""

from __future__ import annotations

from collections.abc import Mapping

import httpx2
from mcp.client.auth.utils import (
    build_protected_resource_metadata_discovery_urls,
    extract_resource_metadata_from_www_auth,
)

from ..oauth.challenge import AuthChallenge, read_challenge
from ..oauth.clock import Clock
from ..oauth.errors import McpOAuthError, ProtocolError
from ..oauth.masking import printable
from ..oauth.metadata_reading import Reading, dumped, read_resource_metadata, read_server_metadata
from .channels import CHALLENGE, FINDINGS
from .context import Context
from .flow_checks import answer_of


class FlowDiscovery:
    """Follows the SDK's discovery, for one provider.

    Args:
        context: the flow's state.
        clock: tells the time for `Retry-After`.
    """

    def __init__(self, context: Context, clock: Clock):
        self._context = context
        self._clock = clock
        self._notes: dict[str, None] = {}
        self._begin([])

    def _begin(self, places: list[str]) -> None:
        self._places = places
        self._issuers: tuple[str, ...] = ()
        self._errors: list[Reading] = []
        self._looked_at: list[str] = []
        self._document: Mapping[str, object] = {}
        self._reasons: dict[str, str] = {}

    @property
    def findings(self) -> tuple[str, ...]:
        """What was not as it should be, and was passed over, since the last authorization began."""
        return tuple(self._notes)

    def note(self, *findings: str) -> None:
        """Keep findings for the error that may come of them."""
        self._notes |= dict.fromkeys(findings)

    # -- the challenge ---------------------------------------------------------------------------------------------

    def challenged(self, request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
        """Return a response of the MCP server as the SDK is to see it: with one plain challenge, or with none."""
        if response.status_code not in (401, 403):
            return response
        challenge, findings = read_challenge(response.headers.get_list("www-authenticate"))
        # A copy: whoever sent the request gets the headers that came. Of the body the flow reads nothing.
        plain = httpx2.Response(
            response.status_code,
            headers=_plain(challenge, response.status_code),
            request=request,
            extensions=dict(response.extensions),
        )
        CHALLENGE.put(plain, challenge)
        FINDINGS.put(plain, findings)
        return plain

    def answered(self, response: httpx2.Response) -> None:
        """Keep what is wrong with the challenge that an authorization begins or ends with."""
        self.note(*(FINDINGS.of(response) or ()))

    # -- the documents ---------------------------------------------------------------------------------------------

    def begin(self, response: httpx2.Response) -> None:
        """Forget what an earlier authorization met: this challenge begins one, with a discovery."""
        self._notes = {}
        self.answered(response)
        named = extract_resource_metadata_from_www_auth(response)
        self._begin(build_protected_resource_metadata_discovery_urls(named, self._context.server_url))

    async def read(self, response: httpx2.Response) -> httpx2.Response:
        """Return the answer to a request for metadata as the SDK is to see it.

        Raises:
            McpOAuthError: no place has a document that can be used, and one has a document that cannot.
            TransientError: the metadata cannot be had now.
        """
        answer, now = await answer_of(response), self._clock.now()
        for_resource = bool(self._places)
        if for_resource:
            self._places = self._places[1:]
            reading = read_resource_metadata(answer, self._context.server_url, now=now)
        else:
            reading = read_server_metadata(answer, self._expected(), now=now)
        self._looked_at.append(f"{answer.url} ({answer.status})")
        if reading.stops and reading.error is not None:
            raise reading.error
        if reading.document is None:
            self._errors.append(reading)
            if for_resource and not self._places:
                # The SDK would now guess an authorization server.
                self._raise_unusable()
            return _answered(response, 404)
        self._use(reading, for_resource)
        return _answered(response, 200, dumped(reading.document))

    def _use(self, reading: Reading, for_resource: bool) -> None:
        assert reading.document is not None, "what is used is there"
        passed_over = [one.error.message for one in self._errors if one.unusable and one.error is not None]
        self._notes |= dict.fromkeys([*passed_over, *reading.findings])
        self._reasons |= {flaw.field: flaw.text for flaw in reading.flaws if flaw.field}
        self._errors, self._looked_at = [], []
        if for_resource:
            self._places = []
            self._issuers = (str(reading.document["authorization_servers"][0]),)

    def _expected(self) -> tuple[str, ...]:
        """Return who the authorization server must be: as the resource wrote it, or, without one, its origin."""
        if self._issuers:
            return self._issuers
        if self._context.auth_server_url is not None:
            return (self._context.auth_server_url,)
        at_origin = self._context.get_authorization_base_url(self._context.server_url)
        # MCP 2025-03-26 has no document that writes it down, so both spellings name the origin.
        return (at_origin, f"{at_origin}/")

    def _raise_unusable(self) -> None:
        for reading in self._errors:
            if reading.unusable and reading.error is not None:
                raise reading.error

    # -- what is missing -------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Check, once the SDK has no metadata of an authorization server, that it may go on without.

        Raises:
            McpOAuthError: there is such metadata, and it cannot be used; or there has to be, and is none.
        """
        self._raise_unusable()
        if self._context.auth_server_url is None:
            return  # MCP 2025-03-26: a server without metadata has its endpoints at /authorize, /token and /register.
        issuer = printable(self._context.auth_server_url)
        for reading in self._errors:
            if reading.error is not None:
                raise reading.error
        raise ProtocolError(
            f"The authorization server {issuer} publishes no metadata; asked were {', '.join(self._looked_at)}.",
            hint=f"Check that the MCP server names the right one. If so, the operator of {issuer} has to publish its "
            "metadata at one of these places.",
            reference="RFC 8414 section 3",
        )

    def reason(self, field: str) -> str:
        """Say why a field was left out of the metadata, after a space; empty if it was not."""
        return f" {self._reasons[field]}" if field in self._reasons else ""

    def annotate(self, error: McpOAuthError) -> None:
        """Add what was passed over to the error by which the flow ends."""
        if self._notes:
            error.add_note("\n".join(["What was passed over:", *(f"  {note}" for note in self._notes)]))


def _plain(challenge: AuthChallenge | None, status: int) -> dict[str, str]:
    """Return the headers for the SDK, whose pattern takes the first place where a parameter's name stands."""
    if challenge is None or (status == 403 and challenge.error != "insufficient_scope"):
        return {}
    named = challenge.resource_metadata
    # RFC 3986 section 2.3: a letter and its percent-encoding are the same, but not to a pattern.
    named = named.replace("scope=", "scop%65=") if named is not None else None
    scopes = tuple(one for one in challenge.scopes if "resource_metadata=" not in one and '"' not in one)
    error = challenge.error if status == 403 else None
    plain = AuthChallenge(error=error, resource_metadata=named, scopes=scopes)
    try:
        return {"WWW-Authenticate": plain.to_www_authenticate()}
    except ValueError:
        # RFC 6749 section 3.3: a scope is made of printable ASCII.
        return {"WWW-Authenticate": AuthChallenge(error=error, resource_metadata=named).to_www_authenticate()}


def _answered(response: httpx2.Response, status: int, content: bytes = b"") -> httpx2.Response:
    return httpx2.Response(status, content=content, request=response.request)
