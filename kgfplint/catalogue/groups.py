"""The tables of rule files: attributes that a block of prototypes shares, and the entries they make.

A parameter takes its role from its name, whatever the kernel calls it:

    gfp, size (bytes), n (elements, pointers or pages), elem (bytes of one element), order, align (bytes)
    len (characters without the final NUL, or their limit)
    ptr (what is freed or resized), src (what is copied), cache, pool, dev, handle (DMA address)
    type, member (of the kmalloc_obj families), lock, flags (saved interrupts), cond (sleeps if it is not 0)

Any other name has no role. Each class below is the schema of one `[[table]]`; a key that is no field of
it, or a value of another type, is an error.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from kgfplint.catalogue.entries import (
    Access,
    Alloc,
    Callback,
    Cleanup,
    Context,
    Fails,
    Family,
    Flavour,
    Free,
    Guard,
    LockEffect,
    LockKind,
    Need,
    Section,
    Sleeper,
    Sleeps,
    Test,
    Verdict,
    Version,
    View,
)
from kgfplint.catalogue.prototypes import Prototype

PerName = str | dict[str, str]


class Scope(msgspec.Struct, frozen=True):
    """What entries refer to: the families, lock kinds and contexts by name, and the kernel version."""

    families: Mapping[str, Family]
    kinds: Mapping[str, LockKind]
    contexts: Mapping[str, Context]
    version: Version | None


class Mistake(Exception):
    """A value of a table is wrong: `key` is where, the text is what."""

    def __init__(self, key: str, what: str) -> None:
        """Blame `key`."""
        super().__init__(what)
        self.key = key


def parse_version(text: str, key: str) -> Version | None:
    """Return (6, 12) for "6.12", None for ""; Mistake for anything else."""
    if not text:
        return None
    major, _, minor = text.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise Mistake(key, f"`{key}` is not a kernel version: {text!r}")
    return int(major), int(minor)


def holds(version: Version | None, since: Version | None, until: Version | None) -> bool:
    """Tell whether `version` (None: newest) is at or after `since` and before `until`."""
    if version is None:
        return until is None
    return (since is None or since <= version) and (until is None or version < until)


def _roles(prototype: Prototype, **roles: str) -> dict[str, int | None]:
    """Map each field to the index of the parameter of that name, None if there is none."""
    places = {name: index for index, name in enumerate(prototype.params)}
    return {field: places.get(param) for field, param in roles.items()}


def _known(key: str, names: tuple[str, ...], known: Mapping[str, Any]) -> None:
    for name in names:
        if name not in known:
            raise Mistake(key, f"`{name}` is not a known name in `{key}`")


def _own(values: PerName, name: str) -> str | None:
    return values if isinstance(values, str) else values.get(name)


class Group(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What every table may say: the functions, and the first kernel that has them and the first without."""

    prototypes: str = ""
    since: str = ""
    until: str = ""

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the entries of one function; Mistake when the table does not fit the prototype."""
        raise NotImplementedError


class AllocGroup(Group, kw_only=True):
    """`[[alloc]]`: allocators of one family. `result` is "return" or the parameter that takes the memory.

    `noprof`: since 6.10 each has a `_noprof` function behind the macro of its name. `fixed_order` is the order
    that those without an `order` parameter imply. `sure`: a parameter, and the flag in it with which none of them ever fails.
    """

    family: str
    result: str = "return"
    fails: Fails = "null"
    zeroes: bool = False
    sleeps: Sleeps = "gfp"
    mask: str | None = None
    noprof: bool = False
    array: PerName = {}
    zeroing: PerName = {}
    masked: PerName = {}
    pooled: bool = False
    fixed_order: int | None = None
    sure: dict[str, str] = {}

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the allocator."""
        _known("family", (self.family,), scope.families)
        family = scope.families[self.family]
        roles = _roles(
            prototype, gfp="gfp", size="size", length="len", count="n", element="elem", order="order", cache="cache", pool="pool",
            dev="dev", ptr="ptr", handle="handle", type="type", member="member", align="align", source="src",
            noblock="noblock", constant="constant", out=self.result,
        )  # fmt: skip
        if self.result != "return" and roles["out"] is None:
            raise Mistake("result", f"{prototype.name} has no parameter `{self.result}`")
        if self.sleeps == "gfp" and roles["gfp"] is None and self.mask is None:
            raise Mistake("prototypes", f"{prototype.name} has neither a `gfp` parameter nor a mask")
        entry = Alloc(
            name=prototype.name, family=self.family, params=prototype.params, fails=self.fails, zeroes=self.zeroes,
            sleeps=self.sleeps, mask=self.mask, slab_backed=family.slab_backed, contiguous=family.contiguous,
            managed=family.managed, array=_own(self.array, prototype.name), zeroing=_own(self.zeroing, prototype.name),
            masked=_own(self.masked, prototype.name), pooled=self.pooled,
            fixed_order=self.fixed_order if roles["order"] is None else None, **roles,  # type: ignore[arg-type]
            sure=self._sure(prototype),
        )  # fmt: skip
        yield entry
        if self.noprof and (scope.version is None or scope.version >= (6, 10)):
            yield msgspec.structs.replace(entry, name=f"{entry.name}_noprof")

    def _sure(self, prototype: Prototype) -> tuple[int, str] | None:
        for name, flag in self.sure.items():
            if name not in prototype.params:
                raise Mistake("sure", f"{prototype.name} has no parameter `{name}`")
            return prototype.params.index(name), flag
        return None

    def twins(self) -> Iterator[tuple[str, str]]:
        """Yield (key, allocator name) for each twin that the table names."""
        for key, values in (("array", self.array), ("zeroing", self.zeroing), ("masked", self.masked)):
            for name in [values] if isinstance(values, str) else values.values():
                yield key, name


