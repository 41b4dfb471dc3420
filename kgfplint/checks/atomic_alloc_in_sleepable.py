"""KGF103: an allocation that does not sleep where the code provably may."""

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from kgfplint.checks import Rule
from kgfplint.checks.held_at import first_atomic
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.context.flow import is_plain
from kgfplint.context.held import Held, State
from kgfplint.context.sleeping import RAW
from kgfplint.context.slept import slept_before
from kgfplint.context.steps import Hop
from kgfplint.facts import ir
from kgfplint.findings import Finding, Severity, Step
from kgfplint.program.link import Program

RULE = Rule(
    code="KGF103",
    name="atomic-alloc-in-sleepable",
    severity=Severity.WARNING,
    guide="Get Free Page flags",
    summary="GFP_ATOMIC takes from the reserves that code which cannot wait depends on: code that may sleep uses GFP_KERNEL.",
)

PROOF = "{proof}"
"""What stands in the message of a finding that hangs on who reaches the function."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report allocations from the reserves after something that sleeps on every path, with no lock that forbids it."""
    wanted = {id(a.call): a for a in unit.allocations if not a.inferred and _reserved(unit, a)}
    if not wanted or unit.row.name in unit.meaning.catalogue.described:
        return
    states = {id(event): state for event, state in unit.locks.states()}

    def sleeps(event: ir.Event) -> str:
        return _waits(unit, event, states.get(id(event)))

    for event, before in slept_before(unit.body, sleeps):
        allocation = wanted.get(id(event))
        state = states.get(id(event))
        if allocation is None or state is None or first_atomic(unit, state.held) or state.perhaps or state.pending:
            continue
        held = next((held for held in state.held if _waited(unit, held)), None)
        proof = f"{before}() has slept before" if before else ""
        if held is not None:
            proof = f"{held.by if held.by.endswith(')') else held.by + '()'} at line {held.line} is held"
        place = allocation.call.line, allocation.call.column
        site = next((site for site in unit.flow.sites if (site.line, site.column) == place), None)
        plain = site is not None and is_plain(site, unit.meaning.catalogue)
        waits = f"the function calls {unit.flow.sleepy}() whatever it is given" if unit.flow.sleepy else ""
        twin = f"{allocation.alloc.masked}() with " if allocation.alloc.masked else ""
        message = (f"{allocation.name}() with {unit.meaning.masks.describe(allocation.mask)} takes from the reserves, but "
                   f"this code may sleep ({proof or waits or PROOF}); use {twin}GFP_KERNEL")
        found = unit.finding(RULE, allocation.call, message)
        if proof:
            yield found
        elif plain:
            unit.doubted.append(found)


def settled(finding: Finding, hops: Sequence[Hop], program: Program) -> Finding | None:
    """Return a doubted finding with the chain that shows that its function runs where sleeping is allowed.

    Without a chain it stands if the function itself proves it.
    """
    if PROOF not in finding.message or not hops:
        return finding if PROOF not in finding.message else None
    names = dict.fromkeys((*(program.rows[hop.function].name for hop in hops), finding.function))
    proof = f"all that reaches it may, as {' → '.join(f'{name}()' for name in names)}"
    steps = tuple(Step(program.file_of(hop.function), hop.line, program.rows[hop.function].name, hop.note, hop.mark)
                  for hop in hops)
    return replace(finding, message=finding.message.replace(PROOF, proof), trace=(*steps, *finding.trace))


def _waited(unit: Unit, held: Held) -> bool:
    """Tell whether who took this may have had to wait for it."""
    known = unit.meaning.catalogue
    guard = known.guards.get(held.by.removeprefix("guard(").removesuffix(")"))
    return held.by in known.sleepers or (guard is not None and guard.sleeps)


def _reserved(unit: Unit, allocation: Allocation) -> bool:
    if allocation.alloc.gfp is None and allocation.alloc.masked is None:
        return False  # nobody can ask for another mask
    masks = unit.meaning.masks
    return masks.may_sleep(allocation.mask) is False and masks.has(allocation.mask, "__GFP_HIGH") is True


def _waits(unit: Unit, event: ir.Event, state: State | None) -> str:
    """Return the name of what waits in any case, "" if an event need not."""
    if type(event) is not ir.Call or type(event.callee) is not ir.Name or state is None:
        return ""
    if first_atomic(unit, state.held):
        return ""
    sleeper = unit.meaning.catalogue.sleepers.get(event.callee.id)
    if sleeper is not None and not sleeper.unless and sleeper.cond is None and sleeper.gfp is None:
        return event.callee.id
    sleep = unit.sleeps.get(id(event))
    certain = sleep is not None and sleep.where != RAW and not sleep.frees
    return event.callee.id if certain else ""
