"""Where memory of a type, or of a global, comes from anywhere in the program.

A path shows where a local got its memory; for a parameter or an element of a list it shows nothing.
But when every allocation of `struct foo` is by one allocator, that one made this `struct foo`, too; and when nothing
but memory of one allocator is ever stored into a member, what the member points to is of that allocator.
"""

import hashlib
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from msgspec import Struct

from kgfplint.catalogue import CALCULATED, Alloc
from kgfplint.facts import ir
from kgfplint.facts.outline import written
from kgfplint.facts.terms import bare, is_zero, member_of, names, show
from kgfplint.facts.types import pointee, tag_of
from kgfplint.ownership.frame import Frame
from kgfplint.program.constants import constants_of
from kgfplint.program.link import Program
from kgfplint.program.meaning import Meaning


class Source(Struct, frozen=True, array_like=True):
    """One allocation: the family, by which function, where.

    For pages the order as it is written (`pages`: "2", "get_order(n)"), and the values that it may have (`orders`; none: not
    known).
    """

    family: str
    alloc: str
    path: str
    line: int
    function: str
    pages: str = ""
    orders: tuple[int, ...] = ()


_COUNTED = (["struct device *"], ["struct kobject *"])
"""What release functions are given (include/linux/{device,kobject}.h)."""
Sources = tuple[tuple[str, Source], ...]


