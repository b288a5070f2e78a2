"""Servers of the Node world that nobody here wrote, each entered by `Session.open(url, auth=McpAuth(...))`.

The programs are in `peers/`: a few lines each around the packages that people use.
"""

from __future__ import annotations

from typing import Any

import pytest
from peers_world import Visit, node_server
from test_other_servers import MODES, enter_refresh_and_call_again

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
