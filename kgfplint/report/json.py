"""The report for programs: one JSON object, whose schema number changes when a reader must."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import msgspec

from kgfplint import __version__
from kgfplint.findings import Finding
from kgfplint.report import Report

SCHEMA = 1


def render(report: Report, colour: bool) -> Iterator[str]:
    """Yield the JSON text; colour does not apply. Bytes of a path that are not UTF-8 are lone surrogates."""
    stats = {name: value for name, value in asdict(report.stats).items() if value is not None}
    stats["seconds"] = {stage: round(seconds, 3) for stage, seconds in report.stats.seconds.items()}
    document = {
        "schema": SCHEMA,
        "tool": {"name": "kgfplint", "version": __version__},
        "tree": {"root": report.root, "version": report.version},
        "findings": [as_object(finding) for finding in report.findings],
        "stats": stats,
    }
    yield from json.JSONEncoder(indent=1).iterencode(document)
    yield "\n"


def as_object(finding: Finding) -> dict[str, Any]:
    """Return a finding as the JSON report shows it."""
    return {
        "code": finding.code,
        "rule": finding.rule,
        "severity": finding.severity.label,
        "path": finding.path,
        "line": finding.line,
        "column": finding.column,
        "end_line": finding.end_line,
        "function": finding.function,
        "message": finding.message,
        "trace": [
            {"path": step.path, "line": step.line, "function": step.function, "note": step.note}
            for step in finding.trace
        ],
        "fix": {"edits": [msgspec.to_builtins(edit) for edit in finding.edits]} if finding.edits else None,
        "fingerprint": finding.fingerprint,
    }
