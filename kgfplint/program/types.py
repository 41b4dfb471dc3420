"""Types across files: struct members, typedefs, globals and results, and the type of an expression."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import TypeVar

from kgfplint.facts import ir
from kgfplint.facts.lower import lower
from kgfplint.facts.terms import show, substitute
from kgfplint.facts.types import pointee, tag_of
from kgfplint.program.includes import Includes
from kgfplint.program.macros import Macros
from kgfplint.source.words import SIZES, syntax_rules

Choice = TypeVar("Choice")
_PLACE = re.compile(r"\$(\d+)")
_TYPEOF = re.compile(r"(?:__)?typeof(?:__)?\s*(?=\()")
_TYPE = re.compile(r"(?:struct |union )?\w+(?: ?\*)*")
_PATH = re.compile(r"\w+(?:(?:\.|->)\w+)*")
_STEP = re.compile(r"\.|->")
_TAG = re.compile(r"[A-Za-z_]\w*")
_DEPTH = 12
"""Macros and typeofs that may stand for one another before a type counts as unknown."""
_SCALARS = frozenset({*SIZES, "void", "unsigned", "signed", "unsigned int", "unsigned long", "unsigned char", "enum"})
_VALUES: dict[str, str] = {name: shape for shape, names in syntax_rules()["macro_values"].items() for name in names}
_ENTRY: tuple[str, ...] = tuple(syntax_rules()["macro_entries"]["suffixes"])


class Members(dict[str, str]):
    """The members of one struct or union definition, by name, with the file that defines it.

    `leading` are those at its start besides the first of them.
    """

    __slots__ = ("file", "leading", "order", "union")

    def __init__(self, file: int, record: ir.Record) -> None:
        """Take over a record's members."""
        super().__init__((sys.intern(name), sys.intern(ctype)) for name, ctype, _ in record.members)
        self.file = file
        self.order = tuple(self)
        self.leading = tuple(sys.intern(name) for name, _, bits in record.members if bits == -2)
        self.union = record.kind == "union"


class Types:
    """All named types of a program: structs, typedefs, globals, results, and the macros that stand for any of them."""

    def __init__(self) -> None:
        """Start empty; linking fills the tables."""
        self.records: dict[str, list[Members]] = {}
        self.typedefs: dict[str, list[tuple[int, str]]] = {}
        self.globals: dict[str, list[tuple[int, str]]] = {}
        self.returns: dict[str, list[tuple[int, str]]] = {}
        self.macros = Macros()
        self.declaring: dict[str, list[tuple[int, tuple[str, ...]]]] = {}
        self.includes: Includes | None = None

    def add_result(self, file: int, name: str, ctype: str) -> None:
        """Note what a function or macro of `file` returns, unless it is nothing that has members."""
        if ctype and ctype not in _SCALARS:
            known = self.returns.setdefault(name, [])
            if not known or known[-1] != (file, ctype):
                known.append((file, ctype))

    def add_macro(self, file: int, name: str, params: tuple[ir.Param, ...]) -> None:
        """Note the types with which a function-like macro declares its parameters, if it does."""
        if any(param.ctype for param in params):
            self.declaring.setdefault(name, []).append((file, tuple(param.ctype for param in params)))

    def sees(self, file: int, where: int) -> bool:
        """Tell whether what stands in file `where` is known in `file`: it is the same or includes the other."""
        return file == where or (self.includes is not None and self.includes.sees(file, where))

    def ranked(self, file: int, choices: list[tuple[int, Choice]]) -> Iterator[Choice]:
        """Yield the definitions that `file` may mean: its own, those of headers it includes, the others."""
        if len(choices) == 1 or self.includes is None:
            yield from (found for _, found in choices)
            return
        yield from (found for where, found in choices if where == file)
        others = []
        for where, found in choices:
            if where != file and self.includes.sees(file, where):
                yield found
            elif where != file:
                others.append(found)
        yield from others

    def _nearest(self, file: int, choices: list[tuple[int, str]]) -> str:
        return next(self.ranked(file, choices))

    def macro(self, file: int, name: str, shape: re.Pattern[str]) -> str:
        """Return what an object-like macro stands for, "" if it is none or has not the given shape."""
        texts = (text.strip("() ") for text in self.ranked(file, self.macros.get(name)))
        return next((text for text in texts if text != name and shape.fullmatch(text)), "")

    def record(self, file: int, tag: str, member: str = "") -> Members | None:
        """Return the definition of a struct tag as `file` sees it; with `member`, one that has it."""
        found = self.records.get(tag)
        if not found:
            meant = self.macro(file, tag, _TAG)
            found = self.records.get(meant)
            if not found:
                return None
        if len(found) > 1:
            having = [m for m in found if not member or member in m]
            for members in having:
                if members.file == file:
                    return members
            if len(having) > 1 and self.includes is not None:
                for members in having:
                    if self.includes.sees(file, members.file):
                        return members
            if having:
                return having[0]
        return found[0]

    def expand(self, file: int, ctype: str) -> str:
        """Replace typedef names at the base of a type until a struct, a basic or an unknown type remains."""
        for _ in range(6):
            base, rest = split(ctype)
            choices = self.typedefs.get(base)
            meant = self._nearest(file, choices) if choices else self.macro(file, base, _TYPE)
            if not meant:
                return ctype
            ctype = join(meant, rest)
        return ctype

    def member_type(self, file: int, ctype: str, member: str) -> str:
        """Return the type of `member` of a struct type (any pointer depth), "" if unknown."""
        tag = tag_of(ctype) or tag_of(self.expand(file, ctype))
        members = self.record(file, tag, member) if tag else None
        if members is None:
            return ""
        if member.startswith("#"):
            place = int(member[1:])
            return members[members.order[place]] if place < len(members.order) else ""
        return members.get(member) or self._macro_member(file, ctype, member)

    def _macro_member(self, file: int, ctype: str, member: str) -> str:
        """Return the type of a member whose name is a macro for a path of members (`sk_state`), "" for others."""
        meant = self.macro(file, member, _PATH)
        for step in _STEP.split(meant) if meant else ():
            ctype = self.member_type(file, ctype, step) if ctype else ""
        return ctype if meant else ""

    def owner(self, file: int, root: str, path: str) -> tuple[str, str]:
        """Follow a root type and a dotted path; return (tag, member) of the last step, ("", member) if lost."""
        ctype = self.root_type(file, root)
        steps = path.split(".") if path else []
        for step in steps[:-1]:
            ctype = self.member_type(file, ctype, step) if ctype else ""
        last = steps[-1] if steps else ""
        tag = tag_of(ctype) or tag_of(self.expand(file, ctype)) if ctype else ""
        if tag and last.startswith("#"):
            members = self.record(file, tag)
            place = int(last[1:])
            last = members.order[place] if members and place < len(members.order) else last
        return tag, last

    def root_type(self, file: int, root: str) -> str:
        """Return the type of a root: C text, `@global` or `()function`."""
        if root.startswith("@"):
            choices = self.globals.get(root[1:])
            return self._nearest(file, choices) if choices else ""
        if root.startswith("()"):
            choices = self.returns.get(root[2:])
            return self._nearest(file, choices) if choices else ""
        if root in self.records or (root.isidentifier() and root not in self.typedefs and root not in self.macros):
            return "struct " + root  # a tag, maybe of a struct whose header is not among the files
        return root


