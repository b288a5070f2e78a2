"""The flow as a table: each step, who talks to whom, why it exists, and what asks for it.

The debugger, its panel, the exports and the documentation of a run are made from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class StepKind:
    """One step of the flow.

    Attributes:
        title: its name.
        why: why it exists, in two sentences.
        reference: the section that asks for it.
    """

    title: str
    why: str
    reference: str


_STEPS = {
    "handshake": StepKind(
        "Introduction",
        "Client and server agree on a version of the protocol and say what they can do. A server may let everybody "
        "do that, or ask for a token already here.",
        "MCP 2026-07-28, Lifecycle",
    ),
    "list": StepKind(
        "List of the tools",
        "The client learns which tools there are. Whether a tool needs a token does not show here.",
        "MCP 2025-06-18, Tools",
    ),
    "call": StepKind(
        "Request to the MCP server",
        "The client asks for what the user wants. Without a good token a protected server refuses, and the refusal "
        "says where to go.",
        "RFC 6750 section 3; MCP 2025-06-18, Authorization",
    ),
    "resource_metadata": StepKind(
        "Protected resource metadata",
        "The MCP server says who issues tokens for it. So the client needs to know nothing but the server's URL.",
        "RFC 9728 section 3",
    ),
    "server_metadata": StepKind(
        "Authorization server metadata",
        "The authorization server lists its endpoints and what it supports. The client checks that the document is "
        "that server's own and that PKCE with S256 is among it.",
        "RFC 8414 section 3",
    ),
    "registration": StepKind(
        "Registration of the client",
        "The authorization server has never met this client and gives it an id. The redirect URIs are fixed here, so "
        "that a code is only ever sent to this client.",
        "RFC 7591 section 3",
    ),
    "authorize": StepKind(
        "Authorization request, by the browser",
        "The person signs in and consents at the authorization server, where the client cannot look. The request "
        "carries the hash of a fresh code verifier, a state, the scopes and the resource.",
        "RFC 6749 section 4.1.1; RFC 7636 section 4.3; RFC 8707 section 2.1",
    ),
    "callback": StepKind(
        "Callback with the code",
        "The browser brings a code that is good once and briefly. The state shows that it answers this request, and "
        "`iss` which server it comes from.",
        "RFC 6749 section 4.1.2; RFC 9207 section 2",
    ),
    "token": StepKind(
        "Code for token",
        "The client exchanges the code for tokens and shows the code verifier. Whoever stole the code does not have "
        "the verifier.",
        "RFC 6749 section 4.1.3; RFC 7636 section 4.5",
    ),
    "authorized": StepKind(
        "The request again, with the token",
        "The client repeats its request with the access token in the Authorization header. The server checks that the "
        "token was made for it, is still good and reaches far enough.",
        "RFC 6750 section 2.1; RFC 8707 section 2",
    ),
    "refresh": StepKind(
        "Refresh",
        "The access token has expired, and the refresh token gets a new one without asking the person. For a public "
        "client each refresh token is good once and brings its successor.",
        "RFC 6749 section 6; RFC 9700 section 4.14",
    ),
    "reuse": StepKind(
        "The old refresh token, once more",
        "A refresh token that was used up comes back: either the client or a thief has an old copy. The server cannot "
        "tell which, so it must end the whole family of tokens.",
        "RFC 9700 section 4.14.2",
    ),
    "replay": StepKind(
        "The code, once more",
        "A code that was exchanged before is sent again, as whoever read a log would do. The server must refuse it, "
        "and should end the tokens that it gave.",
        "RFC 6749 section 4.1.2",
    ),
    "revoke": StepKind(
        "Revocation",
        "The client is done and says so. The token is worthless from then on, wherever a copy of it may lie.",
        "RFC 7009 section 2",
    ),
    "ended_refresh": StepKind(
        "The ended refresh token, tried",
        "The newest refresh token comes once more, after a revocation or a reuse has ended it. A confirmation alone "
        "proves nothing: that it is refused does.",
        "RFC 7009 section 2; RFC 9700 section 4.14.2",
    ),
    "ended_token": StepKind(
        "The ended access token, tried",
        "The request that was answered before is sent again, with the access token of the grant that has ended. A "
        "resource that checks a JWT by itself cannot know of that, and takes it until it expires.",
        "RFC 7009 section 2.1 and 3",
    ),
    "preflight": StepKind(
        "What a browser asks for a page",
        "Before a page of another site may send a token, its browser asks the server. Only a server that wants clients "
        "in pages has to allow it, and then at every endpoint that a client needs.",
        "RFC 9700 section 2.6",
    ),
    "cross_origin": StepKind(
        "The refusal, as a page sees it",
        "A client in a page calls without a token, and must be able to read the challenge. A browser hides every "
        "header that the server does not expose.",
        "RFC 9728 section 5.1",
    ),
}

#: Every step, in the order in which a first run meets them.
STEPS: Mapping[str, StepKind] = MappingProxyType(_STEPS)
