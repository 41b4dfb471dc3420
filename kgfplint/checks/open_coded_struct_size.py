"""KGF502: the size of a struct with a flexible array added up by hand, which may overflow."""

import functools
from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.rewriting import is_plain, rewritten
from kgfplint.checks.sizes import are_bounded, arguments, factors, product, terms_of_sum, type_of
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root, show
from kgfplint.facts.types import pointee, tag_of
from kgfplint.findings import Finding, Rewrite, Severity

RULE = Rule(
    code="KGF502",
    name="open-coded-struct-size",
    severity=Severity.WARNING,
    guide="Selecting memory allocator",
    summary="struct_size() calculates the size of a struct with a flexible array without overflowing.",
)
_OFFSETOF = ("offsetof", "Offsetof")


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation whose size is a header plus a variable number of its flexible array's elements."""
    for allocation in unit.allocations:
        for size in arguments(unit, allocation):
            advice = _offset_of_element(unit, size) or _sum(unit, size, allocation.call.target)
            if advice:
                text, bounded = advice
                message = (f"{allocation.name}() is given a sum for a struct and its flexible array; {text} "
                           f"{'says so' if bounded else 'does not overflow'}")
                yield unit.finding(RULE, allocation.call, message, severity=Severity.NOTE if bounded else Severity.WARNING,
                                   fix=_fix(allocation, size, text))
                break


def _fix(allocation: Allocation, size: ir.Expr, text: str) -> Rewrite | None:
    """Return the call with struct_size(), which all kernels have, in place of a sum that is written in it."""
    place = next((place for place, arg in enumerate(allocation.call.args) if bare(arg) == size), None)
    written = place is not None and text.startswith("struct_size(") and is_plain(size)
    return rewritten(allocation.call, instead={place: text}) if written and place is not None else None


def _offset_of_element(unit: Unit, size: ir.Expr) -> tuple[str, bool] | None:
    """Read `offsetof(struct s, items[n])`; return what to write instead, and whether the count is plainly small."""
    match size:
        case ir.CallResult(ir.Name(name), (of, ir.Index(ir.Name(member), count))) if name in _OFFSETOF:
            return f"struct_size_t({_typed(show(of))}, {member}, {show(count)})", are_bounded(unit, (count,))
    return None


def _sum(unit: Unit, size: ir.Expr, target: ir.Expr | None) -> tuple[str, bool] | None:
    """Read `sizeof(header) + n * sizeof(element)` in any order, like the above."""
    terms = list(terms_of_sum(size))
    if len(terms) != 2:
        return None
    for header, rest in (terms, reversed(terms)):
        repeated = product(unit, rest)
        owner = _header(unit, header)
        element, *fixed = factors(repeated.element) if repeated is not None else (None,)
        if repeated is None or owner is None or not isinstance(element, ir.SizeOf):
            continue
        member = _member(unit, owner, element)
        if member:
            times = (*repeated.counts, *fixed)
            counts = functools.reduce("array_size({}, {})".format, (show(count) for count in times))
            pointer = header.operand.base if isinstance(header, ir.SizeOf) and isinstance(header.operand, ir.Deref) else None
            if pointer is None and target is not None and tag_of(unit.typing.expanded(target)) == tag_of(owner):
                pointer = target
            bounded = are_bounded(unit, repeated.counts)
            if pointer is not None:
                return f"struct_size({show(pointer)}, {member}, {counts})", bounded
            return f"struct_size_t({owner}, {member}, {counts})", bounded
    return None


def _typed(text: str) -> str:
    return text if text.startswith(("struct ", "union ")) else f"struct {text}"


def _header(unit: Unit, term: ir.Expr) -> str | None:
    """Return the type of the header that a term is the size of ("" when it is unknown), None for any other term."""
    if isinstance(term, ir.SizeOf):
        return type_of(unit, term)
    if isinstance(term, ir.CallResult) and isinstance(term.callee, ir.Name) and term.callee.id in _OFFSETOF and term.args:
        return _typed(show(term.args[0]))
    return None


def _member(unit: Unit, owner: str, element: ir.SizeOf) -> str:
    """Return the flexible array of `owner` that has this element, "" if there is none."""
    types = unit.program.types
    tag = tag_of(types.expand(unit.file, owner)) if owner else ""
    record = types.record(unit.file, tag) if tag and not types.expand(unit.file, owner).endswith("*") else None
    last, ctype = (record.order[-1], record[record.order[-1]]) if record is not None and record.order else ("", "")
    named = element.operand
    if isinstance(named, ir.Index | ir.Deref):
        named = named.base
    if isinstance(named, ir.Field):
        array = unit.typing.of(named)
        flexible = not array or array.endswith(("[]", "[0]"))
        return named.member if flexible and root(named) and (record is None or named.member in record or "." in array) else ""
    if not ctype.endswith(("[]", "[0]")):
        return ""
    mine, its = types.expand(unit.file, type_of(unit, element)), types.expand(unit.file, pointee(ctype) or "")
    return last if mine and mine == its else ""
