"""Masks keep identity, not content; nothing secret survives in a text, a URL, a form, a header or a JSON value."""

from __future__ import annotations

import html
import json
import re
import secrets
import string
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import parse_qsl, quote, quote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mcp_oauth_nb.oauth import masking
from mcp_oauth_nb.oauth.masking import (
    JSONRPC_SECRET_NAMES,
    SECRET_NAMES,
    TooLong,
    escape,
    is_clean,
    is_secret_name,
    mask,
    mask_fields,
    mask_form,
    mask_header,
    mask_headers,
    mask_url,
    printable,
    remember,
    scrub,
)

OPAQUE = "opaque/canary+value~0123456789.abc"
TOKEN = "gho_" + "x7Q" * 12
ALPHABET = string.ascii_letters + string.digits + "-._~+/"
# Secret by its name or its place alone, short, and known to nobody.
UNKNOWN = "k7WpQz93"
values = st.text(ALPHABET, min_size=20, max_size=80)


# -- mask ----------------------------------------------------------------------------------------------------------


@given(values)
def test_the_same_secret_has_the_same_mask_and_the_mask_does_not_contain_it(secret: str) -> None:
    assert mask(secret) == mask(secret)
    assert secret not in mask(secret)
    assert len(mask(secret)) <= len("github_pat_") + 8


def test_a_mask_keeps_the_public_prefix_and_nothing_else() -> None:
    assert mask(TOKEN).startswith("gho_****")
    assert set(mask(TOKEN)[8:]) <= set(string.hexdigits.lower())
    assert mask("github_pat_" + "y" * 40).startswith("github_pat_****")


def test_masks_do_not_change_from_run_to_run() -> None:
    # Notebooks are compared byte by byte, so this is a promise.
    assert mask("a" * 40) == "****646b"


def test_different_secrets_can_be_told_apart() -> None:
    assert len({mask(f"gho_{number:036d}") for number in range(100)}) > 95


@pytest.mark.parametrize("secret", ["hunter2", "a" * 19, "gho_short"])
def test_a_secret_that_could_be_guessed_gets_no_suffix(secret: str) -> None:
    assert mask(secret) == ("gho_****" if secret.startswith("gho_") else "****")


@pytest.mark.parametrize("secret", [TOKEN, "a" * 40, "hunter2", "github_pat_" + "y" * 40])
def test_a_mask_is_its_own_mask_and_no_secret(secret: str) -> None:
    assert mask(mask(secret)) == mask(secret)
    remember(mask(secret))
    assert scrub(mask(secret)) == mask(secret)


def test_what_cannot_be_guessed_has_a_suffix_by_which_it_is_recognised() -> None:
    assert re.fullmatch(r"\*{4}[0-9a-f]{4}", mask("a" * 20))


def test_an_empty_value_stays_empty() -> None:
    assert mask("") == ""


@given(st.text(st.characters(), max_size=60))
def test_any_text_can_be_masked(text: str) -> None:
    assert ("****" in mask(text)) == bool(text)
    assert "x" * 20 not in mask(text + "\ud800" + "x" * 20)


# -- scrub ---------------------------------------------------------------------------------------------------------


def test_a_remembered_secret_is_found_in_any_text_in_clear_and_as_in_a_url() -> None:
    remember(OPAQUE)
    text = f"GET /x?t={quote(OPAQUE, safe='')} failed for {OPAQUE!r}"
    assert scrub(text) == f"GET /x?t={mask(OPAQUE)} failed for '{mask(OPAQUE)}'"


def test_a_secret_inside_a_longer_one_does_not_break_the_longer_mask() -> None:
    inner, outer = "inner-canary-0001", "prefix-inner-canary-0001-suffix"
    remember(inner)
    remember(outer)
    assert scrub(f"{outer} {inner}") == f"{mask(outer)} {mask(inner)}"


