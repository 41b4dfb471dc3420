"""KGF202: __GFP_NOFAIL where the allocator cannot keep the promise."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, mask_text
from kgfplint.checks.unit import Unit
from kgfplint.context.held import Held
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF202",
    name="nofail-misuse",
    severity=Severity.ERROR,
    guide="GFP flags and reclaim behavior",
    summary="__GFP_NOFAIL loops until there is memory: for small requests that may reclaim and sleep only.",
)

_HIGHEST = 1
"""The page allocator warns of __GFP_NOFAIL above this order."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each call with __GFP_NOFAIL that cannot reclaim, must not sleep, or is too large."""
    forced = [choice for choice in choices(unit) if any(arm.sets("__GFP_NOFAIL") for arm in choice.arms())]
    held = _held(unit) if forced else {}
    for choice in forced:
        asked = f"{choice.name}() is given {mask_text(unit, choice)}"
        atomic = held.get(id(choice.call)) if choice.sets("__GFP_NOFAIL") else None
        order = _order(unit, choice)
        if any(arm.sets("__GFP_NOFAIL") and arm.clears("__GFP_DIRECT_RECLAIM") for arm in choice.arms()):
            message = f"{asked}: without direct reclaim it fails all the same; drop __GFP_NOFAIL and test the result"
            yield unit.finding(RULE, choice.call, message)
        elif atomic is not None:
            place = f"{atomic.by}({show(atomic.lock) if atomic.lock is not None else ''})"
            message = f"{asked}, to sleep until there is memory, but runs under {place} taken at line {atomic.line}"
            trace = (unit.step(atomic.line, f"{place}: no sleeping from here"),
                     unit.step(choice.call.line, f"{choice.name}() never gives up"))
            yield unit.finding(RULE, choice.call, message, trace)
        elif order is not None and order > _HIGHEST:
            message = f"{asked} and order {order}: this may loop for ever; let it fail, or use kvmalloc()"
            yield unit.finding(RULE, choice.call, message)


def _held(unit: Unit) -> dict[int, Held]:
    """Return what forbids to sleep at each call, by the identity of the call."""
    kinds = unit.meaning.catalogue.kinds
    found: dict[int, Held] = {}
    for event, state in unit.states:
        for held in state.held:
            kind = kinds.get(held.kind)
            if isinstance(event, ir.Call) and kind is not None and kind.atomic:
                found.setdefault(id(event), held)
    return found


def _order(unit: Unit, choice: Choice) -> int | None:
    """Return the order of the pages asked for, None if it is not a constant."""
    if choice.alloc is None or choice.alloc.order is None or choice.alloc.order >= len(choice.call.args):
        return None
    expr = bare(unit.value_of(choice.call.args[choice.alloc.order]))
    return unit.meaning.masks.evaluate(expr, lambda name: unit.meaning.evaluate(unit.file, ir.Name(name), {})).value
