"""Which secrets are remembered, and for how long: `test_secret_memory.py` in small, where three of a kind are many."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from working import calls_of

from mcp_oauth_nb.oauth.secret_memory import Memory

MOST = 3
ODD = 'an odd secret: "it\'s" in many forms'
IN_A_URL = "an%20odd%20secret%3A%20%22it%27s%22%20in%20many%20forms"


def secret(letter: str) -> str:
    return letter * 50


class Small:
    """A memory for three secrets of each kind that forgets, each named by a letter."""

    def __init__(self, most: int = MOST, most_characters: int = 10_000):
        self.memory = Memory(most, most_characters)

    def __call__(self, how: str, letters: str) -> Small:
        """Remember some secrets, one after the other."""
        do: Callable[[str], None] = getattr(self.memory, how)
        for letter in letters:
            do(secret(letter) if how != "hear" else [secret(letter)])  # type: ignore[arg-type]
        return self

    def hear(self, letters: str) -> Small:
        """Remember what is said in one message."""
        self.memory.hear(map(secret, letters))
        return self

    def known(self, among: str = "abcdefghijklmnopqrstuvwxyz") -> str:
        """The letters of those that are known: all that is asked says the same."""
        found = {letter for letter in among if list(self.memory.index.found(secret(letter))) == [(0, secret(letter))]}
        assert {letter for letter in among if secret(letter) in self.memory} == found
        assert {written[0] for written in self.memory.all()} & {*among} == found
        return "".join(sorted(found))


FORGETTING = pytest.mark.parametrize("how", ["make", "hear"])


@FORGETTING
def test_of_each_kind_the_newest_are_known_and_the_oldest_forgotten_together(how: str) -> None:
    small = Small()
    assert [small(how, letter).known() for letter in "abcdefgh"] == [
        "a", "ab", "abc", "abcd", "abcde", "def", "defg", "defgh",
    ]  # fmt: skip


@FORGETTING
@pytest.mark.parametrize(
    ("most", "known"),
    # Of 50 characters each.
    [(100, ["a", "ab", "abc", "abcd", "abcde", "def"]), (99, ["a", "ab", "abc", "cd", "cde", "ef"])],
)
def test_of_long_ones_the_newest_of_so_many_characters_are_known(how: str, most: int, known: list[str]) -> None:
    small = Small(100, most)
    assert [small(how, letter).known() for letter in "abcdef"] == known


def test_the_forms_of_a_secret_count_with_it() -> None:
    memory = Memory(100, 2_000)
    for number in range(9):
        memory.make(f"{ODD} {number}")
    assert len(memory.all()) < 9
    assert f"{ODD} 8" in memory


@FORGETTING
def test_what_comes_again_counts_once_and_is_new_again(how: str) -> None:
    assert Small()(how, "abaababbab").known() == "ab"
    assert Small(100, 100)(how, "x")(how, "abababababab").known() == "abx"
    # Said again it is the newest, also when it was among the older ones.
    assert Small()(how, "abc")(how, "a")(how, "de").known() == "ade"


def test_of_one_message_the_last_is_the_newest() -> None:
    assert Small().hear("abcdefgh").known() == "fgh"
    assert Small()("hear", "xy").hear("ab").hear("pq").known() == "bpq"
    assert Small().hear("ababababa").known() == "ab"
    assert Small(100, 100).hear("abcdefgh").known() == "fgh"
    assert Small(100, 99).hear("abcdefgh").known() == "gh"


def test_no_more_is_worked_on_than_would_be_remembered() -> None:
    worked: list[int] = []

    class Counted(str):
        def __hash__(self) -> int:
            worked.append(1)
            return super().__hash__()

    def work(count: int) -> int:
        worked.clear()
        Memory(MOST).hear([Counted(f"{number:040d}") for number in range(count)])
        return len(worked)

    assert work(1_000) == work(100)


@pytest.mark.parametrize(("mine", "others"), [("make", "hear"), ("hear", "make"), ("keep", "make"), ("keep", "hear"),
                                              ("hold", "make"), ("hold", "hear")])  # fmt: skip
def test_no_kind_displaces_another(mine: str, others: str) -> None:
    small = Small()(mine, "ab")(others, "cdefghijk")
    assert small.known() == "abijk"


@pytest.mark.parametrize("mine", ["make", "keep", "hold"])
def test_a_peer_that_repeats_what_is_ours_does_not_make_it_its_own(mine: str) -> None:
    assert Small()(mine, "ab")("hear", "abcdefghi").known() == "abfghi"


@pytest.mark.parametrize("stronger", ["make", "keep", "hold"])
def test_what_a_peer_said_first_is_ours_once_we_have_it(stronger: str) -> None:
    assert Small()("hear", "a")(stronger, "a")("hear", "bcdefg").known() == "aefg"
    assert Small()("hear", "abc")(stronger, "a")("hear", "defghi").known() == "aghi"


def test_what_was_made_first_stays_once_it_is_configured_or_held() -> None:
    for stronger in ("keep", "hold"):
        small = Small()("make", "a")(stronger, "a")("make", "a")("make", "bcdefg")
        assert small.known() == "aefg"


def test_what_is_configured_stays_however_often_it_comes() -> None:
    small = Small()("keep", "aa")("hold", "a")("release", "a")("make", "a")("hear", "a")
    assert small("make", "bcdefg").known() == "aefg"


def test_what_is_held_and_then_configured_stays_when_it_is_released() -> None:
    assert Small()("hold", "a")("keep", "a")("release", "a")("make", "bcdefg").known() == "aefg"


def test_what_is_held_is_let_go_by_the_last_holder_and_is_then_one_that_was_made() -> None:
    small = Small()("hold", "aa")("release", "a")("make", "bcdefg")
    assert small.known() == "aefg"
    assert small("release", "a").known() == "aefg"
    assert small("make", "hijkl").known() == "jkl"
    assert small("hold", "a")("make", "mnopqr").known() == "apqr"


def test_who_lets_go_more_often_than_was_held_takes_no_later_hold_away() -> None:
    assert Small()("hold", "a")("release", "aaa")("hold", "a")("make", "bcdefg").known() == "aefg"


def forms_found(memory: Memory) -> Iterable[str]:
    return [form for form in (ODD, IN_A_URL) if list(memory.index.found(form)) == [(0, form)]]


@pytest.mark.parametrize("how", [["keep"], ["make"], ["hear"], ["hold"], ["hold", "keep"], ["hear", "keep"],
                                 ["make", "hold"], ["hold", "release"]])  # fmt: skip
def test_a_secret_is_found_in_every_form_before_and_after_others_were_forgotten(how: list[str]) -> None:
    small = Small()
    for one in how:
        getattr(small.memory, one)([ODD] if one == "hear" else ODD)
    assert forms_found(small.memory) == [ODD, IN_A_URL]
    # Nine of the other kind, so that what is forgotten is theirs.
    small("make" if how == ["hear"] else "hear", "abcdefghi")
    assert forms_found(small.memory) == [ODD, IN_A_URL]
    assert small.memory.index.secrets[IN_A_URL] == ODD


@FORGETTING
def test_one_more_is_no_more_work_however_many_are_remembered(how: str) -> None:
    small = Small(1_000, 1_000_000)
    small(how, "ab")
    few = calls_of(lambda: small(how, "cdef"))
    small(how, "klmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
    assert calls_of(lambda: small(how, "ghij")) < 2 * few
