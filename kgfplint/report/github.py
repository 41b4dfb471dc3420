"""The report for GitHub Actions: workflow commands, which become annotations of a pull request, and a step summary.

GitHub shows at most 10 warnings, 10 errors and 10 notices of a step, so the most severe come first; the summary counts all.
"""

import os
from collections import Counter
from collections.abc import Iterator

from kgfplint.findings import Finding, Severity
from kgfplint.report import Report

SHOWN = 10
"""Annotations of one kind that GitHub takes from a step."""
_COMMANDS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "notice"}
_ROWS = 100
"""Rows of the summary's table; GitHub refuses summaries above 1 MiB."""


def render(report: Report, colour: bool) -> Iterator[str]:
    """Yield a workflow command for each finding that is shown, the most severe first; colour does not apply."""
    counts: Counter[Severity] = Counter()
    for finding in sorted(report.findings, key=lambda finding: -finding.severity):
        counts[finding.severity] += 1
        if counts[finding.severity] <= SHOWN:
            yield _command(finding)
    hidden = sum(max(count - SHOWN, 0) for count in counts.values())
    if hidden:
        yield f"kgfplint: {hidden} more findings than GitHub shows are in the step summary\n"


def _command(finding: Finding) -> str:
    trace = "".join(f"\n{step.path}:{step.line}: {step.note}" for step in finding.trace)
    places = f"file={_property(finding.path)},line={finding.line},endLine={finding.line},col={finding.column}"
    title = _property(f"{finding.code} {finding.rule}")
    return f"::{_COMMANDS[finding.severity]} {places},title={title}::{_escape(finding.message + trace)}\n"


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escape(text).replace(":", "%3A").replace(",", "%2C")


def summary(report: Report) -> str:
    """Return the step summary, in Markdown: counts by severity and rule, and the most severe findings."""
    found = report.findings
    if not found:
        return "### kgfplint\n\nNothing found.\n"
    counts = Counter((finding.severity, finding.code, finding.rule) for finding in found)
    lines = ["### kgfplint", "", f"{len(found)} findings.", "", "| | rule | findings |", "|---|---|---:|"]
    lines += [f"| {severity.label} | {code} {rule} | {count} |"
              for (severity, code, rule), count in sorted(counts.items(), key=lambda item: (-item[0][0], item[0][1]))]
    lines += ["", "| place | finding |", "|---|---|"]
    lines += [f"| `{finding.path}:{finding.line}` | {finding.severity.label}: {_cell(finding.message)} |"
              for finding in sorted(found, key=lambda finding: -finding.severity)[:_ROWS]]
    if len(found) > _ROWS:
        lines += ["", f"{len(found) - _ROWS} more are not shown."]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    for character in "\\|`*_<[":
        text = text.replace(character, f"\\{character}")
    return text


def append_summary(report: Report) -> None:
    """Add the summary to the file that GitHub names in GITHUB_STEP_SUMMARY, if it does; OSError when it cannot be written."""
    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with open(path, "a", encoding="utf-8", errors="replace") as file:
            file.write(summary(report))
