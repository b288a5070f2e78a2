"""Solutions of notebook 13. A test runs them against the checks."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

from mcp_oauth_nb import Lab


async def redirect_uri(lab: Lab) -> Callable[[str, str], bool]:
    """Compare exactly; then again without the port, if both are at the loopback address."""

    def answer(registered: str, asked: str) -> bool:
        return asked == registered or without_port(asked) == without_port(registered) != ""

    def without_port(uri: str) -> str:
        parts = urlsplit(uri)
        if parts.scheme != "http" or parts.netloc.partition(":")[0] != "127.0.0.1" or "@" in parts.netloc:
            return ""
        return uri.replace(parts.netloc, "127.0.0.1", 1)

    return answer


async def code_to_send(lab: Lab) -> Callable[[str, str, str], str | None]:
    """Take the code only if state and iss are the expected ones, each is there once, and there is no error."""

    def answer(url: str, state: str, issuer: str) -> str | None:
        parameters = parse_qs(urlsplit(url).query)
        if parameters.get("state") != [state] or parameters.get("iss") != [issuer] or "error" in parameters:
            return None
        codes = parameters.get("code", [])
        return codes[0] if len(codes) == 1 else None

    return answer
