"""Reports: what a run found, and one module per output format that renders it.

A format is a module of this package with `render(report, colour)`, which yields pieces of text.
"""

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from kgfplint.findings import Finding, Severity


@dataclass
class Stats:
    """What a run read: counts, files left out by reason, and wall-clock seconds by stage.

    `fields` counts the expressions `x->field` and `x.field`, `fields_resolved` those of them whose struct is
    known to have such a member; both None when they were not asked for.
    """

    files: int = 0
    functions: int = 0
    functions_with_errors: int = 0
    lines: int = 0
    fields: int | None = None
    fields_resolved: int | None = None
    skipped: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """The result of a run: the tree (its root, its kernel version or ""), findings in order, and counts."""

    root: str
    version: str
    findings: tuple[Finding, ...]
    stats: Stats

    def worst(self) -> Severity | None:
        """Return the highest severity among the findings, None without any."""
        return max((finding.severity for finding in self.findings), default=None)


def render(name: str, report: Report, colour: bool = False) -> Iterator[str]:
    """Yield the report in the format of that name, with terminal colours if the format has them."""
    pieces: Iterable[str] = importlib.import_module(f"{__name__}.{name}").render(report, colour)
    yield from pieces
