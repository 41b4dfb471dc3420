"""KGF105: a mask that lets reclaim into a file system, or into IO, where that would wait for this very code."""

import re
from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chains import Chain
from kgfplint.checks.unit import Unit
from kgfplint.context.sleeping import ALLOWED
from kgfplint.findings import Finding, Severity
from kgfplint.gfp.policy import policy

RULE = Rule(
    code="KGF105",
    name="reclaim-recursion",
    severity=Severity.WARNING,
    guide="Get Free Page flags",
    summary="Where reclaim would wait for what this code holds, masks keep it out: GFP_NOFS, GFP_NOIO, or a scope.",
)

_REMEDIES = {
    "nofs": "use GFP_NOFS or mark a memalloc_nofs_save() scope", "noio": "use GFP_NOIO or mark a memalloc_noio_save() scope",
    "none": "allocate before, or use GFP_NOWAIT and cope with failure",
}
_LONGEST = 5
_PUT = re.compile(r"(^|_)put(_|$)")
_GOES = {3: "lets reclaim enter file systems", 2: "lets reclaim do IO", 1: "lets the code wait for reclaim"}


def check(unit: Unit) -> Iterator[Finding]:
    """Report allocations in sections of the function itself that reclaim waits for."""
    kinds, known = unit.meaning.catalogue.kinds, policy(unit.meaning.catalogue.version).reentries
    if not unit.touches_locks or not any(kinds[held.kind].allows for _, state in unit.states for held in state.held):
        return
    told: set[str] = set()
    for call in sorted(unit.calls, key=lambda call: (call.line, call.column)):
        site = next((site for site in unit.flow.sites if (site.line, site.column) == (call.line, call.column)), None)
        if site is None or site.sleep is None or site.held:
            continue
        left = min([site.sleep.reclaims, *(ALLOWED[kinds[scope].leaves] for scope in site.scopes)])
        entry = next((known[scope] for scope in site.scopes if kinds[scope].allows and scope in known), None)
        if entry is not None and left > ALLOWED[entry.allows] and entry.name not in told:
            told.add(entry.name)
            message = f"{site.sleep.what} {_GOES[left]}, but this runs in {entry.title}: {entry.why}; {_REMEDIES[entry.allows]}"
            yield unit.finding(RULE, call, message, severity=Severity.parse(entry.severity))


def recursed(chain: Chain) -> Iterator[Finding]:
    """Report an allocation that is reached where it lets reclaim in again."""
    allowed = chain.state.kinds[0]
    does = _GOES[chain.sleep.reclaims]
    entry = chain.entry
    if entry is None:
        message = f"{chain.sleep.what} {does}, but this runs {chain.why}; hand the mask on, or {_REMEDIES[allowed]}"
        yield chain.finding(RULE, message, Severity.NOTE if _remote(chain) else Severity.WARNING)
        return
    message = f"{chain.sleep.what} {does}, but this runs {chain.why}: {entry.why}; {_REMEDIES[allowed]}"
    severity = Severity.parse(entry.severity)
    if not chain.certain:
        severity = min(severity, Severity.WARNING)
    if _remote(chain) or (entry.holding and chain.param_types.isdisjoint(entry.holding)):
        severity = Severity.NOTE
    yield chain.finding(RULE, message, severity)


def _remote(chain: Chain) -> bool:
    """Tell whether a chain is too long to convince, leads through the last of several references, which this may not be, or to
    something that others may have allocated before.
    """
    names = chain.names
    return len(names) > _LONGEST or any(_PUT.search(name) for name in names) or (len(names) > 1 and chain.lazy)
