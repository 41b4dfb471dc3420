"""Sizes, alignments and offsets of C types under an ABI.

    layouts = Layouts(abi_of("arm64"), declarations(text))
    layouts.sizeof("struct foo")                # Range(24, 32): bytes, over all configurations
    layouts.offsetof("struct foo", "inner.x")
    layouts.alignof("u64 *")

A configuration decides which members a struct has, so that a size is a range. Every step of a layout grows with what
comes before it, so that the smallest choice everywhere gives the smallest size and the largest choice the largest:
both are computed, each by one walk. An upper bound that is not known is None; of what nothing is known, the answer is None.
Structs are laid out as written: what CONFIG_RANDSTRUCT or a sanitizer makes of them is not told.
"""

import contextlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

from pycparser import c_ast

from kgfplint.source.layouts_abi import Abi, UnknownAbi, abi_names, abi_of
from kgfplint.source.layouts_records import NOTHING, End, Extent, Laid, Unbounded, lay_out
from kgfplint.source.layouts_text import WORDS, Mark
from kgfplint.source.layouts_types import (
    Aligned,
    Array,
    Declarations,
    Enum,
    Named,
    OneOf,
    Pointer,
    Record,
    Type,
    declarations,
    made_type,
    type_of,
)
from kgfplint.source.layouts_values import Values

__all__ = [
    "Abi", "Declarations", "Layouts", "Range", "Scope", "Type", "UnknownAbi", "abi_names", "abi_of", "declarations", "type_of",
]  # fmt: skip

_DEPTH = 40
"""Types that may lie in one another before they count as unknown."""


class Range(NamedTuple):
    """A number of bytes between `low` and `high`, both possible; high None: no bound is known."""

    low: int
    high: int | None

    @property
    def exact(self) -> int | None:
        """The number, if it is the same in all configurations."""
        return self.low if self.low == self.high else None

    def __str__(self) -> str:
        """Show `24`, `24..32` or `24 or more`."""
        if self.high is None:
            return f"{self.low} or more"
        return str(self.low) if self.exact is not None else f"{self.low}..{self.high}"


class Scope(Protocol):
    """Where the names in types are defined; each answer is None for a name that is not known."""

    def record(self, tag: str) -> Record | None:
        """Return a struct or union by its tag."""

    def enum(self, tag: str) -> Enum | None:
        """Return an enum by its tag."""

    def typedef(self, name: str) -> Type | None:
        """Return what a typedef means."""

    def constant(self, name: str) -> c_ast.Node | None:
        """Return the expression that a macro or an enumerator stands for."""

    def homes(self, tag: str) -> "tuple[Layouts, ...]":
        """Return the layouts of the files that may define a tag, in whose scope its members are named; none: this scope's own."""