def split(ctype: str) -> tuple[str, str]:
    """Split a type into its base and its derivations."""
    start = 0
    if typeof := _TYPEOF.match(ctype):
        depth = 0
        for start in range(typeof.end(), len(ctype)):
            depth += (ctype[start] == "(") - (ctype[start] == ")")
            if depth == 0:
                break
        start += 1
    for at in range(start, len(ctype)):
        if ctype[at] in "*[(":
            return ctype[:at].rstrip(), ctype[at:]
    return ctype, ""


def join(base: str, rest: str) -> str:
    """Put derivations behind a base that may have some of its own."""
    return f"{base} {rest}" if rest.startswith("*") and not base.endswith("*") else base + rest


@lru_cache(maxsize=1 << 15)
def expression(text: str) -> ir.Expr:
    """Return C text as an expression, Unknown if it is none."""
    bodies = lower(f"int f(void)\n{{\n\treturn {text};\n}}\n".encode()).bodies
    blocks = bodies[0].blocks if bodies else ()
    values = (event.value for block in blocks for event in block.events if isinstance(event, ir.Return))
    return next(values, None) or ir.Unknown(text)


def names_of(types: Types, file: int, params: tuple[ir.Param, ...], body: ir.Body) -> dict[str, str]:
    """Return the types of what a function declares, by name: parameters, locals, and locals that a macro declares."""
    names = {param.name: param.ctype for param in params}
    names.update((local.name, local.ctype) for local in body.locals)
    for block in body.blocks:
        for event in block.events:
            if isinstance(event, ir.Call) and isinstance(event.callee, ir.Name) and event.callee.id in types.declaring:
                shapes = next(types.ranked(file, types.declaring[event.callee.id]))
                for shape, argument in zip(shapes, event.args, strict=False):
                    if shape and isinstance(argument, ir.Name):
                        names.setdefault(argument.id, placed(shape, event.args))
    return names


def placed(shape: str, args: tuple[ir.Expr, ...]) -> str:
    """Return a macro's type with the arguments at their places `$0`, `$1`, ..."""
    if "$" not in shape:
        return shape
    words = [show(arg) if isinstance(arg, ir.Name | ir.TypeName) else f"({show(arg)})" for arg in args]
    return _PLACE.sub(lambda match: words[int(match[1])] if int(match[1]) < len(words) else "", shape)


