"""How sure a chain is decides how loudly it is told, and what it assumes is said."""

from pathlib import Path

import pytest

from kgfplint import engine
from kgfplint.config import Settings
from kgfplint.findings import Finding, Severity

HEAD = """
struct dev { spinlock_t lock; struct kref ref; const struct dev_ops *ops; int mode; void *buf; };
struct dev_ops { void (*fill)(struct dev *dev); };
static void fill(struct dev *dev) { dev->buf = kmalloc(16, GFP_KERNEL); }
"""
LOCKED = "void work(struct dev *dev) { spin_lock(&dev->lock); CALL; spin_unlock(&dev->lock); }\n"
PLAIN = HEAD + LOCKED.replace("CALL", "fill(dev)")
MODE = HEAD + "static void try(struct dev *dev) { if (dev->mode == 3) fill(dev); }\n" + LOCKED.replace("CALL", "try(dev)")
MODES = MODE.replace("CALL", "").replace("try(dev);", "if (dev->mode != 4) try(dev);")
LAST = HEAD + ("static void gone(struct kref *ref) { kfree(kmalloc(8, GFP_KERNEL)); }\n"
               "int kref_put(struct kref *kref, void (*release)(struct kref *kref)) { release(kref); return 1; }\n"
               ) + LOCKED.replace("CALL", "kref_put(&dev->ref, gone)")
ONCE = (HEAD + "static int more(struct dev *dev) { if (!dev->buf) { dev->buf = kmalloc(32, GFP_KERNEL); } return 0; }\n"
        + LOCKED.replace("CALL", "more(dev)"))
BEFORE = ONCE + "int open(struct dev *dev) { return more(dev); }\n"
FIRST = HEAD + LOCKED.replace("CALL", "if (!dev->buf) dev->buf = kmalloc(32, GFP_KERNEL)")
TWO = BEFORE.replace("if (!dev->buf) {", "if (dev->buf && dev->ops) return 0; {").replace(
    "return 0; }\nvoid", "dev->ops = kmalloc(64, GFP_KERNEL); return 0; }\nvoid")
COUNTED = PLAIN.replace("{ dev->buf =", "{ if (atomic_inc_not_zero(&users)) return; page =")
COUNTED += "void open(void) { fill(NULL); }\n"
MARKED = HEAD + ("static void set(struct dev *dev) { if (dev->mode & 4) return; "
                 "page = kmalloc(8, GFP_KERNEL); dev->mode |= 4; }\n") + LOCKED.replace("CALL", "set(dev)")
MARKED_BEFORE = MARKED + "void open(struct dev *dev) { set(dev); }\n"
BUSY = MARKED_BEFORE.replace(" dev->mode |= 4;", "").replace("return; ", "return; dev->mode |= 4; ")
SPILL = HEAD + ("static void copy(struct dev *dev) { char stack[64], *p = stack; int n = dev->mode; if (n > sizeof(stack)) "
                "p = kmalloc(n, GFP_KERNEL); }\n"
                ) + LOCKED.replace("CALL", "copy(dev)")
COMMENT = HEAD + """
/**
 * grow() - Grow.
 * @dev: What grows.
 *
 * Context: CONTEXT
 */
void grow(struct dev *dev) { dev->buf = kmalloc(16, GFP_KERNEL); }
"""


