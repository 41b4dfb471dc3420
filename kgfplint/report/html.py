"""The report for reading: one HTML file with all in it, which asks nothing of any network.

The page (page/) is the same for every report; what differs is one JSON object in it, which its scripts draw from with text
nodes only, so that nothing of a source can become markup.
"""

import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kgfplint import __version__
from kgfplint.catalogue import rules_directory
from kgfplint.checks import all_checks
from kgfplint.findings import Edit, Finding
from kgfplint.guide import sentences
from kgfplint.report import AROUND, HOME, Report, printable

SHOWS_SOURCE = True
PAGE = Path(__file__).parent / "page"
_DISGUISES = re.compile("[\u202a-\u202e\u2066-\u2069\u200e\u200f\u061c]")
"""Characters that make text look as if it stood in another order."""


def render(report: Report, colour: bool) -> Iterator[str]:
    """Yield the page; colour does not apply."""
    given = {
        "title": html.escape(f"kgfplint: {_text(report.root)}"),
        "style": (PAGE / "page.css").read_text(encoding="utf-8"),
        "script": "\n".join(path.read_text(encoding="utf-8") for path in sorted(PAGE.glob("*.js"))),
        "data": json.dumps(_data(report), separators=(",", ":")).replace("<", "\\u003c"),
    }
    page = (PAGE / "page.html").read_text(encoding="utf-8")
    for number, piece in enumerate(re.split(r"\{\{(\w+)\}\}", page)):
        yield given[piece] if number % 2 else piece


def _data(report: Report) -> dict[str, Any]:
    """Return all that the page shows. Bytes that are no text, and characters that hide text, are `?`."""
    stats = report.stats
    return {
        "version": __version__,
        "guide": HOME,
        "around": AROUND,
        "tree": {"root": _text(report.root), "version": report.version},
        "stats": {"files": stats.files, "functions": stats.functions, "lines": stats.lines},
        "rules": {code: _rule(code, name) for code, name in sorted({(one.code, one.rule) for one in report.findings})},
        "findings": [_finding(finding, report.sources.get(finding.path, {})) for finding in report.findings],
        "sources": {_text(path): {number: _text(line) for number, line in lines.items()}
                    for path, lines in report.sources.items()},
    }


def _text(text: str) -> str:
    return _DISGUISES.sub("?", printable(text))


def _rule(code: str, name: str) -> dict[str, Any]:
    known = all_checks().get(code)
    if known is None:
        return {"name": name, "summary": "", "section": "", "says": [], "remedy": ""}
    page = (rules_directory() / "pages" / f"{code}.md").read_text(encoding="utf-8")
    remedy = re.search(r"^## How to fix\n+(.+?)\n\n", page, re.M | re.S)
    says = [sentence.says for sentence in sentences() if code in sentence.rules]
    return {"name": name, "summary": known.RULE.summary, "section": known.RULE.guide, "says": says,
            "remedy": " ".join(remedy[1].split()) if remedy else ""}


def _finding(finding: Finding, lines: Mapping[int, str]) -> dict[str, Any]:
    return {
        "code": finding.code,
        "severity": finding.severity.label,
        "path": _text(finding.path),
        "line": finding.line,
        "end": finding.end_line,
        "function": _text(finding.function),
        "message": _text(finding.message),
        "trace": [[_text(step.path), step.line, _text(step.function), _text(step.note), step.mark] for step in finding.trace],
        "fix": [change for edit in finding.edits if (change := _change(edit, lines))],
        "fingerprint": finding.fingerprint,
    }


def _change(edit: Edit, lines: Mapping[int, str]) -> Sequence[Any]:
    """Return an edit as a line number, the lines that go and those that come; nothing where the lines are not known."""
    old = [lines.get(number) for number in range(edit.line, edit.end_line + 1)]
    if None in old:
        return ()
    first, last = (lines[number].encode() for number in (edit.line, edit.end_line))
    new = (first[: edit.column - 1] + edit.text.encode("utf-8", "surrogateescape") + last[edit.end_column - 1 :])
    text = new.decode("utf-8", "replace")
    return edit.line, [_text(line or "") for line in old], [_text(line) for line in text.split("\n")] if text else []