@pytest.mark.parametrize("value", [None, "", "short", "repo user"])
def test_what_is_too_short_to_be_a_token_is_not_remembered(value: str | None) -> None:
    remember(value)
    assert scrub(f"the word {value} stays") == f"the word {value} stays"


def test_what_is_just_long_enough_to_be_a_token_is_remembered() -> None:
    remember("twelve-chars")
    assert scrub("it is twelve-chars.") == "it is ****."


@pytest.mark.parametrize(
    "text",
    [
        *(f"token gh{kind}_{'z' * 36}." for kind in "opusr"),
        f"Authorization: Bearer {'z' * 30}==",
        f"authorization: bearer {'z' * 30}",
        f"?code={'z' * 20}&state=1",
        f"code_verifier={'z' * 43}",
        f"client_secret={'z' * 40}",
        f"access_token={'z' * 40}&scope=repo",
        f"github_pat_{'z' * 30}",
    ],
)
def test_what_has_the_shape_of_a_secret_is_masked_though_nobody_remembered_it(text: str) -> None:
    assert "z" * 10 not in scrub(text)
    assert "****" in scrub(text)


def test_a_secret_is_masked_in_the_shortest_text_too() -> None:
    assert scrub("?code=ab") == "?code=****"


def test_a_text_is_clean_where_nothing_would_be_masked_even_if_it_looks_like_it_at_first() -> None:
    assert is_clean("the code= of a form, and no value")
    assert not is_clean("?code=ab")


@pytest.mark.parametrize("name", ["access_token", "refresh_token", "code_verifier", "client_secret"])
def test_scrubbing_twice_is_scrubbing_once(name: str) -> None:
    remember(TOKEN)
    once = scrub(f"{name}={TOKEN}&scope=repo")
    assert once == f"{name}={mask(TOKEN)}&scope=repo"
    assert scrub(once) == once


def test_ordinary_text_is_left_alone() -> None:
    text = "error -32001: Authentication required; see https://github.com/login/oauth/authorize?scope=repo"
    assert scrub(text) == text


@given(values, st.integers(0, 80), st.sampled_from(["...", "…"]), st.text("xyz' ", max_size=9))
@example("000000000000.0123456", 13, "...", "")
def test_a_piece_beside_the_mark_of_an_abbreviation_is_masked(secret: str, at: int, cut: str, around: str) -> None:
    remember(secret)
    beginning, end = secret[:at], secret[-at:] if at else ""
    shown = scrub(f"{around}{beginning}{cut}{end}{around}")
    # The dots of the mark are none of the piece's.
    left = re.split(r"\.{3,}|…", shown)
    lengths = range(8, len(secret))
    longest = max((n for n in lengths if any(secret[:n] in part or secret[-n:] in part for part in left)), default=0)
    # What happens to stand around a short piece may make it look like a longer one.
    assert longest == 0 or len(set(secret)) < 8


@pytest.mark.parametrize("prefix", ["", "gho_", "github_pat_"])
def test_a_short_piece_is_a_word_and_stays(prefix: str) -> None:
    secret = prefix + "Zk3qW9eR7tYuI0pAsD5f" * 2
    remember(secret)
    assert scrub(f"{secret[: len(prefix) + 7]}...") == f"{secret[: len(prefix) + 7]}..."
    assert scrub(f"{secret[: len(prefix) + 8]}...") == f"{mask(secret)}..."
    assert scrub(f"...{secret[-7:]}") == f"...{secret[-7:]}"
    assert scrub(f"...{secret[-8:]} and more") == f"...{mask(secret)} and more"
    # Where it stands makes no difference, nor what was found before it.
    assert scrub(f"a longer text: {secret[: len(prefix) + 7]}...") == f"a longer text: {secret[: len(prefix) + 7]}..."
    assert scrub(f"one … {secret[:20]}... {secret[:20]}...") == f"one … {mask(secret)}... {mask(secret)}..."


