"""The tree of errors: as drawn, and useful to whoever catches one."""

from __future__ import annotations

import inspect
import pickle

import pytest

from mcp_oauth_nb.oauth import errors
from mcp_oauth_nb.oauth.errors import (
    AuthenticationRequired,
    ConfigurationError,
    InsufficientScope,
    McpOAuthError,
    OAuthErrorResponse,
    RateLimited,
    TransientError,
)

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, McpOAuthError) and value.__module__ == errors.__name__
]
LEAVES = [cls for cls in CLASSES if not cls.__subclasses__()]
KINDS = {"configure", "reauthorize", "transient", "protocol", "security", "session"}


def drawn_tree() -> dict[str, str]:
    """Each class in the module's docstring, with the class it hangs from."""
    parents: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        branch, marker, rest = line.rpartition("── ")
        if marker or line.strip() == "McpOAuthError":
            depth = len(branch) // 4 if marker else 0
            name = (rest if marker else line).split()[0]
            path[depth:] = [name]
            if depth:
                parents[name] = path[depth - 1]
    return parents


def test_the_tree_in_the_docstring_is_the_tree_of_the_classes() -> None:
    bases = {cls.__name__: cls.__bases__[0].__name__ for cls in CLASSES if cls is not McpOAuthError}
    assert drawn_tree() == bases
    assert len(bases) > 20


def test_the_drawing_names_the_kind_of_each_branch() -> None:
    for cls in McpOAuthError.__subclasses__():
        if cls.kind != "session":
            line = next(line for line in (errors.__doc__ or "").splitlines() if f"── {cls.__name__} " in line)
            assert f"{cls.kind}:" in line


@pytest.mark.parametrize("cls", LEAVES, ids=lambda cls: cls.__name__)
def test_each_error_says_what_to_do_next(cls: type[McpOAuthError]) -> None:
    error = cls("It failed.")
    assert error.hint.endswith(".")
    assert f"What to do: {error.hint}" in str(error)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_each_error_is_documented_typed_by_kind_and_has_a_stable_repr(cls: type[McpOAuthError]) -> None:
    assert inspect.getdoc(cls)
    assert cls.kind in KINDS
    error = cls("It failed.")
    assert repr(error) == f"{cls.__name__}('It failed.')"
    assert str(error).startswith("It failed.")


def test_message_hint_and_reference_are_lines_of_their_own() -> None:
    error = McpOAuthError("It failed.", hint="Do this.", reference="RFC 6749 section 6")
    assert str(error) == "It failed.\nWhat to do: Do this.\nSee: RFC 6749 section 6"
    assert str(McpOAuthError("It failed.")) == "It failed."


def test_one_error_can_have_a_hint_of_its_own_without_changing_its_class() -> None:
    assert RateLimited("x", hint="Later.").hint == "Later."
    assert RateLimited("x").hint == TransientError.hint


def test_errors_carry_what_the_caller_needs() -> None:
    assert RateLimited("x", retry_at=5.0).retry_at == 5.0
    assert ConfigurationError("x", variables=("OAUTH_CLIENT_ID",)).variables == ("OAUTH_CLIENT_ID",)
    assert InsufficientScope("x", required=("repo",)).required == ("repo",)
    assert OAuthErrorResponse("x", code="slow_down").code == "slow_down"
    assert AuthenticationRequired().challenge is None
    assert AuthenticationRequired().message == "Authentication required"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_survives_the_way_to_another_process(cls: type[McpOAuthError]) -> None:
    error = cls("It failed.")
    error.hint = "Do this."
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (cls, str(error))


def test_a_transient_error_with_a_time_says_when_to_try_again() -> None:
    assert "2026-01-01T00:01:00Z" in str(RateLimited("Too many requests.", retry_at=1_767_225_660.0))
    assert "later" in str(RateLimited("Too many requests."))
