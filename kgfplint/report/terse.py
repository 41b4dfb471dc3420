"""The report that checkpatch's readers know: one line for each finding, nothing else, and nothing without any."""

from collections.abc import Iterator

from kgfplint.report import Report


def render(report: Report, colour: bool) -> Iterator[str]:
    """Yield each finding as `path:line: SEVERITY: message [rule]`; colour does not apply."""
    for finding in report.findings:
        yield f"{finding.path}:{finding.line}: {finding.severity.name}: {finding.message} [{finding.rule}]\n"
