"""What calls are given that we track: who asserts something of it, who takes a reference, who may use it untested."""

import re
from collections.abc import Collection, Iterator, Mapping

from kgfplint.catalogue import Catalogue
from kgfplint.facts import ir
from kgfplint.facts.terms import bare
from kgfplint.ownership.addresses import Addresses
from kgfplint.ownership.fates import known_fate
from kgfplint.ownership.ops import Pass, Show

_HOLDS = re.compile(r"(?:^|_)(?:get|hold|ref|grab|clone|(?:refcount|atomic|atomic_long)_inc)(?:_|$)")


class Passing:
    """Reads the calls of one function."""

    def __init__(self, lvalues: Mapping[ir.Expr, int], live: Collection[int], addresses: Addresses, catalogue: Catalogue) -> None:
        """`live` are the numbers of those `lvalues` that may point to memory allocated or freed here."""
        self._lvalues = lvalues
        self._live = live
        self._addresses = addresses
        self._catalogue = catalogue

    def of_call(self, event: ir.Call, name: str) -> Iterator[Pass | Show]:
        """Yield what a call does that frees nothing."""
        holds = len(event.args) == 1 and bool(_HOLDS.search(name)) and not self._addresses.is_buffer(event.args[0])
        counted = self._addresses.pointer(event.args[0]) if holds else None
        passed = tuple(n for arg in event.args if (n := self._number(counted or arg)) >= 0)
        asserts = name.isupper() and name not in self._catalogue.verdicts
        if passed and (asserts or holds):
            yield Pass(passed, event, asserts, holds)
        elif name and self._live and not event.block_macro:
            for place, arg in enumerate(event.args):
                if asserts and type(arg) is not ir.AddressOf:
                    continue
                number = self._number(self._addresses.pointer(bare(arg)) or arg)
                if number in self._live and known_fate(self._catalogue, name, place) is None:
                    yield Show(number, event, place)

    def _number(self, expr: ir.Expr) -> int:
        return self._lvalues.get(bare(expr), -1)
