"""Bring the redirect back by hand, where no program can listen for it: kernel and browser are on two machines.

    panel = AuthorizePanel(oauth)
    panel                                     # follow the link, authorize, paste the address that you end on
    await panel.model.complete(url)           # the same by a line of code

The model does all the work and is tested without a browser. The panel shows it, and passes on what is pasted.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from traitlets import Enum, HasTraits, Unicode

from ...client.handler import OAuthHandler
from ...client.jupyterhub import FindHub, JupyterHub, way_back
from ...client.login import check_for_browser
from ...oauth.errors import McpOAuthError
from ...oauth.markup import Html, element, joined
from ...oauth.masking import scrub
from ...oauth.token import Token
from ...runtime.loops import run
from .panel import BREAK, column, on_enter, paragraph, prose, sign_in_link, status

if TYPE_CHECKING:
    # ipywidgets is typed in part only.
    ipywidgets: Any
else:
    import ipywidgets

_INTERRUPTED = "The exchange was interrupted before it was done."


class AuthorizeModel(HasTraits):
    """One sign-in, from the authorization URL to the token in the handler's store.

    Args:
        oauth: the handler that starts the flow and keeps the token.
        scopes: what to ask for; the settings' scopes if not given.

    Attributes:
        state: `waiting` for the redirect, `done`, or `failed`; after a failure the next address is welcome too.
        url: the authorization URL to open, of a flow that still waits; empty when done. It holds the flow's `state`.
        message: what happened, in one sentence without secrets.
        hint: what to do after a failure.

    Raises:
        SecurityError: the authorization URL is not one for a browser.
    """

    state = Enum(["waiting", "done", "failed"], default_value="waiting")
    url = Unicode()
    message = Unicode()
    hint = Unicode()

    def __init__(self, oauth: OAuthHandler, *, scopes: tuple[str, ...] | None = None):
        super().__init__()
        self._oauth = oauth
        self._scopes = scopes
        self._show("waiting", "Waiting for the redirected address.", url=self._begin())

    async def complete(self, callback_url: str) -> Token:
        """Verify the address that the browser was sent back to, and exchange its code for a token.

        Args:
            callback_url: the whole address, or its query string.

        Raises:
            McpOAuthError: see `OAuthHandler.read_callback` and `exchange_code_for_token`.
        """
        try:
            token = await self._oauth.complete_authorization(callback_url.strip())
        except BaseException as error:
            # A flow is spent by its first genuine answer, used or not: only a new one is sure to work.
            message, hint = _told(error)
            self._show("failed", message, hint=hint, url=self._begin())
            raise
        self._show("done", f"Signed in. Scopes: {', '.join(token.scopes) or 'none'}.")
        return token

    def _begin(self) -> str:
        url = self._oauth.get_authorization_url(scopes=self._scopes).url
        # A link is an address that is opened: checked before it is shown to anybody (CVE-2025-58747).
        check_for_browser(url)
        return url

    def _show(self, state: str, message: str, *, hint: str = "", url: str = "") -> None:
        # The traits change together: an observer never sees half of the change.
        with self.hold_trait_notifications():
            self.state, self.message, self.hint, self.url = state, message, hint, url

    def __repr__(self) -> str:
        return f"AuthorizeModel({self.state}: {self.message})"


def _told(error: BaseException) -> tuple[str, str]:
    if isinstance(error, McpOAuthError):
        return scrub(error.message), scrub(error.hint)
    return _INTERRUPTED, "Start again with the new link."


class AuthorizePanel:
    """A link to the authorization URL, a field for the redirected address, a button, and what came of it.

    Args:
        oauth: the handler that keeps the token.
        scopes: what to ask for; the settings' scopes if not given.
        hub: finds the JupyterHub that this runs in.

    Attributes:
        model: the `AuthorizeModel` that is shown.
        field: where the address is pasted. Its content is hidden, since a code is in it, and is taken out at once:
            a notebook that is saved later does not hold it.
        button: completes the sign-in; the Enter key in the field does the same.
        widget: all of it, to be put into another layout.
    """

    def __init__(self, oauth: OAuthHandler, *, scopes: tuple[str, ...] | None = None, hub: FindHub = JupyterHub.here):
        self._hub = hub
        self.model = AuthorizeModel(oauth, scopes=scopes)
        self.field = ipywidgets.Password(
            description="Redirected address",
            placeholder=f"{oauth.settings.oauth_redirect_uri}?code=...",
            style={"description_width": "initial"},
            layout={"width": "40em", "max_width": "100%"},
        )
        self.button = ipywidgets.Button(description="Complete sign-in", button_style="primary")
        self._link = ipywidgets.HTML()
        self._status = ipywidgets.HTML()
        self.widget = column(self._link, self.field, self.button, self._status)
        self.field.observe(self._render, "value")
        on_enter(self.field, self._submit)
        self.button.on_click(self._submit)
        self.model.observe(self._render)
        self._render()

    def _submit(self, _: Any = None) -> None:
        address, self.field.value = self.field.value, ""
        if address.strip() and self.model.state != "done":
            # The status shows the error; a traceback in the notebook's log would add nothing.
            with suppress(McpOAuthError):
                run(self.model.complete(address))

    def _render(self, _: Any = None) -> None:
        done = self.model.state == "done"
        self._link.value = _link(self.model.url, self._hub())
        self._status.value = _status(self.model)
        self.field.disabled = done
        self.button.disabled = done or not self.field.value.strip()

    def __repr__(self) -> str:
        return f"AuthorizePanel({self.model.state}: {self.model.message})"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        # The HTML is for viewers without a kernel. It leaves out the URL, which holds the flow's state.
        by_code = None if self.model.state == "done" else paragraph(prose(_WITHOUT_WIDGETS))
        without_widgets = joined(_status(self.model), by_code)
        return {**self.widget._repr_mimebundle_(), "text/plain": repr(self), "text/html": str(without_widgets)}


_WITHOUT_WIDGETS = (
    "This panel needs a running kernel. A line of code does the same, with the address that the browser was sent back "
    "to: `await panel.model.complete(url)`"
)
_SIGNS = {"waiting": "…", "done": "✔", "failed": "✘"}


def _link(url: str, hub: JupyterHub | None) -> str:
    there = "It may show an error page there: copy its whole address and paste it here."
    return sign_in_link(url, f"{way_back(url, hub)} {there}") if url else ""


def _status(model: AuthorizeModel) -> Html:
    hint = joined(BREAK, element("b", "What to do:"), " ", model.hint) if model.hint else None
    return status(model.message, hint, sign=_SIGNS[model.state], alert=model.state == "failed")
