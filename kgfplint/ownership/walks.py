"""Walks over lists that read the element they stand on to find the next: at the end of each round it must still be there."""

import re
from collections.abc import Iterator

from kgfplint.facts import ir

_WALKS = re.compile(r"^(?:h?list|llist|hlist_nulls|list_bidir|rb|klp|nla)_for_each(?!.*_safe)")
"""Names of such loops (include/linux/{list,llist,rculist}.h); the others are given a second pointer, or end otherwise."""


def rounds(body: ir.Body) -> Iterator[tuple[int, ir.Call, ir.Name]]:
    """Yield the blocks that end a round of a walk, with the head of the loop and its cursor."""
    for number, block in enumerate(body.blocks):
        for event in block.events:
            if type(event) is ir.Call and event.block_macro and type(event.callee) is ir.Name and event.args:
                cursor = event.args[0]
                if type(cursor) is ir.Name and _WALKS.search(event.callee.id):
                    outside = _reachable_without(body, number)
                    for source, other in enumerate(body.blocks):
                        if source not in outside and [edge.to for edge in other.edges] == [number]:
                            yield source, event, cursor


def _reachable_without(body: ir.Body, head: int) -> set[int]:
    """Return the blocks that are reached from the entry without passing `head`: what jumps there from them begins a new walk."""
    seen, stack = {0}, [0] if head else []
    while stack:
        fresh = {edge.to for edge in body.blocks[stack.pop()].edges if edge.to != head} - seen
        seen |= fresh
        stack.extend(fresh)
    return seen
