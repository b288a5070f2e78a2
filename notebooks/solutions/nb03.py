"""Solutions of notebook 03. A test runs them against the checks, each with a fresh lab."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable

import httpx

from mcp_oauth_nb import Lab


async def challenge(lab: Lab) -> Callable[[str], str]:
    """Hash the verifier's text, and write the hash in base64url without padding."""

    def make(verifier: str) -> str:
        digest = hashlib.sha256(verifier.encode("ascii")).digest()
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")

    return make


async def is_protected(lab: Lab) -> Callable[[str], bool]:
    """Ask for S256 by name, since its absence means plain, and for a challenge of its length."""

    def protected(url: str) -> bool:
        parameters = httpx.URL(url).params
        return parameters.get("code_challenge_method") == "S256" and len(parameters.get("code_challenge", "")) == 43

    return protected
