"""KGF101: an allocation that may sleep where sleeping is forbidden."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chains import Chain
from kgfplint.checks.chosen import every_taker
from kgfplint.checks.held_at import wrong_sleeps
from kgfplint.checks.rewriting import rewritten
from kgfplint.checks.unit import Unit
from kgfplint.context.held import Held
from kgfplint.context.sleeping import MASKED, RAW, Sleep, severity
from kgfplint.facts import ir
from kgfplint.facts.terms import show
from kgfplint.findings import Finding, Rewrite, Severity
from kgfplint.gfp.policy import policy

RULE = Rule(
    code="KGF101",
    name="sleeping-alloc-in-atomic",
    severity=Severity.ERROR,
    guide="Get Free Page flags",
    summary="GFP_KERNEL implies direct reclaim: the calling context must be allowed to sleep.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report the first sleeping allocation under each acquire that forbids to sleep."""
    told: set[tuple[str, int]] = set()
    for call, sleep, held in wrong_sleeps(unit):
        if sleep.frees or sleep.where == RAW or (held.kind, held.line) in told:
            continue
        told.add((held.kind, held.line))
        message = f"{sleep.what} may sleep, but this runs under {held.since}; {_remedy(sleep, 'use GFP_ATOMIC')}"
        steps = (unit.step(held.line, f"{held.place}: no sleeping from here", "lock"),
                 unit.step(call.line, f"{sleep.what} may sleep", "alloc"))
        yield unit.finding(RULE, call, message, steps, severity(sleep), _fix(unit, call, held))


def _fix(unit: Unit, call: ir.Call, held: Held) -> Rewrite | None:
    """Return the call with GFP_ATOMIC for a plain GFP_KERNEL, where the lock and all that allocates for it take that."""
    known, name = unit.meaning.catalogue, show(call.callee)
    place = unit.meaning.gfp_argument(unit.file, name)
    if place is None or call.args[place : place + 1] != (ir.Name("GFP_KERNEL"),) or held.stated or known.kinds[held.kind].raw:
        return None
    limited = {family for entry in policy(known.version).unsupported for family in entry.families}
    alloc = unit.meaning.alloc(unit.file, name)
    if alloc.family in limited if alloc is not None else not every_taker(unit, name, lambda alloc: alloc.family not in limited):
        return None
    return rewritten(call, instead={place: "GFP_ATOMIC"})


def reached(chain: Chain) -> Iterator[Finding]:
    """Report a sleeping allocation that is called where sleeping is wrong."""
    if not chain.sleep.frees and chain.sleep.where != RAW and chain.state.context != MASKED:
        message = (f"{chain.sleep.what} may sleep, but this runs {chain.why}{chain.provided}; "
                   f"{_remedy(chain.sleep, 'use GFP_ATOMIC there')}")
        yield chain.finding(RULE, message, chain.severity())


def _remedy(sleep: Sleep, masked: str) -> str:
    """Return what to write instead; another mask is one way only for what is given a mask."""
    return f"{masked} or allocate before it" if " with " in sleep.what else "allocate before it, where sleeping is allowed"
