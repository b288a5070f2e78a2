"""What the client registers, what it is answered, and how it authenticates at the token endpoint (RFC 7591).

No error has a body in it: a body may hold a secret.
"""

from __future__ import annotations

import json
from typing import Any

import httpx2
from mcp.client.auth.oauth2 import OAuthContext
from mcp.client.auth.utils import create_client_registration_request, union_scopes
from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata

from ..oauth.authorization import describe
from ..oauth.errors import ConfigurationError, McpOAuthError, OAuthErrorResponse, ProtocolError
from ..oauth.http import Answer
from ..oauth.http_faults import place_of
from ..oauth.masking import printable, remember_heard
from ..oauth.token_endpoint import check_available
from .flow_checks import answer_of

_REGISTER_YOURSELF = "Register a client with the server's operator, and pass it: McpAuth(client=...)."
#: How the flow can authenticate. A native app keeps no secret from its user, so `none` comes first (RFC 8252 section
#: 8.4); of the two with a secret every server has the first (RFC 6749 section 2.3.1).
METHODS = ("none", "client_secret_basic", "client_secret_post")
_WITH_SECRET = METHODS[1:]
_SHOWN_METHODS = 10


def check_registration_offered(context: OAuthContext, reason: str = "") -> None:
    """Check that the authorization server says where to register; the SDK would guess.

    Args:
        reason: why what it says of that was left out, after a space.

    Raises:
        ConfigurationError: it does not.
    """
    metadata = context.oauth_metadata
    if metadata is not None and metadata.registration_endpoint is None:
        raise ConfigurationError(
            f"The authorization server {printable(str(metadata.issuer))} registers no clients by itself.{reason}",
            hint=_REGISTER_YOURSELF,
            reference="RFC 7591 section 3",
        )


def registration_request(context: OAuthContext) -> httpx2.Request:
    """Register for every scope that a step-up may need: each authorization asks for its own few.

    The SDK registers for the first few only, and servers hold a client to that. A second registration would be
    another client, to which a stateful MCP session does not belong.

    Raises:
        ConfigurationError: the server takes clients by no method that this client has.
    """
    scope = context.client_metadata.scope
    for metadata in (context.protected_resource_metadata, context.oauth_metadata):
        scope = union_scopes(scope, " ".join(metadata.scopes_supported or ()) if metadata is not None else None)
    # RFC 6749 section 3.3: a scope names one at least. Without the method the RFC's default would hold, which is
    # `client_secret_basic` (RFC 7591 section 2).
    said = {"scope": scope or None, "token_endpoint_auth_method": _method_to_ask_for(context.oauth_metadata)}
    return create_client_registration_request(
        context.oauth_metadata,
        context.client_metadata.model_copy(update=said),
        context.get_authorization_base_url(context.server_url),
    )


def _method_to_ask_for(metadata: OAuthMetadata | None) -> str:
    listed = metadata.token_endpoint_auth_methods_supported if metadata is not None else None
    if metadata is None or not listed:
        return METHODS[0]
    method = next((method for method in METHODS if method in listed), None)
    if method is None:
        raise ConfigurationError(
            f"The authorization server {printable(str(metadata.issuer))} has clients authenticate by {_shown(listed)} "
            f"only. This client can by {_shown(METHODS)}.",
            hint="Ask the server's operator for a client that authenticates by one of these, and pass it: "
            "McpAuth(client=...).",
            reference="RFC 8414 section 2, token_endpoint_auth_methods_supported",
        )
    return method


def auth_method(client: OAuthClientInformationFull, metadata: OAuthMetadata | None) -> str:
    """Return how a client authenticates at the token endpoint.

    Args:
        client: a registration. Where it names no method, its secret decides, and what the server lists.
        metadata: of the authorization server, where it has some.

    Raises:
        ProtocolError: the registration names a method that this client does not have, or one that needs a secret and
            has none.
    """
    method = client.token_endpoint_auth_method
    if method is None:
        return _method_for_secret(metadata) if client.client_secret else "none"
    if method not in METHODS:
        raise ProtocolError(
            f"The client is registered to authenticate by token_endpoint_auth_method {printable(repr(method))}. This "
            f"client can by {_shown(METHODS)}.",
            hint=_REGISTER_YOURSELF,
            reference="RFC 7591 section 3.2.1",
        )
    if method in _WITH_SECRET and not client.client_secret:
        raise ProtocolError(
            f"The client is registered to authenticate by {method}, but has no client_secret.",
            hint=_REGISTER_YOURSELF,
            reference="RFC 7591 section 3.2.1",
        )
    return method


def _method_for_secret(metadata: OAuthMetadata | None) -> str:
    # RFC 8414 section 2: a server that lists nothing has client_secret_basic.
    listed = (metadata.token_endpoint_auth_methods_supported if metadata is not None else None) or _WITH_SECRET[:1]
    return next((method for method in _WITH_SECRET if method in listed), "none")