class Typing:
    """The types of expressions inside one function."""

    def __init__(self, types: Types, file: int, names: Mapping[str, str]) -> None:
        """`names` maps locals and parameters to their types (see names_of)."""
        self._types = types
        self._file = file
        self._names = names
        self._known: dict[str, str] = {}
        self._open: set[str] = set()
        self._barren: set[tuple[str, tuple[ir.Expr, ...]]] = set()
        self._depth = 0

    def of(self, expr: ir.Expr) -> str:
        """Return the normalised type of an expression, "" if unknown."""
        if type(expr) is ir.Name:
            known = self._known.get(expr.id)
            if known is None:
                known = self._name(expr.id)
                if not self._depth:  # deeper down it may have been given up
                    self._known[expr.id] = known
            return known
        if type(expr) is ir.Field:
            below = self.of(expr.base)
            return self._types.member_type(self._file, below, expr.member) if below else ""
        match expr:
            case ir.Deref(base) | ir.Index(base, _):
                below = self.of(base)
                return pointee(below) or pointee(self._types.expand(self._file, below)) or "" if below else ""
            case ir.AddressOf(base):
                below = self.of(base)
                return join(below, "*") if below else ""
            case ir.Cast(ctype, _):
                return self._resolved(ctype)
            case ir.CallResult(callee, args):
                return self._result(callee.id, args) if isinstance(callee, ir.Name) else self._returned(self.of(callee))
            case ir.Conditional(_, then, other):
                return self.of(then) or self.of(other)
            case ir.Binary(op, left, right) if op in ("+", "-"):
                return self.of(left) or self.of(right)
            case ir.Initialiser(ctype, _) | ir.TypeName(ctype):
                return self._resolved(ctype)
        return ""

    def expanded(self, expr: ir.Expr) -> str:
        """Return the type of an expression with typedefs replaced."""
        return self._types.expand(self._file, self.of(expr))

    def tag(self, expr: ir.Expr) -> str:
        """Return the struct tag behind an expression, however many pointers away, "" if none is known."""
        ctype = self.of(expr)
        return tag_of(ctype) or tag_of(self._types.expand(self._file, ctype)) if ctype else ""

    def _name(self, name: str) -> str:
        ctype = self._names.get(name)
        if ctype or name in self._names:  # a local of unknown type hides a global of its name all the same
            return self._resolved(ctype or "")
        variables, macros = self._types.globals.get(name, []), self._types.macros.get(name)
        if macros and not any(self._types.sees(self._file, where) for where, _ in variables):
            meant = self._first(expression(text) for text in self._types.ranked(self._file, macros))
            if meant:
                return meant
        known = self._types.root_type(self._file, "@" + name)
        return self._resolved(known) if known else ""

    def _first(self, choices: Iterable[ir.Expr]) -> str:
        """Return the first type among those of expressions that macros stand for."""
        if self._depth >= _DEPTH:
            return ""
        self._depth += 1
        found = next((ctype for choice in choices if (ctype := self.of(choice))), "")
        self._depth -= 1
        return found

    def _resolved(self, ctype: str, args: tuple[ir.Expr, ...] = ()) -> str:
        """Return the type that `typeof(...)` means, "" if unknown; `$0` is the first of the arguments of a macro."""
        match = _TYPEOF.match(ctype)
        if not match:
            return placed(ctype, args)
        base, rest = split(ctype)
        inner = base[match.end() + 1 : -1]
        if inner.startswith(("struct ", "union ")):
            return join(inner, rest)
        known = self._first([substitute(expression(inner), {f"${place}": arg for place, arg in enumerate(args)})])
        return join(known, rest) if known else ""

    def _returned(self, ctype: str) -> str:
        """Return what a function, or a pointer to one, returns."""
        ctype = self._types.expand(self._file, ctype).rstrip("* ")
        return ctype.removesuffix("()").rstrip() if ctype.endswith("()") else ""

    def _result(self, name: str, args: tuple[ir.Expr, ...]) -> str:
        shape = _VALUES.get(name)
        if shape and (found := self._resolved(shape, args)):
            return found
        for argument in args:
            if isinstance(argument, ir.TypeName):
                return argument.ctype + " *" if not argument.ctype.endswith("*") or name.endswith(_ENTRY) else argument.ctype
        if len(args) == 3 and name.endswith(_ENTRY) and isinstance(args[1], ir.Name):
            return f"struct {args[1].id} *"
        if found := self._value(name, args):
            return found
        return self._returned(self._names.get(name, "") or self._types.root_type(self._file, "@" + name))

    def _value(self, name: str, args: tuple[ir.Expr, ...]) -> str:
        """Return the type of the value of a macro, "" if unknown.

        As for the preprocessor, a macro means nothing more inside itself: those of several architectures name each other.
        """
        shapes = self._types.returns.get(name)
        if not shapes or name in self._open or (name, args) in self._barren:
            return ""
        self._open.add(name)
        ranked = self._types.ranked(self._file, shapes)
        found = next((ctype for shape in ranked if (ctype := self._resolved(shape, args))), "")
        self._open.discard(name)
        if not found:
            self._barren.add((name, args))
        if not self._depth:
            self._barren.clear()  # deeper down it may have been given up
        return found
