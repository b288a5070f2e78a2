"""What cosmic-ray does not do: leave out a statement or an argument, change a word, an `in` or an `except`."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from cosmic_ray.operators.operator import Operator
from parso.python.tree import Keyword, Name


class _OwnOperator(Operator):  # type: ignore[misc]  # cosmic-ray has no types
    """One that has no examples, which cosmic-ray's own tests use."""

    @classmethod
    def examples(cls) -> tuple[()]:
        """None."""
        return ()


class DropStatement(_OwnOperator):
    """Leave out a `raise`, a call, or an assignment to an attribute or item."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Each simple statement that does something."""
        if node.type == "simple_stmt" and self._does_something(node.children[0]):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Put `pass` in its place; it keeps its indentation."""
        node.children[0] = Keyword("pass", node.start_pos, node.get_first_leaf().prefix)
        return node

    def _does_something(self, statement: Any) -> bool:
        if statement.type == "expr_stmt":
            return bool(statement.children[0].type == "atom_expr" and statement.children[1] == "=")
        return bool(statement.type in ("atom_expr", "raise_stmt") or statement == "raise")


class DropArgument(_OwnOperator):
    """Leave out a keyword argument of a call, so that its default counts."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Each keyword argument."""
        for child in self._dropped(node):
            yield child.start_pos, child.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Leave it out, with its comma."""
        child = self._dropped(node)[index]
        if node.type == "arglist":
            at = node.children.index(child)
            comma = at + 1 if at + 1 < len(node.children) else at - 1
            node.children = [one for number, one in enumerate(node.children) if number not in (at, comma)]
        else:
            node.children = [one for one in node.children if one is not child]
        return node

    def _dropped(self, node: Any) -> list[Any]:
        if node.type not in ("arglist", "trailer"):
            return []
        return [child for child in node.children if child.type == "argument" and child.children[1] == "="]


class ChangeWord(_OwnOperator):
    """Change a string of one word: the name of a field, a method, a code of the protocol."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Each such string."""
        if node.type == "string" and self._is_word(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Put an X into it, behind the first letter: what only looks for the word must not find it."""
        at = min(at for at in (node.value.find('"'), node.value.find("'")) if at >= 0) + 1
        at += node.value[at].isalpha()
        node.value = f"{node.value[:at]}X{node.value[at:]}"
        return node

    def _is_word(self, node: Any) -> bool:
        value = ast.literal_eval(node.value)
        return bool(value) and len(value.split()) == 1 and node.parent.type != "simple_stmt"


class NegateMembership(_OwnOperator):
    """Make `not in` of `in`, and the other way round."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Each `in` and `not in` of a comparison."""
        for child in self._of(node):
            yield child.start_pos, child.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Negate it."""
        child = self._of(node)[index]
        other = "in" if child.type == "comp_op" else "not in"
        node.children[node.children.index(child)] = Keyword(other, child.start_pos, " ")
        return node

    def _of(self, node: Any) -> list[Any]:
        if node.type != "comparison":
            return []
        return [child for child in node.children[1::2] if child.get_code().split() in (["in"], ["not", "in"])]


class MissException(_OwnOperator):
    """Catch another exception than what is raised."""

    def mutation_positions(self, node: Any) -> Iterator[Any]:
        """Each class that an `except` names."""
        for child in self._of(node):
            yield child.start_pos, child.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        """Name one in its place that nobody raises."""
        child = self._of(node)[index]
        holder = child.parent
        holder.children[holder.children.index(child)] = Name("EncodingWarning", child.start_pos, " ")
        return node

    def _of(self, node: Any) -> list[Any]:
        if node.type != "except_clause":
            return []
        caught = node.children[1]
        if caught.type == "atom":  # in parentheses
            caught = caught.children[1]
        if caught.type != "testlist_comp":
            return [caught]
        return [child for child in caught.children if child != ","]


OWN: tuple[type[Operator], ...] = (DropStatement, DropArgument, ChangeWord, NegateMembership, MissException)
