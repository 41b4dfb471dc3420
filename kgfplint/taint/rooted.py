"""Functions that only root of the whole machine gets to, by who calls them and how what they are stored in is opened."""

from collections.abc import Collection, Iterator
from functools import lru_cache

from kgfplint.facts import ir
from kgfplint.program.link import Program
from kgfplint.taint.rules import taint_rules

_DEPTH = 3
"""So many calls below a function that asks."""
_OPEN = frozenset({"open", "proc_open"})


@lru_cache(maxsize=1)
def behind_root(program: Program) -> frozenset[int]:
    """Return what is reached once capable() has said yes: what is stored beside an `open` that calls it, and static functions
    that are called from there only, or from functions whose first call it is."""
    names = taint_rules().root
    asking = {function for name in names for function in program.functions_calling(name)}
    found = set(_stored_beside(program, asking))
    first = {function for function in asking if _first_call(program, function) in names}
    stored = {target for slot in program.bound.values() for target in slot} if found or first else set[int]()
    fresh = found | first
    for _ in range(_DEPTH):
        fresh = {target for function in fresh for target in _own(program, function)
                 if target not in found and target not in stored and _only_from(program, target, found | first)}
        found |= fresh
    return frozenset(found)


def _stored_beside(program: Program, asking: Collection[int]) -> Iterator[int]:
    """Yield the functions of objects whose `open` is one of those that ask."""
    for members in program.objects.values():
        files = {file for file, member, target in members if member in _OPEN and target in asking}
        yield from (target for file, member, target in members if file in files and member not in _OPEN)


def _first_call(program: Program, function: int) -> str:
    return min(program.calls(function), key=lambda call: call[1])[0]


def _own(program: Program, function: int) -> Iterator[int]:
    """Yield the static functions of its file that a function calls."""
    rows, file = program.rows, program.rows[function].file
    for name in {name for name, _ in program.calls(function)}:
        yield from (target for target in program.resolve(file, name) if rows[target].file == file
                    and rows[target].flags & ir.STATIC and not rows[target].flags & ir.MACRO)


def _only_from(program: Program, target: int, known: Collection[int]) -> bool:
    return all(caller in known for caller in program.callers_in_file(target))
