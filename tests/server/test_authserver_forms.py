"""Forms and queries as they arrive: what is read, what cannot be read, and what is handed on to the SDK."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import pytest
from authserver_world import World
from starlette.requests import Request
from starlette.types import Message

from mcp_oauth_nb.server.authserver import forms
from mcp_oauth_nb.server.authserver.forms import FORM, Malformed

pytestmark = pytest.mark.anyio


def request_of(
    body: bytes = b"", *, query: bytes = b"", headers: Mapping[str, str] | None = None, method: str = "POST"
) -> Request:
    """A request as a web server hands it on."""
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": "/x", "query_string": query, "headers": pairs}

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)


def test_an_empty_parameter_counts_as_left_out_and_a_second_one_as_repeated_even_if_empty() -> None:
    found = forms.read("a=1&b=&c=2&c=&d=%C3%A4+x")
    assert found == {"a": "1", "c": "2", "d": "ä x"}
    assert found.repeated == {"c"}
    assert forms.read("").repeated == frozenset()
    assert forms.Parameters(a="1").repeated == frozenset()


def test_fifty_parameters_are_read_and_no_more() -> None:
    assert len(forms.read("&".join(f"a{number}=1" for number in range(50)))) == 50
    with pytest.raises(Malformed):
        forms.read("&".join(f"a{number}=1" for number in range(51)))


def test_what_is_not_utf8_is_not_guessed_at() -> None:
    with pytest.raises(Malformed):
        forms.read("a=%ff")


def test_a_query_has_at_most_16_kib_of_ascii() -> None:
    most = b"a=" + b"x" * (16 * 1024 - 2)
    assert len(forms.read_query(request_of(query=most))["a"]) == 16 * 1024 - 2
    for query in (most + b"x", "a=ä".encode()):
        with pytest.raises(Malformed):
            forms.read_query(request_of(query=query))


@pytest.mark.parametrize("label", [FORM, FORM.upper(), f"{FORM}; charset=utf-8", f" {FORM} ;x=y"])
async def test_a_form_is_known_however_its_label_is_written(label: str) -> None:
    assert await forms.read_form(request_of(b"a=1&b=%C3%A4", headers={"Content-Type": label})) == {"a": "1", "b": "ä"}


@pytest.mark.parametrize("label", [None, "", "text/plain", "multipart/form-data", f"x; {FORM}", f"{FORM}x"])
async def test_a_body_with_another_label_is_no_form(label: str | None) -> None:
    with pytest.raises(Malformed, match=FORM):
        await forms.read_form(request_of(b"a=1", headers={} if label is None else {"Content-Type": label}))


async def test_a_form_is_percent_encoded() -> None:
    with pytest.raises(Malformed, match="percent"):
        await forms.read_form(request_of("a=ä".encode(), headers={"Content-Type": FORM}))


def credentials(text: bytes) -> str:
    return base64.b64encode(text).decode()


@pytest.mark.parametrize(
    ("header", "client_id"),
    [
        (f"Basic {credentials(b'shop:secret')}", "shop"),
        (f"basic {credentials(b'shop:secret')}", "shop"),
        (f"BASIC {credentials(b'shop:se:cret')}", "shop"),
        (f"Basic {credentials(b'https%3A%2F%2Fapp.example%2F:x')}", "https://app.example/"),
        (f"Basic {credentials('käse:x'.encode())}", "käse"),
        (f"Basic {credentials(b'shop')}", "shop"),
        (f"Basic {credentials(b':secret')}", None),
        (f"Basic {credentials(bytes([255]))}", None),
        (f"Basic {credentials(b'shop:secret')}!", None),
        ("Basic", None),
        (f"Bearer {credentials(b'shop:secret')}", None),
        (None, None),
    ],
)
def test_a_client_that_authenticates_in_the_header_is_named_there(header: str | None, client_id: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    assert forms.basic_client_id(request_of(headers=headers)) == client_id


def test_the_sdk_gets_a_query_with_what_was_checked_and_nothing_else() -> None:
    request = forms.as_query(request_of(query=b"a=1&evil=2"), {"a": "ä b", "c": "&"})
    assert (request.method, dict(request.query_params), request.url.path) == ("GET", {"a": "ä b", "c": "&"}, "/x")


async def test_the_sdk_gets_a_form_with_what_was_checked_and_nothing_else() -> None:
    headers = {"Content-Type": f"{FORM}; charset=latin-1", "Authorization": "Basic x"}
    request = forms.as_form(request_of(b"a=1&evil=2", headers=headers), {"a": "ä b", "c": "&"})
    assert dict(await request.form()) == {"a": "ä b", "c": "&"}
    assert request.headers.getlist("content-type") == [FORM]
    assert request.headers["authorization"] == "Basic x"
    assert request.method == "POST"


async def test_the_sdk_gets_the_body_that_was_checked_with_its_label() -> None:
    request = forms.with_body(request_of(b"evil", headers={"Content-Type": "text/plain"}), b"{}", "application/json")
    assert await request.body() == b"{}"
    assert request.headers.getlist("content-type") == ["application/json"]


async def test_a_body_has_at_most_64_kib() -> None:
    world = World()
    headers = {"Content-Type": FORM}
    for length, status in ((64 * 1024, 401), (64 * 1024 + 1, 413)):
        body = b"grant_type=x&x=" + b"y" * (length - 15)
        assert (await world.http.post("/token", content=body, headers=headers)).status_code == status
