"""KGF206: memory that an untrusted user has the kernel keep, not charged to that user."""

import functools
from collections.abc import Iterator, Mapping

from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, mask_text
from kgfplint.checks.unit import Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import NULL, bare
from kgfplint.findings import Finding, Severity
from kgfplint.gfp.policy import Policy, policy
from kgfplint.ownership.conditions import constant
from kgfplint.ownership.provenance import Source, accounts, keys_of
from kgfplint.ownership.states import NULL as IS_NULL
from kgfplint.ownership.states import Exit
from kgfplint.program.link import Program
from kgfplint.program.meaning import Meaning

RULE = Rule(
    code="KGF206",
    name="unaccounted-user-allocation",
    severity=Severity.NOTE,
    guide="Get Free Page flags",
    summary="What untrusted users make the kernel keep is charged to their memory cgroup: __GFP_ACCOUNT.",
)

_FAMILIES = frozenset({"kmalloc", "kvmalloc", "vmalloc", "percpu", "pages"})
"""What __GFP_ACCOUNT works for; objects of a slab cache are charged if the cache says so."""
_UNTYPED = frozenset({"struct page", "struct folio"})
"""What pages are of, whatever they are for: those of others prove nothing."""
_SYSCALLS = ("sys_", "compat_sys_")
_DEPTH = 3
"""So many calls below the entry a function of the same file still counts as part of the request."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation that serves a request, is kept when the request succeeds, and is not accounted; and objects of a
    slab cache that are accounted in another function of the file.
    """
    if not unit.allocates or unit.row.flags & ir.MACRO:
        return
    yield from _uneven(unit)
    request = prepare(unit.meaning).get(unit.number)
    if request is None:
        return
    title, entry = request
    for choice in choices(unit):
        alloc = choice.alloc
        if alloc is None or alloc.family not in _FAMILIES or choice.value is None or not choice.clears("__GFP_ACCOUNT"):
            continue
        if _kept(unit, choice):
            source = _source(unit, choice.call)
            also = f"; {source.function}() does at {source.path}:{source.line}" if source is not None else ""
            message = (f"{choice.name}() is given {mask_text(unit, choice)} for what {entry}() keeps, which is reached by "
                       f"{title}: charge it to them with {_accounted(unit, choice)}{also}")
            yield unit.finding(RULE, choice.call, message, severity=Severity.WARNING if source is not None else None)


def _uneven(unit: Unit) -> Iterator[Finding]:
    """Yield the objects of caches that another function of the file, given the same mask, has charged to a user."""
    for allocation in unit.allocations:
        alloc, call = allocation.alloc, allocation.call
        if alloc.family != "cache" or alloc.gfp is None or allocation.inferred or accounts(unit, alloc, call.args):
            continue
        given = bare(call.args[alloc.gfp]) if alloc.gfp < len(call.args) else None
        if type(given) is not ir.Name or given.id not in {param.name for param in unit.row.params}:
            continue
        source = _source(unit, call)
        if source is not None and source.path == unit.path and source.function != unit.name:
            message = (f"{alloc.name}() is given {given.id} as it came, but {source.function}() at line {source.line} adds "
                       f"__GFP_ACCOUNT for objects of the same type: add it here on the same condition")
            yield unit.finding(RULE, call, message)


def _source(unit: Unit, call: ir.Call) -> Source | None:
    """Return where memory of the type of a call's target is charged to a user; unknown until all functions were seen."""
    kind = next((key for key in keys_of(call.target, unit) if key.startswith("struct ")), "") if call.target is not None else ""
    if not kind or kind in _UNTYPED:
        return None
    keys = (f"account:{kind}",)
    if unit.provenance is None:
        unit.questions.append(Question(keys, ()))
        return None
    _, made = unit.provenance.of(unit.file, keys)
    return min(made, key=lambda one: (one.path != unit.path, one.path, one.line), default=None)


def _accounted(unit: Unit, choice: Choice) -> str:
    """Return the mask to write instead."""
    plain = choice.value == unit.meaning.masks.named.get("GFP_KERNEL")
    return "GFP_KERNEL_ACCOUNT" if plain else "__GFP_ACCOUNT"


def _kept(unit: Unit, choice: Choice) -> bool:
    """Tell whether some successful return leaves the memory alive."""
    return any(_succeeds(leave) and _alive(leave, choice.call) for leave in unit.paths.exits) if unit.paths.complete else False


def _succeeds(leave: Exit) -> bool:
    value = leave.event.value
    if value is None:
        return True
    known = constant(value)
    return leave.state != IS_NULL and bare(value) != NULL and (known is None or known.hi >= 0)


def _alive(leave: Exit, call: ir.Call) -> bool:
    for number, thing in leave.left.objects.items():
        site = leave.origins[number].site
        if site is not None and site.call is call:
            return not thing.freed and thing.state != IS_NULL
    return leave.origin is not None and leave.origin.site is not None and leave.origin.site.call is call


def prepare(meaning: Meaning) -> Mapping[int, tuple[str, str]]:
    """Return the functions that serve requests: see `_requests`."""
    return _requests(meaning.program, policy(meaning.catalogue.version))


@functools.lru_cache(maxsize=2)
def _requests(program: Program, known: Policy) -> Mapping[int, tuple[str, str]]:
    """Map the functions that serve requests to (how users reach them, the entry): what a table of the same file names, and
    what that calls in its file. Tables elsewhere do not count, so that a function's findings depend on its file alone.
    """
    found: dict[int, tuple[str, str]] = {}
    for (tag, member), key in program.keys.items():
        title = known.requests.get(f"{tag}.{member}")
        for number in program.bound.get(key, {}) if title is not None else ():
            row = program.rows[number]
            if title is not None and row.flags & ir.STATIC:
                found.setdefault(number, (title, row.name))
    for number, row in enumerate(program.rows):
        if row.name.startswith(_SYSCALLS) and program.paths[row.file].endswith(".c") and not row.flags & ir.MACRO:
            found.setdefault(number, ("a system call, which any user may make", row.name))
    fresh = sorted(found)
    for _ in range(_DEPTH):
        below: list[int] = []
        for number in fresh:
            file = program.rows[number].file
            for callee, _ in program.calls(number):
                for target in program.resolve(file, callee):
                    row = program.rows[target]
                    if row.file == file and row.flags & ir.STATIC and target not in found:
                        found[target] = found[number]
                        below.append(target)
        fresh = below
    return found
