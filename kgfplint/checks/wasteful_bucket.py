"""KGF509: a constant size just above one of kmalloc's caches, so that much of the next one is wasted."""

from collections.abc import Iterator

from kgfplint.allocator import Kernel, buckets
from kgfplint.allocator.sizes import show_bytes
from kgfplint.checks import Rule
from kgfplint.checks.requests import Request, machine_of, requests
from kgfplint.checks.unit import Unit
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF509",
    name="wasteful-bucket",
    severity=Severity.NOTE,
    guide="Selecting memory allocator",
    summary="A size just above a power of two takes an object, or pages, of nearly twice as many bytes.",
)
_SHARE = 3
"""One in so many bytes wasted is worth a note."""
_LEAST = 512
"""Bytes wasted that are worth a note."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each request of a constant size that leaves a third of what it takes unused.

    Structs of the program are left alone: their sizes hang on the configuration.
    """
    if not any(allocation.alloc.family == "kmalloc" for allocation in unit.allocations):
        return
    machine = machine_of(unit)
    for request in requests(unit):
        alloc, size = request.allocation.alloc, request.size.exact
        if alloc.family != "kmalloc" or alloc.ptr is not None or request.hangs_on_structs or not size:
            continue
        real = buckets.bucket(machine, size) or machine.page_size << machine.order(size)
        if size <= machine.kmalloc_max_size and real - size >= max(_LEAST, -(-real // _SHARE)):
            yield _finding(unit, request, machine, size, real)


def _finding(unit: Unit, request: Request, machine: Kernel, size: int, real: int) -> Finding:
    if buckets.bucket(machine, size) is None:
        rather = "alloc_pages_exact(), which gives back the pages that are left over"
    else:
        rather = f"a cache of its own (kmem_cache_create()) for many objects of {size} bytes"
    return unit.finding(
        RULE, request.allocation.call,
        f"{request.allocation.name}() of {show_bytes(size)} takes {show_bytes(real)}, {100 * (real - size) // real} % of them "
        f"wasted; make it {show_bytes(real // 2)} or less, or use {rather}")
