"""The PKCE playground: the model by itself, and the panel by the state of its widgets."""

from __future__ import annotations

import json

import pytest

from mcp_oauth_nb.jupyter.widgets.pkce_panel import APPENDIX_B, UNRESERVED, PkceModel, PkcePlayground
from mcp_oauth_nb.oauth.errors import InvalidCodeVerifier
from mcp_oauth_nb.oauth.masking import scrub
from mcp_oauth_nb.oauth.pkce import PKCE, challenge_for, check_verifier, generate_pkce_pair, verify


@pytest.fixture
def model() -> PkceModel:
    return PkceModel()


@pytest.fixture
def panel() -> PkcePlayground:
    return PkcePlayground()


def shown(panel: PkcePlayground) -> str:
    """What a person reads below the controls."""
    return str(panel._steps.value + panel._verdict.value)


def outcomes(model: PkceModel) -> dict[str, str]:
    """What each rule came to."""
    return {check.name: check.outcome for check in model.checks}


# -- the model -------------------------------------------------------------------------------------------------


def test_a_new_model_has_a_verifier_that_fits(model: PkceModel) -> None:
    assert len(model.verifier) == 43
    assert model.accepted
    assert set(outcomes(model).values()) == {"passed"}
    assert model.error is None
    assert repr(model) == "PkceModel(43 characters, S256, accepted)"


def test_the_seed_decides_the_toys() -> None:
    assert PkceModel(7).verifier == PkceModel(7).verifier != PkceModel(8).verifier
    assert PkceModel(7).generate() == PkceModel(7).generate() != PkceModel(7).verifier


def test_the_octets_of_the_rfc_give_its_verifier() -> None:
    octets = bytes.fromhex("7418dfb49799e0254ffa607dd8adbbba16d4254d69d6bff05b58055853848d79")
    assert PkceModel(octets=octets).verifier == APPENDIX_B


def test_the_example_of_the_rfc_has_its_challenge(model: PkceModel) -> None:
    model.load_appendix_b()
    assert model.challenge == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


def test_the_steps_lead_to_the_challenge(model: PkceModel) -> None:
    assert model.base64.translate(str.maketrans("+/", "-_", "=")) == model.challenge == challenge_for(model.verifier)
    assert len(model.digest) == 64


def test_one_flipped_character_changes_nearly_all_of_the_challenge(model: PkceModel) -> None:
    model.flip()
    assert sum(a != b for a, b in zip(model.verifier, model.sent, strict=True)) == 1
    assert len(model.changed) > 30
    assert not model.accepted
    assert outcomes(model)["fits the challenge"] == "failed"


def test_a_flip_keeps_to_the_alphabet_wherever_it_is(model: PkceModel) -> None:
    for position in (*range(43), -1):
        before = model.verifier
        assert model.flip(position)[position] != before[position]
        assert set(model.verifier) <= set(UNRESERVED)
    model.verifier = "~" * 43
    assert model.flip(42) == "~" * 42 + "A"


def test_a_flip_beyond_the_end_is_an_error(model: PkceModel) -> None:
    with pytest.raises(IndexError):
        model.flip(43)


def test_edits_can_be_taken_back_or_started_with(model: PkceModel) -> None:
    first = model.verifier
    model.flip()
    model.restore()
    assert (model.verifier, model.accepted) == (first, True)
    model.flip()
    model.start()
    assert model.accepted


def test_plain_is_refused_though_it_would_fit(model: PkceModel) -> None:
    model.method = "plain"
    assert model.challenge == model.sent_challenge == model.verifier
    assert not model.accepted
    assert model.accepted == verify(model.verifier, model.challenge, "plain")
    assert outcomes(model)["method"] == outcomes(model)["fits the challenge"] == "failed"


def test_a_new_toy_starts_with_s256(model: PkceModel) -> None:
    model.method = "plain"
    model.generate()
    assert (model.method, model.accepted) == ("S256", True)


@pytest.mark.parametrize(
    ("verifier", "failed"),
    [
        ("a" * 42, "length"),
        ("a" * 129, "length"),
        ("a" * 43 + "+", "characters"),
        ("a" * 43 + " ", "characters"),
        ("é" * 43, "characters"),
        ("", "length"),
    ],
)
def test_what_the_rfc_does_not_allow_has_the_error_of_the_real_check(verifier: str, failed: str) -> None:
    model = PkceModel()
    model.verifier = verifier
    assert outcomes(model)[failed] == "failed"
    assert not model.accepted
    with pytest.raises(InvalidCodeVerifier) as raised:
        check_verifier(verifier)
    assert model.error is not None
    assert str(model.error) == str(raised.value)


