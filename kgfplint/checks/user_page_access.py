"""KGF207: pages for user space only, used as if the kernel had an address for them, or pinned though they are movable."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.backing import Given, given
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF207",
    name="user-page-access",
    severity=Severity.WARNING,
    guide="Get Free Page flags",
    summary="Pages of GFP_HIGHUSER may lie where the kernel has no address for them, those of GFP_HIGHUSER_MOVABLE may move.",
)
_PAGES = frozenset({"pages", "folio"})
"""Families whose memory is known by its pages rather than by an address."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each use of such pages that needs an address in the kernel, or that they stay where they are."""
    if unit.row.flags & ir.MACRO or not unit.needs_memory or not unit.allocates:
        return
    for kind, flag in (("mapped", "__GFP_HIGHMEM"), ("still", "__GFP_MOVABLE")):
        for use in given(unit, kind):
            found = _allocated(unit, use)
            if found is not None and unit.meaning.masks.has(found.mask, flag):
                yield _finding(unit, use, found, kind)


def _allocated(unit: Unit, use: Given) -> Allocation | None:
    """Return the one allocation that a page comes from."""
    page = bare(use.subject)
    if type(page) is ir.AddressOf and type(page.base) is ir.Field and page.base.member == "page":
        page = bare(page.base.base)  # &folio->page
    value = unit.value_of(page)
    for allocation in unit.allocations:
        call = allocation.call
        made = call.target == page and len(unit.values.get(page.id, ())) == 1 if type(page) is ir.Name else False
        if allocation.alloc.family in _PAGES and (made or value == ir.CallResult(call.callee, call.args)):
            return allocation
    return None


def _finding(unit: Unit, use: Given, found: Allocation, kind: str) -> Finding:
    page, callee, mask = show(use.subject), show(use.call.callee), unit.meaning.masks.describe(found.mask)
    if kind == "mapped":
        what = f"{page} may be a highmem page ({mask}), for which {callee}() has no address: use kmap_local_page(), or GFP_USER"
    else:
        what = f"{page} is movable ({mask}), but {callee}() has hardware use it where it is: use GFP_HIGHUSER, or GFP_USER"
    trace = (unit.step(found.call.line, f"{found.name}() with {mask} allocates it"),
             unit.step(use.call.line, f"{callee}() uses it"))
    return unit.finding(RULE, use.call, what, trace)
