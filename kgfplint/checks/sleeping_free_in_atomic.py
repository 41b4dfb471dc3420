"""KGF102: a free that may sleep where sleeping is forbidden."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chains import Chain
from kgfplint.checks.held_at import wrong_sleeps
from kgfplint.checks.unit import Unit
from kgfplint.context.sleeping import MASKED, severity
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF102",
    name="sleeping-free-in-atomic",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="vfree() may sleep, and kvfree() may call it: what they free must be freed where sleeping is allowed.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each sleeping free under something that forbids to sleep."""
    for call, sleep, held in wrong_sleeps(unit):
        if sleep.frees:
            message = f"{sleep.what} may sleep, but this runs under {held.since}; free it after the lock is dropped"
            steps = (unit.step(held.line, f"{held.place}: no sleeping from here", "lock"),
                     unit.step(call.line, f"{sleep.what} may sleep", "free"))
            yield unit.finding(RULE, call, message, steps, severity(sleep))


def reached(chain: Chain) -> Iterator[Finding]:
    """Report a sleeping free that is called where sleeping is wrong."""
    if chain.sleep.frees and chain.state.context != MASKED:
        message = f"{chain.sleep.what} may sleep, but this runs {chain.why}{chain.provided}; free it where sleeping is allowed"
        yield chain.finding(RULE, message, chain.severity())
