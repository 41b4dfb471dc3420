"""What assignments and calls may change of what is tracked: lvalues, and facts about tested values."""

from collections.abc import Collection, Iterable, Mapping

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, root
from kgfplint.ownership.conditions import asks
from kgfplint.ownership.ops import Forget
from kgfplint.ownership.tracked import Numbered
from kgfplint.program.meaning import Meaning
from kgfplint.program.types import Typing

_VALUES = frozenset({ir.Number, ir.Text, ir.CallResult, ir.SizeOf, ir.Binary, ir.Unary, ir.TypeName})
"""Arguments that start from no variable: nothing of ours can be reached through them."""


class Effects:
    """The effects of the events of one function."""

    def __init__(self, lvalues: Iterable[ir.Expr], facts: Iterable[ir.Expr], file: int, meaning: Meaning,
                 names: Mapping[str, str], typing: Typing) -> None:
        """`names` tells locals and parameters from globals."""
        self._lvalues = Numbered(lvalues)
        self._facts = Numbered(facts)
        self._file = file
        self._meaning = meaning
        self._typing = typing
        self._shared = [n for n, lvalue in enumerate(self._lvalues.exprs) if root(lvalue) not in names]
        self._questions = {n for n, fact in enumerate(self._facts.exprs) if type(fact) is ir.CallResult}

    def of_assignment(self, target: ir.Expr, but: int = -1, assigned: int = -1) -> Forget | None:
        """Everything that mentions an assigned variable changes with it; a stored field changes what is below it."""
        lvalues = tuple(n for n in self._lvalues.having(target) if n != but)
        facts = tuple(self._facts.having(target))
        return Forget(lvalues, facts, assigned) if lvalues or facts else None

    def of_call(self, event: ir.Call, name: str, freed: Collection[int]) -> Forget | None:
        """What a callee may change but for what it frees: what it is given the address of or can reach, globals.

        What was tested stays as it was unless its own address is given away: flags and modes seldom change
        below a caller that asks twice, and where they do, a path is missed, not invented.
        """
        if not event.block_macro and self._is_harmless(name):
            return None
        targets = set[int]() if event.block_macro else set(self._shared)
        facts: set[int] = set()
        lent = self._lent(name)
        for place, arg in enumerate(event.args):
            if type(arg) not in _VALUES:
                self._add(bare(arg), name, event.block_macro, targets if place != lent else set(), facts)
        targets.difference_update(freed)
        return Forget(tuple(sorted(targets)), tuple(sorted(facts))) if targets or facts else None

    def _lent(self, name: str) -> int:
        """Return the place of the argument that a callee only needs for the call: the pointers in it stay what they are."""
        verdict = self._meaning.catalogue.verdicts.get(name)
        return verdict.ptr if verdict is not None and verdict.action == "lend" else -1

    def _add(self, arg: ir.Expr, name: str, is_block: bool, targets: set[int], facts: set[int]) -> None:
        """Add what may change through one argument."""
        variable = root(arg)
        lvalues, known = self._lvalues.naming(variable), self._facts.naming(variable)
        if not lvalues and not known:
            return
        address = type(arg) is ir.AddressOf
        changed = arg.base if type(arg) is ir.AddressOf else arg
        whole = is_block or (address and type(changed) is ir.Name)
        if whole or (address and self._reaches_out(name, changed)):
            if address and type(changed) is not ir.Name:
                exprs = self._lvalues.exprs
                targets.update(n for n in lvalues if type(exprs[n]) is not ir.Name)
            else:
                targets.update(lvalues)
                facts.update(known)
        else:
            targets.update(self._lvalues.having(changed) if address else self._lvalues.behind(changed))
        if address:
            facts.update(n for n in self._facts.having(changed) if n not in self._questions)

    def _is_harmless(self, name: str) -> bool:
        """A function that the catalogue knows, or whose name asks a question, changes nothing that is tracked."""
        known = self._meaning.catalogue
        return (name in known.primitives or (name in known.verdicts and known.verdicts[name].action not in ("use", "lend"))
                or asks(name))

    def _reaches_out(self, name: str, member: ir.Expr) -> bool:
        """Tell whether a function that is given a member's address may find its way to the rest of the struct.

        Only one of a .c file does, if that file sees the struct.
        """
        if not name:
            return True
        targets = self._meaning.definition(self._file, name)
        if not targets.source or type(member) is not ir.Field:
            return targets.source
        types, rows = self._meaning.program.types, self._meaning.program.rows
        record = types.record(self._file, self._typing.tag(member.base), member.member)
        return record is None or any(types.sees(rows[target].file, record.file) for target in targets.functions)
