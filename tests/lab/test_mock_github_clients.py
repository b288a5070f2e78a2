"""GitHub's clients that nobody here wrote, each as its users use it: sign in, read, refresh, revoke.

Those that let their servers be chosen are led to the mock on a port of 127.0.0.1; httpx-oauth, which does not, is
led there by a proxy. `test_other_clients.py` has authlib, and the tests marked `e2e` have the clients from npm.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import github
import githubkit
import httpx
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from e2e_programs import node, npm
from githubkit.exception import RequestFailed
from mock_github_world import CALLBACK, CHALLENGE, VERIFIER, World

from mcp_oauth_nb.lab.mock_github import Autopilot, MockGitHub

pytestmark = pytest.mark.anyio

SCOPES = "repo user read:org"


async def consent(url: str) -> str:
    """Go through with an authorization request on a real socket; return the code."""
    async with httpx.AsyncHTTPTransport() as transport:
        end = await Autopilot(transport).authorize(url)
    return parse_qs(urlsplit(end).query)["code"][0]


def authorize_url(on_port: MockGitHub, **parameters: str) -> str:
    asked = {"client_id": on_port.client_id, "redirect_uri": CALLBACK, "scope": SCOPES} | parameters
    return str(httpx.URL(f"{on_port.web_url}/login/oauth/authorize", params=asked))


# -- PyGithub -------------------------------------------------------------------------------------------------------


@pytest.fixture
def pygithub_app(on_port: MockGitHub) -> Any:
    with github.Github(base_url=on_port.api_url) as anonymous:
        yield anonymous.get_oauth_application(on_port.client_id, on_port.client_secret)


def signed_in(on_port: MockGitHub, auth: github.Auth.Auth) -> github.Github:
    return github.Github(base_url=on_port.api_url, auth=auth)


def test_pygithub_signs_in_with_pkce_reads_and_follows_pages(on_port: MockGitHub, pygithub_app: Any) -> None:
    url = authorize_url(on_port, code_challenge=CHALLENGE, code_challenge_method="S256")
    assert pygithub_app.get_login_url(redirect_uri=CALLBACK).startswith(url.partition("?")[0])
    token = pygithub_app.get_access_token(anyio.run(consent, url), code_verifier=VERIFIER)
    assert (token.type, token.scope) == ("bearer", "repo,user,read:org")
    with signed_in(on_port, github.Auth.Token(token.token)) as client:
        user = client.get_user()
        assert (user.login, user.plan.name, user.two_factor_authentication) == ("octocat", "pro", True)
        assert next((one.email, one.primary, one.verified) for one in user.get_emails()) == (user.email, True, True)
        assert [one.login for one in user.get_orgs()] == ["octo-org"]
        assert len(list(user.get_repos())) == len({one.id for one in user.get_repos()}) == 39
        assert client.get_organization("octo-org").name == "Octo Org"
        assert client.get_user("hubot").get_repos().totalCount == 3
        hello = client.get_repo("octocat/hello-world")
        assert (hello.permissions.admin, hello.allow_squash_merge, hello.owner.login) == (True, True, "octocat")
        assert not hello.update()
        assert client.get_rate_limit().resources.core.limit == 5000
        assert client.oauth_scopes == ["repo", "user", "read:org"]


def test_pygithub_refreshes_and_the_old_pair_ends(on_port: MockGitHub, pygithub_app: Any) -> None:
    old = pygithub_app.get_access_token(anyio.run(consent, authorize_url(on_port)))
    new = pygithub_app.refresh_access_token(old.refresh_token)
    assert new.expires_in == 28800
    with signed_in(on_port, pygithub_app.get_app_user_auth(new)) as client:
        assert client.get_user().login == "octocat"
    with signed_in(on_port, github.Auth.Token(old.token)) as client, pytest.raises(github.BadCredentialsException):
        _ = client.get_user().login
    with pytest.raises(github.GithubException, match="bad_refresh_token"):
        pygithub_app.refresh_access_token(old.refresh_token)


def test_pygithub_types_what_is_refused(on_port: MockGitHub, pygithub_app: Any) -> None:
    with pytest.raises(github.BadCredentialsException):
        pygithub_app.get_access_token("unknown")
    secret = on_port.issue_token(scopes=("gist",)).access_token
    with signed_in(on_port, github.Auth.Token(secret)) as client:
        with pytest.raises(github.UnknownObjectException):
            list(client.get_user().get_emails())
        with pytest.raises(github.GithubException, match="read:org"):
            list(client.get_user().get_orgs())


# -- githubkit: every answer goes through the models of the published schema ----------------------------------------


def kit(on_port: MockGitHub, auth: Any) -> githubkit.GitHub[Any]:
    return githubkit.GitHub(auth, base_url=on_port.api_url, http_cache=False, auto_retry=False)


async def read_all(client: githubkit.GitHub[Any]) -> None:
    """Read what a client reads after a sign-in; `parsed_data` validates."""
    rest = client.rest
    user = (await rest.users.async_get_authenticated()).parsed_data
    assert (user.login, type(user).__name__) == ("octocat", "PrivateUser")
    emails = (await rest.users.async_list_emails_for_authenticated_user()).parsed_data
    assert [one.primary for one in emails] == [True, False, False]
    assert [one.login for one in (await rest.orgs.async_list_for_authenticated_user()).parsed_data] == ["octo-org"]
    pages = rest.paginate(rest.repos.async_list_for_authenticated_user, per_page=20)
    assert len([one async for one in pages]) == 39
    assert (await rest.repos.async_get("octocat", "hello-world")).parsed_data.permissions
    assert (await rest.users.async_get_by_username("hubot")).parsed_data.login == "hubot"
    assert (await rest.repos.async_list_for_user("hubot")).parsed_data
    assert (await rest.orgs.async_get("octo-org")).parsed_data.login == "octo-org"
    assert (await rest.meta.async_get()).parsed_data.hooks
    assert (await rest.rate_limit.async_get()).parsed_data.resources.core.limit == 5000


async def test_githubkit_signs_in_reads_refreshes_checks_and_revokes(on_port: MockGitHub) -> None:
    app = kit(on_port, githubkit.OAuthAppAuthStrategy(on_port.client_id, on_port.client_secret))
    code = await consent(authorize_url(on_port))
    strategy = githubkit.OAuthWebAuthStrategy(on_port.client_id, on_port.client_secret, code)
    async with kit(on_port, strategy) as client:
        await read_all(client)
        token = await strategy.async_exchange_token(client)
        assert token.refresh_token is not None
    # Without an access token it begins with a refresh.
    renewed = githubkit.OAuthTokenAuthStrategy(
        on_port.client_id, on_port.client_secret, refresh_token=token.refresh_token
    )
    async with kit(on_port, renewed) as client, app:
        assert (await client.rest.users.async_get_authenticated()).parsed_data.login == "octocat"
        call = {"client_id": on_port.client_id, "access_token": str(renewed.token)}
        checked = (await app.rest.apps.async_check_token(**call)).parsed_data
        assert checked.scopes == ["repo", "user", "read:org"]
        call["access_token"] = (await app.rest.apps.async_reset_token(**call)).parsed_data.token
        await app.rest.apps.async_delete_token(**call)
        with pytest.raises(RequestFailed, match="404"):
            await app.rest.apps.async_check_token(**call)
        with pytest.raises(RequestFailed, match="401"):
            await client.rest.users.async_get_authenticated()


async def test_githubkit_signs_a_device_in_and_refreshes_without_a_secret(on_port: MockGitHub) -> None:
    async def show(codes: dict[str, Any]) -> None:
        async with httpx.AsyncHTTPTransport() as transport:
            uri = codes["verification_uri"]
            await Autopilot(transport).approve_device(codes["user_code"], verification_uri=uri)

    device = githubkit.OAuthDeviceAuthStrategy(on_port.client_id, show, scopes=SCOPES.split())
    async with kit(on_port, device) as client:
        await read_all(client)
        token = await device.async_exchange_token(client)
    renewed = githubkit.OAuthTokenAuthStrategy(on_port.client_id, None, refresh_token=token.refresh_token)
    async with kit(on_port, renewed) as client:
        assert (await client.rest.users.async_get_authenticated()).parsed_data.login == "octocat"


# -- httpx-oauth, whose addresses are GitHub's own: a proxy leads them here, and nothing of the client is changed ----

PROGRAMS = Path(__file__).parent.parent / "worlds" / "github_clients"
LIMIT_SECONDS = 60


@asynccontextmanager
async def running(*command: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program that talks in lines."""
    program = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=os.environ | environment
    )
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            yield program
    finally:
        if program.returncode is None:
            program.kill()
        await program.communicate()


