"""Whatever is sent to the mock, it answers, and never with a 500: GitHub has none for a client's mistakes."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import quote_from_bytes, unquote, urlencode

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from mock_github_world import CALLBACK, CHALLENGE, VERIFIER, World
from starlette.types import Message

Headers = list[tuple[bytes, bytes]]
WEB, API = b"github.com", b"api.github.com"
JSON, FORM = b"application/json", b"application/x-www-form-urlencoded"
DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"

# -- one request, byte by byte --------------------------------------------------------------------------------------


async def _call(
    world: World, method: str, host: bytes, path: str, query: bytes, headers: Headers, body: bytes
) -> tuple[int, Headers]:
    """Call the app as a web server does, below httpx, which would refuse to send much of this."""
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogatepass"),
        "query_string": query,
        "root_path": "",
        "headers": [(b"host", host), *headers],
        "server": ("127.0.0.1", 443),
        "client": ("127.0.0.1", 50_000),
    }
    incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        return incoming.pop() if incoming else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await world.github.app(scope, receive, send)
    return sent[0]["status"], sent[0]["headers"]


# Where a request may carry what only the mock knows: the target writes the real value in its place.
NAMES_OF_KNOWN = "client_id client_secret code device_code user_code access refresh cookie form basic".split()
CLIENT_ID, CLIENT_SECRET, CODE, DEVICE, USER_CODE, ACCESS, REFRESH, COOKIE, FORM_TOKEN, BASIC = KNOWN = [
    f"<<{name}>>" for name in NAMES_OF_KNOWN
]


class Target:
    """A world in which somebody is signed in, with a code, a device and a token at hand."""

    def __init__(self) -> None:
        self.world = World()
        github, state = self.world.github, self.world.github._state
        app, browser, now = github.apps[github.client_id], state.new_browser("octocat"), state.now()
        token = github.issue_token(scopes=("repo", "user"))
        code = state.ledger.add_code(
            app, "octocat", ("repo",), redirect_uri=CALLBACK, code_challenge=CHALLENGE, offline_access=False, now=now
        )
        basic = base64.b64encode(f"{app.client_id}:{app.client_secret}".encode()).decode()
        self._known: dict[bytes, bytes] = {CLIENT_ID.encode(): app.client_id.encode()}
        self.status("POST", WEB, "/login/device/code", f"client_id={app.client_id}".encode())
        (device,) = state.device_requests.values()
        values = [app.client_id, app.client_secret, code.code, device.device_code, device.user_code]
        values += [token.access_token, str(token.refresh_token), browser.cookie, browser.form_token, basic]
        self._known = {name.encode(): value.encode() for name, value in zip(KNOWN, values, strict=True)}

    def status(
        self, method: str, host: bytes, path: str, query: bytes = b"", headers: Headers | None = None, body: bytes = b""
    ) -> int:
        """Send one request, and return the status. An exception in the mock is raised here."""
        sent = [(b"user-agent", b"fuzz")] + [(name, self._fill(value)) for name, value in headers or []]
        path = path.replace("{client_id}", self._known[CLIENT_ID.encode()].decode())
        code, answered = anyio.run(_call, self.world, method, host, path, self._fill(query), sent, self._fill(body))
        # A web server cannot send any other header, and would answer 500 itself.
        assert all(value.isascii() and not {10, 13} & set(value) for _, value in answered)
        return code

    def _fill(self, text: bytes) -> bytes:
        for name, value in self._known.items():
            text = text.replace(name, value).replace(quote_from_bytes(name).encode(), value)
        return text


# -- what may be in it ----------------------------------------------------------------------------------------------

ENDPOINTS = [
    ("GET", WEB, "/"),
    ("GET", WEB, "/login"),
    ("POST", WEB, "/login"),
    ("GET", WEB, "/login/oauth/authorize"),
    ("POST", WEB, "/login/oauth/authorize"),
    ("POST", WEB, "/login/oauth/access_token"),
    ("POST", WEB, "/login/device/code"),
    ("GET", WEB, "/login/device"),
    ("POST", WEB, "/login/device"),
    ("POST", WEB, "/login/device/authorize"),
    ("GET", WEB, "/.well-known/oauth-authorization-server/login/oauth"),
    ("GET", WEB, "/login/oauth/.well-known/openid-configuration"),
    ("GET", WEB, "/login/oauth/.well-known/jwks"),
    ("GET", API, "/user"),
    ("GET", API, "/user/repos"),
    ("GET", API, "/user/emails"),
    ("GET", API, "/users/octocat"),
    ("GET", API, "/users/octocat/repos"),
    ("GET", API, "/repos/octocat/hello-world"),
    ("GET", API, "/rate_limit"),
    ("POST", API, "/applications/{client_id}/token"),
    ("PATCH", API, "/applications/{client_id}/token"),
    ("DELETE", API, "/applications/{client_id}/token"),
    ("DELETE", API, "/applications/{client_id}/grant"),
]
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"]

FIELDS = (
    "client_id client_secret code code_verifier code_challenge code_challenge_method redirect_uri scope state login "
    "prompt allow_signup grant_type refresh_token device_code user_code return_to authenticity_token authorize "
    "granted_scope access_token per_page page sort direction type visibility affiliation since before"
).split()
HEADERS = (
    b"accept content-type cookie origin if-none-match if-modified-since user-agent content-length authorization "
    b"x-github-api-version x-forwarded-host referer range transfer-encoding access-control-request-method"
).split()
ODD = [
    *(
        "",
        " ",
        "\x00",
        "\ud800",
        "é",
        "𝔤𝔦𝔱",
        "\u2028",
        "[",
        "]",
        "//",
        "%",
        "%ff",
        "\\",
        "'\"<>",
        "\r\nX: y",
        "9" * 5000,
    ),
    *("-1", "1e999", "NaN", "0", "01", "１", "²", "http://[", "http://127.0.0.1:99999/callback", "http://[::1"),
    *("http://127.0.0.1/callback", "http://127.0.0.1:x/callback", "/\\[", "/login?redirect_uri=http://[", "data:,x"),
    *("http://127.0.0.1/callback/\ud800", "http://127.0.0.1/callback?é", "http://ⓛocalhost/callback", "*", "W/", '"'),
    *("authorization_code", "refresh_token", DEVICE_GRANT, "S256", "plain", "repo", "octocat", "nobody", "all", "1"),
    *(CALLBACK, CHALLENGE, VERIFIER, "full_name", "//["),
]

texts = st.one_of(st.sampled_from(KNOWN), st.sampled_from(ODD), st.text(st.characters(), max_size=20))
raw = st.one_of(st.binary(max_size=30), texts.map(lambda text: text.encode("utf-8", "surrogatepass")))
client = [("client_id", CLIENT_ID), ("client_secret", CLIENT_SECRET)]
form_token = [("authenticity_token", FORM_TOKEN)]
# Without these a request goes no further than the first check.
beginnings = st.sampled_from(
    [
        [],
        client[:1],
        client,
        [*client, ("code", CODE)],
        [*client, ("grant_type", "refresh_token"), ("refresh_token", REFRESH)],
        [*client, ("grant_type", DEVICE_GRANT), ("device_code", DEVICE)],
        [*client, ("code_challenge", CHALLENGE), ("code_challenge_method", "S256")],
        [*form_token, *client],
        [*form_token, ("user_code", USER_CODE), ("authorize", "1")],
        [*form_token, ("login", "octocat")],
        [("access_token", ACCESS)],
    ]
)
fields = st.builds(
    lambda first, more: first + more, beginnings, st.lists(st.tuples(st.sampled_from(FIELDS), texts), max_size=6)
)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(texts, st.none(), st.booleans(), st.floats(), st.integers(), st.just(10**4000)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
forms = fields.map(lambda found: urlencode(found, errors="surrogatepass").encode())
queries = st.one_of(forms, st.just(b""), st.builds(lambda form, more: form + b"&x=" + more, forms, raw), raw)
objects = st.builds(
    lambda found, more: json.dumps(dict(found) | more).encode(),
    fields,
    st.dictionaries(st.sampled_from(FIELDS), values, max_size=4),
)
documents = st.one_of(st.sampled_from([b"[" * 5000, b"1" * 5000, b"\xff\xfe{\x00}\x00", b"null"]), raw, forms, objects)
media_types = st.sampled_from(
    [JSON, FORM, b"application/json; charset=\xff", b"multipart/form-data; boundary=", b"\xff"]
)
bodies: st.SearchStrategy[tuple[Headers, bytes]] = st.one_of(
    forms.map(lambda body: ([(b"content-type", FORM)], body)),
    objects.map(lambda body: ([(b"content-type", JSON)], body)),
    st.tuples(media_types.map(lambda value: [(b"content-type", value)]), documents),
)
credentials = st.one_of(
    raw,
    st.sampled_from([f"Bearer {ACCESS}".encode(), f"token {ACCESS}".encode(), f"Basic {BASIC}".encode()]),
    raw.map(lambda value: b"Bearer " + value),
    raw.map(lambda value: b"Basic " + value),
    raw.map(lambda value: b"Basic " + base64.b64encode(value)),
)
headers = st.builds(
    lambda authorization, cookie, more: authorization + cookie + more,
    st.one_of(st.just([]), credentials.map(lambda value: [(b"authorization", value)])),
    st.sampled_from([[], [(b"cookie", f"user_session={COOKIE}".encode())]]),
    st.lists(st.tuples(st.sampled_from(HEADERS), raw), max_size=3),
)
SEARCH = settings(deadline=None, max_examples=30)


# -- the claims -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint[0]} {endpoint[2]}")
@SEARCH
@given(queries, headers, bodies)
@example(b"", [(b"authorization", b"Basic \xff\xfe")], ([], b""))
@example(b"", [(b"authorization", b"Basic " + base64.b64encode(b"\xff:\xff"))], ([], b""))
@example(b"client_id=<<client_id>>&state=\xff\xfe", [], ([], b"\xff\xfe"))
@example(b"", [], ([(b"content-type", JSON)], rb'{"client_id": "<<client_id>>", "client_secret": "\ud800"}'))
@example(b"", [], ([(b"content-type", JSON)], b'{"\xff": "\xff", "access_token": 1' + b"0" * 5000 + b"}"))
@example(b"", [(b"authorization", b"Basic <<basic>>")], ([(b"content-type", JSON)], rb'{"access_token": "\udfff"}'))
@example(b"", [(b"authorization", b"Bearer <<access>>"), (b"if-none-match", b"\xff")], ([], b""))
@example(b"", [(b"cookie", b"user_session=<<cookie>>; \xff=\xff")], ([], b"authenticity_token=\xff&user_code=%ff"))
def test_nothing_that_is_sent_to_an_endpoint_ends_in_a_500(endpoint, query, headers, body):
    content_type, content = body
    assert Target().status(*endpoint, query, headers + content_type, content) < 500


@SEARCH
@given(
    st.sampled_from(METHODS),
    st.sampled_from([(host, path) for _, host, path in ENDPOINTS]),
    st.binary(max_size=12).map(lambda tail: unquote(quote_from_bytes(tail))),
    headers,
)
@example("BREW", (API, "/applications/"), "\ufffd/token", [])
@example("GET", (API, "/user"), "", [(b"user-agent", b"\xff"), (b"x-github-api-version", b"\xff")])
def test_no_method_and_no_path_ends_in_a_500(method, place, tail, headers):
    assert Target().status(method, place[0], place[1] + tail, headers=headers) < 500


@SEARCH
@given(raw)
@example(b"[github.com")
@example(b"[@github.com")
@example(b"github.com:\xff")
def test_no_host_header_ends_in_a_500(host):
    assert Target().status("GET", host, "/login/oauth/authorize", b"client_id=<<client_id>>") < 500
