"""The trace view: the model by itself, and the panel by the state of its widgets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any, Literal

import pytest

from mcp_oauth_nb import Lab
from mcp_oauth_nb.jupyter.widgets.trace_model import PAGE_SIZE, TraceModel
from mcp_oauth_nb.jupyter.widgets.trace_panel import TraceView
from mcp_oauth_nb.oauth.clock import ManualClock
from mcp_oauth_nb.trace.messages import CLIENT, GITHUB, SERVER, Kind
from mcp_oauth_nb.trace.recorder import Trace

pytestmark = pytest.mark.anyio

TOKEN_URL = "https://github.com/login/oauth/access_token"


def add(
    trace: Trace,
    title: str,
    *,
    to: str = SERVER,
    protocol: Literal["http", "jsonrpc"] = "jsonrpc",
    kind: Kind = "request",
    body: Any = None,
    url: str = "",
    answer: str | None = "result",
    answer_kind: Kind = "response",
    answer_body: Any = None,
) -> int:
    number = trace.record(
        sender=CLIENT, receiver=to, protocol=protocol, kind=kind, title=title, body=body, url=url, headers={"x": "y"}
    )
    if answer is not None:
        trace.record(
            sender=to,
            receiver=CLIENT,
            protocol=protocol,
            kind=answer_kind,
            title=answer,
            body=answer_body,
            answers=number,
        )
    return number


def some() -> Trace:
    """Five exchanges of all kinds."""
    trace = Trace(ManualClock())
    add(trace, "tools/list", answer_body={"tools": [{"name": "get_github_user_info"}]})
    add(trace, "tools/call", answer="error -32001", answer_kind="error", body={"name": "get_github_user_info"})
    url = f"{TOKEN_URL}?x=1"
    form = {"grant_type": "authorization_code"}
    add(trace, f"POST {TOKEN_URL}", to=GITHUB, protocol="http", url=url, body=form, answer="200 OK")
    add(trace, "notifications/cancelled", kind="notification", answer=None)
    add(trace, "tools/call", answer=None)
    return trace


def many(count: int) -> Trace:
    trace = Trace(ManualClock())
    for number in range(1, count + 1):
        add(trace, f"call {number}", body={"n": number})
    return trace


@pytest.fixture
def model() -> TraceModel:
    return TraceModel(some())


@pytest.fixture
def view() -> TraceView:
    return TraceView(some())


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.open() as lab:
        await lab.session.call_tool("get_github_user_info", authorize=lab.authorize)
        yield lab


def shown(view: TraceView) -> str:
    return str(view._repr_mimebundle_()["text/html"])


def synced(view: TraceView) -> str:
    """All that the view's widgets tell a front end, which may save it."""

    def states(widget: Any) -> list[Any]:
        return [widget.get_state(), *(states(child) for child in getattr(widget, "children", ()))]

    return json.dumps(states(view.widget), default=repr)


def front_end_sends(widget: Any, content: dict[str, str]) -> None:
    widget._handle_msg({"content": {"data": {"method": "custom", "content": content}}, "buffers": []})


# -- the model -------------------------------------------------------------------------------------------------


def test_a_new_model_shows_everything_and_looks_at_the_first(model: TraceModel) -> None:
    assert model.numbers == (1, 2, 3, 4, 5)
    assert model.chosen == 1
    assert model.parties == (CLIENT, SERVER, GITHUB)
    assert repr(model) == "TraceModel(5 exchanges, page 1 of 1)"


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({"text": "TOOLS"}, (1, 2, 5)),
        ({"text": "-32001"}, (2,)),
        ({"text": "x=1"}, (3,)),
        ({"text": "get_github_user_info"}, ()),
        ({"search": "Get_GitHub_user_info"}, (1, 2)),
        ({"search": "grant_type"}, (3,)),
        ({"search": "x: y"}, (1, 2, 3, 4, 5)),
        ({"party": GITHUB}, (3,)),
        ({"protocol": "jsonrpc"}, (1, 2, 4, 5)),
        ({"errors_only": True}, (2,)),
        ({"text": "tools/call", "search": "get_github_user_info", "protocol": "jsonrpc"}, (2,)),
    ],
)
def test_filters_show_what_fits_all_of_them(
    model: TraceModel, filters: dict[str, Any], numbers: tuple[int, ...]
) -> None:
    for name, value in filters.items():
        setattr(model, name, value)
    assert model.numbers == numbers
    assert model.chosen == (numbers[0] if numbers else 0)


def test_what_is_looked_at_stays_while_it_fits(model: TraceModel) -> None:
    model.choose(2)
    model.text = "tools/call"
    assert model.chosen == 2
    model.errors_only = True
    assert model.chosen == 2
    model.text = "nothing"
    assert (model.chosen, model.exchange, model.summary) == (0, None, "0 of 5 exchanges, page 1 of 1")


def test_a_trace_that_grew_is_seen_at_the_next_look(model: TraceModel) -> None:
    version = model.version
    model.look()
    assert model.version == version
    add(model.trace, "ping")
    model.look()
    assert model.numbers[-1] == 6


