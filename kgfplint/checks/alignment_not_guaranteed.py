"""KGF508: code that relies on an alignment which kmalloc does not promise for the size."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from kgfplint.allocator import Kernel, buckets
from kgfplint.allocator.sizes import show_bytes
from kgfplint.checks import Rule
from kgfplint.checks.requests import Request, arch_of, machine_of, requests
from kgfplint.checks.sizes import is_constant
from kgfplint.checks.unit import Question, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, show, walk
from kgfplint.facts.types import pointee, tag_of
from kgfplint.findings import Finding, Severity
from kgfplint.program.constants import constants_of
from kgfplint.program.layouts import layouts_of
from kgfplint.source.layouts import Range

RULE = Rule(
    code="KGF508",
    name="alignment-not-guaranteed",
    severity=Severity.WARNING,
    guide="Selecting memory allocator",
    summary="kmalloc aligns to ARCH_KMALLOC_MINALIGN, and by the size where that is a power of two; more must be asked for.",
)
_TESTS = frozenset({"IS_ALIGNED", "PTR_IS_ALIGNED"})
"""Macros that tell whether an address is aligned (include/linux/align.h)."""
_MENDS = frozenset({"PTR_ALIGN", "ALIGN", "PTR_ALIGN_DOWN", "round_up", "roundup"})
"""What moves an address up to where it is aligned (include/linux/align.h, math.h)."""


def check(unit: Unit) -> Iterator[Finding]:
    """Report each allocation whose address must be aligned to more than its size promises."""
    if not unit.allocates or unit.row.flags & ir.MACRO:
        return
    yield from _by_type(unit)
    wanted = dict(_wanted(unit)) if _asks(unit) else {}
    for request in requests(unit) if wanted else ():
        target = request.allocation.call.target
        alloc = request.allocation.alloc
        if target not in wanted or not alloc.slab_backed or alloc.cache is not None or alloc.managed:
            continue
        if request.hangs_on_structs and unit.provenance is None:
            unit.questions.append(Question((), ()))  # structs change unseen: each run asks anew
            continue
        align, line = wanted[target]
        least = _promised(machine_of(unit), request.size)
        if least < align:
            yield _finding(unit, request, align, least, line)


def _by_type(unit: Unit) -> Iterator[Finding]:
    """Yield the allocations of objects whose type asks for an alignment (__aligned) that their size does not promise."""
    for request in requests(unit):
        target, alloc = request.allocation.call.target, request.allocation.alloc
        if target is None or request.size.exact is not None or not alloc.slab_backed or alloc.cache is not None:
            continue
        item = pointee(unit.typing.expanded(bare(target))) or ""
        tag = tag_of(item) if not item.endswith(("*", "]")) else ""
        record = unit.program.types.record(unit.file, tag) if tag else None
        if record is None or tag not in _aligned_in(unit, record.file):
            continue
        if unit.provenance is None:
            unit.questions.append(Question((), ()))  # structs change unseen: each run asks anew
            continue
        align = layouts_of(unit.program, arch_of(unit.path)).alignof(unit.file, f"struct {tag}")
        least = _promised(machine_of(unit), request.size)
        if align is not None and align.low > least:
            name, machine = request.allocation.name, machine_of(unit)
            yield unit.finding(
                RULE, request.allocation.call, f"struct {tag} is aligned to {show_bytes(align.low)}, but {name}() of a size that "
                f"only run time knows promises only {show_bytes(least)} on {machine.arch}; round the size up to a power of two, "
                f"or use a kmem_cache", severity=Severity.NOTE)


_ALIGNED = re.compile(
    rb"^struct\s+(\w+)\s*\{(?:(?!^struct\s+\w+\s*\{).)*?\b__aligned\s*\(", re.MULTILINE | re.DOTALL)


@lru_cache(maxsize=256)
def _aligned_tags(path: Path) -> frozenset[str]:
    try:
        text = path.read_bytes()
    except OSError:
        return frozenset()
    return frozenset(tag.decode() for tag in _ALIGNED.findall(text)) if b"__aligned" in text else frozenset()


def _aligned_in(unit: Unit, file: int) -> frozenset[str]:
    """Return the tags of structs of a file that, or members of which, may ask for an alignment."""
    files = unit.program.files
    return _aligned_tags(files.place(unit.program.paths[file])) if files is not None else frozenset()


def _asks(unit: Unit) -> bool:
    """Tell whether a condition looks at how an address is aligned, and nothing aligns it."""
    if unit.callees & _MENDS:
        return False
    return bool(unit.callees & _TESTS) or any(
        type(term) is ir.Binary and term.op == "&" and type(term.left) is ir.Cast
        for block in unit.body.blocks for edge in block.edges if edge.condition is not None for term in walk(edge.condition))


def _wanted(unit: Unit) -> Iterator[tuple[ir.Expr, tuple[int, int]]]:
    """Yield pointers that are tested, with the alignment in bytes and the line."""
    for call in unit.calls:
        if type(call.callee) is ir.Name and call.callee.id in _TESTS and len(call.args) == 2:
            align = _constant(unit, call.args[1])
            if align:
                yield bare(call.args[0]), (align, call.line)
    for block in unit.body.blocks:
        for edge in block.edges:
            for term in walk(edge.condition) if edge.condition is not None else ():
                if type(term) is ir.Binary and term.op == "&" and type(term.left) is ir.Cast:
                    mask = _constant(unit, term.right)
                    if mask and mask & (mask + 1) == 0:
                        yield bare(term.left), (mask + 1, block.line)



def _constant(unit: Unit, expr: ir.Expr) -> int | None:
    if any(type(term) is ir.SizeOf for term in walk(expr)) or not is_constant(unit, expr):
        return None
    return constants_of(unit.program).value(unit.file, expr)


def _promised(machine: Kernel, size: Range) -> int:
    """Return the alignment that every size of a range has; where it is not known, any size may come."""
    if size.exact is not None:
        return buckets.alignment(machine, size.exact) if size.exact else 1 << 62
    least = max(machine.minalign, machine.slab_minalign)
    return machine.page_size if size.low > machine.kmalloc_max_cache_size else least


def _finding(unit: Unit, request: Request, align: int, least: int, line: int) -> Finding:
    name, target = request.allocation.name, request.allocation.call.target
    assert target is not None
    asked = show_bytes(request.size.exact) if request.size.exact is not None else "a size that only run time knows"
    machine = machine_of(unit)
    version = ".".join(map(str, machine.version)) if machine.version else "the newest kernel"
    message = (f"{show(target)} must be aligned to {show_bytes(align)} (line {line}), but {name}() of {asked} promises only "
               f"{show_bytes(least)} in {version} on {machine.arch}; "
               f"ask for a power of two, or make a kmem_cache with that alignment")
    return unit.finding(RULE, request.allocation.call, message, (unit.step(line, f"{show(target)} is required to be aligned"),))
