"""Behaviour of the mock that can be chosen: what GitHub documents and what it was seen doing differ in places.

Every knob is read at the call, so a test can turn it in the middle of a flow. `unverified` in a comment means
that nobody could establish what the live service does: no client may depend on the default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass
class Knobs:
    """What can be turned. Times and lifetimes are in seconds; a limit of None is no limit."""

    #: Send `iss` on callbacks (RFC 9207): yes, no, or this value instead (a mix-up attack).
    iss: bool | str = True
    #: Advertise `authorization_response_iss_parameter_supported` in the metadata. Unverified.
    iss_advertised: bool = True
    #: A redirect URI that does not match: the error page seen live, or the documented redirect.
    redirect_mismatch: Literal["page", "redirect"] = "page"
    #: PKCE parameters that break the rules: where the error is shown. Unverified.
    pkce_error: Literal["redirect", "page"] = "redirect"
    #: Accept HTTP Basic client authentication at the token endpoint. Unverified.
    basic_auth: bool = True
    #: A refresh token that comes back a second time kills its whole family. Unverified; off is the milder reading.
    refresh_reuse_revokes: bool = False
    code_lifetime: float = 600
    access_token_lifetime: int = 28_800
    refresh_token_lifetime: int = 15_897_600
    #: Live tokens for one user, app and scope; the oldest is revoked when one more is issued.
    tokens_per_scope: int | None = 10
    #: New tokens for one user, app and scope in an hour; then consent is asked again even where it was given.
    tokens_per_hour: int | None = 10
    device_code_lifetime: int = 900
    device_interval: int = 5
    #: REST requests an hour, per user and per anonymous address.
    rate_limit: int = 5000
    rate_limit_anonymous: int = 60
    #: The status of a refusal, primary limit or secondary: GitHub documents both.
    rate_limit_status: Literal[403, 429] = 403
    #: REST requests a minute before the secondary limit refuses; its Retry-After may be absent (None).
    secondary_limit: int | None = None
    secondary_retry_after: int | None = 60
