"""Two URLs that should be the same: what differs, in words."""

from __future__ import annotations

import pytest

from mcp_oauth_nb.oauth.url_difference import difference


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
