"""Answers to a reviewer: which contexts reach a function, and everything known about one finding."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from kgfplint import engine
from kgfplint.catalogue import rules_directory
from kgfplint.checks import find
from kgfplint.checks.run import Analysis
from kgfplint.config import Settings
from kgfplint.context.flow import Flow
from kgfplint.context.sleeping import RAW
from kgfplint.context.steps import Reached
from kgfplint.facts.index import Progress
from kgfplint.findings import Finding
from kgfplint.gfp import Masks
from kgfplint.program import Program
from kgfplint.source.tree import Files

_MASK = re.compile(r"with ((?:~?\w+)(?: [|&] ~?\w+)*)")
_HOLDS = ": no sleeping from here"
"""How the note of a step ends that takes what forbids to sleep."""
_MOST = 12
"""So many contexts of a function are told, the shortest chains first."""


def contexts(function: str, paths: Sequence[Path], settings: Settings, progress: Progress,
             files: Files | None = None) -> Iterator[str]:
    """Yield lines on what is known of the contexts of functions named `function`; RunError when there is none.

    `files` tells where the files of the tree are (default: on disk).
    """
    with engine.analysed(paths, settings, progress, files) as (program, analysis):
        numbers = frozenset(program.defined.get(function, ()))
        if not numbers:
            raise engine.RunError(f"{function}: no such function in what was read below {', '.join(map(str, paths))}")
        found: dict[int, list[Reached]] = {number: [] for number in sorted(numbers)}
        for state in analysis.contexts(numbers):
            found[state.function].append(state)
        for number, states in found.items():
            yield from _contexts(program, analysis, number, states)


def _contexts(program: Program, analysis: Analysis, number: int, states: list[Reached]) -> Iterator[str]:
    row = program.rows[number]
    yield f"{row.name}() in {program.file_of(number)}:{row.line}\n"
    yield from _sleeps(analysis.flow(number))
    for state in states[:_MOST]:
        yield f"  runs {state.why}\n"
        yield from (f"    provided that {assumed.text}\n" for assumed in state.assumed)
        for hop in state.hop.chain():
            yield f"    {hop.path(program)}:{hop.line}: in {program.rows[hop.function].name}() {hop.note}\n"
    if len(states) > _MOST:
        yield f"  and {len(states) - _MOST} more\n"
    if not states:
        yield "  no lock holder and no registered handler is known to reach it\n"


def _sleeps(flow: Flow | None) -> Iterator[str]:
    """Yield the evidence that a function may sleep."""
    if flow is None:
        return
    if flow.sleepy:
        yield f"  may sleep: it calls {flow.sleepy}() whatever it is given\n"
    for site in flow.sites:
        if site.sleep is not None and site.sleep.where != RAW and not site.held:
            yield f"  may sleep: {site.sleep.what} in line {site.line}\n"


def why(place: str, settings: Settings, progress: Progress) -> Iterator[str]:
    """Yield lines on the findings at `PATH:LINE`; RunError when the place is none or has no finding."""
    path, _, number = place.rpartition(":")
    if not path or not number.isdigit():
        raise engine.RunError(f"{place}: not a place, write PATH:LINE")
    report = engine.run([Path(path)], settings, progress)
    line = int(number)
    here = [finding for finding in report.findings if finding.line <= line <= max(finding.line, finding.end_line)]
    if not here:
        lines = ", ".join(str(finding.line) for finding in report.findings[:_MOST]) or "none"
        raise engine.RunError(f"{place}: no finding there (lines with findings: {lines})")
    masks = Masks.of_tree(Path(report.root), settings.version)
    for finding in here:
        yield from _told(finding, Path(report.root), masks)


def _told(finding: Finding, root: Path, masks: Masks) -> Iterator[str]:
    rule = find(finding.code).RULE
    yield f"{finding.path}:{finding.line}: {finding.severity.label}: {finding.message} [{finding.code} {finding.rule}]\n"
    yield f"  in {finding.function}(), fingerprint {finding.fingerprint}\n\n"
    state = _state(finding.trace[0].note) if finding.trace else ""
    for place, step in enumerate(finding.trace):
        yield f"  {step.path}:{step.line}: in {step.function}() {step.note}\n"
        yield f"      {_line(root / step.path, step.line)}\n"
        if state and place:
            yield f"      here {state}\n"
    for text in dict.fromkeys(_MASK.findall(finding.message)):
        if said := told_mask(masks, text):
            yield f"\n  {said}"
    yield f"\n  Guide, section \"{rule.guide}\": {rule.summary}\n"
    yield from _confirm(finding.code)


def told_mask(masks: Masks, text: str) -> str:
    """Return a line on a mask: its value, its bits, and whether it may sleep; "" for what is none."""
    mask = masks.parse(text)
    if mask.value is None:
        return ""
    blocking = "may sleep" if masks.may_sleep(mask) else "does not sleep"
    return f"{text} = {mask.value:#x}, {' | '.join(masks.names(mask))}: {blocking}\n"


def _state(note: str) -> str:
    """Return what holds at all steps after the first one, by its note: the lock that it takes, or the context that it tells."""
    if note.endswith(_HOLDS):
        return f"{note.removesuffix(_HOLDS)} is held"
    _, found, context = note.partition(" runs in ")
    return f"it runs in {context}" if found else ""


def _line(path: Path, number: int) -> str:
    """Return a line of a file without its indentation, "" if it cannot be read."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return ""
    return lines[number - 1].decode("utf-8", "replace").strip() if number <= len(lines) else ""


def _confirm(code: str) -> Iterable[str]:
    """Return how to see the mistake happen, from the page of the rule."""
    page = (rules_directory() / "pages" / f"{code}.md").read_text(encoding="utf-8")
    _, found, text = page.partition("## Confirm it at run time\n")
    return [f"  Confirm: {' '.join(text.split())}\n"] if found else []
