"""The panels, without a browser: the model by itself, and the panel by the state of its widgets."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ipywidgets
import pytest
from kernels import started

from mcp_oauth_nb import Lab, OAuthHandler
from mcp_oauth_nb.jupyter.widgets import AuthorizeModel, AuthorizePanel
from mcp_oauth_nb.oauth.errors import AccessDenied, NotConfigured, ServerUnavailable, StateMismatch
from mcp_oauth_nb.oauth.settings import IsolatedSettings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.open() as lab:
        yield lab


@pytest.fixture
def model(lab: Lab) -> AuthorizeModel:
    return AuthorizeModel(lab.oauth)


@pytest.fixture
def panel(lab: Lab) -> AuthorizePanel:
    return AuthorizePanel(lab.oauth)


async def redirected(lab: Lab, url: str, *, allow: bool = True) -> str:
    """The address that the user's browser ends on."""
    return await lab.browser.authorize(url, allow=allow)


def front_end_sends(widget: Any, content: dict[str, str]) -> None:
    """Deliver a message from a widget's view, as the kernel does."""
    widget._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


def shown(panel: AuthorizePanel) -> str:
    """All that a person can read in the panel."""
    return "\n".join(child.value for child in panel.widget.children if isinstance(child, ipywidgets.HTML))


def status(panel: AuthorizePanel) -> tuple[str, str]:
    """The role and the content of the last line."""
    match = re.fullmatch(r'(?s).*<p style="[^"]*" role="(\w+)">(.*)</p>', shown(panel))
    assert match is not None
    return match[1], match[2]


def synced(panel: AuthorizePanel) -> str:
    """All that the panel's widgets tell a front end, which may save it."""
    return json.dumps([child.get_state() for child in (panel.widget, *panel.widget.children)], default=repr)


# -- the model -------------------------------------------------------------------------------------------------


async def test_a_new_model_waits_with_a_url_to_open(model: AuthorizeModel) -> None:
    assert model.state == "waiting"
    assert model.url.startswith("https://github.com/login/oauth/authorize?response_type=code&")
    assert repr(model) == "AuthorizeModel(waiting: Waiting for the redirected address.)"


async def test_the_redirected_address_signs_in(lab: Lab, model: AuthorizeModel) -> None:
    token = await model.complete(await redirected(lab, model.url))
    assert lab.oauth.token == token
    assert (model.state, model.message, model.hint) == ("done", "Signed in. Scopes: read:user.", "")


async def test_the_url_goes_when_it_is_of_no_more_use(lab: Lab, model: AuthorizeModel) -> None:
    await model.complete(await redirected(lab, model.url))
    assert model.url == ""


async def test_white_space_around_the_address_does_no_harm(lab: Lab, model: AuthorizeModel) -> None:
    await model.complete(f"  {await redirected(lab, model.url)}\n")
    assert model.state == "done"


async def test_the_scopes_are_asked_for(lab: Lab) -> None:
    model = AuthorizeModel(lab.oauth, scopes=("repo", "gist"))
    await model.complete(await redirected(lab, model.url))
    assert model.message == "Signed in. Scopes: repo, gist."


async def test_a_token_without_scopes_is_said_to_have_none(lab: Lab, model: AuthorizeModel) -> None:
    callback = await redirected(lab, model.url)
    lab.github.faults.next_token(
        body='{"access_token": "a-token-without-scopes", "token_type": "bearer", "scope": ""}',
        content_type="application/json",
    )
    await model.complete(callback)
    assert model.message == "Signed in. Scopes: none."


async def test_a_refusal_is_told_with_its_hint_and_raised(lab: Lab, model: AuthorizeModel) -> None:
    callback = await redirected(lab, model.url, allow=False)
    with pytest.raises(AccessDenied):
        await model.complete(callback)
    assert model.state == "failed"
    assert model.message.startswith("The authorization server answered access_denied")
    assert model.hint == AccessDenied.hint
    assert lab.oauth.token is None


async def test_after_a_failure_a_new_flow_waits(lab: Lab, model: AuthorizeModel) -> None:
    first = model.url
    with pytest.raises(AccessDenied):
        await model.complete(await redirected(lab, first, allow=False))
    assert model.url not in ("", first)
    await model.complete(await redirected(lab, model.url))
    assert model.state == "done"


