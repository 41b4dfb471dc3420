"""KGF101: an allocation that may sleep where sleeping is forbidden."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.context.held import Held
from kgfplint.facts import ir
from kgfplint.facts.terms import show
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF101",
    name="sleeping-alloc-in-atomic",
    severity=Severity.ERROR,
    guide="Get Free Page flags",
    summary="GFP_KERNEL implies direct reclaim: the calling context must be allowed to sleep.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report the first sleeping allocation under each acquire that forbids to sleep."""
    if not unit.touches_locks:
        return
    allocations = {id(a.call): a for a in unit.allocations}
    told: set[tuple[str, int]] = set()
    for event, state in unit.states:
        if not isinstance(event, ir.Call) or not state.held:
            continue
        held = next((h for h in state.held if _atomic(unit, h)), None)
        what = _sleeps(unit, event, allocations.get(id(event))) if held is not None else None
        if held is None or what is None or (held.kind, held.line) in told:
            continue
        told.add((held.kind, held.line))
        place = f"{held.by}({show(held.lock) if held.lock is not None else ''})"
        message = f"{what} may sleep, but this runs under {place} taken at line {held.line}; use GFP_ATOMIC or allocate before it"
        yield unit.finding(RULE, event, message, (unit.step(held.line, f"{place}: no sleeping from here"),
                                                  unit.step(event.line, f"{what} may sleep")))


def _atomic(unit: Unit, held: Held) -> bool:
    kind = unit.meaning.catalogue.kinds.get(held.kind)
    return kind is not None and kind.atomic


def _sleeps(unit: Unit, call: ir.Call, allocation: Allocation | None) -> str | None:
    """Return what sleeps ("kmalloc() with GFP_KERNEL"), None if the call need not sleep."""
    name = call.callee.id if isinstance(call.callee, ir.Name) else ""
    effect = unit.meaning.catalogue.locks.get(name)
    if effect is not None and effect.action == "retake":
        return None
    masks = unit.meaning.masks
    if allocation is not None:
        if allocation.alloc.sleeps == "always":
            return f"{name}()"
        if allocation.alloc.sleeps == "gfp" and masks.may_sleep(allocation.mask):
            return f"{name}() with {masks.describe(allocation.mask)}"
        return None
    place = unit.meaning.gfp_argument(unit.file, name) if name else None
    if place is None or place >= len(call.args):
        return None
    mask = unit.mask(call.args[place])
    return f"{name}() with {masks.describe(mask)}" if masks.may_sleep(mask) else None
