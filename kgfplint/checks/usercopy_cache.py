"""KGF512: objects of a slab cache copied to or from user space, though the cache was made without a window for that."""

from collections.abc import Iterator
from typing import NamedTuple

from kgfplint.allocator.kernels import user_copies
from kgfplint.checks import Rule
from kgfplint.checks.requests import machine_of
from kgfplint.checks.sizes import is_constant
from kgfplint.checks.unit import Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.findings import Finding, Severity, Step
from kgfplint.ownership.provenance import Source, keys_of

RULE = Rule(
    code="KGF512",
    name="usercopy-cache",
    severity=Severity.WARNING,
    guide="Selecting memory allocator",
    summary="A cache whose objects are copied to or from user space is made by kmem_cache_create_usercopy().",
)
_PLAIN = frozenset({"kmem_cache_create", "KMEM_CACHE"})
"""What makes a cache without a window."""


class _Copy(NamedTuple):
    """A copy of part of an object from a cache: the call, the object, the cache, and what allocated the object."""

    call: ir.Call
    subject: ir.Expr
    cache: ir.Expr
    alloc: str


def check(unit: Unit) -> Iterator[Finding]:
    """Report each copy whose length is no constant of an object whose cache has no window."""
    if user_copies().keys().isdisjoint(unit.callees):
        return
    for copy in _copies(unit):
        keys = keys_of(copy.cache, unit)
        if unit.provenance is None:
            unit.questions.append(Question(keys, ()))
            continue
        _, made = unit.provenance.of(unit.file, keys)
        if made and all(source.alloc in _PLAIN for source in made):
            yield _finding(unit, copy, made[0])


def _copies(unit: Unit) -> Iterator[_Copy]:
    """Yield the copies of objects that this function allocates from a cache; lengths the compiler knows are not looked at."""
    for call in unit.calls:
        row = user_copies().get(call.callee.id) if isinstance(call.callee, ir.Name) else None
        if row is None or max(row.object, row.bytes) >= len(call.args) or is_constant(unit, call.args[row.bytes]):
            continue
        subject = call.args[row.object]
        made = unit.value_of(_object(unit, subject))
        if isinstance(made, ir.CallResult) and isinstance(made.callee, ir.Name):
            alloc = unit.meaning.catalogue.allocs.get(made.callee.id)
            if alloc is not None and alloc.family == "cache" and alloc.cache is not None and alloc.cache < len(made.args):
                yield _Copy(call, subject, bare(made.args[alloc.cache]), alloc.name)


def _object(unit: Unit, subject: ir.Expr) -> ir.Expr:
    """Return the pointer to the object that an address lies in: `p` of `p`, `&p->member` and `p->array`."""
    at = bare(subject)
    inside = isinstance(at, ir.AddressOf) or unit.typing.of(at).endswith("]")
    at = bare(at.base) if isinstance(at, ir.AddressOf) else at
    while inside and isinstance(at, ir.Field | ir.Index):
        if isinstance(at, ir.Field) and at.arrow:
            return bare(at.base)
        at = bare(at.base)
    return at


def _finding(unit: Unit, copy: _Copy, made: Source) -> Finding:
    strict = machine_of(unit).usercopy_strict
    what = "is refused (BUG)" if strict else "draws a warning"
    cache, copier = show(copy.cache), show(copy.call.callee)
    message = (f"{copier}() of {show(copy.subject)} {what} under CONFIG_HARDENED_USERCOPY: {cache} is made by {made.alloc}(): "
               "no byte may be copied; make it by kmem_cache_create_usercopy() with the part that is")
    trace = (Step(made.path, made.line, made.function, f"{made.alloc}() makes {cache} without a window for copies"),
             unit.step(copy.call.line, f"part of what {copy.alloc}() returned is copied"))
    return unit.finding(RULE, copy.call, message, trace, None if strict else Severity.NOTE)
