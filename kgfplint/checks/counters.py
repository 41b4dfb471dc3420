"""Counters of elements that are too narrow for a loop without a bound."""

from collections.abc import Iterator
from typing import NamedTuple

from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import walk
from kgfplint.taint.values import width_of

_WIDEST = 16


class Counter(NamedTuple):
    """An allocation, the variable that it is sized by, the line that counts it, and its bits."""

    allocation: Allocation
    counter: ir.Name
    line: int
    bits: int


def overflowing_counts(unit: Unit) -> Iterator[Counter]:
    """Yield the allocations sized by a narrow local that is counted up for each entry of a list and compared with nothing."""
    if not any(call.block_macro for call in unit.calls):
        return
    for allocation in unit.allocations:
        places = (allocation.alloc.size, allocation.alloc.count)
        for name in {term for place in places if (arg := allocation.argument(place)) is not None for term in walk(arg)}:
            width = width_of(unit.types.get(name.id, "")) if isinstance(name, ir.Name) else None
            if not isinstance(name, ir.Name) or width is None or width.bits > _WIDEST or _is_compared(unit, name):
                continue
            line = _counted(unit, name)
            if line:
                yield Counter(allocation, name, line, width.bits)


def _is_compared(unit: Unit, name: ir.Name) -> bool:
    """Tell whether any condition compares a variable with something that is not 0."""
    return any(isinstance(edge.condition, ir.Binary) and name in (edge.condition.left, edge.condition.right)
               for block in unit.body.blocks for edge in block.edges)


def _counted(unit: Unit, name: ir.Name) -> int:
    """Return the line at which a variable is counted up in a loop over a list, 0 if it is not or elsewhere, too."""
    lines = []
    for number, block in enumerate(unit.body.blocks):
        for event in block.events:
            if isinstance(event, ir.Assign) and event.target == name:
                if event.op == "+" and event.value == ir.Number(1):
                    if not _over_a_list(unit, number):
                        return 0
                    lines.append(event.line)
                elif event.op or not isinstance(event.value, ir.Number):
                    return 0
            elif isinstance(event, ir.Call) and (event.target == name or ir.AddressOf(name) in event.args):
                return 0
    return lines[0] if lines else 0


def _over_a_list(unit: Unit, number: int) -> bool:
    """Tell whether the loops around a block are all of macros that run through a list."""
    loop = _reached(unit, number)
    if number not in loop:
        return False
    back = {at for at in loop if number in _reached(unit, at)}
    heads = [block for at in back for block in (unit.body.blocks[at],) if any(edge.to not in back for edge in block.edges)]
    listed = [any(isinstance(event, ir.Call) and event.block_macro for event in head.events) for head in heads]
    return any(listed) and not any(isinstance(edge.condition, ir.Binary) and edge.condition.op in ("<", "<=", ">", ">=")
                                   for head in heads for edge in head.edges)


def _reached(unit: Unit, number: int) -> set[int]:
    """Return the blocks that can be reached from a block by at least one edge."""
    seen: set[int] = set()
    stack = [number]
    while stack:
        for edge in unit.body.blocks[stack.pop()].edges:
            if edge.to not in seen:
                seen.add(edge.to)
                stack.append(edge.to)
    return seen
