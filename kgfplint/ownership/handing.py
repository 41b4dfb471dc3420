"""What events do with the memory that a function allocates: who else may know of it after them."""

from collections.abc import Collection, Iterator, Mapping

from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.ownership.addresses import Addresses
from kgfplint.ownership.carrying import carried
from kgfplint.ownership.fates import Fates, known_fate
from kgfplint.ownership.ops import Give, Handed
from kgfplint.program.meaning import Meaning

_PLAIN = frozenset({ir.Number, ir.Text, ir.SizeOf, ir.TypeName})
AWAY, NEARBY = -1, -2
"""Where pointers go that somebody else knows from then on; those in a struct on the stack: who is given that may know."""


class Handing:
    """Reads the events of one function; false when there is nothing to look for."""

    def __init__(self, lvalues: Mapping[ir.Expr, int], made: Collection[int], addresses: Addresses, meaning: Meaning) -> None:
        """`made` are the numbers of those lvalues that may point to memory allocated in this function."""
        self.lvalues = frozenset(made)
        self.handed: list[Handed] = []
        self.of_event: dict[int, list[int]] = {}
        self._numbers = {lvalue: number for lvalue, number in lvalues.items() if number in made}
        self._addresses = addresses
        self._meaning = meaning
        self._returns = Fates(meaning.program, meaning.catalogue).returns

    def __bool__(self) -> bool:
        """Tell whether the function allocates anything that can be lost."""
        return bool(self._numbers)

    def of_call(self, event: ir.Call, freed: Collection[int]) -> Iterator[Give]:
        """Yield what a call may keep of its arguments, but for the lvalues in `freed`, which it frees."""
        if event.block_macro:
            return
        for place, arg in enumerate(event.args):
            found = tuple(number for number in self._of(arg) if number not in freed)
            if found:
                to = self._given(event, place, arg)
                if to is not None:
                    yield Give(found, to)

    def _given(self, event: ir.Call, place: int, arg: ir.Expr) -> int | None:
        """Return to whom an argument goes: AWAY, or the number of a call that may keep it; None if the call does not."""
        if type(event.callee) is not ir.Name:
            pointer = type(arg) is ir.AddressOf and type(bare(arg.base)) is ir.Name
            return AWAY if pointer else self._hand("", place, event, arg, False)
        name = event.callee.id
        fate = known_fate(self._meaning.catalogue, name, place)
        if fate is not None:
            return AWAY if fate.kept else None
        if type(arg) is ir.AddressOf and type(bare(arg.base)) is ir.Name:
            return AWAY  # the pointer itself may be changed
        rows = [self._meaning.program.rows[number] for number in self._meaning.program.defined.get(name, ())]
        void = bool(rows) and all(row.returns == "void" for row in rows)
        return self._hand(name, place, event, arg, void)

    def _hand(self, name: str, place: int, event: ir.Call, arg: ir.Expr, void: bool) -> int:
        sized = place + 1 < len(event.args) and type(bare(event.args[place + 1])) is ir.SizeOf
        result = event.target is not None and self._returns(event.callee) and self._addresses.is_pointer(event.target)
        self.of_event.setdefault(id(event), []).append(len(self.handed))
        plain = type(arg) is not ir.AddressOf and (sized or self._addresses.is_buffer(arg))
        self.handed.append(Handed(name, place, event.line, result, plain, void))
        return len(self.handed) - 1

    def of_value(self, expr: ir.Expr, to: int = AWAY) -> Iterator[Give]:
        """Yield what somebody else may know once the value of an expression is stored or returned."""
        found = self._of(expr)
        if found:
            yield Give(tuple(found), to)

    def _of(self, expr: ir.Expr) -> list[int]:
        if type(expr) in _PLAIN:
            return []
        numbers, found = self._numbers, []
        for term in carried(expr, self._returns):
            if term in numbers:
                found.append(numbers[term])
            elif type(term) is ir.Field and term.arrow and term.base in numbers and self._addresses.is_array(term):
                found.append(numbers[term.base])  # an array is its address
        return found
