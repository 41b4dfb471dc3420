"""KGF101: an allocation that may sleep where sleeping is forbidden."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chains import Chain
from kgfplint.checks.held_at import wrong_sleeps
from kgfplint.checks.unit import Unit
from kgfplint.context.sleeping import MASKED, RAW, severity
from kgfplint.findings import Finding, Severity

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
        message = f"{sleep.what} may sleep, but this runs under {held.since}; use GFP_ATOMIC or allocate before it"
        yield unit.finding(RULE, call, message, (unit.step(held.line, f"{held.place}: no sleeping from here", "lock"),
                                                 unit.step(call.line, f"{sleep.what} may sleep", "alloc")), severity(sleep))


def reached(chain: Chain) -> Iterator[Finding]:
    """Report a sleeping allocation that is called where sleeping is wrong."""
    if not chain.sleep.frees and chain.sleep.where != RAW and chain.state.context != MASKED:
        message = f"{chain.sleep.what} may sleep, but this runs {chain.why}; use GFP_ATOMIC there or allocate before it"
        yield chain.finding(RULE, message, severity(chain.sleep) if chain.certain else Severity.WARNING)
