"""KGF001: a comment that should suppress a finding and is wrong; found once all other rules have spoken (see suppressions)."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF001",
    name="bad-suppression",
    severity=Severity.WARNING,
    guide="Selecting memory allocator",
    summary="A comment that allows something names known rules, gives a reason, and still suppresses a finding.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report nothing: what a comment suppresses is not known before all functions are checked."""
    yield from ()
