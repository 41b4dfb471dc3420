"""KGF203: GFP_NOFS or GFP_NOIO written out, where a scope would say it once, and why."""

import functools
from collections.abc import Iterator, Sequence

from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, mask_text
from kgfplint.checks.held_at import held_at
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity
from kgfplint.gfp.policy import Policy, Scope, policy
from kgfplint.program.link import Program
from kgfplint.program.meaning import Meaning

RULE = Rule(
    code="KGF203",
    name="reclaim-scope",
    severity=Severity.NOTE,
    guide="Get Free Page flags",
    summary="Since 4.12 a scope (memalloc_nofs_save(), memalloc_noio_save()) keeps reclaim out, not the mask of each call.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each request that may reclaim, but not through the file system, by a mask that is chosen here."""
    known = policy(unit.meaning.catalogue.version)
    if not any(scope.clears == ("__GFP_FS",) for scope in known.scopes):
        return
    found = [(choice, value, scope) for choice in choices(unit) if choice.name not in known.askers
             for value in [_restricted(choice)] if value is not None
             for scope in [_fitting(value, known.scopes)] if scope is not None]
    if len(found) == 1 and unit.number in _entries(unit.program, known):
        return  # where the danger begins is known, and one mask says it
    for choice, value, scope in found:
        yield _finding(unit, choice, value, scope)


def prepare(meaning: Meaning) -> None:
    """Find out where reclaim begins: all processes share it."""
    _entries(meaning.program, policy(meaning.catalogue.version))


@functools.lru_cache(maxsize=2)
def _entries(program: Program, known: Policy) -> frozenset[int]:
    """Return the functions that reclaim waits for, or calls, because of where they are stored (see KGF105)."""
    members = {member for entry in known.reentries.values() for member in entry.members}
    keys = (key for (tag, member), key in program.keys.items() if f"{tag}.{member}" in members)
    return frozenset(target for key in keys for target in program.bound.get(key, {}))


def _restricted(choice: Choice) -> Choice | None:
    """Return the first value of a mask that may reclaim, but not through file systems."""
    return next((value for value in choice.possible() if value.sets("__GFP_DIRECT_RECLAIM") and value.clears("__GFP_FS")), None)


def _fitting(value: Choice, scopes: Sequence[Scope]) -> Scope | None:
    """Return the scope that clears as many bits of a mask as are clear in it."""
    fitting = [scope for scope in scopes if scope.clears and value.clears(*scope.clears)]
    return max(fitting, key=lambda scope: len(scope.clears), default=None)


def _finding(unit: Unit, choice: Choice, value: Choice, scope: Scope) -> Finding:
    asked = f"{choice.name}() is given {mask_text(unit, value)}"
    covering = {other.kind for other in policy(unit.meaning.catalogue.version).scopes if set(scope.clears) <= set(other.clears)}
    held = next((held for held in held_at(unit, choice.call) if held.kind in covering), None)
    if held is not None:
        message = f"{asked}, but {held.place} at line {held.line} covers it: GFP_KERNEL is enough"
        return unit.finding(RULE, choice.call, message, (unit.step(held.line, f"{held.place}: the scope begins"),))
    message = f"{asked}: mark the code that reclaim must not enter with {scope.begin}() and {scope.end}(), and say why there"
    return unit.finding(RULE, choice.call, message)
