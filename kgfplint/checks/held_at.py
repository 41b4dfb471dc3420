"""What is held at a call, locks, disabled contexts and reclaim scopes, and which calls must not stand there."""

import functools
from collections.abc import Iterable, Mapping, Sequence

from kgfplint.checks.unit import Unit
from kgfplint.context.distances import NO_KERNEL, home_of
from kgfplint.context.held import Held
from kgfplint.context.sleeping import IRQS_OFF, RAW, Sleep, forbidden
from kgfplint.facts import ir


@functools.lru_cache(maxsize=2)
def _by_call(unit: Unit) -> Mapping[int, tuple[Held, ...]]:
    return {id(event): state.held for event, state in unit.states if state.held and isinstance(event, ir.Call)}


def held_at(unit: Unit, call: ir.Call) -> tuple[Held, ...]:
    """Return what every path to a call of the function holds there."""
    return _by_call(unit).get(id(call), ())


def atomic_at(unit: Unit, call: ir.Call) -> Held | None:
    """Return the first thing held at a call that forbids to sleep, None if there is none."""
    return first_atomic(unit, held_at(unit, call))


def first_atomic(unit: Unit, held: Iterable[Held]) -> Held | None:
    """Return the first of what is held that forbids to sleep, None if none does."""
    kinds = unit.meaning.catalogue.kinds
    return next((one for one in held if kinds[one.kind].atomic), None)


@functools.lru_cache(maxsize=2)
def wrong_sleeps(unit: Unit) -> tuple[tuple[ir.Call, Sleep, Held], ...]:
    """Return the calls that must not stand where they do, each with how it sleeps and what the function holds that forbids it."""
    catalogue = unit.meaning.catalogue
    found = []
    foreign = home_of(unit.path) in NO_KERNEL
    for event, state in unit.states if unit.sleeps and not foreign else ():
        sleep = unit.sleeps.get(id(event)) if state.held else None
        if not isinstance(event, ir.Call) or sleep is None:
            continue
        kept = _kept(unit, event, state.held)
        if forbidden(sleep, [held.kind for held in kept], "", catalogue):
            raw = (held for held in kept if catalogue.kinds[held.kind].raw)
            held = next(raw, None) if sleep.where == RAW else first_atomic(unit, _off(kept) if sleep.where == IRQS_OFF else kept)
            assert held is not None  # or nothing would forbid it
            found.append((event, sleep, held))
    return tuple(found)


def _off(held: Sequence[Held]) -> Sequence[Held]:
    """Return what of it turned interrupts off."""
    places = {(one.by, one.line) for one in held if one.kind == "irq"}
    return [one for one in held if (one.by, one.line) in places]


def _kept(unit: Unit, call: ir.Call, held: tuple[Held, ...]) -> tuple[Held, ...]:
    """Return what of it the callee does not drop for a while."""
    drops = unit.meaning.inferred(unit.file, call.callee.id).drops if type(call.callee) is ir.Name else ()
    return tuple(one for one in held if one.kind not in drops) if drops else held
