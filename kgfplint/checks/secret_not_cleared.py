"""KGF413: a secret that goes back to the allocator as it is, though elsewhere it is wiped first."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.unit import Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show
from kgfplint.findings import Finding, Severity, Step
from kgfplint.ownership.ops import Release
from kgfplint.ownership.provenance import secret_key

RULE = Rule(
    code="KGF413",
    name="secret-not-cleared",
    severity=Severity.NOTE,
    guide="Selecting memory allocator",
    summary="Keys and other secrets are overwritten before their memory is freed: kfree_sensitive(), or memzero_explicit().",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each plain free of what is freed by kfree_sensitive(), or wiped, on another path or in another function."""
    if not unit.touches_memory:
        return
    releases = unit.paths.releases
    wiped = {bare(release.argument): release.event.line for release in releases if release.free.flavour == "sensitive"}
    cleared = {bare(call.args[0]) for call in unit.calls if type(call.callee) is ir.Name and call.args
               and call.callee.id in ("memzero_explicit", "memset")}
    for release in releases:
        subject = bare(release.argument)
        if release.free.flavour != "plain" or release.free.name not in unit.meaning.catalogue.frees or subject in cleared:
            continue
        if "kmalloc" not in release.free.accepts or type(release.event) is not ir.Call:
            continue
        if subject in wiped and type(subject) is ir.Name and len(unit.values.get(subject.id, ())) == 1:
            yield _finding(unit, release, release.event, unit.step(wiped[subject], f"{show(subject)} is wiped here"))
        elif type(subject) is ir.Field and (key := secret_key(subject, unit)):
            yield from _elsewhere(unit, release, release.event, key)


def _elsewhere(unit: Unit, release: Release, event: ir.Call, key: str) -> Iterator[Finding]:
    if unit.provenance is None:
        unit.questions.append(Question((key,), ()))
        return
    _, made = unit.provenance.of(unit.file, (key,))
    near = [source for source in made if source.path.rpartition("/")[0] == unit.path.rpartition("/")[0]]
    if near:
        first = near[0]
        step = Step(first.path, first.line, first.function, f"{first.alloc}() wipes it here")
        yield _finding(unit, release, event, step)


def _finding(unit: Unit, release: Release, event: ir.Call, step: Step) -> Finding:
    message = (f"{show(release.argument)} is a secret, wiped in {step.function}() at line {step.line}, but {release.free.name}() "
               f"frees it here as it is; use kfree_sensitive()")
    return unit.finding(RULE, event, message, (step, unit.step(event.line, "it is freed with the secret in it", "free")))