class Layouts:
    """Answers for types whose names are defined in a scope; keeps what it found."""

    def __init__(self, abi: Abi, scope: Scope, page_size: int | None = None) -> None:
        """`page_size` is PAGE_SIZE in bytes (None: the usual one of the architecture)."""
        self.abi = abi
        self._scope = scope
        self._values = Values(abi, page_size or abi.pages[0], scope.constant, self._measure)
        self._known: dict[tuple[str, End], Extent | None] = {}
        self._depth = 0

    def sizeof(self, ctype: str | Type) -> Range | None:
        """Return the bytes of a type, None if nothing is known of it."""
        return self._range(ctype, lambda extent: extent.size)

    def alignof(self, ctype: str | Type) -> Range | None:
        """Return the alignment in bytes that a type has inside a struct, None if nothing is known of it."""
        return self._range(ctype, lambda extent: extent.align)

    def offsetof(self, ctype: str | Type, path: str) -> Range | None:
        """Return how many bytes into a struct the member at a dotted path lies; None if unknown, or a bit-field."""
        asked = type_of(ctype) if isinstance(ctype, str) else ctype
        if asked is None:
            return None
        low, high = (self._offset(asked, path.split("."), end) for end in End)
        return None if low is None else Range(low, high)

    def member(self, ctype: str | Type, path: str) -> Type | None:
        """Return the type of the member at a dotted path, None if there is none."""
        found = type_of(ctype) if isinstance(ctype, str) else ctype
        for name in path.split("."):
            laid = self._laid(found, End.LOW) if found is not None else None
            places = self._places(laid, name, End.LOW) if laid is not None else []
            found = places[0][1] if places else None
        return found

    def constant(self, text: str) -> int | None:
        """Return the value of a constant expression, which may have sizeof in it; None if it is not known."""
        return self._values.of_text(text)

    def _range(self, ctype: str | Type, part: Callable[[Extent], int]) -> Range | None:
        asked = type_of(ctype) if isinstance(ctype, str) else ctype
        if asked is None:
            return None
        low = self._extent(asked, End.LOW)
        try:
            high = part(self._extent(asked, End.HIGH))
        except Unbounded:
            return None if low == NOTHING else Range(part(low), None)
        return Range(part(low), high)

    def _measure(self, word: str, asked: Type, path: str) -> Range | None:
        """Return what a sizeof, _Alignof or offsetof in an expression is."""
        if word == "offsetof":
            return self.offsetof(asked, path)
        return self.sizeof(asked) if word == "sizeof" else self.alignof(asked)

    def _extent(self, asked: Type, end: End) -> Extent:
        """Return size and alignment of a type at one end of its range; Unbounded where the upper one is not known."""
        self._depth += 1
        try:
            if self._depth < _DEPTH:
                match asked:
                    case Pointer():
                        return Extent(self.abi.pointer, self.abi.pointer)
                    case Named(name):
                        return self._named(name, end)
                    case Array(element, length):
                        return self._array(self._extent(element, end), length, end)
                    case Record(items=None):
                        return self._tagged(asked, end)
                    case Record():
                        return self._lay_out(asked, end).extent
                    case Enum():
                        return self._enum(asked, end)
                    case OneOf(types):
                        return _hull([self._extent(one, end) for one in types], end)
                    case Aligned(inner, marks):
                        extent = self._extent(inner, end)
                        return Extent(extent.size, self._alignment(marks, end) or extent.align)
        finally:
            self._depth -= 1
        return self._unknown(end)

    def _unknown(self, end: End) -> Extent:
        if end is End.HIGH:
            raise Unbounded
        return NOTHING

    def _named(self, name: str, end: End) -> Extent:
        return self._kept(name, end, lambda: self._looked_up(name, end))

    def _kept(self, name: str, end: End, compute: Callable[[], Extent]) -> Extent:
        """Return what is known of a name, computed once."""
        key = name, end
        if key not in self._known:
            self._known[key] = None  # while it is computed, and for good where there is no bound
            with contextlib.suppress(Unbounded):
                self._known[key] = compute()
        known = self._known[key]
        return known if known is not None else self._unknown(end)

    def _tagged(self, asked: Record, end: End) -> Extent:
        def compute() -> Extent:
            found = self._scope.record(asked.tag)
            return self._lay_out(found, end).extent if found is not None else self._unknown(end)

        def compare() -> Extent:
            return _hull([home._tagged(asked, end) for home in homes], end)

        homes = self._scope.homes(asked.tag)
        if not homes or homes == (self,):
            return self._kept(f"struct {asked.tag}", end, compute)
        return self._kept(f"one of struct {asked.tag}", end, compare)

    def _lay_out(self, record: Record, end: End) -> Laid:
        return lay_out(record, self.abi, end, self._extent, self._alignment, self._values)

    def _looked_up(self, name: str, end: End) -> Extent:
        scalar = self.abi.scalar(name)
        if scalar is not None:
            return Extent(*scalar)
        meant = self._scope.typedef(name) or made_type(name)
        return self._extent(meant, end) if meant is not None else self._unknown(end)

    def _array(self, element: Extent, length: c_ast.Node | None, end: End) -> Extent:
        if length is None:
            return Extent(0, element.align)
        count = self._values.bound(length, end is End.HIGH)
        if count is None or count < 0:
            return Extent(self._unknown(end).size, element.align)
        return Extent(count * element.size, element.align)

    def _enum(self, asked: Enum, end: End) -> Extent:
        """Return the extent of an enum: an int, unless a value that is known does not fit or it is packed."""
        found = asked if asked.values is not None else self._scope.enum(asked.tag)
        long_long = Extent(*self.abi.scalars["long long"])
        if found is None or found.values is None:
            return long_long if end is End.HIGH else Extent(1, 1)
        known = [self._values.of_enumerator(name) for name, _ in found.values]
        values = [value for value in known if value is not None] or [0]
        signed = min(values) < 0
        bits = max(max(values).bit_length() + signed, (-min(values) - 1).bit_length() + 1 if signed else 0)
        packed = any(mark.kind == "packed" for mark in found.marks)
        size = 4 if bits > 16 or not packed else 2 if bits > 8 else 1
        return long_long if bits > 32 else Extent(size, size)

    def _laid(self, asked: Type, end: End) -> Laid | None:
        """Return the layout of a struct or union type, None for any other or an unknown one."""
        record, home = self._record(asked)
        return home._lay_out(record, end) if record is not None else None

    def _record(self, asked: Type | None) -> "tuple[Record | None, Layouts]":
        """Return the definition behind a type, None for one that is no struct, and the layouts to read it with."""
        for _ in range(_DEPTH):
            match asked:
                case Record(items=None):
                    homes = self._scope.homes(asked.tag) or (self,)
                    if len(homes) > 1:
                        break
                    return homes[0]._scope.record(asked.tag), homes[0]
                case Record():
                    return asked, self
                case Aligned(inner, _):
                    asked = inner
                case Named(name) if self.abi.scalar(name) is None:
                    asked = self._scope.typedef(name)
                case _:
                    break
        return None, self

    def _alignment(self, marks: tuple[Mark, ...], end: End) -> int:
        """Return the largest alignment that attributes ask for in bytes, 0 if none does."""
        return max((self._asked(mark, end) for mark in marks if mark.kind in ("align", "word")), default=0)

    def _asked(self, mark: Mark, end: End) -> int:
        if mark.kind == "word":
            bound = WORDS[mark.text][end.value]
            return self.abi.line[end.value] if isinstance(bound, str) else bound
        if not mark.text:
            return self.abi.largest
        if mark.text in ("L1_CACHE_BYTES", "SMP_CACHE_BYTES"):
            return self.abi.line[end.value]
        value = self._values.of_text(mark.text)
        return value if value is not None else self._unknown(end).align

    def _offset(self, asked: Type, path: list[str], end: End) -> int | None:
        """Return the offset of a member in bytes at one end, None if it is not known."""
        bits = 0
        at: Type = asked
        for name in path:
            try:
                laid = self._laid(at, end)
            except Unbounded:
                return None
            found = self._places(laid, name, end) if laid is not None else []
            if not found or found[0][2]:
                return None
            bit, at, _ = (max if end is End.HIGH else min)(found, key=lambda place: place[0])
            bits += bit
        return bits // 8

    def _places(self, laid: Laid, name: str, end: End) -> list[tuple[int, Type, bool]]:
        """Return (bit, type, whether a bit-field) of each member of a name, also of those in unnamed ones."""
        found = []
        for member, bit in laid.places:
            if member.name == name:
                found.append((bit, member.type, member.bits is not None))
            elif not member.name and member.bits is None:
                inner = self._laid(member.type, end)
                below = self._places(inner, name, end) if inner else []
                found += [(bit + more, ctype, bits) for more, ctype, bits in below]
        return found


def _hull(extents: list[Extent], end: End) -> Extent:
    """Return the least or the most that several types take."""
    pick = max if end is End.HIGH else min
    return Extent(pick(extent.size for extent in extents), pick(extent.align for extent in extents))
