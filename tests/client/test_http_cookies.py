"""Which cookies of an MCP server are kept: the newest, none that is too long, and those no more that it took back."""

from __future__ import annotations

import httpx2

from mcp_oauth_nb.client.cookies import BoundedCookies


class Keeping:
    """A client's cookies, over one connection."""

    def __init__(self) -> None:
        self._cookies = httpx2.Cookies(BoundedCookies())

    def told(self, *cookies: str) -> None:
        """The server sets cookies."""
        request = httpx2.Request("POST", "https://mcp.example/mcp")
        headers = [("set-cookie", cookie) for cookie in cookies]
        self._cookies.extract_cookies(httpx2.Response(200, headers=headers, request=request))

    @property
    def sent(self) -> set[str]:
        """What goes with the next request."""
        request = httpx2.Request("POST", "https://mcp.example/mcp")
        self._cookies.set_cookie_header(request)
        return set(request.headers.get("cookie", "").split("; ")) - {""}


def test_a_cookie_of_4096_characters_is_kept_with_its_name_and_path_and_none_that_is_longer() -> None:
    kept = Keeping()
    kept.told(
        f"one={'x' * 4092}; path=/", "flag; path=/", f"two={'y' * 4093}; path=/", f"three={'z' * 4087}; path=/mcp"
    )
    assert kept.sent == {f"one={'x' * 4092}", "flag", f"three={'z' * 4087}"}
    kept.told(f"three={'z' * 4088}; path=/mcp")
    assert f"three={'z' * 4087}" in kept.sent


def test_of_51_cookies_the_one_that_was_set_longest_ago_goes() -> None:
    kept = Keeping()
    kept.told(*(f"c{number}=1" for number in range(50)))
    assert len(kept.sent) == 50
    kept.told("c0=2", "new=1")
    assert kept.sent == {"c0=2", "new=1", *(f"c{number}=1" for number in range(2, 50))}


def test_a_cookie_that_its_server_took_back_is_not_missed_when_it_would_be_the_oldest() -> None:
    kept = Keeping()
    kept.told("taken-back=1", "kept=1")
    kept.told("taken-back=1; Max-Age=0")
    assert kept.sent == {"kept=1"}
    kept.told(*(f"c{number}=1" for number in range(60)))
    assert kept.sent == {f"c{number}=1" for number in range(10, 60)}
