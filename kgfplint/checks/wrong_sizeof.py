"""KGF506: the size of a pointer, or of another type than the pointer that takes the memory is for."""

from collections.abc import Iterator
from typing import NamedTuple

from kgfplint.checks import Rule
from kgfplint.checks.sizes import arguments, factors, type_of
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root, show, walk
from kgfplint.facts.types import is_pointer, pointee, tag_of
from kgfplint.findings import Finding, Severity
from kgfplint.program.estimates import estimates_of
from kgfplint.program.types import Types
from kgfplint.source.words import SIZES

RULE = Rule(
    code="KGF506",
    name="wrong-sizeof",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="The size of an allocation is that of what its pointer points to.",
)


class Wrong(NamedTuple):
    """What is wrong with a sizeof, and what it should be."""

    what: str
    advice: str
    severity: Severity


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation sized by a sizeof that does not fit its pointer."""
    for allocation in unit.allocations:
        wrong, target = judged(unit, allocation), allocation.call.target
        if wrong is not None and target is not None:
            target = bare(target)
            message = f"{wrong.what}; {allocation.name}() for {show(target)} needs {wrong.advice}"
            yield unit.finding(RULE, allocation.call, message, severity=wrong.severity)


def judged(unit: Unit, allocation: Allocation) -> Wrong | None:
    """Return what is wrong with the sizeof of an allocation, None if nothing is."""
    target = bare(allocation.call.target) if allocation.call.target is not None else None
    if target is None or not is_raw(unit, allocation) or _is_shadowed(unit, allocation, root(target)):
        return None
    return next(_wrong(unit, allocation, target), None)


def is_raw(unit: Unit, allocation: Allocation) -> bool:
    """Tell whether the result is the memory of the given size, rather than an object that holds it."""
    family = unit.meaning.catalogue.families.get(allocation.alloc.family)
    # By the call, not by the name: since 6.10 most allocators are macros, whose type is that of what they expand to.
    returned = unit.typing.expanded(ir.CallResult(allocation.call.callee, allocation.call.args))
    return allocation.alloc.out is None and returned in ("", "void *") and family is not None and not family.object


def _is_shadowed(unit: Unit, allocation: Allocation, name: str) -> bool:
    """Tell whether what is known of a variable is the type of a later one of the same name."""
    local = unit.locals.get(name)
    return local is not None and local.line > allocation.call.line


def _wrong(unit: Unit, allocation: Allocation, target: ir.Expr) -> Iterator[Wrong]:
    """Yield what is wrong with the size arguments of an allocation that `target` takes."""
    source = allocation.argument(allocation.alloc.source)
    for size in arguments(unit, allocation):
        # A header and an array of pointers behind it has both sizes in one sum.
        for term in walk(size) if not any(type(t) is ir.SizeOf and t.operand == ir.Deref(target) for t in walk(size)) else ():
            if isinstance(term, ir.SizeOf) and term.operand is not None:
                operand = term.operand.base if isinstance(term.operand, ir.AddressOf) else term.operand
                if operand == target or (source is not None and operand == bare(source)):
                    found = _of_pointer(unit, term, target)
                    if found is not None:
                        yield found
        sizes = [factor for factor in factors(size) if isinstance(factor, ir.SizeOf)]
        if len(sizes) == 1 and allocation.alloc.handle is None:
            found = _of_other(unit, sizes[0], target)
            if found is not None:
                yield found


def _of_pointer(unit: Unit, term: ir.SizeOf, target: ir.Expr) -> Wrong | None:
    """Judge sizeof(p) for p: too small or too large but for pointers to pointers, where it is right by chance."""
    assert term.operand is not None
    own = unit.typing.of(term.operand)
    if own and not is_pointer(unit.program.types.expand(unit.file, own)) and not isinstance(term.operand, ir.AddressOf):
        return None
    item = pointee(unit.typing.expanded(target)) or ""
    lucky = is_pointer(item) or unit.program.types.expand(unit.file, item) in _WORDS or _is_one_word(unit, item)
    severity = Severity.NOTE if lucky else Severity.ERROR
    return Wrong(f"{show(term)} is the size of a pointer", f"sizeof(*{show(target)})", severity)


_WORDS = frozenset({"unsigned long", "long", "size_t", "uintptr_t", "long unsigned int", "ssize_t"})
_RAW = frozenset({"void", "char", "unsigned char", "signed char", "u8", "__u8", "s8", "uint8_t", ""})


def _of_other(unit: Unit, term: ir.SizeOf, target: ir.Expr) -> Wrong | None:
    """Judge the size of a type that is not the one that `target` points to."""
    types = unit.program.types
    item = types.expand(unit.file, pointee(unit.typing.expanded(target)) or "")
    named = type_of(unit, term)
    sized = types.expand(unit.file, named)
    if item in _RAW or not sized or "[" in sized + item or "(" in sized + item:
        return None
    advice = f"sizeof(*{show(target)})"
    record = types.record(unit.file, tag_of(item))
    if record is not None and record.union:
        return None
    if is_pointer(sized) or is_pointer(item):
        if is_pointer(sized) and is_pointer(item):
            return None
        return _pointer_or_not(unit, term, item, sized, advice)
    mine, its = tag_of(sized), tag_of(item)
    if not mine or not its or mine == its or _related(types, unit.file, mine, its) or _related(types, unit.file, its, mine):
        return None
    sizes = {estimates_of(unit.program).of(unit.file, f"struct {tag}") for tag in (mine, its)}
    severity = Severity.WARNING if len(sizes) > 1 else Severity.NOTE  # twins: right by chance
    return Wrong(f"{show(term)} is the size of another struct ({named or sized})", advice, severity)


def _pointer_or_not(unit: Unit, term: ir.SizeOf, item: str, sized: str, advice: str) -> Wrong | None:
    """Judge the size of a pointer where an object is needed, or the other way round."""
    if is_pointer(sized):
        if item in _WORDS or SIZES.get(item) == 8 or not (tag_of(item) or item in SIZES):
            return None
        severity = Severity.WARNING if not tag_of(item) else Severity.NOTE if _is_one_word(unit, item) else Severity.ERROR
        return Wrong(f"{show(term)} is the size of a pointer", advice, severity)
    if not tag_of(sized) or unit.program.types.record(unit.file, tag_of(sized)) is None:
        return None
    return Wrong(f"{show(term)} is the size of an object, not of a pointer", advice, Severity.WARNING)


def _is_one_word(unit: Unit, item: str) -> bool:
    """Tell whether a struct is no larger than a pointer, as struct hlist_head is: its size is right by chance."""
    size = estimates_of(unit.program).of
    return bool(tag_of(item)) and size(unit.file, item) <= size(unit.file, "void *")


def _related(types: Types, file: int, outer: str, inner: str, depth: int = 4) -> bool:
    """Tell whether a struct begins with another (itself a wrapper of that one), or is not known well enough to tell."""
    record = types.record(file, outer)
    if record is None or not record.order:
        return True
    members = record.order if record.union else record.order[:1]
    for member in members:
        tag = tag_of(types.expand(file, record[member])) if not record[member].endswith("*") else ""
        known = bool(tag) and types.record(file, tag) is not None
        if tag == inner or (known and depth and _related(types, file, tag, inner, depth - 1)):
            return True
    return False
