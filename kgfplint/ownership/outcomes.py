"""What a test of a pointer tells of it, which outcomes of a test are impossible, and which ways out are failures."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.facts.terms import NULL as NOTHING
from kgfplint.facts.terms import bare
from kgfplint.ownership.addresses import ADDRESSES
from kgfplint.ownership.conditions import constant
from kgfplint.ownership.ops import Branch, Leave
from kgfplint.ownership.states import DOUBTED, ERROR, MAYBE, NULL, UNKNOWN, VALID, Exit, Object, Origin, State


class Untested(NamedTuple):
    """What the use of an untested pointer is, as an incident, and the state of the pointer after it."""

    kind: str
    after: int


UNTESTED = {MAYBE: Untested("unchecked", VALID), DOUBTED: Untested("doubted", UNKNOWN)}
FITTING = {"null": (NULL, UNKNOWN, DOUBTED), "err_ptr": (ERROR, UNKNOWN, DOUBTED)}
"""What a pointer may be that a test has a sense for, by its verdict."""


def excluded(truth: bool, same: bool, whats: Collection[str]) -> bool:
    """Tell whether two pointers cannot be equal (`truth`), or cannot differ; `same`: they are copies of one.

    `whats` are the kinds of what they point to: an allocation is equal to no address of something else.
    """
    if not set(whats) <= {"alloc", *ADDRESSES}:
        return False
    return (not same and "alloc" in whats) if truth else same


APART = {"address": ADDRESSES, "error": ("err_ptr",)}
"""Verdicts of comparisons with what no allocator returns, with the kinds of what is the same as that."""


def apart(branch: Branch, origin: Origin) -> bool:
    """Tell whether a comparison with the address of something, or with one error pointer, cannot come out like this.

    What an allocator fails with may be any error; a function that sets a pointer to an error itself sets it to that one.
    """
    if branch.truth:
        return branch.verdict == "address" and origin.site is not None
    return origin.what in APART[branch.verdict]


def outcome(thing: Object, branch: Branch) -> Object | None:
    """Return the object after a test of its pointer, None if it cannot come out like this.

    `branch.truth` tells that the pointer is good, as far as the test goes.
    """
    state, good = thing.state, branch.truth
    if branch.verdict == "told":
        return Object(DOUBTED, thing.freed) if state == MAYBE else thing
    if branch.verdict in ("mention", "asked"):
        return Object(UNKNOWN, thing.freed) if state in UNTESTED else thing
    if branch.verdict == "err_ptr":
        if good:
            return None if state == ERROR else Object(VALID, thing.freed) if state == MAYBE else thing
        return None if state in (VALID, NULL) else Object(ERROR, thing.freed)
    if good:
        return None if state == NULL or (state == ERROR and branch.verdict == "either") else (
            Object(VALID, thing.freed) if state in (MAYBE, UNKNOWN, DOUBTED) else thing)
    if state == VALID:
        return None
    return Object(NULL, thing.freed) if state != ERROR else thing if branch.verdict == "either" else None


def fails(leave: Exit, facts: Sequence[ir.Expr], returns: str) -> bool | None:
    """Tell whether a function, by the type that it returns, fails where it is left; None if that is not known."""
    value = bare(leave.event.value) if leave.event.value is not None else None
    if value is None:
        return None
    if returns.endswith("*"):
        return True if leave.state in (NULL, ERROR) or value == NOTHING else False if leave.state == VALID else None
    known = constant(value)
    if known is None and value in facts:
        known = leave.left.facts.get(facts.index(value))
    if known is None:
        return None
    zero, other = known.lo == known.hi == 0, known.hi < 0 or known.lo > 0 or 0 in known.excluded
    if returns == "bool":
        return zero if zero or other else None
    return False if zero else True if known.hi < 0 or 0 in known.excluded else None


def left(op: Leave, state: State, origins: Mapping[int, Origin]) -> Exit:
    """Return the exit that a return is in a state."""
    number = state.values.get(op.value)
    if op.site is not None:
        return Exit(op.event, Origin(op.site, "alloc"), MAYBE, state, origins)
    if number is None:
        return Exit(op.event, None, UNKNOWN, state, origins)
    thing = state.objects[number]
    return Exit(op.event, origins[number], VALID if thing.freed else thing.state, state, origins)


def leave_to(values: dict[int, int], number: int, origins: Mapping[int, Origin]) -> None:
    """Forget what points to, or into, an object whose number another one gets now: that of the round before."""
    for lvalue in [lv for lv, pointed in values.items() if number in (pointed, origins[pointed].within)]:
        del values[lvalue]
