"""What the checks of notebook 13 say to the answers that people give first."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from mcp_oauth_nb.exercises import nb13
from mcp_oauth_nb.server.authserver.redirects import matches


def same_host_and_path(registered: str, asked: str) -> bool:
    one, other = urlsplit(registered), urlsplit(asked)
    return (one.scheme, one.hostname, one.path) == (other.scheme, other.hostname, other.path)


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda registered, asked: asked.startswith(registered), "a page below it"),
        (lambda registered, asked: registered.split("/")[2] in asked, "a page below it"),
        (lambda registered, asked: asked == registered, "at the port that it got today"),
        (same_host_and_path, "a query that was not registered"),
        (lambda registered, asked: asked.partition("?")[0] == registered, "a query that was not registered"),
        (
            lambda registered, asked: asked == registered or asked.startswith("http://127.0.0.1"),
            "another path on this machine",
        ),
        (
            lambda registered, asked: asked == registered or ("127.0.0.1" in asked and asked.endswith("/callback")),
            "a host that begins like the address",
        ),
    ],
)
def test_a_comparison_that_is_too_loose_or_too_strict_is_told_by_a_case(function: Any, says: str) -> None:
    assert says in nb13.check_redirect_uri(function).text


def test_the_cases_are_judged_as_the_server_judges_them() -> None:
    assert [matches(asked, [registered]) is not None for registered, asked, *_ in nb13.REDIRECTS] == [
        expected for _, _, expected, _ in nb13.REDIRECTS
    ]


def parameters(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda url, state, issuer: parameters(url).get("code"), "the state of another flow"),
        (
            lambda url, state, issuer: parameters(url)["code"] if parameters(url)["state"] == state else None,
            "raised KeyError",
        ),
        (
            lambda url, state, issuer: parameters(url).get("code") if parameters(url).get("state") == state else None,
            "the issuer of another server",
        ),
        (
            lambda url, state, issuer: (
                parameters(url).get("code")
                if parameters(url).get("state") == state and parameters(url).get("iss", "").rstrip("/") == issuer
                else None
            ),
            "an issuer with a slash more",
        ),
        (
            lambda url, state, issuer: (
                parameters(url).get("code")
                if parameters(url).get("state") == state and parameters(url).get("iss", issuer) == issuer
                else None
            ),
            "no iss",
        ),
        (
            lambda url, state, issuer: (
                parse_qs(urlsplit(url).query)["code"][0]
                if (parameters(url).get("state"), parameters(url).get("iss")) == (state, issuer) and "error" not in url
                else None
            ),
            "two codes",
        ),
    ],
)
def test_a_callback_that_is_read_too_trustingly_is_told_by_a_case(function: Any, says: str) -> None:
    assert says in nb13.check_code_to_send(function).text