def test_a_verifier_beyond_ascii_has_no_challenge() -> None:
    model = PkceModel()
    model.verifier = "é" * 43
    assert (model.challenge, model.digest, model.base64) == ("", "", "")


def test_a_longer_plain_challenge_counts_as_changed() -> None:
    model = PkceModel()
    model.method = "plain"
    model.verifier += "x"
    assert model.changed == (43,)


def test_a_toy_is_not_remembered_as_a_secret(model: PkceModel) -> None:
    model.verifier = model.verifier[:-1]
    assert model.error is not None
    assert scrub(model.verifier) == model.verifier


def test_the_verifier_of_a_real_flow_is_not_taken(model: PkceModel) -> None:
    before = model.verifier
    real, _ = generate_pkce_pair()
    model.verifier = real
    assert model.verifier == before
    assert model.notice.startswith("That is the verifier of a real flow")
    model.flip()
    assert model.notice == ""


def test_the_example_of_the_rfc_may_be_edited_although_it_is_known(model: PkceModel) -> None:
    PKCE.from_verifier(APPENDIX_B)
    model.load_appendix_b()
    model.verifier = APPENDIX_B + "x"
    assert (model.verifier, model.notice) == (APPENDIX_B + "x", "")


# -- the panel -------------------------------------------------------------------------------------------------


def test_the_panel_shows_the_steps_and_marks_the_toy(panel: PkcePlayground) -> None:
    for text in (panel.model.digest, panel.model.challenge, "A toy, made for this panel: no flow uses it."):
        assert text in shown(panel)
    assert "toy" in panel.field.description


def test_typing_changes_the_challenge_at_once(panel: PkcePlayground) -> None:
    panel.field.value = APPENDIX_B
    assert panel.model.verifier == APPENDIX_B
    assert "failed" in shown(panel)


def test_the_buttons_do_what_the_model_does(panel: PkcePlayground) -> None:
    first = panel.field.value
    assert panel.restore.disabled
    assert panel.start.disabled
    panel.position.value = 3
    panel.flip.click()
    assert panel.field.value == panel.model.verifier != first
    assert panel.field.value[3:] == first[3:]
    assert "1 changed in the verifier" in shown(panel)
    panel.restore.click()
    assert panel.field.value == first
    panel.flip.click()
    panel.start.click()
    assert panel.model.accepted
    panel.generate.click()
    assert panel.model.accepted
    panel.example.click()
    assert panel.field.value == APPENDIX_B
    panel.method.value = "plain"
    assert panel.model.method == "plain"
    assert "nothing is done to it" in shown(panel)


def test_an_empty_field_offers_nothing_to_flip(panel: PkcePlayground) -> None:
    panel.field.value = ""
    assert panel.flip.disabled
    assert "InvalidCodeVerifier: The code verifier (0 characters)" in shown(panel)


def test_a_position_follows_a_verifier_that_gets_shorter(panel: PkcePlayground) -> None:
    panel.position.value = 43
    panel.field.value = "abc"
    assert panel.position.value == 3
    panel.flip.click()
    assert panel.field.value == "abd"


def test_a_verifier_beyond_ascii_is_shown_without_a_challenge(panel: PkcePlayground) -> None:
    panel.field.value = "é<" * 30
    assert "SHA-256" not in shown(panel)
    assert "&lt;" in shown(panel)
    assert "'\\xe9'" in panel.model.checks[1].message


def test_a_real_verifier_that_is_pasted_leaves_the_field_and_is_saved_nowhere(panel: PkcePlayground) -> None:
    before = panel.field.value
    real, _ = generate_pkce_pair()
    panel.field.value = real
    assert panel.field.value == before
    assert 'role="alert"' in shown(panel)
    saved = json.dumps([panel.field.get_state(), panel._repr_mimebundle_(), repr(panel)], default=repr)
    assert real not in saved + shown(panel)


def test_the_static_form_has_the_same_and_is_the_same_on_every_run(panel: PkcePlayground) -> None:
    panel.flip.click()
    other = PkcePlayground()
    other.model.flip()
    assert panel._static_html() == other._static_html()
    assert shown(panel) in panel._static_html()
    assert panel.model.verifier in panel._static_html()
    assert repr(panel) == "PkcePlayground(43 characters, S256, refused)"
