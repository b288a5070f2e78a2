"""The search for secrets by examples: `test_secret_index.py` in small, without the sizes at which it matters."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from searching import index_of, piece_before, plainly
from working import calls_of

from mcp_oauth_nb.oauth.secret_index import LONGEST_PIECE, Index, _is_prime

LONG = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))

# What is remembered at first, what is later, and the text that is searched beside all of them.
EXAMPLES: dict[str, tuple[list[str], list[str], str]] = {
    "nothing": ([], [], "a text without any"),
    "one": (["a-secret-of-ours"], [], "it is a-secret-of-ours, a-secret-of-our, and a-secret-of-oursa-secret-of-ours"),
    "twelve characters": (["abcdefghijkl"], [], "abcdefghijkl"),
    "four that begin alike": (["a" * n for n in (12, 14, 13, 16)], [], "a" * 61),
    "five that begin alike": (["a" * n for n in (12, 14, 13, 16, 20)], [], "a" * 61),
    "a crowd that grows": (["a" * 13], ["a" * n for n in range(14, 40)], "a" * 100),
    "a crowd of lengths in disorder": ([], ["a" * (12 + 7 * n % 31) for n in range(31)], "a" * 100),
    "a crowd of branches": (["a" * 12 + "b" * n + "c" * n for n in range(9)], [], "a" * 12 + "b" * 5 + "c" * 9),
    "branches of one length": ([f"aaaaaaaaaaaa{n:03d}" for n in range(30)], [], "aaaaaaaaaaaa017aaaaaaaaaaaa03"),
    "beyond what is kept as it is": (["a" * n for n in range(12, 600, 49)], ["a" * 900], "a" * 1700 + "b" + "a" * 300),
    "one that is long": ([f"{LONG[:300]}x"], [f"{LONG[:300]}y", LONG[:301]], f"{LONG[:300]}z{LONG}"),
    "long ones that differ at the end": (["a" * 300 + "b", "a" * 299 + "bb"], ["a" * 400 + "c"], "a" * 399 + "b"),
    "a text that ends early": (["a" * 299 + "b", *["a" * n for n in range(12, 20)]], ["a" * 500], "a" * 299),
    "long texts and long forms by turns": (["ab" * 150, "ab" * 160], ["ab" * n for n in range(6, 170, 11)], "ab" * 400),
    "half a pair": (["\ud800" * 12, *["\ud800" * n for n in range(260, 275, 3)]], [], "\ud800" * 300),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_of_the_secrets_at_one_place_the_longest_is_found(name: str) -> None:
    forms, later, text = EXAMPLES[name]
    index = index_of(forms, *later)
    for whole in (text, "".join([text, *forms[:2], text, *later[:2]]), f".{text}.", text[1:], "", "short"):
        assert list(index.found(whole)) == plainly(whole, [*forms, *later])


@pytest.mark.parametrize("seed", range(30))
def test_of_many_that_begin_alike_the_longest_is_found(seed: int) -> None:
    chance = random.Random(seed)

    def some(units: list[str], most: int) -> str:
        return "".join(chance.choice(units) for _ in range(chance.randint(0, most)))

    units = ["a", "b", "ab", "a" * 12, "b" * 12] + ["a" * 150] * (seed % 3 == 0)
    forms = list({"a" * 12 + some(units, 8) for _ in range(chance.randint(1, 25))})
    index = index_of(forms[: seed % 9], *forms[seed % 9 :])
    for _ in range(4):
        text = some([*units, *forms], 12)
        assert list(index.found(text)) == plainly(text, forms)


@pytest.mark.parametrize("length", [12, 13, 16, 17, 40])
def test_a_secret_is_found_wherever_it_stands(length: int) -> None:
    secret = LONG[:length]
    index = index_of([secret])
    for before in range(7):
        for after in range(7):
            assert list(index.found("." * before + secret + "." * after)) == [(before, secret)]


def test_a_form_is_found_and_has_its_secret_and_one_that_is_a_secret_itself_stands_for_itself() -> None:
    index = Index()
    index.add({"one with a space": ["one with a space", "one%20with%20a%20space"]})
    assert list(index.found("one%20with%20a%20space")) == [(0, "one%20with%20a%20space")]
    assert index.secrets["one%20with%20a%20space"] == "one with a space"
    index.add({"one%20with%20a%20space": ["one%20with%20a%20space"]})
    assert index.secrets["one%20with%20a%20space"] == "one%20with%20a%20space"
    index.add({"another with a space": ["another with a space", "one with a space"]})
    assert index.secrets["one with a space"] == "one with a space"


# -- pieces ----------------------------------------------------------------------------------------------------------


PIECES = [
    "a-secret-of-ours",
    "a-secret-of-others",
    "a-secret",
    "abcdefghabcdefghabcdefgh",
    "b" * 40,
    "ab" * 20,
    "éa" * 9,
]


@pytest.mark.parametrize("form", PIECES)
def test_the_longest_piece_beside_a_cut_is_found(form: str) -> None:
    index = index_of([one for one in PIECES if len(one) >= 12])
    forms = [one for one in PIECES if len(one) >= 12]
    for length in range(len(form) + 1):
        for beside in ("", "x", "abcdefgh", "a-secret"):
            text = beside + form[:length]
            found = index.beginning_at_the_end_of(text)
            assert (text[found[0] :] if found is not None else "") == piece_before(text, forms)
            assert found is None or (found[1] in forms and found[1].startswith(text[found[0] :]))
            text = form[length:] + beside
            end = index.end_at_the_beginning_of(text)
            mirrored = piece_before(text[::-1], [one[::-1] for one in forms])[::-1]
            assert (text[: end[0]] if end is not None else "") == mirrored
            assert end is None or (end[1] in forms and end[1].endswith(text[: end[0]]))


def test_a_piece_of_more_than_a_thousand_characters_is_not_looked_for() -> None:
    index = index_of([LONG])
    assert index.beginning_at_the_end_of(f"x{LONG[:LONGEST_PIECE]}") == (1, LONG)
    assert index.beginning_at_the_end_of(LONG[: LONGEST_PIECE + 1]) is None
    assert index.end_at_the_beginning_of(f"{LONG[-LONGEST_PIECE:]}x") == (LONGEST_PIECE, LONG)
    assert index.end_at_the_beginning_of(LONG[-LONGEST_PIECE - 1 :]) is None


def test_pieces_of_what_was_added_later_are_found_too() -> None:
    index = index_of(["a-secret-of-ours"])
    assert index.beginning_at_the_end_of("b-secret-") is None
    index.add({"b-secret-of-ours": ["b-secret-of-ours"]})
    assert index.beginning_at_the_end_of("b-secret-") == (0, "b-secret-of-ours")
    assert index.beginning_at_the_end_of("a-secret-") == (0, "a-secret-of-ours")


# -- work ------------------------------------------------------------------------------------------------------------


CROWDS: dict[str, tuple[Callable[[int], str], str]] = {
    "many lengths": (lambda n: "a" * 12 + "b" * n, "a"),
    "for long": (lambda n: "a" * (n + 12) + "b", "a"),
    "one length": (lambda n: f"aaaaaaaaaaaa{n:06d}", "aaaaaaaaaaaa00"),
    "very long": (lambda n: "a" * (300 + 3 * n) + "b", "a"),
}


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_place_of_a_text_costs_hardly_more_if_eight_times_as_many_secrets_could_begin_there(crowd: str) -> None:
    form, unit = CROWDS[crowd]
    text = unit * (1_000 // len(unit))
    few, many = (index_of([form(n) for n in range(count)]) for count in (30, 240))
    assert calls_of(lambda: list(many.found(text))) < 2.5 * calls_of(lambda: list(few.found(text))) + 100


@pytest.mark.parametrize("crowd", CROWDS)
def test_one_secret_more_costs_hardly_more_if_eight_times_as_many_are_there(crowd: str) -> None:
    form, _ = CROWDS[crowd]

    def work(before: int) -> int:
        index = index_of([form(n) for n in range(before)])
        more = [form(n) for n in range(before, before + 30)]
        return calls_of(lambda: [index.add({one: [one]}) for one in more])

    assert work(240) < 5 * work(30)


def test_a_text_without_a_secret_is_looked_through_at_every_fifth_place_only() -> None:
    index = index_of(["a-secret-of-ours"])
    assert not index.may_be_in("lorem ipsum dolor sit amet " * 100)
    assert calls_of(lambda: list(index.found("lorem ipsum dolor sit amet " * 100))) < 20


# -- the hashes' modulus -----------------------------------------------------------------------------------------------


def test_primes_are_told_from_other_odd_numbers() -> None:
    small = {n for n in range(41, 2_000, 2) if all(n % one for one in range(3, n, 2))}
    assert {n for n in range(41, 2_000, 2) if _is_prime(n)} == small
    # Each passes the test with the first bases (OEIS A014233), or with many (Carmichael's numbers).
    for composite in (2047, 1373653, 25326001, 3215031751, 2152302898747, 3474749660383, 341550071728321, 561, 41041,
                      825265, 321197185, 3825123056546413051):  # fmt: skip
        assert not _is_prime(composite)
    assert _is_prime(2**61 - 1)
    assert _is_prime(2**64 - 59)
