"""What a function does with the pointers it is given before, or without, comparing them with anything."""

import functools
import re
from collections.abc import Callable, Collection, Iterable

from kgfplint.catalogue import Catalogue
from kgfplint.facts import ir
from kgfplint.facts.terms import bare

_WORD = re.compile(r"[A-Za-z_]\w*")


def uses(body: ir.Body, name: str, catalogue: Catalogue) -> bool:
    """Tell whether a parameter is dereferenced on every way through a function before anything else is done with it."""
    known: dict[int, bool] = {}

    def used(number: int) -> bool:
        if number not in known:
            known[number] = True  # a way round is no way out
            block = body.blocks[number]
            found = next((seen for event in block.events if (seen := _touch(event, name, catalogue))), 0)
            if found:
                known[number] = found > 0
            elif any(edge.condition is not None and (seen := _mention(edge.condition, name)) for edge in block.edges):
                known[number] = any(edge.condition is not None and _mention(edge.condition, name) > 0 for edge in block.edges)
            else:
                known[number] = bool(block.edges) and len(known) < _MOST_BLOCKS and all(used(edge.to) for edge in block.edges)
        return known[number]

    return bool(body.blocks) and used(0)


_MOST_BLOCKS = 60


def _touch(event: ir.Event, name: str, catalogue: Catalogue) -> int:
    """Return 1 for an event that dereferences a variable, -1 for one that does anything else with it, 0 for others."""
    exprs: tuple[ir.Expr | None, ...] = ()
    if type(event) is ir.Call:
        verdict = catalogue.verdicts.get(event.callee.id) if type(event.callee) is ir.Name else None
        place = verdict.ptr if verdict is not None and verdict.action == "use" else len(event.args)
        if any(_mention(arg, name) for arg in event.args[place : place + 1]):
            return 1
        exprs = (event.callee, *event.args, event.target)
    elif type(event) is ir.Assign:
        exprs = (event.value, event.target)
    elif type(event) is ir.Return or type(event) is ir.Evaluate:
        exprs = (event.value,)
    seen = [mention for expr in exprs if expr is not None and (mention := _mention(expr, name))]
    return (1 if max(seen) > 0 else -1) if seen else 0


def _mention(expr: ir.Expr, name: str) -> int:
    """Return 1 if an expression dereferences a variable for sure, -1 if it only mentions it, 0 if it does not."""
    parts: Callable[[ir.Expr], int] = functools.partial(_mention, name=name)
    if type(expr) is ir.Name:
        return -1 if expr.id == name else 0
    if type(expr) is ir.Deref or type(expr) is ir.Field:
        through = type(expr) is ir.Deref or (type(expr) is ir.Field and expr.arrow)
        return 1 if through and bare(expr.base) == ir.Name(name) else parts(expr.base)
    if type(expr) is ir.AddressOf:
        return -abs(parts(expr.base))
    if type(expr) is ir.Cast or type(expr) is ir.Unary:
        return parts(expr.operand)
    if type(expr) is ir.Binary:
        left, right = parts(expr.left), parts(expr.right)
        if expr.op in ("&&", "||"):
            return left or -abs(right)
        return max(left, right) or min(left, right)
    if type(expr) is ir.Index:
        return parts(expr.base) or parts(expr.index)
    if type(expr) is ir.CallResult:
        return -1 if any(parts(arg) for arg in expr.args) else 0
    return -1 if type(expr) is ir.Conditional and any(map(parts, (expr.condition, expr.then, expr.other))) else 0


def names_of(body: ir.Body, name: str) -> set[str]:
    """Return a parameter and the variables that are set to it, or to an address within what it leads to, somewhere."""
    copies = [(bare(event.target), _source(event.value)) for block in body.blocks for event in block.events
              if type(event) is ir.Assign and type(bare(event.target)) is ir.Name]
    names, size = {name}, 0
    while size != len(names):
        size = len(names)
        names.update(target.id for target, source in copies if type(target) is ir.Name and source in names)
    return names


def _source(value: ir.Expr) -> str:
    """Return the variable that a pointer or an address starts from, "" for other values."""
    value = bare(value)
    if type(value) is ir.Binary and value.op in ("+", "-"):
        value = bare(value.left)
    if type(value) is ir.AddressOf:
        place = bare(value.base)
        while (type(place) is ir.Field and not place.arrow) or type(place) is ir.Index:
            place = bare(place.base)
        value = bare(place.base) if type(place) is ir.Field else value
    return value.id if type(value) is ir.Name else ""


def touches(body: ir.Body, names: Iterable[str], catalogue: Catalogue) -> bool:
    """Tell whether a function dereferences one of some variables anywhere."""
    return any(_touch(event, name, catalogue) > 0 for name in names for block in body.blocks for event in block.events) or any(
        edge.condition is not None and _mention(edge.condition, name) > 0
        for name in names for block in body.blocks for edge in block.edges)


def asks(body: ir.Body, names: Collection[str], catalogue: Catalogue) -> bool:
    """Tell whether a function may find out that one of some variables is NULL or an error pointer: it compares it, or what
    is written in capitals or not understood may do so.
    """
    judge = _Judge(names, catalogue)
    for block in body.blocks:
        if any(edge.condition is not None and judge.of(edge.condition, True) for edge in block.edges):
            return True
        if any(map(judge.of_event, block.events)):
            return True
    return False


class _Judge:
    """Tells of expressions whether they test one of some variables."""

    def __init__(self, names: Collection[str], catalogue: Catalogue) -> None:
        self._names = frozenset(names)
        self._catalogue = catalogue

    def of_event(self, event: ir.Event) -> bool:
        """Tell whether an event may test a variable."""
        if type(event) is ir.Call:
            return self.of_call(event.callee, event.args, event.block_macro)
        value = event.value if type(event) is ir.Assign or type(event) is ir.Evaluate or type(event) is ir.Return else None
        return value is not None and self.of(value, False)

    def of_call(self, callee: ir.Expr, args: Iterable[ir.Expr], asserts: bool = False) -> bool:
        """Tell whether a call may test what it is given; what a function does that is not known for that is another matter."""
        name = callee.id if type(callee) is ir.Name else ""
        verdict = self._catalogue.verdicts.get(name)
        judges = asserts or (verdict.action in ("test", "error") if verdict is not None else name.isupper())
        return any(self.of(arg, judges) for arg in args)

    def of(self, expr: ir.Expr, judged: bool) -> bool:
        """Tell whether evaluating an expression, `judged` for being 0 or not, tests a variable."""
        if type(expr) is ir.Name:
            return judged and expr.id in self._names
        if type(expr) is ir.Cast:
            return self.of(expr.operand, judged)
        if type(expr) is ir.Unary:
            return self.of(expr.operand, expr.op == "!")
        if type(expr) is ir.Binary:
            compares = expr.op in ("==", "!=", "&&", "||")
            return self.of(expr.left, compares) or self.of(expr.right, compares)
        if type(expr) is ir.Conditional:
            return self.of(expr.condition, True) or self.of(expr.then, judged) or self.of(expr.other, judged)
        if type(expr) is ir.CallResult:
            return self.of_call(expr.callee, expr.args)
        if type(expr) is ir.Unknown:
            return not self._names.isdisjoint(_WORD.findall(expr.text))
        if type(expr) is ir.Index:
            return self.of(expr.base, False) or self.of(expr.index, False)
        if type(expr) is ir.Field or type(expr) is ir.Deref:
            return self.of(expr.base, False)
        return type(expr) is ir.Initialiser and any(self.of(value, False) for _, value in expr.items)
