"""Who may ask: pre-registered clients, clients that registered themselves, and clients described by a document."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, Literal

from mcp.server.auth.provider import RegistrationError
from mcp.shared.auth import InvalidRedirectUriError, InvalidScopeError, OAuthClientInformationFull, OAuthClientMetadata
from pydantic import AnyUrl

from ...oauth.clock import Clock
from ...oauth.errors import ConfigurationError, McpOAuthError, ProtocolError, StoreUnavailable
from ...oauth.masking import mask, remember, remember_made
from . import redirects
from .documents import CachedDocuments, is_document_url
from .metadata import AUTH_METHODS, GRANT_TYPES
from .vault import Vault
from .waiting import Waiting

#: A client that registered itself is forgotten after this many seconds without an authorization.
REGISTRATION_LIFETIME_SECONDS = 90 * 24 * 3600.0
#: One that was in none yet is forgotten after so many; there are so many of them, and so many of one address.
NEWCOMER_LIFETIME_SECONDS = 24 * 3600.0
MOST_NEWCOMERS, MOST_NEWCOMERS_EACH = 5000, 200

_MAX_NAME = 100
_MAX_TEXT = 2000
_WEB = ("https://", "http://")

Origin = Literal["pre-registered", "dynamic", "document"]


class Client(OAuthClientInformationFull):
    """A known client, with this server's stricter rules in the places where the SDK's handlers ask.

    `origin` says how it became known; `may_ask` are the scopes that it may ask for.
    """

    origin: Origin = "pre-registered"
    may_ask: tuple[str, ...] = ()

    def model_post_init(self, context: Any, /) -> None:
        """Note the secret, so that it is masked wherever it appears."""
        # Anybody may register, and must not fill the memory of those whom the operator knows.
        note = remember if self.origin == "pre-registered" else remember_made
        note(self.client_secret)

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, mask(value) if name == "client_secret" and value else value

    @property
    def uris(self) -> list[str]:
        """Its redirect URIs, as they are compared."""
        return [str(uri) for uri in self.redirect_uris or []]

    @property
    def display_name(self) -> str:
        """Its name for a person: what it calls itself, else its id."""
        name = "".join(c for c in self.client_name or "" if c.isprintable()).strip()
        return name[:_MAX_NAME] or self.client_id[:_MAX_NAME]

    def validate_scope(self, requested_scope: str | None) -> list[str] | None:
        """Return the scopes that were asked for, once each.

        Raises:
            InvalidScopeError: one of them is not for this client.
        """
        requested = list(dict.fromkeys((requested_scope or "").split()))
        if any(scope not in self.may_ask for scope in requested):
            raise InvalidScopeError(f"The scopes for this client are: {' '.join(self.may_ask) or 'none'}.")
        return requested or None

    def validate_redirect_uri(self, redirect_uri: AnyUrl | None) -> AnyUrl:
        """Return the redirect URI if it is registered.

        Raises:
            InvalidRedirectUriError: it is not, or none is given.
        """
        # pydantic has added a slash to a URI without a path; the authorization endpoint compared what was sent.
        given = str(redirect_uri or "")
        if redirect_uri is None or not (self.allows(given) or self.allows(given.removesuffix("/"))):
            raise InvalidRedirectUriError("The redirect_uri is not registered for this client.")
        return redirect_uri

    def allows(self, redirect_uri: str) -> bool:
        """Say whether a redirect URI, as it was sent, is one of the client's."""
        return redirects.matches(redirect_uri, self.uris) is not None