class Provenance:
    """Where memory comes from in the whole program: all allocations by what they are for.

    The keys are `path:name` for a global, `tag.member` for what a member of a struct points to, `struct tag` for what is
    of that type, `secret:tag.member` for what is wiped before it is freed, `account:struct tag` for what is charged to a user,
    `released:struct tag` for what a release function frees (`released:struct tag.member`: a member of
    that), `made:path:function` for pages that a function returns; `()name` stands for what the tree's own allocator `name`
    makes. What was asked is noted in `asked`.
    """

    def __init__(self, program: Program, by_function: Mapping[int, tuple[Sources, Collection[str]]],
                 folders: Collection[str] | None = None) -> None:
        """Take the sources of each analysed function, and the members that it stores something else into.

        `folders` are those that are all that is read, None if it is a whole kernel: others know the structs of other folders.
        """
        self._program = program
        self._folders = folders
        self._analysed = by_function
        self._made: dict[str, list[tuple[int, Source]]] = {}
        self._answers: dict[tuple[int, str], tuple[Source, ...]] = {}
        self._seen: dict[tuple[int, str, str], int | None] = {}
        self._closed: dict[tuple[int, str], bool] = {}
        self.asked: dict[tuple[str, ...], None] = {}
        for number in sorted(by_function):
            for key, source in by_function[number][0]:
                self._made.setdefault(key, []).append((program.rows[number].file, source))

    def of(self, file: int, keys: Iterable[str]) -> tuple[str, list[Source]]:
        """Return the first of some keys of an expression in `file` that all memory is known for, and where it is allocated."""
        keys = tuple(keys)
        self.asked[keys] = None
        for key in keys:
            made = self._answers.get((file, key))
            if made is None:
                found = self._wholes(file, key) if key.startswith("struct ") else self._of_key(file, key)
                made = self._answers[file, key] = tuple(found) if found and self._is_closed(file, key) else ()
            if made:
                return key, list(made)
        return "", []

    def family(self, meaning: Meaning, file: int, alloc: str) -> str:
        """Return the family that the tree's own code makes an allocator's memory with, "" if that is not known."""
        self.asked["()" + alloc,] = None
        made = meaning.inferred(file, alloc).allocates
        return made.family if made is not None else ""

    def digest(self, meaning: Meaning, file: int, asked: Iterable[tuple[str, ...]]) -> bytes:
        """Return a digest of the answers to what was asked in a file: where it is the same, so is what follows from them."""
        digest = hashlib.blake2b(digest_size=16)
        for keys in asked:
            own = keys[0].startswith("()") if keys else False
            answer = self.family(meaning, file, keys[0][2:]) if own else self.of(file, keys)
            digest.update(repr(answer).encode("utf-8", "surrogatepass"))
        return digest.digest()

    def _of_key(self, file: int, key: str) -> list[Source]:
        """Return the sources by a key, without those of other structs of the same tag: drivers use each other's names."""
        found = self._made.get(key, [])
        tag, _, member = key.removeprefix("struct ").removesuffix("[]").partition(".")
        own = self._seen_record(file, tag, member) if len(self._program.types.records.get(tag, ())) > 1 else None
        if own is None:
            return [source for _, source in found]
        return [source for place, source in found if self._seen_record(place, tag, member) in (own, None)]

    def _seen_record(self, file: int, tag: str, member: str) -> int | None:
        """Return the file of the definition of a struct that a file surely means, None if it is not sure."""
        asked = file, tag, member
        if asked not in self._seen:
            types = self._program.types
            record = types.record(file, tag, member)
            self._seen[asked] = record.file if record is not None and types.sees(file, record.file) else None
        return self._seen[asked]

    def _wholes(self, file: int, key: str) -> list[Source]:
        """Return where a struct is allocated, and those that begin with it: what points to it may point to one of them."""
        found = self._of_key(file, key)
        seen, waiting = {key}, sorted(self._beginning_with.get(key, ()))
        while waiting:
            tag = waiting.pop()
            if tag in seen:
                continue
            seen.add(tag)
            found.extend(source for _, source in self._made.get(tag, ()))
            waiting.extend(sorted(self._beginning_with.get(tag, set()) - seen))
        return found

    def _is_closed(self, file: int, key: str) -> bool:
        """Tell whether all memory that goes by a key is seen where it is allocated."""
        if ":" in key:
            return True
        if key.startswith("struct "):
            return self._is_own(key.removeprefix("struct "))
        tag, _, member = key.removesuffix("[]").rpartition(".")
        return self._is_own(tag) and self._holds_only_allocations(file, tag, member) and (
            not key.endswith("[]") or self._holds_only_allocations(file, tag, f"{member}[]"))

    def _is_own(self, tag: str) -> bool:
        """Tell whether all code that may know a struct is read."""
        if self._folders is None:
            return True
        records = self._program.types.records.get(tag, ())
        return bool(records) and all(posixpath.dirname(self._program.paths[one.file]) in self._folders for one in records)

    @cached_property
    def _beginning_with(self) -> dict[str, set[str]]:
        """The keys of structs by that of their first member, where that is a struct."""
        found: dict[str, set[str]] = {}
        for tag, records in self._program.types.records.items():
            for members in records:
                first = members[members.order[0]] if members.order else ""
                if first.startswith("struct ") and "*" not in first and "(" not in first:
                    found.setdefault(f"struct {tag_of(first)}", set()).add(f"struct {tag}")
        return found

    def _holds_only_allocations(self, file: int, tag: str, member: str) -> bool:
        """Tell whether only allocations are stored into a member: by every function of a file that knows the struct."""
        record = self._program.types.record(file, tag, member.removesuffix("[]"))
        if record is None:
            return False
        key = record.file, member
        if key not in self._closed:
            self._closed[key] = not any(self._stores_else(number, member, record.file)
                                        for number in self._program.store_functions.get(member, ()))
        return self._closed[key]

    def _stores_else(self, function: int, member: str, header: int) -> bool:
        """Tell whether a function that sees a header may store something else than an allocation into a member."""
        analysed = self._analysed.get(function)
        return (analysed is None or member in analysed[1]) and self._program.types.sees(self._program.rows[function].file, header)


def keys_of(expr: ir.Expr, frame: Frame) -> tuple[str, ...]:
    """Return what the provenance of an expression goes by, most exact first."""
    expr = bare(expr)
    if isinstance(expr, ir.Name) and expr.id not in frame.types:
        return (f"{frame.path}:{expr.id}",)
    kind = _struct(frame.typing.expanded(expr))
    inner, element = (bare(expr.base), "[]") if isinstance(expr, ir.Index) else (expr, "")
    tag = frame.typing.tag(inner.base) if isinstance(inner, ir.Field) else ""
    member = f"{tag}.{inner.member}{element}" if isinstance(inner, ir.Field) and tag else ""
    return tuple(key for key in (member, kind) if key)