def told(folder: Path, files: dict[str, str], code: str = "KGF101") -> list[Finding]:
    """Lint files and return what a rule says of them."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    settings = Settings(severity="note", cache=False)
    return [finding for finding in engine.run([folder], settings, lambda *_: None).findings if finding.code == code]


@pytest.mark.parametrize(("text", "severity", "words"), [
    (PLAIN, Severity.ERROR, ""),
    (MODE, Severity.WARNING, "provided that dev->mode == 3 is true in try()"),
    (MODES, Severity.WARNING, "and 1 more"),
    (LAST, Severity.WARNING, "provided that kref_put() drops the last reference"),
    (ONCE, Severity.WARNING, "provided that dev->buf was not there before"),
    (BEFORE, Severity.NOTE, "provided that dev->buf was not there before"),
    (TWO, Severity.NOTE, "provided that the memory was not there before"),
    (COUNTED, Severity.NOTE, "provided that the memory was not there before"),
    (MARKED, Severity.WARNING, "provided that dev->mode & 4 was not there before"),
    (MARKED_BEFORE, Severity.NOTE, "provided that dev->mode & 4 was not there before"),
    (BUSY, Severity.WARNING, "provided that dev->mode & 4 is false in set()"),
    (FIRST, Severity.ERROR, ""),
    (SPILL, Severity.WARNING, "dev->mode <= sizeof(stack) is false in copy()"),
    (COMMENT.replace("CONTEXT", "Any context."), Severity.NOTE, "in any context, as the comment of grow() says"),
    (COMMENT.replace("CONTEXT", "Interrupt context."), Severity.WARNING, "the comment of grow() is right"),
], ids=["plain", "condition", "conditions", "last reference", "once", "once, elsewhere", "either of two", "counted",
        "marked", "marked, elsewhere", "marked before",
        "first under the lock", "spilled", "any context", "interrupts"])
def test_what_a_chain_assumes(tmp_path: Path, text: str, severity: Severity, words: str) -> None:
    """One assumption makes a warning, and so do several conditions in the file where the chain begins."""
    found, = told(tmp_path, {"dev.c": text})
    assert found.severity == severity
    assert words in found.message
    assert ("provided" in found.message) is bool(words)


STRUCTS, _, FILL = HEAD.strip().rpartition("\n")
SHARED = '#include "../dev.h"\n'
CORE = SHARED + "void core(struct dev *dev) { TEST dev->ops->fill(dev); }\n"
DRIVER = f"{SHARED}{FILL}\nstatic const struct dev_ops ops = {{ .fill = fill }};\n"


def test_other_assumptions_add_up(tmp_path: Path) -> None:
    """A condition somewhere else on top of the choice of an operation is too much for a warning."""
    found = told(tmp_path, {
        "dev.h": STRUCTS, "core/core.c": CORE.replace("TEST", "if (dev->mode == 3)"), "a/a.c": DRIVER, "b/b.c": DRIVER,
        "c/deep/c.c": LOCKED.replace("CALL", "core(dev)"),
    })  # fmt: skip
    assert [finding.severity for finding in found] == [Severity.NOTE]
    assert "and 1 more" in found[0].message


@pytest.mark.parametrize("mask", ["GFP_KERNEL", "GFP_ATOMIC"])
def test_a_chain_comes_back_to_its_own_driver(tmp_path: Path, mask: str) -> None:
    """What a driver calls through common code is an operation of its own, not one of another driver."""
    mine = DRIVER.replace("GFP_KERNEL", mask) + LOCKED.replace("CALL", "core(dev)")
    found = told(tmp_path, {"dev.h": STRUCTS, "core/core.c": CORE.replace("TEST", ""), "a/a.c": mine, "b/b.c": DRIVER})
    assert [step.path for finding in found for step in finding.trace[-1:]] == ["a/a.c"] * (mask == "GFP_KERNEL")


def test_the_shorter_of_two_equal_chains_stays_in_its_file(tmp_path: Path) -> None:
    """Of two locks that lead to an allocation the one in its own file is told."""
    fill = PLAIN.replace("static void fill", "void fill").replace("work", "own")
    found, = told(tmp_path, {"b.c": fill, "a.c": LOCKED.replace("CALL", "fill(dev)").replace("work", "other")})
    assert [step.path for step in found.trace] == ["b.c"] * 3


RESET = """
struct dev { void *ring; void *base; };
static void rings(struct dev *dev)
{
	void *mem;

	if (dev->ring == NULL) {
		mem = kmalloc(4096, GFP_KERNEL);
		dev->base = mem;
		dev->ring = mem;
	}
}
static int reset(struct scsi_cmnd *cmd) { rings(cmd->host_scribble); return 0; }
static const struct scsi_host_template host = { .eh_host_reset_handler = reset };
"""


PROBE = "int probe(struct dev *dev) { rings(dev); }"
SPARE = RESET.replace("dev->base = mem;\n\t\tdev->ring = mem;", "dev->ring = kmalloc(64, GFP_ATOMIC);\n\t\tspare(mem);")


@pytest.mark.parametrize(("text", "severity"), [(RESET, Severity.WARNING), (RESET + PROBE, Severity.NOTE),
                                                (SPARE + PROBE, Severity.WARNING)], ids=["first", "kept", "not kept"])
def test_what_others_made_before_a_reset(tmp_path: Path, text: str, severity: Severity) -> None:
    """Memory that is there since the device was probed is not allocated when it is reset; what is not kept is."""
    found, = told(tmp_path, {"dev.c": text}, "KGF105")
    assert found.severity == severity


LIBRARY = {
    "bus/bus.h": """
struct bus_ops { int (*abort)(struct task *task); };
struct bus { const struct bus_ops *ops; };
int bus_abort(struct scsi_cmnd *cmd);
""",
    "bus/bus.c": '#include "bus.h"\n'
                 'int bus_abort(struct scsi_cmnd *cmd) { struct bus *bus = cmd->host_scribble; return bus->ops->abort(NULL); }\n',
    "ant/ant.c": """
#include "../bus/bus.h"
static int ant_abort(struct task *task) { kfree(kmalloc(16, MASK)); return 0; }
static const struct bus_ops ant_ops = { .abort = ant_abort };
static const struct scsi_host_template ant_template = {
	.eh_abort_handler = bus_abort,
};
""",
    "bee/bee.c": """
#include "../bus/bus.h"
static int bee_abort(struct task *task) { kfree(kmalloc(32, GFP_KERNEL)); return 0; }
static const struct bus_ops bee_ops = { .abort = bee_abort };
""",
}


def test_shared_code_comes_back_to_the_drivers_that_register_it(tmp_path: Path) -> None:
    """What one driver registers of a library calls the operations of that driver alone; the first step is where it does so."""
    files = {name: text.replace("MASK", "GFP_KERNEL") for name, text in LIBRARY.items()}
    found, = told(tmp_path, files, "KGF105")
    assert [(step.path, step.function) for step in found.trace] == [
        ("ant/ant.c", "bus_abort"), ("bus/bus.c", "bus_abort"), ("ant/ant.c", "ant_abort")]
    assert found.trace[0].line == 6
    assert not told(tmp_path, {name: text.replace("MASK", "GFP_NOIO") for name, text in LIBRARY.items()}, "KGF105")
