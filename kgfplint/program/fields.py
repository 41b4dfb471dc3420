"""How well a tree is read: the share of `x->field` and `x.field` whose struct is found, functions with syntax errors.

A measure, made only when asked for: it parses the body of every function. Functions that are macros
do not count, since their parameters have no types.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.facts.lower import lower
from kgfplint.facts.terms import children
from kgfplint.facts.workers import Workers
from kgfplint.program.link import Program
from kgfplint.program.types import Typing, names_of

CHUNK = 60
"""Files that a worker takes at a time."""


class Tally(NamedTuple):
    """Expressions that name a member, those of them whose base has a type with such a member, and functions with errors."""

    fields: int
    resolved: int
    damaged: int


class _Job(NamedTuple):
    root: Path
    program: Program


_job: _Job | None = None
"""The job of this process and of the workers forked from it."""


def fields(body: ir.Body) -> Iterator[ir.Field]:
    """Yield every member expression of a body once, however often a nested call repeats it."""
    for block in body.blocks:
        for event in block.events:
            for expr in _expressions(event):
                yield from _fields(expr)
        conditions = {id(edge.condition): edge.condition for edge in block.edges if edge.condition is not None}
        for condition in dict.fromkeys(conditions.values()):
            yield from _fields(condition)


def _expressions(event: ir.Event) -> Iterable[ir.Expr]:
    match event:
        case ir.Call():
            return (event.callee, *event.args) if event.target is None else (event.callee, *event.args, event.target)
        case ir.Assign():
            return event.target, event.value
        case ir.Return() | ir.Evaluate():
            return () if event.value is None else (event.value,)
        case ir.Guard():
            return event.args if event.enter else ()
    return ()


def _fields(expr: ir.Expr) -> Iterator[ir.Field]:
    stack = [expr]
    while stack:
        term = stack.pop()
        if isinstance(term, ir.Field):
            yield term
        # A nested call has had an event of its own.
        if not isinstance(term, ir.CallResult):
            stack.extend(children(term))


def typing_of(program: Program, function: int, body: ir.Body) -> Typing:
    """Return the types of expressions in a function of the program."""
    row = program.rows[function]
    return Typing(program.types, row.file, names_of(program.types, row.file, row.params, body))


def _count(paths: Sequence[tuple[int, str]]) -> Tally:
    """Count in whole files: the bodies that a run only sketches are read here, too."""
    assert _job is not None
    total = resolved = damaged = 0
    for file, path in paths:
        facts, bodies = lower((_job.root / path).read_bytes())
        for function, outline, body in zip(_job.program.functions_of(file), facts.functions, bodies, strict=False):
            if outline.flags & ir.MACRO:
                continue
            damaged += bool(outline.flags & ir.DAMAGED)
            typing = typing_of(_job.program, function, body)
            for field in fields(body):
                total += 1
                resolved += bool(typing.of(field))
    return Tally(total, resolved, damaged)


def measure(
    root: Path, program: Program, targets: Iterable[str], jobs: int, release: Callable[[], None],
    progress: Callable[[str, int, int], None],
) -> Tally:
    """Return the tally of the target files' functions, counted by `jobs` processes after `release()`."""
    global _job
    _job = _Job(root, program)
    wanted = set(targets)
    paths = [(file, path) for file, path in enumerate(program.paths) if path in wanted and program.functions_of(file)]
    chunks = [paths[at : at + CHUNK] for at in range(0, len(paths), CHUNK)]

    def before_fork() -> None:
        release()
        gc.collect()
        gc.freeze()

    total = Tally(0, 0, 0)
    with Workers(jobs, before_fork) as workers:
        for done, (_, tally) in enumerate(workers.map(_count, chunks), 1):
            progress("fields", done, len(chunks))
            if tally is not None:
                total = Tally(*(one + more for one, more in zip(total, tally, strict=True)))
    return total
