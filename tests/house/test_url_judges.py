"""Who judges URLs: each by the same questions (`oauth.urls`), and differently only where its job asks for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import pytest

from mcp_oauth_nb.client.jupyterhub import JupyterHub
from mcp_oauth_nb.client.login import check_for_browser
from mcp_oauth_nb.oauth import urls
from mcp_oauth_nb.oauth.allowed_urls import Places
from mcp_oauth_nb.oauth.errors import McpOAuthError
from mcp_oauth_nb.oauth.metadata_rules import problem_of
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.server.authserver.documents import check_url
from mcp_oauth_nb.server.authserver.redirects import problem_with
from mcp_oauth_nb.server.resource import PublicAddress

# A hub's address that is none is left alone: nobody is told why.
NOT_USED = "not used"


def _raised(judge: Callable[[str], object]) -> Callable[[str], str]:
    def reason(url: str) -> str:
        try:
            judge(url)
        except McpOAuthError as error:
            return error.message
        return ""

    return reason


def _led_to(server: str, url: str) -> None:
    Places(server, urls.resolve).check(url, credentials=True)


def _hub(url: str) -> str:
    hub = JupyterHub.here({"JUPYTERHUB_SERVICE_PREFIX": "/user/ada/", "JUPYTERHUB_PUBLIC_URL": url})
    assert hub is not None
    return "" if hub.public_url else NOT_USED


#: What a server names, what a person writes, what a client registers, and where this server is.
JUDGES: Mapping[str, Callable[[str], str]] = {
    "metadata": problem_of,
    "led to from the internet": _raised(partial(_led_to, "https://mcp.example/mcp")),
    "led to from here": _raised(partial(_led_to, "http://127.0.0.1:8000/mcp")),
    "setting": _raised(lambda url: IsolatedSettings(oauth_token_url=url)),
    "hub": _hub,
    "redirect": lambda url: problem_with(url, "native") or "",
    # An origin: what stands behind it in the rows is for the others.
    "public URL": _raised(lambda url: PublicAddress(url.removesuffix("/app"))),
    "document": _raised(check_url),
    "browser": _raised(check_for_browser),
}

EVERYBODY = frozenset(JUDGES)
WRITTEN = EVERYBODY - {"hub", "redirect"}
LED = frozenset({"led to from the internet", "led to from here"})
SPELLED_ONCE = frozenset({"redirect", "public URL"})

INSIDE = "is further inside the network than the server that leads there"
NO_TLS = "would be reached without TLS"
NOT_URI = "is not an absolute URI"
NOT_CLIENTS = "has a scheme that is never a client's"
NO_HOST_NAME = "has a host that is no public host name"

#: What each judge says of a URL; who is not named takes it.
ROWS: Mapping[str, Mapping[str, frozenset[str] | set[str]]] = {
    "https://as.example/app": {},
    "https://as.example:8443/app": {"has a port": {"document"}},
    # A second spelling does no harm but where URLs are compared character by character, as ours are by others.
    "https://as.example:443/app": {urls.NOT_NORMAL: SPELLED_ONCE},
    "https://AS.example/app": {urls.NOT_NORMAL: SPELLED_ONCE},
    "HTTPS://as.example/app": {urls.NOT_NORMAL: SPELLED_ONCE},
    "https://as.example/a/../app": {
        urls.NOT_NORMAL: {"redirect"},
        "no path and no slash": {"public URL"},
        "dot segments": {"document"},
    },
    # What is not this machine by one of its three names is reached by TLS. A server on this machine knows its own.
    "http://as.example/app": {
        urls.NOT_SECURE: {"metadata", "setting", "redirect", "public URL"},
        NO_TLS: LED,
        NOT_USED: {"hub"},
        "does not use https": {"document"},
    },
    "http://127.8.8.8/app": {
        urls.NOT_SECURE: {"metadata", "setting", "redirect", "public URL"},
        INSIDE: {"led to from the internet"},
        NOT_USED: {"hub"},
        "does not use https": {"document"},
    },
    **{
        f"http://{host}:9/app": {INSIDE: {"led to from the internet"}, "does not use https": {"document"}}
        for host in ("127.0.0.1", "[::1]", "localhost")
    },
    # Who wrote it knows where they are; a stranger does not lead inside, and no document is fetched from there.
    "https://10.0.0.1/app": {INSIDE: {"led to from the internet"}, NO_HOST_NAME: {"document"}},
    "https://printer.local/app": {INSIDE: {"led to from the internet"}, NO_HOST_NAME: {"document"}},
    "https://169.254.1.1/app": {INSIDE: LED, NO_HOST_NAME: {"document"}},
    "https://2130706433/app": {INSIDE: LED, NO_HOST_NAME: {"document"}, urls.NOT_NORMAL: SPELLED_ONCE},
    # The host of a redirect URI is named in a header (Content-Security-Policy), which has no such character.
    "https://as_1.example/app": {"has no host": {"redirect"}},
    "https://as.example/app?q=1": {NOT_USED: {"hub"}, "no path and no slash": {"public URL"}},
    "https://u@as.example/app": {urls.USER_NAME: EVERYBODY - {"hub"}, NOT_USED: {"hub"}},
    "https://@as.example/app": {urls.USER_NAME: EVERYBODY - {"hub"}, NOT_USED: {"hub"}},
    "https://as.example/app#x": {urls.FRAGMENT: EVERYBODY - {"hub"}, NOT_USED: {"hub"}},
    "https://as.example/app#": {urls.FRAGMENT: EVERYBODY - {"hub"}, NOT_USED: {"hub"}},
    # A client that will listen at any port may register this one.
    "https://as.example:0/app": {urls.NOT_ABSOLUTE: WRITTEN, NOT_USED: {"hub"}},
    "com.example.app:/cb": {urls.NOT_ABSOLUTE: WRITTEN, NOT_USED: {"hub"}},
    "https:///app": {urls.NOT_ABSOLUTE: WRITTEN, NOT_USED: {"hub"}, urls.NOT_NORMAL: {"redirect"}},
    **{
        url: {urls.NOT_ABSOLUTE: WRITTEN, NOT_USED: {"hub"}, NOT_URI: {"redirect"}}
        for url in ("https://as.example:x/app", "https://[::1/app", "/app", "//as.example/app", "as.example")
    },
    **{
        url: {urls.NOT_ABSOLUTE: WRITTEN, NOT_USED: {"hub"}, NOT_CLIENTS: {"redirect"}}
        for url in ("ftp://as.example/app", "javascript:alert(1)")
    },
    **{
        url: {urls.CHARACTERS: EVERYBODY - {"hub"}, NOT_USED: {"hub"}}
        for url in (
            "https://as.example/a b",
            "https://as.example/a\tb",
            "https://as.example\\@evil.example/app",
            "https://as.example/<app>",
            'https://as.example/"app"',
            "https://as.example/\x7f",
            "https://bücher.example/app",
        )
    },
    "https://xn--bcher-kva.example/app": {},
}


@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize("url", ROWS)
def test_whoever_judges_a_url_says_what_its_job_asks_for_and_no_more(url: str, judge: str) -> None:
    said = JUDGES[judge](url)
    wanted = next((why for why, judges in ROWS[url].items() if judge in judges), "")
    assert wanted in said
    assert bool(said) is bool(wanted), said


@pytest.mark.parametrize("judge", sorted(LED))
def test_a_person_may_type_the_host_of_their_server_in_another_alphabet(judge: str) -> None:
    url = "https://bücher.example/mcp"
    Places(url, urls.resolve).check(url, credentials=True)
    assert urls.CHARACTERS in JUDGES[judge](url)
