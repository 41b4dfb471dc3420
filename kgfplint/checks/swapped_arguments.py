"""KGF213: arguments of an allocation in each other's place."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import spells_mask
from kgfplint.checks.rewriting import rewritten
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.findings import Finding, Rewrite, Severity
from kgfplint.program.definitions import GFP_TYPES

RULE = Rule(
    code="KGF213",
    name="swapped-arguments",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="Allocators take the count before the size of an element, and the size before the flags.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation whose flags, or element size and count, stand in the wrong place."""
    for allocation in unit.allocations:
        misplaced = _flags_elsewhere(unit, allocation)
        count, element = allocation.argument(allocation.alloc.count), allocation.argument(allocation.alloc.element)
        if misplaced is not None:
            message = f"{allocation.name}() is given {show(misplaced)} in place of a number, and a number in place of the flags"
            yield unit.finding(RULE, allocation.call, message, fix=_swapped(allocation, allocation.alloc.gfp, misplaced))
        elif count is not None and element is not None and _is_size(count) and not _may_be_size(unit, element):
            message = (f"{allocation.name}() takes the number of elements first, then the size of one: "
                       f"{show(count)} and {show(element)} are swapped")
            fix = _swapped(allocation, allocation.alloc.count, element)
            yield unit.finding(RULE, allocation.call, message, severity=Severity.WARNING, fix=fix)


def _swapped(allocation: Allocation, place: int | None, other: ir.Expr) -> Rewrite | None:
    """Return the call with the argument of a place and another one exchanged."""
    where = allocation.call.args.index(other)
    return rewritten(allocation.call, instead={place: f"${where}", where: f"${place}"}) if place is not None else None


def _flags_elsewhere(unit: Unit, allocation: Allocation) -> ir.Expr | None:
    """Return the mask in the place of a number, if the place of the mask has none."""
    alloc = allocation.alloc
    given = allocation.argument(alloc.gfp)
    if given is None or _is_mask(unit, given):
        return None
    return next((arg for arg in allocation.call.args if _is_mask(unit, arg)), None)


def _is_mask(unit: Unit, expr: ir.Expr) -> bool:
    """Tell whether an expression is a mask by its words or by the type of a variable in it."""
    return spells_mask(expr) or (isinstance(expr, ir.Name) and unit.types.get(expr.id) in GFP_TYPES)


def _is_size(expr: ir.Expr) -> bool:
    """Tell whether an expression is a size as it is written, and nothing else."""
    return isinstance(bare(expr), ir.SizeOf)


def _may_be_size(unit: Unit, expr: ir.Expr) -> bool:
    """Tell whether an expression is made of sizes, here or where its variable is set; a quotient is a count."""
    expr = bare(expr)
    if isinstance(expr, ir.CallResult):
        return show(expr.callee).endswith("size") or any(_may_be_size(unit, arg) for arg in expr.args[:1])
    value = bare(unit.value_of(expr))
    if isinstance(value, ir.Binary):
        return value.op in ("*", "+", "<<") and (_may_be_size(unit, value.left) or _may_be_size(unit, value.right))
    return isinstance(value, ir.SizeOf)
