"""Where memory of a type, or of a global, comes from anywhere in the program.

A path shows where a local got its memory; for a parameter or an element of a list it shows nothing.
But when every allocation of `struct foo` is by one allocator, that one made this `struct foo`, too.
"""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, is_zero
from kgfplint.facts.types import pointee, tag_of
from kgfplint.ownership.frame import Frame
from kgfplint.program.meaning import Meaning
from kgfplint.program.types import Typing


class Source(Struct, frozen=True, array_like=True):
    """One allocation: the family, by which function, where."""

    family: str
    alloc: str
    path: str
    line: int
    function: str


Sources = tuple[tuple[str, Source], ...]


def key_of(expr: ir.Expr, typing: Typing, path: str, locals_: Iterable[str]) -> str:
    """Return what the provenance of an expression goes by: a global of this file, else the struct it points to, else ""."""
    expr = bare(expr)
    if isinstance(expr, ir.Name) and expr.id not in locals_:
        return f"{path}:{expr.id}"
    return _struct(typing.expanded(expr))


def _struct(ctype: str) -> str:
    """Return the tag that a type points to directly, "" for any other type."""
    target = pointee(ctype) if ctype.endswith("*") else None
    return f"struct {tag_of(target)}" if target and tag_of(target) and not target.endswith(("*", "]")) else ""


def sources(frame: Frame) -> Sources:
    """Return the allocations of one function by what they are for."""
    if not frame.allocates:
        return ()
    row, types = frame.row, frame.program.types
    found: list[tuple[str, Source]] = []
    for callee, line, target in _allocations(frame):
        alloc = frame.meaning.alloc(row.file, callee)
        if alloc is None or alloc.ptr is not None:
            continue
        returned = types.expand(row.file, row.returns)
        key = key_of(target, frame.typing, frame.path, frame.types) if target is not None else _struct(returned)
        if key:
            found.append((key, Source(alloc.family, callee, frame.path, line, row.name)))
    return tuple(found)


def _allocations(frame: Frame) -> Iterator[tuple[str, int, ir.Expr | None]]:
    """Yield callee, line and target of each call whose memory is stored or (target None) returned."""
    for event in frame.events():
        if isinstance(event, ir.Call) and isinstance(event.callee, ir.Name):
            alloc = frame.meaning.alloc(frame.file, event.callee.id)
            if alloc is not None and alloc.out is not None and alloc.out < len(event.args):
                given = bare(event.args[alloc.out])
                yield event.callee.id, event.line, given.base if isinstance(given, ir.AddressOf) else ir.Deref(given)
            elif event.target is not None:
                yield event.callee.id, event.line, event.target
        elif isinstance(event, ir.Return) and event.value is not None:
            value = bare(event.value)
            if isinstance(value, ir.CallResult) and isinstance(value.callee, ir.Name):
                yield value.callee.id, event.line, None


def gathered(by_function: Mapping[int, Sources]) -> dict[str, tuple[Source, ...]]:
    """Return the sources of all functions by key, in a stable order."""
    found: dict[str, list[Source]] = {}
    for number in sorted(by_function):
        for key, source in by_function[number]:
            found.setdefault(key, []).append(source)
    return {key: tuple(sources) for key, sources in found.items()}


def of_local(values: Iterable[ir.Expr | None], meaning: Meaning, file: int) -> set[str] | None:
    """Return the families that the values assigned to a local come from; None if one of them is unknown."""
    families: set[str] = set()
    for value in values:
        plain = bare(value) if value is not None else None
        if plain is None or not (is_zero(plain) or isinstance(plain, ir.CallResult)):
            return None
        if isinstance(plain, ir.CallResult):
            alloc = meaning.alloc(file, plain.callee.id) if isinstance(plain.callee, ir.Name) else None
            if alloc is None:
                return None
            families.add(alloc.family)
    return families
