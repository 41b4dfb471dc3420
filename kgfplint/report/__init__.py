"""Reports: what a run found, and one module per output format that renders it.

A format is a module of this package with `render(report, colour)`, which yields pieces of text; one that shows source
says so with `SHOWS_SOURCE = True`.
"""

import importlib
import os
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar, get_args

import msgspec

from kgfplint.config import Format
from kgfplint.findings import Edit, Finding, Severity, Step

Placed = TypeVar("Placed", Finding, Step, Edit)

FORMATS = get_args(Format)
"""The names of the formats, each that of a module."""

AROUND = 4
"""Lines of source that are shown before and after each place."""

HOME = "https://docs.kernel.org/core-api/memory-allocation.html"
"""Where formats that want an address for more information point: the guide."""


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
    """The result of a run: the tree (its root, its kernel version or ""), findings in order, and counts.

    `sources` holds lines of source by path and 1-based number, for formats that show them.
    """

    root: str
    version: str
    findings: tuple[Finding, ...]
    stats: Stats
    sources: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    def worst(self) -> Severity | None:
        """Return the highest severity among the findings, None without any."""
        return max((finding.severity for finding in self.findings), default=None)


def seen_from(report: Report, folder: str) -> Report:
    """Return a report whose paths are relative to a folder instead of the tree's root."""
    top = os.path.relpath(report.root, os.path.realpath(folder))
    if top == ".":
        return report

    def moved(thing: Placed) -> Placed:
        return msgspec.structs.replace(thing, path=posixpath.normpath(f"{top}/{thing.path}"))

    findings = tuple(msgspec.structs.replace(moved(one), trace=tuple(map(moved, one.trace)), edits=tuple(map(moved, one.edits)))
                     for one in report.findings)
    sources = {posixpath.normpath(f"{top}/{path}"): lines for path, lines in report.sources.items()}
    return replace(report, findings=findings, sources=sources)


def printable(text: str) -> str:
    """Return text for formats that must be UTF-8 and XML: other bytes of a path, and control characters, become `?`."""
    return re.sub(r"[\ud800-\udfff\ufffe\uffff\x00-\x08\x0b\x0c\x0e-\x1f]", "?", text)


def shows_source(name: str) -> bool:
    """Tell whether the format of that name shows source."""
    return getattr(importlib.import_module(f"{__name__}.{name}"), "SHOWS_SOURCE", False)


def lines_around(findings: Iterable[Finding], read: Callable[[str], bytes]) -> dict[str, dict[int, str]]:
    """Return the lines around all that findings name, by path and number; `read` returns the text of a file, or OSError."""
    wanted: dict[str, set[int]] = {}
    for finding in findings:
        spans = [(finding.path, finding.line, finding.end_line), *((step.path, step.line, step.line) for step in finding.trace),
                 *((edit.path, edit.line, edit.end_line) for edit in finding.edits)]
        for path, first, last in spans:
            wanted.setdefault(path, set()).update(range(max(first - AROUND, 1), last + AROUND + 1))
    found: dict[str, dict[int, str]] = {}
    for path, numbers in sorted(wanted.items()):
        try:
            lines = read(path).removesuffix(b"\n").split(b"\n")
        except OSError:
            continue
        found[path] = {number: lines[number - 1].decode("utf-8", "replace") for number in sorted(numbers) if number <= len(lines)}
    return found


def render(name: str, report: Report, colour: bool = False) -> Iterator[str]:
    """Yield the report in the format of that name, with terminal colours if the format has them."""
    pieces: Iterable[str] = importlib.import_module(f"{__name__}.{name}").render(report, colour)
    yield from pieces
