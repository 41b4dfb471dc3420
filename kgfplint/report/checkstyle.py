"""The report as checkstyle writes it: XML that most continuous-integration servers read."""

import itertools
from collections.abc import Iterator
from xml.sax.saxutils import quoteattr

from kgfplint.findings import Severity
from kgfplint.report import Report, printable

_SEVERITIES = {Severity.ERROR: "error", Severity.WARNING: "warning", Severity.NOTE: "info"}


def render(report: Report, colour: bool) -> Iterator[str]:
    """Yield the XML text; colour does not apply."""
    yield '<?xml version="1.0" encoding="utf-8"?>\n<checkstyle version="4.3">\n'
    for path, findings in itertools.groupby(report.findings, lambda finding: finding.path):
        yield f" <file name={quoteattr(printable(path))}>\n"
        for finding in findings:
            yield (f'  <error line="{finding.line}" column="{finding.column}" severity="{_SEVERITIES[finding.severity]}"'
                   f' message={quoteattr(printable(finding.message))} source="kgfplint.{finding.code}.{finding.rule}"/>\n')
        yield " </file>\n"
    yield "</checkstyle>\n"
