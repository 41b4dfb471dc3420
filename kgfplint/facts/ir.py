"""The intermediate representation: expressions, events, basic blocks, and the facts of one file.

All values are immutable and hold no position except the line (1-based) and column (1-based) of
events. Expressions compare by structure, so two spellings of `p->buf` in one function are equal.
Types are normalised C text without qualifiers: `struct foo *`, `u32`, `char[]`.
"""

from typing import TypeAlias

from msgspec import Struct


class Name(Struct, frozen=True, array_like=True, gc=False, tag=1):
    """An identifier: local, parameter, global, function, enumerator or macro."""

    id: str


class Number(Struct, frozen=True, array_like=True, gc=False, tag=2):
    """An integer constant."""

    value: int


class Text(Struct, frozen=True, array_like=True, gc=False, tag=3):
    """A string literal (without its quotes)."""

    value: str


class Field(Struct, frozen=True, array_like=True, gc=False, tag=4):
    """`base->member` (arrow) or `base.member`."""

    base: "Expr"
    member: str
    arrow: bool


class Deref(Struct, frozen=True, array_like=True, gc=False, tag=5):
    """`*base`."""

    base: "Expr"


class AddressOf(Struct, frozen=True, array_like=True, gc=False, tag=6):
    """`&base`."""

    base: "Expr"


class Index(Struct, frozen=True, array_like=True, gc=False, tag=7):
    """`base[index]`."""

    base: "Expr"
    index: "Expr"


class CallResult(Struct, frozen=True, array_like=True, gc=False, tag=8):
    """The value of a call (function or macro) inside a larger expression."""

    callee: "Expr"
    args: tuple["Expr", ...]


class SizeOf(Struct, frozen=True, array_like=True, gc=False, tag=9):
    """`sizeof(type)` (ctype set) or `sizeof(operand)`; `word` may also be `_Alignof` or `offsetof`."""

    ctype: str
    operand: "Expr | None"


class Cast(Struct, frozen=True, array_like=True, gc=False, tag=10):
    """`(type)operand`."""

    ctype: str
    operand: "Expr"


class TypeName(Struct, frozen=True, array_like=True, gc=False, tag=11):
    """A type handed over as an argument: `kzalloc_obj(struct foo)`, `container_of(p, struct foo, m)`."""

    ctype: str


class Unary(Struct, frozen=True, array_like=True, gc=False, tag=12):
    """`!x`, `-x`, `~x`."""

    op: str
    operand: "Expr"


class Binary(Struct, frozen=True, array_like=True, gc=False, tag=13):
    """`left op right`, for arithmetic, comparison, bit and logical operators."""

    op: str
    left: "Expr"
    right: "Expr"


class Conditional(Struct, frozen=True, array_like=True, gc=False, tag=14):
    """`condition ? then : other`; `then` is the condition itself in GNU `a ?: b`."""

    condition: "Expr"
    then: "Expr"
    other: "Expr"


class Initialiser(Struct, frozen=True, array_like=True, gc=False, tag=15):
    """A brace list or compound literal: (member or "", value) pairs; ctype is "" for a bare list."""

    ctype: str
    items: tuple[tuple[str, "Expr"], ...]


class Unknown(Struct, frozen=True, array_like=True, gc=False, tag=16):
    """Something the IR has no word for; `text` is a short excerpt and makes it unequal to others."""

    text: str


Expr: TypeAlias = (
    Name | Number | Text | Field | Deref | AddressOf | Index | CallResult | SizeOf | Cast | TypeName
    | Unary | Binary | Conditional | Initialiser | Unknown
)


class Call(Struct, frozen=True, array_like=True, gc=False, tag=1):
    """One call, in evaluation order; `target` is the lvalue its value is stored to, if it is.

    A call nested in another expression appears as its own event before the event of the outer
    one, and once more as CallResult inside the outer expression. `block_macro` marks the head of
    a loop or scope macro (`list_for_each_entry(p, h, m)`), which may assign its plain arguments.
    """

    callee: Expr
    args: tuple[Expr, ...]
    target: Expr | None
    line: int
    column: int
    end_line: int
    block_macro: bool = False


class Assign(Struct, frozen=True, array_like=True, gc=False, tag=2):
    """`target op= value` with no outermost call on the right; op is "" for plain `=`."""

    target: Expr
    value: Expr
    op: str
    line: int
    column: int


class Return(Struct, frozen=True, array_like=True, gc=False, tag=3):
    """`return value;` (value None for a bare return or the end of the body)."""

    value: Expr | None
    line: int
    column: int


class Declare(Struct, frozen=True, array_like=True, gc=False, tag=4):
    """A local comes into being without an initialiser; its former value (in a loop) is gone."""

    name: str
    line: int


class Evaluate(Struct, frozen=True, array_like=True, gc=False, tag=5):
    """An expression evaluated for its effects or accesses only (`p->n++`, inline assembly)."""

    value: Expr
    line: int
    column: int


