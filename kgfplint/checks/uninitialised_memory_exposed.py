"""KGF513: memory that was not zeroed is given away before all of it is written."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.findings import Finding, Severity
from kgfplint.taint.exposure import exposure
from kgfplint.taint.filled import SOME, Filling, Given, missing

RULE = Rule(
    code="KGF513",
    name="uninitialised-memory-exposed",
    severity=Severity.NOTE,
    guide="Get Free Page flags",
    summary="Memory that goes to user space, hardware or the wire, or is read as a whole, is zeroed or all written first.",
)
_MOST, _FEW = 4, 2
"""Names of members that a message tells; members that are written one by one, if that is how a struct is filled."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation that is not zeroed and of which something is given away that was not written."""
    if not _gives_away(unit):
        return
    for allocation in unit.allocations:
        if allocation.alloc.zeroes or allocation.inferred or allocation.alloc.source is not None or not isinstance(
                allocation.call.target, ir.Name) or unit.meaning.masks.has(allocation.mask, "__GFP_ZERO") is not False:
            continue
        found = _exposed(unit, allocation)
        if found is not None:
            yield found


def _gives_away(unit: Unit) -> bool:
    """Tell cheaply whether anything in a function gives memory away."""
    known = exposure()
    return any(name in known.exposes or known.registers(name) or name == "dma_pool_alloc" for name in unit.callees)


def _exposed(unit: Unit, allocation: Allocation) -> Finding | None:
    """Return a finding for the first call that gives memory of an allocation away."""
    alloc = allocation.alloc
    if alloc.pool is not None and alloc.handle is not None:
        return _by_handle(unit, allocation)
    filling = Filling(unit, allocation.call, _sizes(unit, allocation))
    for given in filling.given():
        name = given.call.callee.id if isinstance(given.call.callee, ir.Name) else ""
        row = exposure().exposes.get(name)
        if row is not None and row.memory < len(given.call.args) and given.call.args[row.memory] is given.argument:
            if row.bytes < len(given.call.args) and filling.covers(given.call.args[row.bytes]):
                lacking = _lacking(unit, allocation, given)
                if lacking:
                    return _finding(unit, allocation, given, f"goes to {row.to} by {name}() {lacking}")
        elif exposure().registers(name) and (lacking := _unregistered(unit, given)):
            return _finding(unit, allocation, given, f"is not zeroed, and {name}() is given {lacking}")
    return None


def _by_handle(unit: Unit, allocation: Allocation) -> Finding | None:
    """Return a finding for a buffer of a DMA pool whose address a call is given, if the buffer lives only in this function."""
    handle = allocation.argument(allocation.alloc.handle)
    frees = [call for call in unit.calls if isinstance(call.callee, ir.Name) and "dma_pool_free" in call.callee.id]
    if not isinstance(handle, ir.AddressOf) or not any(bare(call.args[-1]) == handle.base for call in frees if call.args):
        return None
    for given in Filling(unit, allocation.call, frozenset(), handle.base).given():
        if bare(given.argument) == handle.base and given.call not in frees:
            what = "only in part written" if given.parts else "not written"
            text = f"is {what} when {show(given.call.callee)}() is given its address for the device"
            return _finding(unit, allocation, given, text)
    return None


def _sizes(unit: Unit, allocation: Allocation) -> frozenset[ir.Expr]:
    """Return the expressions that are the size of an allocation."""
    alloc, target = allocation.alloc, allocation.call.target
    found = set[ir.Expr]()
    size = allocation.argument(alloc.size)
    if size is not None:
        found |= {bare(size), unit.value_of(bare(size))}
    count, element = allocation.argument(alloc.count), allocation.argument(alloc.element)
    if count is not None and element is not None:
        found |= {ir.Binary("*", count, element), ir.Binary("*", element, count)}
    if alloc.count is None and target is not None and any(isinstance(one, ir.SizeOf) for one in found):
        ctype = unit.typing.of(target).removesuffix("*").strip()
        found |= {ir.SizeOf("", ir.Deref(target)), ir.SizeOf(ctype, None)}
    return frozenset(found)


def _lacking(unit: Unit, allocation: Allocation, given: Given) -> str:
    """Return what of an allocation that is given away is not written, "" if all its members are."""
    target = allocation.call.target
    size = allocation.argument(allocation.alloc.size)
    value = unit.value_of(bare(size)) if size is not None else None
    tag = unit.typing.tag(target) if target is not None and isinstance(value, ir.SizeOf) else ""
    record = unit.program.types.record(unit.file, tag) if tag else None
    if record is None or record.union or SOME in given.parts:
        partly = not given.parts or (record is not None and SOME in given.parts)
        return "though some path writes only part of it, or nothing" if partly else ""
    names = missing(record, given.parts)
    return f"without {_listed(names)} being written" if names else ""


def _unregistered(unit: Unit, given: Given) -> str:
    """Return which members of a struct inside the memory are not written though others are, one by one."""
    inner = bare(given.argument)
    if not isinstance(inner, ir.AddressOf) or not isinstance(inner.base, ir.Field):
        return ""
    path = _path(inner.base)
    tag = unit.typing.tag(inner.base)
    record = unit.program.types.record(unit.file, tag) if tag and not unit.typing.of(inner.base).endswith("*") else None
    written = [part for part in given.parts if part.startswith(path + ".")]
    if record is None or record.union or path in given.parts or len(written) < 2:
        return ""
    names = missing(record, given.parts, path + ".")
    return f"{show(inner.base)} with {_listed(names)} not written" if names else ""


def _path(field: ir.Expr) -> str:
    """Return the dotted path of a member below the pointer that it starts from."""
    if not isinstance(field, ir.Field):
        return ""
    above = "" if field.arrow else _path(field.base)
    return f"{above}.{field.member}" if above else field.member


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_MOST])
    return f"{shown} and {len(names) - _MOST} more" if len(names) > _MOST else shown


def _finding(unit: Unit, allocation: Allocation, given: Given, what: str) -> Finding:
    alloc = allocation.alloc
    remedy = f"use {alloc.zeroing}()" if alloc.zeroing else "clear it" if alloc.pooled else "add __GFP_ZERO"
    return unit.finding(
        RULE, allocation.call, f"memory of {alloc.name}() {what}; {remedy}",
        (unit.step(given.call.line, f"{show(given.call.callee)}() is given {show(given.argument)} here"),),
    )
