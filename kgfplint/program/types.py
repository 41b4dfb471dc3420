"""Types across files: struct members, typedefs, globals and results, and the type of an expression."""

import re
from collections.abc import Mapping

from kgfplint.facts import ir
from kgfplint.facts.types import pointee, tag_of
from kgfplint.program.includes import Includes

_TYPEOF = re.compile(r"(?:__)?(?:typeof|typeof__|auto_type)\w*\s*\((.*)\)(\W*)$")
_PATH = re.compile(r"^[*&(\s]*\w+(?:(?:->|\.)\w+|\[\w*\])*\)?$")
_ENTRY = ("container_of", "_entry", "_entry_or_null", "_entry_rcu", "container_of_const", "_entry_safe")
_CHAR = ("char", "unsigned char")


class Members(dict[str, str]):
    """The members of one struct or union definition, by name, with the file that defines it."""

    __slots__ = ("file", "order", "union")

    def __init__(self, file: int, record: ir.Record) -> None:
        """Take over a record's members."""
        super().__init__((name, ctype) for name, ctype, _ in record.members)
        self.file = file
        self.order = tuple(self)
        self.union = record.kind == "union"


class Types:
    """All named types of a program."""

    def __init__(self) -> None:
        """Start empty; linking fills the tables."""
        self.records: dict[str, list[Members]] = {}
        self.typedefs: dict[str, list[tuple[int, str]]] = {}
        self.globals: dict[str, list[tuple[int, str]]] = {}
        self.returns: dict[str, str] = {}
        self.includes: Includes | None = None

    def _nearest(self, file: int, choices: list[tuple[int, str]]) -> str:
        """Choose the definition of this file, else of a header it includes, else the first."""
        if len(choices) > 1:
            for where, ctype in choices:
                if where == file:
                    return ctype
            if self.includes is not None:
                for where, ctype in choices:
                    if self.includes.sees(file, where):
                        return ctype
        return choices[0][1]

    def record(self, file: int, tag: str, member: str = "") -> Members | None:
        """Return the definition of a struct tag as `file` sees it; with `member`, one that has it."""
        found = self.records.get(tag)
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
            if not choices:
                return ctype
            ctype = join(self._nearest(file, choices), rest)
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
        return members.get(member, "")

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
            return self.returns.get(root[2:], "")
        if "struct " not in root and "union " not in root and root in self.records:
            return "struct " + root
        return root


def split(ctype: str) -> tuple[str, str]:
    """Split a type into its base and its derivations."""
    for at, letter in enumerate(ctype):
        if letter in "*[(" and not ctype.startswith("typeof"):
            return ctype[:at].rstrip(), ctype[at:]
    return ctype, ""


def join(base: str, rest: str) -> str:
    """Put derivations behind a base that may have some of its own."""
    return f"{base} {rest}" if rest.startswith("*") and not base.endswith("*") else base + rest


class Typing:
    """The types of expressions inside one function."""

    def __init__(self, types: Types, file: int, names: Mapping[str, str]) -> None:
        """`names` maps locals and parameters to their types."""
        self._types = types
        self._file = file
        self._names = names

    def of(self, expr: ir.Expr) -> str:
        """Return the normalised type of an expression, "" if unknown."""
        match expr:
            case ir.Name(id):
                return self._name(id)
            case ir.Field(base, member, _):
                below = self.of(base)
                return self._types.member_type(self._file, below, member) if below else ""
            case ir.Deref(base) | ir.Index(base, _):
                below = self.of(base)
                return pointee(below) or pointee(self._types.expand(self._file, below)) or "" if below else ""
            case ir.AddressOf(base):
                below = self.of(base)
                return join(below, "*") if below else ""
            case ir.Cast(ctype, _):
                return self._resolved(ctype)
            case ir.CallResult(ir.Name(name), args):
                return self._result(name, args)
            case ir.Conditional(_, then, other):
                return self.of(then) or self.of(other)
            case ir.Binary(op, left, right) if op in ("+", "-"):
                return self.of(left) or self.of(right)
            case ir.Initialiser(ctype, _):
                return ctype
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
        return self._resolved(ctype) if ctype else self._types.root_type(self._file, "@" + name)

    def _resolved(self, ctype: str) -> str:
        match = _TYPEOF.match(ctype)
        if not match:
            return ctype
        inner, rest = match.group(1).strip(), match.group(2).strip()
        if not _PATH.match(inner):
            return inner + " " + rest if inner.startswith(("struct ", "union ")) else ""
        stars = len(inner) - len(inner.lstrip("*( "))
        words = re.split(r"->|\.", re.sub(r"\[\w*\]", "", inner.strip("*&() ")))
        ctype = self._name(words[0]) if self._names.get(words[0], "") != ctype else ""
        for word in words[1:]:
            ctype = self._types.member_type(self._file, ctype, word)
        for _ in range(inner[:stars].count("*")):
            ctype = pointee(ctype) or ""
        return join(ctype, rest) if rest and ctype else ctype

    def _result(self, name: str, args: tuple[ir.Expr, ...]) -> str:
        for argument in args:
            if isinstance(argument, ir.TypeName):
                return argument.ctype + " *" if not argument.ctype.endswith("*") or name.endswith(_ENTRY) else argument.ctype
        if len(args) == 3 and name.endswith(_ENTRY) and isinstance(args[1], ir.Name):
            return f"struct {args[1].id} *"
        known = self._types.returns.get(name, "")
        if known or not args:
            return known
        if name.startswith(("rcu_dereference", "srcu_dereference", "this_cpu_ptr", "per_cpu_ptr", "raw_cpu_ptr", "smp_load_acquire",
                            "get_cpu_ptr", "rtnl_dereference", "rcu_access_pointer", "no_free_ptr")):
            return self.of(args[0])
        return ""
