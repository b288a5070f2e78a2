"""The command line, with the programs that are short. Each imports what it needs when it runs: `--help` is quick."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._version import __version__
from ..oauth.errors import McpOAuthError
from ..oauth.text import shown_url
from .debug import debug

if TYPE_CHECKING:
    from ..lab.mock_github import MockGitHub, OAuthApp
    from ..oauth.settings import Settings

# Quoted for every shell, Windows' too.
_INSTALL_LAB = 'pip install "mcp-oauth-nb[lab]"'

_FIRST = "00-start-here.ipynb"

# Libraries that log every request at INFO, which is shown with LOG_LEVEL=DEBUG only.
_CHATTY = ("httpx", "mcp")
# Libraries that log sockets, which is shown at no level.
_SILENT = ("httpcore", "asyncio")


class _Commands(click.Group):
    """Shows an error of this package as its message and hint, without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except McpOAuthError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands)
@click.version_option(__version__, prog_name="mcp-oauth-nb")
def main() -> None:
    """Learn, prototype and verify MCP authorization."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A code page, which Windows takes where the output is redirected, lacks the arrows of a diagram.
        sys.stdout.reconfigure(errors="replace")


@main.command()
@click.option("--seed", default=7, show_default=True, help="Decides every random value.")
@click.option(
    "--mode",
    type=click.Choice(["auto", "legacy"]),
    default="auto",
    show_default=True,
    help="auto speaks MCP 2026-07-28, legacy 2025-11-25.",
)
def demo(seed: int, mode: str) -> None:
    """Run the whole flow here, offline, and show each message."""
    from ..lab.demo import demo as run_demo
    from ..lab.lab import Lab

    async def run() -> None:
        async with Lab.open(seed, mode="legacy" if mode == "legacy" else "auto") as lab:
            await run_demo(lab, click.echo)

    asyncio.run(run())


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=Path("notebooks"))
def lab(directory: Path) -> None:
    """Open JupyterLab on the guided notebooks.

    They are in DIRECTORY, ./notebooks unless given, and are copied there if it does not exist.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise click.ClickException(f"JupyterLab is not installed.\nWhat to do: {_INSTALL_LAB}")
    copy_notebooks(directory)
    # The last one is for where no browser is opened: the address that JupyterLab prints then leads there too.
    command = [sys.executable, "-m", "jupyterlab", str(directory / _FIRST), f"--LabApp.default_url=/lab/tree/{_FIRST}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # In a container everybody is root. JupyterLab listens on this machine only, behind its token.
        command.append("--allow-root")
    if not _has_browser():
        command.append("--no-browser")
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(subprocess.call(command))


@main.command()
@click.option("--transport", type=click.Choice(["stdio", "http"]), default="stdio", show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="http: the address; another needs --public-url.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="http: 0 takes a free one."
)
@click.option("--public-url", help="http: where clients find the server, if a proxy stands in front.")
@click.option(
    "--store",
    help="http: where the state is: memory (the default), a directory, or redis://... that several workers share. "
    "In the variable STORE_URL a password is not in the list of processes.",
)
@click.option(
    "--stateless",
    is_flag=True,
    help="http: keep no sessions of MCP versions before 2026-07-28, so that any worker takes any request.",
)
@click.option("--mock", is_flag=True, help="http: bring a mocked GitHub up beside it.")
@click.option(
    "--token-lifetime",
    type=click.IntRange(1),
    default=3600,
    show_default=True,
    help="http: seconds that an access token is good; a few show how a client refreshes.",
)
def serve(transport: str, **http: Any) -> None:
    """Serve the MCP server over stdio, for an MCP host to start, or over HTTP."""
    from ..oauth.settings import Settings

    settings = Settings()
    with contextlib.suppress(KeyboardInterrupt):
        if transport == "stdio":
            serve_stdio(settings)
            return
        from .serve_http import serve_http

        configure_logging(settings)
        serve_http(settings, show=click.echo, **http)


@main.command()
@click.option("--paste", is_flag=True, help="The browser is on another machine: paste its address here.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to wait for the browser.")
def login(paste: bool, timeout: float) -> None:
    """Sign in with the browser; store the token for `serve`."""
    from ..client.handler import OAuthHandler
    from ..client.login import login as run_login
    from ..oauth.settings import Settings
    from ..store.chosen import chosen_store

    store = chosen_store()
    oauth = OAuthHandler(settings=Settings(), store=store)

    async def run() -> None:
        if not paste:
            await run_login(oauth, show=_tell, timeout=timeout)
            return
        request = oauth.get_authorization_url()
        click.echo(f"Open this address in a browser:\n\n  {shown_url(request.url)}\n")
        click.echo("After you have authorized, the browser may show an error page: copy its whole address here.")
        hidden = sys.stdin.isatty()
        label = "Its address (not shown)" if hidden else "Its address"
        await oauth.complete_authorization(click.prompt(label, hide_input=hidden))

    asyncio.run(run())
    click.echo(f"Signed in: {oauth.token!r}\nStored in {store.place}")


@main.command()
def logout() -> None:
    """Revoke the stored token at the provider and forget it."""
    from ..client.handler import OAuthHandler
    from ..oauth.settings import Settings
    from ..store.chosen import chosen_store

    oauth = OAuthHandler(settings=Settings(), store=chosen_store())
    if oauth.token is None:
        click.echo("There is no stored token.")
        return
    told = asyncio.run(oauth.revoke())
    click.echo("Revoked and forgotten." if told else "Forgotten; the provider was not told.")


@main.command()
def doctor() -> None:
    """Check the configuration and the stored token.

    Looks at the installation too, and sends nothing anywhere. Exits with 1 if something is wrong.
    """
    from .doctor import examine

    findings = examine()
    for finding in findings:
        click.echo(str(finding))
    if not all(finding.ok for finding in findings):
        sys.exit(1)


main.add_command(debug)


@main.command("mock-github")
@click.option("--port", type=click.IntRange(0, 65535), default=9000, show_default=True, help="0 takes a free one.")
@click.option("--seed", default=7, show_default=True, help="Decides users, repositories, credentials and tokens.")
@click.option("--callback", help="The callback of a client whose own is not http://127.0.0.1/callback.")
def mock_github(port: int, seed: int, callback: str | None) -> None:
    """Run the mocked GitHub on 127.0.0.1, for any OAuth client."""
    with contextlib.suppress(KeyboardInterrupt):
        serve_mock_github(port, seed, click.echo, callback=callback)


def configure_logging(settings: Settings) -> None:
    """Send the logs of this process to stderr, at `LOG_LEVEL`: stdout belongs to the protocol."""
    from ..runtime.log_records import ScrubbingFormatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(ScrubbingFormatter("%(levelname)s - %(message)s"))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    quiet = logging.NOTSET if settings.log_level == "DEBUG" else logging.WARNING
    for name in _CHATTY:
        logging.getLogger(name).setLevel(quiet)
    for name in _SILENT:
        logging.getLogger(name).setLevel(logging.WARNING)


def serve_stdio(settings: Settings) -> None:
    """Serve until the client closes stdin. Without credentials the server runs, and says so when called."""
    from ..client.handler import OAuthHandler
    from ..server.build import build_server, log_authorization_metadata
    from ..store.chosen import chosen_store

    configure_logging(settings)
    log_authorization_metadata(settings)
    oauth = OAuthHandler(settings=settings, store=chosen_store())
    build_server(oauth).run("stdio")


def serve_mock_github(port: int, seed: int, show: Callable[[str], object], *, callback: str | None = None) -> None:
    """Serve the mocked GitHub on 127.0.0.1, for any OAuth client, until interrupted.

    The REST API is under `/api/v3`, as in GitHub Enterprise Server.

    Args:
        port: 0 takes a free one.
        seed: decides users, repositories, credentials and tokens.
        show: gets the lines that say how to use it.
        callback: of an app that is registered beside the one that is always there, and shown instead.

    Raises:
        ConfigurationError: the port is taken.
    """
    import uvicorn

    from ..client.loopback import listen
    from ..lab.mock_github import MockGitHub

    listener = listen(port)
    github = MockGitHub.at(f"http://127.0.0.1:{listener.getsockname()[1]}", seed=seed)
    app = github.register_app("Mock OAuth App", [callback]) if callback is not None else None
    for line in instructions(github, app):
        show(line)
    uvicorn.Server(uvicorn.Config(github.app, log_level="warning", lifespan="off", ws="none")).run([listener])


def instructions(github: MockGitHub, app: OAuthApp | None = None) -> list[str]:
    """Return what a person needs to use the mocked GitHub: the settings that lead to it, and who can sign in."""
    client = app or github
    return [
        "Mock GitHub. Nothing here is real; these settings lead any client to it:",
        "",
        f"OAUTH_CLIENT_ID={client.client_id}",
        # A made-up credential of the mock, and the only way to use it.
        f"OAUTH_CLIENT_SECRET={client.client_secret}",
        f"OAUTH_AUTHORIZATION_URL={github.web_url}/login/oauth/authorize",
        f"OAUTH_TOKEN_URL={github.web_url}/login/oauth/access_token",
        f"OAUTH_ISSUER={github.issuer}",
        f"API_BASE_URL={github.api_url}",
        "",
        f"Users: {', '.join(github.users)}. Press Ctrl-C to stop.",
    ]


def copy_notebooks(directory: Path) -> None:
    """Copy the guided notebooks to a directory that does not exist yet.

    Raises:
        click.ClickException: it exists, and they are not in it.
    """
    if not directory.exists():
        # The programs that make the notebooks are not copied: they are for contributors.
        made_with = shutil.ignore_patterns("__pycache__", "refresh.py", "images")
        shutil.copytree(_packaged_notebooks(), directory, ignore=made_with)
        click.echo(f"The notebooks were copied to {directory}.")
    if not (directory / _FIRST).exists():
        raise click.ClickException(
            f"{directory} is there, and the guided notebooks are not in it.\n"
            "What to do: name a directory that does not exist yet, and they are copied there: mcp-oauth-nb lab lessons"
        )


def _tell(text: str) -> None:
    click.echo(text)
    click.echo("Waiting for the browser to come back. If it is on another machine: Ctrl-C, then login --paste.")


def _packaged_notebooks() -> Path:
    """Return where the notebooks are: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).parent.parent
    for place in (here / "notebooks", here.parent / "notebooks"):
        if (place / _FIRST).exists():
            return place
    raise click.ClickException("This installation has no notebooks.\nWhat to do: install the package from its sources.")


def _has_browser() -> bool:
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER"))
