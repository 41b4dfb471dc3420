"""What allocations ask for by sizes and counts that come from outside of the kernel."""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from kgfplint.checks.chosen import from_slab
from kgfplint.checks.requests import machine_of
from kgfplint.checks.sizes import is_constant
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.findings import Severity, Step
from kgfplint.taint.entering import may_come_from_outside
from kgfplint.taint.flow import Outside
from kgfplint.taint.rules import taint_rules
from kgfplint.taint.values import WORD, Value, Width, combined


class Asked(NamedTuple):
    """An allocation with its size in bytes, some of which is from outside; `slab`: kmalloc() and nothing else serves it."""

    allocation: Allocation
    bytes: Value
    slab: bool
    quiet: bool

    @property
    def severity(self) -> Severity:
        """A warning where nobody can have looked at the value; else others may have, or a wrapper looks, or asks in silence."""
        sure = self.bytes.origin is not None and self.bytes.origin.kind.sure and not self.allocation.inferred
        return Severity.WARNING if sure else Severity.NOTE

    def trace(self, unit: Unit) -> tuple[Step, ...]:
        """Return the step at which the value comes in."""
        origin = self.bytes.origin
        if origin is None or not origin.line:
            return ()
        return (unit.step(origin.line, f"{origin.text} comes from {origin.kind.title}"),)


def limit_of(unit: Unit) -> int:
    """Return the bytes above which kmalloc() fails."""
    return machine_of(unit).kmalloc_max_size


@lru_cache(maxsize=1)
def outside(unit: Unit) -> tuple[Asked, ...]:
    """Return the allocations of a function whose size is in part from outside."""
    wanted = {id(one.call): (one, sizes) for one in unit.allocations if (sizes := _sizes(unit, one))}
    if not wanted or not may_come_from_outside(unit, [size for _, sizes in wanted.values() for size in sizes]):
        return ()
    return tuple(_asked(unit, wanted))


def _sizes(unit: Unit, allocation: Allocation) -> tuple[ir.Expr, ...]:
    """Return the factors of an allocation's size, none where the compiler knows them."""
    alloc = allocation.alloc
    places = (alloc.count, alloc.element) if alloc.count is not None else (
        (alloc.size,) if alloc.size is not None else (alloc.length,) if alloc.length is not None else (alloc.order,))
    given = tuple(arg for place in places if (arg := allocation.argument(place)) is not None)
    return () if all(is_constant(unit, arg) for arg in given) else given


def _asked(unit: Unit, wanted: dict[int, tuple[Allocation, tuple[ir.Expr, ...]]]) -> Iterator[Asked]:
    def sizes(call: ir.Call) -> tuple[ir.Expr, ...]:
        found = wanted.get(id(call))
        return found[1] if found is not None else ()

    for call, values in Outside(unit).at(sizes):
        allocation = wanted[id(call)][0]
        found = values[0]
        for value in values[1:]:  # such allocators look whether the product overflows
            found = combined("*", found._replace(width=Width(WORD, False)), value._replace(width=Width(WORD, False)), "")
        if found.origin is not None:
            slab = from_slab(unit.meaning, allocation.alloc) and allocation.alloc.family == "kmalloc"
            silent = bool(unit.meaning.masks.has(allocation.mask, "__GFP_NOWARN"))
            quiet = silent or allocation.name in taint_rules().quiet
            yield Asked(allocation, found, slab, quiet)
