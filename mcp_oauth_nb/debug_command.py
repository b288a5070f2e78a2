"""`mcp-oauth-nb debug URL`: the flow debugger in a terminal, for people and for CI."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Literal

import click

# The exit codes: what was checked is in order; something is not; nothing can be said.
_IN_ORDER, _FINDING, _NO_ANSWER = 0, 1, 2

_TOUR = ("refresh", "reuse", "revoke")


@click.command("debug")
@click.argument("url")
@click.option("--tool", default="", help="A protected tool to call; without it the tools are only listed.")
@click.option("--arguments", default="{}", help="The tool's arguments, a JSON object.")
@click.option("--tour", is_flag=True, help="After the token also refresh, try the old refresh token, and revoke.")
@click.option("--legacy", is_flag=True, help="Speak MCP 2025-11-25 with the server.")
@click.option("--client-id", default="", help="A client that is registered already, without a secret.")
@click.option("--client-metadata-url", help="The client's id, for servers that take client metadata documents.")
@click.option("--paste", is_flag=True, help="The browser is on another machine: paste its address here.")
@click.option("--timeout", default=300.0, show_default=True, help="Seconds to wait for the browser.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["plain", "json", "har", "mermaid", "markdown"]),
    default="plain",
    show_default=True,
    help="What to print on the standard output.",
)
def debug(url: str, arguments: str, **options: Any) -> None:
    """Walk through the authorization of an MCP server and check each step.

    Exits with 0 if every check passed, 1 if one failed, 2 if the server could not be asked.
    """
    try:
        given = json.loads(arguments)
    except ValueError:
        given = None
    if not isinstance(given, dict):
        raise click.BadParameter("It is not a JSON object.", param_hint="--arguments")
    sys.exit(asyncio.run(_debug(url, given, **options)))


async def _debug(
    url: str,
    arguments: dict[str, Any],
    *,
    tool: str,
    tour: bool,
    legacy: bool,
    client_id: str,
    client_metadata_url: str | None,
    paste: bool,
    timeout: float,
    form: str,
) -> int:
    from .flow_debugger import FlowDebugger

    mode: Literal["auto", "legacy"] = "legacy" if legacy else "auto"
    auth = _auth(client_id, client_metadata_url, paste, timeout)
    async with FlowDebugger.open(url, tool=tool, arguments=arguments, auth=auth, mode=mode) as debug:
        for action in ("authorize", *(_TOUR if tour else ())):
            if action == "authorize" or (debug.error is None and debug.can(action)):
                await debug.begin(action)
                await _walk(debug, quiet=form != "plain")
        click.echo(_written(debug, form))
        if debug.cause is not None:
            return _FINDING
        return _NO_ANSWER if debug.error is not None else _IN_ORDER


def _auth(client_id: str, client_metadata_url: str | None, paste: bool, timeout: float) -> Any:
    from mcp.shared.auth import OAuthClientInformationFull
    from pydantic import AnyUrl

    from .http_auth import McpAuth

    redirect = "http://127.0.0.1/callback"
    client = (
        OAuthClientInformationFull(
            client_id=client_id, redirect_uris=[AnyUrl(redirect)], token_endpoint_auth_method="none"
        )
        if client_id
        else None
    )
    return McpAuth(
        client=client,
        client_metadata_url=client_metadata_url,
        paste=_paste if paste else None,
        show=lambda text: click.echo(text, err=True),
        timeout=timeout,
    )


async def _paste(url: str) -> str:
    hidden = sys.stdin.isatty()
    prompt = "Its address (not shown)" if hidden else "Its address"
    return await asyncio.to_thread(lambda: str(click.prompt(prompt, hide_input=hidden, err=True)))


async def _walk(debug: Any, *, quiet: bool) -> None:
    while (step := await debug.step()) is not None:
        if not quiet:
            click.echo(repr(step) + "\n")


def _written(debug: Any, form: str) -> str:
    names = {"json": "JSON", "har": "HAR", "mermaid": "Mermaid", "markdown": "Markdown report"}
    if form in names:
        return str(debug.export(names[form])).rstrip("\n")
    if debug.cause is not None:
        return f"Cause: {debug.cause!r}"
    if debug.error is not None:
        return str(debug.error)
    warnings = sum(check.outcome == "warning" for step in debug.steps for check in step.checks)
    return f"In order: {len(debug.steps)} steps, no failed check, {warnings} warnings."
