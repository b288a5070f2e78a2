"""`mcp-oauth-nb debug URL`: the flow debugger in a terminal, for people and for CI."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from ..oauth.errors import McpOAuthError
from ..oauth.masking import scrub
from ..oauth.text import shown_url
from ..oauth.urls import NOT_ABSOLUTE, is_web
from ..runtime.loops import run
from .debug_walk import FORMATS, Asking, Verdict, walk

if TYPE_CHECKING:
    from ..debugger.recording import Mode

#: Every check passed; one failed; nothing can be said about the server; Ctrl-C, as a shell reports it.
IN_ORDER, FINDING, NO_ANSWER, INTERRUPTED = 0, 1, 2, 130
_CODES: dict[Verdict, int] = {"in order": IN_ORDER, "finding": FINDING, "no answer": NO_ANSWER}

#: The client's secret, if it has one. Not an option: those are in the list of processes.
SECRET_VARIABLE = "MCP_CLIENT_SECRET"


def _json_object(ctx: click.Context, param: click.Parameter, value: str) -> dict[str, Any]:
    try:
        given = json.loads(value)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise click.BadParameter('It is not a JSON object, such as {"name": "value"}.')
    return given


@click.command("debug", short_help="Walk through a server's authorization and check each step.")
@click.argument("url")
@click.option("--tool", default="", help="A protected tool to call; without it the tools are only listed.")
@click.option("--arguments", default="{}", callback=_json_object, help="The tool's arguments, a JSON object.")
@click.option("--more", default="{}", callback=_json_object, help="Arguments that need more scopes: tries the step-up.")
@click.option(
    "--tour",
    is_flag=True,
    help="After the token also ask as a client in a web page would, refresh, try the old refresh token, revoke, see "
    "each time that the tokens have ended, and try the code again. The person signs in twice.",
)
@click.option(
    "--mode",
    type=click.Choice(["auto", "legacy", "2025-06-18", "2025-03-26"]),
    default="auto",
    show_default=True,
    help="auto speaks MCP 2026-07-28 where the server can, legacy 2025-11-25, the others what they say.",
)
@click.option(
    "--client-id",
    default="",
    help=f"A client that is registered already. Its secret is taken from {SECRET_VARIABLE}, and needs --issuer.",
)
@click.option("--issuer", default="", help="The authorization server that registered the client, and gets its secret.")
@click.option("--client-metadata-url", help="The client's id, for servers that take client metadata documents.")
@click.option(
    "--redirect-uri",
    default="http://127.0.0.1/callback",
    show_default=True,
    help="Where the browser comes back to; without a port, at a free one.",
)
@click.option("--paste", is_flag=True, help="The browser is on another machine: paste its address here.")
@click.option("--no-browser", is_flag=True, help="Nobody is here: stop before the authorization request.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to wait for the browser.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["plain", *FORMATS]),
    default="plain",
    show_default=True,
    help="What to print on the standard output; with all but plain, the verdict is on the standard error output.",
)
@click.option("-v", "--verbose", is_flag=True, help="plain: also why each step exists, and its messages in full.")
def debug(url: str, **options: Any) -> None:
    """Walk through the authorization of the MCP server at URL, with the client that ships, and check each step.

    Exits with 0 if every check passed, 1 if one failed, 2 if nothing can be said: the server could not be asked, the
    person did not come back. Secrets are masked in all that it prints.
    """
    _check_url(url, "URL")
    _check_url(options["redirect_uri"], "--redirect-uri")
    sys.exit(exit_code(lambda: _debug(url, **options)))


def exit_code(work: Callable[[], int]) -> int:
    """Do the work and return its exit code. An error that ends the work is shown, and has an exit code too."""
    try:
        return work()
    except KeyboardInterrupt:
        click.echo("\nInterrupted.", err=True)
        return INTERRUPTED
    except click.ClickException:
        raise
    except McpOAuthError as error:
        click.echo(str(error), err=True)
    except Exception:  # noqa: BLE001 - Python itself would exit with 1, which here is a finding about the server
        click.echo(scrub(traceback.format_exc()), err=True)
    return NO_ANSWER


def _check_url(url: str, name: str) -> None:
    if not is_web(url):
        raise click.BadParameter(f"It {NOT_ABSOLUTE}.", param_hint=name)
    if "@" in urlsplit(url).netloc:
        raise click.BadParameter("It must not hold a user name or password: URLs are logged.", param_hint=name)


def _debug(
    url: str,
    *,
    tool: str,
    arguments: dict[str, Any],
    more: dict[str, Any],
    mode: Mode,
    client_id: str,
    issuer: str,
    client_metadata_url: str | None,
    redirect_uri: str,
    paste: bool,
    timeout: float,
    **options: Any,
) -> int:
    from ..client.auth import McpAuth
    from ..jupyter.flow_debugger import FlowDebugger

    asking = Asking() if paste else None
    auth = McpAuth(
        client=_client(client_id, issuer, redirect_uri) if client_id else None,
        client_metadata_url=client_metadata_url,
        redirect_uri=redirect_uri,
        paste=asking.wait if asking is not None else None,
        listen=asking is None,
        show=lambda text: None,
        open_browser=_show_link if asking is not None else _open_link,
        timeout=timeout,
    )
    _quieten()
    debug = run(FlowDebugger.open(url, tool=tool, arguments=arguments, more=more, auth=auth, mode=mode))
    return _CODES[walk(debug, asking=asking, **options)]


def _client(client_id: str, issuer: str, redirect_uri: str) -> Any:
    from mcp.shared.auth import OAuthClientInformationFull

    from ..oauth.settings import DeploymentSettings

    given = DeploymentSettings().mcp_client_secret
    secret = given.get_secret_value() if given is not None else None
    if secret and not issuer:
        raise click.UsageError(f"{SECRET_VARIABLE} is set: say by --issuer which authorization server may get it.")
    return OAuthClientInformationFull.model_validate(
        {
            "client_id": client_id,
            "client_secret": secret,
            "issuer": issuer or None,
            "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
        }
    )


def _open_link(url: str) -> bool:
    from ..client.login import open_in_browser

    _show_link(url)
    return open_in_browser(url)


def _show_link(url: str) -> bool:
    click.echo(f"\nOpen this address in a browser:\n\n  {shown_url(url)}\n", err=True)
    return True


def _quieten() -> None:
    """Keep the SDK's logs out of the report, unless logging was configured."""
    import logging

    logging.getLogger("mcp").addHandler(logging.NullHandler())
