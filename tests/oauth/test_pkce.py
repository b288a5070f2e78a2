"""Proof Key for Code Exchange, against the RFC's own example and its alphabet."""

from __future__ import annotations

import dataclasses
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_oauth_nb.oauth.errors import InvalidCodeVerifier
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.oauth.pkce import PKCE, challenge_for, check_verifier, generate_pkce_pair, verify

# RFC 7636 appendix B
VERIFIER = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
CHALLENGE = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"

UNRESERVED = string.ascii_letters + string.digits + "-._~"
verifiers = st.text(UNRESERVED, min_size=43, max_size=128)


def test_the_example_of_the_rfc_is_reproduced() -> None:
    assert challenge_for(VERIFIER) == CHALLENGE
    assert verify(VERIFIER, CHALLENGE)


def test_the_rfcs_random_bytes_give_its_verifier() -> None:
    octets = bytes.fromhex("7418dfb49799e0254ffa607dd8adbbba16d4254d69d6bff05b58055853848d79")
    assert PKCE.generate(lambda count: octets[:count]) == PKCE(VERIFIER, CHALLENGE, "S256")


def test_a_fresh_pair_fits_together_and_is_never_the_same_again() -> None:
    pairs = [generate_pkce_pair() for _ in range(50)]
    assert all(verify(verifier, challenge) for verifier, challenge in pairs)
    assert len({verifier for verifier, _ in pairs}) == 50
    assert {(len(verifier), len(challenge)) for verifier, challenge in pairs} == {(43, 43)}


@given(verifiers)
def test_every_verifier_of_the_rfcs_grammar_is_accepted_and_fits_its_challenge(verifier: str) -> None:
    pkce = PKCE.from_verifier(verifier)
    assert (pkce.code_verifier, pkce.method) == (verifier, "S256")
    assert len(pkce.code_challenge) == 43
    assert "=" not in pkce.code_challenge
    assert verify(verifier, pkce.code_challenge)


@given(verifiers, verifiers)
def test_no_other_verifier_fits(verifier: str, other: str) -> None:
    assert verify(other, challenge_for(verifier)) is (other == verifier)


@pytest.mark.parametrize(
    "verifier",
    ["", "a" * 42, "a" * 129, "a" * 43 + "\n", "é" * 43, "a%20" * 15, *("a" * 42 + end for end in "+/= é\x00")],
)
def test_a_verifier_of_the_wrong_length_or_alphabet_is_refused(verifier: str) -> None:
    for refuse in (check_verifier, PKCE.from_verifier):
        with pytest.raises(InvalidCodeVerifier) as caught:
            refuse(verifier)
        assert caught.value.reference == "RFC 7636 section 4.1"
        assert len(verifier) < 10 or verifier not in str(caught.value)
    assert not verify(verifier, CHALLENGE)


@pytest.mark.parametrize("method", ["plain", "s256", "", "S512"])
def test_any_method_but_s256_is_refused_even_if_the_values_would_fit(method: str) -> None:
    assert not verify(VERIFIER, VERIFIER, method)
    assert not verify(VERIFIER, CHALLENGE, method)


@given(st.text())
def test_no_text_in_place_of_a_challenge_breaks_the_check(challenge: str) -> None:
    assert verify(VERIFIER, challenge) is (challenge == CHALLENGE)


def test_the_repr_shows_the_challenge_and_masks_the_verifier() -> None:
    shown = repr(PKCE.from_verifier(VERIFIER))
    assert CHALLENGE in shown
    assert VERIFIER not in shown
    assert shown == str(PKCE(VERIFIER, CHALLENGE))


def test_the_verifier_of_a_pair_is_masked_where_others_show_it_too() -> None:
    pair = PKCE.from_verifier(VERIFIER)
    assert pair.code_verifier == VERIFIER
    assert VERIFIER not in repr({"data": [pair.code_verifier]})


def test_a_verifier_is_a_secret_from_the_moment_it_is_checked() -> None:
    check_verifier(VERIFIER)
    assert VERIFIER not in scrub(f"sent: {VERIFIER}")
    with pytest.raises(InvalidCodeVerifier):
        check_verifier(VERIFIER + "!")
    assert VERIFIER not in scrub(f"sent: {VERIFIER}!")


def test_a_pair_stays_as_it_was_made() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PKCE(VERIFIER, CHALLENGE).code_challenge = "of somebody else"  # type: ignore[misc]
