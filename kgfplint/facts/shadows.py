"""Two pointers of one name in a function, one inside the scope of the other: the inner one gets a name of its own."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from kgfplint.facts import ir
from kgfplint.facts.terms import INNER


class Shadow(NamedTuple):
    """A pointer `name` that hides another one from its declaration to the line that ends its block."""

    name: str
    start: tuple[int, int]
    last: int

    def holds(self, line: int, column: int) -> bool:
        """Tell whether a place is one where the inner pointer is meant."""
        return self.start <= (line, column) and line <= self.last


def inner(name: str, number: int) -> str:
    """Return the name of the n-th hiding pointer of a function."""
    return f"{name}{INNER}{number}"


def renamed(blocks: Sequence[ir.Block], shadows: Sequence[Shadow]) -> tuple[ir.Block, ...]:
    """Return blocks where the hiding pointers have names of their own."""
    for number, shadow in enumerate(shadows):
        blocks = [_block(block, shadow, inner(shadow.name, number)) for block in blocks]
    return tuple(blocks)


def _block(block: ir.Block, shadow: Shadow, name: str) -> ir.Block:
    events = tuple(_renamed(event, shadow.name, name) if _is_within(event, shadow) else event for event in block.events)
    edges = block.edges
    if shadow.start[0] < block.line <= shadow.last:
        edges = tuple(replace(e, condition=_renamed(e.condition, shadow.name, name)) for e in edges)
    return replace(block, events=events, edges=edges)


def _is_within(event: ir.Event, shadow: Shadow) -> bool:
    line: int = event.line
    # What has no column declares a name or cleans it up: on the line of the declaration it is that of the inner one.
    column: int = getattr(event, "column", shadow.start[1])
    return shadow.holds(line, column)


def _renamed(part: Any, name: str, new: str) -> Any:
    """Return an event, an expression or a tuple of them with one variable called otherwise."""
    if type(part) is ir.Name:
        return ir.Name(new) if part.id == name else part
    if type(part) is ir.Unknown:
        return ir.Unknown(re.sub(rf"\b{name}\b", new, part.text))
    if type(part) is ir.Declare or type(part) is ir.Cleanup:
        return replace(part, name=new) if part.name == name else part
    if type(part) is tuple:
        return tuple(_renamed(one, name, new) for one in part)
    fields = getattr(part, "__struct_fields__", ())
    changed = {field: after for field in fields if (after := _renamed(before := getattr(part, field), name, new)) is not before}
    return replace(part, **changed) if changed else part
