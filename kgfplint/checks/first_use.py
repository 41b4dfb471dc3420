"""Memory that nobody has looked at yet when a callee is given it, which looks at the memory at once."""

from collections.abc import Collection, Iterator

from kgfplint.checks.pending import Asked
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, walk
from kgfplint.ownership.ops import Site


def first_uses(unit: Unit, sites: Collection[Site]) -> Iterator[tuple[Site, ir.Call, Asked]]:
    """Yield the allocations that go to a local which this function never asks, with calls that are given it, or an address
    within it, and what must be true of the callee.
    """
    names = {site.call.target.id: site for site in sites if type(site.call.target) is ir.Name
             and len(unit.values.get(site.call.target.id, ())) == 1}
    for name in _asked(unit) if names else ():
        names.pop(name, None)
    for call in unit.calls if names else ():
        for place, arg in enumerate(call.args if type(call.callee) is ir.Name else ()):
            site = names.get(_leads_to(unit, arg))
            if site is not None and call is not site.call and type(call.callee) is ir.Name:
                yield site, call, Asked(call.callee.id, place, "used")


def _leads_to(unit: Unit, arg: ir.Expr) -> str:
    """Return the name of the pointer that an argument is, or is an address within the memory of, "" for none."""
    value = bare(arg)
    aliases = unit.values.get(value.id, []) if type(value) is ir.Name else []
    if len(aliases) == 1 and type(aliases[0]) is ir.AddressOf:
        value = aliases[0]
    inside = type(value) is ir.AddressOf
    thing = bare(value.base) if type(value) is ir.AddressOf else value
    while inside and type(thing) is ir.Field:
        if thing.arrow:
            thing = bare(thing.base)
            return thing.id if type(thing) is ir.Name else ""
        thing = bare(thing.base)
    return thing.id if not inside and type(thing) is ir.Name else ""


def _asked(unit: Unit) -> Iterator[str]:
    """Yield the variables that conditions and values mention, or that go to macros and functions which may test them."""
    verdicts = unit.meaning.catalogue.verdicts
    for block in unit.body.blocks:
        exprs = [edge.condition for edge in block.edges if edge.condition is not None]
        for event in block.events:
            if type(event) is ir.Call and type(event.callee) is ir.Name and (
                    event.callee.id in verdicts or event.callee.id.isupper()):
                exprs += [arg for arg in event.args if type(bare(arg)) is not ir.AddressOf]
            elif type(event) is ir.Assign and type(event.value) in (ir.Binary, ir.Unary, ir.Conditional):
                exprs.append(event.value)
        for expr in exprs:
            yield from (term.id for term in walk(expr) if type(term) is ir.Name)
