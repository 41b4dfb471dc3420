"""Which memory an expression points into: the pointer that it starts from, and what that pointer was allocated by."""

from collections.abc import Iterator
from typing import NamedTuple

from kgfplint.catalogue import Need
from kgfplint.checks.requests import machine_of, requests
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.ownership.provenance import of_local


class Given(NamedTuple):
    """A call that needs memory of a kind, what it is given, and the function that needs it (the callee, or one below it)."""

    call: ir.Call
    subject: ir.Expr
    need: Need
    through: bool


def given(unit: Unit, kind: str) -> Iterator[Given]:
    """Yield what this function gives to calls that need memory of a kind; nothing if it asks itself what memory it has."""
    needs, meaning = unit.meaning.catalogue.needs, unit.meaning
    if any(needs[name].of == "asked" for name in unit.callees & needs.keys()):
        return
    for call in unit.calls:
        if type(call.callee) is not ir.Name:
            continue
        need = needs.get(call.callee.id)
        if need is not None:
            if need.of == kind and need.ptr < len(call.args):
                yield Given(call, call.args[need.ptr], need, False)
            continue
        for place, name in meaning.called(unit.file, call.callee.id).summary.needs:
            if needs[name].of == kind and place < len(call.args):
                yield Given(call, call.args[place], needs[name], True)


def asked_in(unit: Unit) -> bool:
    """Tell whether any function of this file asks what memory it has: it may choose between two ways for the others."""
    program, needs = unit.program, unit.meaning.catalogue.needs
    asking = {name for name, need in needs.items() if need.of == "asked"}
    return any(name in asking for number in program.functions_of(unit.file) for name, _ in program.calls(number))


def pointer(unit: Unit, expr: ir.Expr) -> ir.Expr:
    """Return the pointer whose memory an address lies in: `p` of `p + 4`, `&p->member`, `&p[3]`, and `p->array`.

    A local that only ever has one value stands for that value, unless it is the result of a call.
    """
    at = bare(expr)
    while True:
        inside = False
        if type(at) is ir.AddressOf:
            at, inside = bare(at.base), True
        elif type(at) is ir.Binary and at.op in ("+", "-"):
            left, right = bare(at.left), bare(at.right)
            at = left if not _is_offset(unit, left) else right
            continue
        elif type(at) is ir.Field and unit.typing.of(at).endswith("]"):
            inside = True
        if inside:
            while type(at) in (ir.Field, ir.Index) and not (type(at) is ir.Field and at.arrow):
                if type(at) is ir.Index and not unit.typing.of(at.base).endswith("]"):
                    break
                at = bare(at.base)  # type: ignore[union-attr]
            if type(at) is ir.Name:
                return ir.AddressOf(at)
            at = bare(at.base) if type(at) in (ir.Field, ir.Index, ir.Deref) else at  # type: ignore[union-attr]
            continue
        value = unit.value_of(at)
        if value is at or type(bare(value)) is ir.CallResult or type(bare(value)) not in _POINTERS:
            return at
        at = bare(value)


_POINTERS = frozenset({ir.Name, ir.Field, ir.AddressOf, ir.Binary, ir.Index})


def _is_offset(unit: Unit, expr: ir.Expr) -> bool:
    """Tell whether a term of a sum is a number rather than a pointer."""
    ctype = unit.program.types.expand(unit.file, unit.typing.of(expr))
    return not ctype.endswith(("*", "]"))


def stack_variable(unit: Unit, at: ir.Expr) -> str:
    """Return the local that a pointer is the address of, "" if it is none: `&value`, or the name of an array."""
    name = at.base if type(at) is ir.AddressOf else at
    local = unit.locals.get(name.id) if type(name) is ir.Name else None
    if local is None or local.storage:
        return ""
    array = unit.program.types.expand(unit.file, local.ctype).endswith("]")
    return local.name if type(at) is ir.AddressOf or array else ""


def scattered(unit: Unit, at: ir.Expr) -> str:
    """Return the family of a local that is never physically contiguous memory, "" for any other."""
    assigned = unit.values.get(at.id) if type(at) is ir.Name else None
    families = of_local(assigned, unit.meaning, unit.file) if assigned else None
    if not families:
        return ""
    known = unit.meaning.catalogue.families
    if not all(family in known and is_scattered(unit, family) for family in families):
        return ""
    large = [family for family in families if known[family].scattered == "large"]
    return min(families) if not large or _exceeds_a_page(unit, at) else ""


def is_scattered(unit: Unit, family: str) -> bool:
    """Tell whether memory of a family may not be physically contiguous."""
    known = unit.meaning.catalogue.families.get(family)
    return known is not None and bool(known.scattered)


def _exceeds_a_page(unit: Unit, at: ir.Expr) -> bool:
    """Tell whether kvmalloc() memory of a local may be larger than a page."""
    highs = [request.size.high for request in requests(unit) if request.allocation.call.target == at]
    return any(high is None or high > machine_of(unit).page_size for high in highs) or not highs
