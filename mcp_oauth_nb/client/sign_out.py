"""The end of a grant at the issuer that gave it: after a sign-out, and of what a refresh brings after one."""

from __future__ import annotations

from dataclasses import replace

import httpx2

from ..oauth.errors import NotRevoked
from ..oauth.masking import printable
from ..oauth.revocation import Revocation, not_revoked
from ..store.grants import Grant
from .channels import ERROR
from .context import Context, Stop
from .flow_checks import answer_of


class GrantRevocation:
    """The revocation of a grant's token, by the client that it was given to: send each `request`, `read` its answer.

    Args:
        context: the flow's; only the clock and the ways to authenticate are used.
        grant: without a token there is nothing to revoke.
    """

    def __init__(self, context: Context, grant: Grant):
        # What the flow knows of a server may be of another one by now.
        self._context = replace(context, client_info=grant.client.model_copy(), oauth_metadata=grant.metadata)
        self._grant = grant
        self._endpoint = grant.metadata.revocation_endpoint if grant.metadata is not None else None
        self._revocation = Revocation(grant.token)
        self._empty_secret: dict[str, str] = {}

    def request(self) -> httpx2.Request | None:
        """Make the next request, if there is one (RFC 7009 section 2.1)."""
        form = self._revocation.form
        if self._endpoint is None or form is None:
            return None
        # As at the token endpoint, which the SDK tells its client id whatever authenticates it.
        data = {**form, "client_id": str(self._grant.client.client_id)}
        try:
            data, headers = self._context.prepare_token_auth(data, {})
        except Stop as stop:
            # A damaged registration: the client cannot authenticate as it says.
            self._revocation.read(stop.error, self._context.clock.now())
            return None
        return httpx2.Request("POST", str(self._endpoint), data={**data, **self._empty_secret}, headers=headers)

    async def read(self, response: httpx2.Response) -> None:
        """Read the answer to the last request."""
        answer = ERROR.of(response) or await answer_of(response)
        if response.status_code == 400 and not self._empty_secret and self._context.auth_method != "client_secret_post":
            # The SDK's server wants the field of every client; RFC 6749 section 3.2: an empty one counts as none.
            self._empty_secret = {"client_secret": ""}
            return
        self._revocation.read(answer, self._context.clock.now())

    @property
    def failure(self) -> NotRevoked | None:
        """What may still be good when there is no more request; None if all of it has ended."""
        token, alive = self._grant.token, self._revocation.alive
        if token is None or not alive:
            return None
        issuer = printable(self._grant.issuer)
        why = f"{issuer} names no revocation endpoint." if self._endpoint is None else f"{issuer} ends no such tokens."
        return not_revoked(token, self._revocation.error, why=why, alive=alive)
