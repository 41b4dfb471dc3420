"""The rules about sizes in whole runs: by architecture, and again after a struct in another file changed."""

from pathlib import Path

import pytest

from kgfplint.checks.requests import arch_of
from kgfplint.config import Settings
from kgfplint.engine import run

MAKEFILE = "VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 0\n"
USER = """
#include <linux/record.h>
void *user(void)
{
	return vzalloc(sizeof(struct record));
}
void *users(void)
{
	return kcalloc(4096, sizeof(struct record), GFP_KERNEL);
}
"""


def found(path: Path) -> list[tuple[str, int, str, str]]:
    report = run([path], Settings(severity="note", jobs=1, select=["KGF504", "KGF514"]))
    return [(finding.path, finding.line, finding.code, finding.severity.label) for finding in report.findings]


@pytest.fixture
def kernel_tree(tmp_path: Path) -> Path:
    for folder in ("include/linux", "drivers/x", "arch/x86/kernel", "arch/powerpc/kernel"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "Makefile").write_text(MAKEFILE)
    (tmp_path / "Kconfig").write_text("")
    return tmp_path


@pytest.mark.parametrize(("path", "arch"), [
    ("drivers/x/x.c", "x86_64"), ("arch/x86/kernel/x.c", "x86_64"), ("arch/arm64/mm/x.c", "arm64"), ("arch/arm/mm/x.c", "arm"),
    ("arch/powerpc/x.c", "ppc64le"), ("arch/mips/x.c", "x86_64"),
])  # fmt: skip
def test_the_architecture_of_a_file(path: str, arch: str):
    assert arch_of(path) == arch


def test_a_struct_that_changes_in_another_file(kernel_tree: Path):
    header, user = kernel_tree / "include/linux/record.h", kernel_tree / "drivers/x/user.c"
    user.write_text(USER)
    small, large = (f"struct record {{ u32 id; u8 middle[{length}]; u32 end; }};\n" for length in (40, 8000))
    tiny = ("drivers/x/user.c", 5, "KGF514", "note")
    over = ("drivers/x/user.c", 9, "KGF504", "error")
    for text, expected in ((small, [tiny]), (large, [over]), (small, [tiny])):
        header.write_text(text)
        assert found(kernel_tree / "drivers") == expected


def test_limits_are_those_of_the_architecture(kernel_tree: Path):
    text = "".join(f"void *f{size}(void)\n{{\n\treturn kmalloc({size} << 20, GFP_KERNEL);\n}}\n" for size in (8, 40))
    for folder in ("arch/x86/kernel", "arch/powerpc/kernel"):
        (kernel_tree / folder / "f.c").write_text(text)
    assert found(kernel_tree / "arch") == [
        ("arch/powerpc/kernel/f.c", 7, "KGF504", "error"), ("arch/x86/kernel/f.c", 3, "KGF504", "warning"),
        ("arch/x86/kernel/f.c", 7, "KGF504", "error"),
    ]  # fmt: skip
