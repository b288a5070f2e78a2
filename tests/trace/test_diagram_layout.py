"""Where lifelines stand, and how titles are made to fit."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_oauth_nb.trace.layout import WIDTH, cells, lay_out, name_of, participants, printable, shorten, title_of
from mcp_oauth_nb.trace.messages import BROWSER, CLIENT, GITHUB, SERVER, Message


def arrow(sender: str, receiver: str, title: str = "title") -> Message:
    return Message(1, 1, 0.0, sender, receiver, "http", "request", title)


def test_only_those_who_take_part_have_a_lifeline() -> None:
    assert participants([arrow(CLIENT, SERVER)]) == (CLIENT, SERVER)


def test_the_four_parties_stand_in_their_usual_order_and_others_after_them() -> None:
    sequence = [arrow("Attacker", GITHUB), arrow(SERVER, CLIENT), arrow("Zoe", BROWSER)]
    assert participants(sequence) == (BROWSER, CLIENT, SERVER, GITHUB, "Attacker", "Zoe")


def test_a_gap_is_as_wide_as_the_titles_in_it_and_no_wider() -> None:
    lanes = lay_out([arrow(CLIENT, SERVER, "x" * 40), arrow(SERVER, GITHUB, "y" * 10)]).lanes
    assert lanes[SERVER] - lanes[CLIENT] == len("1. ") + 40 + 4
    assert lanes[GITHUB] - lanes[SERVER] < 20


def test_a_title_over_several_gaps_widens_each_of_them_a_little() -> None:
    layout = lay_out([arrow(CLIENT, SERVER), arrow(CLIENT, GITHUB, "x" * 90)])
    assert layout.span(arrow(CLIENT, GITHUB)) == (layout.lanes[CLIENT], layout.lanes[GITHUB])
    assert layout.lanes[GITHUB] - layout.lanes[CLIENT] >= 90


def test_where_the_room_is_scarce_the_modest_titles_keep_theirs() -> None:
    lanes = lay_out([arrow(CLIENT, SERVER, "x" * 200), arrow(SERVER, GITHUB, "y" * 20)]).lanes
    assert lanes[GITHUB] - lanes[SERVER] == len("1. ") + 20 + 4


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5, unique=True), st.text(max_size=300))
def test_up_to_five_participants_fit_into_the_width(names: list[str], title: str) -> None:
    layout = lay_out([arrow(name, names[0], title) for name in names])
    columns = list(layout.lanes.values())
    assert columns == sorted(set(columns))
    assert layout.width <= WIDTH


def test_five_participants_with_the_longest_names_fit_into_the_width() -> None:
    names = [f"participant {number} " + "x" * 30 for number in range(5)]
    assert lay_out([arrow(name, names[0], "x" * 300) for name in names]).width <= WIDTH


def test_twenty_participants_have_room_for_their_boxes_all_the_same() -> None:
    names = [f"participant {number}" for number in range(20)]
    columns = list(lay_out([arrow(name, names[0]) for name in names]).lanes.values())
    assert all(after - before > len(names[0]) for before, after in pairwise(columns))


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("GET https://github.com/login/oauth/authorize?client_id=x", "GET /login/oauth/authorize"),
        ("GET https://api.github.com", "GET /"),
        ("302 Found -> http://127.0.0.1:8765/callback?code=****&state=****", "302 Found -> /callback"),
        ("302 Found -> /login?return_to=%2F#top", "302 Found -> /login"),
        ("302 Found -> com.example.app://callback/done?code=****", "302 Found -> /done"),
        ("POST https://[::1]:8000/mcp", "POST /mcp"),
        ("tools/call get_github_user_info", "tools/call get_github_user_info"),
        ("error -32001: Authentication required", "error -32001: Authentication required"),
        ("two\nlines", "two lines"),
    ],
)
def test_a_title_names_a_url_by_its_path(title: str, shown: str) -> None:
    assert title_of(arrow(CLIENT, SERVER, title)) == shown


def test_a_long_name_is_cut_to_fit_its_box() -> None:
    assert name_of("authorization server of the attacker") == "authoriz…ttacker"


@given(st.text(), st.integers(1, 60))
def test_a_shortened_text_fits_and_keeps_both_ends(text: str, room: int) -> None:
    text = printable(text)
    short = shorten(text, room)
    assert cells(short) <= room
    if short != text:
        cuts = [cut for cut, char in enumerate(short) if char == "…"]
        assert any(text.startswith(short[:cut]) and text.endswith(short[cut + 1 :]) for cut in cuts)


def test_a_text_that_fits_is_left_alone() -> None:
    assert shorten("12345", 5) == "12345"
    assert shorten("123456", 5) == "12…56"


@given(st.text())
def test_printable_text_is_one_line_that_a_terminal_shows_as_it_is(text: str) -> None:
    assert printable(text).isprintable()


def test_cells_counts_columns_not_characters() -> None:
    assert cells("abc") == 3
    assert cells("日本") == 4
    assert cells("e\u0301") == 1
