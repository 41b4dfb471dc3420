"""KGF203: GFP_NOFS or GFP_NOIO written out, where a scope would say it once, and why."""

from collections.abc import Iterator, Sequence

from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, mask_text
from kgfplint.checks.held_at import held_at
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity
from kgfplint.gfp.policy import Scope, policy

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
    for choice in choices(unit):
        if choice.name in known.askers:
            continue
        restricted = (value for value in choice.possible() if value.sets("__GFP_DIRECT_RECLAIM") and value.clears("__GFP_FS"))
        value = next(restricted, None)
        scope = _fitting(value, known.scopes) if value is not None else None
        if value is not None and scope is not None:
            yield _finding(unit, choice, value, scope)


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