class Accept(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A family that a deallocator takes in some kernels only."""

    family: str
    since: str = ""
    until: str = ""


class FreeGroup(Group, kw_only=True):
    """`[[free]]`: deallocators of the same families; the parameter `ptr` is what they free."""

    accepts: tuple[str | Accept, ...]
    accepts_null: bool = False
    accepts_err_ptr: bool = False
    spares_err_ptr: bool = False
    sleeps: Sleeps = "never"
    flavour: Flavour = "plain"
    fixed_order: int | None = None
    sleeps_without: str = ""

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the deallocator."""
        roles = _roles(
            prototype, order="order", cache="cache", pool="pool", dev="dev", handle="handle", count="n", size="size",
            sleeps_without=self.sleeps_without,
        )  # fmt: skip
        if "ptr" not in prototype.params:
            raise Mistake("prototypes", f"{prototype.name} has no parameter `ptr`")
        yield Free(
            name=prototype.name, accepts=tuple(self._accepted(scope)), params=prototype.params,
            ptr=prototype.params.index("ptr"), accepts_null=self.accepts_null, accepts_err_ptr=self.accepts_err_ptr,
            spares_err_ptr=self.spares_err_ptr, sleeps=self.sleeps, flavour=self.flavour, fixed_order=self.fixed_order, **roles,
        )  # fmt: skip

    def _accepted(self, scope: Scope) -> Iterator[str]:
        for item in self.accepts:
            accept = Accept(item) if isinstance(item, str) else item
            _known("accepts", (accept.family,), scope.families)
            if holds(scope.version, parse_version(accept.since, "accepts"), parse_version(accept.until, "accepts")):
                yield accept.family


class LockGroup(Group, kw_only=True):
    """`[[lock]]`: primitives with the same effect on the held state; the parameter `lock` is the lock."""

    action: Literal["acquire", "release", "retake", "assert"]
    kinds: tuple[str, ...] = ()
    when: Literal["always", "nonzero", "zero", "nonnull"] = "always"
    sleeps: bool = False

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the effect, and a sleeper of the same name if taking the lock may sleep."""
        _known("kinds", self.kinds, scope.kinds)
        yield LockEffect(
            name=prototype.name, action=self.action, kinds=self.kinds, params=prototype.params, when=self.when,
            atomic=any(scope.kinds[kind].atomic for kind in self.kinds), sleeps=self.sleeps,
            **_roles(prototype, lock="lock", flags="flags"),
        )  # fmt: skip
        if self.sleeps:
            title = scope.kinds[self.kinds[0]].title if self.kinds else "a lock"
            yield Sleeper(name=prototype.name, why=f"waits for {title}", params=prototype.params)


class SectionGroup(Group, kw_only=True):
    """`[[section]]`: functions that begin or end a section that is no lock, beside what their bodies do."""

    action: Literal["acquire", "release"]
    kinds: tuple[str, ...]
    when: Literal["always", "nonzero", "zero", "nonnull"] = "always"

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the section."""
        _known("kinds", self.kinds, scope.kinds)
        yield Section(name=prototype.name, action=self.action, kinds=self.kinds, params=prototype.params, when=self.when)


class SleepGroup(Group, kw_only=True):
    """`[[sleep]]`: functions that may sleep whenever they are called; `why` completes "it ..."."""

    why: str
    unless: tuple[Literal["pagefault", "interrupt", "object"], ...] = ()

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the sleeper."""
        yield Sleeper(
            name=prototype.name, why=self.why, params=prototype.params, unless=self.unless,
            **_roles(prototype, cond="cond", gfp="gfp"),
        )  # fmt: skip


class GuardGroup(Group, kw_only=True):
    """`[[guard]]`: classes of guard(), each written as the prototype of its constructor."""

    kinds: tuple[str, ...]
    sleeps: bool = False
    conditional: bool = False

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the class."""
        _known("kinds", self.kinds, scope.kinds)
        yield Guard(
            name=prototype.name, kinds=self.kinds, sleeps=self.sleeps, conditional=self.conditional,
            atomic=any(scope.kinds[kind].atomic for kind in self.kinds), **_roles(prototype, lock="lock"),
        )  # fmt: skip


class CleanupGroup(Group, kw_only=True):
    """`[[cleanup]]`: classes of __free(), each with the deallocator that it calls."""

    classes: dict[str, str]
    accepts_null: bool = True
    accepts_err_ptr: bool = False

    def members(self) -> Iterator[Cleanup]:
        """Yield the classes."""
        for name, free in self.classes.items():
            yield Cleanup(
                name=name, free=free, accepts_null=self.accepts_null, accepts_err_ptr=self.accepts_err_ptr
            )


class CallbackGroup(Group, kw_only=True):
    """`[[callback]]`: where functions are handed over (parameters that `contexts` names) or stored (`fields`).

    `contexts` maps a parameter name to its context; `context` is that of every field "tag.member". With `member` it is
    not the argument that runs, but what its member holds; where a file has the word `unless`, nothing is claimed.
    """

    contexts: dict[str, str] = {}
    context: str = ""
    fields: tuple[str, ...] = ()
    member: str = ""
    unless: str = ""

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield one callback for each parameter of `contexts`."""
        _known("contexts", tuple(self.contexts.values()), scope.contexts)
        found = [(i, self.contexts[param]) for i, param in enumerate(prototype.params) if param in self.contexts]
        if not found:
            raise Mistake("prototypes", f"{prototype.name} has no parameter that `contexts` names")
        for index, context in found:
            yield Callback(name=prototype.name, context=context, argument=index, member=self.member, unless=self.unless)

    def members(self, scope: Scope) -> Iterator[Callback]:
        """Yield the fields."""
        if self.fields:
            _known("context", (self.context,), scope.contexts)
        for field in self.fields:
            yield Callback(name=field, context=self.context, unless=self.unless)


class ResultGroup(Group, kw_only=True):
    """`[[result]]`: functions that judge or hand on the result of an allocation, their parameter `ptr`.

    Those that wait for a grace period need none. `pointer`: what they return leads to that memory.
    """

    action: Literal["test", "pass", "take", "error", "use", "lend", "unlink", "clear", "grace", "wipe", "attach"]
    means: tuple[Literal["null", "err_ptr"], ...] = ()
    pointer: bool = False

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the verdict."""
        if "ptr" not in prototype.params and self.action != "grace":
            raise Mistake("prototypes", f"{prototype.name} has no parameter `ptr`")
        ptr = prototype.params.index("ptr") if "ptr" in prototype.params else 0
        yield Verdict(name=prototype.name, action=self.action, means=self.means, ptr=ptr, pointer=self.pointer)


class TestGroup(Group, kw_only=True):
    """`[[test]]`: functions that tell in which context they run; `sleepable`: they are true where code may sleep."""

    sleepable: bool

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the test."""
        yield Test(name=prototype.name, sleepable=self.sleepable)


class ViewGroup(Group, kw_only=True):
    """`[[view]]`: functions that say in other words, as memory of a `family`, what their parameter `ptr` is."""

    family: str

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the view."""
        _known("family", (self.family,), scope.families)
        if "ptr" not in prototype.params:
            raise Mistake("prototypes", f"{prototype.name} has no parameter `ptr`")
        yield View(name=prototype.name, ptr=prototype.params.index("ptr"), family=self.family)


class NeedGroup(Group, kw_only=True):
    """`[[need]]`: functions whose parameter `ptr` must be memory of a kind (`of`); `why` completes "it ..."."""

    of: Literal["contiguous", "mapped", "still", "asked"]
    why: str = ""

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the need."""
        if "ptr" not in prototype.params:
            raise Mistake("prototypes", f"{prototype.name} has no parameter `ptr`")
        yield Need(name=prototype.name, of=self.of, ptr=prototype.params.index("ptr"), why=self.why)


class AccessGroup(Group, kw_only=True):
    """`[[access]]`: functions that access `size` bytes of `ptr`; `string`: that write the string `src` there, and its NUL."""

    string: bool = False

    def build(self, prototype: Prototype, scope: Scope) -> Iterator[Any]:
        """Yield the access."""
        roles = _roles(prototype, size="size", source="src")
        wanted = "source" if self.string else "size"
        if "ptr" not in prototype.params or roles[wanted] is None:
            raise Mistake("prototypes", f"{prototype.name} lacks a parameter `ptr` or `{'src' if self.string else 'size'}`")
        yield Access(name=prototype.name, ptr=prototype.params.index("ptr"), string=self.string,
                     size=roles["size"], source=roles["source"])


GROUPS: dict[str, type[Group]] = {
    "alloc": AllocGroup, "free": FreeGroup, "lock": LockGroup, "section": SectionGroup, "sleep": SleepGroup, "guard": GuardGroup,
    "cleanup": CleanupGroup, "callback": CallbackGroup, "result": ResultGroup,
    "test": TestGroup, "view": ViewGroup, "need": NeedGroup, "access": AccessGroup,
}  # fmt: skip
