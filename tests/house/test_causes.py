"""Every error that a peer can provoke: its cause, what it says to do, and the section. A new `raise` needs a row here.

The table is held against the source: each place that makes such an error is found by its syntax, with the hint and the
section that it really has, its own or its class's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from causes import ROWS

import mcp_oauth_nb
from mcp_oauth_nb.oauth import errors
from mcp_oauth_nb.oauth.errors import McpOAuthError

PACKAGE = Path(mcp_oauth_nb.__file__).parent
#: What a server, a browser or a person at the other end can bring about.
PROVOKED = frozenset(
    """ReauthorizeError AccessDenied InvalidAuthorizationCode InvalidCodeVerifier RefreshRejected TokenRejected
    InsufficientScope Unreachable ServerUnavailable RateLimited ProtocolError OAuthErrorResponse NotFound SecurityError
    NotRevoked StateMismatch IssuerMismatch RedirectRefused SessionFailed""".split()
)
#: Rooms whose errors are not those of a client: each with the reason why it has no rows.
ELSEWHERE = {
    "server/authserver": "a server's: told to its peers as OAuth errors",
    "lab/attacks": "shows attacks; what it raises is about itself",
    "lab/mock_github": "plays the peer",
    "lab/network.py": "plays the browser of a lab",
    "debugger": "reports an error of the SDK, or its own use",
    "jupyter/exercises": "speaks to a learner",
    "jupyter/widgets": "speaks to a person at a panel",
    "server/resource": "a server's: told to its peers by status and challenge",
}

Row = tuple[str, str, str, str, str]
#: Classes with many causes: a hint of the class alone would be about another one.
MANY_CAUSES = frozenset({"ProtocolError", "SecurityError", "SessionFailed"})


def found() -> Iterator[Row]:
    """Where, class, the beginning of the message, the hint and the section of each error that a peer can provoke."""
    for path in sorted(PACKAGE.rglob("*.py")):
        relative = path.relative_to(PACKAGE)
        if not any(relative.is_relative_to(room) for room in ELSEWHERE):
            yield from _in(ast.parse(path.read_text(encoding="utf-8")), str(relative.with_suffix("")), "")


def _in(node: ast.AST, module: str, function: str) -> Iterator[Row]:
    for child in ast.iter_child_nodes(node):
        inner = function
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            inner = child.name
        if isinstance(child, ast.Call) and isinstance(child.func, ast.Name) and child.func.id in PROVOKED:
            yield _row(child, child.func.id, f"{module}.{function}")
        yield from _in(child, module, inner)


def _row(call: ast.Call, name: str, where: str) -> Row:
    cls: type[McpOAuthError] = getattr(errors, name)
    given = {word.arg: _text(word.value) for word in call.keywords if word.arg in ("hint", "reference")}
    message = _text(call.args[0]) if call.args else ""
    return where, name, message, given.get("hint", "of the class"), given.get("reference", cls.reference)


def _text(node: ast.expr) -> str:
    """The words of an expression, with `{...}` for what is filled in, cut to a line."""
    if isinstance(node, ast.Constant):
        text = str(node.value)
    elif isinstance(node, ast.JoinedStr):
        text = "".join(_text(part) if isinstance(part, ast.Constant) else "{...}" for part in node.values)
    elif isinstance(node, ast.BinOp):
        text = _text(node.left) + _text(node.right)
    else:
        text = ast.unparse(node)
    return text if len(text) <= 60 else text[:59] + "…"


FOUND = sorted(found())


def test_every_error_that_a_peer_can_provoke_has_its_row_and_every_row_its_error() -> None:
    assert [row for row in FOUND if row not in ROWS] == []
    assert [row for row in ROWS if row not in FOUND] == []


@pytest.mark.parametrize("row", [row for row in FOUND if row[1] in MANY_CAUSES], ids=lambda row: row[0])
def test_an_error_of_a_class_with_many_causes_has_the_hint_of_its_cause(row: Row) -> None:
    assert row[3] != "of the class"


@pytest.mark.parametrize("row", [row for row in FOUND if row[1] == "SecurityError"], ids=lambda row: row[0])
def test_a_refusal_for_safety_names_the_section_that_asks_for_it(row: Row) -> None:
    assert row[4]


def test_no_error_accuses_anybody() -> None:
    for name in PROVOKED:
        cls: type[McpOAuthError] = getattr(errors, name)
        assert cls.hint or name in MANY_CAUSES
        assert "interfer" not in cls.hint
