"""What a change newly breaks: findings after it that were not there before, each told where the change is.

A change may break what it does not touch: a lock taken in a caller makes an old allocation in a callee wrong. Such a
finding is shown at the line of the change that it comes from, with its own place in the trace.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from kgfplint.findings import Finding, Step, site
from kgfplint.source.tree import Files

Place = tuple[str, int]
"""A tree-relative path and a line."""


class Change(NamedTuple):
    """A change: the tree before and after it, files that were renamed (old path → new), and the lines it touches.

    `touched` has the lines after the change, by path; where lines were only removed, those beside the gap.
    """

    base: Files
    head: Files
    renamed: Mapping[str, str]
    touched: Mapping[str, Sequence[range]]

    def touches(self, path: str, line: int) -> bool:
        """Tell whether a line (after the change) is one of the change."""
        return any(line in lines for lines in self.touched.get(path, ()))

    def nearest(self, path: str, line: int) -> int | None:
        """Return the line of the change that is nearest to a line of a file; None in a file that it does not touch."""
        ends = [end for lines in self.touched.get(path, ()) for end in (lines[0], lines[-1])]
        return min(ends, key=lambda end: abs(end - line), default=None)


def touched_lines(start: int, count: int) -> range:
    """Return the lines of a hunk, from its first line and their number; if it only removes, those beside the gap."""
    return range(start, start + count) if count else range(max(start, 1), start + 2)


Functions = Callable[[Files, str], Mapping[str, range]]
"""Returns the functions of a file, which need not be there, with their lines."""


def newly(before: Iterable[Finding], after: Iterable[Finding], change: Change, functions: Functions) -> list[Finding]:
    """Return the findings that the change brings, in report order, each at a line of the change if there is one that fits."""
    gone: dict[str, list[Finding]] = {}
    for finding in before:
        there = msgspec.structs.replace(finding, path=change.renamed.get(finding.path, finding.path))
        gone.setdefault(site(there), []).append(there)
    groups: dict[str, list[Finding]] = {}
    for finding in after:
        groups.setdefault(site(finding), []).append(finding)
    fresh = []
    for name, group in groups.items():
        count = max(len(group) - len(gone.pop(name, [])), 0)
        # Of several that look the same those that the change touches are the new ones.
        fresh += sorted(group, key=lambda finding: not change.touches(finding.path, finding.line))[:count]
    if fresh:
        fresh = _without_moved(fresh, [finding for group in gone.values() for finding in group], change, functions)
    within: dict[str, Place] = {}
    if any(not change.touches(finding.path, finding.line) for finding in fresh):
        within.update((name, (path, line)) for path in sorted(change.touched)
                      for name, lines in functions(change.head, path).items() if (line := _first(change, path, lines)))
    return sorted((_anchored(finding, change, within) for finding in fresh), key=lambda finding: finding.place)


def _without_moved(fresh: Iterable[Finding], gone: list[Finding], change: Change, functions: Functions) -> list[Finding]:
    """Leave out the findings of functions that only have another name or stand in another file than before."""
    former = {new: old for old, new in change.renamed.items()}

    def moved(old: Finding, new: Finding) -> bool:
        if old.code != new.code or old.key != new.key or (old.path != new.path and old.function != new.function):
            return False
        return (old.function not in functions(change.head, old.path)
                and new.function not in functions(change.base, former.get(new.path, new.path)))

    left = []
    for finding in fresh:
        same = next((number for number, old in enumerate(gone) if moved(old, finding)), None)
        if same is None:
            left.append(finding)
        else:
            del gone[same]
    return left


def _first(change: Change, path: str, lines: range) -> int:
    """Return the first line of the change among some of a file, 0 if there is none."""
    starts = (max(part[0], lines[0]) for part in change.touched[path] if part[0] <= lines[-1] and part[-1] >= lines[0])
    return min(starts, default=0)


def _anchored(finding: Finding, change: Change, functions: Mapping[str, Place]) -> Finding:
    """Return a finding at the line of the change that it comes from, its own place told by the last step."""
    if change.touches(finding.path, finding.line):
        return finding
    place = next(_causes(finding, change, functions), None)
    if place is None or place == (finding.path, finding.line):
        return finding
    trace = finding.trace
    if not any((step.path, step.line) == (finding.path, finding.line) for step in trace):
        trace += (Step(finding.path, finding.line, finding.function, "here it goes wrong"),)
    where = f"{finding.function}() at {finding.path}:{finding.line}"
    return msgspec.structs.replace(finding, path=place[0], line=place[1], column=1, end_line=place[1], trace=trace,
                                   message=f"since this change, in {where}: {finding.message}")


def _causes(finding: Finding, change: Change, functions: Mapping[str, Place]) -> Iterator[Place]:
    """Yield the lines of the change that a finding may come from, the most likely first."""
    steps = [(step.path, step.line) for step in finding.trace]
    yield from ((path, line) for path, line in steps if change.touches(path, line))
    # What is said of it names functions: the change may be in one of them.
    said = " ".join([finding.message, *(step.note for step in finding.trace)])
    named = [finding.function, *(step.function for step in finding.trace), *re.findall(r"(\w+)\(\)", said)]
    yield from (functions[name] for name in named if name in functions)
    for path, line in [(finding.path, finding.line), *steps]:
        if (near := change.nearest(path, line)) is not None:
            yield path, near
    yield from ((path, lines[0][0]) for path, lines in change.touched.items() if lines)
