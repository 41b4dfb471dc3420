"""Macros whose bodies hold a `return` of their user: calls of them end the path as that return does."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from kgfplint.facts import ir
from kgfplint.facts.terms import substitute, walk
from kgfplint.program.meaning import Meaning

_RETURN = re.compile(r"return\b")
_SOMETHING = ir.Unknown("return")
"""The value of a return that is not known."""


def ended(body: ir.Body, file: int, meaning: Meaning) -> ir.Body:
    """Return a body of `file` in which a `return` follows what returns from its user, and nothing comes after it.

    The scopes that such a return leaves are not known any more: where one has something to run, the path just ends.
    """
    blocks: list[ir.Block] | None = None
    for number, block in enumerate(body.blocks):
        for place, event in enumerate(block.events):
            leave = _leaving(event, file, meaning)
            if leave is not None:
                blocks = list(body.blocks) if blocks is None else blocks
                blocks[number] = ir.Block((*block.events[: place + 1], leave), ())
                break
    if blocks is None:
        return body
    if any(type(event) is ir.Guard or type(event) is ir.Cleanup for block in body.blocks for event in block.events):
        blocks = [block if block is old else ir.Block(block.events[:-1], ())
                  for block, old in zip(blocks, body.blocks, strict=True)]
    return ir.Body(_reached(blocks), body.locals)


def leave_of(body: ir.Body, whole: ir.Body, params: Sequence[ir.Param], leaves: bool,
             value_of: Callable[[ir.Expr], ir.Expr]) -> ir.Return | None:
    """Return how a macro returns from its user, None if it may do otherwise: its value with `$0` for the first argument.

    `body` is `whole` with the leaving calls in it ended, `leaves` tells that it returns itself, wherever it ends.
    """
    found = list(_returns(body))
    own = {id(event) for event in _returns(whole)}
    if not found or (not leaves and any(id(event) in own for event in found)):
        return None
    places: dict[str, ir.Expr] = {param.name: ir.Name(f"${place}") for place, param in enumerate(params)}
    values = {None if event.value is None else _placed(value_of(event.value), places) for event in found}
    return ir.Return(values.pop() if len(values) == 1 else _SOMETHING, 0, 0)


def _placed(value: ir.Expr, places: Mapping[str, ir.Expr]) -> ir.Expr:
    """Write places for parameters in a value; a parameter that looks called may be a type as well."""
    called = (term.callee for term in walk(value) if type(term) is ir.CallResult)
    return _SOMETHING if any(type(name) is ir.Name and name.id in places for name in called) else substitute(value, places)


def _leaving(event: ir.Event, file: int, meaning: Meaning) -> ir.Return | None:
    """Return the return that an event hides."""
    if type(event) is ir.Call and type(event.callee) is ir.Name:
        leave = meaning.called(file, event.callee.id).summary.leave
        if leave is not None:
            given: dict[str, ir.Expr] = {f"${place}": arg for place, arg in enumerate(event.args)}
            value = None if leave.value is None else substitute(leave.value, given)
            return ir.Return(value, event.line, event.column)
    elif type(event) is ir.Evaluate and type(event.value) is ir.Name:
        texts = meaning.program.macros.get(event.value.id)
        if texts and all(_RETURN.match(text) for _, text in texts):
            return ir.Return(_SOMETHING if any(text != "return" for _, text in texts) else None, event.line, event.column)
    return None


def _returns(body: ir.Body) -> Iterator[ir.Return]:
    return (event for block in body.blocks for event in block.events if type(event) is ir.Return)


def _reached(blocks: Sequence[ir.Block]) -> tuple[ir.Block, ...]:
    """Return the blocks that the entry reaches, in their order, with their new numbers on the edges."""
    seen, stack = {0}, [0]
    while stack:
        fresh = [edge.to for edge in blocks[stack.pop()].edges if edge.to not in seen]
        seen.update(fresh)
        stack.extend(fresh)
    numbers = {old: new for new, old in enumerate(sorted(seen))}
    return tuple(
        ir.Block(block.events, tuple(ir.Edge(numbers[edge.to], edge.condition, edge.truth) for edge in block.edges), block.line)
        for block in (blocks[old] for old in numbers)
    )
