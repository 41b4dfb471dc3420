"""C types as trees, read from C text by pycparser: what a layout is computed from."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from typing import TypeAlias

from pycparser import CParser, c_ast
from pycparser.c_parser import ParseError

from kgfplint.source.layouts_text import ALONE, MARK, OPAQUE, Mark, clean
from kgfplint.source.words import rules

_FAILURES = (ParseError, RecursionError, ValueError, TypeError, AttributeError, AssertionError, IndexError)
"""pycparser raises the last ones on some malformed input."""


@dataclass(frozen=True)
class Named:
    """A type by its name: `unsigned int`, `u32`, `struct foo`."""

    name: str


@dataclass(frozen=True)
class Pointer:
    """A pointer to anything."""


@dataclass(frozen=True)
class Array:
    """An array; `length` is a constant expression, None for a flexible array."""

    element: "Type"
    length: c_ast.Node | None


@dataclass(frozen=True)
class Enum:
    """An enum with its enumerators, or None where they are defined elsewhere."""

    tag: str
    values: tuple[tuple[str, c_ast.Node | None], ...] | None
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Member:
    """One member; its name is "" when unnamed, `bits` the width of a bit-field."""

    name: str
    type: "Type"
    bits: c_ast.Node | None = None
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The arms of an `#if` as (condition, members); the condition of `#else` is "1"."""

    arms: tuple[tuple[str, "Items"], ...]


@dataclass(frozen=True)
class Open:
    """Members that nothing is known of: `what` declares them."""

    what: str


Items: TypeAlias = tuple["Member | Choice | Open", ...]


@dataclass(frozen=True)
class Record:
    """A struct or union with its members, None where they are defined elsewhere; marks are its attributes."""

    tag: str
    union: bool
    items: Items | None
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Aligned:
    """A type that a typedef gives attributes."""

    type: "Type"
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class OneOf:
    """One of several types, as the configuration says."""

    types: tuple["Type", ...]


Type: TypeAlias = Named | Pointer | Array | Enum | Record | Aligned | OneOf | Open


@dataclass
class Declarations:
    """What a text defines: records and enums by tag, typedefs by name, enumerators by name as (expression, steps on)."""

    records: dict[str, Record] = field(default_factory=dict)
    enums: dict[str, Enum] = field(default_factory=dict)
    typedefs: dict[str, Type] = field(default_factory=dict)
    enumerators: dict[str, tuple[c_ast.Node | None, int]] = field(default_factory=dict)

    def record(self, tag: str) -> Record | None:
        """Return the struct or union of this tag."""
        return self.records.get(tag)

    def enum(self, tag: str) -> Enum | None:
        """Return the enum of this tag."""
        return self.enums.get(tag)

    def typedef(self, name: str) -> Type | None:
        """Return what a typedef name means."""
        return self.typedefs.get(name)

    def constant(self, name: str) -> c_ast.Node | None:
        """Return the expression that an enumerator stands for."""
        found = self.enumerators.get(name)
        if found is None:
            return None
        steps = c_ast.Constant("int", str(found[1]))
        return steps if found[0] is None else c_ast.BinaryOp("+", found[0], steps)

    def homes(self, tag: str) -> tuple[()]:
        """Return nothing: what a text defines is named in the text itself."""
        return ()


def declarations(text: str, pack: int = 0) -> Declarations:
    """Return what kernel C text defines; nothing when it cannot be read. `pack`: the #pragma pack in force, in bytes."""
    cleaned = clean(text, pack)
    builder = _Builder(cleaned.marks)
    names = "".join(f"typedef int {name};" for name in sorted(cleaned.types | {ALONE, OPAQUE}))
    try:
        tree = CParser().parse(f"{names}{cleaned.text}")
        for node in tree.ext[len(cleaned.types | {ALONE, OPAQUE}) :]:
            builder.external(node)
    except _FAILURES:
        return Declarations()
    return builder.found


@lru_cache(maxsize=1 << 14)
def type_of(text: str) -> Type | None:
    """Return a type written as C (`unsigned long`, `struct foo *`, `u8 [16]`), or as facts have it; None if it is none."""
    found = declarations(f"typedef {_declarator(text)};")
    return found.typedefs.get("__asked")


@cache
def made_type(name: str) -> Type | None:
    """Return a type that a macro of the kernel defines, from rules/abi.toml; None for any other name."""
    text = next((str(row["text"]) for row in rules("abi.toml")["made_types"] if name in row["names"]), "")
    return declarations(f"typedef {text} {name};").typedefs.get(name) if text else None


@lru_cache(maxsize=1 << 14)
def expression(text: str) -> c_ast.Node | None:
    """Return a constant expression as a tree, None if it is none."""
    try:
        return CParser().parse(f"int x = ({text});").ext[-1].init
    except _FAILURES:
        return None


def operand(node: c_ast.Node) -> Type | None:
    """Return the type that the operand of a sizeof is or names, None if it is another expression."""
    if isinstance(node, c_ast.ID):
        return Named(node.name)
    return _Builder([]).type(node) if isinstance(node, c_ast.Typename) else None


