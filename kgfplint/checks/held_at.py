"""What is held at a call: locks, disabled contexts and reclaim scopes."""

import functools
from collections.abc import Mapping

from kgfplint.checks.unit import Unit
from kgfplint.context.held import Held
from kgfplint.facts import ir
from kgfplint.facts.terms import show


@functools.lru_cache(maxsize=2)
def _by_call(unit: Unit) -> Mapping[int, tuple[Held, ...]]:
    return {id(event): state.held for event, state in unit.states if state.held and isinstance(event, ir.Call)}


def held_at(unit: Unit, call: ir.Call) -> tuple[Held, ...]:
    """Return what every path to a call of the function holds there."""
    return _by_call(unit).get(id(call), ())


def atomic_at(unit: Unit, call: ir.Call) -> Held | None:
    """Return the first thing held at a call that forbids to sleep, None if there is none."""
    kinds = unit.meaning.catalogue.kinds
    return next((held for held in held_at(unit, call) if held.kind in kinds and kinds[held.kind].atomic), None)


def place_of(held: Held) -> str:
    """Return how messages name what is held: `spin_lock(&d->lock)`."""
    return f"{held.by}({show(held.lock) if held.lock is not None else ''})"
