"""The token panel: the model by itself, and the panel by the state of its widgets."""

from __future__ import annotations

import asyncio
import base64
import gc
import json
import logging
import re
import threading
import weakref
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import ipywidgets
import pytest

from mcp_oauth_nb import Lab, OAuthHandler
from mcp_oauth_nb.jupyter.widgets.token_model import TokenModel, duration
from mcp_oauth_nb.jupyter.widgets.token_panel import TokenPanel
from mcp_oauth_nb.oauth.clock import ManualClock, SystemClock
from mcp_oauth_nb.oauth.errors import ConfigurationError, RefreshRejected, ServerUnavailable
from mcp_oauth_nb.oauth.masking import mask
from mcp_oauth_nb.oauth.settings import IsolatedSettings
from mcp_oauth_nb.oauth.token import Token
from mcp_oauth_nb.runtime import loops
from mcp_oauth_nb.store.records import TokenKey
from mcp_oauth_nb.store.tokens import FileTokenStore, MemoryTokenStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab.open() as lab:
        await lab.authorize()
        yield lab


@pytest.fixture
def model(lab: Lab) -> TokenModel:
    return TokenModel(lab.oauth, trace=lab.trace)


@pytest.fixture
def panel(lab: Lab) -> TokenPanel:
    return TokenPanel(lab.oauth, trace=lab.trace)


def a_handler(**changes: Any) -> OAuthHandler:
    settings = IsolatedSettings(oauth_client_id="x", oauth_client_secret="y")
    return OAuthHandler(**{"settings": settings, "clock": ManualClock(1000.0), **changes})


def shown(panel: TokenPanel) -> str:
    return str(panel._repr_mimebundle_()["text/html"])


def synced(panel: TokenPanel) -> str:
    """All that the panel's widgets tell a front end, which may save it."""

    def states(widget: Any) -> list[Any]:
        return [widget.get_state(), *(states(child) for child in getattr(widget, "children", ()))]

    return json.dumps(states(panel.widget), default=repr)


async def until_idle(model: TokenModel) -> None:
    """Wait for what a button has begun."""
    assert model._work is not None
    with anyio.fail_after(5):
        await asyncio.gather(asyncio.wrap_future(model._work), return_exceptions=True)


# -- the model -------------------------------------------------------------------------------------------------


async def test_the_lifetimes_are_those_of_the_answer(model: TokenModel) -> None:
    access, refresh = model.lifetimes
    assert (access.state, access.left, access.total, access.text) == ("valid", 28800.0, 28800.0, "8 h left of 8 h")
    assert (refresh.state, refresh.text) == ("valid", "184 d left of 184 d")
    assert access.fraction == 1.0


async def test_the_lifetimes_follow_the_lab_clock(lab: Lab, model: TokenModel) -> None:
    model.advance(hours=6)
    assert model.lifetimes[0].text == "2 h left of 8 h"
    assert model.lifetimes[0].fraction == 0.25
    lab.clock.advance(hours=1, minutes=59, seconds=30)
    assert (model.lifetimes[0].state, model.lifetimes[0].text) == ("expires soon", "30 s left of 8 h")
    lab.clock.advance(minutes=3)
    assert (model.lifetimes[0].state, model.lifetimes[0].text) == ("expired", "expired 2 min 30 s ago")
    assert model.lifetimes[0].fraction == 0.0


async def test_a_refresh_is_told_and_makes_a_generation(lab: Lab, model: TokenModel) -> None:
    token = await model.refresh()
    assert (model.outcome, model.busy) == ("done", "")
    assert model.message == f"Refreshed: {mask(token.access_token)} is the access token now."
    assert [generation.parent for generation in model.family.generations] == [None, 1]
    assert model.token == lab.oauth.token == token


async def test_a_revocation_is_told_and_ends_the_family(lab: Lab, model: TokenModel) -> None:
    assert await model.revoke()
    assert re.fullmatch(r"Revoked: gho_\*{4}\w{4} no longer works, says github\.com\.", model.message)
    assert model.family.generations[0].end == "revoked"
    assert model.token is None
    assert lab.oauth.token is None


