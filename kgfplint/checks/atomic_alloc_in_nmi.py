"""KGF106: any allocation in NMI context or under a raw spinlock."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chains import Chain
from kgfplint.checks.unit import Unit
from kgfplint.context.sleeping import RAW, forbidden, sleep_of
from kgfplint.facts import ir
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
    kinds = unit.meaning.catalogue.kinds
    told: set[int] = set()
    for event, state in unit.states:
        held = next((held for held in state.held if kinds[held.kind].raw), None)
        if held is None or held.line in told or not isinstance(event, ir.Call):
            continue
        sleep = sleep_of(unit.meaning, unit.file, event, unit.values)
        if sleep is None or sleep.where != RAW or not forbidden(sleep, [held.kind], "", unit.meaning.catalogue):
            continue
        told.add(held.line)
        message = (f"{sleep.what} takes locks that sleep on PREEMPT_RT, but this runs under {held.since}; "
                   "allocate before it")
        yield unit.finding(RULE, event, message, (unit.step(held.line, f"{held.place}: a raw spinlock"),
                                                  unit.step(event.line, sleep.what)))


def reached(chain: Chain) -> Iterator[Finding]:
    """Report an allocation that is called in NMI context or under a raw spinlock."""
    if chain.sleep.where == RAW:
        message = f"{chain.sleep.what} takes locks that must not be taken here: this runs {chain.why}; allocate before it"
        yield chain.finding(RULE, message, None if chain.certain else Severity.NOTE)
