"""Where values enter a function from outside: calls that bring them in, parameters, and structs shared with user space."""

from collections.abc import Iterable, Iterator
from functools import lru_cache

from kgfplint.facts import ir
from kgfplint.facts.terms import names, root, walk
from kgfplint.ownership.frame import Frame
from kgfplint.taint.rules import Kind, stored_in, taint_rules


def may_come_from_outside(frame: Frame, exprs: Iterable[ir.Expr]) -> bool:
    """Tell cheaply whether any part of some expressions may be from outside: not on which path, nor what bounds it."""
    roots = _roots(frame)
    if roots is None:
        return False
    sources = taint_rules().callees
    found, fresh = set[str](), list(exprs)
    assigned: dict[str, list[ir.Expr]] = {}
    for target, value in _stores(frame):
        assigned.setdefault(target, []).append(value)
    while fresh:
        here = set[str]()
        for expr in fresh:
            here |= names(expr)
        if here & roots or here & sources:
            return True
        new = here - found
        found |= new
        fresh = [value for name in new for value in assigned.get(name, ())]
    return False


def _stores(frame: Frame) -> Iterator[tuple[str, ir.Expr]]:
    """Yield what is stored, by the variable that it goes to or through; a pointer argument takes what the others bring."""
    for event in frame.events():
        if isinstance(event, ir.Assign):
            yield root(event.target), event.value
        elif isinstance(event, ir.Call):
            if event.target is not None:
                yield root(event.target), ir.CallResult(event.callee, event.args)
            for arg in event.args:
                if isinstance(arg, ir.AddressOf):
                    yield from ((root(arg), other) for other in event.args if other is not arg)


@lru_cache(maxsize=1)
def _roots(frame: Frame) -> frozenset[str] | None:
    """Return the variables from which values come in, None if nothing in the function brings any in."""
    rules = taint_rules()
    found = {name for name, ctype in frame.types.items() if ctype.startswith("struct ") and ctype.endswith("*")
             and is_shared(frame, ctype)}
    _, places = stored_in(frame.program).get(frame.number, (None, ()))
    found |= {frame.row.params[place].name for place in places if place < len(frame.row.params)}
    bringing = not rules.callees.isdisjoint(frame.callees)
    for call in frame.calls if bringing else ():
        if isinstance(call.callee, ir.Name) and call.callee.id in rules.callees:
            found |= {term.id for arg in call.args for term in walk(arg) if isinstance(term, ir.Name)}
    return frozenset(found) if found or bringing else None


@lru_cache(maxsize=4096)
def _folder_is_shared(path: str) -> bool:
    return any(path.startswith(folder) or (folder.startswith("/") and folder in path) for folder in taint_rules().shared)


def is_shared(frame: Frame, ctype: str) -> bool:
    """Tell whether a struct type, or what it points to, is one that user space knows."""
    tag = ctype.removeprefix("struct ").rstrip(" *")
    record = frame.program.types.record(frame.file, tag) if tag.isidentifier() else None
    return record is not None and _folder_is_shared(frame.program.paths[record.file])


def is_shared_member(frame: Frame, expr: ir.Field) -> bool:
    """Tell whether a member is one of a struct that user space knows."""
    tag = frame.typing.tag(expr.base)
    return bool(tag) and is_shared(frame, "struct " + tag)


@lru_cache(maxsize=1)
def pointers(frame: Frame) -> frozenset[str]:
    """Return the parameters that point to a struct, or to anything."""
    return frozenset(param.name for param in frame.row.params if param.ctype.endswith("*") and not param.ctype.endswith("**"))


def kind_of_shared(frame: Frame, name: str) -> Kind:
    """Return how a shared struct behind a parameter is judged: an ioctl that is handed anything is the first to see it."""
    plain = any(param.name == name and param.ctype == "void *" for param in frame.row.params)
    return taint_rules().kinds["request" if plain and "ioctl" in frame.name else "uapi"]
