"""The algebra of GFP masks: what is known of the bits of a mask expression.

    masks = Masks.of_tree(root, (6, 12))             # None, None: the table of rules/gfp.toml, newest
    mask = masks.evaluate(expression, lookup)        # lookup(name) → Mask, ir.Expr or None
    masks.may_sleep(mask)                            # True, False, or None when it is not known
    masks.has(mask, "__GFP_ZERO"), masks.names(mask), masks.equal_named(mask), masks.describe(mask)
    masks.constant("GFP_ATOMIC"), masks.named        # every mask that the headers name

A Mask says of each bit: set, clear or unknown; `params` are the names that the unknown bits depend on.
`mask.bind(name, argument)` puts the caller's argument in the place of a parameter.
"""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import msgspec
from pycparser import c_ast  # type: ignore[import-untyped]
from pycparser.c_parser import CParser, ParseError  # type: ignore[import-untyped]

from kgfplint.catalogue import CatalogueError, Version, rules_directory
from kgfplint.facts import ir

ALL = (1 << 32) - 1
"""Every bit of a gfp_t."""

_HEADERS = ("include/linux/gfp_types.h", "include/linux/gfp.h")
_DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+(_*GFP_\w+)[ \t]+(\S.*?)[ \t]*$", re.MULTILINE)
_ENUM = re.compile(r"\benum\s*\{([^}]*___GFP_[^}]*)\}")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_SUFFIX = re.compile(r"[uUlL]+$")
_DEPTH = 32


class Mask(msgspec.Struct, frozen=True):
    """Bits known to be set and known to be clear; `copied` the unknown ones that equal those of the name in `params`.

    A mask without unknown bits depends on no name; `copied` is 0 unless `params` is one name.
    """

    set: int
    clear: int
    params: frozenset[str] = frozenset()
    copied: int = 0

    @staticmethod
    def of(value: int) -> "Mask":
        """Return the mask of a constant."""
        return Mask(value & ALL, ~value & ALL)

    @staticmethod
    def unknown(*names: str) -> "Mask":
        """Return the mask of which nothing is known; with one name, it is the value of that name."""
        return Mask(0, 0, frozenset(names), ALL if len(names) == 1 else 0)

    @property
    def known(self) -> int:
        """The bits that are known either way."""
        return self.set | self.clear

    @property
    def value(self) -> int | None:
        """The constant that this mask is, None while any bit is unknown."""
        return self.set if self.known == ALL else None

    @property
    def truth(self) -> bool | None:
        """Whether it is not zero, None if unknown."""
        if self.set:
            return True
        return False if self.clear == ALL else None

    def __or__(self, other: "Mask") -> "Mask":
        """The bitwise or."""
        passed = (self.copied & other.clear) | (other.copied & self.clear) | (self.copied & other.copied)
        return _made(self.set | other.set, self.clear & other.clear, self, other, passed)

    def __and__(self, other: "Mask") -> "Mask":
        """The bitwise and."""
        passed = (self.copied & other.set) | (other.copied & self.set) | (self.copied & other.copied)
        return _made(self.set & other.set, self.clear | other.clear, self, other, passed)

    def __xor__(self, other: "Mask") -> "Mask":
        """The bitwise exclusive or."""
        known = self.known & other.known
        value = self.set ^ other.set
        passed = (self.copied & other.clear) | (other.copied & self.clear)
        return _made(value & known, ~value & known, self, other, passed)

    def __invert__(self) -> "Mask":
        """The bitwise complement."""
        return Mask(self.clear, self.set, self.params)

    def join(self, other: "Mask") -> "Mask":
        """Return what is known of a value that is either of the two."""
        return _made(self.set & other.set, self.clear & other.clear, self, other, self.copied & other.copied)

    def bind(self, name: str, argument: "Mask") -> "Mask":
        """Return the mask with `argument` in the place of the parameter `name`."""
        if name not in self.params:
            return self
        rest = Mask(self.set, self.clear, self.params - {name})
        return _made(
            self.set | (argument.set & self.copied), self.clear | (argument.clear & self.copied), rest, argument,
            argument.copied & self.copied,
        )  # fmt: skip


def _made(ones: int, zeros: int, left: Mask, right: Mask, copied: int) -> Mask:
    """Return the mask of two operands, in the one form that equal masks have."""
    unknown = ALL & ~(ones | zeros)
    params = left.params | right.params if unknown else frozenset()
    return Mask(ones, zeros, params, copied & unknown if len(params) == 1 else 0)


Lookup: TypeAlias = Callable[[str], Mask | ir.Expr | None]


def _nothing(name: str) -> None:
    return None


