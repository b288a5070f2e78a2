"""What the panels share: their HTML, and how they appear in a notebook."""

from __future__ import annotations

import re
from typing import Any

import ipywidgets
import pytest
from traitlets import HasTraits

from mcp_oauth_nb.jupyter.widgets.panel import (
    ACCENT,
    COLOURS,
    Html,
    Panel,
    badge,
    block,
    card,
    code,
    column,
    element,
    folded,
    heading,
    joined,
    on_enter,
    paragraph,
    pill,
    prose,
    quiet,
    row,
    safe,
    status,
    stepping,
    table,
    typed,
    verbatim,
    without_kernel,
)
from mcp_oauth_nb.oauth.masking import remember

MARKUP = "<script>alert('x')</script>&"


class Small(Panel):
    """A panel with nothing in it."""

    by_code = "panel.model.go()"

    def __init__(self) -> None:
        self.model = HasTraits()
        self.widget = ipywidgets.VBox()

    def _summary(self) -> str:
        return "ready"

    def _static_html(self) -> Html:
        return paragraph("As it is.")


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2."""
    parts = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_a_panel_has_a_widget_and_forms_for_viewers_without_a_kernel() -> None:
    panel = Small()
    bundle = panel._repr_mimebundle_(include=None, exclude=None)
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == panel.widget.model_id
    assert bundle["text/plain"] == repr(panel) == "Small(ready)"
    assert "As it is." in bundle["text/html"]
    assert "panel.model.go()" in bundle["text/html"]
    assert type(bundle["text/html"]) is str


def test_a_panel_without_a_line_of_code_names_none() -> None:
    assert "line of code" not in without_kernel("")


@pytest.mark.parametrize(
    "helper",
    [safe, verbatim, joined, heading, paragraph, code, block, pill, card, status, prose, quiet, folded],
    ids=lambda helper: helper.__name__,
)
def test_every_string_is_escaped(helper: Any) -> None:
    assert "<script" not in helper(MARKUP)
    assert "&lt;script&gt;" in helper(MARKUP)


def test_cells_and_attributes_are_escaped_too() -> None:
    assert "<script" not in table([MARKUP], [[MARKUP]])
    assert element("a", href="'\"<") == '<a href="&#x27;&quot;&lt;"></a>'


def test_html_is_put_in_as_it_is() -> None:
    assert joined(Html("<br>"), "<", None, "") == "<br>&lt;"
    assert element("p", element("b", "x")) == "<p><b>x</b></p>"


def test_known_secrets_are_masked_in_every_line() -> None:
    secret = "a-secret-of-a-real-flow-0001"
    remember(secret)
    assert secret not in safe(secret) + block(f"one\n{secret}") + code(secret)


def test_lines_stay_lines_in_a_block_and_bidi_characters_are_escaped() -> None:
    assert "one\ntwo" in block("one\ntwo")
    assert "\u202e" not in block("one\u202etwo")


def test_backticks_are_code() -> None:
    assert prose("see `iss` there") == joined("see ", code("iss"), " there")


def test_attribute_names_may_be_python_words() -> None:
    assert element("label", for_="x", aria_label="y") == '<label for="x" aria-label="y"></label>'


@pytest.mark.parametrize("colour", [*COLOURS.values(), ACCENT])
def test_white_is_readable_on_every_colour(colour: str) -> None:
    assert 1.05 / (luminance(colour) + 0.05) >= 4.5


def test_a_badge_has_a_sign_and_a_word() -> None:
    assert "✔ passed" in badge("passed")
    assert "✘ 3 failed" in badge("failed", "3 failed")


def test_a_table_has_titles_and_widths_where_they_are_given() -> None:
    text = table(("A", "B"), [("1", "2")], widths=("30%", "70%"))
    assert re.findall(r"<th[^>]*scope=\"col\"[^>]*>(\w)</th>", text) == ["A", "B"]
    assert "table-layout:fixed" in text
    assert "<th" not in table((), [("1", "2")])


def test_a_status_is_read_out_and_an_alert_at_once() -> None:
    assert 'role="status"' in status("done", sign="✔")
    assert 'role="alert"' in status("failed", alert=True)


def test_what_is_folded_can_be_open() -> None:
    assert ' open="open"' in folded("more", "x", opened=True)
    assert " open=" not in folded("more", "x")


def test_a_card_has_an_edge_in_its_colour() -> None:
    assert "border-left:4px solid #0969da" in card("x", colour=ACCENT)


def test_rows_and_columns_keep_to_the_width() -> None:
    children = (ipywidgets.HTML(), ipywidgets.HTML())
    for box in (row(*children), column(*children)):
        assert box.children == children
        assert box.layout.max_width == "700px"


class Overtaken(ipywidgets.Text):
    """A field whose text comes when somebody waits for it: the click, or Enter, overtook it."""

    def observe(self, *handler: Any, **options: Any) -> None:
        super().observe(*handler, **options)
        self.value = "typed before the click"


def test_what_was_typed_is_there_though_the_click_overtook_it() -> None:
    assert typed(Overtaken()) == "typed before the click"


def test_enter_finds_what_was_typed_before_it() -> None:
    field, found = Overtaken(), []
    on_enter(field, lambda: found.append(field.value))
    field._handle_msg({"content": {"data": {"method": "custom", "content": {"event": "submit"}}}, "buffers": []})
    assert found == ["typed before the click"]


def test_an_empty_field_is_not_waited_for_for_ever() -> None:
    field = ipywidgets.Text()
    assert typed(field, patience=0) == ""
    field.value = "x"
    assert typed(field) == "x"


def test_the_enter_key_and_no_other_message_acts() -> None:
    field, pressed = ipywidgets.Text(), []
    on_enter(field, lambda: pressed.append(True))
    for event in ("focus", "submit"):
        field._handle_msg({"content": {"data": {"method": "custom", "content": {"event": event}}}, "buffers": []})
    assert pressed == [True]


def test_buttons_step_through_a_list_and_around_its_ends() -> None:
    choice = ipywidgets.Select(options=["a", "b", "c"])
    previous, following = stepping(choice, "letter")
    seen = [choice.value]
    for button in (following, following, following, previous):
        button.click()
        seen.append(choice.value)
    assert seen == ["a", "b", "c", "a", "c"]
    assert (previous.tooltip, following.tooltip) == ("Previous letter", "Next letter")


@pytest.mark.parametrize(("which", "expected"), [(0, "c"), (1, "a")])
def test_where_nothing_is_chosen_stepping_begins_at_an_end(which: int, expected: str) -> None:
    choice = ipywidgets.Select(options=["a", "b", "c"], value=None)
    stepping(choice, "letter")[which].click()
    assert choice.value == expected


def test_an_empty_list_has_nowhere_to_step() -> None:
    choice = ipywidgets.Select(options=[])
    stepping(choice, "letter")[1].click()
    assert choice.value is None
