"""KGF201: a mask whose bits contradict each other, or mean nothing beside each other, or a test that no mask can fail."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.chosen import Choice, choices, mask_text
from kgfplint.checks.mask_tests import loose_tests
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.findings import Finding, Severity
from kgfplint.gfp.policy import Conflict, policy

RULE = Rule(
    code="KGF201",
    name="gfp-conflict",
    severity=Severity.ERROR,
    guide="GFP flags and reclaim behavior",
    summary="A request has one zone and one way to reclaim; contradictory bits leave it to chance which counts.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each call that is given a mask with a conflict in all values that it may have there, or in an arm of its `?:`."""
    known = policy(unit.meaning.catalogue.version)
    told: set[tuple[Conflict, ir.Expr]] = set()
    for choice in choices(unit):
        # Who does not allocate may be given a part of a mask; what is missing there may come from elsewhere.
        conflicts = (c for c in known.conflicts if not (c.clear and choice.name in known.askers))
        found = next(((arm, c) for c in conflicts for arm in choice.arms() if _applies(unit, arm, c)), None)
        if found is None or (found[1], choice.expr) in told:
            continue  # one macro in all calls of a function is one mistake
        arm, conflict = found
        told.add((conflict, choice.expr))
        message = f"{choice.name}() is given {mask_text(unit, arm)}: {conflict.why}"
        yield unit.finding(RULE, choice.call, message, severity=Severity.parse(conflict.severity))
    for test in loose_tests(unit):
        message = (f"{test.text} is true for GFP_KERNEL and GFP_ATOMIC alike, for both wake kswapd: "
                   "use gfpflags_allow_blocking(), test one bit, or compare with the whole mask")
        yield unit.finding_at(RULE, test.line, test.text, message, severity=Severity.WARNING)


def _applies(unit: Unit, choice: Choice, conflict: Conflict) -> bool:
    if not (choice.sets(*conflict.set) and choice.clears(*conflict.clear)):
        return False
    if "__GFP_KSWAPD_RECLAIM" in conflict.clear or conflict.families:
        # What a wrapper makes of its mask before it hands it on is not known: it may add GFP_KERNEL.
        known = choice.name in unit.meaning.catalogue.allocs or choice.taker is not None
        user = choice.alloc or choice.taker
        return known and (not conflict.families or (user is not None and user.family in conflict.families))
    return choice.slab or not conflict.slab
