"""KGF409: what is freed never came from an allocator as it is."""

from collections.abc import Iterator

from kgfplint.catalogue import Free
from kgfplint.checks import Rule
from kgfplint.checks.incidents import finding_of
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import show
from kgfplint.findings import Finding, Severity
from kgfplint.ownership.addresses import Addresses
from kgfplint.ownership.ops import Release
from kgfplint.ownership.states import Incident

RULE = Rule(
    code="KGF409",
    name="freed-not-allocated",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="Only what an allocator returned can be freed.",
)
_WHAT = {
    "local": "lies on the stack", "static": "is static memory", "string": "is a string literal",
    "interior": "points inside an object, not to its start", "err_ptr": "is an error pointer",
}


def check(unit: Unit) -> Iterator[Finding]:
    """Report each free of an address of something, and of an error pointer."""
    if not unit.touches_memory:
        return
    params = frozenset(param.name for param in unit.row.params)
    addresses = Addresses(unit.body, params, unit.file, unit.program.types, unit.types, unit.typing)
    told: set[int] = set()
    others = {i.free.number for i in unit.paths.incidents.values() if i.free is not None and i.origin.what in ("alloc", "param")}
    for release in unit.paths.releases:
        what = addresses.kind(release.argument)
        if what in _WHAT and release.number not in told and _concerns(unit, release.free, what):
            told.add(release.number)
            yield _direct(unit, release, what)
    for incident in unit.paths.incidents.values():
        what = "err_ptr" if incident.kind == "freed-error" else incident.origin.what
        free = incident.free
        if incident.kind not in ("free", "freed-error") or what not in _WHAT or free is None or free.number in told:
            continue
        if _concerns(unit, free.free, what):
            told.add(free.number)
            severity = Severity.WARNING if what == "err_ptr" and free.free.spares_err_ptr else None
            if what != "err_ptr" and (free.number in others or len(unit.values.get(incident.lvalue, ())) > 1):
                # A condition that we do not understand tells it from the allocated memory that is freed as well; where a pointer
                # has moved is hardly ever asked.
                severity = Severity.WARNING if _moves(unit, incident.lvalue) else Severity.NOTE
            yield _on_path(unit, incident, what, free.free.name, severity)


def _moves(unit: Unit, lvalue: str) -> bool:
    """Tell whether a pointer is moved along (`p++`, `p += n`) somewhere."""
    return any(type(event) is ir.Assign and bool(event.op) and show(event.target) == lvalue for event in unit.events())


def _concerns(unit: Unit, free: Free, what: str) -> bool:
    """Objects that have their own deallocator may be embedded; constant strings have one that leaves them alone."""
    families = unit.meaning.catalogue.families
    raw = any(families[family].slab_backed or family == "vmalloc" for family in free.accepts)
    if free.flavour in ("put", "deferred", "bulk") or (what != "err_ptr" and not raw):
        return False
    return not (free.flavour == "const" and what in ("string", "static"))


def _direct(unit: Unit, release: Release, what: str) -> Finding:
    message = f"{show(release.argument)} {_WHAT[what]}, but {release.free.name}() frees it"
    if isinstance(release.event, ir.Call):
        return unit.finding(RULE, release.event, message)
    return unit.finding_at(RULE, release.event.line, f"{release.free.name}({show(release.argument)})", message)


def _on_path(unit: Unit, incident: Incident, what: str, free: str, severity: Severity | None) -> Finding:
    site = incident.origin.site
    message = f"{incident.lvalue} {_WHAT[what]} on a path that reaches {free}()"
    trace = [unit.step(incident.line, f"{free}() frees it", "free")]
    if site is not None:
        trace.insert(0, unit.step(site.call.line, f"{site.alloc.name}() returns an error pointer when it fails", "alloc"))
    return finding_of(unit, RULE, incident, message, trace, severity)
