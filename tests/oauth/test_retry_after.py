"""Leaving an endpoint alone as long as it asked for."""

from __future__ import annotations

import httpx
import pytest

from mcp_oauth_nb.oauth.errors import RateLimited, ServerUnavailable, TransientError
from mcp_oauth_nb.oauth.http import Answer
from mcp_oauth_nb.oauth.patience import Patience

pytestmark = pytest.mark.anyio

URL = "https://auth.example/token"
NOW = 1_700_000_000.0


def answer(status: int, **headers: str) -> Answer:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(URL, status, httpx.Headers(given), b"")


def asked_for(seconds: int, status: int = 429) -> Patience:
    patience = Patience()
    patience.heard(answer(status, retry_after=str(seconds)), NOW)
    return patience


@pytest.mark.parametrize(("status", "kind"), [(429, RateLimited), (503, ServerUnavailable), (500, ServerUnavailable)])
def test_until_the_time_that_it_named_an_endpoint_answers_the_same_again(
    status: int, kind: type[TransientError]
) -> None:
    patience = asked_for(60, status)
    for now in (NOW, NOW + 59.9):
        with pytest.raises(kind, match=f"{URL} answered {status}") as caught:
            patience.check(URL, now)
        assert type(caught.value) is kind
        assert caught.value.retry_at == NOW + 60
    patience.check(URL, NOW + 60)


def test_it_is_the_endpoint_that_asked_whatever_the_query() -> None:
    patience = asked_for(60)
    with pytest.raises(RateLimited):
        patience.check(f"{URL}?tenant=1", NOW)
    patience.check("https://auth.example/other", NOW)


@pytest.mark.parametrize("status", [200, 400, 302])
def test_an_answer_as_usual_ends_it(status: int) -> None:
    patience = asked_for(60)
    patience.heard(answer(status), NOW)
    patience.check(URL, NOW)


@pytest.mark.parametrize("headers", [{}, {"retry_after": "soon"}, {"retry_after": "0"}, {"retry_after": "-5"}])
@pytest.mark.parametrize("status", [429, 503])
def test_who_names_no_time_to_come_is_asked_again(status: int, headers: dict[str, str]) -> None:
    patience = Patience()
    patience.heard(answer(status, **headers), NOW)
    patience.check(URL, NOW)


def test_a_day_is_the_longest() -> None:
    patience = asked_for(999_999_999)
    with pytest.raises(RateLimited):
        patience.check(URL, NOW + 24 * 3600 - 1)
    patience.check(URL, NOW + 24 * 3600)


def test_a_clock_that_was_set_back_ends_it() -> None:
    asked_for(60).check(URL, NOW - 3600)


# -- waiting -------------------------------------------------------------------------------------------------------


class Waits(list[float]):
    """A way to wait that takes no time."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)


def patient_for(seconds: int, waits: Waits) -> Patience:
    patience = Patience(waits)
    patience.heard(answer(429, retry_after=str(seconds)), NOW)
    return patience


async def test_a_wait_that_fits_is_waited_with_jitter_and_then_it_may_be_asked() -> None:
    waits = Waits()
    for _ in range(20):
        patience = patient_for(10, waits)
        assert await patience.outlast(URL, NOW + 5, deadline=30)
        patience.check(URL, NOW + 5)
    assert all(5 <= wait <= 6 for wait in waits)
    assert len(set(waits)) > 1


async def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    waits = Waits()
    patience = patient_for(31, waits)
    assert not await patience.outlast(URL, NOW, deadline=30)
    assert waits == []
    with pytest.raises(RateLimited):
        patience.check(URL, NOW)


async def test_there_is_nothing_to_wait_for_where_nobody_asked_or_nobody_waits() -> None:
    assert not await Patience(Waits()).outlast(URL, NOW, deadline=30)
    assert not await asked_for(10).outlast(URL, NOW, deadline=30)


async def test_what_an_endpoint_asks_for_meanwhile_holds() -> None:
    async def meanwhile(seconds: float) -> None:
        patience.heard(answer(429, retry_after="60"), NOW + 10)

    patience = Patience(meanwhile)
    patience.heard(answer(429, retry_after="10"), NOW)
    assert await patience.outlast(URL, NOW, deadline=30)
    with pytest.raises(RateLimited):
        patience.check(URL, NOW + 10)


def test_its_repr_names_the_endpoints() -> None:
    assert repr(asked_for(60)) == f"Patience(['{URL}'])"