def test_a_piece_that_begins_twice_is_found_where_it_is_cut() -> None:
    secret = "abcdefgh" * 2 + "0123456789"
    remember(secret)
    assert scrub("abcdefgh abcdefghab...") == f"abcdefgh {mask(secret)}..."
    assert scrub("...89 0123456789") == "...89 0123456789"
    assert scrub("a sentence ... that goes on") == "a sentence ... that goes on"


FINALIZER = """
import gc
from mcp_oauth_nb.oauth.masking import remember, scrub

class Dropped:
    seen = []
    def __init__(self):
        self.itself = self
    def __del__(self):
        remember(f"said-at-the-very-end-{len(self.seen)}")
        self.seen.append(scrub("bulk-secret-00000001"))

for number in range(2_000):
    remember(f"bulk-secret-{number:08d}")
gc.set_threshold(10, 1, 1)
for _ in range(20):
    Dropped()
    scrub("a piece: bulk-sec... and what follows")
gc.set_threshold(0)
print(len(Dropped.seen) > 5, set(Dropped.seen))
"""


def test_a_finalizer_that_runs_in_a_scrub_may_scrub_and_remember() -> None:
    done = subprocess.run([sys.executable, "-c", FINALIZER], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == f"True {{{mask('bulk-secret-00000001')!r}}}\n"


def test_threads_can_remember_and_scrub_at_the_same_time() -> None:
    def leaks(_: int) -> int:
        found = [secrets.token_urlsafe(24) for _ in range(100)]
        for secret in found:
            remember(secret)
        return sum(secret in scrub(f"x {secret} y") for secret in found)

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(leaks, range(4))) == 0


# -- as others write it --------------------------------------------------------------------------------------------


def lower(quoted: str) -> str:
    return re.sub("%..", lambda match: match[0].lower(), quoted)


WRITERS: dict[str, Callable[[str], str]] = {
    "repr": repr,
    "repr, beside a double quote": lambda text: repr(f'"{text}'),
    "ascii": ascii,
    "a KeyError": lambda text: str(KeyError(text)),
    "a dict": lambda text: str({"token": text}),
    "bytes": lambda text: repr(text.encode()),
    "bytes, beside a double quote": lambda text: repr(f'"{text}'.encode()),
    "json": json.dumps,
    "json beyond ASCII": lambda text: json.dumps({"token": text}, ensure_ascii=False),
    "json in a dict": lambda text: str({"body": json.dumps({"token": text})}),
    "json in bytes": lambda text: repr(json.dumps(text, ensure_ascii=False).encode()),
    "json in json": lambda text: json.dumps({"text": json.dumps({"token": text})}),
    "a dict in a KeyError": lambda text: str(KeyError(str({"token": text}))),
    "html": html.escape,
    "html between tags": lambda text: html.escape(text, quote=False),
    "html by Jinja": lambda text: html.escape(text).replace("&quot;", "&#34;").replace("&#x27;", "&#39;"),
    "a dict in html": lambda text: html.escape(str({"token": text})),
    "json in html": lambda text: html.escape(json.dumps(text)),
    "a URL": lambda text: quote(text, safe=""),
    "a URL, small": lambda text: lower(quote(text, safe="")),
    "a path": quote,
    "a path, small": lambda text: lower(quote(text)),
    "a form": quote_plus,
    "a form, small": lambda text: lower(quote_plus(text)),
    "a form of a browser": lambda text: quote_plus(text, safe="*").replace("~", "%7E"),
    "a form of a browser, small": lambda text: lower(quote_plus(text, safe="*").replace("~", "%7E")),
    "encodeURIComponent": lambda text: quote(text, safe="!'()*"),
    "a URL that nobody quoted": lambda text: quote(text, safe="!$%&'()*+,/:;=?@[\\]^`{|}"),
    "a URL, as before RFC 3986": lambda text: quote(text, safe="").replace("~", "%7E"),
    "a URL in a URL": lambda text: quote(quote(text, safe=""), safe=""),
}
# Its runs of letters are what would show.
AWKWARD = r"""Zk3qW+9vTb/8NxLm"2RpY'7sHd\F1gJ&5wKa<6tEc oVr~XniB(Qywé\u20ac☃𝄞DhPz"""


