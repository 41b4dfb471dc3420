"""KGF206: memory that an untrusted user has the kernel keep, not charged to that user."""

import functools
from collections.abc import Iterator, Mapping

from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, mask_text
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import NULL, bare
from kgfplint.findings import Finding, Severity
from kgfplint.gfp.policy import Policy, policy
from kgfplint.ownership.conditions import constant
from kgfplint.ownership.states import NULL as IS_NULL
from kgfplint.ownership.states import Exit
from kgfplint.program.link import Program

RULE = Rule(
    code="KGF206",
    name="unaccounted-user-allocation",
    severity=Severity.NOTE,
    guide="Get Free Page flags",
    summary="What untrusted users make the kernel keep is charged to their memory cgroup: __GFP_ACCOUNT.",
)

_FAMILIES = frozenset({"kmalloc", "kvmalloc", "vmalloc", "percpu", "pages"})
"""What __GFP_ACCOUNT works for; objects of a slab cache are charged if the cache says so."""
_DEPTH = 3
"""So many calls below the entry a function of the same file still counts as part of the request."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation that serves a request, is kept when the request succeeds, and is not accounted."""
    if not unit.allocates:
        return
    request = _requests(unit.program, policy(unit.meaning.catalogue.version)).get(unit.number)
    if request is None:
        return
    title, entry = request
    for choice in choices(unit):
        alloc = choice.alloc
        if alloc is None or alloc.family not in _FAMILIES or choice.value is None or not choice.clears("__GFP_ACCOUNT"):
            continue
        if _kept(unit, choice):
            message = (f"{choice.name}() is given {mask_text(unit, choice)} for what {entry}() keeps, which is reached by "
                       f"{title}: charge it to them with {_accounted(unit, choice)}")
            yield unit.finding(RULE, choice.call, message)


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
