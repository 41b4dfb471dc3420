"""Loops: which blocks may run again, and the walks over lists that need the element they stand on to find the next."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from kgfplint.facts import ir
from kgfplint.program.components import components

_WALKS = re.compile(r"^(?:h?list|llist|hlist_nulls|list_bidir|rb|klp|nla)_for_each(?!.*_safe)")
"""Names of such loops (include/linux/{list,llist,rculist}.h); the others are given a second pointer, or end otherwise."""


def rounds(body: ir.Body) -> Iterator[tuple[int, ir.Call, ir.Name]]:
    """Yield the blocks that end a round of a walk over a list, with the head of the loop and its cursor.

    At the end of each round the element that the cursor stands on must still be there.
    """
    for number, block in enumerate(body.blocks):
        for event in block.events:
            if type(event) is ir.Call and event.block_macro and type(event.callee) is ir.Name and event.args:
                cursor = event.args[0]
                if type(cursor) is ir.Name and _WALKS.search(event.callee.id):
                    following = [[edge.to for edge in one.edges] for one in body.blocks]
                    # What jumps to the head from outside of the loop begins a new walk.
                    outside = {0} | (reached(following, 0, (number,)) if number else set())
                    for source, after in enumerate(following):
                        if source not in outside and after == [number]:
                            yield source, event, cursor


def repeated(successors: Sequence[Iterable[int]]) -> frozenset[int]:
    """Return the blocks that may run more than once, given the blocks that follow each."""
    if not any(to <= number for number, after in enumerate(successors) for to in after):
        return frozenset()
    done: set[int] = set()
    found: set[int] = set()
    for members in components(0, lambda number: successors[number], done):
        done.update(members)
        if len(members) > 1 or members[0] in successors[members[0]]:
            found.update(members)
    return frozenset(found)


def reached(successors: Sequence[Iterable[int]], start: int, but: Collection[int] = ()) -> set[int]:
    """Return the blocks that are reached from one, it too where a way leads back to it; no way leads past those in `but`."""
    seen, stack = set[int](), [start]
    while stack:
        fresh = {to for to in successors[stack.pop()] if to not in but} - seen
        seen |= fresh
        stack.extend(fresh)
    return seen


def onward(body: ir.Body, earlier: int, later: ir.Event) -> bool:
    """Tell whether an event comes after what stands at line `earlier` with no way back to a former place in between."""
    order = _order(body)
    starts = [number for number, block in enumerate(body.blocks) if any(event.line == earlier for event in block.events)]
    front = set(starts) & order.keys()
    seen = set(front)
    while front:
        front = {edge.to for number in front for edge in body.blocks[number].edges if order[edge.to] > order[number]} - seen
        seen |= front
    return not starts or any(event is later for number in seen for event in body.blocks[number].events)


def _order(body: ir.Body) -> dict[int, int]:
    """Return the places of the blocks that are reached, in an order where only what begins another round leads back."""
    done: list[int] = []
    seen, stack = {0}, [(0, iter(body.blocks[0].edges))]
    while stack:
        number, edges = stack[-1]
        edge = next(edges, None)
        if edge is None:
            done.append(number)
            stack.pop()
        elif edge.to not in seen:
            seen.add(edge.to)
            stack.append((edge.to, iter(body.blocks[edge.to].edges)))
    return {number: place for place, number in enumerate(reversed(done))}
