"""Memory that is freed by hand though something was done to it that nobody has taken back (KGF401)."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.unit import Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import show
from kgfplint.findings import Finding, Severity
from kgfplint.ownership.destructors import Pair
from kgfplint.ownership.setups import Done, lost


def undone(unit: Unit, rule: Rule) -> Iterator[Finding]:
    """Report frees of what something was done to that nothing takes back, each for what weighs most.

    What another function takes back is asked for: what that frees is known when all functions are.
    """
    told: set[int] = set()
    found = list(lost(unit, unit.provenance is not None)) if unit.frees else []
    for done, release in sorted(found, key=lambda one: one.done.setup is None or one.done.setup.idle):
        event = release.event
        if not isinstance(event, ir.Call) or release.number in told:
            continue
        if done.pair is not None and unit.provenance is None:
            unit.questions.append(Question((), ()))
            return
        told.add(release.number)
        what, free, maker, line = show(done.owner), release.free.name, show(done.call.callee), done.call.line
        idle = done.setup is not None and done.setup.idle
        message = (f"{what} holds {done.setup.holds} since {maker}() at line {line}, which {free}() does not give back; "
                   f"call {done.by[0]}() first") if done.setup is not None else _taken_back(done, what, free)
        trace = (unit.step(line, f"{maker}() {'makes' if done.made else 'is given'} {what}"),
                 unit.step(event.line, f"{free}() frees {what}", "free"))
        yield unit.finding(rule, event, message, trace, Severity.NOTE if idle else Severity.WARNING)


def _taken_back(done: Done, what: str, free: str) -> str:
    """Return the message for what another function takes back before it frees."""
    pair, maker = done.pair or Pair("", "", ""), show(done.call.callee)
    by = f" by {pair.done}()" if pair.done != maker else ""
    again = "does" if pair.undone == pair.done else f"does by {pair.undone}()"
    return (f"nothing takes back what {maker}() at line {done.call.line} did to {what}{by} before {free}() frees it; "
            f"use {pair.destructor}(), which {again}")