async def test_a_failure_is_told_with_its_type_and_hint_and_raised(lab: Lab, model: TokenModel) -> None:
    lab.github.faults.next_token(status=503)
    with pytest.raises(ServerUnavailable):
        await model.refresh()
    assert (model.outcome, model.error, model.hint) == ("failed", "ServerUnavailable", ServerUnavailable.hint)
    assert model.token is not None


async def test_the_next_action_takes_the_old_failure_away(lab: Lab, model: TokenModel) -> None:
    lab.github.faults.next_token(status=503)
    with pytest.raises(ServerUnavailable):
        await model.refresh()
    await model.refresh()
    assert (model.outcome, model.error, model.hint) == ("done", "", "")


@pytest.mark.parametrize("traced", [True, False])
async def test_a_refused_refresh_token_is_dead(lab: Lab, traced: bool) -> None:
    model = TokenModel(lab.oauth, trace=lab.trace if traced else None)
    model.advance(days=200)
    with pytest.raises(RefreshRejected):
        await model.refresh()
    error = "bad_refresh_token" if traced else "RefreshRejected"
    assert model.family.generations[0].end == f"its refresh token was refused ({error})"
    assert model.token is None
    assert model.summary == "no token"


@pytest.mark.parametrize("traced", [True, False])
async def test_an_outage_says_nothing_about_the_refresh_token(lab: Lab, traced: bool) -> None:
    model = TokenModel(lab.oauth, trace=lab.trace if traced else None)
    lab.github.faults.next_token(status=503, body='{"error": "temporarily_unavailable"}')
    with pytest.raises(ServerUnavailable):
        await model.refresh()
    assert [generation.end for generation in model.family.generations] == [""]


async def test_a_revocation_that_failed_keeps_the_token(lab: Lab, model: TokenModel) -> None:
    lab.github.faults.next_api(status=503)
    with pytest.raises(ServerUnavailable):
        await model.revoke()
    assert [generation.end for generation in model.family.generations] == [""]
    assert (model.outcome, model.error) == ("failed", "ServerUnavailable")
    assert model.token is not None


class WatchedStore(MemoryTokenStore):
    """Somebody looks right after a token was saved, as the panel's timer may."""

    watcher: TokenModel | None = None

    def save(self, key: TokenKey, token: Token) -> None:
        super().save(key, token)
        if self.watcher is not None:
            self.watcher.look()


async def test_a_look_during_a_refresh_takes_nothing_for_a_replacement(lab: Lab) -> None:
    store = WatchedStore()
    oauth = OAuthHandler(settings=lab.settings, client=lab.http_client(), clock=lab.clock, store=store)
    oauth.token = lab.oauth.token
    model = store.watcher = TokenModel(oauth)
    await model.refresh()
    assert [generation.born for generation in model.family.generations] == ["found in the store", "refresh"]


async def test_an_interrupted_refresh_is_told(lab: Lab, model: TokenModel) -> None:
    lab.github.faults.next_token(delay=60)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await model.refresh()
    assert (model.outcome, model.message) == ("cancelled", "Nobody waits for the answer any more.")
    assert model.busy == ""


async def test_what_others_did_is_seen_at_the_next_look(lab: Lab) -> None:
    model = TokenModel(lab.oauth)
    await lab.oauth.refresh_access_token()
    model.look()
    assert model.access_token == mask(lab.oauth.access_token or "")
    assert [generation.end for generation in model.family.generations] == ["replaced by another token", ""]
    lab.oauth.token = None
    model.look()
    assert [bool(generation.end) for generation in model.family.generations] == [True, True]


async def test_without_a_trace_the_model_knows_what_it_did_itself(lab: Lab) -> None:
    model = TokenModel(lab.oauth)
    await model.refresh()
    await model.revoke()
    told = [(g.number, g.parent, g.born, g.end) for g in model.family.generations]
    assert told == [(1, None, "found in the store", "used up by a refresh"), (2, 1, "refresh", "revoked")]


async def test_scopes_that_differ_are_marked(lab: Lab) -> None:
    model = TokenModel(lab.oauth, asked=("read:user", "repo"))
    lab.oauth.token = Token("t" * 20, scopes=("read:user", "gist"))
    model.look()
    assert [(line.scope, line.difference) for line in model.scopes] == [
        ("read:user", ""),
        ("repo", "− asked, not granted"),
        ("gist", "+ granted, not asked"),
    ]