def check_registration(body: bytes, scopes: Collection[str]) -> bytes:
    """Check what a client wants to register, before anything is made of it (RFC 7591 section 2).

    Args:
        scopes: what there is. Others are left out of what is returned: a server may register less than it is asked
            for, and says in its answer what (section 3.2.1).

    Raises:
        RegistrationError: it breaks a rule.
    """
    try:
        metadata = json.loads(body.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise RegistrationError("invalid_client_metadata", "The body is not a JSON object without repeats.") from None
    if not isinstance(metadata, dict):
        raise RegistrationError("invalid_client_metadata", "The body is not a JSON object.")
    check_redirect_uris(metadata)
    check_text(metadata)
    asked = metadata.get("scope")
    if not isinstance(asked, str) or (asked and all(scope in scopes for scope in asked.split())):
        return body
    known = " ".join(scope for scope in asked.split() if scope in scopes)
    others = {name: value for name, value in metadata.items() if name != "scope"}
    return json.dumps({**others, "scope": known} if known else others).encode()


def check_redirect_uris(metadata: dict[str, Any]) -> None:
    """Check the redirect URIs against the application type.

    Raises:
        RegistrationError: one cannot be registered.
    """
    kind = metadata.get("application_type", "native")
    if kind not in ("native", "web"):
        raise RegistrationError("invalid_client_metadata", "application_type must be 'native' or 'web'.")
    uris = metadata.get("redirect_uris")
    if not isinstance(uris, list) or not 0 < len(uris) <= redirects.MAX_REDIRECT_URIS:
        raise RegistrationError("invalid_redirect_uri", f"redirect_uris must list 1 to {redirects.MAX_REDIRECT_URIS}.")
    for number, uri in enumerate(uris, 1):
        problem = redirects.problem_with(uri, kind) if isinstance(uri, str) else "is not a string"
        if problem is not None:
            # Not quoted: it may be meant for whoever reads the error.
            raise RegistrationError("invalid_redirect_uri", f"Redirect URI {number} {problem}.")


def check_text(metadata: dict[str, Any]) -> None:
    """Check what is shown to people.

    Raises:
        RegistrationError: a name is too long or has control characters; a link is no web address.
    """
    name = metadata.get("client_name")
    if isinstance(name, str) and (len(name) > _MAX_NAME or not name.isprintable()):
        raise RegistrationError("invalid_client_metadata", f"client_name: at most {_MAX_NAME} printable characters.")
    for field in ("client_uri", "logo_uri", "tos_uri", "policy_uri", "jwks_uri"):
        value = metadata.get(field)
        # The SDK reads an empty string as absent.
        if isinstance(value, str) and value and (len(value) > _MAX_TEXT or not value.startswith(_WEB)):
            raise RegistrationError("invalid_client_metadata", f"{field} is not a web address.")


class ClientDirectory:
    """Finds clients by their id.

    Args:
        vault: keeps the ones that registered themselves.
        documents: fetches the ones that have a document.
        known: the pre-registered ones. One with a `scope` is held to it.
        scopes: what the server has to give.
        clock: tells when a registration is of no use any more.

    Raises:
        ConfigurationError: a pre-registered client breaks the rules that hold for all.
    """

    def __init__(
        self,
        vault: Vault,
        documents: CachedDocuments,
        known: Iterable[OAuthClientInformationFull],
        scopes: Sequence[str],
        clock: Clock,
    ):
        self._vault = vault
        self._newcomers = Waiting(
            vault,
            "newcomers",
            clock,
            most=MOST_NEWCOMERS,
            most_each=MOST_NEWCOMERS_EACH,
            lifetime=NEWCOMER_LIFETIME_SECONDS,
        )
        self._documents = documents
        self._scopes = tuple(scopes)
        self._known = {client.client_id: self._pre_registered(client) for client in known}

    async def find(self, client_id: str) -> Client:
        """Return the client.

        Raises:
            McpOAuthError: there is none by this id, or its document is refused.
        """
        if client_id in self._known:
            return self._known[client_id]
        if is_document_url(client_id):
            return self._from_document(client_id, await self._documents.get(client_id))
        stored = await self._vault.get("clients", client_id) or await self._newcomers.get(client_id)
        if stored is None:
            raise ProtocolError("There is no client with this client_id.", hint="Register again.")
        return Client.model_validate({**stored, "origin": "dynamic", "may_ask": self._scopes})

    async def get(self, client_id: str) -> Client | None:
        """Return the client, or None: what the SDK's handlers ask for.

        Raises:
            StoreUnavailable: nobody can tell now.
        """
        try:
            return await self.find(client_id)
        except StoreUnavailable:
            raise
        except McpOAuthError:
            return None

    async def register(self, client: OAuthClientInformationFull) -> None:
        """Keep a client that registers itself. What it may not have is taken out of its record (RFC 7591 section 2).

        Its `scope` is kept, but does not bind it: a client that steps up asks for more than it began with, and
        what it gets is the person's decision.
        """
        client.grant_types = [grant for grant in client.grant_types if grant in GRANT_TYPES]
        client.response_types = ["code"]
        await self._newcomers.put(client.client_id, _record(client))

    async def renew(self, client: OAuthClientInformationFull) -> None:
        """Start a client's lifetime again, if the server keeps it: it is in use, by somebody who has signed in."""
        if not isinstance(client, Client):
            return
        if client.origin == "document":
            await self._documents.keep(client.client_id)
        elif client.origin == "dynamic":
            lifetime = REGISTRATION_LIFETIME_SECONDS
            await self._vault.put("clients", client.client_id, _record(client), lifetime=lifetime)
            await self._newcomers.delete(client.client_id)

    def _from_document(self, client_id: str, document: dict[str, Any]) -> Client:
        # A secret in a public document is none, and there is no key registry here: such clients are public.
        method = document.get("token_endpoint_auth_method", "none")
        if method != "none" or "client_secret" in document or "client_secret_expires_at" in document:
            raise ProtocolError("The client metadata document asks for a client authentication that is not offered.")
        try:
            check_redirect_uris(document)
            check_text(document)
            metadata = OAuthClientMetadata.model_validate({**document, "token_endpoint_auth_method": "none"})
            return Client.model_validate(
                {
                    **metadata.model_dump(mode="json", exclude_none=True),
                    "client_id": client_id,
                    "grant_types": [grant for grant in metadata.grant_types if grant in GRANT_TYPES],
                    "origin": "document",
                    "may_ask": self._scopes,
                }
            )
        except RegistrationError as error:
            raise ProtocolError(f"The client metadata document is refused: {error.error_description}") from None
        except ValueError:
            # pydantic's own, or half a surrogate pair that cannot be written.
            raise ProtocolError("The client metadata document has a member of the wrong type.") from None

    def _pre_registered(self, client: OAuthClientInformationFull) -> Client:
        record = client.model_dump(mode="json", exclude_none=True)
        method = record.get("token_endpoint_auth_method") or ("client_secret_post" if client.client_secret else "none")
        if method not in AUTH_METHODS or (method == "none") != (client.client_secret is None):
            raise ConfigurationError(f"The pre-registered client {client.client_id!r} has a secret and no use for it.")
        if client.redirect_uris:
            try:
                check_redirect_uris(record)
            except RegistrationError as error:
                problem = f"The pre-registered client {client.client_id!r}: {error.error_description}"
                raise ConfigurationError(problem) from None
        scopes = tuple(client.scope.split()) if client.scope else self._scopes
        return Client.model_validate({**record, "token_endpoint_auth_method": method, "may_ask": scopes})


def _record(client: OAuthClientInformationFull) -> dict[str, Any]:
    return client.model_dump(mode="json", exclude_none=True, exclude={"origin", "may_ask"})


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is repeated")
    return value
