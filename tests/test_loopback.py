from __future__ import annotations

import socket

import pytest

from mcp_oauth_nb.errors import ConfigurationError
from mcp_oauth_nb.loopback import listen


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


def test_without_a_variable_none_is_blamed() -> None:
    with listen(0) as first, pytest.raises(ConfigurationError) as caught:
        listen(first.getsockname()[1])
    assert caught.value.variables == ()


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