async def test_what_was_asked_for_is_read_from_the_trace_or_else_from_the_settings(lab: Lab, model: TokenModel) -> None:
    await lab.authorize(scopes=("repo", "gist"))
    assert model.asked == ("repo", "gist")
    assert TokenModel(lab.oauth).asked == ("read:user",)


async def test_a_token_without_a_lifetime_is_used_until_it_is_refused() -> None:
    oauth = a_handler()
    oauth.access_token = "pasted-by-somebody"
    access, refresh = TokenModel(oauth).lifetimes
    assert (access.state, access.text) == ("no lifetime", "no lifetime given: it is used until a server answers 401")
    assert (refresh.state, refresh.text) == ("none", "none")


async def test_a_lone_refresh_token_can_be_refreshed(lab: Lab) -> None:
    refresh_token = lab.oauth.refresh_token
    lab.oauth.token = None
    lab.oauth.refresh_token = refresh_token
    model = TokenModel(lab.oauth)
    assert (model.access_token, model.refresh_token) == ("", mask(refresh_token or ""))
    await model.refresh()
    assert model.token is not None


async def test_a_stored_token_counts_from_when_it_was_first_seen() -> None:
    oauth, token = a_handler(), Token("t" * 20, expires_at=1100.0)
    oauth.token = token
    model = TokenModel(oauth)
    model.advance(60)
    assert model.lifetimes[0].text == "40 s left of 1 min 40 s"


async def test_nothing_to_revoke_is_said_and_so_is_a_provider_that_cannot_be_told() -> None:
    settings = IsolatedSettings(
        oauth_client_id="x", oauth_client_secret="y", oauth_token_url="https://as.example/token"
    )
    model = TokenModel(a_handler(settings=settings))
    assert not await model.revoke()
    assert model.message == "There is no token to revoke."
    model._oauth.access_token = "pasted-by-somebody"
    model.look()
    assert not await model.revoke()
    assert model.message == ("Forgotten here. as.example did not confirm an end: a copy works until it expires.")


async def test_a_store_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text("{}")
    path.chmod(0o644)
    model = TokenModel(a_handler(store=FileTokenStore(path)))
    assert (model.outcome, model.error) == ("failed", "ConfigurationError")


async def test_a_clock_that_goes_by_itself_cannot_be_advanced() -> None:
    model = TokenModel(a_handler(), SystemClock())
    assert not model.can_advance
    with pytest.raises(ConfigurationError, match="goes by itself"):
        model.advance(1)


async def test_a_jwt_is_read(lab: Lab, model: TokenModel) -> None:
    assert model.jwt is None
    lab.oauth.access_token = a_jwt()
    model.look()
    assert model.jwt is not None
    assert model.jwt.claims["sub"] == "octocat"


def a_jwt() -> str:
    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'ES256'})}.{part({'sub': 'octocat', 'exp': 0})}.c2lnbmF0dXJlIG9mIGEgc2VydmVy"


def test_spans_are_written_in_two_units() -> None:
    spans = [0, 59.9, 60, 3_599, 3_600, 3_605, 90_000, 29 * 86_400, 40 * 86_400]
    told = ["0 s", "59 s", "1 min", "59 min 59 s", "1 h", "1 h", "1 d 1 h", "29 d", "40 d"]
    assert [duration(seconds) for seconds in spans] == told


# -- the panel -------------------------------------------------------------------------------------------------


async def test_the_panel_shows_bars_scopes_and_the_family(panel: TokenPanel) -> None:
    html = shown(panel)
    assert 'role="meter"' in html
    assert 'aria-valuetext="8 h left of 8 h"' in html
    assert "clock: 2026-01-01T00:00:00Z" in html
    assert "Rotation family" in html
    assert ">✔ in use</span>" in html
    assert repr(panel) == f"TokenPanel({panel.model.summary})"


async def test_the_buttons_refresh_and_revoke(lab: Lab, panel: TokenPanel) -> None:
    before = lab.oauth.access_token
    panel.refresh.click()
    await until_idle(panel.model)
    assert lab.oauth.access_token != before
    assert "Refreshed: " in panel._status.value
    panel.revoke.click()
    await until_idle(panel.model)
    assert lab.oauth.token is None
    assert panel.refresh.disabled
    assert panel.revoke.disabled