def test_an_answer_that_came_is_searched_too(model: TraceModel) -> None:
    model.search = "late answer"
    assert model.numbers == ()
    model.trace.record(
        sender=SERVER, receiver=CLIENT, protocol="jsonrpc", kind="response", title="late answer", answers=5
    )
    model.look()
    assert model.numbers == (5,)


def test_a_trace_that_was_cleared_and_filled_again_is_read_anew(model: TraceModel) -> None:
    count = len(model.trace)
    model.trace.clear()
    while len(model.trace) < count:
        add(model.trace, "ping", answer=None)
    model.look()
    assert model.numbers[0] == 6


def test_a_long_trace_is_shown_a_page_at_a_time() -> None:
    model = TraceModel(many(95))
    assert (model.pages, len(model.window)) == (10, PAGE_SIZE)
    model.turn(10)
    assert (model.numbers, model.chosen) == ((91, 92, 93, 94, 95), 91)
    model.turn(99)
    assert model.page == 10
    model.turn(-1)
    assert model.page == 1


def test_choosing_turns_to_the_page() -> None:
    model = TraceModel(many(95))
    assert model.choose(42).request.title == "call 42"
    assert (model.page, model.chosen) == (5, 42)


@pytest.mark.parametrize("number", [0, 2, 99])
def test_what_is_hidden_or_not_there_cannot_be_chosen(model: TraceModel, number: int) -> None:
    model.protocol = "http"
    with pytest.raises(LookupError, match="is not among the 1 that are shown"):
        model.choose(number)


def test_two_exchanges_are_compared(model: TraceModel) -> None:
    model.pin()
    assert model.difference is None
    model.choose(2)
    assert model.difference is not None
    assert (model.difference.left, model.difference.right) == (1, 2)
    assert repr(model.difference) == repr(model.diff(1, 2))
    model.unpin()
    assert model.difference is None


def test_what_is_not_there_cannot_be_compared(model: TraceModel) -> None:
    with pytest.raises(LookupError, match="no exchange 9"):
        model.diff(1, 9)


def test_the_diagram_is_that_of_the_page(model: TraceModel) -> None:
    assert len(model.diagram.messages) == 8
    model.errors_only = True
    assert [message.exchange for message in model.diagram.messages] == [2, 2]


# -- the panel -------------------------------------------------------------------------------------------------


def test_the_list_says_of_each_exchange_what_came_of_it(view: TraceView) -> None:
    assert [label for label, _ in view.list.options] == [
        "1. ✔ answered  tools/list  ⟶ result",
        "2. ✘ error  tools/call  ⟶ error -32001",
        "3. ✔ answered  POST /login/oauth/access_token  ⟶ 200 OK",
        "4. – notification  notifications/cancelled",
        "5. … no answer  tools/call",
    ]


def test_the_controls_filter(view: TraceView) -> None:
    view.text.value = "tools"
    assert view.model.numbers == (1, 2, 5)
    view.search.value = "get_github_user_info"
    assert view.model.numbers == (1, 2)
    view.errors_only.value = True
    assert view.model.numbers == (2,)
    view.text.value = view.search.value = ""
    view.errors_only.value = False
    view.party.value = GITHUB
    view.protocol.value = "http"
    assert [number for _, number in view.list.options] == [3]
    assert "1 of 5 exchanges" in view._summary_line.value


def test_a_line_of_code_moves_the_controls(view: TraceView) -> None:
    view.model.text, view.model.party, view.model.errors_only = "tools", "Nobody", True
    assert (view.text.value, view.party.value, view.errors_only.value) == ("tools", "Nobody", True)
    assert view.list.options == ()
    assert "Nothing matches." in view._detail.value


def test_an_exchange_is_chosen_in_the_list_or_by_its_arrow(view: TraceView) -> None:
    view.list.value = 3
    assert view.model.chosen == 3
    assert "grant_type" in view._detail.value
    view.sequence.chosen = 2
    assert (view.model.chosen, view.list.value) == (2, 2)
    assert 'data-exchange="2" aria-label' in view.sequence.svg
    assert view.sequence.svg.count('aria-current="true"') == 2


def test_an_arrow_that_is_not_on_the_page_chooses_nothing(view: TraceView) -> None:
    view.sequence.chosen = 77
    assert view.model.chosen == 1


def test_what_was_chosen_by_code_on_another_page_is_shown() -> None:
    view = TraceView(many(30))
    view.model.chosen = 25
    assert view.list.value is None
    assert "call 25" in view._detail.value


def test_the_buttons_turn_the_pages() -> None:
    view = TraceView(many(30))
    assert (view.first.disabled, view.previous.disabled, view.next.disabled, view.last.disabled) == (
        True,
        True,
        False,
        False,
    )
    pages = []
    for button in (view.next, view.last, view.previous, view.first):
        button.click()
        pages.append(view.model.page)
    assert pages == [2, 3, 2, 1]


def test_the_enter_key_goes_back_to_the_first_page() -> None:
    view = TraceView(many(30))
    view.last.click()
    front_end_sends(view.text, {"event": "submit"})
    assert view.model.page == 1


