"""The report as JUnit writes it: XML in which each finding is a test that failed."""

from collections.abc import Iterator
from xml.sax.saxutils import escape, quoteattr

from kgfplint.findings import Finding
from kgfplint.report import Report, printable


def render(report: Report, colour: bool) -> Iterator[str]:
    """Yield the XML text; without findings one test that passed, for none at all counts as a failure. Colour does not apply."""
    count = len(report.findings)
    counts = f'tests="{max(count, 1)}" failures="{count}"'
    yield f'<?xml version="1.0" encoding="utf-8"?>\n<testsuites {counts}>\n <testsuite name="kgfplint" {counts}>\n'
    if not count:
        yield '  <testcase classname="kgfplint" name="no findings"/>\n'
    for finding in report.findings:
        yield from _case(finding)
    yield " </testsuite>\n</testsuites>\n"


def _case(finding: Finding) -> Iterator[str]:
    path = printable(finding.path)
    name = quoteattr(f"{finding.code} {finding.rule} at {path}:{finding.line}")
    steps = [f"{finding.path}:{finding.line}:{finding.column}: {finding.severity.label}: {finding.message}"]
    steps += [f"    {step.path}:{step.line}: {step.note}" for step in finding.trace]
    yield f"  <testcase classname={quoteattr(path)} name={name}>\n"
    yield (f'   <failure type="{finding.rule}" message={quoteattr(printable(finding.message))}>'
           f"{escape(printable(chr(10).join(steps)))}</failure>\n")
    yield "  </testcase>\n"