class Masks:
    """The GFP masks of one tree by name, and what expressions over them evaluate to."""

    def __init__(self, named: dict[str, int]) -> None:
        """Take the value of every name; bits are the names `__GFP_…` of a single bit."""
        self.named = named
        self._parsed: dict[str, Mask] = {}
        self.bits = {
            name: value for name, value in named.items() if re.match(r"__GFP_", name) and value.bit_count() == 1
        }

    @classmethod
    def of_tree(cls, root: Path | None, version: Version | None) -> "Masks":
        """Return the masks of a kernel tree, from rules/gfp.toml for `version` when it has no readable header."""
        for header in _HEADERS if root else ():
            try:
                text = (root / header).read_text(encoding="utf-8", errors="replace") if root else ""
            except OSError:
                continue
            named = _definitions(text)
            if "GFP_KERNEL" in named:
                return cls(named)
        return cls(_definitions(_table(version)))

    def constant(self, name: str) -> Mask:
        """Return the mask of a named constant; KeyError for any other name."""
        return Mask.of(self.named[name])

    def parse(self, text: str) -> Mask:
        """Return the mask of C text such as `GFP_KERNEL | __GFP_NOWARN`; nothing is known of what does not parse."""
        known = self._parsed.get(text)
        if known is None:
            expr = _expression(text) if len(text) < 400 else None
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
                return _unary(op, self._value(operand, lookup, depth))
            case ir.Binary(op, left, right):
                return _binary(op, self._value(left, lookup, depth), self._value(right, lookup, depth))
            case ir.Conditional(condition, then, other):
                return self._conditional(condition, then, other, lookup, depth)
        return Mask.unknown()

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
        return _made(joined.set, joined.clear, joined, test, joined.copied)

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


def _unary(op: str, operand: Mask) -> Mask:
    if op == "~":
        return ~operand
    if op == "-" and operand.value is not None:
        return Mask.of(-operand.value)
    if op == "!" and operand.truth is not None:
        return Mask.of(not operand.truth)
    return operand if op == "+" else Mask(0, 0, operand.params)


def _binary(op: str, left: Mask, right: Mask) -> Mask:
    match op:
        case "|":
            return left | right
        case "&":
            return left & right
        case "^":
            return left ^ right
    if op in ("&&", "||"):
        truths = (left.truth, right.truth)
        decided = op == "||"
        if decided in truths:
            return Mask.of(decided)
        return Mask.of(not decided) if None not in truths else Mask(0, 0, left.params | right.params)
    if left.value is None or right.value is None:
        apart = left.set & right.clear or left.clear & right.set
        if apart and op in ("==", "!="):
            return Mask.of(op == "!=")
        return Mask(0, 0, left.params | right.params)
    return _arithmetic(op, left.value, right.value)


def _arithmetic(op: str, left: int, right: int) -> Mask:
    match op:
        case "==":
            return Mask.of(left == right)
        case "!=":
            return Mask.of(left != right)
        case "+":
            return Mask.of(left + right)
        case "-":
            return Mask.of(left - right)
        case "<<" if right < 64:
            return Mask.of(left << right)
        case ">>":
            return Mask.of(left >> right)
    return Mask(0, 0)


def _table(version: Version | None) -> str:
    """Return the definitions of rules/gfp.toml that hold for `version`, as C."""
    path = rules_directory() / "gfp.toml"
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["header"]
        return "\n".join(table["text"] for table in tables if _applies(table, version))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise CatalogueError(str(path), 1, f"is no table of masks: {error}") from None


def _applies(table: dict[str, str], version: Version | None) -> bool:
    def parsed(text: str) -> Version:
        major, minor = text.split(".")
        return int(major), int(minor)

    now = version or (9999, 0)
    return parsed(table.get("since", "0.0")) <= now < parsed(table.get("until", "9999.1"))


def _definitions(text: str) -> dict[str, int]:
    """Return the value of every mask that a header defines; of two definitions the one that is not 0."""
    text = _COMMENT.sub(" ", text.replace("\\\n", " "))
    constants = {name: ir.Number(place) for name, place in _enumerators(text)}
    defined: dict[str, ir.Expr] = {}
    for name, value in _DEFINE.findall(text):
        expr = _expression(value)
        if expr is not None and (name not in defined or defined[name] == ir.Number(0)):
            defined[name] = expr
    masks = Masks({})
    values = ((name, masks.evaluate(expr, lambda n: defined.get(n) or constants.get(n)).value)
              for name, expr in defined.items())  # fmt: skip
    return {name: value for name, value in values if value is not None}


def _enumerators(text: str) -> Iterator[tuple[str, int]]:
    """Yield the bit numbers of `enum { ___GFP_…_BIT, … }`, as if every configuration had its bits."""
    for body in _ENUM.findall(text):
        lines = "\n".join(line for line in body.splitlines() if not line.lstrip().startswith("#"))
        yield from ((name, place) for place, name in enumerate(re.findall(r"\w+", lines)))


def _expression(text: str) -> ir.Expr | None:
    """Return a constant expression of a header as IR, None for anything else."""
    plain = re.sub(r"\b__force\b", "", text)
    try:
        tree = CParser().parse(f"typedef unsigned gfp_t; int mask = {plain};")
    except ParseError:
        return None
    declaration = tree.ext[-1]
    return _lower(declaration.init) if isinstance(declaration, c_ast.Decl) and declaration.init else None


def _lower(node: c_ast.Node) -> ir.Expr:
    match node:
        case c_ast.Constant():
            digits = _SUFFIX.sub("", node.value)
            return ir.Number(int(digits, 0)) if digits.isalnum() else ir.Unknown(node.value)
        case c_ast.ID():
            return ir.Name(node.name)
        case c_ast.Cast():
            return _lower(node.expr)
        case c_ast.UnaryOp():
            return ir.Unary(node.op, _lower(node.expr))
        case c_ast.BinaryOp():
            return ir.Binary(node.op, _lower(node.left), _lower(node.right))
        case c_ast.FuncCall(name=c_ast.ID(name="BIT"), args=c_ast.ExprList(exprs=[shift])):
            return ir.Binary("<<", ir.Number(1), _lower(shift))
    return ir.Unknown(type(node).__name__)
