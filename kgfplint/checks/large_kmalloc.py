"""KGF505: kmalloc() asked for several pages, which must lie side by side."""

from collections.abc import Iterator

from kgfplint.allocator import Kernel
from kgfplint.allocator.sizes import show_bytes
from kgfplint.checks import Rule
from kgfplint.checks.outside import outside
from kgfplint.checks.requests import Request, machine_of, requests
from kgfplint.checks.unit import Allocation, Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.findings import Finding, Severity
from kgfplint.taint.exposure import exposure

RULE = Rule(
    code="KGF505",
    name="large-kmalloc",
    severity=Severity.NOTE,
    guide="Selecting memory allocator",
    summary="kmalloc() is for less than a page; kvmalloc() gives more, also where free memory is scattered.",
)
_TRIES = ("__GFP_NORETRY", "__GFP_NOWARN", "__GFP_DMA", "__GFP_DMA32", "__GFP_NOFAIL")
"""Bits of those who know what they do: they have a fallback, or need such memory."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each request for several pages, or as many as somebody outside of the kernel likes, that kvmalloc() may serve."""
    suited = {id(one.call) for one in unit.allocations if _twin(unit, one) and _may_move(unit, one)}
    if not suited:
        return
    machine = machine_of(unit)
    for request in requests(unit):
        if id(request.allocation.call) not in suited or not machine.page_size < request.size.low <= machine.kmalloc_max_size:
            continue
        if request.hangs_on_structs and unit.provenance is None:
            unit.questions.append(Question((), ()))  # see KGF504
        elif request.hangs_on_structs == (unit.provenance is not None):
            yield _constant(unit, request, machine)
    if unit.provenance is None:
        yield from _from_outside(unit, suited, machine)


def _from_outside(unit: Unit, suited: set[int], machine: Kernel) -> Iterator[Finding]:
    """Report each request that is as large as somebody outside likes, below what kmalloc() ever gives (above: see KGF511)."""
    costly = machine.page_size << machine.costly_order
    for asked in outside(unit):
        origin = asked.bytes.origin
        if origin is not None and id(asked.allocation.call) in suited and costly < asked.bytes.high <= machine.kmalloc_max_size:
            what = f"may be asked for {show_bytes(asked.bytes.high)} by {origin.kind.title}: so many pages side by side"
            yield _finding(unit, asked.allocation, what)


def _constant(unit: Unit, request: Request, machine: Kernel) -> Finding:
    asked = request.size.low
    order = machine.order(asked)
    costly = order > machine.costly_order and request.size.exact is not None and _is_local(unit, request.allocation)
    what = f"of {show_bytes(asked)} needs {1 << order} pages side by side, which"
    return _finding(unit, request.allocation, what, Severity.WARNING if costly else Severity.NOTE)


def _finding(unit: Unit, allocation: Allocation, what: str, severity: Severity = Severity.NOTE) -> Finding:
    return unit.finding(
        RULE, allocation.call, f"{allocation.name}() {what} may not be found; {_twin(unit, allocation)}() does without, unless a "
        "device needs them contiguous", severity=severity)


def _twin(unit: Unit, allocation: Allocation) -> str:
    """Return the allocator of kvmalloc() memory that is called like one of kmalloc() memory, "" if there is none."""
    twin = unit.meaning.catalogue.allocs.get("kv" + allocation.name.removeprefix("k"))
    own = not allocation.inferred and allocation.alloc.family == "kmalloc" and allocation.alloc.ptr is None
    return twin.name if own and twin is not None and twin.family == "kvmalloc" else ""


def _may_move(unit: Unit, allocation: Allocation) -> bool:
    """Tell whether vmalloc() memory might do: the mask may sleep and is plain, and nothing here needs contiguous memory."""
    masks = unit.meaning.masks
    if masks.may_sleep(allocation.mask) is not True or any(masks.has(allocation.mask, bit) is not False for bit in _TRIES):
        return False
    return not any(name in exposure().contiguous for name in _given_to(unit, allocation))


def _is_local(unit: Unit, allocation: Allocation) -> bool:
    """Tell whether memory is freed here, and given to nobody who may need it contiguous."""
    target = allocation.call.target
    if not isinstance(target, ir.Name) or target.id not in unit.locals:
        return False
    names = set(_given_to(unit, allocation))
    return any(unit.meaning.frees(unit.file, name) for name in names) and names <= exposure().careless


def _given_to(unit: Unit, allocation: Allocation) -> Iterator[str]:
    """Yield the names of what is given the memory, "" for what has none or where it is stored."""
    target = allocation.call.target
    for event in unit.events():
        if isinstance(event, ir.Call) and any(bare(arg) == target for arg in event.args):
            yield event.callee.id if isinstance(event.callee, ir.Name) else ""
        elif isinstance(event, ir.Assign | ir.Return) and event.value is not None and bare(event.value) == target:
            yield ""
