"""The search for secrets: it finds what a plain search finds, and no peer chooses how long it takes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from searching import index_of, piece_before, plainly
from working import calls_of

from mcp_oauth_nb.oauth.masking import mask_fields, remember, remember_heard, scrub
from mcp_oauth_nb.oauth.secret_index import LONGEST_PIECE, Index

# Few letters, so that much begins alike; with `x` as a unit of any length, so that lengths beyond a few hundred occur.
units = st.lists(st.sampled_from(["a", "b", "a" * 12, "ab" * 6, "a" * 150, "é" * 12, "\ud800" * 12]), max_size=6)
words = units.map("".join)
forms_ = st.lists(words.map(lambda word: "a" * 12 + word) | words.filter(lambda word: len(word) >= 12), max_size=12)


@given(forms_, forms_, st.lists(words, max_size=4))
@example(["a" * 13], ["a" * n for n in range(12, 24)], ["a" * 40])
@example(["a" * 12 + "b" * n for n in range(9)], [], ["a" * 12 + "b" * 5 + "a" * 30])
@example(["a" * 300, "a" * 299 + "b"], ["a" * 400], ["a" * 399])
@example(["a" * n for n in range(12, 400, 9)], ["a" * 500 + "b"], ["a" * 1100 + "b"])
def test_of_the_secrets_at_one_place_the_longest_is_found(forms: list[str], later: list[str], text: list[str]) -> None:
    index = index_of(forms, *later)
    # The forms themselves are in the text, too: by chance they would seldom be.
    whole = "".join([*text, *forms[:2], *text[:1], *later[:2], *text[1:]])
    assert list(index.found(whole)) == plainly(whole, [*forms, *later])


@given(st.integers(0, 30), st.integers(12, 40), st.integers(0, 30))
def test_a_secret_is_found_wherever_it_stands(before: int, length: int, after: int) -> None:
    secret = "".join(chr(ord("A") + number) for number in range(length))
    assert list(index_of([secret]).found("." * before + secret + "." * after)) == [(before, secret)]


def test_a_form_of_one_secret_that_is_another_secret_stands_for_itself() -> None:
    index = Index()
    index.add({"one with a space": ["one with a space", "one%20with%20a%20space"]})
    index.add({"one%20with%20a%20space": ["one%20with%20a%20space"]})
    index.add({"another with a space": ["another with a space", "one with a space"]})
    assert index.secrets["one%20with%20a%20space"] == "one%20with%20a%20space"
    assert index.secrets["one with a space"] == "one with a space"


# -- pieces --------------------------------------------------------------------------------------------------------


@given(forms_, words, words, st.integers(0, 60))
def test_the_longest_piece_beside_a_cut_is_found(forms: list[str], before: str, after: str, length: int) -> None:
    index = index_of(forms)
    for form in ["", *forms]:
        text = before + form[:length]
        found = index.beginning_at_the_end_of(text)
        assert (text[found[0] :] if found is not None else "") == piece_before(text, forms)
        text = form[len(form) - min(length, len(form)) :] + after
        end = index.end_at_the_beginning_of(text)
        mirrored = piece_before(text[::-1], [form[::-1] for form in forms])[::-1]
        assert (text[: end[0]] if end is not None else "") == mirrored
        assert found is None or found[1] in forms
        assert end is None or end[1].endswith(text[: end[0]])


def test_a_piece_of_more_than_a_thousand_characters_is_not_looked_for() -> None:
    secret = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
    index = index_of([secret])
    assert index.beginning_at_the_end_of(f"x{secret[:LONGEST_PIECE]}") == (1, secret)
    assert index.beginning_at_the_end_of(secret[: LONGEST_PIECE + 1]) is None
    assert index.end_at_the_beginning_of(f"{secret[-LONGEST_PIECE:]}x") == (LONGEST_PIECE, secret)
    assert index.end_at_the_beginning_of(secret[-LONGEST_PIECE - 1 :]) is None


# -- work ----------------------------------------------------------------------------------------------------------

# What a peer may make us remember, and what it may then send, at any length. Each was, or could be, a way to make a
# search take as long as the text is long, times what is remembered.
HOSTILE: dict[str, tuple[Callable[[], list[str]], str]] = {
    "forms of many lengths": (lambda: ["a" * 12 + "b" * n for n in range(600)], "a"),
    "forms that match for long": (lambda: ["a" * n + "b" for n in range(12, 1200, 2)], "a"),
    "very long forms": (lambda: ["a" * 60_000 + "b", "a" * 100_000 + "c"], "a"),
    "many forms": (lambda: [f"aaaaaaaaaaaa{n:06d}" for n in range(9_000)], "aaaaaaaaaaaa00"),
    "many pieces": (lambda: [f"aaaaaaaaaaaa{n:06d}" for n in range(9_000)], "aaaaaaaaaaaa00..."),
    "long pieces": (lambda: ["a" * n + "b" for n in range(12, 1200, 2)], "a" * 1500 + "..."),
    "pieces with ends": (lambda: ["b" + "a" * n for n in range(12, 1200, 2)], "..." + "a" * 1500),
    "nothing but cuts": (lambda: ["a" * n + "b" for n in range(12, 1200, 2)], "aaaaaaaa…"),
}


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_text_of_twice_the_length_is_at_most_twice_the_work_whatever_was_heard(hostile: str) -> None:
    said, unit = HOSTILE[hostile]
    mask_fields({"token": said()})
    scrub(unit * 2)
    short, long = (unit * (size // len(unit)) for size in (20_000, 40_000))
    assert calls_of(lambda: scrub(long)) < 2.2 * calls_of(lambda: scrub(short)) + 500


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_hostile_text_is_a_bounded_number_of_steps_for_each_character(hostile: str) -> None:
    said, unit = HOSTILE[hostile]
    mask_fields({"token": said()})
    text = unit * (20_000 // len(unit))
    assert calls_of(lambda: scrub(text)) < 40 * len(text)


def test_one_message_after_the_other_is_no_more_work_than_all_at_once() -> None:
    # 20 characters each: what was heard before must not be arranged anew for each of them.
    def said(numbers: range) -> None:
        for number in numbers:
            remember_heard("a" * 12 + "b" * (number % 50) + f"{number:08d}")
            scrub("a" * 20)

    said(range(500))
    few = calls_of(lambda: said(range(500, 1_000)))
    said(range(1_000, 4_000))
    assert calls_of(lambda: said(range(4_000, 4_500))) < 2 * few


def test_a_message_full_of_odd_secrets_is_bounded_work() -> None:
    # Each has dozens of forms. Of so many, only those are worked on that would be remembered.
    few, many = ({"token": [f"o\"d'd&<é{number:08d}" for number in range(count)]} for count in (3_000, 30_000))
    assert calls_of(lambda: mask_fields(many)) < 4 * calls_of(lambda: mask_fields(few))


def test_ordinary_text_costs_few_steps_whatever_is_remembered() -> None:
    text = "lorem ipsum dolor sit amet, consectetur adipisici elit. " * 500
    mask_fields({"token": [f"a-heard-secret-{number:06d}" for number in range(9_000)]})
    remember("the-only-one-of-ours")
    assert calls_of(lambda: scrub(text)) < 60
