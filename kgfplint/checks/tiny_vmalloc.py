"""KGF514: vmalloc for what fits in a page."""

from collections.abc import Iterator

from kgfplint.allocator.kernels import small_twin
from kgfplint.allocator.sizes import show_bytes
from kgfplint.checks import Rule
from kgfplint.checks.requests import machine_of, requests
from kgfplint.checks.unit import Question, Unit
from kgfplint.findings import Finding, Severity

RULE = Rule(
    code="KGF514",
    name="tiny-vmalloc",
    severity=Severity.NOTE,
    guide="Selecting memory allocator",
    summary="vmalloc is for large areas; what fits in a page comes from kmalloc.",
)
_NEAR = 4
"""An estimate is not so many times too large."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each vmalloc of at most a page, whatever the configuration."""
    if not any(small_twin(name) for name in unit.callees):
        return
    page = machine_of(unit).page_size
    for request in requests(unit):
        name, high = request.allocation.name, request.size.high
        twin = small_twin(name)
        estimate = request.hangs_on_structs and unit.provenance is None
        if not twin or high is None or not 0 < high <= page * (_NEAR if estimate else 1):
            continue
        if estimate:
            unit.questions.append(Question((), ()))  # structs change unseen: each run asks anew
        elif unit.provenance is not None or not request.hangs_on_structs:
            most = "" if request.size.exact is not None else "at most "
            yield unit.finding(
                RULE, request.allocation.call,
                f"{name}() of {most}{show_bytes(high)} takes a page of {show_bytes(page)}, a guard page and page tables, and may "
                f"sleep whatever its mask; use {twin}() and free the memory with kfree()")