def test_two_exchanges_are_compared_by_the_button(view: TraceView) -> None:
    view.pin.value = True
    assert "Choose another exchange to compare it with exchange 1." in view._detail.value
    view.list.value = 2
    assert "Exchange 1 against 2" in view._detail.value
    for text in ("+ added", "− removed", "≠ changed", "the same in both"):
        assert text in view._detail.value
    view.pin.value = False
    assert "against" not in view._detail.value


def test_two_exchanges_that_are_the_same_are_said_to_be() -> None:
    trace = Trace(ManualClock())
    add(trace, "ping")
    add(trace, "ping")
    view = TraceView(trace)
    view.model.pin()
    view.model.choose(2)
    assert "They are the same." in view._detail.value


def test_a_long_difference_is_cut_and_says_so() -> None:
    trace = Trace(ManualClock())
    add(trace, "a", body=list(range(100)))
    add(trace, "a", body=[])
    view = TraceView(trace)
    view.model.pin()
    view.model.choose(2)
    assert "61 more lines differ; `.differences` has them all." in view._detail.value


def test_the_view_looks_again_at_the_press_of_a_button_and_when_it_is_shown(view: TraceView) -> None:
    add(view.model.trace, "ping")
    view.look.click()
    assert "6 exchanges" in view._summary_line.value
    add(view.model.trace, "ping")
    assert "7 exchanges" in shown(view)


def test_what_was_searched_for_is_marked(view: TraceView) -> None:
    view.search.value = "AUTHORIZATION_CODE"
    assert ">authorization_code</mark>" in view._detail.value


def test_what_was_found_in_the_hidden_part_of_a_body_is_said() -> None:
    trace = Trace(ManualClock())
    add(trace, "a", answer_body={"lines": [f"line {'x' * 90} {number}" for number in range(100)]})
    add(trace, "b", answer_body="short\n" * 99 + "line 77, in a text")
    view = TraceView(trace)
    view.search.value = " 77"
    assert "Found further down in the body:" in view._detail.value
    view.search.value = "line 77"
    assert "</mark>, in a text" in view._detail.value
    view.search.value = "x: y"
    assert "Found further down" not in view._detail.value


def test_a_message_of_many_lines_is_folded_unless_it_was_searched_for() -> None:
    trace = Trace(ManualClock())
    add(trace, "a", body={f"name {number}": "x" * 50 for number in range(40)}, answer=None)
    view = TraceView(trace)
    assert " open=" not in view._detail.value
    view.search.value = "name 30"
    assert ' open="open"' in view._detail.value


def test_an_empty_trace_is_said_to_be_empty() -> None:
    view = TraceView(Trace(ManualClock()))
    assert "Nothing was recorded yet." in view._detail.value
    assert view.pin.disabled
    assert repr(view) == "TraceView(0 exchanges, page 1 of 1)"
    assert "Nothing matches." in shown(view)


def test_a_request_without_headers_and_body_has_nothing_to_fold() -> None:
    trace = Trace(ManualClock())
    trace.record(sender=CLIENT, receiver=SERVER, protocol="jsonrpc", kind="notification", title="ping")
    assert "<details" not in TraceView(trace)._detail.value


def test_the_static_form_names_the_filters_and_draws_the_page(view: TraceView) -> None:
    assert "Filtered by" not in shown(view)
    view.model.search, view.model.errors_only = "get_", True
    html = shown(view)
    assert "Filtered by anywhere: get_, errors: only." in html
    assert '<img src="data:image/svg+xml;base64,' in html
    assert "tools/list" not in html


def test_what_a_server_wrote_is_shown_as_text() -> None:
    trace = Trace(ManualClock())
    add(trace, "<script>x</script>", to="<em>", answer="<img>", body={"<i>": "</pre><u>"}, answer_body="<s>")
    add(trace, "other")
    view = TraceView(trace)
    view.model.search = "<"
    html = shown(view) + view._detail.value + view.sequence.svg
    view.model.search = ""
    view.model.pin()
    view.model.choose(2)
    html += shown(view) + view._detail.value
    for tag in ("<script", "<em>", "<i>", "<u>", "<s>", "<img>"):
        assert tag not in html


async def test_a_lab_gives_the_same_bytes_again_and_no_secret(lab: Lab) -> None:
    async with Lab.open() as other:
        await other.session.call_tool("get_github_user_info", authorize=other.authorize)
        assert shown(TraceView(lab.trace)) == shown(TraceView(other.trace))
    view = TraceView(lab.trace)
    everything = shown(view) + synced(view)
    for number in range(1, len(lab.trace.exchanges) + 1):
        view.model.choose(number)
        everything += synced(view)
    token = lab.oauth.token
    assert token is not None
    for secret in (token.access_token, token.refresh_token, lab.github.client_secret):
        assert str(secret) not in everything


def test_a_page_of_a_long_trace_is_no_larger_than_one_of_a_short_trace() -> None:
    short, long = (TraceView(many(count)) for count in (PAGE_SIZE, 2_000))
    assert len(synced(long)) < 1.05 * len(synced(short))
    assert len(shown(long)) < 1.05 * len(shown(short))
