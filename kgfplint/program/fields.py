"""How well types are known: the share of `x->field` and `x.field` whose struct is found.

A measure, made only when asked for: it opens the body of every function. Functions that are macros
do not count, since their parameters have no types.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kgfplint.facts import ir
from kgfplint.facts.store import Store
from kgfplint.facts.terms import children
from kgfplint.facts.workers import Workers
from kgfplint.program.link import Program
from kgfplint.program.types import Typing, names_of

CHUNK = 60
"""Files that a worker takes at a time."""


class Tally(NamedTuple):
    """Expressions that name a member, and those of them whose base has a type with such a member."""

    fields: int
    resolved: int


class _Job(NamedTuple):
    program: Program
    store: Path
    keys: Mapping[str, bytes]


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
    assert _job is not None
    store = Store.reader(_job.store)
    total = resolved = 0
    for file, path in paths:
        bodies = store.bodies(_job.keys[path])
        first = _job.program.first[file]
        for function in _job.program.functions_of(file):
            if _job.program.rows[function].flags & ir.MACRO:
                continue
            body = bodies.body(function - first)
            typing = typing_of(_job.program, function, body)
            for field in fields(body):
                total += 1
                resolved += bool(typing.of(field))
    store.close()
    return Tally(total, resolved)


def measure(
    program: Program, targets: Iterable[str], store: Store, keys: Mapping[str, bytes], jobs: int,
    progress: Callable[[str, int, int], None],
) -> Tally:
    """Return the tally of the target files' functions, counted by `jobs` processes; StoreError if the store fails."""
    global _job
    _job = _Job(program, store.path, keys)
    wanted = set(targets)
    paths = [(file, path) for file, path in enumerate(program.paths) if path in wanted and program.functions_of(file)]
    chunks = [paths[at : at + CHUNK] for at in range(0, len(paths), CHUNK)]

    def before_fork() -> None:
        store.release()
        gc.collect()
        gc.freeze()

    total = resolved = 0
    with Workers(jobs, before_fork) as workers:
        for done, (_, tally) in enumerate(workers.map(_count, chunks), 1):
            progress("fields", done, len(chunks))
            if tally is not None:
                total, resolved = total + tally.fields, resolved + tally.resolved
    return Tally(total, resolved)
