"""Locals that may point into memory that a function allocates, because a call returned part of what it was given."""

from collections.abc import Callable, Mapping

from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.ownership.addresses import Addresses
from kgfplint.ownership.carrying import carried

Aliases = Mapping[ir.Expr, tuple[int, ...]]


def aliases_of(body: ir.Body, numbers: Mapping[ir.Expr, int], addresses: Addresses,
               returns: Callable[[ir.Expr], bool]) -> Aliases:
    """Return the numbers of the lvalues whose memory locals may point into; those with a number themselves are left out.

    `colon = strchr(text, ':')`: whatever `colon` goes to, `text` goes to. The order of things does not matter.
    """
    copies: list[tuple[ir.Expr, ir.Expr]] = []
    for block in body.blocks:
        for event in block.events:
            values: tuple[ir.Expr, ...] = ()
            target: ir.Expr | None = None
            if type(event) is ir.Assign:
                values, target = (event.value,), bare(event.target)
            elif type(event) is ir.Call and event.target is not None and not event.block_macro and returns(event.callee):
                values, target = event.args, bare(event.target)
            if type(target) is ir.Name and target not in numbers and addresses.is_own_pointer(target):
                copies += ((target, term) for value in values for term in carried(value, returns))
    found: dict[ir.Expr, tuple[int, ...]] = {}
    changed = True
    while changed:
        changed = False
        for target, term in copies:
            known, more = found.get(target, ()), (numbers[term],) if term in numbers else found.get(term, ())
            if not set(more) <= set(known):
                found[target] = tuple(dict.fromkeys((*known, *more)))
                changed = True
    return found
