"""The algebra of GFP masks: what is known of the bits of a mask expression.

    masks = Masks.of_tree(root, (6, 12))             # None, None: the table of rules/gfp.toml, newest
    mask = masks.evaluate(expression, lookup)        # lookup(name) → Mask, ir.Expr or None
    masks.parse("GFP_KERNEL | __GFP_ZERO")           # the same for C text
    masks.may_sleep(mask)                            # True, False, or None when it is not known
    masks.has(mask, "__GFP_ZERO"), masks.names(mask), masks.equal_named(mask), masks.describe(mask)
    masks.constant("GFP_ATOMIC"), masks.named        # every mask that the headers name

A Mask says of each bit: set, clear or unknown; `params` are the names that the unknown bits depend on.
`mask.bind(name, argument)` puts the caller's argument in the place of a parameter that is handed on. Where
a parameter decides in another way (`can_sleep ? GFP_KERNEL : GFP_ATOMIC`), evaluate again with a lookup for it.
"""

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from kgfplint.catalogue import Version
from kgfplint.facts import ir
from kgfplint.gfp.headers import Definitions, parse_expression, read_definitions
from kgfplint.gfp.mask import ALL, Mask, binary, made, unary

__all__ = ["ALL", "Lookup", "Mask", "Masks"]

_DEPTH = 32

Lookup: TypeAlias = Callable[[str], Mask | ir.Expr | None]


def _nothing(name: str) -> None:
    return None


def _is_bit(name: str, value: int) -> bool:
    return name.startswith("__GFP_") and value.bit_count() == 1


class Masks:
    """The GFP masks of one tree by name, and what expressions over them evaluate to."""

    def __init__(self, definitions: Definitions) -> None:
        """Fold the definitions to constants; those that are none are left out."""
        self.named: dict[str, int] = {}
        self._parsed: dict[str, Mask] = {}
        self._functions = definitions.functions
        values = ((name, self.evaluate(expr, definitions.masks.get).value) for name, expr in definitions.masks.items())
        self.named = {name: value for name, value in values if value is not None and not name.endswith("_BIT")}
        self.bits = {name: bit for name, bit in self.named.items() if _is_bit(name, bit)}

    @classmethod
    def of_tree(cls, root: Path | None, version: Version | None) -> "Masks":
        """Return the masks of the kernel tree at `root`, without its header those of rules/gfp.toml for `version`."""
        return cls(read_definitions(root, version))

    def constant(self, name: str) -> Mask:
        """Return the mask of a named constant; KeyError for any other name."""
        return Mask.of(self.named[name])

    def parse(self, text: str) -> Mask:
        """Return the mask of C text such as `GFP_KERNEL | __GFP_NOWARN`; nothing is known of what does not parse."""
        known = self._parsed.get(text)
        if known is None:
            expr = parse_expression(text) if len(text) < 400 else None
            known = self._parsed[text] = Mask.unknown() if expr is None else self.evaluate(expr)
        return known

    def evaluate(self, expr: ir.Expr, lookup: Lookup = _nothing) -> Mask:
        """Return what is known of an expression; names go to `lookup` first, then to the headers."""
        return self._value(expr, lookup, _DEPTH)

    def _value(self, expr: ir.Expr, lookup: Lookup, depth: int) -> Mask:
        match expr:
            case ir.Number(value):
                return Mask.of(value)
            case ir.Name(name):
                return self._name(name, lookup, depth)
            case ir.Cast(_, operand):
                return self._value(operand, lookup, depth)
            case ir.Unary(op, operand):
                return unary(op, self._value(operand, lookup, depth))
            case ir.Binary(op, left, right):
                return binary(op, self._value(left, lookup, depth), self._value(right, lookup, depth))
            case ir.Conditional(condition, then, other):
                return self._conditional(condition, then, other, lookup, depth)
            case ir.CallResult(ir.Name(name), args) if name in self._functions:
                return self._call(name, args, lookup, depth)
        return Mask.unknown()

    def _call(self, name: str, args: tuple[ir.Expr, ...], lookup: Lookup, depth: int) -> Mask:
        """Return the value of a function of the rules: its parameters are the arguments, `unknown` is just that."""
        params, body = self._functions[name]
        values = {param: self._value(arg, lookup, depth) for param, arg in zip(params, args, strict=False)}
        values["unknown"] = Mask.unknown()
        return self._value(body, values.get, depth)

    def _name(self, name: str, lookup: Lookup, depth: int) -> Mask:
        found = lookup(name) if depth else None
        if isinstance(found, Mask):
            return found
        if found is not None:
            return self._value(found, lookup, depth - 1)
        return Mask.of(self.named[name]) if name in self.named else Mask.unknown(name)

    def _conditional(self, condition: ir.Expr, then: ir.Expr, other: ir.Expr, lookup: Lookup, depth: int) -> Mask:
        test = self._value(condition, lookup, depth)
        if test.truth is not None:
            return self._value(then if test.truth else other, lookup, depth)
        joined = self._value(then, lookup, depth).join(self._value(other, lookup, depth))
        return made(joined.set, joined.clear, joined, test, joined.copied)

    def may_sleep(self, mask: Mask) -> bool | None:
        """Tell whether the allocation may enter direct reclaim and so sleep; None if it is not known."""
        return self.has(mask, "__GFP_DIRECT_RECLAIM")

    def has(self, mask: Mask, name: str) -> bool | None:
        """Tell whether all bits of the named mask are set (False: one is clear, or none exists); None if unknown."""
        wanted = self.named.get(name, 0)
        if not wanted or wanted & mask.clear:
            return False
        return None if wanted & ~mask.set else True

    def names(self, mask: Mask) -> tuple[str, ...]:
        """Return the names of the bits known to be set, lowest first."""
        return tuple(sorted((n for n, bit in self.bits.items() if bit & mask.set), key=lambda n: self.bits[n]))

    def equal_named(self, mask: Mask) -> str | None:
        """Return the simplest name of a wholly known mask: `GFP_…` before `__GFP_…`, then the shortest."""
        value = mask.value
        same = [name for name, other in self.named.items() if other == value and other and name[:3] != "___"]
        return min(same, key=lambda name: (name.startswith("_"), len(name), name), default=None)

    def describe(self, mask: Mask) -> str:
        """Return the known-set bits as C: the widest named mask and the single bits beside it."""
        if not mask.set:
            return "0"
        fits = [(v.bit_count(), -len(n), n) for n, v in self.named.items() if n[0] != "_" and v and not v & ~mask.set]
        widest = max(fits, default=(0, 0, ""))[2]
        rest = mask.set & ~self.named.get(widest, 0)
        singles = self.names(Mask.of(rest))
        return " | ".join([widest, *singles] if widest else singles)
