"""What the catalogue knows: one immutable entry per function, lock primitive, guard or callback.

Indices count arguments from 0; None means that the function has no such parameter. They come from
the parameter names of the prototypes in rules/; groups lists the canonical ones.
"""

from typing import Literal

import msgspec

Version = tuple[int, int]
"""A kernel version, (6, 12)."""

Fails = Literal["null", "err_ptr", "zero", "errno", "never", "null-if-atomic"]
"""What an allocator returns on failure; "null-if-atomic": NULL, but never fails when its mask may sleep (mempools)."""

Sleeps = Literal["gfp", "always", "never", "unless-interrupt", "maybe-vmalloc", "irqs-on", "mostly"]
"""When a function may sleep: as its mask says, always, never, except in interrupt context (vfree), likewise but only
for vmalloc memory (kvfree), or never, but it must not run with interrupts off (dma_free_coherent)."""

Reclaim = Literal["", "none", "noio", "nofs"]
"""How far reclaim may go: it is not entered, it starts no IO, it enters no file system; "" is no limit."""

Flavour = Literal["plain", "bulk", "rcu", "sensitive", "const", "put", "inside", "callback"]


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of memory that has its own way to be freed; `title` is what messages call it.

    `contiguous`: physically, so that it may go to DMA; `slab_backed`: highmem and movable masks are wrong
    for it; `heap`: of the guide's general allocators; `managed`: freed by its device; `object`: not plain
    memory but a counted object; `scattered`: its pages do not follow each other ("always", or "large": above a page), and its
    addresses are none of the linear map.
    """

    name: str
    title: str
    contiguous: bool = False
    slab_backed: bool = False
    heap: bool = False
    managed: bool = False
    object: bool = False
    scattered: Literal["", "always", "large"] = ""


CALCULATED = -1
"""An order that nobody can name outside of the function that calculates it."""


class Alloc(msgspec.Struct, frozen=True, kw_only=True):
    """An allocator. `out` is the parameter that takes the memory, None when it is returned.

    `mask` is the mask expression in force where the call has no `gfp` argument (fixed, or the default
    of an optional one); `pooled`: not all memory comes from where __GFP_ZERO counts. `array` and `zeroing` name the twin for
    n * size and for zeroed memory, `masked` the one that takes a mask.
    `length` counts characters, without the final NUL, or limits them: the size is not told by it alone.
    `ptr` set means that it resizes that memory, as krealloc() does. `fixed_order` is the order of pages that an
    allocator without `order` implies, CALCULATED if it makes one from what it is given. Where the argument `noblock` is not 0
    it does not sleep; where the argument `constant` is a literal, it allocates nothing. `sure`: with that flag, or
    "true", in that argument it never fails; `only`: it fails only with it.
    """

    name: str
    family: str
    params: tuple[str, ...]
    fails: Fails = "null"
    zeroes: bool = False
    sleeps: Sleeps = "gfp"
    mask: str | None = None
    slab_backed: bool = False
    contiguous: bool = False
    managed: bool = False
    array: str | None = None
    zeroing: str | None = None
    masked: str | None = None
    pooled: bool = False
    out: int | None = None
    gfp: int | None = None
    size: int | None = None
    length: int | None = None
    count: int | None = None
    element: int | None = None
    order: int | None = None
    fixed_order: int | None = None
    cache: int | None = None
    pool: int | None = None
    dev: int | None = None
    ptr: int | None = None
    handle: int | None = None
    type: int | None = None
    member: int | None = None
    align: int | None = None
    source: int | None = None
    noblock: int | None = None
    constant: int | None = None
    sure: tuple[int, str] | None = None
    only: tuple[int, str] | None = None


class Free(msgspec.Struct, frozen=True, kw_only=True):
    """A deallocator of the families in `accepts`, of the memory that argument `ptr` points to.

    `spares_err_ptr`: an error pointer does no harm there, though it may be complained of in the log.

    `flavour` bulk: `ptr` is an array of `count` pointers; put: drops a reference; inside: frees what
    hangs on what `ptr` points to, not that itself; callback: what a mempool calls. `fixed_order` is the order that a page
    deallocator without `order` implies. `sleeps_without`: calls that have no argument of this index sleep (kfree_rcu(p)).
    """

    name: str
    accepts: tuple[str, ...]
    params: tuple[str, ...]
    ptr: int
    accepts_null: bool = False
    accepts_err_ptr: bool = False
    spares_err_ptr: bool = False
    sleeps: Sleeps = "never"
    flavour: Flavour = "plain"
    fixed_order: int | None = None
    sleeps_without: int | None = None
    order: int | None = None
    cache: int | None = None
    pool: int | None = None
    dev: int | None = None
    handle: int | None = None
    count: int | None = None
    size: int | None = None


class LockKind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A kind of held state; `atomic` code under it must not sleep, `raw`: nor allocate.

    `counted` nests (preemption, RCU); `interrupt`: in_interrupt() is true under it; `title` is what messages call it.
    `boot`: so it is while the kernel boots, where masks are cut down to what is allowed (gfp_allowed_mask).
    `types` are those of its locks, or words that annotations have for it. `leaves`: what masks come down to in such a
    scope; `allows`: what they must come down to in such a section.
    """

    name: str
    title: str
    atomic: bool
    counted: bool = False
    raw: bool = False
    interrupt: bool = False
    boot: bool = False
    types: tuple[str, ...] = ()
    leaves: Reclaim = ""
    allows: Reclaim = ""


