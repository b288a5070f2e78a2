"""What is asked of a URL: where its host or an address is, and what differs between two."""

from __future__ import annotations

import threading

import anyio
import anyio.to_thread
import pytest

from mcp_oauth_nb.oauth.urls import (
    Reach,
    difference,
    is_public,
    is_public_name,
    peer_of,
    reach,
    reach_of_address,
    resolve,
)

PUBLIC = [
    "mcp.example",
    "a.b.example.com",
    "1.2.3.example",
    "MCP.Example.",
    "shop.xn--p1ai",
    "8.8.8.8",
    "[2606:4700::1111]",
]
PUBLIC += ["[64:ff9b::808:808]", "8.8.8.8%eth0"]
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


@pytest.mark.parametrize(
    "address",
    [
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo (RFC 4380), of a public server and client
        "2001::1",
        "2002:808:808::1",  # 6to4 (RFC 3056) of a public address
        "64:ff9b::a00:1",  # NAT64 (RFC 6052) of a private address
        "64:ff9b::7f00:1",
        "64:ff9b:1::808:808",  # NAT64 of a network's own (RFC 8215)
        "::ffff:8.8.8.8",  # IPv4-mapped
        "::8.8.8.8",  # IPv4-compatible
    ],
)
def test_an_address_that_wraps_another_is_neither_public_nor_a_neighbour(address: str) -> None:
    # Who unwraps it, and where to, is for the network to say.
    assert not is_public(address)
    assert reach_of_address(address) is Reach.NOWHERE


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("fc00::1", Reach.PRIVATE),
        ("fd12:3456::1", Reach.PRIVATE),
        ("10.255.255.255", Reach.PRIVATE),
        ("172.16.0.1", Reach.PRIVATE),
        ("fe80::1%eth0", Reach.NOWHERE),
        ("fe80::1%25eth0", Reach.NOWHERE),
        ("febf::1", Reach.NOWHERE),
        ("ff02::1", Reach.NOWHERE),
        ("ff0e::1", Reach.NOWHERE),
        ("224.0.1.1", Reach.NOWHERE),
        ("255.255.255.255", Reach.NOWHERE),
        ("169.254.1.1%eth0", Reach.NOWHERE),
        ("::1%lo", Reach.LOOPBACK),
        ("10.0.0.1%eth0", Reach.PRIVATE),
        ("3fff:fff::1", Reach.PRIVATE),
    ],
)
def test_what_is_not_out_in_the_internet_is_as_near_as_its_kind_says(address: str, where: Reach) -> None:
    assert not is_public(address)
    assert reach_of_address(address) is where


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1111", "2a00:1450::1", "64:ff9b::808:808", "172.32.0.1", "8.8.8.8%eth0"]
)
def test_an_address_out_in_the_internet_is_public(address: str) -> None:
    assert is_public(address)
    assert reach_of_address(address) is Reach.PUBLIC


class Connection:
    """The connection under an answer."""

    def __init__(self, server: object):
        self.server = server

    def get_extra_info(self, name: str) -> object:
        return self.server if name == "server_addr" else None


@pytest.mark.parametrize(
    ("extensions", "peer"),
    [
        ({"network_stream": Connection(("8.8.8.8", 443))}, "8.8.8.8"),
        ({"network_stream": Connection(("::1", 443, 0, 0))}, "::1"),
        ({"network_stream": Connection("/run/a.sock")}, None),
        ({"network_stream": Connection(None)}, None),
        ({}, None),
    ],
)
def test_the_peer_of_an_answer_is_the_address_that_it_came_from(
    extensions: dict[str, object], peer: str | None
) -> None:
    assert peer_of(extensions) == peer


def test_what_is_no_address_is_nowhere() -> None:
    assert reach_of_address("mcp.example") is Reach.NOWHERE
    assert not is_public("mcp.example")


@pytest.mark.parametrize(
    "name",
    ["", "com", "-a.example", "a-.example", "a..example", "a b.example", "1.2.3.4", "x.arpa", "x.localhost", "x.local",
     "x.internal", "x.lan", "x.home", "x.corp", "x.intranet"],
)  # fmt: skip
def test_such_a_name_is_not_on_the_internet(name: str) -> None:
    assert not is_public_name(name)


@pytest.mark.anyio
async def test_the_operating_system_knows_this_machine() -> None:
    assert {reach_of_address(address) for address in await resolve("localhost")} == {Reach.LOOPBACK}


@pytest.mark.anyio
async def test_who_gives_up_does_not_wait_for_the_operating_system() -> None:
    asked, over = threading.Event(), threading.Event()

    def look_up(host: str, port: int, **options: object) -> list[object]:
        asked.set()
        over.wait(20)
        return []

    with anyio.fail_after(10):
        async with anyio.create_task_group() as group:
            group.start_soon(resolve, "slow.example", look_up)
            await anyio.to_thread.run_sync(asked.wait)
            group.cancel_scope.cancel()
        assert not over.is_set()
    over.set()


@pytest.mark.anyio
async def test_an_address_that_is_found_twice_is_said_once() -> None:
    def look_up(host: str, port: int, **options: object) -> list[object]:
        return [(2, 1, 6, "", ("8.8.8.8", port)), (10, 1, 6, "", ("::1", port, 0, 0)), (2, 1, 6, "", ("8.8.8.8", 1))]

    assert await resolve("twice.example", look_up) == ["8.8.8.8", "::1"]


# -- two that should be the same -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        ("https://id.example/a", "they are the same"),
        ("https://id.example/a/", "only a slash at the end differs"),
        ("http://id.example/a", "the scheme differs"),
        ("https://ID.example/a", "only the case differs"),
        ("https://id.example:443/a", "only a default port differs"),
        ("https://id.example:8443/a", "the port differs"),
        ("https://other.example/a", "the host differs"),
        ("https://id.example/b", "the path differs"),
        ("https://id.example/A", "the case of the path differs"),
        ("https://id.example/a?x=1", "the path differs"),
        ("http://other.example/a", "the scheme and the host differ"),
        ("http://other.example:8080/b", "the scheme and the host and the port and the path differ"),
        ("https://id.example/aX", "the path differs"),
        ("id.example", "one of them is no absolute URL"),
        ("//id.example/a", "one of them is no absolute URL"),
        ("https:/a", "one of them is no absolute URL"),
        ("https://[", "one of them is no URL"),
    ],
)
def test_what_differs_is_said(seen: str, words: str) -> None:
    assert difference("https://id.example/a", seen) == words


@pytest.mark.parametrize("path", ["/X", "/aX"])
def test_only_slashes_at_the_end_count_as_slashes(path: str) -> None:
    assert difference(f"https://id.example{path}", f"https://id.example{path[:-1]}") == "the path differs"


def test_a_default_port_of_http_may_be_written_out() -> None:
    assert difference("http://id.example/a", "http://id.example:80/a") == "only a default port differs"
    assert difference("http://id.example/a", "http://id.example:81/a") == "the port differs"
    assert difference("http://id.example/a", "http://id.example:79/a") == "the port differs"


@pytest.mark.parametrize("alias", ["localhost", "[::1]"])
def test_two_names_of_this_machine_are_called_so(alias: str) -> None:
    assert difference("http://127.0.0.1:8000/mcp", f"http://{alias}:8000/mcp") == "the name of this machine differs"
