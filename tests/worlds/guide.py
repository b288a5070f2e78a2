"""What the guide prints, for tests that hold the package to it. The order of the fields counts too: see `text`."""

from __future__ import annotations

import json
from typing import Any

# "Discovering Authorization Metadata".
METADATA = json.loads("""
{
  "issuer": "https://github.com",
  "authorization_endpoint": "https://github.com/login/oauth/authorize",
  "token_endpoint": "https://github.com/login/oauth/access_token",
  "scopes_supported": ["read:user"],
  "response_types_supported": ["code"],
  "grant_types_supported": ["authorization_code", "refresh_token"],
  "code_challenge_methods_supported": ["S256"],
  "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"]
}
""")

# "Step 3: Authorization Error Response".
ERROR = json.loads("""
{
  "error": {
    "code": -32001,
    "message": "Authentication required",
    "data": {
      "type": "oauth2",
      "grant_type": "authorization_code",
      "authorization_url": "https://github.com/login/oauth/authorize",
      "token_url": "https://github.com/login/oauth/access_token",
      "scopes": ["read:user"],
      "code_challenge_method": "S256",
      "resource": "https://api.github.com"
    }
  }
}
""")["error"]

# "Quick Start", what the server logs when it starts.
LOG_LINES = [
    "INFO - OAuth is configured",
    "INFO - OAuth scopes: read:user",
    "INFO - OAuth Issuer: https://github.com",
    "INFO - Authorization Endpoint: https://github.com/login/oauth/authorize",
    "INFO - Token Endpoint: https://github.com/login/oauth/access_token",
    "INFO - Supported Grant Types: authorization_code, refresh_token",
    "INFO - PKCE Methods: S256",
]


def text(value: Any) -> str:
    """Write a value so that equal texts have their fields in the same order."""
    return json.dumps(value)
