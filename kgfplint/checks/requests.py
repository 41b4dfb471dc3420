"""How many bytes each allocation of a function asks for, as a range, on the architecture that its file is for."""

from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from kgfplint.allocator import Kernel, kernel
from kgfplint.allocator.sizes import FUNCTIONS, size, times
from kgfplint.checks.sizes import type_of
from kgfplint.checks.unit import Allocation, Unit
from kgfplint.facts import ir
from kgfplint.facts.terms import walk
from kgfplint.program.constants import constants_of
from kgfplint.program.estimates import estimates_of
from kgfplint.program.layouts import ProgramLayouts, layouts_of
from kgfplint.source.layouts import Range, abi_names, abi_of

USUAL = "x86_64"
"""The architecture of files that are for all."""
_HIGHEST = {
    **dict.fromkeys(("u8", "__u8", "uint8_t", "unsigned char"), (1 << 8) - 1),
    **dict.fromkeys(("u16", "__u16", "uint16_t", "unsigned short", "__le16", "__be16"), (1 << 16) - 1),
    **dict.fromkeys(("bool", "_Bool"), 1),
}


class Request(NamedTuple):
    """An allocation with the bytes that it asks for; `hangs_on_structs`: they follow from structs of the program.

    Such a size is an estimate until the function is looked at again with the whole program known: to lay out every
    struct that is allocated anywhere takes as long as all other rules together.
    """

    allocation: Allocation
    size: Range
    hangs_on_structs: bool


def arch_of(path: str) -> str:
    """Return the architecture that a tree-relative path is for; where there are several, the one with the wider pointers."""
    return next((name for name in abi_names() if path.startswith(abi_of(name).folder)), USUAL)


@lru_cache(maxsize=64)
def _machine(arch: str, version: tuple[int, int] | None) -> Kernel:
    return kernel(arch, version)


def machine_of(unit: Unit) -> Kernel:
    """Return the kernel that a function is judged by."""
    return _machine(arch_of(unit.path), unit.meaning.catalogue.version)


@lru_cache(maxsize=1)
def requests(unit: Unit) -> tuple[Request, ...]:
    """Return what the allocations of a function ask for; wrappers, whose sizes mean what they like, are left out."""
    return tuple(_request(unit, allocation) for allocation in unit.allocations if not allocation.inferred)


def _request(unit: Unit, allocation: Allocation) -> Request:
    known = Measured(unit)
    alloc = allocation.alloc
    parts = [allocation.argument(place) for place in ((alloc.size,) if alloc.size is not None else (alloc.count, alloc.element))]
    given = [part for part in parts if part is not None]
    if not given or len(given) < len(parts) or alloc.length is not None or alloc.type is not None:
        return Request(allocation, Range(0, None), False)
    found = size(given[0], known)
    for part in given[1:]:
        found = times(found, size(part, known))
    return Request(allocation, found, known.structs)


@lru_cache(maxsize=1)
def _given_to_macros(unit: Unit) -> frozenset[str]:
    """Return the variables that are handed, as they are, to what is a macro or may be one: it may assign to them."""
    return frozenset(arg.id for call in unit.calls if call.block_macro or _may_assign(unit, call.callee)
                     for arg in call.args if isinstance(arg, ir.Name))


def _may_assign(unit: Unit, callee: ir.Expr) -> bool:
    """Tell whether a call may be of a macro; what is a function anywhere (memcpy) assigns to no argument."""
    name, program = callee.id if isinstance(callee, ir.Name) else "", unit.program
    if not name or name in FUNCTIONS or name in unit.meaning.catalogue.described or name in program.types.returns:
        return False
    known = program.defined.get(name, ())
    return not known or all(program.rows[number].flags & ir.MACRO for number in known)


class Measured:
    """What a function knows of the names in its expressions; `structs`: some size followed from a struct of the program."""

    def __init__(self, unit: Unit) -> None:
        """See the names as one function does."""
        self._unit = unit
        self._constants = constants_of(unit.program)
        self._layouts: ProgramLayouts = layouts_of(unit.program, arch_of(unit.path))
        self.structs = False

    def value(self, expr: ir.Expr) -> int | None:
        """Return the value of a constant without sizes: those are of one machine only there."""
        if isinstance(expr, ir.Name) and expr.id in self._unit.types:
            return None
        if any(isinstance(term, ir.SizeOf) for term in walk(expr)):
            return None
        return self._constants.value(self._unit.file, expr)

    def sizeof(self, term: ir.SizeOf) -> Range | None:
        """Return the bytes of a type, or of the type of an operand."""
        ctype = type_of(self._unit, term)
        if not ctype:
            return None
        scalar = self._layouts.abi.scalar(ctype)
        if scalar is not None:
            return Range(scalar[0], scalar[0])
        self.structs = self.structs or not ctype.endswith("*")
        if self.structs and self._unit.provenance is None:
            about = estimates_of(self._unit.program).of(self._unit.file, ctype)
            return Range(about, about)
        return self._layouts.sizeof(self._unit.file, ctype)

    def offset(self, ctype: str, path: str) -> Range | None:
        """Return the offset of a member."""
        self.structs = True
        return self._layouts.offsetof(self._unit.file, ctype, path)

    def values(self, expr: ir.Expr) -> Iterable[ir.Expr | None]:
        """Return all that is assigned to a local, nothing where a macro may assign to it."""
        if not isinstance(expr, ir.Name) or expr.id in _given_to_macros(self._unit):
            return ()
        return self._unit.values.get(expr.id, ())

    def limits(self, expr: ir.Expr) -> Range:
        """Return what the type of an expression holds."""
        return Range(0, _HIGHEST.get(self._unit.typing.of(expr)))
