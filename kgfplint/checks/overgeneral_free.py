"""KGF411: kvfree() of memory that can only be kmalloc() memory."""

from collections.abc import Iterator

from kgfplint.catalogue import Free
from kgfplint.checks import Rule
from kgfplint.checks.incidents import finding_of
from kgfplint.checks.unit import Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.findings import Finding, Severity
from kgfplint.ownership.ops import Release
from kgfplint.ownership.provenance import keys_of

RULE = Rule(
    code="KGF411",
    name="overgeneral-free",
    severity=Severity.NOTE,
    guide="Selecting memory allocator",
    summary="kvfree() is for memory that may be vmalloc() memory; what is always kmalloc() memory takes kfree().",
)
_KMALLOC = "kmalloc"


def check(unit: Unit) -> Iterator[Finding]:
    """Report each free by a function for kvmalloc() memory of what only kmalloc() makes, on all paths or in the whole program."""
    if not unit.touches_memory:
        return
    general = [release for release in unit.paths.releases if type(release.event) is ir.Call and _is_general(unit, release.free)]
    if not general:
        return
    made: dict[int, set[str]] = {}
    for incident in unit.paths.incidents.values():
        if incident.kind == "free" and incident.free is not None:
            site = incident.origin.site
            made.setdefault(incident.free.number, set()).add(site.alloc.family if site is not None else "")
            if site is not None and made[incident.free.number] == {_KMALLOC} and incident.free in general:
                general.remove(incident.free)
                message = f"{incident.lvalue} can only be kmalloc() memory, from {site.alloc.name}(); kfree() is enough"
                trace = (unit.step(site.call.line, f"{site.alloc.name}() allocates it", "alloc"),)
                yield finding_of(unit, RULE, incident, message, trace)
    for release in general:
        if release.number not in made:
            yield from _everywhere(unit, release)


def _is_general(unit: Unit, free: Free) -> bool:
    """Tell whether a call is one of the kernel's own frees for memory that may be vmalloc() memory or not."""
    return free.name in unit.meaning.catalogue.frees and free.flavour == "plain" and {"kvmalloc", _KMALLOC} <= set(free.accepts)


def _everywhere(unit: Unit, release: Release) -> Iterator[Finding]:
    keys = keys_of(bare(release.argument), unit)[:1]
    if not keys or keys[0].startswith("struct "):
        return
    if unit.provenance is None:
        others = tuple(family for family in unit.meaning.catalogue.families if family != _KMALLOC)
        unit.questions.append(Question(keys, others))
        return
    _, made = unit.provenance.of(unit.file, keys)
    if made and {source.family for source in made} == {_KMALLOC} and type(release.event) is ir.Call:
        first = made[0]
        message = (f"{show(release.argument)} can only be kmalloc() memory: that is all that is ever stored there, as by "
                   f"{first.alloc}() in {first.function}(); kfree() is enough")
        yield unit.finding(RULE, release.event, message)
