"""Whether a call of an allocator can fail by the flags that it is given: words of constants, not masks."""

import re
from collections.abc import Iterator, Mapping

from msgspec.structs import replace

from kgfplint.catalogue import Alloc
from kgfplint.facts import ir
from kgfplint.facts.terms import TRUE, bare
from kgfplint.program.link import Program

_WORDS = re.compile(r"[\s(]*[A-Za-z_]\w*(?:[\s()]*\|[\s()]*[A-Za-z_]\w*)*[\s)]*")
_WORD = re.compile(r"[A-Za-z_]\w*")
_DEPTH = 4


def settled(alloc: Alloc | None, call: ir.Call, program: Program) -> Alloc | None:
    """Return how a call allocates: without a way to fail, where its flags leave none."""
    if alloc is None or (alloc.sure is None and alloc.only is None):
        return alloc
    if alloc.sure is not None and alloc.sure[0] < len(call.args):
        sure = alloc.sure[1] in _flags(call.args[alloc.sure[0]], program) or (
            alloc.sure[1] == "true" and bare(call.args[alloc.sure[0]]) in TRUE)
    else:
        flags = _flags(call.args[alloc.only[0]], program) if alloc.only is not None and alloc.only[0] < len(call.args) else {""}
        sure = alloc.only is not None and flags.isdisjoint(("", alloc.only[1]))
    return replace(alloc, fails="never") if sure else alloc


def handed_on(alloc: Alloc, call: ir.Call, places: Mapping[str, int], program: Program) -> tuple[int, str] | None:
    """Return the flag without which a call does not fail, and in which parameter its caller is given it; None if there is none.

    `places` are those of the parameters that keep their value.
    """
    if alloc.only is None or alloc.only[0] >= len(call.args):
        return None
    place, flag = alloc.only
    given = [bare(part) for part in _parts(call.args[place])]
    names = [part.id for part in given if type(part) is ir.Name and part.id in places]
    others = [_flags(part, program) for part in given if type(part) is not ir.Name or part.id not in places]
    told = len(names) == 1 and all(words.isdisjoint(("", flag)) for words in others)
    return (places[names[0]], flag) if told else None


def _parts(expr: ir.Expr) -> Iterator[ir.Expr]:
    """Yield what an expression joins by `|`."""
    expr = bare(expr)
    if type(expr) is ir.Binary and expr.op == "|":
        yield from _parts(expr.left)
        yield from _parts(expr.right)
    else:
        yield expr


def _flags(expr: ir.Expr, program: Program) -> set[str]:
    """Return the flags that an expression joins, "0" for none and "" among them for what is not known."""
    found: set[str] = set()
    for part in _parts(expr):
        if type(part) is ir.Name and part.id.isupper():
            found |= _named(part.id, program, _DEPTH)
        else:
            found.add("0" if type(part) is ir.Number and not part.value else "")
    return found


def _named(word: str, program: Program, depth: int) -> set[str]:
    """Return a flag, and what it joins in turn where it is a macro for that."""
    found = {word}
    for _, text in program.macros.get(word) if depth else ():
        for part in _WORD.findall(text) if _WORDS.fullmatch(text) else ():
            if part != word:
                found |= _named(part, program, depth - 1)
    return found
