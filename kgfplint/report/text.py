"""The report for a terminal: a line per finding, as compilers write them, and its trace below."""

from collections.abc import Iterator

from kgfplint.findings import Finding, Severity
from kgfplint.report import Report

_RESET, _BOLD, _DIM = "\033[0m", "\033[1m", "\033[2m"
_COLOURS = {Severity.ERROR: "\033[1;31m", Severity.WARNING: "\033[1;35m", Severity.NOTE: "\033[1;36m"}


def render(report: Report, colour: bool) -> Iterator[str]:
    """Yield each finding as `path:line:col: severity: message [code name]` and its trace, indented."""
    for finding in report.findings:
        yield _heading(finding, colour)
        for step in finding.trace:
            inside = f" in {step.function}()" if step.function else ""
            line = f"    {step.path}:{step.line}:{inside} {step.note}"
            yield f"{_DIM}{line}{_RESET}\n" if colour else f"{line}\n"


def _heading(finding: Finding, colour: bool) -> str:
    place = f"{finding.path}:{finding.line}:{finding.column}:"
    rule = f"[{finding.code} {finding.rule}]"
    label = f"{finding.severity.label}:"
    if colour:
        place = f"{_BOLD}{place}{_RESET}"
        label = f"{_COLOURS[finding.severity]}{label}{_RESET}"
    return f"{place} {label} {finding.message} {rule}\n"
