"""The server's log: on stderr, at the chosen level, and without a secret whoever wrote the line."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from mcp import StdioServerParameters

from mcp_oauth_nb import AuthenticationRequired, FileTokenStore, OAuthHandler, Session, Token
from mcp_oauth_nb.lab.mock_github import Autopilot, MockGitHub
from mcp_oauth_nb.oauth.masking import mask, remember
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.runtime.log_records import ScrubbingFormatter

pytestmark = pytest.mark.anyio

SECRET = "-".join(["a", "secret", "that", "a", "library", "logs"])


def test_a_known_secret_is_masked_in_the_line_and_in_its_traceback() -> None:
    remember(SECRET)
    try:
        raise ValueError(f"refused: {SECRET}")
    except ValueError:
        record = logging.LogRecord("somebody", logging.ERROR, __file__, 1, "sent %s", (SECRET,), sys.exc_info())
    text = ScrubbingFormatter("%(message)s").format(record)
    assert SECRET not in text
    assert text.count(mask(SECRET)) == 2


def test_a_faulty_log_call_is_shown_masked_and_other_handlers_get_it_as_it_was(
    capsys: pytest.CaptureFixture[str],
) -> None:
    remember(SECRET)
    handler = logging.StreamHandler(text := io.StringIO())
    handler.setFormatter(ScrubbingFormatter("%(message)s"))
    record = logging.LogRecord("somebody", logging.ERROR, __file__, 1, "bad %d", (SECRET,), None)
    try:
        raise ValueError(SECRET)
    except ValueError:
        handler.handle(record)
    assert text.getvalue() == f"bad %d ('{mask(SECRET)}',) (cannot be formatted)\n"
    assert capsys.readouterr().err == ""
    assert record.args == (SECRET,)


@pytest.mark.parametrize(
    ("level", "shown"),
    [("WARNING", ["ours"]), ("INFO", ["ours"]), ("DEBUG", ["ours", "httpx", "mcp"])],
)
def test_libraries_that_report_every_request_are_heard_at_debug_only(level: str, shown: list[str]) -> None:
    work = """
import logging, sys
from mcp_oauth_nb.config import IsolatedSettings
from mcp_oauth_nb.cli.commands import configure_logging
configure_logging(IsolatedSettings(log_level=sys.argv[1]))
logging.getLogger("mcp_oauth_nb.x").warning("ours")
for name in ("httpx", "mcp", "httpcore", "asyncio"):
    logging.getLogger(f"{name}.x").info(name)
"""
    ended = subprocess.run([sys.executable, "-c", work, level], capture_output=True, text=True, timeout=30)
    assert [line.partition(" - ")[2] for line in ended.stderr.splitlines()] == shown
    assert ended.stdout == ""


async def test_debug_details_the_flow_and_shows_no_secret(
    on_port: MockGitHub, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    github = on_port
    settings = {
        "OAUTH_CLIENT_ID": github.client_id,
        "OAUTH_CLIENT_SECRET": github.client_secret,
        "OAUTH_AUTHORIZATION_URL": f"{github.web_url}/login/oauth/authorize",
        "OAUTH_TOKEN_URL": f"{github.web_url}/login/oauth/access_token",
        "OAUTH_ISSUER": github.issuer,
        "API_BASE_URL": github.api_url,
    }
    store = FileTokenStore(tmp_path / "mcp-oauth-nb" / "tokens.json")
    oauth = OAuthHandler(settings=IsolatedSettings(**settings), store=store)
    request = oauth.get_authorization_url()
    async with httpx.AsyncHTTPTransport() as transport:
        await oauth.complete_authorization(await Autopilot(transport).authorize(request.url))
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "mcp_oauth_nb", "serve"],
        env={**settings, "LOG_LEVEL": "DEBUG", "XDG_DATA_HOME": str(tmp_path)},
    )
    async with Session.open(command) as session:
        # GitHub does not know the token: it is refreshed.
        github.faults.next_api(status=404)
        assert not (await session.call_tool("get_github_user_info")).is_error
        oauth.token = Token("made-up-token-that-nobody-issued")
        with pytest.raises(AuthenticationRequired):
            await session.call_tool("get_github_user_info")
    log = capfd.readouterr().err
    assert "DEBUG - Token endpoint: refresh_token answered 200" in log
    assert "WARNING - Authentication required" in log
    secrets = github.issued_secrets() | {request.state, request.code_verifier}
    assert len(secrets) > 6
    assert not [secret for secret in secrets if secret in log]