class LockEffect(msgspec.Struct, frozen=True, kw_only=True):
    """What a primitive does to the held state.

    `kinds` are acquired or released together (spin_lock_irqsave: spin, irq); "retake" drops `lock`
    and takes it again, and sleeps in between if `sleeps`; "assert" says that the caller holds it (no kinds: those that
    the type of the lock tells). `when` is the return value for which the effect holds.
    `lock` is the argument that names the lock, `flags` the saved interrupt state; `atomic` is true
    when one of the kinds forbids to sleep. `sleeps`: taking it may sleep.
    """

    name: str
    action: Literal["acquire", "release", "retake", "assert"]
    kinds: tuple[str, ...]
    params: tuple[str, ...]
    atomic: bool = False
    when: Literal["always", "nonzero", "zero", "nonnull"] = "always"
    lock: int | None = None
    flags: int | None = None
    sleeps: bool = False


class Section(LockEffect, frozen=True, kw_only=True):
    """A function that begins or ends a section or scope beside whatever else it does: its body counts as well."""


class Sleeper(msgspec.Struct, frozen=True, kw_only=True):
    """A function that may sleep in every call, but for the conditions.

    `why` completes "it ..."; `unless` names the states in which it does not ("pagefault": page faults are disabled,
    "interrupt": in interrupt context, "object": what it is given was made for atomic code); with `cond` only if that argument is
    not 0, with `gfp` only if that mask lets it.
    """

    name: str
    why: str
    params: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    cond: int | None = None
    gfp: int | None = None


class Guard(msgspec.Struct, frozen=True, kw_only=True):
    """A class of guard(), scoped_guard() or CLASS(): the kinds held from its entry to its exit.

    `conditional`: scoped_cond_guard() and ACQUIRE() classes that may fail to take it.
    """

    name: str
    kinds: tuple[str, ...]
    atomic: bool = False
    lock: int | None = None
    sleeps: bool = False
    conditional: bool = False


class Cleanup(msgspec.Struct, frozen=True, kw_only=True):
    """A class of __free(): the deallocator that runs at the end of the scope, and what it tolerates."""

    name: str
    free: str
    accepts_null: bool = True
    accepts_err_ptr: bool = False


