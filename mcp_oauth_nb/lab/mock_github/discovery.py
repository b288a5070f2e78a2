"""The metadata documents of the authorization server, at the two addresses where GitHub has them."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import authorize, device, pages, token
from .state import State

# RFC 8414 section 3.1 puts the issuer's path behind the well-known part; OpenID Connect Discovery
# section 4 puts it in front. The other combinations are 404, as on github.com.
RFC_8414 = "/.well-known/oauth-authorization-server/login/oauth"
OPENID = "/login/oauth/.well-known/openid-configuration"
_JWKS = "/login/oauth/.well-known/jwks"


class Discovery:
    """Both documents, and the empty key set that the second one points to."""

    def __init__(self, state: State):
        self._state = state

    def routes(self) -> list[Route]:
        """Return what to mount."""
        return [
            Route(RFC_8414, self._rfc_8414),
            Route(OPENID, self._openid),
            Route(_JWKS, self._jwks),
            Route("/.well-known/{path:path}", _nothing_here),
            Route("/login/oauth/.well-known/{path:path}", _nothing_here),
        ]

    async def _rfc_8414(self, _: Request) -> Response:
        return JSONResponse(self._metadata())

    async def _openid(self, _: Request) -> Response:
        # That GitHub names all endpoints here too is unverified; a client that reads this document needs them.
        openid = {
            "jwks_uri": self._state.web_url + _JWKS,
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return JSONResponse(self._metadata() | openid)

    async def _jwks(self, _: Request) -> Response:
        return JSONResponse({"keys": []})

    def _metadata(self) -> dict[str, Any]:
        # No registration_endpoint: GitHub registers apps by hand only.
        web, knobs = self._state.web_url, self._state.knobs
        metadata: dict[str, Any] = {
            "issuer": self._state.issuer,
            "authorization_endpoint": web + authorize.PATH,
            "token_endpoint": web + token.PATH,
            "device_authorization_endpoint": web + device.PATH,
            "response_types_supported": ["code"],
            "grant_types_supported": ["authorization_code", "refresh_token", device.GRANT_TYPE],
            "code_challenge_methods_supported": ["S256"],
            "service_documentation": "https://docs.github.com/apps/creating-github-apps",
        }
        if knobs.iss_advertised:
            metadata["authorization_response_iss_parameter_supported"] = True
        return metadata


async def _nothing_here(_: Request) -> Response:
    return pages.error_page("Page not found", "There is no metadata at this address.", status=404)
