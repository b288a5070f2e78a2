"""Where a host or an address is."""

from __future__ import annotations

import pytest

from mcp_oauth_nb.addresses import Reach, is_public_name, reach, reach_of_address, resolve

PUBLIC = [
    "mcp.example",
    "a.b.example.com",
    "1.2.3.example",
    "MCP.Example.",
    "shop.xn--p1ai",
    "8.8.8.8",
    "[2606:4700::1111]",
]
PUBLIC += ["[64:ff9b::808:808]"]
PRIVATE = ["intranet", "printer.local", "db.internal", "nas.lan", "10.0.0.1", "192.168.1.1", "100.64.0.1", "[fd00::1]"]
PRIVATE += ["[fec0::1]", "[2001:db8::1]", "[3fff::1]"]
LOOPBACK = ["localhost", "LOCALHOST.", "app.localhost", "127.0.0.1", "127.8.8.8", "[::1]"]
NOWHERE = [
    "", "169.254.169.254", "[fe80::1]", "[fe80::1%eth0]", "0.0.0.0", "[::]", "224.0.0.1", "240.0.0.1",
    "[::ffff:127.0.0.1]", "[::ffff:8.8.8.8]", "[2002:7f00:1::]", "[64:ff9b::7f00:1]", "2130706433", "0x7f.1",
    "0x7f000001", "0177.0.0.1", "127.1", "[::127.0.0.1]", "[::8.8.8.8]", "[64:ff9b:1::a00:1]", "[64:ff9b:1::808:808]",
    "[5f00::1]", "[4000::1]", "[1::1]",
]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "where"),
    [(host, where) for where, hosts in zip(Reach, (PUBLIC, PRIVATE, LOOPBACK, NOWHERE), strict=True) for host in hosts],
)
def test_a_host_is_where_its_text_says(host: str, where: Reach) -> None:
    assert reach(host) is where


def test_what_is_no_address_is_nowhere() -> None:
    assert reach_of_address("mcp.example") is Reach.NOWHERE


@pytest.mark.parametrize(
    "name", ["", "com", "-a.example", "a-.example", "a..example", "a b.example", "1.2.3.4", "x.arpa"]
)
def test_such_a_name_is_not_on_the_internet(name: str) -> None:
    assert not is_public_name(name)


@pytest.mark.anyio
async def test_the_operating_system_knows_this_machine() -> None:
    assert {reach_of_address(address) for address in await resolve("localhost")} == {Reach.LOOPBACK}