class Context(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A context that code runs in; `atomic`: it must not sleep; `interrupt`: in_interrupt() is true in it; `irqs_off`:
    interrupts are disabled; `raw`: nothing may be allocated in it; `holds`: kinds of locks held in it, which it may drop;
    `vague`: who says so seldom means all of it; `types` are those of functions that run in it.

    `title` is what messages call it.
    """

    name: str
    title: str
    atomic: bool
    interrupt: bool = False
    irqs_off: bool = False
    raw: bool = False
    holds: tuple[str, ...] = ()
    vague: bool = False
    types: tuple[str, ...] = ()


class Flag(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A piece of the names of variables and members that tell code whether it may sleep (`can_sleep`).

    Names that begin with one of `operations` do not tell: atomic_read().
    """

    name: str
    operations: tuple[str, ...] = ()


class Phrase(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Words of the `Context:` section of a kernel-doc comment, and the context that they stand for; the first that fits
    counts.
    """

    name: str
    context: str


class Apart(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A folder of programs of their own: what they define under the name of an allocator is not the kernel's."""

    name: str


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pattern, as for file names, of the paths of code that only tests run."""

    name: str


class Undo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A word in the names of functions (or the name of one, `whole`), and those in the names of what takes its doing back.

    `idle`: what cannot fail has taken nothing that would have to be given back.
    """

    name: str
    by: tuple[str, ...]
    whole: bool = False
    idle: bool = False


class Counted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function that makes its argument a counted object, and those that give a reference to it up.

    `named` are those that give it a name, none if it has one then.
    """

    name: str
    by: tuple[str, ...]
    named: tuple[str, ...] = ()


class Setup(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function that sets up what argument `ptr` points to, so that it `holds` more than its own bytes until one of `by` has it.

    `idle`: until it is used, it holds nothing that a plain free of what it lies in would lose; `holds` is "" where it never does.
    """

    name: str
    by: tuple[str, ...]
    holds: str = ""
    ptr: int = 0
    idle: bool = False


class Failing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A function that frees argument `ptr` where it fails, as the function `by` would; `truth`: it returns whether it did not."""

    name: str
    ptr: int
    by: str
    truth: bool = False


class Parent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A struct whose device outlives the drivers that are bound to its children, and the struct of those (`child`)."""

    name: str
    child: str


class Test(msgspec.Struct, frozen=True, kw_only=True):
    """A function whose value tells in which context it runs: true where code may sleep (`sleepable`), or where it must not."""

    name: str
    sleepable: bool


class Callback(msgspec.Struct, frozen=True, kw_only=True):
    """A function given as `argument` of `name`, or stored in field `name` ("tag.member"), runs in `context`.

    With `member` set it is what that member of the argument holds. `unless` is a word that makes it void in a file.
    """

    name: str
    context: str
    argument: int | None = None
    member: str = ""
    unless: str = ""


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """A function that needs memory of a kind; `ptr` is its argument, `why` completes "it ...".

    contiguous: one piece of physical memory of the linear map; mapped: pages that the kernel has an address for; still: pages
    that stay where they are. asked: it needs nothing, but tells which kind it is given, so that its caller handles all.
    """

    name: str
    of: Literal["contiguous", "mapped", "still", "asked"]
    ptr: int
    why: str


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """A function that accesses `size` bytes of its argument `ptr`.

    `string`: it writes the string `source` with its NUL instead.
    """

    name: str
    ptr: int
    size: int | None
    string: bool
    source: int | None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A function or macro that tells from its argument `ptr` whether an allocation failed.

    Its value is true for the values in `means` ("null", "err_ptr"), or, with action "pass", its value is
    the argument itself; "take" also empties the argument; "error": its value is the error that ptr holds;
    "use": it accesses the memory that ptr points to without looking at ptr; "lend": it needs that memory for the call only;
    "unlink": it takes the node ptr out of a structure that RCU readers may still be on; "clear": it does so for the pointer
    that ptr is; "grace": it waits for those readers; "wipe": it overwrites the secret that ptr points to;
    "attach": it hangs ptr on a device, which is nothing once the caller, that device's probe, fails. `pointer`: what it returns
    leads to that memory.
    """

    name: str
    action: Literal["test", "pass", "take", "error", "use", "lend", "unlink", "clear", "grace", "wipe", "attach"]
    ptr: int
    pointer: bool = False
    means: tuple[str, ...] = ()


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A function whose value is other words for the memory that its argument `ptr` stands for: of `family`, and of the same
    order (the address of a page).
    """

    name: str
    ptr: int
    family: str
