"""Where a call has failed that was handed memory: what fails keeps nothing."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from kgfplint.catalogue import Free
from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.ownership.conditions import ANY, Test, after
from kgfplint.ownership.ops import Branch, Handed
from kgfplint.program.constants import constants_of
from kgfplint.program.meaning import Meaning
from kgfplint.program.types import Typing

Frees = Sequence[tuple[Free, ir.Expr]]


class Failed(NamedTuple):
    """The edge of a block where a call has failed, and what that frees then."""

    block: int
    edge: int
    call: ir.Call
    frees: Frees


_FAILED = -1000
_NO_MATTER = Branch(-1, "", True, -1, None, ())


def failed(number: int) -> int:
    """Return the number that stands for a call (see Handed) that failed; of that one, the call's."""
    return _FAILED - number


def has_failed(number: int) -> bool:
    """Tell whether a number stands for a call that failed."""
    return number <= _FAILED


def standing(whom: Iterable[int]) -> frozenset[int]:
    """Return those who may know of memory, without the calls that failed."""
    return frozenset(number for number in whom if not has_failed(number))


class Failing:
    """Reads which calls of one function have failed where a condition holds."""

    def __init__(self, of_event: Mapping[int, Sequence[int]], handed: Sequence[Handed], file: int, meaning: Meaning,
                 typing: Typing) -> None:
        """`of_event` holds the numbers of what calls are `handed`, by the identity of their events; `typing` is its."""
        self._typing = typing
        self._handed = handed
        self._of_event = of_event
        self._file = file
        self._meaning = meaning
        self._constants = constants_of(meaning.program)

    def freeing(self, body: ir.Body, tests: Sequence[Sequence[Test | None]], frees: Mapping[int, Frees]) -> Iterator[Failed]:
        """Yield where calls have failed that free something then."""
        for number, block in enumerate(body.blocks):
            for at, test in enumerate(tests[number]):
                call = self._tested(block.events, test) if test is not None else None
                if call is not None and test is not None and id(call) in frees and self._fails(call, test):
                    yield Failed(number, at, call, frees[id(call)])

    def of_block(
        self, block: ir.Block, tests: Iterable[Test | None], branches: Iterable[Branch | None],
    ) -> Iterator[tuple[int, Branch | None]]:
        """Yield where the edges of a block lead, with their branches and the calls of the block that have failed there."""
        for edge, test, branch in zip(block.edges, tests, branches, strict=True):
            call = self._tested(block.events, test) if test is not None and self._of_event else None
            handed = tuple(self._of_event.get(id(call), ())) if call is not None else ()
            if call is None or test is None or not handed:
                yield edge.to, branch
            elif not self._fails(call, test):
                # The address of a member of nothing is not NULL: nobody refuses it.
                passed = tuple(one for one in handed if type(call.args[self._handed[one].place]) is not ir.AddressOf)
                yield edge.to, (branch or _NO_MATTER)._replace(passed=passed) if passed else branch
            # One that is given a function may have called it: destructors are handed over so.
            elif self._defers(call) or not any(map(self._is_function, call.args)):
                yield edge.to, (branch or _NO_MATTER)._replace(failed=handed)
            else:
                yield edge.to, branch

    def _tested(self, events: Sequence[ir.Event], test: Test) -> ir.Call | None:
        """Return the call of the block whose result a test is about."""
        subject = self._of_error_pointer(test)
        subject = test.subject if subject is None else subject
        for event in reversed(events):
            target = event.target if type(event) is ir.Call or type(event) is ir.Assign else None
            if target is not None and bare(target) == subject:
                return event if type(event) is ir.Call else None
            if type(event) is ir.Call and target is None and ir.CallResult(event.callee, event.args) == subject:
                return event
        return None

    def _of_error_pointer(self, test: Test) -> ir.Expr | None:
        """Return what a test asks whether it is an error pointer."""
        subject = test.subject
        if type(subject) is ir.CallResult and type(subject.callee) is ir.Name:
            verdict = self._meaning.catalogue.verdicts.get(subject.callee.id)
            if verdict is not None and verdict.action == "test" and verdict.ptr < len(subject.args):
                return bare(subject.args[verdict.ptr])
        return None

    def _fails(self, call: ir.Call, test: Test) -> bool:
        """Tell whether a test finds the failure of a call: an error number, an error pointer, NULL or false."""
        if self._of_error_pointer(test) is not None:
            return test.truth
        known = after(ANY, self._numeric(test))
        if known is None:
            return False
        if self._is_truth(call):
            return known.lo == known.hi == 0
        return known.hi < 0 or 0 in known.excluded

    def _numeric(self, test: Test) -> Test:
        """Return a test against a number where it is one against a name for a number: many a driver has its own name for 0."""
        value = self._constants.named(self._file, test.value) if isinstance(test.value, str) else None
        return test if value is None else test._replace(value=value)

    def _defers(self, call: ir.Call) -> bool:
        """Tell whether a call is known to register functions that others call later, none of which undoes it."""
        known = self._meaning.catalogue.callbacks.get(call.callee.id, ()) if type(call.callee) is ir.Name else ()
        return bool(known) and all(callback.context != "probe" for callback in known)

    def _is_function(self, arg: ir.Expr) -> bool:
        arg = bare(arg.base) if type(arg) is ir.AddressOf else bare(arg)
        return type(arg) is ir.Name and bool(self._meaning.definition(self._file, arg.id).functions)

    def _is_truth(self, call: ir.Call) -> bool:
        """Tell whether a call returns a truth value or a pointer: 0 is its failure."""
        name = call.callee.id if type(call.callee) is ir.Name else ""
        if name in self._meaning.catalogue.truths:
            return True  # its definition may not be in sight
        if call.target is not None and self._typing.expanded(bare(call.target)).endswith("*"):
            return True
        results = self._returns(self._meaning.definition(self._file, name).functions) if name else set()
        return any(result == "bool" or result.endswith("*") for result in results)

    def _returns(self, functions: Collection[int]) -> set[str]:
        return {self._meaning.program.rows[function].returns for function in functions}
