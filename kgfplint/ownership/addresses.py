"""What an expression is when it is no allocation: the address of a variable, a literal, the inside of an object."""

from collections.abc import Collection, Container, Iterable, Iterator, Mapping

from kgfplint.catalogue import Alloc, Verdict
from kgfplint.facts import ir
from kgfplint.facts.terms import bare, is_zero
from kgfplint.facts.types import pointee, tag_of
from kgfplint.facts.words import BYTES, ERROR_POINTERS
from kgfplint.program.types import Types, Typing

ADDRESSES = ("local", "static", "string", "interior")
"""Kinds of values that point to something, but not to the start of an allocation."""
_Pair = tuple[ir.Expr, ir.Expr]


class Addresses:
    """Tells the kinds of values in one function."""

    def __init__(self, body: ir.Body, params: frozenset[str], file: int, types: Types, names: Mapping[str, str],
                 typing: Typing) -> None:
        """`names` maps locals and parameters to their types; `params` are the latter; `typing` is that of the function."""
        self._statics = {local.name for local in body.locals if local.storage}
        self._params = params
        self._file = file
        self._types = types
        self._names = names
        self._typing = typing

    def kind(self, value: ir.Expr) -> str:
        """Return "null", "err_ptr", one of ADDRESSES, or "" for a value that is none of these or not known."""
        value = bare(value)
        if is_zero(value):
            return "null"
        if type(value) is ir.CallResult and type(value.callee) is ir.Name and value.callee.id in ERROR_POINTERS:
            return "err_ptr"
        if type(value) is ir.Text:
            return "string"
        if type(value) is ir.AddressOf:
            return self._place(bare(value.base))
        return self._place(value) if self.is_array(value) else ""

    def is_array(self, expr: ir.Expr) -> bool:
        """Tell whether an expression is an array, whose value is its address; parameters are none."""
        if type(expr) is ir.Name:
            return expr.id not in self._params and self._typing.of(expr).endswith("]")
        return type(expr) is ir.Field and self._typing.of(expr).endswith("]")

    def is_static(self, name: str) -> bool:
        """Tell whether a local outlives the call."""
        return name in self._statics

    def is_own_pointer(self, variable: ir.Name) -> bool:
        """Tell whether a variable is a pointer that ends with the call."""
        return variable.id in self._names and not self.is_static(variable.id) and self.is_pointer(variable)

    def is_pointer(self, expr: ir.Expr) -> bool:
        """Tell whether an expression is a pointer, or a number that may hold one, for all that is known."""
        ctype = self._typing.expanded(bare(expr))
        return not ctype or ctype.endswith(("*", "unsigned long"))

    def is_buffer(self, expr: ir.Expr) -> bool:
        """Tell whether a pointer is one to bytes or numbers, not to a struct."""
        target = pointee(self._typing.expanded(bare(expr)))
        return target is not None and not tag_of(target)

    def is_number(self, expr: ir.Expr) -> bool:
        """Tell whether an expression is known to be a number, perhaps one that could hold a pointer."""
        return self._typing.expanded(bare(expr)).endswith("unsigned long")

    @staticmethod
    def is_bytes(expr: ir.Expr) -> bool:
        """Tell whether a pointer goes as one to bytes, whatever it is: `(u8 *)header`."""
        return type(expr) is ir.Cast and expr.ctype.removeprefix("const ") in BYTES

    def pointer(self, value: ir.Expr) -> ir.Expr | None:
        """Return the pointer into whose target an address leads: `p` for `&p->a.b[i]` or `p->c + i`, an array, else None."""
        thing: ir.Expr | None = None
        if type(value) is ir.Binary and value.op == "+":
            value = bare(value.left)
        if type(value) is ir.AddressOf:
            thing = bare(value.base)
        elif type(value) is ir.Field and self.is_array(value):
            thing = value
        while type(thing) is ir.Index or (type(thing) is ir.Field and not thing.arrow):
            thing = bare(thing.base)
        return bare(thing.base) if type(thing) is ir.Field else None

    def arrays(self, copies: Iterable["_Pair"], pointers: Container[ir.Expr]) -> Iterator["_Pair"]:
        """Yield the targets, of some copies, that get an array within what one of some pointers leads to, with that pointer."""
        for target, value in copies:
            if type(value) is ir.Field and value.arrow and value.base in pointers and self.is_array(value):
                yield target, value.base

    def is_start(self, thing: ir.Expr) -> bool:
        """Tell whether an addressed member is known to be at the start of the object: its address is the pointer's value."""
        while type(thing) is ir.Field and self._leads(thing):
            if thing.arrow:
                return True
            thing = bare(thing.base)
        return False

    def _place(self, thing: ir.Expr) -> str:
        """Where a variable or member lies that is addressed."""
        inner = False
        while type(thing) is ir.Field:
            leads = self._leads(thing)
            if leads is None and thing.arrow and not inner:
                return ""
            inner = inner or leads is False
            if thing.arrow:
                return "interior" if inner else ""
            thing = bare(thing.base)
        if type(thing) is not ir.Name:
            return ""
        if thing.id in self._names:
            return "static" if thing.id in self._statics else "local"
        return "static" if any(file == self._file for file, _ in self._types.globals.get(thing.id, ())) else ""

    def _leads(self, field: ir.Field) -> bool | None:
        """Tell whether a member is at the start of its struct, None if that is not known."""
        ctype = self._types.expand(self._file, self._typing.of(field.base))
        record = self._types.record(self._file, tag_of(ctype), field.member)
        if record is None or field.member not in record:
            return None
        return record.union or record.order[0] == field.member or field.member in record.leading


def pointees(body: ir.Body, origins: Collection[ir.Expr]) -> dict[ir.Expr, ir.Expr]:
    """Return, for each `*p` among the origins whose p is set only once and to the address of a member, that member."""
    names = {origin.base for origin in origins if type(origin) is ir.Deref and type(origin.base) is ir.Name}
    found: dict[ir.Expr, list[ir.Expr]] = {}
    for block in body.blocks if names else ():
        for event in block.events:
            if type(event) is ir.Assign and event.target in names:
                found.setdefault(ir.Deref(event.target), []).append(bare(event.value))
            elif type(event) is ir.Call and event.target in names:
                found.setdefault(ir.Deref(event.target), []).append(ir.Unknown(""))
    return {place: values[0].base for place, values in found.items()
            if len(values) == 1 and type(values[0]) is ir.AddressOf and type(values[0].base) is ir.Field}


def taken(body: ir.Body, verdicts: Mapping[str, Verdict]) -> Iterator[_Pair]:
    """Yield the copies that functions make which hand on their argument (see Verdict)."""
    for block in body.blocks:
        for event in block.events:
            if type(event) is ir.Call and type(event.callee) is ir.Name and event.target is not None:
                verdict = verdicts.get(event.callee.id)
                if verdict is not None and verdict.ptr < len(event.args):
                    yield bare(event.target), bare(event.args[verdict.ptr])


def allocated(alloc: Alloc, event: ir.Call) -> ir.Expr | None:
    """Return the lvalue that takes what a call allocates."""
    if alloc.out is None:
        return event.target
    argument = event.args[alloc.out] if alloc.out < len(event.args) else None
    return argument.base if type(argument) is ir.AddressOf else None


def is_stacked(lvalue: ir.Expr, own: Collection[str]) -> bool:
    """Tell whether an lvalue is a member of a struct that is a local itself, one of `own`."""
    inside = type(lvalue) is ir.Field
    while type(lvalue) is ir.Field and not lvalue.arrow:
        lvalue = bare(lvalue.base)
    return inside and type(lvalue) is ir.Name and lvalue.id in own
