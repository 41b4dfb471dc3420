"""The report that GitLab shows beside a merge request: its Code Quality format, a JSON array."""

import json
from collections.abc import Iterator

from kgfplint.findings import Severity
from kgfplint.report import Report, printable

_SEVERITIES = {Severity.ERROR: "critical", Severity.WARNING: "major", Severity.NOTE: "info"}


def render(report: Report, colour: bool) -> Iterator[str]:
    """Yield the JSON text; colour does not apply."""
    rows = [{
        "description": f"{finding.message} ({finding.code})",
        "check_name": finding.rule,
        "fingerprint": finding.fingerprint,
        "severity": _SEVERITIES[finding.severity],
        "location": {"path": printable(finding.path), "lines": {"begin": finding.line}},
    } for finding in report.findings]
    yield from json.JSONEncoder(indent=1).iterencode(rows)
    yield "\n"
