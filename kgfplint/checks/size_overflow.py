"""KGF503: arithmetic on sizes that may overflow before the allocator sees the result."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.counters import overflowing_counts
from kgfplint.checks.outside import Asked, outside
from kgfplint.checks.unit import Unit
from kgfplint.facts.terms import show
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF503",
    name="size-overflow",
    severity=Severity.NOTE,
    guide="Selecting memory allocator",
    summary="Sizes made of what run time decides are calculated by size_mul(), size_add() or array_size(), which saturate.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each size that may be more than the type in which it is calculated holds, and each counter of elements likewise."""
    for asked in outside(unit):
        if asked.bytes.wraps is not None:
            yield unit.finding(RULE, asked.allocation.call, _message(asked), asked.trace(unit))
    for count in overflowing_counts(unit):
        name = show(count.counter)
        yield unit.finding(
            RULE, count.allocation.call,
            f"{name}, the count of {count.allocation.name}(), is {count.bits} bits wide and counts in a loop without "
            f"a bound: after {(1 << count.bits) - 1} it starts at 0 again; make it wider, or stop there",
            (unit.step(count.line, f"{name} is counted up here"),),
        )


def _message(asked: Asked) -> str:
    assert asked.bytes.wraps is not None
    assert asked.bytes.origin is not None
    text, bits = asked.bytes.wraps
    return (f"{asked.allocation.name}() is asked for too little if `{text}` overflows {bits} bits; it is made of what comes from "
            f"{asked.bytes.origin.kind.title}: use size_mul() and size_add(), or check_mul_overflow() and check_add_overflow()")
