"""Constant expressions and conditions of `#if` inside types, under an ABI."""

import re
from collections.abc import Callable, Iterator

from pycparser import c_ast
from pycparser.c_generator import CGenerator

from kgfplint.source.constants import evaluate
from kgfplint.source.layouts_abi import Abi
from kgfplint.source.layouts_types import Type, expression, operand
from kgfplint.source.words import rules

_FUNCTIONS: dict[str, str] = rules("abi.toml")["functions"]
_ENABLED = frozenset(("defined", "IS_ENABLED", "IS_BUILTIN", "IS_REACHABLE"))
_DEFINED = re.compile(r"\bdefined\s+(\w+)")
_DEPTH = 12
"""Names that may stand for one another before a value counts as unknown."""


Measure = Callable[[str, Type, str], tuple[int, int | None] | None]
"""Returns the range of a "sizeof", "_Alignof" or "offsetof" (with the path of a member) of a type, None if it is unknown."""


class Values:
    """The values of constant expressions; each answer is None where it is not known."""

    def __init__(
        self, abi: Abi, page_size: int, constant: Callable[[str], c_ast.Node | None],
        measure: Measure,
    ) -> None:
        """`constant` tells what a name stands for, `measure` the bytes of a type."""
        self._abi = abi
        self._constant = constant
        self._measure = measure
        self._decided: dict[str, bool | None] = {"1": True, "0": False}
        self._known: dict[str, int | None] = {
            "PAGE_SIZE": page_size, "PAGE_SHIFT": page_size.bit_length() - 1, "BITS_PER_BYTE": 8, "CHAR_BIT": 8,
            "BITS_PER_LONG": abi.bits_per_long, "__BITS_PER_LONG": abi.bits_per_long, "BITS_PER_LONG_LONG": 64,
        }  # fmt: skip
        if abi.line[0] == abi.line[1]:
            self._known |= {"L1_CACHE_BYTES": abi.line[0], "SMP_CACHE_BYTES": abi.line[0]}

    def of_text(self, text: str) -> int | None:
        """Return the value of an expression written as C."""
        node = expression(text)
        return self.of(node) if node is not None else None

    def of_enumerator(self, name: str) -> int | None:
        """Return the value of an enumerator or macro."""
        return self._name(name, _DEPTH)

    def of(self, node: c_ast.Node, depth: int = _DEPTH) -> int | None:
        """Return the value of an expression."""
        if isinstance(node, c_ast.Constant) and node.value.isdigit() and node.value[0] != "0":
            return int(node.value)
        text = CGenerator().visit(self._folded(node))
        names = {name: self._name(name, depth) for name in {*_names(node), "BITS_PER_LONG"}}
        return evaluate(text, {name: value for name, value in names.items() if value is not None})

    def bound(self, node: c_ast.Node, high: bool, depth: int = _DEPTH) -> int | None:
        """Return the lowest or highest value of an expression over all configurations, None if it is not known."""
        measured = self._measured(node)
        if measured is not None:
            return measured[high]
        match node:
            case c_ast.ID(name=name) if depth and name not in self._known:
                stands = self._constant(name)
                return self.bound(stands, high, depth - 1) if stands is not None else None
            case c_ast.BinaryOp(op="+" | "*" as op, left=left, right=right):
                one, other = self.bound(left, high, depth), self.bound(right, high, depth)
                if one is None or other is None or min(one, other) < 0:
                    return self.of(node, depth)
                return one + other if op == "+" else one * other
        return self.of(node, depth)

    def _measured(self, node: c_ast.Node) -> tuple[int, int | None] | None:
        """Return the range of a sizeof, _Alignof or offsetof, None for any other expression."""
        match node:
            case c_ast.UnaryOp(op="sizeof" | "_Alignof" as word, expr=asked):
                ctype, path = operand(asked), ""
            case c_ast.FuncCall(name=c_ast.ID(name="offsetof" as word), args=c_ast.ExprList(exprs=[asked, member])):
                ctype, path = operand(asked), CGenerator().visit(member)
            case _:
                return None
        return self._measure(word, ctype, path) if ctype is not None else None

    def _name(self, name: str, depth: int) -> int | None:
        if name in self._known:
            return self._known[name]
        stands = self._constant(name) if depth else None
        value = self.of(stands, depth - 1) if stands is not None else None
        if depth == _DEPTH:  # deeper down it may have been given up
            self._known[name] = value
        return value

    def _folded(self, node: c_ast.Node) -> c_ast.Node:
        """Return an expression with sizes and the macros of rules/abi.toml replaced."""
        measured = self._measured(node)
        if measured is not None and measured[0] == measured[1]:
            return c_ast.Constant("unsigned long", f"{measured[0]}UL")
        match node:
            case c_ast.UnaryOp(op="sizeof" | "_Alignof"):
                return c_ast.ID("__unknown")
            case c_ast.UnaryOp(op=op, expr=inner):
                return c_ast.UnaryOp(op, self._folded(inner))
            case c_ast.BinaryOp(op=op, left=left, right=right):
                return c_ast.BinaryOp(op, self._folded(left), self._folded(right))
            case c_ast.TernaryOp(cond=cond, iftrue=then, iffalse=other):
                return c_ast.TernaryOp(self._folded(cond), self._folded(then), self._folded(other))
            case c_ast.Cast(to_type=ctype, expr=inner):
                return c_ast.Cast(ctype, self._folded(inner))
            case c_ast.FuncCall(name=c_ast.ID(name=name), args=c_ast.ExprList(exprs=exprs)):
                folded = [self._folded(expr) for expr in exprs]
                if name in _FUNCTIONS and len(folded) == 1:
                    whole = expression(_FUNCTIONS[name].replace("(n)", f"({CGenerator().visit(folded[0])})"))
                    return whole if whole is not None else node
                return c_ast.FuncCall(node.name, c_ast.ExprList(folded))
        return node

    def decided(self, condition: str) -> bool | None:
        """Tell whether the condition of an `#if` holds, None where configurations differ."""
        if condition not in self._decided:
            node = expression(_DEFINED.sub(r"defined(\1)", condition))
            self._decided[condition] = self._truth(node) if node is not None else None
        return self._decided[condition]

    def _truth(self, node: c_ast.Node) -> bool | None:
        match node:
            case c_ast.FuncCall(name=c_ast.ID(name=name), args=c_ast.ExprList(exprs=[c_ast.ID(name=word)])) if name in _ENABLED:
                return self._abi.defined.get(word)
            case c_ast.ID(name=word) if word in self._abi.defined:
                return self._abi.defined[word]
            case c_ast.UnaryOp(op="!", expr=inner):
                truth = self._truth(inner)
                return None if truth is None else not truth
            case c_ast.BinaryOp(op="&&" | "||" as op, left=left, right=right):
                truths = self._truth(left), self._truth(right)
                if (op == "||") in truths:
                    return bool(op == "||")
                return None if None in truths else op == "&&"
        value = self.of(node)
        return None if value is None else bool(value)


def _names(node: c_ast.Node) -> Iterator[str]:
    waiting = [node]
    while waiting:
        found = waiting.pop()
        if isinstance(found, c_ast.ID):
            yield found.name
        waiting.extend(child for _, child in found.children())
