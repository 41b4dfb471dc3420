"""KGF210: a mask put together from bits that have a name together."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import choices, operands, spelled
from kgfplint.checks.rewriting import rewritten
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import show
from kgfplint.findings import Finding, Severity
from kgfplint.gfp import Mask

RULE = Rule(
    code="KGF210",
    name="open-coded-mask",
    severity=Severity.NOTE,
    guide="Get Free Page flags",
    summary="A mask that has a name is written by its name: what the name means changes between kernels.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each call whose mask is written out, here or in a macro, and equals a named one."""
    masks = unit.meaning.masks
    for choice in choices(unit):
        value = choice.value
        if value is None or value.bit_count() < 2 or not unit.types.keys().isdisjoint(operands(choice.expr)):
            continue
        name = masks.equal_named(Mask.of(value))
        if name is not None and not name.startswith("_") and not _is_named(unit, choice.expr, name):
            place = next((place for place, arg in enumerate(choice.call.args) if arg == choice.expr), None)
            fix = rewritten(choice.call, instead={place: name}) if place is not None else None
            yield unit.finding(RULE, choice.call, f"{choice.name}() is given {show(choice.expr)}, which is {name}", fix=fix)


def _is_named(unit: Unit, expr: ir.Expr, name: str) -> bool:
    """Tell whether the mask has the name in it, or is another name of the kernel's for the same."""
    synonym = isinstance(expr, ir.Name) and expr.id in unit.meaning.masks.named and not expr.id.startswith("_")
    return synonym or name in spelled(unit, expr)
