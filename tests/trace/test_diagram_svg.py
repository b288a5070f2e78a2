"""The SVG form: well-formed whatever the titles hold, and readable, in both themes and to screen readers."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_oauth_nb.trace.diagram import Diagram, to_svg
from mcp_oauth_nb.trace.messages import BROWSER, CLIENT, GITHUB, SERVER, Kind, Message

SVG = "{http://www.w3.org/2000/svg}"


def arrow(number: int, sender: str, receiver: str, title: str, kind: Kind = "request") -> Message:
    return Message(number, number, 0.0, sender, receiver, "http", kind, title)


FLOW = [
    arrow(1, CLIENT, SERVER, "tools/call get_github_user_info"),
    arrow(2, SERVER, CLIENT, "error -32001: Authentication required", "error"),
    arrow(3, BROWSER, GITHUB, "GET https://github.com/login/oauth/authorize?client_id=x"),
    arrow(4, CLIENT, SERVER, "notifications/cancelled", "notification"),
]


def parse(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in parse(svg).iter(f"{SVG}text")]


def test_every_participant_title_and_number_is_drawn() -> None:
    drawn = texts(to_svg(FLOW))
    assert drawn[:4] == [BROWSER, CLIENT, SERVER, GITHUB]
    assert drawn[4:] == [
        *("tools/call get_github_user_info", "1"),
        *("error -32001: Authentication required", "2"),
        *("GET /login/oauth/authorize", "3"),
        *("notifications/cancelled", "4"),
    ]


def test_a_screen_reader_hears_the_whole_sequence() -> None:
    root = parse(to_svg(FLOW))
    assert root.get("role") == "img"
    title, description = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert title is not None
    assert description is not None
    assert root.get("aria-label") == title.text
    assert title.text == "Sequence diagram: 4 messages between Browser, MCP client, MCP server, GitHub"
    assert "MCP server to MCP client: 2. error -32001: Authentication required" in (description.text or "")


@given(st.text(), st.text(), st.sampled_from(["request", "response", "error", "notification"]))
def test_no_title_and_no_name_can_break_out_of_the_markup(title: str, name: str, kind: Kind) -> None:
    root = parse(to_svg([arrow(1, name, SERVER, title, kind), arrow(2, name, name, title, kind)]))
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        *("svg", "title", "desc", "style", "rect", "line", "g", "path", "text")
    }


def test_markup_in_a_title_is_shown_as_text() -> None:
    assert "<script>alert('1')</script> & more" in texts(
        to_svg([arrow(1, CLIENT, SERVER, "<script>alert('1')</script> & more")])
    )


def test_two_diagrams_on_one_page_share_no_ids() -> None:
    assert not re.search(r"\sid=", to_svg(FLOW))
    assert "url(#" not in to_svg(FLOW)


def test_the_same_messages_give_the_same_bytes() -> None:
    assert to_svg(FLOW) == to_svg(list(FLOW))


def test_the_drawing_shrinks_with_its_cell() -> None:
    root = parse(to_svg(FLOW))
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert "max-width:100%" in root.get("style", "")


def test_every_colour_has_a_class_for_the_theme_and_an_attribute_for_pages_without_styles() -> None:
    root = parse(to_svg(FLOW))
    style = root.findtext(f"{SVG}style") or ""
    assert "prefers-color-scheme:dark" in style
    for element in root.iter():
        for name in (element.get("class") or "").split():
            if name != "mcp-diagram":
                assert f".mcp-diagram .{name}{{" in style
                assert element.get("fill" if name.startswith("f-") else "stroke", "").startswith("#")


def luminance(colour: str) -> float:
    # WCAG 2.2, relative luminance.
    channels = [int(colour[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [".mcp-diagram{", "@media(prefers-color-scheme:dark){.mcp-diagram{"])
def test_text_is_readable_in_both_themes(theme: str) -> None:
    style = parse(to_svg(FLOW)).findtext(f"{SVG}style") or ""
    colours = dict(re.findall(r"--(\w+):(#\w+)", style.partition(theme)[2].partition("}")[0]))
    for name in ("ink", "quiet", "bad"):
        assert contrast(colours[name], colours["card"]) >= 4.5


def test_white_names_are_readable_on_every_participants_colour() -> None:
    svg = to_svg([*FLOW, arrow(5, "Attacker", CLIENT, "x")])
    boxes = {rect.get("fill", "") for rect in parse(svg).iter(f"{SVG}rect") if "f-card" not in rect.get("class", "")}
    assert len(boxes) == 5
    assert all(contrast(colour, "#ffffff") >= 4.5 for colour in boxes)


def test_an_error_is_crossed_and_a_notification_is_dashed() -> None:
    groups = [ElementTree.tostring(group, encoding="unicode") for group in parse(to_svg(FLOW)).iter(f"{SVG}g")]
    assert ["l10 10m0-10l-10 10" in group for group in groups] == [False, True, False, False]
    assert ["stroke-dasharray" in group for group in groups] == [False, False, False, True]


def test_a_cut_title_is_whole_in_the_tooltip() -> None:
    title = "x" * 200
    group = next(parse(to_svg([arrow(1, CLIENT, SERVER, title)])).iter(f"{SVG}g"))
    assert group.findtext(f"{SVG}title") == title
    assert "…" in (group.findtext(f"{SVG}text") or "")


def test_a_long_diagram_names_its_participants_at_the_bottom_too() -> None:
    assert texts(to_svg(FLOW * 3)).count(CLIENT) == 1
    assert texts(to_svg(FLOW * 4)).count(CLIENT) == 2


def test_a_loop_has_room_below_it() -> None:
    loop, straight = (to_svg([arrow(1, CLIENT, SERVER, "x"), arrow(2, CLIENT, to, "y")]) for to in (CLIENT, SERVER))
    assert int(parse(loop).get("height", "")) > int(parse(straight).get("height", ""))


def test_no_messages_are_said_to_be_none() -> None:
    assert texts(to_svg([])) == ["(no messages)"]


# -- in a widget -----------------------------------------------------------------------------------------------


def groups(svg: str) -> list[ElementTree.Element]:
    return list(parse(svg).findall(f"{SVG}g"))


def test_a_picture_says_nothing_about_exchanges() -> None:
    assert "data-exchange" not in to_svg(FLOW)
    assert "aria-current" not in to_svg(FLOW)


def test_arrows_that_can_be_chosen_say_which_exchange_they_belong_to() -> None:
    root = parse(to_svg(FLOW, choosable=True))
    assert root.get("role") == "group"
    assert [group.get("data-exchange") for group in root.findall(f"{SVG}g")] == ["1", "2", "3", "4"]
    assert groups(to_svg(FLOW, choosable=True))[2].get("aria-label") == (
        "Browser to GitHub: 3. GET /login/oauth/authorize"
    )


def test_both_arrows_of_the_lit_exchange_are_marked_with_a_sign_too() -> None:
    messages = [FLOW[0], Message(2, 1, 0.0, SERVER, CLIENT, "jsonrpc", "response", "result"), *FLOW[2:]]
    marked = [group for group in groups(to_svg(messages, lit=1)) if group.get("aria-current")]
    signs = [group.find(f"{SVG}path") for group in marked]
    assert [sign.get("class") for sign in signs if sign is not None] == ["f-ink", "f-ink"]


def test_what_is_lit_can_be_chosen_too() -> None:
    assert groups(Diagram(FLOW).svg_with(lit=2))[1].attrib == {
        "data-exchange": "2",
        "aria-label": "MCP server to MCP client: 2. error -32001: Authentication required",
        "aria-current": "true",
    }


@given(st.text(), st.text())
def test_no_title_and_no_name_can_break_out_of_an_arrow_that_can_be_chosen(title: str, name: str) -> None:
    svg = to_svg([arrow(1, name, SERVER, title), arrow(2, name, name, title)], lit=1, choosable=True)
    assert [group.get("data-exchange") for group in groups(svg)] == ["1", "2"]


def over(colour: str, card: str, opacity: float) -> str:
    pairs = [(int(colour[i : i + 2], 16), int(card[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(opacity * above + (1 - opacity) * below):02x}" for above, below in pairs)


@pytest.mark.parametrize("theme", [".mcp-diagram{", "@media(prefers-color-scheme:dark){.mcp-diagram{"])
def test_text_on_the_band_is_readable_in_both_themes(theme: str) -> None:
    root = parse(to_svg(FLOW, lit=1))
    band = next(rect for rect in root.iter(f"{SVG}rect") if rect.get("fill-opacity"))
    style = root.findtext(f"{SVG}style") or ""
    colours = dict(re.findall(r"--(\w+):(#\w+)", style.partition(theme)[2].partition("}")[0]))
    behind = over(band.get("fill", ""), colours["card"], float(band.get("fill-opacity", "")))
    for name in ("ink", "quiet", "bad"):
        assert contrast(colours[name], behind) >= 4.5
