"""The conditions on the edges of a function: what they say of tracked lvalues, and which are worth remembering."""

from collections.abc import Collection, Iterable, Mapping

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root, show, walk
from kgfplint.ownership.accesses import Accesses
from kgfplint.ownership.addresses import ADDRESSES, Addresses
from kgfplint.ownership.conditions import ORIGIN, ZERO, Known, Test, asks, constant, is_error_name, reading, stable
from kgfplint.ownership.ops import Branch
from kgfplint.ownership.walks import repeated
from kgfplint.program.meaning import Meaning

LVALUES = frozenset({ir.Name, ir.Field, ir.Deref, ir.Index})
"""What can be tracked."""
_EQUAL = {"==": Known(1, 1), "<=": Known(1, 1), "<": ZERO}
"""What comparisons of the same two things say."""
Tests = tuple[tuple[Test | None, ...], ...]


def tests_of(body: ir.Body) -> Tests:
    """Return the readings of all conditions, by block and edge."""
    return tuple(_tests(block.edges) for block in body.blocks)


def _tests(edges: tuple[ir.Edge, ...]) -> tuple[Test | None, ...]:
    """The readings of the edges of one block; the two ways of an `if` have the same condition."""
    found: list[Test | None] = []
    for at, edge in enumerate(edges):
        test = found[-1] if at and edge.condition == edges[at - 1].condition else None
        if test is None:
            test = reading(edge.condition, edge.truth) if edge.condition is not None else None
        elif edge.truth is not edges[at - 1].truth:
            test = Test(test.subject, test.op, test.value, not test.truth)
        found.append(test)
    return tuple(found)


def facts_of(body: ir.Body, tests: Tests, lvalues: Collection[ir.Expr]) -> dict[ir.Expr, int]:
    """Number the subjects that are worth remembering: tested twice, perhaps in a loop, or set to something known and tested, or
    returned.
    """
    tested: dict[ir.Expr, int] = {}
    again = repeated([[edge.to for edge in block.edges] for block in body.blocks])
    for number, block in enumerate(tests):
        for subject in {test.subject: None for test in block if test is not None}:
            tested[subject] = tested.get(subject, 0) + (2 if number in again else 1)
    fixed = {bare(event.target) for block in body.blocks for event in block.events
             if type(event) is ir.Assign and type(event.value) not in _VARYING and constant(event.value) is not None}
    values = [bare(event.value) for block in body.blocks for event in block.events
              if type(event) is ir.Return and event.value is not None]
    returned = {subject for value in values if is_error_name(
        subject := reading(value.condition, True).subject if type(value) is ir.Conditional else value)}
    facts: dict[ir.Expr, int] = {}
    # An error number that is set and returned needs no test to tell of a failure.
    tested.update((value, 0) for value in values if value in fixed and value not in tested)
    for subject, count in tested.items():
        worth = count > 1 or subject in fixed or subject in returned or type(subject) is ir.CallResult
        if worth and subject not in lvalues and stable(subject):
            facts[subject] = len(facts)
    for subject in _copied(body, facts):
        if subject in tested and subject not in facts and subject not in lvalues and stable(subject):
            facts[subject] = len(facts)
    return facts


def relations_of(facts: Mapping[ir.Expr, int]) -> dict[frozenset[ir.Expr], list[tuple[int, Known]]]:
    """Return what is known of remembered comparisons of two things once one of them is set to the other."""
    found: dict[frozenset[ir.Expr], list[tuple[int, Known]]] = {}
    for subject, number in facts.items():
        if type(subject) is ir.Binary and subject.op in _EQUAL:
            found.setdefault(frozenset({bare(subject.left), bare(subject.right)}), []).append((number, _EQUAL[subject.op]))
    return found


def _copied(body: ir.Body, facts: Collection[ir.Expr]) -> list[ir.Expr]:
    """Return the variables that are copied to one that is remembered: `err = minor`."""
    return [value for block in body.blocks for event in block.events
            if type(event) is ir.Assign and not event.op and type(value := bare(event.value)) is ir.Name
            and bare(event.target) in facts]


