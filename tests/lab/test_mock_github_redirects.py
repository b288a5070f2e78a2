"""Which redirect URIs are accepted: GitHub's documented examples, and the attacks on the rule."""

from __future__ import annotations

import pytest

from mcp_oauth_nb.lab.mock_github import RedirectUri
from mcp_oauth_nb.lab.mock_github.model import redirect_matches


@pytest.mark.parametrize(
    "uri",
    [
        "http://example.com/path",
        "http://example.com/path/subdir/other",
        "http://oauth.example.com/path",
        "http://oauth.example.com/path/subdir/other",
        "http://example.com:80/path",
        "http://EXAMPLE.com/path?x=1",
    ],
)
def test_sub_domains_and_deeper_paths_match(uri: str):
    assert redirect_matches(uri, [RedirectUri("http://example.com/path")])


@pytest.mark.parametrize(
    "uri",
    [
        "http://example.com/bar",
        "http://example.com/",
        "http://example.com/pathology",
        "http://example.com:8080/path",
        "http://oauth.example.com:8080/path",
        "http://example.org/path",
        "http://evilexample.com/path",
        "https://example.com/path",
        "http://example.com.evil.example/path",
    ],
)
def test_another_host_port_scheme_or_path_does_not_match(uri: str):
    assert not redirect_matches(uri, [RedirectUri("http://example.com/path")])


@pytest.mark.parametrize(
    "uri",
    [
        "http://example.com@evil.example/path",
        "http://user@example.com/path",
        "http://evil.example\\@example.com/path",
        "http://example.com/path/../evil",
        "http://example.com/path/./evil",
        "http://example.com/path/%2e%2e/evil",
        "http://example.com/path/..%2fevil",
        "http://example.com/path/..%5cevil",
        "http://example.com/path#fragment",
        "http://example.com/path\r\nSet-Cookie: x",
        "http://a;script-src.example.com/path",
        "http://example.com:port/path",
        "http://[example.com/path",
        "//example.com/path",
        "/path",
        "javascript:alert(1)",
    ],
)
def test_what_two_parsers_may_read_differently_does_not_match(uri: str):
    assert not redirect_matches(uri, [RedirectUri("http://example.com/path")])


@pytest.mark.parametrize("wildcard", [True, False])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_on_loopback_the_port_may_differ(host: str, wildcard: bool):
    registered = [RedirectUri(f"http://{host}/path", wildcard)]
    assert redirect_matches(f"http://{host}:1234/path", registered)
    assert not redirect_matches(f"http://{host}:1234/other", registered)
    assert not redirect_matches(f"https://{host}:1234/path", registered)


def test_one_loopback_address_does_not_stand_for_another():
    assert not redirect_matches("http://localhost:1234/path", [RedirectUri("http://127.0.0.1/path")])
    assert not redirect_matches("http://evil.localhost:1234/path", [RedirectUri("http://localhost/path")])


@pytest.mark.parametrize(
    "uri", ["https://example.com/cb/x", "https://a.example.com/cb", "https://example.com/cb?x=1", "https://example.com"]
)
def test_without_the_wildcard_flag_only_the_same_uri_matches(uri: str):
    registered = [RedirectUri("https://example.com/cb", wildcard=False)]
    assert redirect_matches("https://example.com/cb", registered)
    assert not redirect_matches(uri, registered)


def test_any_of_several_registered_uris_will_do():
    registered = [RedirectUri("https://one.example/cb"), RedirectUri("https://two.example/cb")]
    assert redirect_matches("https://two.example/cb", registered)


def test_a_uri_of_a_native_app_matches_itself():
    assert redirect_matches("com.example.app:/callback", [RedirectUri("com.example.app:/callback", wildcard=False)])


def test_a_callback_at_the_root_accepts_every_path():
    assert redirect_matches("https://example.com", [RedirectUri("https://example.com/")])
    assert redirect_matches("https://example.com/anything", [RedirectUri("https://example.com")])
