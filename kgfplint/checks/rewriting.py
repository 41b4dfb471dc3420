"""Calls written otherwise: what rules that know the remedy hand over to have it put into the text (see fixes)."""

from collections.abc import Mapping

from kgfplint.facts import ir
from kgfplint.facts.terms import walk
from kgfplint.findings import Rewrite


def rewritten(
    call: ir.Call, name: str = "", instead: Mapping[int, str] | None = None, drop: ir.Call | None = None,
) -> Rewrite | None:
    """Return a call under another name, with some arguments (by index) replaced by C text, and another call dropped.

    None for a call that is not of a plain name, or that is the head of a block.
    """
    if not isinstance(call.callee, ir.Name) or call.block_macro:
        return None
    args = tuple((instead or {}).get(number, f"${number}") for number in range(len(call.args)))
    return Rewrite(call.callee.id, name or call.callee.id, args, (drop.line, drop.column) if drop is not None else None)


def is_plain(*terms: ir.Expr) -> bool:
    """Tell whether expressions print as they were written, near enough: nothing in them is unknown."""
    return not any(isinstance(part, ir.Unknown | ir.Initialiser) for term in terms for part in walk(term))
