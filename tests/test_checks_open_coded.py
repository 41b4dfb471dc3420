"""What is advised instead of a product or a sum, and how sure it is that this may overflow (KGF501, KGF502)."""

from pathlib import Path

import pytest

from kgfplint.config import Settings
from kgfplint.engine import run

HEAD = """
#include <linux/slab.h>
typedef unsigned char UCHAR;
struct cell { u32 a, b; };
struct grid { u32 n; struct cell cells[]; };
struct shape { u32 w, h, depth; u16 rows; UCHAR columns; };
"""


def told(folder: Path, body: str) -> list[tuple[str, str, str]]:
    (folder / "x.c").write_text(f"{HEAD}void *f(struct shape *s)\n{{\n\tstruct cell *c;\n\tstruct grid *g;\n\n\t{body}\n}}\n")
    report = run([folder / "x.c"], Settings(severity="note", jobs=1, select=["KGF501", "KGF502"], cache=False))
    return [(finding.code, finding.severity.label, finding.message.partition("; ")[2]) for finding in report.findings]


@pytest.mark.parametrize(("body", "code", "advice"), [
    ("c = kvmalloc(s->w * s->h * sizeof(*c), GFP_NOIO);", "KGF501", "kvmalloc(array3_size(s->w, s->h, sizeof(*c)), GFP_NOIO)"),
    ("c = kzalloc(s->w * s->h * 2 * sizeof(*c), GFP_NOIO);", "KGF501",
     "kzalloc(array3_size(s->w, s->h, sizeof(*c) * 2), GFP_NOIO)"),
    ("c = kmalloc(s->w * s->h * s->depth * sizeof(*c), GFP_NOIO);", "KGF501",
     "kmalloc(array3_size(s->w, s->depth, size_mul(s->h, sizeof(*c))), GFP_NOIO)"),
    ("c = kzalloc(s->w * sizeof(*c), GFP_KERNEL);", "KGF501", "kcalloc(s->w, sizeof(*c), GFP_KERNEL)"),
    ("g = kzalloc(sizeof(*g) + s->w * s->h * sizeof(struct cell), GFP_KERNEL);", "KGF502",
     "struct_size(g, cells, array_size(s->w, s->h))"),
    ("g = kzalloc(sizeof(*g) + (1L << s->w) * sizeof(struct cell), GFP_KERNEL);", "KGF502", "struct_size(g, cells, 1L << s->w)"),
])  # fmt: skip
def test_every_product_is_one_that_looks(tmp_path: Path, body: str, code: str, advice: str):
    assert told(tmp_path, f"{body}\n\treturn c ? (void *)c : g;") == [(code, "warning", f"{advice} does not overflow")]


@pytest.mark.parametrize("body", [
    "return kzalloc(s->rows * sizeof(*c), GFP_KERNEL);", "return kzalloc((s->columns + 1) * sizeof(*c), GFP_KERNEL);",
    "return kzalloc(sizeof(*g) + s->rows * sizeof(struct cell), GFP_KERNEL);",
])  # fmt: skip
def test_what_a_count_of_16_bits_cannot_do_is_a_note(tmp_path: Path, body: str):
    assert [label for _, label, _ in told(tmp_path, body)] == ["note"]


def test_a_product_of_two_such_counts_may_overflow(tmp_path: Path):
    assert [label for _, label, _ in told(tmp_path, "return kzalloc(s->rows * s->rows * sizeof(*c), GFP_KERNEL);")] == ["warning"]
