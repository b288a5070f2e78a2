"""A JWT is read, never verified, and everything else is left alone."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_oauth_nb.oauth.jwt import decode


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def jwt(header: Any, claims: Any, signature: str = "c2lnbmF0dXJl") -> str:
    return f"{part(header)}.{part(claims)}.{signature}"


CLAIMS = {"sub": "octocat", "aud": "https://mcp.example", "scope": "mcp:tools", "iat": 0, "exp": 3600, "nbf": True}


def test_the_header_and_the_claims_are_shown_and_the_signature_is_not_kept() -> None:
    view = decode(jwt({"alg": "ES256", "kid": "1"}, CLAIMS))
    assert view is not None
    assert view.header == {"alg": "ES256", "kid": "1"}
    assert view.claims == CLAIMS
    assert "c2lnbmF0dXJl" not in repr(view)


def test_times_are_written_in_utc_and_what_is_no_time_is_left_out() -> None:
    view = decode(jwt({"alg": "ES256"}, CLAIMS))
    assert view is not None
    assert view.times == {"iat": "1970-01-01T00:00:00Z", "exp": "1970-01-01T01:00:00Z"}


@pytest.mark.parametrize("value", ["soon", -1, 1e300, None, [1], float("nan")])
def test_a_time_that_is_none_does_no_harm(value: Any) -> None:
    view = decode(jwt({"alg": "ES256"}, {"exp": value}))
    assert view is not None
    assert view.times == {}


def test_a_secret_among_the_claims_is_masked() -> None:
    secret = "of-somebody-" + "else-1234567"
    view = decode(jwt({"alg": "none"}, {"refresh_token": secret, "sub": "octocat"}, ""))
    assert view is not None
    assert secret not in repr(view)
    assert view.claims["sub"] == "octocat"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "opaque",
        "a.b.c",
        "..",
        f"{part({'typ': 'JWT'})}.{part({})}.x",
        f"{part({'alg': 1})}.{part({})}.x",
        f"{part({'alg': 'ES256'})}.{part([])}.x",
        f"{part({'alg': 'ES256'})}.{part({})}.x.y.z",
        f"{part({'alg': 'ES256'})}.!!!!.x",
        f"{part({'alg': 'ES256'})}.{'x' * 20_000}.x",
        f"{part({'alg': 'ES256'})}.{base64.urlsafe_b64encode(b'[' * 9_000).decode()}.x",
        f"{part({'alg': 'ES256'})}.ключ.x",
        f"{part({'alg': 'ES256', 'crit': ['unknown']})}.{part({})}.x",
        f"{part({'alg': 'ES256'})}.{part({})}.\ud800",
        f"{base64.urlsafe_b64encode(b'[' * 9_000).decode()}.{part({})}.x",
    ],
)
def test_what_is_no_signed_jwt_is_left_alone(token: str) -> None:
    assert decode(token) is None


@pytest.mark.parametrize(
    "claims", [{"exp": 1}, {"nbf": 9e9, "iat": 9e9}, {"aud": 1, "iss": 2, "sub": 3, "jti": 4}, {"exp": "soon"}]
)
def test_nothing_that_a_jwt_says_is_judged(claims: dict[str, Any]) -> None:
    view = decode(jwt({"alg": "RS256"}, claims))
    assert view is not None
    assert view.claims == claims


def test_what_reads_a_jwt_is_loaded_when_there_is_one() -> None:
    code = "import sys; from mcp_oauth_nb.oauth.jwt import decode; decode('opaque'); print('jwt' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@given(st.text())
def test_any_text_is_read_or_left_alone(token: str) -> None:
    assert decode(token) is None or token.count(".") == 2