async def test_a_wrong_address_leaves_the_genuine_one_welcome(lab: Lab, model: AuthorizeModel) -> None:
    genuine = await redirected(lab, model.url)
    with pytest.raises(StateMismatch):
        await model.complete("http://127.0.0.1/callback?code=of-somebody-else&state=of-another-flow")
    await model.complete(genuine)
    assert model.state == "done"


async def test_github_being_down_is_told_and_the_next_attempt_works(lab: Lab, model: AuthorizeModel) -> None:
    lab.github.faults.next_token(status=503)
    with pytest.raises(ServerUnavailable):
        await model.complete(await redirected(lab, model.url))
    assert model.state == "failed"
    await model.complete(await redirected(lab, model.url))
    assert model.state == "done"


async def test_an_interrupted_exchange_is_told_and_the_next_attempt_works(lab: Lab, model: AuthorizeModel) -> None:
    callback = await redirected(lab, model.url)
    lab.github.faults.next_token(delay=60)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await model.complete(callback)
    assert model.state == "failed"
    assert model.message == "The exchange was interrupted before it was done."
    await model.complete(await redirected(lab, model.url))
    assert model.state == "done"


async def test_who_watches_never_sees_half_of_a_change(lab: Lab, model: AuthorizeModel) -> None:
    seen: list[tuple[str, str]] = []
    model.observe(lambda _: seen.append((model.state, model.url)))
    await model.complete(await redirected(lab, model.url))
    assert set(seen) == {("done", "")}


async def test_without_credentials_there_is_nothing_to_open() -> None:
    with pytest.raises(NotConfigured):
        AuthorizeModel(OAuthHandler(settings=IsolatedSettings()))


# -- the panel -------------------------------------------------------------------------------------------------


async def test_a_new_panel_links_to_the_authorization_url(panel: AuthorizePanel) -> None:
    url = panel.model.url.replace("&", "&amp;")
    assert f'href="{url}"' in shown(panel)
    assert 'target="_blank" rel="noopener noreferrer"' in shown(panel)
    assert ">Sign in at github.com</a>" in shown(panel)
    assert status(panel) == ("status", "… Waiting for the redirected address.")


async def test_the_button_waits_for_an_address(panel: AuthorizePanel) -> None:
    assert panel.button.disabled
    panel.field.value = " "
    assert panel.button.disabled
    panel.field.value = "http://127.0.0.1/callback"
    assert not panel.button.disabled


async def test_the_button_signs_in(lab: Lab, panel: AuthorizePanel) -> None:
    panel.field.value = await redirected(lab, panel.model.url)
    panel.button.click()
    assert lab.oauth.is_authenticated()
    assert status(panel) == ("status", "✔ Signed in. Scopes: read:user.")


async def test_the_enter_key_signs_in(lab: Lab, panel: AuthorizePanel) -> None:
    panel.field.value = await redirected(lab, panel.model.url)
    front_end_sends(panel.field, {"event": "submit"})
    assert lab.oauth.is_authenticated()


async def test_no_other_message_of_the_field_signs_in(lab: Lab, panel: AuthorizePanel) -> None:
    panel.field.value = await redirected(lab, panel.model.url)
    front_end_sends(panel.field, {"event": "focus"})
    assert panel.model.state == "waiting"


async def test_the_address_is_hidden_and_taken_out_of_the_field(lab: Lab, panel: AuthorizePanel) -> None:
    assert isinstance(panel.field, ipywidgets.Password)
    for allow in (False, True):
        panel.field.value = await redirected(lab, panel.model.url, allow=allow)
        panel.button.click()
        assert panel.field.value == ""


async def test_a_panel_that_is_done_offers_nothing_more(lab: Lab, panel: AuthorizePanel) -> None:
    panel.field.value = await redirected(lab, panel.model.url)
    panel.button.click()
    assert panel.field.disabled
    assert panel.button.disabled
    assert "<a " not in shown(panel)
    token = lab.oauth.token
    panel.field.value = "http://127.0.0.1/callback?code=another"
    panel.button.click()
    assert (panel.model.state, panel.field.value, lab.oauth.token) == ("done", "", token)


async def test_an_empty_field_is_no_attempt(panel: AuthorizePanel) -> None:
    panel.button.click()
    assert panel.model.state == "waiting"


