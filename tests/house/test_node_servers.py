"""Servers of the Node world that nobody here wrote, each entered by `Session.open(url, auth=McpAuth(...))`.

The programs are in `peers/`: a few lines each around the packages that people use.
"""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from peers_world import POLL_SECONDS, Visit, node_server
from program_world import LIMIT_SECONDS
from test_other_servers import MODES, enter_refresh_and_call_again, said

from mcp_oauth_nb.oauth.errors import IssuerMismatch

pytestmark = [pytest.mark.anyio, pytest.mark.e2e]

HOUR = "3600"


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("version", ["1", "2"])
async def test_the_typescript_sdks_server_lets_our_client_in_and_refreshes(version: str, mode: Any) -> None:
    with node_server(f"server_typescript_{version}", HOUR) as url:
        visit = Visit(f"{url}/mcp")
        answers = await enter_refresh_and_call_again(visit, mode)
    assert set(answers) == {f"notes at {url}/mcp"}
    assert visit.person.pages == ["/ask", "/callback"]


@pytest.mark.parametrize("mode", MODES)
async def test_oidc_provider_as_the_authorization_server_lets_our_client_in_and_refreshes(mode: Any) -> None:
    with node_server("server_oidc", HOUR) as url:
        visit = Visit(f"{url}/mcp")
        answers = await enter_refresh_and_call_again(visit, mode)
    assert set(answers) == {f"octocat: notes at {url}/mcp"}


SERVERS = ["server_typescript_1", "server_typescript_2", "server_oidc"]


@pytest.mark.parametrize("server", SERVERS)
async def test_a_token_that_ends_at_the_server_while_our_clock_stands_still_is_refreshed(server: str) -> None:
    with node_server(server, "1") as url:
        visit = Visit(f"{url}/mcp")
        async with visit.session() as session:
            first = said(await session.call_tool("whoami"))
            with anyio.fail_after(LIMIT_SECONDS):
                while "refresh_token" not in visit.grants():
                    await anyio.sleep(POLL_SECONDS)
                    assert said(await session.call_tool("whoami")) == first
    assert visit.person.pages.count("/callback") == 1


async def test_a_page_that_leaves_out_the_issuer_which_its_router_announces_is_refused() -> None:
    # The page's own fault: version 2's router promises `iss` in every answer, and adds it to its own redirects only.
    with node_server("server_typescript_2", HOUR, "unnamed") as url:
        visit = Visit(f"{url}/mcp")
        with pytest.raises(IssuerMismatch, match="iss"):
            async with visit.session():
                raise AssertionError("it opened")
    assert visit.person.pages == ["/ask", "/callback"]
    assert visit.grants() == []
