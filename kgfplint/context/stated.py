"""What annotations and comments say of the context of a function."""

import re
from collections.abc import Callable, Iterator

from kgfplint.catalogue import Catalogue
from kgfplint.context.held import Held, kind_of
from kgfplint.facts import ir
from kgfplint.program.link import Row

_HELD = re.compile(r"(__must_hold|__must_hold_shared|__releases|__releases_shared)\s*\((.*)\)$", re.DOTALL)
_LVALUE = re.compile(r"&?\s*(\w+)((?:\s*(?:->|\.)\s*\w+)*)")
_STEP = re.compile(r"(->|\.)\s*(\w+)")


def held_at_entry(row: Row, type_of: Callable[[ir.Expr], str], catalogue: Catalogue) -> Iterator[Held]:
    """Yield what the annotations of a function say that its callers hold; locks of unknown type are left out."""
    for annotation in row.annotations:
        match = _HELD.match(annotation)
        lock = _lvalue(match[2]) if match else None
        if match and lock is not None:
            word = lock.id if isinstance(lock, ir.Name) else getattr(lock, "member", "")
            for kind in kind_of(word if word in catalogue.kind_of_type else type_of(lock), catalogue):
                yield Held(kind, None if kind == "rcu" else ir.AddressOf(lock), match[1], row.line, True)


def _lvalue(text: str) -> ir.Expr | None:
    """Return `&dev->lock` as the expression dev->lock, None for anything more complicated."""
    match = _LVALUE.fullmatch(text.strip())
    if not match:
        return None
    expr: ir.Expr = ir.Name(match[1])
    for arrow, member in _STEP.findall(match[2]):
        expr = ir.Field(expr, member, arrow == "->")
    return expr


def told_context(row: Row, catalogue: Catalogue) -> str:
    """Return the context that the comment of a function tells, "" if it tells none that is known."""
    for annotation in row.annotations:
        if annotation.startswith("Context: "):
            text = annotation.lower()
            return next((phrase.context for phrase in catalogue.phrases.values() if phrase.name in text), "")
    return ""
