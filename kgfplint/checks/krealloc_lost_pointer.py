"""KGF408: krealloc() stored over its own argument, which loses the old memory when it fails."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, is_zero, root, show
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF408",
    name="krealloc-lost-pointer",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="A resize that fails leaves the old memory allocated: keep its pointer until the new one is known.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report each resize whose result replaces the only pointer to what is resized."""
    params = {param.name for param in unit.row.params}
    for allocation in unit.allocations:
        old = allocation.argument(allocation.alloc.ptr)
        target = allocation.call.target
        if old is None or target is None or bare(old) != bare(target) or allocation.alloc.managed:
            continue
        if is_zero(old) or unit.meaning.masks.has(allocation.mask, "__GFP_NOFAIL"):
            continue
        kept = _kept(unit, allocation, bare(old))
        if kept == "saved":
            continue
        # Only of a local it is seen that it holds the memory, and nobody else does: a member may be NULL before its first use.
        # The caller of a parameter still has its own copy, if it knows what to do with it.
        named = isinstance(bare(old), ir.Name)
        passed, own = named and root(old) in params, named and root(old) in unit.types
        severity = Severity.NOTE if kept or passed else RULE.severity if own else Severity.WARNING
        message = (f"when {allocation.name}() fails it returns NULL and leaves {show(old)} allocated, "
                   f"but this overwrites {show(old)}{' (a copy)' if kept else ''}; store the result elsewhere first")
        yield unit.finding(RULE, allocation.call, message, severity=severity)


def _kept(unit: Unit, allocation: Allocation, old: ir.Expr) -> str:
    """Tell whether another variable "saved" the old pointer, or the pointer was only a "copy" of one; else ""."""
    for event in unit.events():
        if isinstance(event, ir.Assign) and not event.op and event.line <= allocation.call.line:
            # A copy that moves on, as a cursor does, keeps nothing.
            holder = bare(event.target)
            stays = not isinstance(holder, ir.Name) or len(unit.values.get(holder.id, ())) == 1
            if bare(event.value) == old and holder != old and stays:
                return "saved"
            if isinstance(old, ir.Name) and event.target == old and isinstance(bare(event.value), ir.Field | ir.Deref | ir.Index):
                return "copy"
        fetched = isinstance(event, ir.Call) and event.target == old and event.line < allocation.call.line
        if fetched and isinstance(old, ir.Name) and isinstance(event, ir.Call) and not _allocates(unit, event):
            return "copy"
    return ""


def _allocates(unit: Unit, call: ir.Call) -> bool:
    return isinstance(call.callee, ir.Name) and unit.meaning.alloc(unit.file, call.callee.id) is not None