def _struct(ctype: str) -> str:
    """Return the tag that a type points to directly, "" for any other type."""
    target = pointee(ctype) if ctype.endswith("*") else None
    return f"struct {tag_of(target)}" if target and tag_of(target) and not target.endswith(("*", "]")) else ""


def sources(frame: Frame) -> tuple[Sources, frozenset[str]]:
    """Return the allocations of one function by what they are for, and the members that it stores something else into."""
    found: list[tuple[str, Source]] = []
    known: set[int] = set()
    returned_names = {bare(event.value) for event in frame.events() if type(event) is ir.Return and event.value is not None} if (
        frame.allocates) else set()
    for event, call, alloc, target in _allocations(frame):
        if alloc.ptr is not None:
            continue
        known.add(id(event))
        returned = frame.program.types.expand(frame.file, frame.row.returns)
        source = Source(alloc.family, alloc.name, frame.path, event.line, frame.name, *_order(frame, alloc, call.args))
        keys = keys_of(target, frame) if target is not None else tuple(filter(None, (_struct(returned),)))
        found.extend((key, source) for key in keys)
        if source.pages and (target is None or target in returned_names):
            found.append((made_key(frame.path, frame.name), source))
        if keys and keys[-1].startswith("struct ") and accounts(frame, alloc, call.args):
            found.append((f"account:{keys[-1]}", source))
    if frame.frees:
        found.extend(_secrets(frame))
        if "release" in frame.name and [param.ctype for param in frame.row.params] in _COUNTED:
            found.extend(_released(frame))
    others = {member_of(place) for event in frame.events() if id(event) not in known for place in written(event)}
    return tuple(found), frozenset(others - {""})


def _order(frame: Frame, alloc: Alloc, args: Sequence[ir.Expr]) -> tuple[str, tuple[int, ...]]:
    """Return the order that an allocation asks for: how it is written ("" if it asks for none), and its possible values."""
    if alloc.order is not None and alloc.order < len(args):
        given = args[alloc.order]
        values = constants_of(frame.program).values(frame.file, frame.value_of(given))
        return show(given), tuple(sorted(values))
    if alloc.fixed_order == CALCULATED:  # it may be calculated from a constant that is given
        plain = (arg for place, arg in enumerate(args) if place != alloc.gfp)
        fixed = any(constants_of(frame.program).value(frame.file, arg) is not None for arg in plain)
        return "" if fixed else "of its own", ()
    return (str(alloc.fixed_order), (alloc.fixed_order,)) if alloc.fixed_order is not None else ("", ())


def accounts(frame: Frame, alloc: Alloc, args: Sequence[ir.Expr]) -> bool:
    """Tell whether the mask of an allocation has __GFP_ACCOUNT, at least on some path."""
    if alloc.gfp is None or alloc.gfp >= len(args):
        return False
    given, named = args[alloc.gfp], frame.meaning.masks.named
    bit = named.get("__GFP_ACCOUNT", 0)
    parts = (given, *(value for name in names(given) for value in frame.values.get(name, ()) if value is not None))
    return any(bit & named.get(name, 0) for part in parts for name in names(part))


def made_key(path: str, function: str) -> str:
    """Return what the provenance of pages goes by that a function of a file returns."""
    return f"made:{path}:{function}"


def secret_key(member: ir.Field, frame: Frame) -> str:
    """Return what the provenance of secrets behind a member goes by, "" if its struct is not known."""
    tag = frame.typing.tag(member.base)
    return f"secret:{tag}.{member.member}" if tag else ""


def _secrets(frame: Frame) -> Iterator[tuple[str, Source]]:
    """Yield the members whose memory is wiped when it is freed."""
    frees = frame.meaning.catalogue.frees
    for call in frame.calls:
        free = frees.get(call.callee.id) if type(call.callee) is ir.Name else None
        if free is not None and free.flavour == "sensitive" and free.ptr < len(call.args):
            member = bare(call.args[free.ptr])
            if type(member) is ir.Field and (key := secret_key(member, frame)):
                yield key, Source("secret", free.name, frame.path, call.line, frame.name)


