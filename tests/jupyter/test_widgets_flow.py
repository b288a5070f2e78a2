"""The flow debugger's panel: the model by itself, and the panel by the state of its widgets."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import anyio
import ipywidgets
import pytest
from ipywidgets.embed import dependency_state

from mcp_oauth_nb import Lab
from mcp_oauth_nb.debugger.export import FORMATS
from mcp_oauth_nb.debugger.step import Cause, Step
from mcp_oauth_nb.jupyter.flow_debugger import FlowDebugger
from mcp_oauth_nb.jupyter.widgets import flow_view
from mcp_oauth_nb.jupyter.widgets.flow_panel import FlowPanel
from mcp_oauth_nb.lab.http_lab import HttpLab
from mcp_oauth_nb.oauth import masking
from mcp_oauth_nb.oauth.check import Check
from mcp_oauth_nb.oauth.errors import ConfigurationError, SessionError

pytestmark = pytest.mark.anyio

WHOLE = ["handshake", "list", "call", "resource_metadata", "server_metadata", "registration"]
WHOLE += ["authorize", "callback", "token", "authorized"]


@pytest.fixture
async def lab() -> AsyncIterator[HttpLab]:
    async with HttpLab.open() as lab:
        yield lab


@pytest.fixture
async def debug(lab: HttpLab) -> AsyncIterator[FlowDebugger]:
    async with FlowDebugger.open(lab) as debug:
        yield debug
        # What an authorization has begun it does not give up before its deadline.
        await debug.run()


@pytest.fixture
def panel(debug: FlowDebugger) -> FlowPanel:
    return debug.panel


@pytest.fixture
async def guided() -> AsyncIterator[FlowDebugger]:
    """The same over the flow in process."""
    async with Lab.open() as lab, FlowDebugger.open(lab) as debug:
        yield debug


@pytest.fixture
async def waiting(lab: HttpLab) -> AsyncIterator[FlowDebugger]:
    """A run that waits for a person, who is nobody yet."""
    auth = dataclasses.replace(lab.auth, paste=None, listen=True, open_browser=lambda url: True)
    async with FlowDebugger.open(lab, auth=auth) as debug:
        await until(debug, "authorize")
        debug.panel.next.click()
        with anyio.fail_after(10):
            while not debug.link:
                await anyio.lowlevel.checkpoint()
        yield debug


async def until(debug: FlowDebugger, kind: str) -> None:
    """Step until this is pending."""
    await debug.begin()
    while debug.pending is not None and debug.pending.kind != kind:
        await debug.step()
    assert debug.pending is not None


async def idle(panel: FlowPanel) -> None:
    """Wait until what a button began is done."""
    assert panel.model._work is not None
    with anyio.fail_after(20):
        await asyncio.wrap_future(panel.model._work)


async def click(panel: FlowPanel, button: Any) -> None:
    """Click a button, and wait for the end of what it begins."""
    assert not button.disabled
    button.click()
    await idle(panel)


def enter(field: Any) -> None:
    """Press Enter in a text field, as a front end tells it."""
    field._handle_msg({"content": {"data": {"method": "custom", "content": {"event": "submit"}}}, "buffers": []})


def click_arrow(panel: FlowPanel, exchange: int) -> None:
    """Click an arrow of the diagram, as a front end tells it."""
    content = {"method": "custom", "content": {"chosen": exchange}}
    panel.sequence._handle_msg({"content": {"data": content}, "buffers": []})


def widgets_of(widget: Any) -> list[Any]:
    """A widget and all that is in it."""
    return [widget, *(inner for child in getattr(widget, "children", ()) for inner in widgets_of(child))]


def shown(panel: FlowPanel) -> str:
    """What a person can read in the panel."""
    return "\n".join(str(w.value) for w in widgets_of(panel.widget) if isinstance(w, ipywidgets.HTML))


def kinds(debug: FlowDebugger) -> list[str]:
    return [step.kind for step in debug.steps]


# -- stepping --------------------------------------------------------------------------------------------------------


async def test_nothing_is_sent_before_the_first_click(panel: FlowPanel, debug: FlowDebugger) -> None:
    assert debug.steps == ()
    assert "Nothing was sent yet" in shown(panel)
    assert not panel.next.disabled
    assert panel.cancel.disabled
    assert {name for name, button in panel.actions.items() if button.disabled} == {
        "refresh",
        "reuse",
        "replay",
        "revoke",
        "look",
        "page",
    }


async def test_the_whole_flow_is_stepped_by_one_button(panel: FlowPanel, debug: FlowDebugger) -> None:
    while not panel.next.disabled:
        await click(panel, panel.next)
        assert f"Step {len(debug.steps)}, " in panel._status.value
        assert f"Step {len(debug.steps)}: " in panel._step.value
        assert panel.steps.value == panel.steps.index + 1 == len(debug.steps)
    assert kinds(debug) == WHOLE
    assert "✔ done" in panel._head.value
    assert panel.to_end.disabled


async def test_every_action_is_a_button_that_stops_before_its_first_request(panel: FlowPanel) -> None:
    await click(panel, panel.to_end)
    for name in ("call", "refresh", "reuse", "replay", "step_up"):
        taken = len(panel.run.steps)
        await click(panel, panel.actions[name])
        assert len(panel.run.steps) == taken
        assert panel.run.pending is not None
        assert all(button.disabled for button in panel.actions.values())
        await click(panel, panel.to_end)
        assert len(panel.run.steps) > taken
        assert panel.run.cause is None


async def test_the_flow_in_process_has_the_same_panel(guided: FlowDebugger) -> None:
    await click(guided.panel, guided.panel.to_end)
    assert kinds(guided) == ["call", "authorize", "callback", "token", "authorized"]
    assert len(guided.panel.steps.options) == 5


async def test_a_click_while_something_is_under_way_does_nothing(waiting: FlowDebugger) -> None:
    taken = len(waiting.steps)
    assert waiting.panel.model.busy
    waiting.panel.next.click()
    waiting.panel.to_end.click()
    assert len(waiting.steps) == taken
    # A button that is disabled for a moment would lose the keyboard's focus.
    assert not waiting.panel.next.disabled


async def test_reset_begins_again(panel: FlowPanel, debug: FlowDebugger) -> None:
    await click(panel, panel.to_end)
    panel.model.choose(3)
    await click(panel, panel.reset)
    assert (debug.state, debug.steps, panel.model.chosen) == ("ready", (), 0)
    assert panel.steps.options == ()
    await click(panel, panel.to_end)
    assert debug.state == "done"


# -- before it is sent -----------------------------------------------------------------------------------------------


async def test_the_request_is_shown_before_it_is_sent_with_its_secrets_masked(
    panel: FlowPanel, debug: FlowDebugger
) -> None:
    await until(debug, "token")
    assert debug.pending is not None
    assert "Next: Code for token" in panel._pending.value
    for name in ("grant_type", "code", "code_verifier", "client_id"):
        assert name in panel._parameters.value
        assert name in panel.parameter.options
    for name in ("code", "code_verifier"):
        assert debug.pending.parameters[name] not in shown(panel)
    assert "authorization_code" in panel._parameters.value


async def test_what_if_a_parameter_were_missing_predicted_and_sent_by_enter(
    panel: FlowPanel, debug: FlowDebugger
) -> None:
    await until(debug, "token")
    panel.parameter.value = "code_verifier"
    panel.drop.click()
    assert "! dropped" in panel._parameters.value
    panel.predict.value = "invalid_grant"
    enter(panel.predict)
    assert panel.predict.value == ""
    await idle(panel)
    step = debug.steps[-1]
    assert (step.changed, step.predicted) == ((("code_verifier", "dropped"),), "invalid_grant")
    assert "code_verifier dropped" in panel._step.value
    assert ("That is what came" in panel._step.value) is step.prediction_held
    assert "(changed)" in panel.steps.options[-1][0]


async def test_a_new_value_is_taken_out_of_its_field_and_is_shown_masked(panel: FlowPanel, debug: FlowDebugger) -> None:
    await until(debug, "token")
    panel.parameter.value, panel.value.value = "code", "a-code-that-nobody-gave"
    enter(panel.value)
    assert panel.value.value == ""
    assert debug.pending is not None
    assert debug.pending.parameters["code"] == "a-code-that-nobody-gave"
    assert "! changed" in panel._parameters.value
    assert "a-code-that-nobody-gave" not in shown(panel)


async def test_another_request_has_other_parameters_and_none_is_chosen(panel: FlowPanel, debug: FlowDebugger) -> None:
    await until(debug, "authorize")
    panel.parameter.value = "resource"
    await click(panel, panel.next)
    assert list(panel.parameter.options) == ["code", "state", "iss"]
    assert panel.parameter.value == ""


async def test_a_typed_error_is_shown_with_its_hint_until_the_next_click(panel: FlowPanel, debug: FlowDebugger) -> None:
    await until(debug, "token")
    panel.parameter.value = "<nonsense>"
    panel.drop.click()
    assert "✘ The request has no parameter" in panel._status.value
    assert "What to do: Its parameters: grant_type" in panel._status.value
    assert 'role="alert"' in panel._status.value
    assert "<nonsense>" not in panel._status.value
    await click(panel, panel.next)
    assert 'role="alert"' not in panel._status.value


async def test_an_error_of_a_button_is_shown_too(panel: FlowPanel) -> None:
    await until(panel.run, "token")  # type: ignore[arg-type]
    # Not by its button, which is disabled; a person may have been quicker than the page.
    panel.actions["refresh"].click()
    await idle(panel)
    assert "is under way" in panel._status.value
    assert not panel.model.busy


async def test_a_real_server_is_sent_no_changed_request_before_one_says_so(lab: HttpLab) -> None:
    async with FlowDebugger.open(lab.url, tool="get_github_user_info", auth=lab.auth, real=True) as debug:
        panel = debug.panel
        assert panel.really.layout.display == "none"
        await until(debug, "token")
        assert panel.really.layout.display == ""
        panel.parameter.value = "code_verifier"
        panel.drop.click()
        assert "is a real server" in panel._status.value
        assert debug.pending is not None
        assert not debug.pending.changed
        panel.really.value = True
        panel.drop.click()
        assert debug.pending.changed == {"code_verifier": "dropped"}
        await debug.run()


async def test_nothing_can_be_changed_where_nothing_is_pending(panel: FlowPanel) -> None:
    with pytest.raises(SessionError, match="Nothing is pending"):
        panel.model.change("code", None)
    panel.drop.click()
    assert "Nothing is pending" in panel._status.value


# -- the person ------------------------------------------------------------------------------------------------------


async def test_a_person_finds_the_link_and_pastes_the_address_that_they_end_on(
    waiting: FlowDebugger, lab: HttpLab
) -> None:
    panel = waiting.panel
    assert panel._person.layout.display == ""
    assert 'rel="noopener noreferrer"' in panel._link.value
    assert "The run waits for the browser" in panel._status.value
    address = await lab.browser.authorize(waiting.link)
    panel.pasted.value = address
    enter(panel.pasted)
    assert panel.pasted.value == ""
    await idle(panel)
    assert waiting.pending is not None
    assert waiting.pending.kind == "callback"
    assert (panel._link.value, panel._person.layout.display) == ("", "none")
    await click(panel, panel.to_end)
    assert kinds(waiting) == WHOLE


async def test_an_address_that_nobody_waits_for_is_told_and_taken_out(panel: FlowPanel) -> None:
    panel.pasted.value = "http://127.0.0.1/callback?code=a-code-that-nobody-gave"
    panel.paste.click()
    assert panel.pasted.value == ""
    assert "No browser is waited for" in panel._status.value


async def test_the_wait_for_a_person_is_cancelled_and_the_steps_stay(waiting: FlowDebugger) -> None:
    panel, taken = waiting.panel, waiting.steps
    assert not panel.cancel.disabled
    panel.cancel.click()
    await idle(panel)
    assert (waiting.state, panel.model.busy) == ("cancelled", False)
    assert len(waiting.steps) >= len(taken)
    assert "– cancelled" in panel._head.value
    await click(panel, panel.actions["authorize"])
    assert waiting.state == "stepping"


async def test_the_wait_for_a_person_ends_with_a_reset(waiting: FlowDebugger) -> None:
    panel = waiting.panel
    first = panel.model._work
    panel.reset.click()
    await idle(panel)
    assert first is not None
    with anyio.fail_after(10):
        await asyncio.wrap_future(first)
    assert (waiting.state, waiting.steps, waiting.link) == ("ready", (), "")
    assert not panel.model.busy


# -- what is looked at -----------------------------------------------------------------------------------------------


async def test_an_arrow_leads_to_its_step_and_is_lit(panel: FlowPanel, debug: FlowDebugger) -> None:
    await click(panel, panel.to_end)
    metadata = debug.steps[3]
    for _ in range(2):
        click_arrow(panel, metadata.messages[0].exchange)
        assert (panel.model.chosen, panel.steps.value) == (4, 4)
        assert "Step 4: Protected resource metadata" in panel._step.value
        assert panel.sequence.svg.count('aria-current="true"') == 2
        # The same arrow again is a choice too.
        panel.model.choose(0)


async def test_an_arrow_between_others_shows_what_they_said(panel: FlowPanel, debug: FlowDebugger) -> None:
    await click(panel, panel.to_end)
    of_steps = {message.exchange for step in debug.steps for message in step.messages}
    other = next(message for message in debug.trace.messages if message.receiver == "GitHub")
    assert other.exchange not in of_steps
    click_arrow(panel, other.exchange)
    assert "between others" in panel._step.value
    assert "→ GitHub" in panel._step.value
    assert panel.sequence.svg.count('aria-current="true"') == 2
    # Back to the steps.
    panel.steps.value = 2
    assert "Step 2: " in panel._step.value


async def test_an_arrow_that_is_not_there_changes_nothing(panel: FlowPanel) -> None:
    await click(panel, panel.to_end)
    before = shown(panel)
    assert not panel.model.choose_exchange(9999)
    assert shown(panel) == before


async def test_the_steps_are_gone_through_by_buttons(panel: FlowPanel) -> None:
    await click(panel, panel.to_end)
    panel.back.click()
    assert (panel.model.chosen, panel.steps.value) == (9, 9)
    panel.forth.click()
    panel.forth.click()
    assert (panel.model.chosen, panel.steps.value) == (1, 1)
    # What is sent next is looked at again.
    await click(panel, panel.actions["call"])
    await click(panel, panel.next)
    assert panel.steps.value == len(panel.run.steps)


async def test_the_error_by_which_the_client_stopped_stands_at_its_step(panel: FlowPanel, lab: HttpLab) -> None:
    lab.browser.allow = False
    await click(panel, panel.to_end)
    assert panel.run.state == "stopped"
    assert "AccessDenied" in panel._step.value
    assert "✘ stopped" in panel._head.value
    assert "The client stopped" in panel._pending.value
    assert not panel.actions["authorize"].disabled


def test_the_first_cause_is_read_out_at_once_with_what_should_have_come() -> None:
    check = Check("S256 is offered", "failed", "it is not", should="S256", reference="RFC 8414 section 2")
    html = flow_view.cause_html(Cause(Step(5, "server_metadata", checks=(check,)), check))
    assert 'role="alert"' in html
    assert "First cause, step 5 (Authorization server metadata)" in html
    assert "It should be: S256" in html


# -- what stays ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
async def test_an_export_is_a_link_that_holds_the_file(panel: FlowPanel, debug: FlowDebugger, form: str) -> None:
    await click(panel, panel.to_end)
    panel.exports[form].click()
    link = re.search(r'href="data:[\w/+.;=-]*;base64,([^"]+)" download="([\w.-]+)"', panel._file.value)
    assert link is not None
    assert base64.b64decode(link[1]).decode() == debug.export(form)


async def test_without_a_kernel_the_run_can_still_be_read(panel: FlowPanel, debug: FlowDebugger) -> None:
    await click(panel, panel.to_end)
    bundle = panel._repr_mimebundle_()
    assert bundle["text/plain"] == "FlowPanel(https://mcp.example/mcp: done, 10 steps)"
    assert "application/vnd.jupyter.widget-view+json" in bundle
    html = bundle["text/html"]
    for step in debug.steps:
        assert step.about.title in html
    assert "<details" in html
    assert "await debug.step()" in html


async def test_the_same_run_gives_the_same_bytes() -> None:
    bundles = []
    for _ in range(2):
        async with HttpLab.open() as lab, FlowDebugger.open(lab) as debug:
            await click(debug.panel, debug.panel.to_end)
            bundle = debug.panel._repr_mimebundle_()
            bundles.append((bundle["text/plain"], bundle["text/html"], shown(debug.panel), debug.panel.sequence.svg))
    assert bundles[0] == bundles[1]


async def test_a_panel_of_a_debugger_is_one_panel(debug: FlowDebugger) -> None:
    assert debug.panel is debug.panel
    assert repr(debug.panel.model) == "FlowModel(ready, 0 steps)"
    assert repr(debug.panel.sequence) == "SequenceWidget()"


@pytest.mark.parametrize("where", ["http", "in process"])
async def test_no_secret_is_in_what_may_be_saved(
    debug: FlowDebugger, guided: FlowDebugger, lab: HttpLab, where: str
) -> None:
    run = debug if where == "http" else guided
    panel = run.panel
    await click(panel, panel.to_end)
    for name in ("refresh", "reuse", "step_up"):
        await click(panel, panel.actions[name])
        while run.pending is not None:
            await click(panel, panel.next)
            for form in FORMATS:
                panel.exports[form].click()
    # Of this panel: what other tests typed into theirs is in the same registry.
    saved = json.dumps(dependency_state([panel.widget], drop_defaults=False), default=repr)
    assert "Flow debugger" in saved
    files = "".join(run.export(form) for form in FORMATS)
    everything = saved + files + json.dumps(panel._repr_mimebundle_()) + repr(run) + repr(panel)
    secrets = {*masking.remembered(), *lab.github.issued_secrets()}
    assert len(secrets) > 5
    assert [secret for secret in secrets if secret in everything] == []


async def test_every_control_says_what_it_is(panel: FlowPanel) -> None:
    controls = (ipywidgets.Button, ipywidgets.Text, ipywidgets.Select, ipywidgets.Checkbox)
    found = [widget for widget in widgets_of(panel.widget) if isinstance(widget, controls)]
    assert len(found) > 20
    assert [widget for widget in found if not widget.description] == []


async def test_a_model_is_not_confirmed_by_itself(panel: FlowPanel) -> None:
    assert panel.model.confirmed is False
    with pytest.raises(ConfigurationError, match="no action"):
        await panel.model.begin("nonsense")


async def test_an_error_of_another_kind_is_logged_by_its_name_alone(
    panel: FlowPanel, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken() -> None:
        raise LookupError("what may be a secret")

    with pytest.raises(LookupError):
        await asyncio.wrap_future(panel.model.start(broken()))
    assert "LookupError" in caplog.text
    assert "secret" not in caplog.text
    assert panel.model.busy is False