_VARYING = frozenset({ir.Field, ir.Deref, ir.Index, ir.Binary, ir.AddressOf, ir.Conditional})
"""What is no constant."""


class Branches:
    """Reads the conditions of one function."""

    def __init__(self, lvalues: Mapping[ir.Expr, int], facts: Mapping[ir.Expr, int], live: Collection[int],
                 params: Collection[str], addresses: Addresses, meaning: Meaning) -> None:
        """`lvalues` and `facts` are what is tracked, by number; uses are told of the lvalues in `live`."""
        self._lvalues = lvalues
        self._facts = facts
        self._live = live
        self._params = params
        self._addresses = addresses
        self._verdicts = meaning.catalogue.verdicts
        self._accesses = Accesses(lvalues.items(), addresses)

    def of_block(self, tests: Iterable[Test | None]) -> list[Branch | None]:
        """Return what the tests on the edges of a block are about, None for one that concerns nothing that is tracked."""
        found: list[Branch | None] = []
        before: Test | None = None
        for test in tests:
            if test is None:
                found.append(None)
            elif before is not None and before.subject is test.subject and before.truth is not test.truth:
                branch = found[-1]
                found.append(branch and branch._replace(truth=not branch.truth, test=branch.test and test))
            else:
                found.append(self._of(test))
            before = test
        return found

    def _of(self, test: Test) -> Branch | None:
        subject = test.subject
        uses = self._accesses.of(subject)
        used = tuple(n for n in uses if n in self._live)
        number = self._lvalues.get(subject)
        if number is not None:
            return Branch(number, "mention" if test.op else "null", test.truth, -1, None, used)
        about = self._asked(subject, test.truth) or self._compared(subject, test.truth)
        if about is not None:
            return about
        fact = self._facts.get(subject, -1)
        if not uses and (mentioned := self._mentioned(subject)):
            asked = show(subject.callee) if type(subject) is ir.CallResult and asks(show(subject.callee)) else ""
            first = next((n for n, variable in mentioned if variable not in self._params), mentioned[0][0])
            told = type(subject) is ir.CallResult and type(subject.callee) is ir.Name and not subject.callee.id.isupper() and (
                subject.callee.id not in self._verdicts)
            verdict = "origin" if asked and ORIGIN.search(asked) else "asked" if asked else "told" if told else "mention"
            return Branch(first, verdict, test.truth, fact, test, ())
        return Branch(-1, "", test.truth, fact, test, used) if fact >= 0 or used else None

    def _asked(self, subject: ir.Expr, truth: bool) -> Branch | None:
        """Read a call that tells from an lvalue whether an allocation failed."""
        if type(subject) is not ir.CallResult or type(subject.callee) is not ir.Name:
            return None
        verdict = self._verdicts.get(subject.callee.id)
        if verdict is None or verdict.action != "test" or verdict.ptr >= len(subject.args):
            return None
        number = self._lvalues.get(bare(subject.args[verdict.ptr]))
        how = "either" if len(verdict.means) > 1 else verdict.means[0]
        return Branch(number, how, not truth, -1, None, ()) if number is not None else None

    def _compared(self, subject: ir.Expr, truth: bool) -> Branch | None:
        """Read a comparison with the address of something, or of two lvalues."""
        if type(subject) is not ir.Binary or subject.op != "==":
            return None
        left, right = self._lvalues.get(bare(subject.left)), self._lvalues.get(bare(subject.right))
        for number, second, other in ((left, right, subject.right), (right, left, subject.left)):
            kind = self._addresses.kind(other) if number is not None else ""
            if number is not None and (kind in ADDRESSES or kind == "err_ptr"):
                return Branch(number, "error" if kind == "err_ptr" else "address", truth, -1, None, ())
            if number is not None and second is not None:
                return Branch(number, "same", truth, -1, None, (), second)
        return None

    def _mentioned(self, subject: ir.Expr) -> list[tuple[int, str]]:
        """Return the lvalues in a condition with the variables that they start from."""
        lvalues = self._lvalues
        return [(lvalues[term], root(term)) for term in walk(subject) if type(term) in LVALUES and term in lvalues]
