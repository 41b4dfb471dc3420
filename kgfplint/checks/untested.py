"""Results of allocations that a function stores where others find them, and never looks at itself."""

from collections.abc import Collection, Iterator

from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root, walk
from kgfplint.ownership.ops import Site


def untested(unit: Unit, sites: Collection[Site]) -> Iterator[Site]:
    """Yield those of some allocations that go to a member or a global which no condition, macro or return asks."""
    stored = [(site, bare(site.call.target)) for site in sites if site.call.target is not None]
    stored = [(site, target) for site, target in stored if _is_shared(unit, target)]
    if not stored:
        return
    asked = set(_asked(unit))
    for site, target in stored:
        names = {target, *(bare(event.target) for event in unit.events()
                           if type(event) is ir.Assign and not event.op and bare(event.value) == target)}
        if not any(name in asked or (type(name) is ir.Field and name.member in asked) for name in names):
            yield site


def _is_shared(unit: Unit, target: ir.Expr) -> bool:
    """Tell whether a target is a member or a global: a local that is not tested is used on a path, or handed to who tests it."""
    if type(target) is ir.Name:
        return target.id not in unit.types
    return type(target) is ir.Field and bool(root(target))


def _asked(unit: Unit) -> Iterator[ir.Expr | str]:
    """Yield what conditions, returned values and macros that may be assertions mention: terms, and the names of members."""
    verdicts = unit.meaning.catalogue.verdicts
    for block in unit.body.blocks:
        exprs = [edge.condition for edge in block.edges if edge.condition is not None]
        for event in block.events:
            if type(event) is ir.Return and event.value is not None:
                exprs.append(event.value)
            elif type(event) is ir.Call and type(event.callee) is ir.Name and (
                    event.callee.id in verdicts or event.callee.id.isupper()):
                exprs += event.args
            elif type(event) is ir.Assign and type(event.value) in (ir.Binary, ir.Unary, ir.Conditional):
                exprs.append(event.value)
        for expr in exprs:
            for term in walk(expr):
                yield term
                if type(term) is ir.Field:
                    yield term.member
