"""What events do with the memory that a function allocates: who else may know of it after them."""

from collections.abc import Collection, Iterator, Mapping

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root
from kgfplint.ownership.addresses import Addresses
from kgfplint.ownership.aliases import Aliases, aliases_of
from kgfplint.ownership.carrying import LVALUES, carried
from kgfplint.ownership.fates import Fates, known_fate
from kgfplint.ownership.ops import Give, Handed, Regain
from kgfplint.ownership.undoing import undoing_of
from kgfplint.program.meaning import Meaning

_PLAIN = frozenset({ir.Number, ir.Text, ir.SizeOf, ir.TypeName})
AWAY, NEARBY = -1, -2
"""Where pointers go that somebody else knows from then on; those in a struct on the stack: who is given that may know."""
_STORED = -3
_MOST_STORED = 900
"""Numbers from _STORED down stand for stores to lvalues that others can reach, as long as nothing else is stored there."""


def stored_in(lvalue: int) -> int:
    """Return where a pointer goes that is stored to an lvalue, by its number, which others can reach."""
    return _STORED - lvalue if lvalue < _MOST_STORED else AWAY


def is_away(whom: Collection[int]) -> bool:
    """Tell whether somebody else, no call, surely knows of memory."""
    return any(number == AWAY or _STORED - _MOST_STORED < number <= _STORED for number in whom)


def holder_of(lvalue: ir.Expr, elements: bool = False) -> ir.Expr | None:
    """Return the pointer to what a member lies in: `p` of `p->a.b`, None for anything else; `elements`: p of `p->a[i].b`, too."""
    while (type(lvalue) is ir.Field and not lvalue.arrow) or (elements and type(lvalue) is ir.Index):
        lvalue = bare(lvalue.base)
    return bare(lvalue.base) if type(lvalue) is ir.Field else None


