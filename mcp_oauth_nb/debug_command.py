"""`mcp-oauth-nb debug URL`: the flow debugger in a terminal, for people and for CI.

The flow runs on the loop thread. The main thread, which has the terminal, prints, asks, and gets Ctrl-C.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import click

from .debug_text import body, conclusion, heading, verdict_of
from .errors import ConfigurationError, McpOAuthError
from .loops import run
from .redaction import is_secret_name, mask_url, remember, scrub

if TYPE_CHECKING:
    from .debugger import Step
    from .debugger.older import Mode
    from .flow_debugger import FlowDebugger

#: Every check passed; one failed; nothing can be said about the server; Ctrl-C, as a shell reports it.
IN_ORDER, FINDING, NO_ANSWER, INTERRUPTED = 0, 1, 2, 130

#: The client's secret, if it has one. Not an option: those are in the list of processes.
SECRET_VARIABLE = "MCP_CLIENT_SECRET"

# A code that is sent again should end the tokens, so it comes last.
_TOUR = ("refresh", "reuse", "revoke", "replay")

#: What `--format` takes beside `plain`, and the format of the export that it is.
FORMATS = {
    "json": "JSON",
    "har": "HAR",
    "mermaid": "Mermaid",
    "markdown": "Markdown report",
    "notebook": "notebook",
    "pytest": "pytest",
}


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
    help="After the token also refresh, try the old refresh token, revoke, and try the code again: the server ends "
    "the tokens of this run.",
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
    """Do the work and return its exit code, or that of what kept it from one, which is then shown."""
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
    try:
        parts = urlsplit(url)
        ok = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        ok = False
    if not ok:
        raise click.BadParameter("It is not an http:// or https:// address.", param_hint=name)
    if parts.username is not None:
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
    from .flow_debugger import FlowDebugger
    from .http_auth import McpAuth

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
    for name, value in parse_qsl(urlsplit(url).query):
        if is_secret_name(name):
            remember(value)
    debug = run(FlowDebugger.open(url, tool=tool, arguments=arguments, more=more, auth=auth, mode=mode))
    return walk(debug, asking=asking, **options)


def _client(client_id: str, issuer: str, redirect_uri: str) -> Any:
    from mcp.shared.auth import OAuthClientInformationFull

    secret = os.environ.get(SECRET_VARIABLE)
    if secret and not issuer:
        raise click.UsageError(f"{SECRET_VARIABLE} is set: say by --issuer which authorization server may get it.")
    return OAuthClientInformationFull.model_validate(
        {
            "client_id": client_id,
            "client_secret": secret or None,
            "issuer": issuer or None,
            "redirect_uris": [redirect_uri],
            "token_endpoint_auth_method": "client_secret_basic" if secret else "none",
        }
    )


def _open_link(url: str) -> bool:
    import webbrowser

    _show_link(url)
    return webbrowser.open(url)


def _show_link(url: str) -> bool:
    click.echo(f"\nOpen this address in a browser:\n\n  {url}\n", err=True)
    return True


def _quieten() -> None:
    """Keep what the SDK logs, where nobody asked for logs, out of the report."""
    import logging

    logging.getLogger("mcp").addHandler(logging.NullHandler())


# -- the walk --------------------------------------------------------------------------------------------------


def walk(
    debug: FlowDebugger,
    *,
    tour: bool = False,
    no_browser: bool = False,
    form: str = "plain",
    verbose: bool = False,
    asking: Asking | None = None,
) -> int:
    """Step through the flow, print it, and close the debugger.

    Args:
        debug: nothing was sent yet.
        tour: do after the token what ends it.
        no_browser: stop before the authorization request.
        form: `plain` prints each step when it was taken, a key of `FORMATS` the whole run at its end.
        verbose: plain with the reasons and the messages.
        asking: asks the person for the address that the browser came back to.

    Returns:
        The exit code.
    """

    def show(lines: list[str], *, err: bool = False) -> None:
        # Once more: a check may quote the address that somebody typed.
        click.echo(scrub("\n".join(lines)), err=err, color=False if os.environ.get("NO_COLOR") else None)

    if form == "plain":
        show([f"The authorization of {mask_url(debug.name)}"])
    try:
        steps = _Walk(debug, show if form == "plain" else _nothing, verbose, asking)
        stopped = steps.take(("authorize", "step_up", *(_TOUR if tour else ())), no_browser=no_browser)
        if form != "plain":
            click.echo(scrub(debug.export(FORMATS[form]).rstrip("\n")))
        show(conclusion(debug, stopped=stopped), err=form != "plain")
        return {"in order": IN_ORDER, "finding": FINDING, "no answer": NO_ANSWER}[verdict_of(debug)]
    finally:
        run(debug.aclose())


def _nothing(lines: list[str]) -> None:
    """Show nothing."""


class _Walk:
    """The steps of one walk."""

    def __init__(
        self, debug: FlowDebugger, show: Callable[[list[str]], None], verbose: bool, asking: Asking | None
    ) -> None:
        self._debug = debug
        self._show = show
        self._verbose = verbose
        self._asking = asking

    def take(self, actions: tuple[str, ...], *, no_browser: bool) -> bool:
        """Take all steps of these actions, as far as they go; say whether the missing browser ended it."""
        debug = self._debug
        for action in actions:
            if debug.error is not None or not debug.can(action):
                continue
            run(debug.begin(action))
            while debug.pending is not None:
                if no_browser and debug.pending.kind == "authorize":
                    run(debug.cancel())
                    return True
                self._step()
        return False

    def _step(self) -> None:
        held = self._debug.pending
        assert held is not None, "only what is pending is stepped"
        self._show(heading(len(self._debug.steps) + 1, held, verbose=self._verbose))
        step = self._taken()
        if step is not None:
            self._show(body(step, verbose=self._verbose))

    def _taken(self) -> Step | None:
        return run(self._debug.step()) if self._asking is None else self._asking.taken(self._debug)


class Asking:
    """Asks for a pasted address in the thread that has the terminal, while the flow waits on the loop.

    A prompt on any other thread would keep the process from ending, and Ctrl-C from the prompt.
    """

    def __init__(self) -> None:
        self._answer: asyncio.Future[str] | None = None
        self._asked: asyncio.Event | None = None

    async def wait(self, url: str) -> str:
        """See `http_auth.McpAuth.paste`."""
        assert self._asked is not None, "a step is being taken"
        self._answer = asyncio.get_running_loop().create_future()
        self._asked.set()
        return await self._answer

    def taken(self, debug: FlowDebugger) -> Step | None:
        """Take a step, and ask when it is time to."""
        step = run(self._begun(debug))
        while run(self._asks(step)):
            run(self._give(_prompt()))
        return run(_result(step))

    async def _begun(self, debug: FlowDebugger) -> asyncio.Task[Step | None]:
        self._asked = asyncio.Event()
        return asyncio.create_task(debug.step())

    async def _asks(self, step: asyncio.Task[Step | None]) -> bool:
        assert self._asked is not None, "a step is being taken"
        asked = asyncio.create_task(self._asked.wait())
        await asyncio.wait((step, asked), return_when=asyncio.FIRST_COMPLETED)
        asked.cancel()
        return not step.done()

    async def _give(self, address: str) -> None:
        assert self._asked is not None, "a step is being taken"
        self._asked.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(address)


async def _result(step: asyncio.Task[Step | None]) -> Step | None:
    return await step


def _prompt() -> str:
    """Ask the person.

    Raises:
        ConfigurationError: nobody is at the standard input.
    """
    hidden = sys.stdin.isatty()
    label = "After you have authorized, copy the browser's whole address here" + (" (not shown)" if hidden else "")
    try:
        return str(click.prompt(label, hide_input=hidden, err=True))
    except click.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            raise ConfigurationError(
                "Nobody pasted an address: the standard input is at its end.",
                hint="Run it in a terminal; where nobody is, --no-browser.",
            ) from None
        raise KeyboardInterrupt from None
