"""What a function does only once, because it leaves a mark: `if (d->flags & READY) return; d->buf = ...; d->flags |= READY;`."""

from collections.abc import Callable, Iterator

from kgfplint.facts import ir
from kgfplint.facts.terms import TRUE, bare


class Marks:
    """The flags that a function sets, each as the condition that asks for it."""

    def __init__(self, body: ir.Body, looked_through: Callable[[ir.Expr], ir.Expr]) -> None:
        """Find them in a body; `looked_through` puts the values of locals into conditions."""
        self._blocks = body.blocks
        self._set: dict[ir.Expr, set[int]] = {}
        self._calling: set[tuple[ir.Expr, int]] = set()
        for number, block in enumerate(body.blocks):
            for place, event in enumerate(block.events):
                if type(event) is ir.Assign and type(event.target) is ir.Field:
                    for mark in map(looked_through, _marks(event)):
                        self._set.setdefault(mark, set()).add(number)
                        if any(type(after) is ir.Call for after in block.events[place:]):
                            self._calling.add((mark, number))
        self._after: dict[ir.Expr, frozenset[int]] = {}

    def __contains__(self, condition: ir.Expr) -> bool:
        """Tell whether a condition asks for a flag that the function sets."""
        return condition in self._set

    def later(self, condition: ir.Expr, block: int) -> bool:
        """Tell whether a condition asks for a flag that is set only after what a block does, or instead of it.

        What is done after the flag was set is not done once: the flag may say that somebody is at it.
        """
        if condition not in self._set:
            return False
        if condition not in self._after:
            self._after[condition] = frozenset(self._reachable(condition))
        return block not in self._after[condition]

    def _reachable(self, mark: ir.Expr) -> set[int]:
        """Return the blocks in which something may be called once the flag is set."""
        found = {number for number in self._set[mark] if (mark, number) in self._calling}
        waiting = list(self._set[mark])
        while waiting:
            fresh = {edge.to for edge in self._blocks[waiting.pop()].edges} - found
            found |= fresh
            waiting.extend(fresh)
        return found


def _marks(event: ir.Assign) -> Iterator[ir.Expr]:
    """Yield the condition that asks for what an assignment sets."""
    if event.op == "|":
        yield ir.Binary("&", event.target, bare(event.value))
    elif not event.op and bare(event.value) in TRUE:
        yield event.target