async def test_the_clock_buttons_move_the_bars(lab: Lab, panel: TokenPanel) -> None:
    panel.advance[60].click()
    assert "7 h left of 8 h" in panel._body.value
    panel.advance[480].click()
    assert "✘ expired" in panel._body.value
    assert "expired 1 h ago" in panel._body.value


async def test_there_are_no_clock_buttons_where_time_goes_by_itself() -> None:
    panel = TokenPanel(a_handler(), SystemClock())
    assert panel._clock_row.layout.display == "none"


async def test_under_way_only_cancel_can_be_pressed(lab: Lab, panel: TokenPanel) -> None:
    lab.github.faults.next_token(delay=60)
    began, ended = anyio.Event(), anyio.Event()
    here = asyncio.get_running_loop()
    # The panel's own state changes last.
    panel.cancel.observe(lambda change: here.call_soon_threadsafe((ended if change["new"] else began).set), "disabled")
    panel.refresh.click()
    with anyio.fail_after(5):
        await began.wait()
        assert panel.model.busy == "Refreshing: waiting for github.com"
        assert panel.model.start(panel.model.refresh()) is None
        assert (panel.refresh.disabled, panel.revoke.disabled, panel.cancel.disabled) == (True, True, False)
        assert "… Refreshing: waiting for github.com" in panel._status.value
        panel.cancel.click()
        await ended.wait()
    assert (panel.refresh.disabled, panel.cancel.disabled) == (False, True)
    assert panel.model.outcome == "cancelled"
    assert lab.oauth.token is not None


async def test_two_clicks_at_once_are_one_refresh(lab: Lab, model: TokenModel) -> None:
    mark = len(lab.trace)
    both_clicked = threading.Event()
    loops.loop().call_soon_threadsafe(both_clicked.wait)
    try:
        first, second = model.start(model.refresh()), model.start(model.refresh())
    finally:
        both_clicked.set()
    assert (first is not None, second) == (True, None)
    await until_idle(model)
    assert len([exchange for exchange in lab.trace.since(mark) if "/access_token" in exchange.request.url]) == 1


async def test_a_secret_that_an_error_quotes_is_masked_in_the_model_too(lab: Lab, model: TokenModel) -> None:
    token = lab.oauth.token
    assert token is not None
    body = json.dumps({"error": "unknown_thing", "error_description": f"Not {token.refresh_token}!"})
    lab.github.faults.next_token(status=400, body=body, content_type="application/json")
    model.start(model.refresh())
    await until_idle(model)
    assert "unknown_thing (Not ghr_****" in model.message
    assert str(token.refresh_token) not in model.message


async def test_cancel_without_anything_under_way_does_nothing(panel: TokenPanel) -> None:
    panel.cancel.click()
    assert panel.model.outcome == ""


async def test_a_failure_is_an_alert_with_its_type_and_hint(lab: Lab, panel: TokenPanel) -> None:
    lab.github.faults.next_token(status=503)
    panel.refresh.click()
    await until_idle(panel.model)
    assert 'role="alert"' in panel._status.value
    assert "<b>ServerUnavailable</b>" in panel._status.value
    assert "What to do: " in panel._status.value


class Broken(OAuthHandler):
    """A handler with a mistake in it."""

    async def refresh_access_token(self) -> Token:
        raise ValueError("the-text-may-hold-anything")


async def test_an_error_that_nobody_expected_is_told_by_its_name_only(caplog: pytest.LogCaptureFixture) -> None:
    oauth = Broken(settings=IsolatedSettings(oauth_client_id="x", oauth_client_secret="y"), clock=ManualClock())
    oauth.refresh_token = "something-to-refresh-with"
    panel = TokenPanel(oauth)
    with caplog.at_level(logging.ERROR):
        panel.refresh.click()
        await until_idle(panel.model)
        # The log follows the result in another thread.
        await loops.on(loops.loop(), anyio.lowlevel.checkpoint())
    assert (panel.model.outcome, panel.model.error) == ("failed", "ValueError")
    assert "the-text-may-hold-anything" not in caplog.text + shown(panel)


