"""Everything that reads what somebody else wrote: the value, or a typed error without its content; in little time.

Each parser meets a corpus of known nastiness and what hypothesis makes up. `-m security` has more of both.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import time
import tracemalloc
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlencode

import httpx
import httpx2
import pytest
from hostile import BODIES, FEW, TEXTS, VALUES, big, header_values, mutated, texts, values, variants
from hypothesis import HealthCheck, given, settings
from mcp import MCPError
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp, Message
from stepping import ISSUER, SERVER, Steps

from mcp_oauth_nb import HttpLab, ManualClock
from mcp_oauth_nb.client.callback import CallbackListener
from mcp_oauth_nb.client.github import GitHubClient
from mcp_oauth_nb.client.registration import read_registration
from mcp_oauth_nb.client.step_up import challenged_scopes
from mcp_oauth_nb.oauth import token_endpoint
from mcp_oauth_nb.oauth.authorization import PendingFlows, callback_parameters, read_callback
from mcp_oauth_nb.oauth.challenge import AuthChallenge
from mcp_oauth_nb.oauth.discovery import discover
from mcp_oauth_nb.oauth.errors import McpOAuthError
from mcp_oauth_nb.oauth.http import Answer, send
from mcp_oauth_nb.oauth.http_faults import MAX_BODY_BYTES
from mcp_oauth_nb.oauth.masking import mask, mask_fields, mask_form, mask_header, mask_url, printable, remember, scrub
from mcp_oauth_nb.oauth.settings import Settings
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.server.authserver.documents import DocumentFetcher
from mcp_oauth_nb.store.grants import MemoryGrantStore
from mcp_oauth_nb.trace.recorder import Trace

NOW = 1_800_000_000.0
JSON = {"content-type": "application/json"}
FORM = "application/x-www-form-urlencoded"
QUICK = settings(
    deadline=None, derandomize=True, database=None, max_examples=25, suppress_health_check=list(HealthCheck)
)
LONG = settings(QUICK, derandomize=False, print_blob=True, max_examples=1500)


def survive(parse: Callable[..., Any], *arguments: Any) -> None:
    """Parse, await what is to be awaited, and show what comes of it."""
    try:
        made = parse(*arguments)
        repr(asyncio.run(made) if inspect.iscoroutine(made) else made)
    except McpOAuthError as error:
        shown = f"{error}{error!r}{error.hint}"
        assert shown.replace("\n", "").isprintable()
        assert len(shown) < 4000
    except Exception as error:
        error.add_note(f"It was given {repr(arguments)[:500]}")
        raise


# -- documents ---------------------------------------------------------------------------------------------------------


def token_answer(body: bytes, media: str = "application/json") -> Token:
    answer = Answer(f"{ISSUER}/token", 200, httpx.Headers({"content-type": media}), body)
    fields = token_endpoint.read(answer, grant="refresh_token", now=NOW)
    token = Token.from_response(fields, now=NOW)
    assert Token.from_dict(json.loads(json.dumps(token.to_dict()))) == token
    return token


async def registration(body: bytes, status: int = 201) -> None:
    context: Any = SimpleNamespace(oauth_metadata=None)
    request = httpx2.Request("POST", f"{ISSUER}/register", json={"redirect_uris": ["http://127.0.0.1/callback"]})
    await read_registration(context, httpx2.Response(status, headers=JSON, content=body, request=request), NOW)


def network(answer: Callable[[httpx.Request], httpx.Response]) -> Callable[[], httpx.AsyncClient]:
    return lambda: httpx.AsyncClient(transport=httpx.MockTransport(answer))


PROTECTED = {
    "resource": SERVER,
    "authorization_servers": [ISSUER],
    "scopes_supported": ["read:user"],
    "resource_name": "a name",
    "jwks_uri": "https://mcp.example/keys",
}
METADATA = {
    **Steps().metadata(),
    "scopes_supported": ["read:user"],
    "authorization_response_iss_parameter_supported": True,
    "an_unknown_endpoint": f"{ISSUER}/more",
}


async def discovery(protected: bytes, metadata: bytes, challenge: bytes = b"Bearer", url: str = SERVER) -> str:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(401, headers=[(b"www-authenticate", challenge)])
        body = protected if "oauth-protected-resource" in str(request.url) else metadata
        return httpx.Response(200, headers=JSON, content=body)

    found = await discover(url, client=network(answer), deadline=5)
    return f"{found!r}{found._repr_html_()}{found.server!r}"


async def client_document(body: bytes, headers: Any = JSON) -> dict[str, Any]:
    async def resolver(host: str) -> Sequence[str]:
        return ("93.184.215.14",)

    client = network(lambda request: httpx.Response(200, headers=headers, content=body))
    document, _ = await DocumentFetcher(client, resolver).fetch("https://client.example/document")
    return document


class OneToken:
    """A source of tokens."""

    async def access_token_for_request(self, *, rejected: str | None = None) -> str:
        return "a-token"


async def github(body: bytes, status: int = 200) -> Any:
    client = network(lambda request: httpx.Response(status, headers=JSON, content=body))
    reader = GitHubClient(OneToken(), base_url="https://api.github.com", timeout=5, client=client)
    with suppress(McpOAuthError):
        await reader.repositories(2)
    return await reader.user()


async def recorded(body: bytes, media: str = "application/json") -> str:
    """Record a request and its answer, and show them in every way."""
    trace = Trace()
    inner = httpx.MockTransport(lambda request: httpx.Response(200, headers={"content-type": media}, content=body))
    async with httpx.AsyncClient(transport=trace.http(inner)) as client:
        await client.post("https://id.example/token", content=body, headers={"content-type": media})
    (exchange,) = trace.exchanges
    return f"{trace!r}{exchange}{exchange._repr_html_()}{trace.diagram()!r}"


TOKEN = {
    "access_token": "an-access-token",
    "token_type": "Bearer",
    "expires_in": 3600,
    "refresh_token": "a-refresh-token",
    "refresh_token_expires_in": 7200,
    "scope": "read:user repo",
}
REFUSAL = {"error": "invalid_grant", "error_description": "no", "error_uri": "https://id.example/why", "interval": 5}
CLIENT = {
    "client_id": "a-client",
    "client_secret": "-".join(["hush"] * 4),
    "redirect_uris": ["http://127.0.0.1/callback"],
    "client_secret_expires_at": 0,
    "grant_types": ["authorization_code"],
    "token_endpoint_auth_method": "none",
    "scope": "read:user",
    "issuer": ISSUER,
}
DOCUMENT = {**CLIENT, "client_id": "https://client.example/document", "client_name": "a name"}
USER = {"login": "octocat", "id": 1, "name": "a name", "email": "octocat@github.example"}
CALL = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "tools/call",
    "params": {"name": "a-tool", "arguments": {}},
    "error": {"code": -32001, "message": "no", "data": {"type": "oauth2"}},
}


@dataclass
class Reader:
    """Something that reads a body, and what it likes to read."""

    parse: Callable[[bytes], Any]
    document: dict[str, Any]
    corpus: list[bytes] = field(default_factory=lambda: BODIES)


PRM, ASM = json.dumps(PROTECTED).encode(), json.dumps(METADATA).encode()
READERS = {
    "token answer": Reader(token_answer, TOKEN),
    "token refusal": Reader(token_answer, REFUSAL),
    "token answer as a form": Reader(
        lambda body: token_answer(body, FORM),
        TOKEN,
        [urlencode({**TOKEN, name: text}, errors="surrogatepass").encode() for name in TOKEN for text in TEXTS],
    ),
    "registration answer": Reader(registration, CLIENT),
    "registration refusal": Reader(lambda body: registration(body, 400), REFUSAL),
    "protected resource metadata": Reader(lambda body: discovery(body, ASM), PROTECTED),
    "authorization server metadata": Reader(lambda body: discovery(PRM, body), METADATA),
    "client metadata document": Reader(client_document, DOCUMENT),
    "GitHub's answer": Reader(github, USER),
    "GitHub's refusal": Reader(lambda body: github(body, 403), REFUSAL),
    "recorder of a token": Reader(recorded, TOKEN),
    "recorder of JSON-RPC": Reader(recorded, CALL),
    "recorder of a form": Reader(lambda body: recorded(body, FORM), TOKEN),
    "recorder of text": Reader(lambda body: recorded(body, "text/plain"), TOKEN),
}
readers = pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
corpora = pytest.mark.parametrize(
    ("corpus", "bodies"),
    [
        pytest.param(FEW, BODIES[::4], id="few"),
        pytest.param(VALUES, BODIES, id="all", marks=[pytest.mark.security, pytest.mark.timeout(900)]),
    ],
)


@corpora
@readers
def test_no_known_body_gets_anything_but_a_value_or_a_typed_error(
    reader: Reader, corpus: list[Any], bodies: list[bytes]
) -> None:
    more = reader.corpus if reader.corpus is not BODIES else bodies
    for body in [*more, *variants(reader.document, corpus)]:
        survive(reader.parse, body)


@pytest.mark.parametrize("effort", [QUICK, pytest.param(LONG, marks=[pytest.mark.security, pytest.mark.timeout(900)])])
@readers
def test_no_made_up_body_does_either(reader: Reader, effort: settings) -> None:
    @effort
    @given(mutated(reader.document))
    def check(body: bytes) -> None:
        survive(reader.parse, body)

    check()


@pytest.mark.parametrize("size", [MAX_BODY_BYTES // 8, pytest.param(MAX_BODY_BYTES, marks=pytest.mark.security)])
@readers
def test_a_large_body_costs_little_time(reader: Reader, size: int) -> None:
    for name, body in big(size).items():
        began = time.process_time()
        survive(reader.parse, body)
        # Ten times what it takes: to find what grows with the square of the size, not a slow machine.
        assert time.process_time() - began < 2 + 10 * size / MAX_BODY_BYTES, name


@pytest.mark.security
@readers
def test_the_largest_bodies_cost_little_memory(reader: Reader) -> None:
    for name, body in big(MAX_BODY_BYTES).items():
        tracemalloc.start()
        survive(reader.parse, body)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 200 * len(body), f"{name}: {peak >> 20} MiB"


# -- headers and addresses ---------------------------------------------------------------------------------------------


async def redirected(place: bytes) -> Answer:
    client = network(lambda request: httpx.Response(302, headers=[(b"location", place)]))
    return await send(client, "POST", f"{ISSUER}/token", deadline=5)


async def paged(link: bytes) -> Any:
    headers = [(b"link", link), (b"content-type", b"application/json")]
    client = network(lambda request: httpx.Response(200, headers=headers, content=b'[{"name": "a"}]'))
    return await GitHubClient(OneToken(), base_url="https://api.github.com", timeout=5, client=client).repositories(3)


HEADERS: dict[str, Callable[[bytes], Any]] = {
    "challenge": lambda value: AuthChallenge.from_www_authenticate(value.decode("latin-1")),
    "challenge in a discovery": lambda value: discovery(PRM, ASM, value),
    "metadata named by a challenge": lambda value: discovery(PRM, ASM, b'Bearer resource_metadata="%s"' % value),
    "scopes of a step-up": lambda value: challenged_scopes(
        httpx2.Response(403, headers=[(b"www-authenticate", b'Bearer scope="%s"' % value)])
    ),
    "Retry-After": lambda value: Answer("", 503, httpx.Headers([(b"retry-after", value)]), b"").retry_at(NOW),
    "Location": redirected,
    "Link": lambda value: paged(b'<%s>; rel="next"' % value),
    "Cache-Control": lambda value: client_document(
        json.dumps(DOCUMENT).encode(), [(b"content-type", b"application/json"), (b"cache-control", value)]
    ),
    "Content-Type": lambda value: client_document(json.dumps(DOCUMENT).encode(), [(b"content-type", value)]),
}
DATES = [
    b"Wed, 21 Oct 999999999999999999999999999999 07:28:00 GMT",
    b"21 Oct 2015 07:28:00 +99999999999999999999",
    b"Mon, 01 Jan 0001 00:00:00 +2359",
    b"Fri, 31 Dec 9999 23:59:59 -2359",
    b"Mon, 00 Jan 2020 99:99:99 GMT",
    b"0 Jan 0 0:0:0 0",
]


@pytest.mark.parametrize("read", HEADERS.values(), ids=HEADERS)
def test_no_header_gets_anything_but_a_value_or_a_typed_error(read: Callable[[bytes], Any]) -> None:
    for value in [*header_values(), *DATES]:
        survive(read, value)


@pytest.mark.parametrize("read", HEADERS.values(), ids=HEADERS)
def test_a_long_header_costs_little_time(read: Callable[[bytes], Any]) -> None:
    for piece in (b"Bearer ", b"a=b, ", b'a="', b"<", b'"', b"\\", b"9", b"https://", b"[", b" ", b"a" * 40 + b"."):
        began = time.process_time()
        survive(read, (piece * 100_000)[:100_000])
        assert time.process_time() - began < 5, piece


ADDRESSES: dict[str, Callable[[str], Any]] = {
    "start of a discovery": lambda text: discovery(PRM, ASM, url=text),
    "challenge": AuthChallenge.from_www_authenticate,
    "callback": callback_parameters,
    "code": lambda text: callback_parameters(f"http://127.0.0.1/callback?state=a&code={text}"),
    "state": lambda text: read_callback(f"http://127.0.0.1/?code=a&state={text}", PendingFlows(ManualClock(NOW))),
}


@pytest.mark.parametrize("read", ADDRESSES.values(), ids=ADDRESSES)
def test_no_text_gets_anything_but_a_value_or_a_typed_error(read: Callable[[str], Any]) -> None:
    for text in TEXTS:
        survive(read, text)

    @QUICK
    @given(texts)
    def check(text: str) -> None:
        survive(read, text)

    check()


# -- JSON-RPC errors ---------------------------------------------------------------------------------------------------


def rpc_errors(value: Any) -> list[Any]:
    members = ("type", "scopes", "resource", "authorization_url", "token_url", "grant_type", "code_challenge_method")
    datas = [value, *({"type": "oauth2", name: value} for name in members)]
    return [{"code": value, "message": value, "data": data} for data in datas] + [value]


def rpc_error(error: Any) -> None:
    survive(AuthChallenge.from_jsonrpc, {"error": error})
    if isinstance(error, dict):
        survive(AuthChallenge.from_jsonrpc, error)
        survive(AuthChallenge.from_mcp_error, MCPError(-32001, str(error.get("message")), error.get("data")))


def test_no_json_rpc_error_gets_anything_but_a_challenge_none_or_a_typed_error() -> None:
    for value in VALUES:
        for error in rpc_errors(value):
            rpc_error(error)

    @QUICK
    @given(values)
    def check(value: Any) -> None:
        for error in rpc_errors(value):
            rpc_error(error)

    check()


# -- redaction ---------------------------------------------------------------------------------------------------------


def redact(text: str) -> None:
    for redaction in (mask, remember, scrub, printable, mask_url, mask_form):
        redaction(text)  # type: ignore[operator]
    for name in ("location", "authorization", "set-cookie", "x-anything"):
        mask_header(name, text)
    mask_url(f"https://id.example/?code={text}#access_token={text}")
    remember(text * 12)
    assert printable(text).isprintable()
    mask_fields({"access_token": text, "other": [text, {text: text}]})


def test_any_text_can_be_masked_and_shown() -> None:
    for text in TEXTS:
        redact(text)

    @QUICK
    @given(texts)
    def check(text: str) -> None:
        redact(text)

    check()


def test_masking_takes_no_longer_the_more_secrets_are_known() -> None:
    for number in range(10_000):
        remember(f"a-known-secret-{number:06}")
    body = {"texts": [f"a text of some length, {number}" for number in range(8_000)], "token": "a-known-secret-000077"}
    began = time.process_time()
    masked = mask_fields(body)
    assert time.process_time() - began < 3
    assert masked["token"] == mask("a-known-secret-000077")
    assert scrub("see a-known-secret-009999.") == f"see {mask('a-known-secret-009999')}."


# -- the whole flow of the SDK -----------------------------------------------------------------------------------------

PLACES = {
    "protected resource metadata": ("https://mcp.example/.well-known", PROTECTED),
    "authorization server metadata": (f"{ISSUER}/.well-known", METADATA),
    "registration": (f"{ISSUER}/register", CLIENT),
    "token": (f"{ISSUER}/token", TOKEN),
}


async def flow(place: str, answer: httpx2.Response) -> None:
    steps = Steps(instead={place: lambda request: answer})
    provider = steps.auth(store=MemoryGrantStore()).provider(SERVER)
    await steps.walk(provider)
    repr(provider)


async def challenged(status: int, value: bytes) -> None:
    def answer(request: httpx2.Request) -> httpx2.Response:
        status_now = 200 if "authorization" in request.headers else status
        return httpx2.Response(status_now, headers=[(b"www-authenticate", value)])

    await Steps(instead={SERVER: answer}).walk()


async def pasted(text: str) -> None:
    async def paste(url: str) -> str:
        return text.replace("{state}", str(httpx2.URL(url).params["state"]))

    steps = Steps()
    await steps.walk(steps.auth(paste=paste).provider(SERVER))


@corpora
@pytest.mark.parametrize(("place", "document"), PLACES.values(), ids=PLACES)
def test_no_answer_makes_the_flow_end_in_anything_but_a_typed_error(
    place: str, document: dict[str, Any], corpus: list[Any], bodies: list[bytes]
) -> None:
    for body in [*bodies, *variants(document, corpus)]:
        survive(flow, place, httpx2.Response(200, headers=JSON, content=body))
    for body in variants(REFUSAL, corpus):
        survive(flow, place, httpx2.Response(400, headers=JSON, content=body))
    for value in [*header_values()[:: 5 if corpus is FEW else 1], *DATES]:
        survive(flow, place, httpx2.Response(302, headers=[(b"location", value)]))
        survive(flow, place, httpx2.Response(503, headers=[(b"retry-after", value)]))


@pytest.mark.parametrize("status", [401, 403])
def test_no_challenge_makes_the_flow_end_in_anything_but_a_typed_error(status: int) -> None:
    for value in header_values():
        for header in (b"%s", b'Bearer resource_metadata="%s"', b'Bearer error="insufficient_scope", scope="%s"'):
            survive(challenged, status, header.replace(b"%s", value))


@pytest.mark.parametrize("query", ["code=%s", "error=%s", "code=a&iss=%s", "error=a&error_description=%s", "%s"])
def test_no_callback_that_is_pasted_makes_the_flow_end_in_anything_but_a_typed_error(query: str) -> None:
    for text in TEXTS:
        survive(pasted, "http://127.0.0.1/callback?state={state}&" + query.replace("%s", text))


# -- what listens ------------------------------------------------------------------------------------------------------


async def status_of(app: ASGIApp, method: str, path: str, query: bytes, headers: list[Any], body: bytes) -> int:
    """Ask an application below any HTTP parser, which may refuse more, or less."""
    statuses: list[int] = []
    unread = [body]

    async def receive() -> Message:
        if not unread:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": unread.pop(), "more_body": False}

    async def send_(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": headers,
        "server": ("127.0.0.1", 443),
        "client": ("127.0.0.1", 1),
    }
    await app(scope, receive, send_)
    return statuses[0]


RAW = [*header_values(), *(text.encode("utf-8", "surrogatepass") for text in TEXTS), b"\xff\xfe", b"code=\xff&a=\xed"]


def test_no_request_breaks_the_callback_listener() -> None:
    def read(url: str) -> Any:
        return read_callback(url, PendingFlows(ManualClock(NOW)))

    async def ask(query: bytes, host: bytes) -> None:
        listener = CallbackListener("http://127.0.0.1/callback", read)
        app = Starlette(routes=[Route("/callback", listener._callback)])
        assert await status_of(app, "GET", "/callback", query, [(b"host", host)], b"") == 400

    for raw in RAW:
        survive(ask, raw, b"127.0.0.1")
        survive(ask, b"code=a&state=" + raw, b"127.0.0.1")
        survive(ask, b"code=a", raw)


REGISTRATION = {**CLIENT, "application_type": "native", "client_name": "a name", "logo_uri": "https://a.example/logo"}
EXCHANGE = {
    "grant_type": "authorization_code",
    "code": "a-code",
    "client_id": "notebook",
    "code_verifier": "v" * 43,
    "redirect_uri": "http://127.0.0.1/callback",
    "resource": "https://mcp.example/mcp",
    "refresh_token": "a-refresh-token",
    "scope": "read:user",
}
QUESTION = {
    "response_type": "code",
    "client_id": "notebook",
    "redirect_uri": "http://127.0.0.1/callback",
    "code_challenge": "c" * 43,
    "code_challenge_method": "S256",
    "state": "a-state",
    "scope": "read:user",
    "resource": "https://mcp.example/mcp",
}
REQUEST = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_github_user_info"}}
ENDPOINTS = [
    ("GET", "/authorize"),
    ("POST", "/token"),
    ("POST", "/revoke"),
    ("POST", "/register"),
    ("GET", "/oauth/callback"),
    ("GET", "/oauth/consent"),
    ("POST", "/oauth/consent"),
    ("POST", "/mcp"),
    ("GET", "/.well-known/oauth-protected-resource/mcp"),
]
READ_HEADERS = ("host", "authorization", "cookie", "content-type", "origin", "accept", "mcp-session-id")
HOST = (b"host", b"mcp.example")
AS_FORM = [HOST, (b"content-type", FORM.encode())]
AS_JSON = [HOST, (b"content-type", b"application/json"), (b"accept", b"application/json, text/event-stream")]


def requests(corpus: list[Any], bodies: list[bytes]) -> list[tuple[str, str, bytes, list[Any], bytes]]:
    """Everything that is sent to the servers: method, path, query, headers, body."""
    found: list[tuple[str, str, bytes, list[Any], bytes]] = []
    for method, path in ENDPOINTS:
        for raw in RAW[:: 7 if corpus is FEW else 1]:
            found.append((method, path, raw, AS_FORM, raw))
            found += [(method, path, b"", [HOST, (name.encode(), raw)], b"{}") for name in READ_HEADERS]
    for text in [text for text in corpus if isinstance(text, str)]:
        fields = [urlencode({**EXCHANGE, name: text}, errors="surrogatepass").encode() for name in EXCHANGE]
        found += [("POST", "/token", b"", AS_FORM, body) for body in fields]
        queries = [urlencode({**QUESTION, name: text}, errors="surrogatepass").encode() for name in QUESTION]
        found += [("GET", "/authorize", query, [HOST], b"") for query in queries]
    for path, document in (("/register", REGISTRATION), ("/mcp", REQUEST)):
        found += [("POST", path, b"", AS_JSON, body) for body in [*bodies, *variants(document, corpus)]]
    return found


@corpora
@pytest.mark.anyio
async def test_no_request_breaks_the_servers(corpus: list[Any], bodies: list[bytes]) -> None:
    async with HttpLab.open(loop="current") as lab:
        for request in requests(corpus, bodies):
            status = await status_of(lab._app, *request)
            assert status < 500, request


# -- files -------------------------------------------------------------------------------------------------------------


def test_no_env_file_gets_anything_but_settings_or_a_typed_error(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    names = ("OAUTH_CLIENT_ID", "OAUTH_SCOPES", "OAUTH_TOKEN_URL", "OAUTH_REDIRECT_URI", "API_TIMEOUT", "LOG_LEVEL")
    lines = [f"{name}={text}".encode("utf-8", "surrogatepass") for name in names for text in TEXTS]
    for content in [
        *lines[::3],
        *BODIES[:30],
        b"A" * 100_000,
        b"=" * 1000,
        b"'" * 1001,
        b"${A}" * 1000,
        b"export export",
    ]:
        path.write_bytes(content)
        survive(lambda: Settings(_env_file=path))


def test_an_env_file_that_cannot_be_read_is_a_typed_error() -> None:
    survive(lambda: Settings(_env_file="/proc/self/mem"))
