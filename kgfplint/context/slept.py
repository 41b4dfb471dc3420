"""What a function has surely waited for before each of its events: proof that it runs where sleeping is allowed."""

from collections.abc import Callable, Iterator

from kgfplint.facts import ir


def slept_before(body: ir.Body, sleeps: Callable[[ir.Event], str]) -> Iterator[tuple[ir.Event, str]]:
    """Yield each reachable event with what was waited for on every path before it ("": on some path nothing).

    `sleeps` names what an event waits for, "" if it need not wait.
    """
    entry: list[str | None] = [None] * len(body.blocks)
    if entry:
        entry[0] = ""
    waiting = [0] if entry else []
    while waiting:
        number = waiting.pop()
        state = entry[number] or ""
        for event in body.blocks[number].events:
            state = state or sleeps(event)
        for edge in body.blocks[number].edges:
            known = entry[edge.to]
            joined = state if known is None else min(known, state) if known and state else ""
            if joined != known:
                entry[edge.to] = joined
                waiting.append(edge.to)
    for number, block in enumerate(body.blocks):
        before = entry[number]
        for event in block.events if before is not None else ():
            yield event, before or ""
            before = before or sleeps(event)
