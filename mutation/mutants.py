"""The mutants of a module: its source with one small mistake each, as cosmic-ray makes them and a few more.

Left out, because no test should pin them: texts of several words, hints and references of errors, what is logged,
documentation, and annotations, which nothing evaluates.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, ClassVar

from cosmic_ray.ast import Visitor, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator
from operators import OWN

_COMPARISONS = "Eq_NotEq NotEq_Eq Lt_LtE Lt_GtE LtE_Lt LtE_Gt Gt_GtE Gt_LtE GtE_Gt GtE_Lt Is_IsNot IsNot_Is"
_BINARY = "Add_Sub Sub_Add Mul_Div Div_Mul Mod_Add BitAnd_BitOr BitOr_BitAnd"
_OTHERS = (
    "ReplaceUnaryOperator_Delete_Not ReplaceUnaryOperator_Delete_USub AddNot ReplaceTrueWithFalse ReplaceFalseWithTrue "
    "ReplaceAndWithOr ReplaceOrWithAnd ReplaceBreakWithContinue ReplaceContinueWithBreak NumberReplacer "
    "RemoveDecorator ZeroIterationForLoop"
)
# Of cosmic-ray: the negation and the boundary of each comparison, not all eight of them, which die of the same test.
_OF_COSMIC_RAY = (
    *(f"ReplaceComparisonOperator_{pair}" for pair in _COMPARISONS.split()),
    *(f"ReplaceBinaryOperator_{pair}" for pair in _BINARY.split()),
    *_OTHERS.split(),
)


@dataclass(frozen=True)
class Mutant:
    """One mistake: which, where, and the module with it.

    Attributes:
        operator: what made it.
        lines: those of the statement that it is in.
        line: the first that is changed.
        where: the qualified name of the function or class.
        was: the changed lines, as they were.
        became: what became of them.
        source: the module.
    """

    operator: str
    lines: range
    line: int
    where: str
    was: str
    became: str
    source: str

    @property
    def change(self) -> str:
        """The change in one line: what is told of it, and the key of its reason."""
        return f"{self.was} => {self.became}"


def mutants_of(source: str) -> Iterator[Mutant]:
    """Return every mutant of a module's source that differs from it when it runs."""
    seen = {_meaning(source), None}
    tree = get_ast(source)
    for name, operator in _operators():
        counting = _Counting(operator)
        counting.walk(tree)
        for number in range(counting.found):
            mutated = mutate_code(source, operator, number)
            meaning = _meaning(mutated)
            if meaning not in seen:
                seen.add(meaning)
                yield _described(name, source, mutated)


class _Counting(Visitor):  # type: ignore[misc]  # cosmic-ray has no types
    """Counts what an operator can change."""

    def __init__(self, operator: Operator):
        self.found = 0
        self._operator = operator

    def visit(self, node: Any) -> Any:
        """Count one node, as it is."""
        self.found += len(list(self._operator.mutation_positions(node)))
        return node


def _operators() -> Iterable[tuple[str, Operator]]:
    for name in _OF_COSMIC_RAY:
        yield name, get_operator(f"core/{name}")()
    for own in OWN:
        yield own.__name__, own()


def _described(operator: str, source: str, mutated: str) -> Mutant:
    before, after = source.splitlines(), mutated.splitlines()
    first = _alike(before, after)
    last = _alike(before[first:][::-1], after[first:][::-1])
    changed, changes = before[first : len(before) - last], after[first : len(after) - last]
    was, became = " ".join(" ".join(changed).split()), " ".join(" ".join(changes).split()) or "pass"
    line = next(number for number, text in enumerate(changed, first + 1) if text.strip())
    return Mutant(operator, _statement(source, line), line, _place(source, line), was, became, mutated)


def _alike(some: list[str], others: list[str]) -> int:
    """Return how many lines two texts have in common at their beginning."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(some, others, strict=False)))


def _statement(source: str, line: int) -> range:
    """Return all lines of the statement that a line is in; of a block, those of its head."""
    around = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    if not around:  # a decorator
        return range(line, line + 1)
    node = max(around, key=lambda node: node.lineno)
    body: list[ast.stmt] = getattr(node, "body", [])
    end = body[0].lineno - 1 if body else node.end_lineno or line
    return range(node.lineno, end + 1) if line <= end else range(line, line + 1)


def _place(source: str, line: int) -> str:
    """Return the qualified name of the function or class that a line is in."""
    names: list[str] = []
    body = ast.parse(source).body
    while True:
        inside = [
            node
            for node in body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            and min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) <= line
            and line <= (node.end_lineno or 0)
        ]
        if not inside:
            return ".".join(names) or "module"
        names.append(inside[0].name)
        body = inside[0].body


def _meaning(source: str) -> str | None:
    """Return what a source comes to when it runs; the same for two that cannot differ; None if it is no Python."""
    try:
        tree = ast.parse(source)
        compile(source, "mutant", "exec")
    except (SyntaxError, ValueError):
        return None
    return ast.dump(_Meaning().visit(tree))


class _Meaning(ast.NodeTransformer):
    """Takes away what makes no difference."""

    _NEGATED: ClassVar[dict[type[ast.cmpop], type[ast.cmpop]]] = {
        ast.Eq: ast.NotEq,
        ast.NotEq: ast.Eq,
        ast.Is: ast.IsNot,
        ast.IsNot: ast.Is,
        ast.In: ast.NotIn,
        ast.NotIn: ast.In,
    }

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        # What is logged.
        call = node.value
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("log."):
            return ast.Pass()
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        # What an error says to a person.
        left_out: tuple[str, ...] = ("hint", "reference")
        if ast.unparse(node.func) == "dataclass":
            # Which are not frozen is listed in tests/house/test_values.py.
            left_out = ("frozen",)
        node.keywords = [one for one in node.keywords if one.arg not in left_out]
        return self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.AST:
        # The words of a type, which the type checker holds.
        if ast.unparse(node.value) == "Literal":
            return node.value
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        node.annotation = None
        return node

    def visit_arguments(self, node: ast.arguments) -> ast.AST:
        # The `*` between them is no operator.
        node.args, node.posonlyargs, node.kwonlyargs = [*node.posonlyargs, *node.args, *node.kwonlyargs], [], []
        node.defaults, node.kw_defaults = [*node.defaults, *filter(None, node.kw_defaults)], []
        return self.generic_visit(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        node.annotation = ast.Constant(None)
        return self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        inner = node.operand
        if not isinstance(node.op, ast.Not):
            return node
        if isinstance(inner, ast.UnaryOp) and isinstance(inner.op, ast.Not):
            return inner.operand
        if isinstance(inner, ast.Compare) and len(inner.ops) == 1 and type(inner.ops[0]) in self._NEGATED:
            return ast.Compare(inner.left, [self._NEGATED[type(inner.ops[0])]()], inner.comparators)
        return node