def _declarator(text: str) -> str:
    """Return the declaration of `__asked` with a type as facts write it: derivations from the inside out."""
    match = re.match(r"[\w. ]+", text)
    base, rest = (match[0], text[match.end() :]) if match else (text, "")
    name = "__asked"
    for part in reversed(re.findall(r"\*|\[[^\]]*\]|\(\)", rest)):
        name = f"(*{name})" if part == "*" else f"{name}{part}"
    return f"{base} {name}"


class _Builder:
    """Turns pycparser's tree into types."""

    def __init__(self, marks: list[Mark]) -> None:
        self._marks = marks
        self.found = Declarations()

    def external(self, node: c_ast.Node) -> None:
        """Note what an external declaration defines."""
        if isinstance(node, c_ast.Typedef):
            mark = self._mark(node.name)
            if mark is not None:
                last = next(reversed(self.found.typedefs))
                self.found.typedefs[last] = Aligned(self.found.typedefs[last], (mark,))
                return
            made = self.type(node.type)
            leading = tuple(self._leading(node))
            self.found.typedefs[node.name] = Aligned(made, leading) if leading else made
        elif isinstance(node, c_ast.Decl):
            self.type(node.type)

    def _mark(self, name: str | None) -> Mark | None:
        return self._marks[int(name[len(MARK) :])] if name and name.startswith(MARK) else None

    def _leading(self, node: c_ast.Node) -> Iterator[Mark]:
        """Yield the attributes that stand among the specifiers."""
        inner = node
        while inner is not None and not isinstance(inner, c_ast.IdentifierType):
            for found in getattr(inner, "align", None) or ():
                mark = self._mark(getattr(found.alignment, "name", None))
                if mark is not None:
                    yield mark
            inner = getattr(inner, "type", None)

    def type(self, node: c_ast.Node) -> Type:
        """Return the type that a node of the tree declares."""
        match node:
            case c_ast.TypeDecl() | c_ast.Typename():
                return self.type(node.type)
            case c_ast.PtrDecl():
                self.type(node.type)
                return Pointer()
            case c_ast.ArrayDecl():
                return Array(self.type(node.type), node.dim)
            case c_ast.Struct() | c_ast.Union():
                return self._record(node)
            case c_ast.Enum():
                return self._enum(node)
            case c_ast.IdentifierType():
                name = " ".join(node.names)
                return Open("typeof") if name == OPAQUE else Named(name)
        return Open(type(node).__name__)

    def _record(self, node: c_ast.Struct | c_ast.Union) -> Record:
        union = isinstance(node, c_ast.Union)
        if node.decls is None:
            return Record(node.name or "", union, None)
        attributes: list[Mark] = []
        waiting = list(node.decls)[::-1]
        items = self._items(waiting, attributes)
        if waiting:
            raise ValueError("an #endif without #if")
        record = Record(node.name or "", union, items, tuple(attributes))
        if node.name:
            self.found.records[node.name] = record
        return record

    def _items(self, waiting: list[c_ast.Node], attributes: list[Mark]) -> Items:
        """Take members up to the end or to the directive that ends an arm."""
        items: list[Member | Choice | Open] = []
        while waiting:
            node = waiting[-1]
            mark = self._mark(node.name)
            if mark is not None and mark.kind in ("elif", "else", "endif"):
                break
            waiting.pop()
            if mark is None:
                items.append(self._member(node))
            elif mark.kind == "if":
                items.append(self._choice(mark, waiting, attributes))
            elif mark.kind == "unknown":
                items.append(Open(mark.text))
            elif _alone(node):
                attributes.append(mark)
            elif items and isinstance(last := items[-1], Member):
                items[-1] = Member(last.name, last.type, last.bits, (*last.marks, mark))
        return tuple(items)

    def _choice(self, mark: Mark, waiting: list[c_ast.Node], attributes: list[Mark]) -> Choice:
        arms: list[tuple[str, Items]] = []
        condition = mark.text
        while True:
            arms.append((condition, self._items(waiting, attributes)))
            ended = self._mark(waiting.pop().name)
            assert ended is not None
            if ended.kind == "endif":
                return Choice(tuple(arms))
            condition = "1" if ended.kind == "else" else ended.text

    def _member(self, node: c_ast.Node) -> Member:
        return Member(node.name or "", self.type(node.type), node.bitsize, tuple(self._leading(node)))

    def _enum(self, node: c_ast.Enum) -> Enum:
        if node.values is None:
            return Enum(node.name or "", None)
        values: list[tuple[str, c_ast.Node | None]] = []
        attributes: list[Mark] = []
        base, steps = None, 0
        for enumerator in node.values.enumerators:
            mark = self._mark(enumerator.name)
            if mark is not None:
                attributes.append(mark)
                continue
            if enumerator.value is not None:
                base, steps = enumerator.value, 0
            self.found.enumerators[enumerator.name] = base, steps
            values.append((enumerator.name, enumerator.value))
            steps += 1
        made = Enum(node.name or "", tuple(values), tuple(attributes))
        if node.name:
            self.found.enums[node.name] = made
        return made


def _alone(node: c_ast.Node) -> bool:
    """Tell whether a mark is a declaration of its own, not one more declarator."""
    inner = node.type
    return isinstance(inner, c_ast.TypeDecl) and isinstance(inner.type, c_ast.IdentifierType) and inner.type.names == [ALONE]
