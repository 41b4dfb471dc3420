"""KGF501: the size of an array written as a product, which may overflow."""

import functools
from collections.abc import Iterator

from kgfplint.catalogue import Alloc
from kgfplint.checks import Rule
from kgfplint.checks.rewriting import is_plain, rewritten
from kgfplint.checks.sizes import Product, are_bounded, is_byte, latest, product
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.findings import Finding, Rewrite, Severity

RULE = Rule(
    code="KGF501",
    name="open-coded-array",
    severity=Severity.WARNING,
    guide="Selecting memory allocator",
    summary="Arrays are allocated by the helpers that take count and size, which check for overflow.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation whose size is a variable count times the size of a type."""
    for allocation in unit.allocations:
        size = allocation.argument(allocation.alloc.size)
        if size is None or not (allocation.alloc.array or allocation.inferred) or allocation.alloc.count is not None:
            continue
        found = product(unit, latest(unit, allocation.call, bare(size)))
        if found is None:
            continue
        bounded = are_bounded(unit, found.counts) or is_byte(unit, found.element)
        message = (f"{allocation.name}() is given a product as its size; {_advice(unit, allocation, found)} "
                   f"{'says that it is an array' if bounded else 'does not overflow'}")
        yield unit.finding(RULE, allocation.call, message, severity=Severity.NOTE if bounded else Severity.WARNING,
                           fix=_fix(unit, allocation, found) if product(unit, bare(size)) == found else None)


def _fix(unit: Unit, allocation: Allocation, found: Product) -> Rewrite | None:
    """Return the call to write instead, for the size of one count that stands in the call."""
    size, helper = allocation.alloc.size, _helper(unit, allocation)
    count, element = found.counts[0], found.element
    plain = rewritten(allocation.call, instead={size: f"array_size({show(count)}, {show(element)})"} if size is not None else {})
    if plain is None or len(found.counts) > 1 or not is_plain(count, element) or helper is None:
        return plain if len(found.counts) == 1 and is_plain(count, element) else None
    own = allocation.alloc.params
    words = {"n": show(count), "elem": show(element), **{name: f"${place}" for place, name in enumerate(own)}}
    if not words.keys() >= set(helper.params):
        return None
    return Rewrite(plain.callee, helper.name, tuple(words[name] for name in helper.params))


def _helper(unit: Unit, allocation: Allocation) -> Alloc | None:
    """Return the allocator that takes count and size, None where this kernel has none."""
    helper = allocation.alloc.array
    known = unit.meaning.catalogue.allocs.get(helper) if helper else None
    declared = unit.program.types.returns
    return None if known is None or (allocation.name in declared and known.name not in declared) else known


def _advice(unit: Unit, allocation: Allocation, found: Product) -> str:
    """Return the call to write instead; array_size() where this kernel has no helper for the allocator.

    A helper looks at one product: of several counts, array3_size() and size_mul() multiply all.
    """
    known = _helper(unit, allocation)
    count, element, several = found.counts[0], found.element, len(found.counts) > 1
    if several:
        *more, last = (show(one) for one in found.counts[1:])
        size = f"array3_size({show(count)}, {last}, {functools.reduce(_times, more, show(element))})"
        place = allocation.alloc.size
        args = (size if at == place else show(arg) for at, arg in enumerate(allocation.call.args))
        return size if known is None else f"{allocation.name}({', '.join(args)})"
    if known is None:
        return f"array_size({show(count)}, {show(element)})"
    return f"{known.name}({', '.join(_argument(allocation, name, count, element) for name in known.params)})"


def _times(size: str, count: str) -> str:
    return f"size_mul({count}, {size})"


def _argument(allocation: Allocation, name: str, count: ir.Expr, element: ir.Expr) -> str:
    """Return an argument of the helper: what the allocator's parameter of the same name is given."""
    if name in ("n", "elem"):
        return show(count if name == "n" else element)
    own = allocation.alloc.params
    given = allocation.argument(own.index(name)) if name in own else None
    return show(given) if given is not None else name
