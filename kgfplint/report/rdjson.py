"""The report for reviewdog: its diagnostic format, one JSON object."""

import json
from collections.abc import Iterator
from typing import Any

from kgfplint.findings import Finding, Severity
from kgfplint.report import HOME, Report, printable

_SEVERITIES = {Severity.ERROR: "ERROR", Severity.WARNING: "WARNING", Severity.NOTE: "INFO"}


def render(report: Report, colour: bool) -> Iterator[str]:
    """Yield the JSON text; colour does not apply."""
    document = {"source": {"name": "kgfplint", "url": HOME}, "diagnostics": [_diagnostic(f) for f in report.findings]}
    yield from json.JSONEncoder(indent=1).iterencode(document)
    yield "\n"


def _diagnostic(finding: Finding) -> dict[str, Any]:
    return {
        "message": finding.message,
        "location": _location(finding.path, finding.line, finding.column),
        "severity": _SEVERITIES[finding.severity],
        "code": {"value": finding.code},
        "suggestions": [{
            "range": {"start": {"line": edit.line, "column": edit.column},
                      "end": {"line": edit.end_line, "column": edit.end_column}},
            "text": printable(edit.text),
        } for edit in finding.edits],
        "relatedLocations": [
            {"message": step.note, "location": _location(step.path, step.line, 1)} for step in finding.trace
        ],
    }


def _location(path: str, line: int, column: int) -> dict[str, Any]:
    return {"path": printable(path), "range": {"start": {"line": line, "column": column}}}