def written(writer: str, secret: str) -> str:
    """What a writer makes of a secret, without what it puts around it."""
    text = WRITERS[writer](f"_{secret}_")
    return text[text.index("_") + 1 : text.rindex("_")]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("without", ["", '"', "'"])
def test_a_secret_with_quotes_and_backslashes_is_found_whoever_writes_it(writer: str, without: str) -> None:
    secret = AWKWARD.replace(without, "")
    remember(secret)
    assert scrub(f"({written(writer, secret)})") == f"({mask(secret)})"


@given(st.sampled_from(list(WRITERS)), st.text(st.characters(exclude_categories=["Cs"]), min_size=16, max_size=80))
@example("json in json", "\\" * 16)
@example("a dict in a KeyError", "'\"" * 8)
@example("a form of a browser", "*!'() ~-._é*!'() ~-._é")
@example("a URL, as before RFC 3986", "*!'() ~-._é*!'() ~-._é")
@example("a form of a browser, small", "*!'() ~-._é*!'() ~-._é")
def test_no_secret_survives_whoever_writes_it(writer: str, secret: str) -> None:
    remember(secret)
    assert written(writer, secret) not in scrub(WRITERS[writer](f"_{secret}_"))


@given(st.sampled_from(list(WRITERS)), st.text(string.printable[:94], min_size=16, max_size=80))
@example("a form of a browser", "0000000000000!*0")
def test_no_secret_of_visible_ascii_survives_whoever_writes_it(writer: str, secret: str) -> None:
    remember(secret)
    assert written(writer, secret) not in scrub(WRITERS[writer](f"_{secret}_"))


@pytest.mark.parametrize("length", [9, 300])
def test_a_secret_with_half_a_character_is_masked_too(length: int) -> None:
    # A peer can write it in JSON; it is in no encoding.
    secret = '\ud800 &"' * length
    remember(secret)
    for text in (secret, quote(secret, safe="", errors="surrogatepass")):
        assert scrub(text) == mask(secret)


@pytest.mark.parametrize("writer", ["a dict", "bytes", "json in a dict", "a URL"])
def test_of_what_others_write_a_piece_beside_the_mark_of_an_abbreviation_is_masked_too(writer: str) -> None:
    remember(AWKWARD)
    text = written(writer, AWKWARD)
    assert scrub(f"{text[:40]}...{text[-40:]}") == f"{mask(AWKWARD)}...{mask(AWKWARD)}"


def test_an_ordinary_secret_is_kept_once_and_a_very_long_one_in_two_forms() -> None:
    for secret, forms in {secrets.token_urlsafe(24): 1, '"' * 257: 2, '"' * 256: 10}.items():
        before = len(masking._memory.index.secrets)
        remember(secret)
        assert len(masking._memory.index.secrets) - before == forms


# -- fields, forms, URLs, headers ------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(SECRET_NAMES)), values)
def test_a_secret_field_is_masked_at_any_depth_and_in_any_case(name: str, secret: str) -> None:
    masked = mask_fields({"a": [{name.upper(): secret}], name: secret, "b": 1, "c": None})
    assert masked == {"a": [{name.upper(): mask(secret)}], name: mask(secret), "b": 1, "c": None}


def test_a_known_secret_is_masked_as_a_name_and_as_a_number() -> None:
    remember(OPAQUE)
    remember("739204857261940385")
    assert mask_fields({OPAQUE: 739204857261940385, "b": True}) == {mask(OPAQUE): "****", "b": True}


def test_a_list_of_secrets_is_masked_item_by_item() -> None:
    secret = secrets.token_urlsafe(24)
    assert mask_fields({"token": [secret, 1, {"x": "y"}]}) == {"token": [mask(secret), 1, {"x": "y"}]}


