"""Diagrams as text, as Mermaid and as rich output. `test_diagram_svg` has the SVG."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from mcp_oauth_nb.trace.diagram import Diagram, to_mermaid, to_text
from mcp_oauth_nb.trace.layout import WIDTH, cells
from mcp_oauth_nb.trace.messages import BROWSER, CLIENT, GITHUB, SERVER, Message

KINDS = ("request", "response", "error", "notification")


def arrow(number: int, sender: str, receiver: str, title: str, kind: str = "request") -> Message:
    return Message(number, number, 0.0, sender, receiver, "http", kind, title)  # type: ignore[arg-type]


FLOW = [
    arrow(1, CLIENT, SERVER, "tools/call get_github_user_info"),
    arrow(2, SERVER, CLIENT, "error -32001: Authentication required", "error"),
    arrow(3, BROWSER, GITHUB, "GET https://github.com/login/oauth/authorize?client_id=x&state=****"),
    arrow(4, GITHUB, BROWSER, "302 Found -> http://127.0.0.1:8765/callback?code=****", "response"),
    arrow(5, CLIENT, SERVER, "notifications/cancelled", "notification"),
]

FLOW_AS_TEXT = """\
┌─────────┐  ┌────────────┐                              ┌────────────┐  ┌────────┐
│ Browser │  │ MCP client │                              │ MCP server │  │ GitHub │
└────┬────┘  └──────┬─────┘                              └──────┬─────┘  └────┬───┘
     │              │                                           │             │
     │              │ 1. tools/call get_github_user_info        │             │
     │              ├──────────────────────────────────────────>│             │
     │              │ 2. error -32001: Authentication required  │             │
     │              │<─✗────────────────────────────────────────┤             │
     │              │                                           │             │
     │ 3. GET /login/oauth/authorize                            │             │
     ├──────────────┼───────────────────────────────────────────┼────────────>│
     │ 4. 302 Found -> /callback                                │             │
     │<─────────────┼───────────────────────────────────────────┼─────────────┤
     │              │                                           │             │
     │              │ 5. notifications/cancelled                │             │
     │              ├╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌╌>│             │"""

messages = st.lists(
    st.builds(
        arrow,
        st.integers(1, 99_999),
        st.sampled_from([BROWSER, CLIENT, SERVER, GITHUB, "a", "другой 参加者 with a very long name"]),
        st.sampled_from([BROWSER, CLIENT, SERVER, GITHUB, "a", "другой 参加者 with a very long name"]),
        st.text(max_size=200),
        st.sampled_from(KINDS),
    ),
    max_size=8,
)


def test_the_text_form_looks_like_the_diagram_of_the_guide() -> None:
    assert to_text(FLOW) == FLOW_AS_TEXT


def test_a_message_to_oneself_is_a_loop_to_the_right_of_the_lifeline() -> None:
    assert to_text([arrow(1, CLIENT, CLIENT, "makes a PKCE pair")]).splitlines()[-3:] == [
        "       │ 1. makes a PKCE pair",
        "       ├──┐",
        "       │<─┘",
    ]


def test_an_error_to_oneself_is_crossed_too() -> None:
    assert "├─✗┐" in to_text([arrow(1, CLIENT, CLIENT, "fails", "error")])


def test_a_title_too_long_for_its_arrow_loses_its_middle() -> None:
    drawn = to_text([arrow(1, CLIENT, SERVER, "begin " + "x" * 200 + " end"), *FLOW[2:4]])
    line = next(line for line in drawn.splitlines() if "begin" in line)
    assert "1. begin xxx" in line
    assert "…" in line
    assert "xxx end │" in line


def test_a_number_is_never_cut_however_little_room_there_is() -> None:
    crowd = [arrow(1, CLIENT, name, "x" * 40) for name in (BROWSER, SERVER, GITHUB, "someone with a long name")]
    drawn = to_text([*crowd, arrow(10_001, "a", "a", "x" * 40)])
    assert "10001." in drawn


def test_a_wide_character_takes_two_columns() -> None:
    label, drawn_arrow = to_text([arrow(1, CLIENT, SERVER, "日本語のタイトル"), *FLOW]).splitlines()[4:6]
    # The lifeline after the title stands under the lifeline above it.
    assert cells(label[: label.rindex("│")]) == cells(drawn_arrow[: drawn_arrow.rindex("│")])


def test_a_combining_character_takes_no_column() -> None:
    plain, combined = (to_text([arrow(1, CLIENT, SERVER, title)]) for title in ("cafe", "cafe\u0301"))
    assert combined == plain.replace("cafe", "cafe\u0301")


def test_control_and_bidi_characters_cannot_disturb_the_drawing() -> None:
    drawn = to_text([arrow(1, CLIENT, SERVER, "a\x1b[2Jb\u202ec\r\nd")])
    assert "1. a\ufffd[2Jb\ufffdc d" in drawn


def test_no_messages_are_said_to_be_none() -> None:
    assert to_text([]) == "(no messages)"


@given(messages)
def test_no_text_diagram_is_wider_than_the_limit(sequence: list[Message]) -> None:
    assert all(cells(line) <= WIDTH for line in to_text(sequence).splitlines())


@given(messages)
def test_every_message_has_its_number_and_one_arrow_in_the_text(sequence: list[Message]) -> None:
    lines = to_text(sequence).splitlines()[3:]
    assert sum(1 for line in lines if {">", "<"} & set(line) and {"─", "╌"} & set(line)) >= len(sequence)
    assert all(any(f"{message.number}." in line for line in lines) for message in sequence)


def test_mermaid_declares_the_participants_in_order_and_tells_the_kinds_apart() -> None:
    assert to_mermaid(FLOW) == (
        "sequenceDiagram\n"
        "    participant P1 as Browser\n"
        "    participant P2 as MCP client\n"
        "    participant P3 as MCP server\n"
        "    participant P4 as GitHub\n"
        "    P2->>P3: 1. tools/call get_github_user_info\n"
        "    P3-xP2: 2. error -32001: Authentication required\n"
        "    P1->>P4: 3. GET /login/oauth/authorize\n"
        "    P4->>P1: 4. 302 Found -> /callback\n"
        "    P2--)P3: 5. notifications/cancelled"
    )


def test_mermaid_escapes_what_is_syntax_or_html() -> None:
    hostile = arrow(1, "a;b", SERVER, "%%{init}%% <img> &amp; #1; style:#x;")
    assert to_mermaid([hostile]).splitlines()[1:] == [
        "    participant P1 as MCP server",
        "    participant P2 as a#59;b",
        "    P2->>P1: 1. #37;#37;{init}#37;#37; #60;img> #38;amp#59; #35;1#59; style#58;#35;x#59;",
    ]


@given(messages)
def test_mermaid_has_one_statement_for_each_participant_and_message(sequence: list[Message]) -> None:
    lines = to_mermaid(sequence).splitlines()
    parties = {name for message in sequence for name in (message.sender, message.receiver)}
    assert len(lines) == 1 + len(parties) + len(sequence)


def test_a_diagram_is_shown_as_svg_and_compared_as_text() -> None:
    diagram = Diagram(FLOW)
    bundle = diagram._repr_mimebundle_(include=None, exclude=None)
    assert repr(diagram) == str(diagram) == diagram.text == bundle["text/plain"] == FLOW_AS_TEXT
    assert bundle["image/svg+xml"] == diagram.svg
    assert "text/html" not in bundle
    assert diagram.mermaid == to_mermaid(FLOW)


def test_a_diagram_keeps_the_messages_it_was_made_of() -> None:
    growing = list(FLOW)
    diagram = Diagram(growing)
    growing.append(dataclasses.replace(FLOW[0], number=6))
    assert diagram == Diagram(FLOW)
    assert diagram.text == FLOW_AS_TEXT


def test_ten_thousand_messages_make_ten_thousand_arrows() -> None:
    many = Diagram([dataclasses.replace(FLOW[index % 5], number=index + 1) for index in range(10_000)])
    assert len(many.mermaid.splitlines()) == 5 + 10_000
    assert sum("10000. " in line for line in many.text.splitlines()) == 1
    assert many.svg.count("<g>") == 10_000