class Guard(Struct, frozen=True, array_like=True, gc=False, tag=6):
    """Entry or exit of `guard(cls)(args)`, `scoped_guard(cls, args)` or `CLASS(cls, v)(args)`.

    `scoped`: it guards a statement of its own, which runs only if the class got what it asked for.
    """

    cls: str
    args: tuple[Expr, ...]
    enter: bool
    line: int
    column: int
    scoped: bool = False


class Cleanup(Struct, frozen=True, array_like=True, gc=False, tag=7):
    """Scope exit of a variable declared with `__free(cls)` or `__cleanup(cls)`."""

    name: str
    cls: str
    line: int


Event: TypeAlias = Call | Assign | Return | Declare | Evaluate | Guard | Cleanup


class Edge(Struct, frozen=True, array_like=True, gc=False):
    """Control flow to block `to` when `condition` is `truth` (condition None: always, or unknown)."""

    to: int
    condition: Expr | None = None
    truth: bool = True


class Block(Struct, frozen=True, array_like=True, gc=False):
    """A basic block: events in order, then the edges out; `line` is of its branch condition (0: none)."""

    events: tuple[Event, ...]
    edges: tuple[Edge, ...]
    line: int = 0


class Local(Struct, frozen=True, array_like=True, gc=False):
    """A local variable; storage is "", "static" or "extern"; cleanup the `__free()` class or ""."""

    name: str
    ctype: str
    line: int
    storage: str = ""
    cleanup: str = ""


class Body(Struct, frozen=True, array_like=True, gc=False):
    """The control flow graph of one function: block 0 is the entry; a block without edges leaves."""

    blocks: tuple[Block, ...]
    locals: tuple[Local, ...]


class Param(Struct, frozen=True, array_like=True, gc=False):
    """A parameter; a macro's parameters have type ""."""

    name: str
    ctype: str


STATIC, INLINE, MACRO, DAMAGED, VARIADIC, EXPRESSION, NORETURN, SKETCHED, LEAVES = 1, 2, 4, 8, 16, 32, 64, 128, 256
"""Flag bits of Function.flags; EXPRESSION: a macro whose body is one expression (its value is returned);
NORETURN: no return is reachable in its control flow graph; SKETCHED: its body has not been parsed (see facts.sketch);
LEAVES: a macro that ends in a return of its user on every path."""


class Function(Struct, frozen=True, array_like=True, gc=False):
    """What linking needs to know of one function definition, without its body.

    calls holds (callee name, line) of direct calls; indirect (type of the root, member path, line)
    of calls like `x->ops->open()`; handed (callee name, argument index, function name, line) of
    plain names given as arguments (callbacks, or locals: linking tells); stored the names of members that get a value
    other than a constant, or whose address is handed over (`name[]`: of elements of members).
    """

    name: str
    line: int
    end_line: int
    flags: int
    returns: str
    params: tuple[Param, ...]
    condition: str
    annotations: tuple[str, ...]
    calls: tuple[tuple[str, int], ...]
    indirect: tuple[tuple[str, str, int], ...]
    handed: tuple[tuple[str, int, str, int], ...]
    stored: tuple[str, ...] = ()


class Record(Struct, frozen=True, array_like=True, gc=False):
    """A struct or union definition: `kind` tag, members (name, type, bits or -1) flattened through anonymous ones.

    With bits of -2 a member stands at the start of the record like the first, in an unnamed union.

    A named member of an unnamed struct type gets a synthetic tag `outer.member`.
    `text` is the source of the definition, for layouts.
    """

    kind: str
    tag: str
    members: tuple[tuple[str, str, int], ...]
    line: int
    condition: str = ""


class Binding(Struct, frozen=True, array_like=True, gc=False):
    """A function name stored in a field: by a designated initialiser or by an assignment.

    `owner` is the struct tag when known from the initialiser, else the type of the root variable;
    `path` the dotted member path below it. `inside` is the function that stores it, or "=variable" for the initialiser
    of a global.
    """

    owner: str
    path: str
    function: str
    line: int
    inside: str = ""


class FileFacts(Struct, frozen=True, array_like=True, gc=False):
    """All facts of one file but the bodies; a pure function of its bytes and the facts version.

    `declared` holds (macro, argument index, name, line) of macros called at file scope.
    """

    functions: tuple[Function, ...]
    records: tuple[Record, ...]
    typedefs: tuple[tuple[str, str], ...]
    enumerators: tuple[tuple[str, str], ...]
    macros: tuple[tuple[str, str], ...]
    globals: tuple[tuple[str, str, int], ...]
    bindings: tuple[Binding, ...]
    includes: tuple[str, ...]
    exports: tuple[str, ...]
    prototypes: tuple[tuple[str, str, tuple[Param, ...]], ...]
    noreturn: tuple[str, ...]
    lines: int
    code: bool
    declared: tuple[tuple[str, int, str, int], ...] = ()
