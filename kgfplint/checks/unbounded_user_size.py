"""KGF511: a size from outside of the kernel reaches an allocation, and nothing bounds it on the way."""

from collections.abc import Iterator

from kgfplint.allocator.sizes import show_bytes
from kgfplint.checks import Rule
from kgfplint.checks.outside import Asked, limit_of, outside
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity
from kgfplint.program.meaning import Meaning
from kgfplint.taint.rooted import behind_root
from kgfplint.taint.rules import stored_in

RULE = Rule(
    code="KGF511",
    name="unbounded-user-size",
    severity=Severity.WARNING,
    guide="Selecting memory allocator",
    summary="A size or count that comes from outside is bounded before memory is allocated by it.",
)


def prepare(meaning: Meaning) -> None:
    """Find out which functions are given what is from outside, and which root alone gets to: all processes share it."""
    stored_in(meaning.program)
    behind_root(meaning.program)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation of a size from outside that may be as large as its type allows."""
    for asked in outside(unit):
        if not asked.bytes.open or asked.bytes.wraps is not None or asked.bytes.high <= limit_of(unit):
            continue
        if asked.quiet:
            continue
        yield unit.finding(RULE, asked.allocation.call, _message(unit, asked), asked.trace(unit), severity=asked.severity)


def _message(unit: Unit, asked: Asked) -> str:
    name, origin = asked.allocation.name, asked.bytes.origin
    assert origin is not None
    limit = show_bytes(limit_of(unit))
    remedy = ("more than " + limit + " always fails, with a warning in the log: check it, or add __GFP_NOWARN" if asked.slab
              else "whoever sends it decides how much memory goes: check it against a limit")
    return f"the size of {name}() comes from {origin.kind.title} and nothing bounds it; {remedy}"
