"""KGF401: memory given to a deallocator of another allocator."""

from collections.abc import Collection, Iterator

import msgspec

from kgfplint.catalogue import Free
from kgfplint.checks import Rule
from kgfplint.checks.incidents import finding_of
from kgfplint.checks.rewriting import rewritten
from kgfplint.checks.undone import undone
from kgfplint.checks.unit import Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.findings import Finding, Rewrite, Severity, Step
from kgfplint.ownership.counting import uncounted
from kgfplint.ownership.ops import Release, Site
from kgfplint.ownership.provenance import Source, keys_of, of_local
from kgfplint.ownership.states import Incident

RULE = Rule(
    code="KGF401",
    name="mismatched-free",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="Memory is freed by the function that fits the allocator it came from.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each free that does not accept the family of what it is given."""
    if not unit.touches_memory:
        return
    yield from _uncounted(unit)
    yield from undone(unit, RULE)
    if unit.provenance is None:
        unit.questions.extend(_questions(unit))
        return
    told: set[int] = set()
    for incident in unit.paths.incidents.values():
        site, release = incident.origin.site, incident.free
        if release is None or site is None or release.number in told or not _differ(incident, site, release.free):
            continue
        if not _implements(unit, site, release.free):
            told.add(release.number)
            yield _finding(unit, incident, site, release.free)
    for release, event in _unseen(unit):
        yield from list(_by_provenance(unit, release, event)) or _by_assignment(unit, release, event)


def _uncounted(unit: Unit) -> Iterator[Finding]:
    """Report frees of what holds a counted object that nobody gave up."""
    told: set[int] = set()
    for found in uncounted(unit) if unit.frees else ():
        event = found.release.event
        if not found.given_up and isinstance(event, ir.Call) and found.release.number not in told:
            told.add(found.release.number)
            what, maker = show(found.subject), show(found.call.callee)
            lost = f"whose name {found.release.free.name}() leaks" if found.named else f"but {found.release.free.name}() frees it"
            message = (f"{what} holds a counted object since {maker}() at line {found.call.line}, {lost}; "
                       f"use {found.put}(), which calls its release function")
            trace = (unit.step(found.call.line, f"{maker}() makes it one"), unit.step(event.line, "it is freed by hand"))
            yield unit.finding(RULE, event, message, trace, Severity.WARNING if found.named else Severity.NOTE)


def _unseen(unit: Unit) -> Iterator[tuple[Release, ir.Call]]:
    """Yield, once each, the releases by a call of what no path shows the origin of."""
    known = {i.free.number for i in unit.paths.incidents.values() if i.free is not None and i.origin.site is not None}
    for release in unit.paths.releases:
        if release.number not in known and isinstance(release.event, ir.Call):
            known.add(release.number)
            yield release, release.event


def _differ(incident: Incident, site: Site, free: Free) -> bool:
    """Tell whether a free that is no mere reference put does not accept what a path brings it."""
    return incident.kind == "free" and not site.alloc.managed and free.flavour != "put" and site.alloc.family not in free.accepts


def _questions(unit: Unit) -> Iterator[Question]:
    """Yield what must be known of the whole program before this function can be judged."""
    if any(i.free and i.origin.site and _differ(i, i.origin.site, i.free.free) for i in unit.paths.incidents.values()):
        yield Question((), ())
    for release, _ in _unseen(unit):
        subject = bare(release.argument)
        if families := _local_families(unit, subject):
            if families.isdisjoint(release.free.accepts):
                yield Question((), ())
        elif keys := keys_of(subject, unit):
            yield Question(keys, release.free.accepts)
            if _made_here(unit, subject, release.free) is not None:
                yield Question((), ())


def _local_families(unit: Unit, subject: ir.Expr) -> set[str] | None:
    """Return the families that a local can only be of, None for what may be anything."""
    assigned = unit.values.get(subject.id) if isinstance(subject, ir.Name) else None
    return of_local(assigned, unit.meaning, unit.file) if assigned else None


def _made_here(unit: Unit, subject: ir.Expr, free: Free) -> ir.Call | None:
    """Return the call of this function whose memory goes to where a free takes it from, if that does not accept any of it."""
    calls = [call for call in unit.calls if call.target is not None and bare(call.target) == subject]
    allocs = [unit.meaning.alloc(unit.file, call.callee.id) for call in calls if isinstance(call.callee, ir.Name)]
    families = {alloc.family for alloc in allocs if alloc is not None}
    special = families != _general(unit, families) or free.flavour in ("put", "callback")
    if len(families) != 1 or len(allocs) != len(calls) or None in allocs or families & set(free.accepts) or special:
        return None
    return calls[0] if _comparable(unit, families, free) else None


def _by_assignment(unit: Unit, release: Release, event: ir.Call) -> Iterator[Finding]:
    """Judge memory that paths lose sight of by what this function stores there: it may be that."""
    subject, free = bare(release.argument), release.free
    call = _made_here(unit, subject, free)
    alloc = unit.meaning.alloc(unit.file, call.callee.id) if call is not None and isinstance(call.callee, ir.Name) else None
    if call is not None and alloc is not None:
        fitting = unit.meaning.catalogue.frees_of.get(alloc.family, ())
        message = (f"{show(subject)} may be {unit.meaning.catalogue.families[alloc.family].title} from {alloc.name}() at line "
                   f"{call.line}, but {free.name}() frees it{f'; use {fitting[0]}()' if fitting else ''}")
        trace = (unit.step(call.line, f"{alloc.name}() allocates {show(subject)}", "alloc"),
                 unit.step(event.line, f"{free.name}() frees it", "free"))
        yield unit.finding(RULE, event, message, trace, Severity.WARNING, _fix(unit, event, free, {alloc.family}, sure=False))


def _by_provenance(unit: Unit, release: Release, event: ir.Call) -> Iterator[Finding]:
    """Judge memory that no path of this function shows the origin of by where all memory of its kind comes from."""
    subject, free = bare(release.argument), release.free
    catalogue = unit.meaning.catalogue
    local = _local_families(unit, subject)
    key, made = unit.provenance.of(unit.file, keys_of(subject, unit)) if unit.provenance is not None else ("", [])
    families = local or {_underlying(unit, source) for source in made}
    if not families or families & set(free.accepts) or free.flavour in ("put", "callback"):
        return
    if local is None and ":" not in key and release.wrapped and subject not in map(bare, event.args):
        return  # the wrapper finds that member in what it is given, and knows it by the same key: it is told of there
    if not _comparable(unit, families, free) or any(_made_by(unit, source.alloc) in free.accepts for source in made):
        return
    family = min(families, key=lambda name: (name not in _general(unit, families), name))
    title = catalogue.families[family].title if family in catalogue.families else family
    fitting = catalogue.frees_of.get(family, ())
    trace = [Step(source.path, source.line, source.function, f"{source.alloc}() allocates {what_of(key)}", "alloc")
             for source in made[:1]]
    # What may be of another kind by its size is so for sizes that nobody sees here.
    large = {name for name in families if name in catalogue.families and catalogue.families[name].scattered == "large"}
    mixed = large and any(name in catalogue.families and catalogue.families[name].slab_backed for name in free.accepts)
    near = local is None and not mixed and any(source.path == unit.path for source in made) and ":" not in key
    kind = f"every {what_of(key)}" if key.startswith("struct ") else f"all of {what_of(key)}"
    what = kind if local is None else show(subject)
    message = (f"{what} in this program is {title}, but {free.name}() frees {show(subject)}"
               f"{' (wrong where it is larger than a page)' if mixed else ''}{f'; use {fitting[0]}()' if fitting else ''}")
    yield unit.finding(RULE, event, message, (*trace, unit.step(event.line, f"{free.name}() frees it", "free")),
                       None if near else Severity.WARNING, _fix(unit, event, free, families, sure=near))


def _fix(unit: Unit, event: ir.Event | None, free: Free, families: Collection[str], sure: bool = True) -> Rewrite | None:
    """Return the call of the one free function that takes memory of all some families, where both take a pointer only.

    Unless `sure`, it must take all that the present one takes. What a wrapper does besides is not known: it stays.
    """
    catalogue = unit.meaning.catalogue
    fitting = catalogue.frees.get(next(iter(catalogue.frees_of.get(min(families), ())), ""))
    if fitting is None or free.name not in catalogue.frees or not isinstance(event, ir.Call):
        return None
    if not len(free.params) == len(fitting.params) == len(event.args) == 1:
        return None
    heap = catalogue.are_general(families)
    plain = free.flavour == fitting.flavour == "plain"
    taken = set(families) if sure else {*families, *free.accepts}
    return rewritten(event, fitting.name) if heap and plain and taken <= set(fitting.accepts) else None


def _comparable(unit: Unit, families: Collection[str], free: Free) -> bool:
    """Only the general allocators stand for all memory of a type; special memory often comes by ways that none sees.

    Where some of it is seen to come from a general one, what is freed as if from another one comes from neither.
    """
    known = unit.meaning.catalogue.families
    if not _general(unit, families):
        # Managed memory of a special kind ("devm-dma") against the plain free of that kind ("dma-coherent").
        kinds = {family.partition("-")[2] for family in families if family in known and known[family].managed}
        return len(kinds) == 1 and all(family.startswith(f"{min(kinds) or '?'}-") for family in free.accepts)
    plain = [family for family in free.accepts if family != "vmap"]
    return bool(plain) and unit.meaning.catalogue.are_general(plain)


def _general(unit: Unit, families: Collection[str]) -> set[str]:
    """Return those of some families that a general allocator makes."""
    known = unit.meaning.catalogue.families
    return {family for family in families if family in known and known[family].heap}


def _made_by(unit: Unit, alloc: str) -> str:
    """Return the family that the tree's own code makes an allocator's memory with, "" if that is not known."""
    return unit.provenance.family(unit.meaning, unit.file, alloc) if unit.provenance is not None else ""


def _underlying(unit: Unit, source: Source) -> str:
    """Return the family of a source, that of its memory where a subsystem's own allocator only dresses up a general one."""
    families = unit.meaning.catalogue.families
    special = not (source.family in families and families[source.family].heap)
    return (_made_by(unit, source.alloc) if special else "") or source.family


def what_of(key: str) -> str:
    """Return a key of the provenance as messages name it."""
    return key.rpartition(":")[2]


def _implements(unit: Unit, site: Site, free: Free) -> bool:
    """A subsystem undoing what it builds: the folder that defines the interface, or the destructor of a counted object."""
    families = unit.meaning.catalogue.families

    def counted(name: str) -> bool:
        return name in families and families[name].object

    sides = ((site.alloc.name, (site.alloc.family,)), (free.name, free.accepts))
    special = [name for name, own in sides if not any(family in families and families[family].heap for family in own)]
    return any(_is_neighbour(unit, name) for name in special) or (
        not counted(site.alloc.family) and all(map(counted, free.accepts)))


def _is_neighbour(unit: Unit, name: str) -> bool:
    """Tell whether the code that defines `name` stands in the folder of this function."""
    return any(unit.program.is_beside(function, unit.file) for function in unit.program.resolve(unit.file, name))


def _works(unit: Unit, site: Site, free: Free) -> bool:
    """An API mistake without harm: this kernel's allocator takes the memory from one that the free accepts."""
    return _made_by(unit, site.alloc.name) in free.accepts


def _finding(unit: Unit, incident: Incident, site: Site, free: Free) -> Finding:
    family = site.alloc.family
    known = unit.meaning.catalogue.families.get(family)
    fitting = unit.meaning.catalogue.frees_of.get(family, ())
    advice = f"; use {fitting[0]}()" if fitting else ""
    works = _works(unit, site, free)
    message = (f"{incident.lvalue} is {known.title if known else family} from {site.alloc.name}() at line {site.call.line}, "
               f"but {free.name}() frees it{' (it works in this version only)' if works else ''}{advice}")
    trace = (unit.step(site.call.line, f"{site.alloc.name}() allocates {incident.lvalue}", "alloc"),
             unit.step(incident.line, f"{free.name}() frees it", "free"))
    severity = Severity.NOTE if works else None
    found = finding_of(unit, RULE, incident, message, trace, severity)
    # Other paths may bring memory from elsewhere to the same call.
    families = {other.origin.site.alloc.family for other in unit.paths.incidents.values()
                if other.free == incident.free and other.origin.site is not None}
    return msgspec.structs.replace(found, fix=_fix(unit, incident.event, free, families))
