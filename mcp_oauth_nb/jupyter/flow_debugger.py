"""`FlowDebugger`: the authorization flow of any MCP server, one request at a time, with a panel.

    debug = await FlowDebugger.open("http://127.0.0.1:8000/mcp", tool="get_github_user_info")
    debug                       # in a cell: the panel
    await debug.step()          # or by code: run(), change(), begin("refresh"), reset()
    debug.cause                 # the first thing that was not as it should be

The client that is stepped is the shipping one: the SDK's `OAuthClientProvider` over HTTP, this package's
`OAuthHandler` in a `Lab`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..client.auth import McpAuth
from ..debugger import FlowRun, GuidedFlow
from ..debugger.export import export
from ..debugger.http_flow import HttpFlow, is_real
from ..debugger.recording import Mode, Recording
from ..debugger.replay import flow_of
from ..lab.http_lab import HttpLab
from ..lab.lab import Lab
from ..oauth.errors import ConfigurationError
from ..runtime.awaitable_context import Opening
from ..trace.recorder import Trace

if TYPE_CHECKING:
    from .widgets.flow_panel import FlowPanel

#: The protected tool of this package's own server, and the arguments that need a further scope.
_OWN_TOOL = "get_github_user_info"
_OWN_MORE = {"include_private": True}


class FlowDebugger(FlowRun):
    """A run with a panel. Make it with `FlowDebugger.open()`; see `FlowRun` for what it does by code."""

    _panel: FlowPanel | None = None

    @classmethod
    def open(
        cls,
        target: str | Lab | HttpLab | Recording,
        *,
        tool: str = "",
        arguments: Mapping[str, Any] | None = None,
        more: Mapping[str, Any] | None = None,
        auth: McpAuth | None = None,
        mode: Mode = "auto",
        real: bool | None = None,
    ) -> Opening[FlowDebugger]:
        """Open a debugger: `debug = await FlowDebugger.open(target)`. Nothing is sent before the first step.

        Args:
            target: the URL of an MCP server, a `Lab` for the flow in process (-32001), an `HttpLab`, or the
                `Recording` of an earlier run, which then brings the other arguments but `auth`.
            tool: what to call. Without it a server at a URL is only connected to, and asked for its tools.
            arguments: the tool's.
            more: arguments to add that need further scopes, for the step-up.
            auth: how to authorize with a server at a URL: registration, redirect, store.
            mode: `auto` speaks MCP 2026-07-28 where the server can, `legacy` 2025-11-25; or an older version, such as
                `2025-06-18`.
            real: whether somebody else may depend on the server; by default, every one that is not on this machine.

        Raises:
            ConfigurationError: the target is nothing that can be debugged.
        """

        async def opened() -> FlowDebugger:
            if isinstance(target, Recording):
                return cls(flow_of(target, auth))
            if isinstance(target, Lab):
                return cls(lambda run: GuidedFlow(run, target, tool=tool, arguments=arguments, more=more))
            if isinstance(target, HttpLab):
                own = {"tool": tool or _OWN_TOOL, "more": more or _OWN_MORE}
                options: dict[str, Any] = {"auth": auth or target.auth, "trace": target.trace, **own}
                options |= {"real": False, "recorded": True}
                return cls(lambda run: HttpFlow(run, target.url, arguments=arguments, mode=mode, **options))
            if not isinstance(target, str) or not target.startswith(("http://", "https://")):
                raise ConfigurationError(
                    "The target is not an MCP server's URL, a Lab or an HttpLab.",
                    hint='FlowDebugger.open("https://server.example/mcp", tool="...")',
                )
            there = is_real(target) if real is None else real
            ways = auth or McpAuth()
            return cls(
                lambda run: HttpFlow(
                    run,
                    target,
                    auth=ways,
                    trace=Trace(ways.clock),
                    real=there,
                    tool=tool,
                    arguments=arguments,
                    more=more,
                    mode=mode,
                )
            )

        return Opening(opened, cls.aclose)

    @property
    def panel(self) -> FlowPanel:
        """The panel, the same one every time."""
        if self._panel is None:
            from .widgets.flow_panel import FlowPanel

            self._panel = FlowPanel(self)
        return self._panel

    def export(self, format: str = "Markdown report") -> str:
        """Return the run as a text; see `debugger.export.FORMATS` for the formats. It holds no secret."""
        return export(self, format)[2]

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = self.panel._repr_mimebundle_(**options)
        return {**bundle, "text/plain": repr(self)}
