"""What is written as `.env` is read back by python-dotenv as it was."""

from __future__ import annotations

import io

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from mcp_oauth_nb.oauth.dotenv_text import write


def read(text: str) -> dict[str, str | None]:
    return dict(dotenv_values(stream=io.StringIO(text)))


def test_what_needs_no_quotes_has_none() -> None:
    assert write({"A": "read:user,repo", "B": "https://github.com/login", "C": ""}) == (
        "A=read:user,repo\nB=https://github.com/login\nC=\n"
    )


@pytest.mark.parametrize("value", ["a b", "a#b", "it's", '"', "\\", "\\'", "${HOME}", "$HOME", "${", "a=b", "${:-x}"])
def test_what_dotenv_would_take_for_more_than_text_is_read_back_as_it_was(value: str) -> None:
    assert read(write({"A": value, "B": "next"})) == {"A": value, "B": "next"}


# Line ends are read as one another, and NUL is in no environment.
@given(
    st.text(st.characters(exclude_characters="\r\n\0\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", exclude_categories=["Cs"]))
)
def test_any_line_is_read_back_as_it_was(value: str) -> None:
    assert read(write({"A": value})) == {"A": value}