def released_key(pointer: ir.Expr, frame: Frame) -> str:
    """Return what the provenance of releases of what a pointer, or a member of that, leads to goes by, "" if its struct is
    not known.
    """
    member = f".{pointer.member}" if type(pointer) is ir.Field else ""
    holder = bare(pointer.base) if type(pointer) is ir.Field and pointer.arrow else pointer
    kind = _struct(frame.typing.expanded(holder)) if type(holder) is ir.Name else ""
    return f"released:{kind}{member}" if kind else ""


def _released(frame: Frame) -> Iterator[tuple[str, Source]]:
    """Yield what a release function, which gets a member of it, frees in the end."""
    for release in frame.paths.releases:
        subject = bare(release.argument)
        if release.free.flavour == "plain" and (key := released_key(subject, frame)):
            yield key, Source("released", release.free.name, frame.path, release.event.line, frame.name)


def _allocations(frame: Frame) -> Iterator[tuple[ir.Event, ir.Call | ir.CallResult, Alloc, ir.Expr | None]]:
    """Yield event, call, allocator and target of each call whose memory is stored or (target None) returned.

    A local that holds nothing but memory may stand between: a `void *` that one ring after another is allocated through.
    """
    for event in frame.events() if frame.allocates else ():
        if isinstance(event, ir.Call) and isinstance(event.callee, ir.Name):
            alloc = frame.meaning.alloc(frame.file, event.callee.id)
            if alloc is not None and alloc.out is not None and alloc.out < len(event.args):
                given = bare(event.args[alloc.out])
                yield event, event, alloc, given.base if isinstance(given, ir.AddressOf) else ir.Deref(given)
            elif event.target is not None and alloc is not None:
                yield event, event, alloc, event.target
            elif event.target is not None and (seen := frame.viewed(ir.CallResult(event.callee, event.args))) is not None:
                yield event, seen[1], seen[0], event.target
        elif isinstance(event, ir.Return | ir.Assign) and event.value is not None:
            target = event.target if isinstance(event, ir.Assign) else None
            for call, alloc in _behind(frame, bare(event.value)):
                yield event, call, alloc, target


def _behind(frame: Frame, expr: ir.Expr) -> Sequence[tuple[ir.Call | ir.CallResult, Alloc]]:
    """Return the allocations that a value comes from, all that are assigned to a local; none if it may be something else."""
    value = frame.value_of(expr)
    if type(value) is ir.CallResult and type(value.callee) is ir.Name:
        alloc = frame.meaning.alloc(frame.file, value.callee.id)
        seen = frame.viewed(value) if alloc is None else None
        return [(value, alloc)] if alloc is not None else [(seen[1], seen[0])] if seen is not None else []
    if type(value) is not ir.Name or any(param.name == value.id for param in frame.row.params):
        return []
    found: list[tuple[ir.Call | ir.CallResult, Alloc]] = []
    for assigned in frame.values.get(value.id, ()):
        plain = bare(assigned) if assigned is not None else value
        alloc = frame.meaning.alloc(frame.file, plain.callee.id) if (
            type(plain) is ir.CallResult and type(plain.callee) is ir.Name) else None
        if type(plain) is ir.CallResult and alloc is not None:
            found.append((plain, alloc))
        elif not is_zero(plain):
            return []
    return found


def of_local(values: Iterable[ir.Expr | None], meaning: Meaning, file: int) -> set[str] | None:
    """Return the families that the values assigned to a local come from; None if one of them is unknown."""
    families: set[str] = set()
    for value in values:
        plain = bare(value) if value is not None else None
        if plain is None or not (is_zero(plain) or isinstance(plain, ir.CallResult)):
            return None
        if isinstance(plain, ir.CallResult):
            alloc = meaning.alloc(file, plain.callee.id) if isinstance(plain.callee, ir.Name) else None
            if alloc is None:
                return None
            families.add(alloc.family)
    return families
