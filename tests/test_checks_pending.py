"""What becomes of memory that is given to functions, and by those to others: the same whoever asks first."""

from itertools import permutations
from types import SimpleNamespace

import pytest

from kgfplint.checks.pending import DEPTH, Asked, Case, Pending, Settling
from kgfplint.findings import Finding, Severity, Step
from kgfplint.ownership.fates import KEPT, LENT, UNCLEAR, Fate

LAST = DEPTH + 3
"""More calls, one below the other, than are looked at for the first alone."""


def settled(fates, asked):
    """Return which of some functions only borrow what they are given, asked for in this order; `fates` are those of all."""
    program = SimpleNamespace(rows=[SimpleNamespace(file=0, flags=0) for _ in fates], file_of=lambda number: "item.c",
                              defined={f"f{number}": [number] for number in range(len(fates))})
    found = Finding("KGF407", "leaked-allocation", Severity.NOTE, "item.c", 1, 1, 1, "f", "")
    pending = [(0, Pending(found, (Case((Asked(f"f{number}", 0, "lent"),), f"f{number}", Step("item.c", 1, "", "", "call")),)))
               for number in asked]
    settling = Settling(program, lambda functions: [(number, {0: fates[number]}) for number in functions])
    return {finding.message for _, finding in settling.findings(pending)}


def chain(end):
    """Return the fates of functions each of which calls the next, up to one with the fate `end`."""
    return [*(Fate(passes=((f"f{number + 1}", 0),)) for number in range(LAST)), end]


@pytest.mark.parametrize("order", list(permutations((0, 3, LAST))))
@pytest.mark.parametrize(("end", "lent"), [(LENT, {"f0", "f3", f"f{LAST}"}), (KEPT, set()), (Fate(passes=(UNCLEAR,)), set())])
def test_a_pointer_is_followed_as_far_whoever_asks_first(end, lent, order):
    assert settled(chain(end), order) == lent


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_functions_that_call_each_other_are_judged_by_all_that_they_do(order):
    around = [Fate(passes=(("f1", 0),)), Fate(passes=(("f0", 0), ("f2", 0)))]
    assert settled([*around, LENT], order) == {"f0", "f1", "f2"}
    assert settled([*around, KEPT], order) == set()
