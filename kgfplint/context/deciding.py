"""Whether what a chain knows rules a place out: the values of parameters, and what callers found out about their objects."""

from collections.abc import Mapping, Sequence

from kgfplint.catalogue import Catalogue
from kgfplint.context.conditions import Guard, decided, telling_names, words
from kgfplint.context.flow import PRESENT, Site
from kgfplint.context.members import place_of
from kgfplint.context.steps import Known
from kgfplint.facts import ir
from kgfplint.facts.terms import ZERO, root, substitute
from kgfplint.program.constants import constants_of
from kgfplint.program.link import Program, Row

_WORDS: Mapping[str, ir.Expr] = {"NULL": ir.Number(0), "false": ir.Number(0), "true": ir.Number(1), PRESENT.id: ir.Number(1)}


class Deciding:
    """Decides on the conditions of sites."""

    def __init__(self, program: Program, catalogue: Catalogue) -> None:
        """Take the constants of a program."""
        self._enumerators = program.enumerators
        self._globals = program.types.globals
        self._constants = constants_of(program)
        self._tests = catalogue.tests
        self._named = telling_names(catalogue)

    def impossible(self, file: int, guards: Sequence[Guard], values: Mapping[str, ir.Expr]) -> bool:
        """Tell whether conditions rule a site out: they do not hold here, or only where code may sleep, or nobody knows."""
        for condition, truth in decided(guards, values):
            if type(condition) is ir.CallResult and type(condition.callee) is ir.Name and condition.callee.id in self._tests:
                if self._tests[condition.callee.id].sleepable is truth:
                    return True
                continue
            value = self._value(file, condition)
            if value is not None:
                if bool(value) is not truth:
                    return True
            elif (not truth and self._lends(file, condition)) or any(self._named.search(word) for word in words(condition)):
                return True
        return False

    def _lends(self, file: int, condition: ir.Expr) -> bool:
        """Tell whether a condition asks for a static buffer of the file: code that must not allocate brings that along."""
        side = condition.right if type(condition) is ir.Binary and condition.op == "==" else None
        variables = self._globals.get(side.id, ()) if type(side) is ir.Name else ()
        return any(where == file and ctype.endswith("]") for where, ctype in variables)

    def barred(self, file: int, site: Site, known: Known | None) -> bool:
        """Tell whether a site stands under what its caller found to be otherwise."""
        if known is None or not site.members:
            return False
        args = dict(known.args)
        about = ((condition, truth) for condition, truth in site.members if root(place_of(condition) or condition) in args)
        asked = [(substitute(condition, args), truth) for condition, truth in about]
        return any(self._contradict(file, found, guard) for guard in asked for found in known.guards)

    def _contradict(self, file: int, left: Guard, right: Guard) -> bool:
        """Tell whether two conditions on members cannot both hold."""
        if left[0] == right[0]:
            return left[1] is not right[1]
        (first, value, same), (second, other, too) = _read(left), _read(right)
        if first != second or not (same or too):
            return False
        equal = True if value == other else self._value(file, ir.Binary("==", value, other))
        return equal is not None and bool(equal) is not (same and too)

    def _value(self, file: int, condition: ir.Expr) -> int | None:
        """Return the value of a condition, None if it is not known; two enumerators are not equal."""
        value = self._constants.value(file, substitute(condition, _WORDS))
        if value is None and type(condition) is ir.Binary and condition.op == "==":
            sides = condition.left, condition.right
            if all(type(side) is ir.Name and side.id in self._enumerators for side in sides):
                return int(sides[0] == sides[1])
        return value


def known_of(site: Site, row: Row) -> Known | None:
    """Return what a site knows of the objects that it hands to a function."""
    if not site.handed:
        return None
    return Known(site.members, tuple((row.params[place].name, value) for place, value in site.handed if place < len(row.params)))


def _read(guard: Guard) -> tuple[ir.Expr, ir.Expr, bool]:
    """Return (place, value, whether it has that value) of a condition: `p->x` is not 0 where it holds."""
    condition, truth = guard
    if type(condition) is ir.Binary and condition.op == "==":
        return condition.left, condition.right, truth
    return condition, ZERO, not truth
