"""The report for programs that read line by line: each finding as one JSON object on a line of its own."""

import json
from collections.abc import Iterator

from kgfplint.report import Report
from kgfplint.report.json import as_object


def render(report: Report, colour: bool) -> Iterator[str]:
    """Yield a line for each finding, with the keys that the JSON report gives it; colour does not apply."""
    for finding in report.findings:
        yield json.dumps(as_object(finding)) + "\n"
