"""What may sleep: allocations by their mask, allocators and frees that always may, and in which states each must not run."""

from collections.abc import Iterable

from msgspec import Struct

from kgfplint.catalogue import Alloc, Catalogue, Free
from kgfplint.facts import ir
from kgfplint.findings import Severity
from kgfplint.gfp import Mask, Masks
from kgfplint.gfp.policy import policy
from kgfplint.program.constants import constants_of
from kgfplint.program.meaning import Meaning, Values

ANYWHERE, PROCESS, IRQS_OFF, RAW = "anywhere", "process", "irqs-off", "raw"
"""Where a call is wrong: in every atomic state; in those that are not interrupt context, where the work is put off;
only with interrupts off; only in NMI context and under locks that spin even on PREEMPT_RT."""
MASKED = "masked"
"""The name of the context of functions that were given a mask which does not let them sleep."""
_WHERE = {"unless-interrupt": PROCESS, "maybe-vmalloc": PROCESS, "irqs-on": IRQS_OFF}


class Sleep(Struct, frozen=True, array_like=True):
    """A call that may sleep: `what` names it in messages, `where` says in which states it must not run.

    `frees`: it frees memory; `perhaps`: it sleeps for some memory only (kvfree() of what vmalloc() gave), or not on machines
    that map it already (ioremap()). `reclaims`: how far its mask lets reclaim go (see strength()), 0 if it
    does not, or nobody knows. `unless`: it sleeps only where this is 0, which is not known in the function itself.
    """

    what: str
    where: str = ANYWHERE
    frees: bool = False
    perhaps: bool = False
    reclaims: int = 0
    unless: ir.Expr | None = None


def sleep_of(meaning: Meaning, file: int, call: ir.Call, values: Values) -> Sleep | None:
    """Return how a call may sleep by what it is given, None if it need not.

    Functions that allocate with a mask of their own are no sleep here: the allocation inside them is. An allocation
    that cannot sleep is one for RAW states.
    """
    name = call.callee.id if type(call.callee) is ir.Name else ""
    known = meaning.catalogue
    effect = known.locks.get(name)
    if not name or (effect is not None and effect.action == "retake"):
        return None
    free = known.frees.get(name)
    if free is not None:
        return _freeing(free, call)
    alloc = known.allocs.get(name)
    if alloc is not None and alloc.sleeps != "gfp":
        return _allocating(meaning, file, alloc, call)
    if alloc is not None:
        mask = meaning.mask_of(file, alloc, call, values)
    else:
        says = known.sleepers.get(name)
        place = meaning.gfp_argument(file, name) if says is None else says.gfp
        if place is None or place >= len(call.args) or (says is None and not meaning.allocates_by_mask(name)):
            return None
        mask = meaning.evaluate(file, call.args[place], values)
    sleeps = meaning.masks.may_sleep(mask)
    if sleeps is None or (alloc is None and not sleeps):
        return None
    what = f"{name}() with {meaning.masks.describe(mask)}"
    asks = name in policy(known.version).askers
    return Sleep(what, ANYWHERE if sleeps else RAW, reclaims=0 if asks else strength(meaning.masks, mask))


def strength(masks: Masks, mask: Mask) -> int:
    """Return how far a mask surely lets reclaim go: 3 into file systems, 2 to IO, 1 no further, 0 nowhere as far as is known.

    That is, 1 more than what may be asked for where reclaim must do less: see ALLOWED.
    """
    if masks.may_sleep(mask) is not True:
        return 0
    return 3 if masks.has(mask, "__GFP_FS") else 2 if masks.has(mask, "__GFP_IO") else 1


def restricted(masks: Masks, mask: Mask) -> int:
    """Return how far reclaim may go at most by a mask that allows to sleep, 3 if that is not known to be less."""
    if masks.may_sleep(mask) is not True or masks.has(mask, "__GFP_FS") is not False:
        return 3
    return 1 if masks.has(mask, "__GFP_IO") is False else 2


ALLOWED = {"none": 0, "noio": 1, "nofs": 2, "": 3}
"""How far reclaim may go, as a strength: where nothing may be reclaimed, no IO be done, no file system entered."""


def _allocating(meaning: Meaning, file: int, alloc: Alloc, call: ir.Call) -> Sleep | None:
    """Return how a call sleeps that no mask decides on, None where it is told not to block."""
    unless = call.args[alloc.noblock] if alloc.noblock is not None and alloc.noblock < len(call.args) else None
    told = constants_of(meaning.program).value(file, unless) if unless is not None else 0
    if alloc.sleeps == "never" or told:
        return None
    unknown = unless if told is None else None
    # What makes a whole object may have its own way to memory: a tag, an inode of the file system's own cache.
    plain = alloc.mask is not None and not meaning.catalogue.families[alloc.family].object
    own = strength(meaning.masks, meaning.masks.parse(alloc.mask or "")) if plain else 0
    return Sleep(f"{alloc.name}()", _WHERE.get(alloc.sleeps, ANYWHERE), False, alloc.sleeps == "mostly" or unknown is not None,
                 own, unknown)


def _freeing(free: Free, call: ir.Call) -> Sleep | None:
    if free.sleeps_without is not None and len(call.args) <= free.sleeps_without:
        return Sleep(f"{free.name}() without a head", ANYWHERE, True)
    if free.sleeps in ("never", "gfp"):
        return None
    return Sleep(f"{free.name}()", _WHERE.get(free.sleeps, ANYWHERE), True, free.sleeps in ("maybe-vmalloc", "mostly"))


def forbidden(sleep: Sleep, kinds: Iterable[str], context: str, catalogue: Catalogue) -> bool:
    """Tell whether a sleep is wrong under held `kinds` (names of lock kinds) in `context` ("": none known)."""
    held = [kind for name in kinds if (kind := catalogue.kinds.get(name)) is not None and kind.atomic]
    root = catalogue.contexts.get(context)
    if root is not None and not root.atomic:
        root = None
    if not held and root is None:
        return False
    if sleep.where == RAW:
        return any(kind.raw for kind in held) or (root is not None and root.raw)
    if sleep.where == PROCESS:
        return not any(kind.interrupt for kind in held) and not (root is not None and root.interrupt)
    if sleep.where == IRQS_OFF:
        return any(kind.name == "irq" for kind in held) or (root is not None and root.irqs_off)
    return True


def severity(sleep: Sleep) -> Severity:
    """What sleeps only for some of the memory needs the assumption that this is such memory."""
    return Severity.WARNING if sleep.perhaps else Severity.ERROR
