"""What harms nobody who uses the kernel is told more quietly: in tests, and in what runs once, when all begins."""

from collections.abc import Iterable, Iterator

import msgspec

from kgfplint.catalogue import Catalogue
from kgfplint.checks import all_checks
from kgfplint.facts import ir
from kgfplint.findings import Finding, Severity
from kgfplint.program.link import Program

_TEST = "struct kunit *"
"""What a function is given that runs for a test of KUnit only: an oops ends the thread of that test."""


def tempered(findings: Iterable[Finding], program: Program, catalogue: Catalogue) -> Iterator[Finding]:
    """Yield the findings: in tests and in code that runs once errors are warnings, and warnings of rules that advise notes."""
    once = Once(program)
    advice = {code for code, check in all_checks().items() if check.RULE.severity is Severity.NOTE}
    for finding in findings:
        loud = finding.severity is Severity.ERROR or (finding.severity is Severity.WARNING and finding.code in advice)
        if loud and (catalogue.is_trial(finding.path) or _is_spared(finding, program, once)):
            yield msgspec.structs.replace(finding, severity=Severity(finding.severity - 1))
        else:
            yield finding


def _is_spared(finding: Finding, program: Program, once: "Once") -> bool:
    for number in program.defined.get(finding.function, ()):
        row = program.rows[number]
        if row.line <= finding.line <= row.end_line and program.file_of(number) == finding.path:
            return any(param.ctype == _TEST for param in row.params) or once.is_initial(number)
    return False


class Once:
    """Tells which functions run only while the kernel boots or a module is loaded."""

    def __init__(self, program: Program) -> None:
        """Look at nothing yet."""
        self._program = program
        self._elsewhere: set[int] | None = None

    def is_initial(self, number: int) -> bool:
        """Tell whether a function is __init, or static and called by such functions only."""
        seen, waiting = {number}, [number]
        while waiting:
            one = waiting.pop()
            if "__init" not in self._program.rows[one].annotations:
                callers = set(self._program.callers_in_file(one)) if self._is_private(one) else set()
                if not callers:
                    return False
                waiting.extend(callers - seen)
                seen |= callers
        return True

    def _is_private(self, number: int) -> bool:
        """Tell whether all calls of a function are seen in its file."""
        static = self._program.rows[number].flags & ir.STATIC
        return bool(static) and not self._program.file_of(number).endswith(".h") and number not in self._given()

    def _given(self) -> set[int]:
        """The functions whose address is stored or handed over: those who have it may call them at any time."""
        if self._elsewhere is None:
            program = self._program
            self._elsewhere = {target for slot in program.bound.values() for target in slot}
            names = {given for _, _, _, given, _ in program.handed} | {given for _, _, _, given, _ in program.declared}
            self._elsewhere.update(number for name in names for number in program.defined.get(name, ()))
        return self._elsewhere
