"""The report as SARIF 2.1.0, as GitHub code scanning reads it.

GitHub looks at locations[0] only, annotates a pull request only where every line of its region is in the diff, matches
alerts by partialFingerprints.primaryLocationLineHash, and takes 25,000 results and 10 MB when compressed.
"""

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from kgfplint import __version__
from kgfplint.catalogue import rules_directory
from kgfplint.checks import all_checks
from kgfplint.findings import Edit, Finding, Severity
from kgfplint.report import HOME, Report, printable

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
MOST_RESULTS = 25_000
MOST_BYTES = 10_000_000
"""Of the compressed text."""
_LEVELS = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "note"}
_PRECISION = {Severity.ERROR: "very-high", Severity.WARNING: "high", Severity.NOTE: "medium"}


def render(report: Report, colour: bool) -> Iterator[str]:
    """Yield the JSON text; what is above GitHub's limits, the least severe, is counted, not shown. Colour does not apply."""
    severe = sorted(report.findings, key=lambda finding: -finding.severity)
    shown = min(len(severe), MOST_RESULTS)
    while True:
        kept = {finding.fingerprint for finding in severe[:shown]}
        text = _text([finding for finding in report.findings if finding.fingerprint in kept], len(severe) - shown)
        size = len(gzip.compress(text.encode(), 6)) if len(text) > MOST_BYTES else 0
        if size <= MOST_BYTES or not shown:
            break
        shown = int(shown * 0.9 * MOST_BYTES / size)
    yield text


def _text(findings: Sequence[Finding], hidden: int) -> str:
    codes = sorted({finding.code for finding in findings})
    names = {finding.code: finding.rule for finding in findings}
    run: dict[str, Any] = {
        "tool": {"driver": {"name": "kgfplint", "semanticVersion": __version__, "informationUri": HOME,
                            "rules": [_rule(code, names[code]) for code in codes]}},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {"SRCROOT": {"description": {"text": "The root of the kernel tree or module."}}},
        "results": [_result(finding, codes.index(finding.code)) for finding in findings],
    }
    if hidden:
        said = f"{hidden} more findings, none more severe than these, are above what a SARIF file may hold."
        run["invocations"] = [{"executionSuccessful": True, "toolExecutionNotifications": [
            {"level": "warning", "message": {"text": said}}]}]
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=1) + "\n"


def _rule(code: str, name: str) -> dict[str, Any]:
    """Describe a rule by what the registry and its page say."""
    known = all_checks().get(code)
    summary = known.RULE.summary if known else name
    severity = known.RULE.severity if known else Severity.WARNING
    try:
        page = (rules_directory() / "pages" / f"{code}.md").read_text(encoding="utf-8")
    except OSError:
        page = f"# {code} {name}\n"
    said = re.search(r"^## What it says\n+(.+?)\n\n", page, re.M | re.S)
    return {
        "id": code,
        "name": name,
        "shortDescription": {"text": summary},
        "fullDescription": {"text": " ".join(said[1].split()) if said else summary},
        "help": {"text": page, "markdown": page},
        "defaultConfiguration": {"level": _LEVELS[severity]},
        "properties": {"tags": ["memory", "linux-kernel"], "precision": _PRECISION[severity]},
    }


def _result(finding: Finding, index: int) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": {"text": printable(finding.message)},
        "locations": [_location(finding.path, finding.line, finding.column, finding.function)],
        "partialFingerprints": {"primaryLocationLineHash": f"{finding.fingerprint}:1"},
    }
    if finding.edits:
        paths = dict.fromkeys(edit.path for edit in finding.edits)
        result["fixes"] = [{"artifactChanges": [_changes(path, finding.edits) for path in paths]}]
    if finding.trace:
        steps = [_location(step.path, step.line, 1, step.function) | {"message": {"text": printable(step.note)}}
                 for step in finding.trace]
        result["codeFlows"] = [{"threadFlows": [{"locations": [{"location": step} for step in steps]}]}]
    return result


def _changes(path: str, edits: Sequence[Edit]) -> dict[str, Any]:
    """Describe all edits of one file: SARIF has one change for each artifact."""
    return {"artifactLocation": {"uri": _uri(path), "uriBaseId": "SRCROOT"},
            "replacements": [_replacement(edit) for edit in edits if edit.path == path]}


def _replacement(edit: Edit) -> dict[str, Any]:
    region = {"startLine": edit.line, "startColumn": edit.column, "endLine": edit.end_line, "endColumn": edit.end_column}
    return {"deletedRegion": region, "insertedContent": {"text": printable(edit.text)}}


def _uri(path: str) -> str:
    return quote(path.encode("utf-8", "surrogateescape"))


def _location(path: str, line: int, column: int, function: str) -> dict[str, Any]:
    place: dict[str, Any] = {"physicalLocation": {
        "artifactLocation": {"uri": _uri(path), "uriBaseId": "SRCROOT"},
        "region": {"startLine": line, "startColumn": column},
    }}
    if function:
        place["logicalLocations"] = [{"name": function, "kind": "function"}]
    return place
