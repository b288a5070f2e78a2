"""Solutions of notebook 04. A test runs them against the checks, each with a fresh lab."""

from __future__ import annotations

from mcp_oauth_nb import Lab, OAuthHandler


async def strict_handler(lab: Lab) -> OAuthHandler:
    """Make a handler that knows that `iss` is always sent."""
    return OAuthHandler(settings=lab.settings, client=lab.http_client(), clock=lab.clock, iss_required=True)


async def token_request(lab: Lab) -> dict[str, str]:
    """Fill in the form of a new flow."""
    request = lab.oauth.get_authorization_url()
    response = lab.oauth.read_callback(await lab.browser.authorize(request.url))
    return {
        "grant_type": "authorization_code",
        "code": response.code,
        "redirect_uri": lab.settings.oauth_redirect_uri,
        "code_verifier": request.code_verifier,
        "resource": lab.oauth.resource_uri,
        "client_id": lab.github.client_id,
        "client_secret": lab.github.client_secret,
    }
