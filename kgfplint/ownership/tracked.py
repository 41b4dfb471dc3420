"""Numbered expressions, found by what they are made of."""

from collections.abc import Iterable
from typing import TypeVar

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root, walk

Key = TypeVar("Key")
_NONE: tuple[int, ...] = ()


class Numbered:
    """Some expressions, the n-th with number n, by what an assignment to which they change with."""

    def __init__(self, exprs: Iterable[ir.Expr]) -> None:
        """Read all expressions once."""
        self.exprs = tuple(exprs)
        self._naming: dict[str, list[int]] = {}
        self._having: dict[ir.Expr, list[int]] = {}
        self._behind: dict[ir.Expr, list[int]] = {}
        for number, expr in enumerate(self.exprs):
            if type(expr) is ir.Name:
                _note(self._naming, expr.id, number)
                continue
            for term in walk(expr):
                if type(term) is ir.Name:
                    _note(self._naming, term.id, number)
                    continue
                _note(self._having, term, number)
                if type(term) is ir.Field or type(term) is ir.Deref or type(term) is ir.Index:
                    _note(self._behind, bare(term.base), number)

    def naming(self, name: str) -> Iterable[int]:
        """Return the numbers of the expressions that evaluate an identifier."""
        return self._naming.get(name, _NONE)

    def having(self, part: ir.Expr) -> Iterable[int]:
        """Return the numbers of the expressions that `part`, an lvalue, is part of (or all of)."""
        if type(part) is ir.Name:
            return self._naming.get(part.id, _NONE)
        return self._having.get(part, _NONE) if self._having and root(part) else _NONE

    def behind(self, pointer: ir.Expr) -> Iterable[int]:
        """Return the numbers of the expressions that depend on what `pointer`, an lvalue, points to."""
        return self._behind.get(pointer, _NONE) if self._behind and root(pointer) else _NONE


def _note(index: dict[Key, list[int]], key: Key, number: int) -> None:
    known = index.setdefault(key, [])
    if not known or known[-1] != number:
        known.append(number)
