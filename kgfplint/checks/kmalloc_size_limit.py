"""KGF504: kmalloc asked for more than it ever gives."""

from collections.abc import Iterator

from kgfplint.allocator import Kernel
from kgfplint.allocator.sizes import show_bytes
from kgfplint.catalogue import Alloc
from kgfplint.checks import Rule
from kgfplint.checks.requests import Request, machine_of, requests
from kgfplint.checks.unit import Question, Unit
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF504",
    name="kmalloc-size-limit",
    severity=Severity.WARNING,
    guide="Selecting memory allocator",
    summary="kmalloc is not asked for more than KMALLOC_MAX_SIZE: such a request always fails.",
)
_PROVEN = 16 << 20
"""No architecture gives so much with pages of its usual size."""
_NEAR = 256
"""A struct does not grow to so many times its size from one kernel to the next."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each request that is larger than the limit, whatever the configuration."""
    if not any(_limited(allocation.alloc) for allocation in unit.allocations):
        return
    machine = machine_of(unit)
    for request in requests(unit):
        if not _limited(request.allocation.alloc):
            continue
        if request.hangs_on_structs and unit.provenance is None:
            if request.size.low * _NEAR > machine.kmalloc_max_size:
                unit.questions.append(Question((), ()))  # structs change unseen: each run asks anew
        elif request.size.low > machine.kmalloc_max_size and (unit.provenance is not None or not request.hangs_on_structs):
            yield _finding(unit, request, machine)


def _limited(alloc: Alloc) -> bool:
    """Tell whether an allocator hands out objects of kmalloc and nothing else."""
    return alloc.slab_backed and alloc.cache is None and alloc.pool is None


def _finding(unit: Unit, request: Request, machine: Kernel) -> Finding:
    name, asked = request.allocation.name, request.size.low
    proven = asked > _PROVEN
    where = "" if proven else f" on {machine.arch} with pages of {machine.page_size} bytes"
    least = "" if request.size.exact is not None else "at least "
    limit = show_bytes(machine.kmalloc_max_size)
    reader = "kvmalloc() or vmalloc() if it need not be physically contiguous, else dma_alloc_coherent() or less memory"
    return unit.finding(
        RULE, request.allocation.call,
        f"{name}() of {least}{show_bytes(asked)} always fails{where}: KMALLOC_MAX_SIZE is {limit}; use {reader}",
        severity=Severity.ERROR if proven else Severity.WARNING,
    )
