"""KGF410: memory freed while RCU readers may still be on it."""

from collections.abc import Iterator

from kgfplint.catalogue import Free
from kgfplint.checks import Rule
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root, show, walk
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF410",
    name="freed-without-grace-period",
    severity=Severity.NOTE,
    guide="Selecting memory allocator",
    summary="What RCU readers may still look at is freed after a grace period: by kfree_rcu(), or behind synchronize_rcu().",
)
_AT_ONCE = ("plain", "sensitive", "const")
_REMOVALS = ("unlink", "clear")


def check(unit: Unit) -> Iterator[Finding]:
    """Report a free at once of what the same path took away from readers; and of parts of what is freed later."""
    if not unit.frees or unit.row.flags & ir.MACRO:
        return
    if any(_action(unit, name) in _REMOVALS for name in unit.callees):
        yield from _after_removal(unit)
    if _defers(unit):
        yield from _parts(unit)


def _action(unit: Unit, name: str) -> str:
    verdict = unit.meaning.catalogue.verdicts.get(name)
    return verdict.action if verdict is not None else ""


def _after_removal(unit: Unit) -> Iterator[Finding]:
    told: set[int] = set()
    # Who waits for readers somewhere knows why not here: they are gone, or were waited for before.
    severity = Severity.NOTE if any(_waits(unit, name) for name in unit.callees) or _defers(unit) else None
    for number, block in enumerate(unit.body.blocks):
        for place, event in enumerate(block.events):
            removed = _removed(unit, event)
            if removed is None or type(event) is not ir.Call:
                continue
            for call, free in _freed_next(unit, number, place + 1, removed):
                if call.line not in told:
                    told.add(call.line)
                    message = (f"{show(event.callee)}() at line {event.line} takes {show(removed)} away from RCU readers, but "
                               f"{free.name}() frees it at once; use kfree_rcu(), or call synchronize_rcu() in between")
                    trace = (unit.step(event.line, f"{show(removed)} is taken away from readers"),
                             unit.step(call.line, "it is freed while they may still be on it", "free"))
                    yield unit.finding(RULE, call, message, trace, severity)


def _defers(unit: Unit) -> bool:
    """Tell whether a function leaves anything to be freed after a grace period."""
    frees = unit.meaning.catalogue.frees
    return any(free.flavour == "rcu" for name in unit.callees if (free := frees.get(name)) is not None)


def _removed(unit: Unit, event: ir.Event) -> ir.Name | None:
    """Return the variable whose object an event takes away from readers."""
    if type(event) is not ir.Call or type(event.callee) is not ir.Name or not event.args:
        return None
    action = _action(unit, event.callee.id)
    if action == "clear":
        return event.target if type(event.target) is ir.Name else None
    node = bare(event.args[0]) if action == "unlink" else None
    thing = bare(node.base) if type(node) is ir.AddressOf else None
    while type(thing) is ir.Field and not thing.arrow:
        thing = bare(thing.base)
    holder = bare(thing.base) if type(thing) is ir.Field else None
    return holder if type(holder) is ir.Name else None


def _freed_next(unit: Unit, number: int, place: int, what: ir.Name) -> Iterator[tuple[ir.Call, Free]]:
    """Yield the frees of a variable's object that a path reaches before it waits, or the variable changes."""
    waiting, seen = [(number, place)], set[int]()
    while waiting:
        number, place = waiting.pop()
        for event in unit.body.blocks[number].events[place:]:
            if _ends(unit, event, what):
                break
            free = _free_of(unit, event, what)
            if free is not None and type(event) is ir.Call:
                yield event, free
                break
        else:
            fresh = [edge.to for edge in unit.body.blocks[number].edges if edge.to not in seen]
            seen.update(fresh)
            waiting.extend((to, 0) for to in fresh)


def _ends(unit: Unit, event: ir.Event, what: ir.Name) -> bool:
    """Tell whether an event waits for readers, or gives the variable another value."""
    if (type(event) is ir.Assign or type(event) is ir.Call) and event.target is not None and bare(event.target) == what:
        return True
    if type(event) is not ir.Call:
        return type(event) is ir.Declare and event.name == what.id
    if event.block_macro:
        return any(bare(arg) == what for arg in event.args)
    name = event.callee.id if type(event.callee) is ir.Name else ""
    return _waits(unit, name)


def _waits(unit: Unit, name: str) -> bool:
    """Tell whether a function waits for readers, or calls one that does; a name that says so is believed."""
    if _action(unit, name) == "grace" or ("rcu" in name.split("_") and "synchronize" in name):
        return True
    program = unit.program
    return any(_action(unit, callee) == "grace" or "_rcu" in callee
               for function in unit.meaning.definition(unit.file, name).functions for callee, _ in program.calls(function))


def _free_of(unit: Unit, event: ir.Event, what: ir.Name) -> Free | None:
    if type(event) is not ir.Call:
        return None
    for free, subject in unit.meaning.freed(unit.file, event):
        if bare(subject) == what and free.flavour in _AT_ONCE and _is_plain(unit, free):
            return free
    return None


def _is_plain(unit: Unit, free: Free) -> bool:
    """Tell whether a free is one of memory, not of a counted object that may outlive it."""
    families = unit.meaning.catalogue.families
    return any(family in families and families[family].heap for family in free.accepts)


def _parts(unit: Unit) -> Iterator[Finding]:
    """Report frees at once of what hangs on memory that the same function leaves to kfree_rcu()."""
    later = {bare(subject): call for call in unit.calls for free, subject in unit.meaning.freed(unit.file, call)
             if free.flavour == "rcu" and type(bare(subject)) is ir.Name}
    for call in unit.calls if later else ():
        for free, subject in unit.meaning.freed(unit.file, call):
            whole = next((term for term in walk(bare(subject)) if term in later), None)
            if whole is not None and bare(subject) != whole and free.flavour != "rcu" and call.line < later[whole].line:
                message = (f"{free.name}() frees {show(subject)} at once, but readers of {root(subject)}, which is freed after a "
                           f"grace period at line {later[whole].line}, may still follow it; free both in one RCU callback")
                trace = (unit.step(call.line, f"{show(subject)} is freed at once", "free"),
                         unit.step(later[whole].line, f"{show(whole)} is freed after a grace period", "free"))
                yield unit.finding(RULE, call, message, trace, Severity.NOTE)