async def test_no_secret_is_in_what_may_be_saved(lab: Lab, panel: TokenPanel) -> None:
    secrets = [lab.oauth.access_token, lab.oauth.refresh_token]
    await panel.model.refresh()
    secrets += [lab.oauth.access_token, lab.oauth.refresh_token]
    everything = synced(panel) + shown(panel) + repr(panel) + repr(panel.model)
    assert not [secret for secret in secrets if secret is None or secret in everything]


async def test_a_jwt_is_shown_without_its_signature_and_as_not_verified(lab: Lab, panel: TokenPanel) -> None:
    lab.oauth.access_token = a_jwt()
    html = shown(panel)
    assert "read, not verified" in html
    assert "&quot;sub&quot;: &quot;octocat&quot;" in html
    assert "1970-01-01T00:00:00Z" in html
    assert a_jwt().rpartition(".")[2] not in html


async def test_what_a_server_wrote_is_shown_as_text(lab: Lab, panel: TokenPanel) -> None:
    lab.oauth.token = Token("t" * 20, scopes=("<img src=x>",))
    assert "<img" not in shown(panel)
    assert "&lt;img src=x&gt;" in shown(panel)


async def test_without_a_token_the_panel_says_what_would_be_asked_for() -> None:
    html = shown(TokenPanel(a_handler()))
    assert "There is no token yet." in html
    assert "read:user" in html
    assert "Rotation family" not in html


async def test_a_long_family_shows_its_newest_generations(lab: Lab, panel: TokenPanel) -> None:
    for _ in range(14):
        await panel.model.refresh()
    assert "3 older ones are not shown." in shown(panel)
    assert "generation 15" in shown(panel)


async def test_a_token_that_nothing_ended_is_left_over(lab: Lab, panel: TokenPanel) -> None:
    await lab.authorize(scopes=("repo",))
    assert ">! left over</span>" in shown(panel)


async def test_the_same_lab_gives_the_same_bytes(lab: Lab, panel: TokenPanel) -> None:
    async with Lab.open() as other:
        await other.authorize()
        assert shown(TokenPanel(other.oauth, trace=other.trace)) == shown(panel)


# -- the timer -------------------------------------------------------------------------------------------------


async def test_a_panel_that_is_shown_follows_the_clock(lab: Lab) -> None:
    panel, looked = TokenPanel(lab.oauth, period=0.001), anyio.Event()
    panel._repr_mimebundle_()
    lab.clock.advance(hours=2)
    panel._body.observe(lambda _: looked.set(), "value")
    with anyio.fail_after(5):
        await looked.wait()
    assert "6 h left of 8 h" in panel._body.value
    panel.close()
    assert panel._timer is None


async def test_following_leaves_no_thread_and_ends_with_the_panel(lab: Lab) -> None:
    threads = threading.active_count()
    panel = TokenPanel(lab.oauth, period=0.001)
    panel.follow()
    panel.follow()
    assert threading.active_count() == threads
    timer, reference = panel._timer, weakref.ref(panel)
    assert timer is not None
    callback, arguments = timer._callback, timer._args
    ipywidgets.Widget.close_all()
    del panel
    gc.collect()
    assert reference() is None
    # The timer goes off once more, finds nothing and sets no other.
    callback(*arguments)


async def test_a_widget_that_is_closed_is_not_followed(lab: Lab) -> None:
    panel = TokenPanel(lab.oauth, period=60)
    panel.follow()
    timer = panel._timer
    assert timer is not None
    panel.widget.close()
    timer._run()
    timer.cancel()
    assert panel._timer is None


async def test_a_look_that_finds_nothing_new_draws_nothing(lab: Lab, panel: TokenPanel) -> None:
    version = panel.model.version
    panel.model.look()
    assert panel.model.version == version


async def test_a_closed_panel_stops_even_if_the_timer_has_gone_off(lab: Lab) -> None:
    panel = TokenPanel(lab.oauth, period=60)
    panel.follow()
    timer = panel._timer
    assert timer is not None
    callback, arguments = timer._callback, timer._args
    panel.close()
    panel.close()
    callback(*arguments)
    assert panel._timer is None


def test_outside_an_event_loop_nothing_ticks() -> None:
    panel = TokenPanel(a_handler())
    panel.follow()
    assert panel._timer is None