class Handing:
    """Reads the events of one function; false when there is nothing to look for."""

    def __init__(self, body: ir.Body, lvalues: Mapping[ir.Expr, int], made: Collection[int], addresses: Addresses,
                 meaning: Meaning) -> None:
        """`made` are the numbers of those lvalues that may point to memory allocated in this function."""
        self.lvalues = frozenset(made)
        self.handed: list[Handed] = []
        self.of_event: dict[int, list[int]] = {}
        self._numbers = {lvalue: number for lvalue, number in lvalues.items() if number in made}
        self._members: dict[str, list[int]] = {}
        for lvalue, number in self._numbers.items():
            if type(lvalue) is ir.Field and holder_of(lvalue) is None:
                self._members.setdefault(root(lvalue), []).append(number)
        self._addresses = addresses
        self._meaning = meaning
        self._returns = Fates(meaning.program, meaning.catalogue).returns
        self._undoing = undoing_of(meaning.catalogue)
        self._given_to: dict[tuple[str, ir.Expr], list[int]] = {}
        self.aliases: Aliases = aliases_of(body, self._numbers, addresses, self._returns) if self._numbers else {}

    def __bool__(self) -> bool:
        """Tell whether the function allocates anything that can be lost."""
        return bool(self._numbers)

    def of_call(self, event: ir.Call, freed: Collection[int]) -> Iterator[Give | Regain]:
        """Yield what a call may keep of its arguments, but for the lvalues in `freed`, which it frees; or what it takes back
        that an earlier call was given.
        """
        if event.block_macro:
            return
        for place, arg in enumerate(event.args):
            found = tuple(number for number in self._of(arg) if number not in freed)
            if found and -1 not in freed and (undone := self._undone(event, arg)):
                yield Regain(found, undone)
            elif found and not self._is_hung_on_itself(event, place, found):
                to = self._given(event, place, arg)
                if to is not None:
                    yield Give(found, to)

    def _is_hung_on_itself(self, event: ir.Call, place: int, found: Collection[int]) -> bool:
        """Tell whether a pointer becomes the private data of a device that lies in what it points to."""
        verdict = self._meaning.catalogue.verdicts.get(event.callee.id) if type(event.callee) is ir.Name else None
        return verdict is not None and verdict.action == "attach" and any(
            not set(found).isdisjoint(self._of(arg)) for other, arg in enumerate(event.args) if other != place)

    def _undone(self, event: ir.Call, arg: ir.Expr) -> frozenset[int]:
        """Return the calls, of those that were given the same before, that a call undoes."""
        if type(event.callee) is not ir.Name or not self._given_to or event.callee.id in self._meaning.catalogue.frees:
            return frozenset()
        names = self._undoing.undone_by(event.callee.id)
        calls = (call for name in names for call in self._given_to.get((name, arg), ()))
        return frozenset(number for call in calls for number in self.of_event[call])

    def _given(self, event: ir.Call, place: int, arg: ir.Expr) -> int | None:
        """Return to whom an argument goes: AWAY, or the number of a call that may keep it; None if the call does not."""
        if type(event.callee) is not ir.Name:
            pointer = type(arg) is ir.AddressOf and type(bare(arg.base)) is ir.Name
            return AWAY if pointer else self._hand("", place, event, arg, False)
        name = event.callee.id
        fate = known_fate(self._meaning.catalogue, name, place)
        if fate is not None:
            return AWAY if fate.kept or self._hands_back(event) else None
        if type(arg) is ir.AddressOf and type(bare(arg.base)) is ir.Name:
            return AWAY  # the pointer itself may be changed
        rows = [self._meaning.program.rows[number] for number in self._meaning.program.defined.get(name, ())]
        void = bool(rows) and all(row.returns == "void" for row in rows)
        return self._hand(name, place, event, arg, void)

    def _hands_back(self, event: ir.Call) -> bool:
        """Tell whether a call returns part of what it is given, to a place where others may find it."""
        return event.target is not None and bare(event.target) not in self.aliases and self._returns(event.callee) and (
            self._addresses.is_pointer(event.target))

    def _hand(self, name: str, place: int, event: ir.Call, arg: ir.Expr, void: bool) -> int:
        sized = place + 1 < len(event.args) and type(bare(event.args[place + 1])) is ir.SizeOf
        plain = type(arg) is not ir.AddressOf and (sized or self._addresses.is_buffer(arg) or self._addresses.is_bytes(arg))
        counted = plain and event.target is not None and self._addresses.is_number(event.target)
        result = self._hands_back(event) and not counted
        self.of_event.setdefault(id(event), []).append(len(self.handed))
        self._given_to.setdefault((name, arg), []).append(id(event))
        self.handed.append(Handed(name, place, event.line, result, plain, void))
        return len(self.handed) - 1

    def of_value(self, expr: ir.Expr, to: int = AWAY, target: ir.Expr | None = None) -> Iterator[Give]:
        """Yield what somebody else may know once the value of an expression is stored to a target, or goes who knows where."""
        found = self._of(expr) if target not in self.aliases else []
        if found:
            holder = holder_of(target, elements=True) if target is not None else None
            yield Give(tuple(found), to, self._numbers.get(holder, -1) if holder is not None else -1)

    def of_return(self, value: ir.Expr) -> Iterator[Give]:
        """Yield what the caller may know once a value is returned, but for what a lvalue points to that has a number itself."""
        if type(value) not in LVALUES or value in self.aliases or self._addresses.is_array(value):
            yield from self.of_value(value)

    def _of(self, expr: ir.Expr) -> list[int]:
        if type(expr) in _PLAIN:
            return []
        numbers, found = self._numbers, []
        for term in carried(expr, self._returns):
            if term in numbers:
                found.append(numbers[term])
            elif term in self.aliases:
                found += self.aliases[term]
            elif type(term) is ir.Name and type(bare(expr)) is ir.Name and term.id in self._members:
                found += self._members[term.id]  # a struct is copied with what it holds
            elif type(term) is ir.Field and term.arrow and term.base in numbers and self._addresses.is_array(term):
                found.append(numbers[term.base])  # an array is its address
        return found
