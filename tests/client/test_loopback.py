from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from mcp_oauth_nb.client.loopback import _listener, can_listen_at, listen, listen_as
from mcp_oauth_nb.oauth.errors import ConfigurationError

Bind = Callable[[str, int], socket.socket]


def test_zero_takes_a_free_port_of_the_loopback_interface() -> None:
    with listen(0) as listener:
        host, port = listener.getsockname()
        assert host == "127.0.0.1"
        assert port > 0


def test_a_visitor_who_comes_before_the_server_is_up_is_not_turned_away() -> None:
    with listen(0) as listener, socket.create_connection(listener.getsockname(), timeout=5):
        accepted, _ = listener.accept()
        accepted.close()


def test_a_port_that_is_taken_is_named_with_its_variable() -> None:
    with listen(0) as first:
        port = first.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"Port {port} of 127\.0\.0\.1 cannot be listened on") as caught:
            listen(port, variable="OAUTH_REDIRECT_URI")
    assert caught.value.variables == ("OAUTH_REDIRECT_URI",)
    assert "without a port in OAUTH_REDIRECT_URI, a free one is taken" in caught.value.hint


def test_without_a_variable_none_is_blamed() -> None:
    with listen(0) as first, pytest.raises(ConfigurationError) as caught:
        listen(first.getsockname()[1])
    assert caught.value.variables == ()
    assert "0 takes a free one" in caught.value.hint


def test_a_port_is_free_again_while_the_last_connection_lingers() -> None:
    with listen(0) as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as visitor:
            # Whoever closes first has the connection linger.
            listener.accept()[0].close()
            visitor.recv(1)
    listen(port).close()


def test_what_it_accepts_can_answer_without_waiting_for_an_acknowledgement() -> None:
    # asyncio turns Nagle's algorithm off only for a socket that names its protocol; what it accepts inherits that.
    with listen(0) as listener, socket.create_connection(listener.getsockname(), timeout=5):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP


def test_an_address_of_ipv6_leaves_the_port_of_ipv4_alone() -> None:
    with listen(0, host="::") as six:
        assert six.proto == socket.IPPROTO_TCP
        port = six.getsockname()[1]
        with listen(port) as four:
            assert four.getsockname() == ("127.0.0.1", port)


# -- by name ------------------------------------------------------------


@contextmanager
def closing(listeners: list[socket.socket]) -> Iterator[list[tuple[str, int]]]:
    """Where it is listened, until the end of the block."""
    try:
        yield [listener.getsockname()[:2] for listener in listeners]
    finally:
        for listener in listeners:
            listener.close()


def machine(*, without: tuple[str, ...] = (), code: int = errno.EADDRNOTAVAIL, first: int = 0) -> Bind:
    """A machine that lacks some addresses. Its first free port is the given one, if any."""
    ports = [first] if first else []

    def bind(address: str, port: int) -> socket.socket:
        if address in without:
            raise OSError(code, os.strerror(code))
        # Stands for every address: this machine may have no IPv6.
        host = "127.0.0.1" if address == "127.0.0.1" else "127.0.0.2"
        return _listener(host, port or (ports.pop() if ports else 0))

    return bind


@pytest.mark.parametrize(
    ("uri", "can"),
    [
        ("http://127.0.0.1/callback", True),
        ("http://[::1]/callback", True),
        ("http://[::1]:8765/callback", True),
        ("http://localhost:1/", True),
        ("https://localhost/callback", False),
        ("http://[::2]/callback", False),
        ("http://192.168.0.7/callback", False),
        ("http://localhost.evil.example/", False),
    ],
)
def test_a_redirect_arrives_here_by_plain_http_to_any_loopback_name(uri: str, can: bool) -> None:
    assert can_listen_at(uri) is can


def test_each_address_has_a_listener_of_its_own() -> None:
    with closing(listen_as("127.0.0.1", 0)) as places:
        assert [address for address, _ in places] == ["127.0.0.1"]
    try:
        listen(0, host="::1").close()
    except ConfigurationError:
        # A machine without IPv6 says so.
        with pytest.raises(ConfigurationError, match="of ::1 cannot be listened on"):
            listen_as("::1", 0)
    else:
        with closing(listen_as("::1", 0)) as places:
            assert [address for address, _ in places] == ["::1"]


def test_localhost_is_listened_at_in_both_families_at_one_port() -> None:
    with closing(listen_as("localhost", 0, bind=machine())) as places:
        (four, port), (six, same) = places
        assert (four, six, same) == ("127.0.0.1", "127.0.0.2", port)


def test_the_machine_itself_answers_at_every_address_of_localhost_that_it_has() -> None:
    with closing(listen_as("localhost", 0)) as places:
        for host, port in places:
            socket.create_connection((host, port), timeout=5).close()
        assert len({port for _, port in places}) == 1


@pytest.mark.parametrize("code", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
@pytest.mark.parametrize(("missing", "left"), [("::1", "127.0.0.1"), ("127.0.0.1", "127.0.0.2")])
def test_a_machine_without_one_family_is_listened_at_in_the_other(code: int, missing: str, left: str) -> None:
    with closing(listen_as("localhost", 0, bind=machine(without=(missing,), code=code))) as places:
        assert [address for address, _ in places] == [left]


def test_a_machine_without_any_loopback_address_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="of ::1 cannot be listened on: Cannot assign") as caught:
        listen_as("localhost", 0, bind=machine(without=("127.0.0.1", "::1")), variable="OAUTH_REDIRECT_URI")
    assert caught.value.variables == ("OAUTH_REDIRECT_URI",)


def test_a_port_that_another_program_has_in_the_other_family_is_not_shared_with_it() -> None:
    # A browser may try that one first, and hand it the code.
    with listen(0, host="127.0.0.2") as theirs:
        port = theirs.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"Port {port} of ::1 cannot be listened on: Address already"):
            listen_as("localhost", port, bind=machine())
        # The other half was given up.
        listen(port).close()


def test_a_free_port_is_one_that_is_free_in_both_families() -> None:
    with listen(0, host="127.0.0.2") as theirs:
        taken = theirs.getsockname()[1]
        with closing(listen_as("localhost", 0, bind=machine(first=taken))) as places:
            assert taken not in {port for _, port in places}
            assert len(places) == 2


def test_an_address_that_may_not_be_listened_at_is_not_tried_again() -> None:
    asked: list[str] = []

    def bind(address: str, port: int) -> socket.socket:
        asked.append(address)
        raise PermissionError(errno.EACCES, "Permission denied")

    with pytest.raises(ConfigurationError, match="Permission denied"):
        listen_as("localhost", 0, bind=bind)
    assert asked == ["127.0.0.1"]