def test_masking_copies_and_leaves_the_original_alone() -> None:
    original = {"access_token": OPAQUE, "scopes": ["repo"]}
    masked = mask_fields(original)
    assert original["access_token"] == OPAQUE
    assert masked["scopes"] is not original["scopes"]


def test_the_copy_of_a_value_without_secrets_shares_nothing_with_it() -> None:
    original = {"tools": [{"name": "whoami", "scopes": ["repo"]}], "page": 1}
    masked = mask_fields(original)
    assert masked == original
    masked["tools"][0]["scopes"].append("gist")
    masked["tools"][0]["name"] = "else"
    masked["tools"].append("more")
    assert original == {"tools": [{"name": "whoami", "scopes": ["repo"]}], "page": 1}


def test_a_secret_seen_in_a_field_is_remembered_for_every_other_text() -> None:
    secret = secrets.token_urlsafe(24)
    mask_fields({"refresh_token": secret})
    assert secret not in scrub(f"a note about {secret}")


def test_in_json_rpc_a_code_is_an_error_number_or_source_code_and_stays_and_so_does_a_state() -> None:
    body = {"params": {"code": "print('hello')", "state": "open"}, "error": {"code": -32001, "message": "no"}}
    assert mask_fields(body, JSONRPC_SECRET_NAMES) == body


def test_in_oauth_a_code_is_a_secret() -> None:
    assert is_secret_name("Code")
    assert not is_secret_name("code_challenge")


@given(values, values, st.text(ALPHABET, max_size=11))
def test_a_form_keeps_its_names_and_its_public_values(code: str, state: str, public: str) -> None:
    masked = mask_form(urlencode({"code": code, "state": state, "scope": public, "client_id": ""}))
    assert parse_qsl(masked, keep_blank_values=True) == [
        ("code", mask(code)),
        ("state", mask(state)),
        ("scope", public),
        ("client_id", ""),
    ]


def test_a_url_keeps_its_address_and_loses_its_secrets() -> None:
    url = f"https://user:{quote(OPAQUE, safe='')}@h.example:8443/cb?code={quote(OPAQUE)}&scope=a,b#access_token={TOKEN}"
    assert mask_url(url) == (f"https://****@h.example:8443/cb?code={mask(OPAQUE)}&scope=a,b#access_token={mask(TOKEN)}")


def test_a_fragment_that_is_no_list_of_parameters_is_searched_too() -> None:
    assert mask_url(f"https://h.example/#{TOKEN}") == f"https://h.example/#{mask(TOKEN)}"


@pytest.mark.parametrize("url", ["", "/relative?x=1", "https://h.example", "https://h.example/#part", "urn:x:y"])
def test_a_url_without_secrets_is_left_alone(url: str) -> None:
    assert mask_url(url) == url


@given(st.text())
def test_no_text_in_place_of_a_url_breaks_masking(text: str) -> None:
    mask_url(text)
    mask_header("Location", text)
    assert OPAQUE not in mask_url(f"http://[{text}?code={OPAQUE}")


@pytest.mark.parametrize("mark", "?#")
def test_a_url_that_cannot_be_parsed_loses_its_query(mark: str) -> None:
    assert mask_url(f"http://[oops/cb{mark}state={UNKNOWN}") == "http://[oops/cb"


@pytest.mark.parametrize("url", ["https://h.example/cb?page=\ud800", "https://h.example/cb#page=\ud800"])
def test_half_a_character_in_a_url_is_shown_as_what_it_is(url: str) -> None:
    assert mask_url(url) == url.replace("\ud800", "%ED%A0%80")


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", f"Bearer {OPAQUE}", f"Bearer {mask(OPAQUE)}"),
        ("authorization", OPAQUE, mask(OPAQUE)),
        ("Proxy-Authorization", "Basic abc", "Basic ****"),
        ("Set-Cookie", OPAQUE, mask(OPAQUE)),
        ("Location", f"https://h.example/cb?code={quote(OPAQUE)}", f"https://h.example/cb?code={mask(OPAQUE)}"),
        ("Content-Type", "application/json", "application/json"),
        ("Link", f'<https://h.example/?access_token={TOKEN}>; rel="next"', None),
    ],
)
def test_a_header_is_masked_by_what_it_holds(name: str, value: str, shown: str | None) -> None:
    masked = mask_header(name, value)
    assert TOKEN not in masked
    assert shown is None or masked == shown


