"""Following a struct through a function: the local pointers to what it lies in, and the ways behind a call that is given it."""

from collections.abc import Callable, Iterator

from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.ownership.conditions import ANY, after, reading
from kgfplint.ownership.frame import Frame
from kgfplint.ownership.handing import holder_of

Ends = Callable[[ir.Event], bool]


def owners(frame: Frame, arg: ir.Expr, deep: bool = True) -> set[ir.Expr]:
    """Return the local pointers to what holds an object, given its address or a variable that is set to it."""
    if type(arg) is ir.AddressOf:
        holder = holder_of(arg.base)
        return {holder} if type(holder) is ir.Name and holder.id in frame.types else set()
    if type(arg) is ir.CallResult and type(arg.callee) is ir.Name and len(arg.args) == 1:
        holder = bare(arg.args[0])
        macro = frame.meaning.definition(frame.file, arg.callee.id).macro
        return {holder} if macro and type(holder) is ir.Name and holder.id in frame.types else set()
    if type(arg) is not ir.Name or not deep:
        return set()
    values = [bare(value) for value in frame.values.get(arg.id, ()) if value is not None]
    return {owner for value in values for owner in owners(frame, value, False)}


def outcomes(block: ir.Block, event: ir.Call, at: int) -> Iterator[tuple[ir.Edge, bool]]:
    """Yield the edges of a block that test whether a call in it failed, and whether it did there."""
    subject = bare(event.target) if event.target is not None else ir.CallResult(event.callee, event.args)
    if any(sets(later, subject) for later in block.events[at + 1:]):
        return
    for edge in block.edges:
        test = reading(edge.condition, edge.truth) if edge.condition is not None else None
        known = after(ANY, test) if test is not None and test.subject == subject else None
        if known is not None:
            yield edge, known.hi < 0 or 0 in known.excluded


def walk(frame: Frame, start: tuple[int, int], is_end: Ends, stops: Callable[[ir.Block], bool] = lambda block: False,
          ) -> Iterator[ir.Event]:
    """Yield the events that are reached from a place, each way up to and with the first one that ends it.

    No way leads out of a block that `stops`.
    """
    blocks = frame.body.blocks
    seen: set[int] = set()
    stack = [start]
    while stack:
        number, first = stack.pop()
        for event in blocks[number].events[first:]:
            yield event
            if is_end(event):
                break
        else:
            if stops(blocks[number]):
                continue
            fresh = [edge.to for edge in blocks[number].edges if edge.to not in seen]
            seen.update(fresh)
            stack.extend((to, 0) for to in fresh)


def straight(frame: Frame, number: int) -> Iterator[ir.Event]:
    """Yield the events of a block, and of those behind it, as long as there is one way only."""
    seen: set[int] = set()
    while number not in seen:
        seen.add(number)
        block = frame.body.blocks[number]
        yield from block.events
        if len(block.edges) == 1:
            number = block.edges[0].to


def sets(event: ir.Event, lvalue: ir.Expr) -> bool:
    """Tell whether an event gives a variable another value."""
    if type(event) is ir.Declare:
        return ir.Name(event.name) == lvalue
    return (type(event) is ir.Assign or type(event) is ir.Call) and event.target is not None and bare(event.target) == lvalue
