"""Which memory evaluating an expression reads or writes: that behind tracked lvalues."""

from collections.abc import Iterable, Sequence

from kgfplint.catalogue import Catalogue
from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.ownership.addresses import Addresses

_PLAIN = frozenset({"", "offsetof", "container_of"})
"""Without a call, or by these, an address is only calculated."""


class Accesses:
    """Finds the lvalues, of some, whose target memory is accessed."""

    def __init__(self, lvalues: Iterable[tuple[ir.Expr, int]], addresses: Addresses) -> None:
        """`lvalues` are those to look for with their numbers."""
        # Most are plain names: to look them up by their text takes a fraction of hashing an expression.
        self._names: dict[str, int] = {}
        self._others: dict[ir.Expr, int] = {}
        self._addresses = addresses
        for lvalue, number in lvalues:
            if type(lvalue) is ir.Name:
                self._names[lvalue.id] = number
            else:
                self._others[lvalue] = number

    def __bool__(self) -> bool:
        """Tell whether there is anything to look for."""
        return bool(self._names or self._others)

    def of(self, expr: ir.Expr, callee: str = "") -> list[int]:
        """Return the numbers for an expression, perhaps an argument of `callee`, from the outside in."""
        found: list[int] = []
        if type(expr) is not ir.AddressOf or callee in _PLAIN or callee.isupper():
            self._collect(expr, found)
        else:
            self._collect(expr.base, found)
            if found and self._addresses.is_start(expr.base):
                return []
        return found

    def _collect(self, expr: ir.Expr, found: list[int]) -> None:
        while True:
            if type(expr) is ir.Name or type(expr) is ir.Number:
                return
            if type(expr) is ir.Field:
                if expr.arrow:
                    self._note(expr.base, found)
                expr = expr.base
            elif type(expr) is ir.Deref:
                self._note(expr.base, found)
                expr = expr.base
            elif type(expr) is ir.Index:
                self._note(expr.base, found)
                self._collect(expr.base, found)
                expr = expr.index
            elif type(expr) is ir.Cast or type(expr) is ir.Unary:
                expr = expr.operand
            elif type(expr) is ir.AddressOf:
                expr = _calculated(expr.base)
            elif type(expr) is ir.Binary:
                self._collect(expr.left, found)
                if expr.op == "&&" or expr.op == "||":
                    return
                expr = expr.right
            else:
                return

    def _note(self, pointer: ir.Expr, found: list[int]) -> None:
        pointer = bare(pointer)
        number = self._names.get(pointer.id) if type(pointer) is ir.Name else self._others.get(pointer)
        if number is not None:
            found.append(number)


def pools_of(catalogue: Catalogue, callee: str, args: Sequence[ir.Expr]) -> list[ir.Expr]:
    """Return the cache or pool that an allocator or deallocator works on, and what an allocator stores its result in."""
    alloc = catalogue.allocs.get(callee)
    known = alloc or catalogue.frees.get(callee)
    places = (known.cache, known.pool, alloc.out if alloc is not None else None) if known is not None else ()
    return [args[place] for place in places if place is not None and place < len(args)]


def _calculated(place: ir.Expr) -> ir.Expr:
    """What must be evaluated for the address of a place: the pointer, not what it leads to."""
    while type(place) is ir.Field and not place.arrow:
        place = place.base
    return place.base if type(place) is ir.Field or type(place) is ir.Index else place