@pytest.mark.parametrize("name", ["Location", "Content-Location", "Referer"])
def test_a_header_that_is_a_url_is_masked_as_a_url_where_no_secret_in_it_is_known(name: str) -> None:
    value = f"https://ada:{UNKNOWN}@h.example/cb?state={UNKNOWN}&device_code={UNKNOWN}&page=2#state={UNKNOWN}"
    assert mask_header(name, value) == mask_url(value)
    assert UNKNOWN not in mask_headers({name: value})[name.lower()]
    assert "page=2" in mask_headers({name: value})[name.lower()]


@pytest.mark.parametrize(
    "challenge",
    [
        'Bearer resource_metadata="https://mcp.example/.well-known/oauth-protected-resource"',
        'Bearer error_description="The token has expired"',
        "Bearer error_description=expired",
    ],
)
def test_the_parameters_of_a_challenge_are_no_token(challenge: str) -> None:
    assert scrub(challenge) == challenge


# -- all at once, as one by one ----------------------------------------------------------------------------------------

fragments = st.lists(
    st.sampled_from(
        ["", "a word", TOKEN, OPAQUE, OPAQUE[:20] + "...", "..." + OPAQUE[9:], "Bearer ", "z" * 20, "code="]
    )
).map("".join)
json_values = st.recursive(
    fragments | st.integers() | st.booleans() | st.none() | st.just(739204857261940385),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(fragments | st.just("token"), inner, max_size=3),
    max_leaves=8,
)


def one_by_one(value: object) -> object:
    if isinstance(value, dict):
        return {scrub(name): hidden(item) if name == "token" else one_by_one(item) for name, item in value.items()}
    if isinstance(value, list):
        return [one_by_one(item) for item in value]
    if isinstance(value, str):
        return scrub(value)
    return value if type(value) is not int or scrub(str(value)) == str(value) else scrub(str(value))


def hidden(value: object) -> object:
    if isinstance(value, list):
        return [hidden(item) for item in value]
    return mask(value) if isinstance(value, str) else one_by_one(value)


@given(json_values)
@example({"token": "said-to-be-a-secret", "text": "it is said-to-be-a-secret"})
@example(["Bearer ", "z" * 20])
def test_a_value_is_masked_as_each_of_its_texts_is(value: object) -> None:
    remember(OPAQUE)
    remember("739204857261940385")
    masked = mask_fields(value)
    assert masked == one_by_one(value)


@given(st.dictionaries(fragments | st.sampled_from(["Authorization", "Location", "Set-Cookie"]), fragments, max_size=4))
def test_headers_are_masked_as_each_of_them_is(headers: dict[str, str]) -> None:
    remember(OPAQUE)
    one_each = {scrub(name.lower()): mask_header(name, value) for name, value in headers.items()}
    assert mask_headers(headers) == one_each


def test_a_value_with_more_text_than_is_wanted_is_not_masked_at_all() -> None:
    assert mask_fields({"token": "12345", "ab": ["cd"]}, most=16) == {"token": "****", "ab": ["cd"]}
    with pytest.raises(TooLong):
        mask_fields({"token": "12345", "ab": ["cd"]}, most=15)


def test_what_could_disturb_a_terminal_or_a_reader_is_written_out() -> None:
    assert escape("é ok\x1b[2J\u202e\n") == r"é ok\x1b[2J\u202e\n"


def test_what_is_too_long_to_be_shown_is_cut_and_says_so() -> None:
    assert printable("x" * 200) == "x" * 200
    assert printable("x" * 201) == "x" * 199 + "…"
    assert printable("x" * 9, 8) == "x" * 7 + "…"
