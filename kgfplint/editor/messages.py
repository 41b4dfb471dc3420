"""Findings as an editor shows them: diagnostics with their chain, and what to do about each."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from lsprotocol import types

from kgfplint.editor.texts import Text
from kgfplint.findings import Finding, Severity
from kgfplint.suppressions import statement

SEVERITIES = {Severity.ERROR: types.DiagnosticSeverity.Error, Severity.WARNING: types.DiagnosticSeverity.Warning,
              Severity.NOTE: types.DiagnosticSeverity.Information}


def diagnostic(finding: Finding, text: Text, root: Path, related: bool) -> types.Diagnostic:
    """Return a finding as a diagnostic of its text; its steps are in the message if the editor shows nothing `related`."""
    message = f"{finding.message} [{finding.rule}]"
    steps = None
    if related:
        steps = [_related(step.path, step.line, f"in {step.function}() {step.note}", root) for step in finding.trace]
    else:
        message = "\n".join([message, *(f"{step.path}:{step.line}: in {step.function}() {step.note}" for step in finding.trace)])
    return types.Diagnostic(
        range=_range(finding, text), message=message, severity=SEVERITIES[finding.severity], code=finding.code,
        source="kgfplint", related_information=steps or None, data=finding.fingerprint)


def _range(finding: Finding, text: Text) -> types.Range:
    start, end = text.position(finding.line, finding.column), text.end(max(finding.line, finding.end_line))
    return types.Range(start, max(start, end))


def _related(path: str, line: int, message: str, root: Path) -> types.DiagnosticRelatedInformation:
    # Its text need not be open: the whole line is meant.
    place = types.Range(types.Position(max(line - 1, 0), 0), types.Position(line, 0))
    return types.DiagnosticRelatedInformation(types.Location((root / path).as_uri(), place), message)


def actions(findings: Sequence[Finding], text: Text, uri: str, wanted: types.Range, root: Path,
            related: bool) -> Iterator[types.CodeAction]:
    """Yield what can be done about the findings in a range: write the fix, or allow it with a comment."""
    for finding in findings:
        shown = diagnostic(finding, text, root, related)
        if shown.range.end.line < wanted.start.line or shown.range.start.line > wanted.end.line:
            continue
        if finding.edits:
            edits = [types.TextEdit(types.Range(text.position(edit.line, edit.column),
                                                text.position(edit.end_line, edit.end_column)), edit.text)
                     for edit in finding.edits]
            yield _action(f"Mend {finding.rule}", edits, uri, shown, preferred=True)
        yield _action(f"Allow {finding.rule} here (write the reason into the comment)", [_allowing(finding, text)], uri, shown)


def _action(title: str, edits: Sequence[types.TextEdit], uri: str, shown: types.Diagnostic,
            preferred: bool = False) -> types.CodeAction:
    return types.CodeAction(title, kind=types.CodeActionKind.QuickFix, diagnostics=[shown], is_preferred=preferred or None,
                            edit=types.WorkspaceEdit(changes={uri: list(edits)}))


def _allowing(finding: Finding, text: Text) -> types.TextEdit:
    """Return the edit that puts a comment above a statement; without a reason, which only a person can give, it is refused."""
    first, _ = statement(text.data, finding.line)
    tail = " \\" if text.continues(first - 1) else ""
    line = f"{text.indent(first)}/* kgfplint: allow({finding.rule}) */{tail}\n"
    above = types.Position(first - 1, 0)
    return types.TextEdit(types.Range(above, above), line)