async def line(program: asyncio.subprocess.Process) -> str:
    assert program.stdout is not None
    return (await program.stdout.readline()).decode().strip()


def certificate(directory: Path, hosts: Sequence[str]) -> Path:
    """Write a key and a certificate for these hosts that vouches for itself; return the file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Mock GitHub")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts]), critical=False)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    pem = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path = directory / "github.pem"
    path.write_bytes(private + pem)
    return path


async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def proxied(world: World, pem: Path) -> AsyncIterator[dict[str, str]]:
    """Serve the mock over TLS behind a proxy to anywhere; yield the environment that leads there."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        world.github.app, ssl_certfile=pem, ssl_keyfile=pem, log_level="critical", lifespan="off", ws="none"
    )
    server = uvicorn.Server(config)
    port = listener.getsockname()[1]

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer), return_exceptions=True)
        inner_writer.close()
        writer.close()

    async with anyio.create_task_group() as group, await asyncio.start_server(connect, "127.0.0.1", 0) as proxy:
        group.start_soon(server.serve, [listener])
        address = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        # The names in small letters would count for more, if somebody has set them.
        names = {"HTTPS_PROXY": address, "https_proxy": address, "NO_PROXY": "", "no_proxy": ""}
        yield names | {"SSL_CERT_FILE": str(pem)}
        server.should_exit = True