async def read_registration(context: OAuthContext, response: httpx2.Response, now: float) -> httpx2.Response:
    """Read the answer to a registration, and return what the SDK may read in its place.

    Of the answer counts what is used later. The redirect URIs are those that were sent: where to listen is not for a
    server to choose.

    Args:
        context: the flow's, with the server's metadata.
        response: the answer, whose request is the registration.
        now: the time in seconds since the epoch.

    Raises:
        TransientError: try again later.
        OAuthErrorResponse, ConfigurationError: the server refused.
        ProtocolError: the answer is not one of RFC 7591, or its client cannot be used.
    """
    answer = await answer_of(response)
    check_available(answer, now)
    if answer.status not in (200, 201):
        raise _registration_refused(answer)
    body = answer.json_object()
    secret = body.get("client_secret")
    remember_heard(secret if isinstance(secret, str) else None)
    client_id = _text(answer, body, "client_id")
    if client_id is None:
        raise _unusable(answer, "`client_id` is missing")
    client = OAuthClientInformationFull(
        client_id=client_id,
        client_secret=_text(answer, body, "client_secret"),
        token_endpoint_auth_method=_text(answer, body, "token_endpoint_auth_method"),
        client_id_issued_at=_whole(body.get("client_id_issued_at")),
        client_secret_expires_at=_whole(body.get("client_secret_expires_at")),
        scope=_scope(body.get("scope")),
    )
    client.token_endpoint_auth_method = auth_method(client, context.oauth_metadata)
    known = client.model_dump(mode="json", exclude_none=True, exclude={"issuer"})
    sent = json.loads(response.request.content)
    return httpx2.Response(201, json={**known, "redirect_uris": sent["redirect_uris"]}, request=response.request)


async def redirects_elsewhere(response: httpx2.Response) -> str:
    """Say that a registration was answered with other redirect URIs than those that were sent; empty if it was not."""
    registered = (await answer_of(response)).json_object().get("redirect_uris")
    (sent,) = json.loads(response.request.content)["redirect_uris"]
    if not isinstance(registered, list) or not registered or sent in registered:
        return ""
    shown = printable(", ".join(map(str, registered[:_SHOWN_METHODS])))
    place = printable(place_of(response.request.url))
    return (
        f"{place} registered the redirect URI {shown}, not {sent}, which is used all the same: the "
        "server may refuse to lead the person back there (RFC 7591 section 3.2.1)."
    )


def _text(answer: Answer, body: dict[str, Any], name: str) -> str | None:
    """Return a field that the client needs. An empty one, or a null, stands for none."""
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise _unusable(answer, f"`{name}` is {_TYPES[type(value)]}, not a text")
    if value is not None and not value.isprintable():
        # RFC 6749 appendices A.1 and A.2; half a surrogate pair could not even be sent.
        raise _unusable(answer, f"`{name}` has characters that cannot be shown")
    return value or None


_TYPES: dict[type, str] = {
    bool: "a truth value",
    int: "a number",
    float: "a number",
    list: "an array",
    dict: "an object",
}


def _scope(value: object) -> str | None:
    """Return the scopes that were registered, if they are some; nobody needs them."""
    return value if isinstance(value, str) and value.isprintable() and value else None


def _whole(value: object) -> int | None:
    """Return a time of no consequence, if it is one: some servers write 3600.0, or nonsense."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _unusable(answer: Answer, why: str) -> ProtocolError:
    return ProtocolError(
        f"{answer.url} answered without a usable registration: {why}.",
        hint=f"Tell the server's operator. {_REGISTER_YOURSELF}",
        reference="RFC 7591 section 3.2.1",
    )


def _registration_refused(answer: Answer) -> McpOAuthError:
    try:
        body = answer.json_object()
    except ProtocolError:
        body = {}
    code = body.get("error")
    if not isinstance(code, str):
        text = f"{answer.url} answered {answer.status} to the registration."
        return ConfigurationError(text, hint=_REGISTER_YOURSELF)
    text = f"The registration was answered {describe(code, body.get('error_description'))}."
    return OAuthErrorResponse(text, code=printable(code), reference="RFC 7591 section 3.2.2")


def client_refused(
    error: McpOAuthError, client: OAuthClientInformationFull, metadata: OAuthMetadata | None
) -> tuple[str, str]:
    """Say how a client that the token endpoint refused had authenticated: the message, and the way to look further."""
    used = auth_method(client, metadata)
    listed = metadata.token_endpoint_auth_methods_supported if metadata is not None else None
    lists = f"its metadata lists {_shown(listed)}" if listed else "its metadata lists no methods"
    return f"{error.message.removesuffix('.')}; the client authenticated by {used}.", lists


def _shown(methods: Any) -> str:
    return printable(", ".join(map(str, methods[:_SHOWN_METHODS])))
