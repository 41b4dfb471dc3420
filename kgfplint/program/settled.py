"""Whether a call of an allocator can fail by the flags that it is given: words of constants, not masks."""

import re

from msgspec.structs import replace

from kgfplint.catalogue import Alloc
from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.program.link import Program

_WORDS = re.compile(r"[\s(]*[A-Za-z_]\w*(?:[\s()]*\|[\s()]*[A-Za-z_]\w*)*[\s)]*")
_WORD = re.compile(r"[A-Za-z_]\w*")
_DEPTH = 4


def settled(alloc: Alloc, call: ir.Call, program: Program) -> Alloc:
    """Return how a call allocates: without a way to fail, where its flags leave none."""
    for condition in (alloc.sure, alloc.only):
        if condition is None or condition[0] >= len(call.args):
            continue
        place, flag = condition
        words = _flags(call.args[place], program)
        if flag in words if condition is alloc.sure else words and flag not in words and "" not in words:
            return replace(alloc, fails="never")
    return alloc


def _flags(expr: ir.Expr, program: Program) -> set[str]:
    """Return the flags that an expression joins, "0" for none and "" among them for what is not known."""
    expr = bare(expr)
    if type(expr) is ir.Binary and expr.op == "|":
        return _flags(expr.left, program) | _flags(expr.right, program)
    if type(expr) is ir.Name and expr.id.isupper():
        return _named(expr.id, program, _DEPTH)
    return {"0"} if type(expr) is ir.Number and not expr.value else {""}


def _named(word: str, program: Program, depth: int) -> set[str]:
    """Return a flag, and what it joins in turn where it is a macro for that."""
    found = {word}
    for _, text in program.macros.get(word) if depth else ():
        for part in _WORD.findall(text) if _WORDS.fullmatch(text) else ():
            if part != word:
                found |= _named(part, program, depth - 1)
    return found
