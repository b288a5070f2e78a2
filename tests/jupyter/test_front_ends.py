"""Every panel in Chromium, in JupyterLab, Notebook 7 and Voila: rendered, clicked, read, and used by keyboard alone."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from front_ends import (
    FrontEnds,
    browsing,
    colours,
    in_lab,
    in_notebook_7,
    in_voila,
    new_page,
    save,
    started,
    tab_to,
    use_theme,
)
from playwright.sync_api import Browser, Locator, Page, expect
from test_browser_consent import SECRETS, contrast

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

# A name for each panel, for the tests to find it by; and what was secret, for them to look for.
SETUP = """
import json
from pathlib import Path
from mcp_oauth_nb import FlowDebugger, HttpLab, Lab; from mcp_oauth_nb.oauth import masking
from mcp_oauth_nb.widgets import *
lab, other, world = await Lab.open(), await Lab.open(seed=8), await HttpLab.open()
await lab.authorize()
debug = await FlowDebugger.open(world)

def named(name, panel):
    panel.widget.add_class(f"the-{name}")
    return panel

def keep():
    github = [secret for mock in (lab, other, world) for secret in mock.github.issued_secrets()]
    Path("secrets.json").write_text(json.dumps([*masking.remembered(), *github]))

debug.observe(keep)
"""
PANELS = {
    "metadata": "MetadataExplorer(lab)",
    "challenge": "ChallengeInspector()",
    "pkce": "PkcePlayground()",
    "token": "TokenPanel(lab.oauth, trace=lab.trace)",
    "settings": "SettingsForm()",
    "trace": "TraceView(lab.trace)",
    "authorize": "AuthorizePanel(other.oauth)",
    "flow": "debug.panel",
}
CELLS = [SETUP, *(f'named("{name}", {panel})' for name, panel in PANELS.items())]
FLOW = [SETUP, CELLS[-1]]
TYPED = "typed-by-a-person-" + "in-a-browser"
LONG = 6000


@pytest.fixture(scope="module")
def front_ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FrontEnds]:
    with started(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def all_panels(browser: Browser, front_ends: FrontEnds) -> Page:
    """JupyterLab with a notebook that has every panel."""
    page = new_page(browser, height=LONG, width=1300)
    front_ends.write("panels", CELLS)
    in_lab(page, front_ends, "panels")
    return page


@pytest.fixture
def flow(browser: Browser, front_ends: FrontEnds, request: pytest.FixtureRequest) -> Iterator[Locator]:
    """JupyterLab with a notebook of its own that has the flow debugger."""
    name = re.sub(r"\W+", "-", request.node.name)
    front_ends.write(name, FLOW)
    page = new_page(browser)
    in_lab(page, front_ends, name)
    panel = the(page, "flow")
    expect(button(panel, "Next step")).to_be_enabled()
    yield panel
    page.context.close()


def the(page: Page, name: str) -> Locator:
    """The panel of a name."""
    return page.locator(f".the-{name}")


def button(panel: Locator, name: str) -> Locator:
    return panel.get_by_role("button", name=name, exact=True)


def press(panel: Locator, control: Locator, key: str = "Enter") -> None:
    """Go to a control by the Tab key alone, and press a key there."""
    tab_to(panel.page, control)
    panel.page.keyboard.press(key)


def steps(count: int) -> re.Pattern[str]:
    return re.compile(rf"\b{count} steps?$")


def heading(panel: Locator) -> Locator:
    return panel.get_by_role("heading").first


# -- a click in each panel -------------------------------------------------------------------------------------------


def use_metadata(panel: Locator) -> None:
    panel.get_by_label("Filter").fill("code_challenge")
    button(panel, "Leave it out").click()
    expect(panel).to_contain_text("What the edits change")
    button(panel, "Undo edits").click()
    expect(panel).not_to_contain_text("What the edits change")


def use_challenge(panel: Locator) -> None:
    expect(panel).to_contain_text("✔ challenge")
    header = panel.locator("textarea").last
    header.fill('Bearer scope="gist"')
    header.blur()
    expect(panel.get_by_role("table")).to_contain_text("gist")
    button(panel, "Undo edits").click()
    expect(header).not_to_have_value('Bearer scope="gist"')


def use_pkce(panel: Locator) -> None:
    button(panel, "Flip it").click()
    expect(panel).to_contain_text("1 changed in the verifier")
    button(panel, "plain").click()
    expect(panel).to_contain_text("nothing is done to it")
    button(panel, "Undo edits").click()


def use_token(panel: Locator) -> None:
    button(panel, "Refresh").click()
    expect(panel).to_contain_text("generation 2")
    button(panel, "+ 8 h").click()
    expect(panel.get_by_role("meter").first).to_have_attribute("aria-valuenow", "0")


def use_settings(panel: Locator) -> None:
    panel.get_by_label("Scopes").fill("read:user,gist")
    panel.get_by_label("Scopes").blur()
    expect(panel).to_contain_text("read:user,gist")
    secret = panel.get_by_label("Client secret")
    secret.fill(TYPED)
    secret.press("Enter")
    expect(secret).to_have_value("")


def use_trace(panel: Locator) -> None:
    panel.get_by_label("Filter").fill("access_token")
    expect(panel.get_by_role("status")).to_contain_text(re.compile(r"^[12] of \d+ exchanges"))
    panel.locator("[data-exchange]").first.click()
    expect(panel.locator("details").first).to_contain_text("POST")


def use_authorize(panel: Locator) -> None:
    panel.get_by_label("Redirected address").fill("http://127.0.0.1/callback?code=x&state=another")
    button(panel, "Complete sign-in").click()
    expect(panel.get_by_role("alert")).to_contain_text("✘")
    expect(panel.get_by_label("Redirected address")).to_have_value("")


def use_flow(panel: Locator) -> None:
    button(panel, "Run to the end").click()
    expect(heading(panel)).to_contain_text("✔ done")
    panel.locator("[data-exchange]").nth(4).click()
    expect(panel).to_contain_text("Step 3: Request to the MCP server")
    button(panel, "Markdown report").click()
    expect(panel.get_by_role("link", name="Save mcp-flow.md")).to_be_visible()


USES: dict[str, Callable[[Locator], None]] = {
    "metadata": use_metadata,
    "challenge": use_challenge,
    "pkce": use_pkce,
    "token": use_token,
    "settings": use_settings,
    "trace": use_trace,
    "authorize": use_authorize,
    "flow": use_flow,
}


@pytest.mark.parametrize("name", PANELS)
def test_a_panel_is_rendered_clicked_and_read_in_jupyterlab(all_panels: Page, name: str) -> None:
    USES[name](the(all_panels, name))


@pytest.mark.parametrize("open_in", [in_notebook_7, in_voila])
def test_the_same_notebook_runs_in_the_other_front_ends(
    browser: Browser, front_ends: FrontEnds, open_in: Callable[[Page, FrontEnds, str], None]
) -> None:
    front_ends.write(open_in.__name__, CELLS)
    page = new_page(browser, height=LONG)
    open_in(page, front_ends, open_in.__name__)
    for name, use in USES.items():
        use(the(page, name))
    page.context.close()


# -- looks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["Light", "Dark"])
def test_every_text_can_be_read_in_light_and_dark(all_panels: Page, theme: str) -> None:
    use_theme(all_panels, theme)
    read = 0
    pale = []
    for name in PANELS:
        expect(the(all_panels, name)).to_be_visible()
        shown = colours(the(all_panels, name))
        read += len(shown)
        pale += [(name, text[:60], ink, ground) for text, ink, ground in shown if contrast(ink, ground) < 4.5]
    assert read > 150
    assert pale == []


@pytest.mark.parametrize("name", PANELS)
def test_no_panel_is_wider_than_a_column_of_text(all_panels: Page, name: str) -> None:
    panel = the(all_panels, name)
    assert panel.evaluate("it => it.getBoundingClientRect().width") <= 702
    cut = panel.evaluate(
        """it => [it, ...it.querySelectorAll("*")].filter((part) => !part.matches("input, select, label") &&
          getComputedStyle(part).overflowX !== "visible" && part.clientWidth > 0 &&
          part.scrollWidth > part.clientWidth + 1).map((part) => part.outerHTML.slice(0, 200))"""
    )
    assert cut == []


@pytest.mark.parametrize("name", PANELS)
def test_every_control_has_a_name(all_panels: Page, name: str) -> None:
    tree = the(all_panels, name).aria_snapshot()
    controls = re.findall(r"^ *- '?(button|textbox|combobox|listbox|checkbox|spinbutton)(?: \"(.*)\")?", tree, re.M)
    assert controls
    assert [control for control, label in controls if not label] == []


# -- the flow --------------------------------------------------------------------------------------------------------


def test_the_whole_flow_is_stepped_by_mouse(flow: Locator) -> None:
    for count in range(1, 11):
        place = button(flow, "Next step").bounding_box()
        button(flow, "Next step").click()
        expect(heading(flow)).to_contain_text(steps(count))
        # The newest arrow is lit, and is in sight within the diagram.
        expect(flow.locator('[aria-current="true"]').first).to_be_in_viewport()
        # What was clicked stays where it was.
        assert button(flow, "Next step").bounding_box() == place
    expect(heading(flow)).to_contain_text("✔ done")
    expect(button(flow, "Next step")).to_be_disabled()
    for action, last in (("Refresh", "Refresh"), ("Old refresh token", "once more"), ("Revoke", "Revocation")):
        button(flow, action).click()
        expect(flow).to_contain_text(re.compile("Next: "))
        button(flow, "Run to the end").click()
        expect(heading(flow)).to_contain_text("✔ done")
        expect(flow.get_by_role("listbox")).to_contain_text(last)


def test_the_whole_flow_is_stepped_by_keyboard_alone(flow: Locator) -> None:
    tab_to(flow.page, button(flow, "Next step"))
    for count in range(1, 11):
        flow.page.keyboard.press("Enter" if count % 2 else "Space")
        expect(heading(flow)).to_contain_text(steps(count))
    expect(heading(flow)).to_contain_text("✔ done")
    press(flow, button(flow, "Refresh"))
    expect(flow).to_contain_text("Next: ")
    tab_to(flow.page, button(flow, "Run to the end"), backwards=True)
    flow.page.keyboard.press("Enter")
    expect(heading(flow)).to_contain_text("✔ done")
    press(flow, button(flow, "Previous"))
    expect(flow).to_contain_text(re.compile(r"Step \d+: Refresh"))


def test_what_if_is_asked_by_keyboard_alone(flow: Locator) -> None:
    tab_to(flow.page, button(flow, "Next step"))
    for count in range(1, 9):
        flow.page.keyboard.press("Enter")
        expect(heading(flow)).to_contain_text(steps(count))
    expect(flow).to_contain_text("Next: Code for token")
    expect(flow.locator('option[value="code_verifier"]')).to_have_count(1)
    tab_to(flow.page, flow.get_by_label("What if"))
    flow.page.keyboard.type("code_verifier")
    press(flow, button(flow, "Drop"))
    expect(flow).to_contain_text("! dropped")
    tab_to(flow.page, flow.get_by_label("Predict"))
    # At once: while a kernel is busy, Enter overtakes letters that were typed just before it.
    flow.page.keyboard.insert_text("invalid_grant")
    flow.page.keyboard.press("Enter")
    expect(flow).to_contain_text("You predicted invalid_grant")
    expect(flow).to_contain_text("what came")
    expect(flow.get_by_role("listbox")).to_contain_text("Code for token (changed)")


def test_an_arrow_shows_its_exchange_by_mouse_and_by_keyboard(flow: Locator) -> None:
    button(flow, "Run to the end").click()
    expect(heading(flow)).to_contain_text("✔ done")
    arrows = flow.locator("[data-exchange]")
    metadata = arrows.filter(has_text="GET /.well").first
    for _ in range(2):
        metadata.click()
        expect(flow).to_contain_text("Step 4: Protected resource metadata")
        expect(metadata).to_have_attribute("aria-current", "true")
        button(flow, "Next").click()
        expect(flow).to_contain_text("Step 5: ")
    # One arrow is in the Tab order, the arrow keys go on from there.
    expect(flow.locator('[data-exchange][tabindex="0"]')).to_have_count(1)
    tab_to(flow.page, flow.locator('[data-exchange][tabindex="0"]'))
    flow.page.keyboard.press("Home")
    flow.page.keyboard.press("Enter")
    expect(flow).to_contain_text("Step 1: Introduction")
    expect(arrows.first).to_be_focused()
    for _ in range(2):
        flow.page.keyboard.press("ArrowDown")
    flow.page.keyboard.press("Space")
    expect(flow).to_contain_text("Step 2: List of the tools")
    expect(arrows.nth(2)).to_be_focused()
    # Those of others, whom the client does not see, too.
    arrows.filter(has_text="POST /consent").click()
    expect(flow).to_contain_text("between others")


# -- what is saved ---------------------------------------------------------------------------------------------------


def test_no_secret_is_in_the_file_after_a_session_in_the_browser(browser: Browser, front_ends: FrontEnds) -> None:
    path = front_ends.write("kept", CELLS)
    page = new_page(browser, height=LONG)
    in_lab(page, front_ends, "kept")
    for name, use in USES.items():
        use(the(page, name))
    panel = the(page, "flow")
    button(panel, "Refresh").click()
    # A secret as a new value, stopped at before it is sent.
    panel.get_by_label("What if").fill("authorization")
    panel.get_by_label("is", exact=True).fill(f"Bearer {TYPED}")
    button(panel, "Change").click()
    expect(panel.get_by_label("is", exact=True)).to_have_value("")
    button(panel, "Run to the end").click()
    expect(heading(panel)).not_to_contain_text("stepping")
    for name in ("JSON", "HAR", "notebook", "pytest"):
        button(panel, name).click()
    expect(panel.get_by_role("link")).to_be_visible()
    # Somebody may still sign in by this link, which has its flow's `state`: of use to nobody but this kernel.
    link = the(page, "authorize").get_by_role("link").get_attribute("href")
    assert link is not None
    waiting = parse_qs(urlsplit(link).query)["state"]
    document = save(page, path)
    page.context.close()
    # All widgets are in the file, with their values.
    state: dict[str, Any] = document["metadata"]["widgets"]["application/vnd.jupyter.widget-state+json"]["state"]
    assert len(state) > 200
    secrets = json.loads((front_ends.notebooks / "secrets.json").read_text())
    assert len(secrets) > 20
    text = path.read_text()
    assert "Flow debugger" in text
    assert [secret for secret in {*secrets, TYPED} if secret in text and secret not in waiting] == []
    assert SECRETS.findall(text) == []
