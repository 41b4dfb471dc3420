"""Properties of mending, on code put together at random: twice is once, what is mended lints clean, the rest stays."""

import difflib
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgfplint import fixes, runs
from kgfplint.config import Settings
from kgfplint.engine import run

RULES = ("KGF101", "KGF210", "KGF213", "KGF214", "KGF401", "KGF402", "KGF501", "KGF502")
SETTINGS = Settings(jobs=1, severity="note", select=RULES)
HEAD = """#include <linux/slab.h>

struct row {
	u32 id;
	int taps;
	u32 tap[];
};

struct bank {
	spinlock_t lock;
	struct row *row;
	void *data;
};
"""
CHECKED = "\tif (!{0})\n\t\treturn -ENOMEM;\n"
MISTAKES = {
    "right free function": ("\tp = {vmalloc}(n);\n", CHECKED.format("p"), "\tfill(p, n);\n\tkfree(p);\n"),
    "array": ("\tbank->data = {kmalloc}(n * sizeof(u64){c}{gfp});\n", CHECKED.format("bank->data")),
    "struct_size": ("\tbank->row = {kmalloc}(sizeof(*bank->row) + n * sizeof(u32){c}{gfp});\n", CHECKED.format("bank->row")),
    "named mask": ("\tp = {kmalloc}(sizeof(struct row), __GFP_RECLAIM | __GFP_IO | __GFP_FS);\n", CHECKED.format("p"),
                   "\tuse(p);\n\tkfree(p);\n"),
    "swapped": ("\tbank->data = kcalloc(sizeof(u64), n{c}{gfp});\n", CHECKED.format("bank->data")),
    "order": ("\taddr = __get_free_pages(GFP_KERNEL, 2);\n", CHECKED.format("addr"), "\tfill((void *)addr, n);\n",
              "\tfree_pages(addr, 1);\n"),
    "zeroing": ("\tp = {kmalloc}(sizeof(struct row){c}{gfp});\n", CHECKED.format("p"), "\tmemset(p, 0, sizeof(struct row));\n",
                "\tuse(p);\n\tkfree(p);\n"),
    "under a lock": ("\tspin_lock(&bank->lock);\n\tbank->data = kmalloc(16{c}GFP_KERNEL);\n",
                     "\tbank->row = kzalloc(24{c}GFP_KERNEL);\n\tspin_unlock(&bank->lock);\n"),
    "nothing": ("\tp = kzalloc(64{c}{gfp});\n", CHECKED.format("p"), "\tuse(p);\n\tkfree(p);\n"),
}
COMMAS = (", ", ",\n\t\t\t     ", ",  ", " , ")
EXTRA = ("", "\n", "\t/* kfree(p); is not for this */\n", "\tpr_info(\"kmalloc(n * sizeof(u64))\");\n",
         "#ifdef CONFIG_ACME\n\tacme(bank);\n#endif\n", "\tif (n > 7) {\n\t\tuse(bank); }\n")
WORDS = {"vmalloc": ("vmalloc", "vzalloc"), "kmalloc": ("kmalloc", "kzalloc"), "c": COMMAS,
         "gfp": ("GFP_KERNEL", "GFP_NOWAIT", "GFP_KERNEL | __GFP_NOWARN")}
BEGIN = "int bank_{0}(struct bank *bank, size_t n)\n{{\n\tunsigned long addr;\n\tvoid *p;\n\n"
END = "\treturn 0;\n}\n"


@st.composite
def functions(draw):
    """Draw some C: functions with mistakes between lines that must stay as they are."""
    done = [HEAD]
    for number in range(draw(st.integers(1, 4))):
        parts = [BEGIN.format(number)]
        for kind in draw(st.lists(st.sampled_from(sorted(MISTAKES)), min_size=1, max_size=3)):
            words = {name: draw(st.sampled_from(choice)) for name, choice in WORDS.items()}
            parts += [draw(st.sampled_from(EXTRA)), "".join(MISTAKES[kind]).format(**words)]
        done.append("".join([*parts, draw(st.sampled_from(EXTRA)), END]))
    return "\n".join(done)


def mended(path) -> bytes:
    """Mend a file and return its text; see that what is left needs a thought, and that lines without an edit stay."""
    before = path.read_bytes()
    found = [edit for finding in run([path], SETTINGS).findings for edit in finding.edits]
    once = fixes.applied(before, found)
    lines = {number for edit in found for number in range(edit.line, edit.end_line + 1)}
    old, new = before.split(b"\n"), once.split(b"\n")
    for what, start, end, _, _ in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        assert what == "equal" or lines.issuperset(range(start + 1, max(end, start + 1) + 1)), (old[start:end], lines)
    report, changed = runs.run_fixes([path], SETTINGS)
    assert not any(finding.edits for finding in report.findings)
    assert bool(changed) == bool(found)
    return changed[0].after if changed else before


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(text=functions())
def test_mending_twice_is_mending_once(tmp_path, text):
    path = tmp_path / "bank.c"
    path.write_bytes(text.encode())
    after = mended(path)
    path.write_bytes(after)
    # All these mistakes are mechanical: nothing is left of them.
    assert run([path], SETTINGS).findings == ()
    assert mended(path) == after
    # Comments, strings and directives are as they were.
    for pattern in (rb"/\*.*?\*/", rb'"[^"]*"', rb"(?m)^#.*$"):
        assert re.findall(pattern, after) == re.findall(pattern, text.encode())


@pytest.mark.parametrize("kind", MISTAKES)
def test_each_mistake_is_one(kind, tmp_path):
    path = tmp_path / "bank.c"
    path.write_text(HEAD + BEGIN.format(0) + "".join(MISTAKES[kind]).format(vmalloc="vmalloc", kmalloc="kmalloc", c=", ",
                                                                             gfp="GFP_KERNEL") + END)
    before = path.read_bytes()
    assert (mended(path) != before) == (kind != "nothing")
