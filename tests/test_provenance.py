"""Where memory comes from anywhere in the program, over several files."""

from pathlib import Path

from kgfplint.config import Settings
from kgfplint.engine import run

HEAD = "#include <linux/slab.h>\n#include <linux/vmalloc.h>\n\nstruct ctx {\n\tint *offset;\n\tint n;\n};\n\n"
MAKE = (
    "int make(struct ctx *ctx)\n{{\n\tctx->offset = {0}(ctx->n, sizeof(int), GFP_KERNEL);\n"
    "\treturn ctx->offset ? 0 : -ENOMEM;\n}}\n\n")
DROP = "void drop(struct ctx *ctx)\n{\n\tkfree(ctx->offset);\n}\n"


def findings(root: Path, **texts: str) -> list[tuple[str, str]]:
    for name, text in texts.items():
        (root / f"{name}.c").write_text(text)
    report = run([root], Settings(select=("KGF401",), jobs=1))
    return [(finding.path, finding.rule) for finding in report.findings]


def test_a_struct_of_the_same_tag_elsewhere_is_another_struct(tmp_path):
    mine, other = HEAD + MAKE.format("kvcalloc") + DROP, HEAD + MAKE.format("kcalloc") + DROP
    assert findings(tmp_path, mine=mine, other=other) == [("mine.c", "mismatched-free")]


def test_who_shares_the_definition_shares_the_memory(tmp_path):
    (tmp_path / "ctx.h").write_text(HEAD)
    user = '#include "ctx.h"\n\n'
    mine, other = user + MAKE.format("kvcalloc") + DROP, user + MAKE.format("kcalloc")
    assert findings(tmp_path, mine=mine, other=other) == []
    assert findings(tmp_path, other=user) == [("mine.c", "mismatched-free")]
