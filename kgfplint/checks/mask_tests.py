"""Tests of a mask for "any of these bits", where the bits are those of a whole named mask."""

from collections.abc import Iterator
from typing import NamedTuple

from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import atom, bare, show
from kgfplint.gfp.policy import policy

_LOGICAL = frozenset({"&&", "||"})


class LooseTest(NamedTuple):
    """A test of a mask that nearly every mask passes: its C text and its line (1-based)."""

    text: str
    line: int


def loose_tests(unit: Unit) -> Iterator[LooseTest]:
    """Yield each truth value of `mask & NAMED` whose bits tell nothing, since atomic and sleeping masks share one of them."""
    if not _looks_at_masks(unit):
        return
    told: set[LooseTest] = set()
    for expr, line in _decided(unit):
        for test in _tests_in(unit, expr):
            found = LooseTest(show(test), line)
            if found not in told:
                told.add(found)
                yield found


def _looks_at_masks(unit: Unit) -> bool:
    """Tell whether a parameter or local holds a mask."""
    carriers = policy(unit.meaning.catalogue.version).carriers
    return (any(param.ctype in carriers for param in unit.row.params)
            or any(local.ctype in carriers for local in unit.body.locals))


def _decided(unit: Unit) -> Iterator[tuple[ir.Expr, int]]:
    """Yield the expressions whose truth decides something, with their lines: conditions, and what becomes a bool."""
    boolean = unit.row.returns in ("bool", "_Bool")
    for block in unit.body.blocks:
        for edge in block.edges[:1]:
            if edge.condition is not None:
                yield edge.condition, block.line
        for event in block.events:
            if isinstance(event, ir.Return) and event.value is not None:
                yield from ((part, event.line) for part in _truths(event.value, boolean))
            elif isinstance(event, ir.Assign):
                is_bool = isinstance(event.target, ir.Name) and unit.types.get(event.target.id) in ("bool", "_Bool")
                yield from ((part, event.line) for part in _truths(event.value, is_bool))


def _truths(value: ir.Expr, boolean: bool) -> Iterator[ir.Expr]:
    """Yield the parts of a value whose truth counts: operands of `!`, `&&`, `||`, the condition of `?:`, all if it is a bool."""
    value = bare(value)
    if isinstance(value, ir.Binary) and value.op in _LOGICAL:
        yield value
    elif isinstance(value, ir.Conditional):
        yield value.condition
        yield from _truths(value.then, boolean)
        yield from _truths(value.other, boolean)
    elif boolean or (isinstance(value, ir.Unary) and value.op == "!"):
        yield value


def _tests_in(unit: Unit, expr: ir.Expr) -> Iterator[ir.Expr]:
    """Yield the loose tests among the operands of a condition."""
    subject, _ = atom(expr, True)
    if isinstance(subject, ir.Binary) and subject.op in _LOGICAL:
        yield from _tests_in(unit, subject.left)
        yield from _tests_in(unit, subject.right)
    elif isinstance(subject, ir.Binary) and subject.op == "&" and _is_mask_test(unit, subject):
        yield subject


def _is_mask_test(unit: Unit, test: ir.Binary) -> bool:
    """Tell whether something is tested for any of the bits of a loose mask; two of them are only put together."""
    return _is_loose(unit, bare(test.right)) and not _is_loose(unit, bare(test.left))


def _is_loose(unit: Unit, mask: ir.Expr) -> bool:
    """Tell whether a named mask has the bit that nearly every mask has; to ask for that bit by its own name is meant so."""
    masks = unit.meaning.masks
    common = masks.named.get("__GFP_KSWAPD_RECLAIM", 0)
    value = masks.named.get(mask.id, 0) if isinstance(mask, ir.Name) else 0
    return bool(value & common) and not (value == common and show(mask).startswith("__"))
