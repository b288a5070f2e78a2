"""Exercises of notebook 07: custom providers."""

from __future__ import annotations

from typing import Any

import httpx

from ...client.handler import OAuthHandler
from ...oauth.errors import ConfigurationError
from ...oauth.settings import Settings
from .verdict import Verdict, checked, checked_function, not_yet, right

#: What the third provider publishes about itself (RFC 8414).
METADATA: dict[str, Any] = {
    "issuer": "https://files.example/tenants/7",
    "authorization_endpoint": "https://files.example/tenants/7/authorize",
    "token_endpoint": "https://tokens.files.example/v2/7",
    "scopes_supported": ["files.read", "files.write", "files.admin"],
    "response_types_supported": ["code"],
    "code_challenge_methods_supported": ["S256"],
    "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_basic"],
}

# A registered redirect URI, one that a request brings, and whether it may have the code.
_REDIRECTS = (
    ("https://app.example/callback", "https://app.example/callback", True),
    ("https://app.example/callback", "https://app.example/callback/", False),
    ("https://app.example/callback", "https://app.example/callback?next=x", False),
    ("https://app.example/callback", "https://app.example:8443/callback", False),
    ("https://app.example/callback", "https://evil.app.example/callback", False),
    ("https://app.example/callback", "http://app.example/callback", False),
    ("https://app.example/callback", "https://app.example/CALLBACK", False),
    ("http://127.0.0.1/callback", "http://127.0.0.1/callback", True),
    ("http://127.0.0.1/callback", "http://127.0.0.1:54321/callback", True),
    ("http://127.0.0.1:8000/callback", "http://127.0.0.1:54321/callback", True),
    ("http://127.0.0.1/callback", "http://127.0.0.1:54321/elsewhere", False),
    ("http://127.0.0.1/callback", "http://127.0.0.1:54321/callback?next=x", False),
    ("http://127.0.0.1/callback", "http://127.0.0.1:54321/callback#fragment", False),
    ("http://localhost:8000/callback", "http://localhost:54321/callback", False),
    ("http://127.0.0.1/callback", "http://127.0.0.1.evil.example/callback", False),
    ("http://127.0.0.1/callback", "http://127.0.0.1:54321@evil.example/callback", False),
    ("http://127.0.0.1/callback", "http://someone@127.0.0.1:54321/callback", False),
    ("http://127.0.0.1/callback", "https://127.0.0.1:54321/callback", False),
)


@checked
async def check_settings(answer: Any) -> Verdict:
    """The answer is settings with which a handler gets a token from the third provider."""
    if not isinstance(answer, Settings):
        return not_yet("those are no settings: assign IsolatedSettings(...).")
    provider = _ThirdProvider()
    oauth = OAuthHandler(settings=answer, client=lambda: httpx.AsyncClient(transport=httpx.MockTransport(provider)))
    request = oauth.get_authorization_url()
    url = httpx.URL(request.url)
    if str(url.copy_with(query=None)) != METADATA["authorization_endpoint"]:
        return not_yet(f"the user would be sent to {url.copy_with(query=None)}, where nobody is.")
    if oauth.issuer != METADATA["issuer"]:
        return not_yet(f"callbacks would have to name the issuer {oauth.issuer}, and theirs is another.")
    if url.params["scope"] != "files.read":
        return not_yet(f"the user would be asked for {url.params['scope']!r}; reading files needs one scope, another.")
    try:
        await oauth.exchange_code_for_token("a-code-of-this-check", request.code_verifier)
    except ConfigurationError:
        return not_yet("the token endpoint does not know the client: look at how it wants the credentials.")
    return right("the right endpoints, the smallest scope, and the client is recognised.")


class _ThirdProvider:
    """Its token endpoint: HTTP Basic or nothing."""

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if str(request.url) != METADATA["token_endpoint"]:
            return httpx.Response(404)
        if not request.headers.get("authorization", "").startswith("Basic "):
            return httpx.Response(401, json={"error": "invalid_client"})
        return httpx.Response(200, json={"access_token": "a-token-of-this-check", "token_type": "Bearer"})


@checked_function
def check_matches(answer: Any) -> Verdict:
    """The answer decides whether a requested redirect URI is the registered one."""
    for registered, requested, allowed in _REDIRECTS:
        said = answer(registered, requested)
        if said is not allowed:
            return not_yet(f"{registered} is registered, {requested} is requested: it said {said!r}.")
    return right(f"{len(_REDIRECTS)} redirect URIs, and each code goes where it belongs.")
