"""The way back into a JupyterHub, through the real jupyter-server-proxy of a Jupyter server at a prefix."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from front_ends import FrontEnds, browsing, new_page, started
from playwright.sync_api import Browser, Response

from mcp_oauth_nb.client.callback import CallbackListener
from mcp_oauth_nb.client.jupyterhub import JupyterHub
from mcp_oauth_nb.runtime.loops import run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

ANSWER = "code=a-code-of-nobody&state=a-state&iss=https%3A%2F%2Fas.example%2F"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnds]:
    with started(tmp_path_factory.mktemp("hub"), "--ServerApp.base_url=/user/ada/") as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as chromium:
        yield chromium


def visit(browser: Browser, address: str) -> Response:
    """Come from another site, as after a sign-in."""
    page = new_page(browser)
    link = f"<a href='{address.replace('&', '&amp;')}'>Authorize</a>"
    page.route("https://as.example/**", lambda route: route.fulfill(content_type="text/html", body=link))
    page.goto("https://as.example/authorize")
    with page.expect_navigation() as navigation:
        page.get_by_text("Authorize").click()
    page.wait_for_load_state()
    return navigation.value


def test_the_browser_comes_back_through_it_and_then_finds_nobody(server: FrontEnds, browser: Browser) -> None:
    hub = JupyterHub.here({"JUPYTERHUB_SERVICE_PREFIX": "/user/ada/", "JUPYTERHUB_PUBLIC_URL": f"{server.url}/"})
    assert hub is not None
    listener = CallbackListener(hub.proxied("http://127.0.0.1/callback"), str, hub)
    run(listener.__aenter__())
    try:
        address = f"{listener.redirect_uri}?{ANSWER}"
        assert address.startswith(f"{server.url}/proxy/")
        answer = visit(browser, address)
        assert (answer.status, "Signed in" in answer.text()) == (200, True)
        # Ours, and none that the Jupyter server adds: the address bar holds a code.
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert run(listener.wait(5)) == address
    finally:
        run(listener.__aexit__(None, None, None))
    assert visit(browser, address).status == 500