async def test_a_failure_is_shown_with_its_hint_and_a_new_link(lab: Lab, panel: AuthorizePanel) -> None:
    first = panel.model.url
    panel.field.value = await redirected(lab, first, allow=False)
    panel.button.click()
    role, text = status(panel)
    assert role == "alert"
    assert text.startswith("✘ The authorization server answered access_denied")
    assert "<br><b>What to do:</b> The user declined." in text
    assert first.replace("&", "&amp;") not in shown(panel)
    assert not panel.field.disabled


async def test_what_the_network_wrote_cannot_become_markup(lab: Lab, panel: AuthorizePanel) -> None:
    state = panel.model.url.partition("state=")[2].partition("&")[0]
    panel.field.value = f"http://127.0.0.1/callback?state={state}&error=<script>&error_description=<img src=x>"
    panel.button.click()
    assert panel.model.state == "failed"
    assert "&lt;script&gt; (&lt;img src=x&gt;)" in shown(panel)
    assert "<script" not in shown(panel) + html_of(panel)
    assert "<img" not in shown(panel) + html_of(panel)


async def test_an_error_that_is_not_of_this_package_comes_through(lab: Lab) -> None:
    class Broken(OAuthHandler):
        async def complete_authorization(self, callback_url: str) -> Any:
            raise ZeroDivisionError

    oauth = Broken(settings=lab.settings)
    with pytest.raises(ZeroDivisionError):
        await AuthorizeModel(oauth).complete("x")


async def test_the_widgets_hold_no_secret_after_use(lab: Lab, panel: AuthorizePanel) -> None:
    panel.field.value = callback = await redirected(lab, panel.model.url)
    panel.button.click()
    state = callback.partition("state=")[2].partition("&")[0]
    everything = synced(panel) + repr(panel) + html_of(panel) + repr(panel.model)
    assert [secret for secret in (state, *lab.github.issued_secrets()) if secret in everything] == []


# -- where it is shown -----------------------------------------------------------------------------------------


def html_of(panel: AuthorizePanel) -> str:
    return str(panel._repr_mimebundle_()["text/html"])


async def test_the_repr_is_the_same_on_every_run(lab: Lab, panel: AuthorizePanel) -> None:
    assert repr(panel) == "AuthorizePanel(waiting: Waiting for the redirected address.)"
    panel.field.value = await redirected(lab, panel.model.url)
    panel.button.click()
    assert repr(panel) == "AuthorizePanel(done: Signed in. Scopes: read:user.)"


async def test_a_notebook_gets_the_widget_and_forms_for_viewers_without_a_kernel(panel: AuthorizePanel) -> None:
    bundle = panel._repr_mimebundle_(include=None, exclude=None)
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.widget.model_id
    assert bundle["text/plain"] == repr(panel)
    assert "await panel.model.complete(url)" in bundle["text/html"]
    assert "Waiting for the redirected address." in bundle["text/html"]


async def test_a_panel_that_is_done_does_not_ask_for_a_kernel(lab: Lab, panel: AuthorizePanel) -> None:
    await panel.model.complete(await redirected(lab, panel.model.url))
    assert "kernel" not in html_of(panel)


async def test_the_saved_forms_hold_no_url(panel: AuthorizePanel) -> None:
    assert "state=" not in html_of(panel) + repr(panel)


async def test_the_field_has_a_label_that_tells_what_it_is_for(panel: AuthorizePanel) -> None:
    assert panel.field.description == "Redirected address"
    assert panel.button.description == "Complete sign-in"


# -- in a kernel -----------------------------------------------------------------------------------------------

IN_A_KERNEL = """
from mcp_oauth_nb import Lab
from mcp_oauth_nb.widgets import AuthorizePanel
lab = await Lab.open()
panel = AuthorizePanel(lab.oauth)
panel.field.value = await lab.browser.authorize(panel.model.url)
panel.button.comm.comm_id
"""


def test_a_kernel_passes_the_press_of_the_button_on(tmp_path: Path) -> None:
    with started(tmp_path) as kernel:
        comm = kernel.value(IN_A_KERNEL)
        kernel.press(comm.strip("'"))
        assert kernel.value("panel, panel.field.value") == "(AuthorizePanel(done: Signed in. Scopes: read:user.), '')"
        kernel.value("await lab.aclose()")
