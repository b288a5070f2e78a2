"""The walk of `mcp-oauth-nb debug`: each step is taken and printed, and the person is asked where one is needed.

The flow runs on the loop thread. The main thread, which has the terminal, prints, asks, and gets Ctrl-C.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from ..oauth.errors import ConfigurationError
from ..oauth.masking import mask_url, scrub
from ..runtime.loops import run
from .debug_text import Verdict, body, conclusion, heading, verdict_of

if TYPE_CHECKING:
    from ..debugger import Step
    from ..jupyter.flow_debugger import FlowDebugger

# What must end the tokens is looked at each time. In between the person signs in once more: a revocation of what has
# ended already would show nothing. A code that is sent again should end the tokens, so it comes last.
_TOUR = ("page", "refresh", "reuse", "look", "again", "revoke", "look", "replay")

#: What `--format` takes beside `plain`, and the format of the export that it is.
FORMATS = {
    "json": "JSON",
    "har": "HAR",
    "mermaid": "Mermaid",
    "markdown": "Markdown report",
    "notebook": "notebook",
    "pytest": "pytest",
}


def walk(
    debug: FlowDebugger,
    *,
    tour: bool = False,
    no_browser: bool = False,
    form: str = "plain",
    verbose: bool = False,
    asking: Asking | None = None,
) -> Verdict:
    """Step through the flow, print it, and close the debugger.

    Args:
        debug: nothing was sent yet.
        tour: do after the token what ends it.
        no_browser: stop before the authorization request.
        form: `plain` prints each step when it was taken, a key of `FORMATS` the whole run at its end.
        verbose: plain with the reasons and the messages.
        asking: asks the person for the address that the browser came back to.

    Returns:
        What it came to, which was printed last.
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
        return verdict_of(debug)
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
            if action == "again":
                # The newest token counts as expired; that it cannot be refreshed leads to the person.
                action = "refresh" if debug.can("look") and debug.can("revoke") else ""
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
