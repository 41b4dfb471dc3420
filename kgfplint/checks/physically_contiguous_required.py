"""KGF510: memory whose pages lie anywhere, given to what needs one piece of physical memory."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.backing import Given, asked_in, given, is_scattered, pointer, scattered, stack_variable
from kgfplint.checks.unit import Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import show
from kgfplint.findings import Finding, Severity, Step
from kgfplint.ownership.provenance import keys_of

RULE = Rule(
    code="KGF510",
    name="physically-contiguous-required",
    severity=Severity.ERROR,
    guide="Selecting memory allocator",
    summary="vmalloc() memory, and large kvmalloc() memory, is not given to what needs physically contiguous memory.",
)
_USE = "use kmalloc(), or the pages one by one (vmalloc_to_page())"
_COPY = "use a buffer from kmalloc()"


def check(unit: Unit) -> Iterator[Finding]:
    """Report each such memory by the call that needs it contiguous."""
    if unit.row.flags & ir.MACRO or not unit.needs_memory:
        return
    for use in given(unit, "contiguous"):
        at = pointer(unit, use.subject)
        name = stack_variable(unit, at)
        if name:
            if not _is_for_one_machine(unit):
                what = f"{name} lies on the stack, which is vmalloc() memory with CONFIG_VMAP_STACK"
                yield _finding(unit, use, what, _COPY, (), Severity.WARNING)
            continue
        family = scattered(unit, at)
        if family:
            title = unit.meaning.catalogue.families[family].title
            surely = unit.meaning.catalogue.families[family].scattered == "always" and not use.through
            trace = _allocated(unit, at)
            yield _finding(unit, use, f"{show(at)} is {title}, which is not physically contiguous", _USE, trace,
                           Severity.ERROR if surely else Severity.WARNING)
        elif keys := _keys(unit, at):
            yield from _by_provenance(unit, use, at, keys)


def _is_for_one_machine(unit: Unit) -> bool:
    """Tell whether a function is for one architecture, by its folder or its inline assembly: not all map stacks by vmalloc()."""
    return unit.path.startswith("arch/") or any(
        type(event) is ir.Assign and type(event.value) is ir.Unknown and event.value.text == "asm" for event in unit.events())


def _keys(unit: Unit, at: ir.Expr) -> tuple[str, ...]:
    """Return what the provenance of a member or global goes by; that of a whole type tells too little."""
    if type(at) is ir.Name and (at.id in unit.types or at.id in unit.program.defined):
        return ()
    return tuple(key for key in keys_of(at, unit) if not key.startswith("struct "))


def _by_provenance(unit: Unit, use: Given, at: ir.Expr, keys: tuple[str, ...]) -> Iterator[Finding]:
    """Judge a member or a global by where all that is ever stored there comes from."""
    families = unit.meaning.catalogue.families
    if unit.provenance is None:
        unit.questions.append(Question(keys, tuple(name for name in families if not is_scattered(unit, name))))
        return
    key, made = unit.provenance.of(unit.file, keys)
    if not made or not all(is_scattered(unit, source.family) for source in made):
        return
    first, always = made[0], all(families[source.family].scattered == "always" for source in made)
    if not always and asked_in(unit):
        return
    surely = always and not use.through
    near = all(source.path == unit.path for source in made)
    what = f"{show(at)} is {families[first.family].title}, which is not physically contiguous"
    trace = (Step(first.path, first.line, first.function, f"{first.alloc}() allocates {key.rpartition(':')[2]}"),)
    yield _finding(unit, use, what, _USE, trace, Severity.ERROR if surely and near else Severity.WARNING)


def _allocated(unit: Unit, at: ir.Expr) -> tuple[Step, ...]:
    return tuple(unit.step(found.call.line, f"{found.name}() allocates it") for found in unit.allocations
                 if found.call.target == at)[:1]


def _finding(unit: Unit, use: Given, what: str, advice: str, trace: tuple[Step, ...], severity: Severity) -> Finding:
    callee = show(use.call.callee)
    who = f"{callee}() gives it to {use.need.name}(), which" if use.through else f"{callee}()"
    last = unit.step(use.call.line, f"{callee}() needs it physically contiguous")
    return unit.finding(RULE, use.call, f"{what}, but {who} {use.need.why}; {advice}", (*trace, last), severity)
