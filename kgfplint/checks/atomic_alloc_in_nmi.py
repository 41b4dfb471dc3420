"""KGF106: any allocation in NMI context or under a raw spinlock."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chains import Chain
from kgfplint.checks.held_at import wrong_sleeps
from kgfplint.checks.unit import Unit
from kgfplint.context.sleeping import RAW
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF106",
    name="atomic-alloc-in-nmi",
    severity=Severity.WARNING,
    guide="Get Free Page flags",
    summary="The allocator takes spinlocks: not even GFP_ATOMIC may be used in NMI context or under a raw spinlock.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report the first allocation under each raw spinlock; those that may sleep are KGF101's."""
    told: set[int] = set()
    for call, sleep, held in wrong_sleeps(unit):
        if sleep.where != RAW or held.line in told:
            continue
        told.add(held.line)
        message = f"{sleep.what} takes locks that sleep on PREEMPT_RT, but this runs under {held.since}; allocate before it"
        trace = unit.step(held.line, f"{held.place}: a raw spinlock", "lock"), unit.step(call.line, sleep.what, "alloc")
        # While the machine boots nobody holds the locks of the allocator.
        yield unit.finding(RULE, call, message, trace, Severity.NOTE if "__init" in unit.row.annotations else None)


def reached(chain: Chain) -> Iterator[Finding]:
    """Report an allocation that is called in NMI context or under a raw spinlock."""
    if chain.sleep.where == RAW:
        message = f"{chain.sleep.what} takes locks that must not be taken here: this runs {chain.why}; allocate before it"
        yield chain.finding(RULE, message, None if chain.severity() == Severity.ERROR else Severity.NOTE)