async def test_httpx_oauth_signs_in_reads_refreshes_and_types_what_is_refused(tmp_path: Path) -> None:
    world = World()
    pem = certificate(tmp_path, ["github.com", "api.github.com"])
    program = [sys.executable, str(PROGRAMS / "httpx_oauth_program.py")]
    async with proxied(world, pem) as environment:
        arguments = [world.github.client_id, world.github.client_secret, CALLBACK]
        async with running(*program, *arguments, **environment) as child:
            assert child.stdin is not None
            callback = await Autopilot(world.transport, user="hubot").authorize(await line(child))
            child.stdin.write(callback.encode() + b"\n")
            result = json.loads(await line(child))
    assert result == {
        "scope": "user",
        "id_email": ["480938", "hubot@example.com"],
        "emails": ["hubot@example.com", "480938+hubot@users.noreply.github.com"],
        "refreshed": True,
        "old": 401,
        "spent_refresh_token": "RefreshTokenError",
    }


# -- the clients from npm -------------------------------------------------------------------------------------------

NODE_PACKAGES = [
    *("@octokit/auth-oauth-user@6.0.4", "@octokit/oauth-app@8.0.4", "octokit@5.0.5"),
    *("passport@0.7.0", "passport-github2@0.1.12"),
]


@pytest.fixture(scope="session")
def node_packages() -> None:
    """Install them, once, beside the programs that use them."""
    wanted = [name.rpartition("@") for name in NODE_PACKAGES]
    manifests = [PROGRAMS / "node_modules" / name / "package.json" for name, _, _ in wanted]
    found = [json.loads(one.read_text("utf-8"))["version"] if one.exists() else None for one in manifests]
    if found != [version for _, _, version in wanted]:
        command = [npm(), "install", "--prefix", str(PROGRAMS), "--no-audit", "--no-fund", "--no-save"]
        subprocess.run([*command, *NODE_PACKAGES], check=True, timeout=100)


async def act(person: Autopilot, request: dict[str, str]) -> bytes:
    """Do what a program asks of its person; return what it is to be told."""
    if "url" in request:
        return (await person.authorize(request["url"])).encode() + b"\n"
    await person.approve_device(request["user_code"], verification_uri=request["verification_uri"])
    return b""


@pytest.mark.e2e
@pytest.mark.usefixtures("node_packages")
async def test_octokit_signs_in_in_three_ways_reads_refreshes_and_revokes(on_port: MockGitHub) -> None:
    on_port.knobs.device_interval = 1
    app = on_port.register_app("A GitHub App", [CALLBACK], kind="github_app")
    arguments = [on_port.api_url, on_port.client_id, on_port.client_secret, app.client_id, app.client_secret]
    async with (
        running(node(), str(PROGRAMS / "octokit.mjs"), *arguments, SCOPES, CALLBACK) as program,
        httpx.AsyncHTTPTransport() as transport,
    ):
        person = Autopilot(transport)
        assert program.stdin is not None
        for _ in range(3):
            program.stdin.write(await act(person, json.loads(await line(program))))
        result = json.loads(await line(program))
    read = {"login": "octocat", "mayPush": True, "public": "hubot", "meta": 200}
    full = read | {"repositories": 39, "emails": 200, "organizations": ["octo-org"]}
    assert result["web"] == result["byDevice"] == full
    public = sum(not one.private for one in on_port.repositories if "octocat" in one.affiliations)
    assert result["asApp"] == read | {"repositories": public, "emails": 403, "organizations": []}
    assert result["checked"] == ["repo", "user", "read:org"]
    assert [result[name] for name in ("beforeReset", "afterDeletion", "firstNow", "secondNow")] == [404] * 4


@pytest.mark.e2e
@pytest.mark.usefixtures("node_packages")
async def test_passport_github2_lets_a_person_in_and_learns_their_addresses(on_port: MockGitHub) -> None:
    arguments = [on_port.web_url, on_port.api_url, on_port.client_id, on_port.client_secret]
    async with (
        running(node(), str(PROGRAMS / "passport.mjs"), *arguments) as program,
        httpx.AsyncHTTPTransport() as transport,
        httpx.AsyncClient(transport=transport) as browser,
    ):
        start = await browser.get(await line(program))
        callback = await Autopilot(transport, user="hubot").authorize(start.headers["location"])
        learnt = (await browser.get(callback)).json()
        refused = (await browser.get(callback)).json()
    assert {name: learnt[name] for name in ("id", "username", "displayName", "scope")} == {
        "id": "480938",
        "username": "hubot",
        "displayName": "Hubot",
        "scope": "user:email",
    }
    private = {"value": "hubot@example.com", "primary": True, "verified": True, "visibility": "private"}
    assert private in learnt["emails"]
    assert learnt["refreshToken"].startswith("ghr_")
    # The code was used up.
    assert "Failed to obtain access token" in refused["error"]
