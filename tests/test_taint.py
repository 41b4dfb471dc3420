"""Values from outside in whole runs: structs that are shared with user space, and who hands them over."""

import shutil
from pathlib import Path

import pytest

from kgfplint.catalogue import CatalogueError, rules_directory
from kgfplint.config import Settings
from kgfplint.engine import run
from kgfplint.taint import exposure as exposure_of_taint
from kgfplint.taint import rules as rules_of_taint

SHARED = "struct request { __u32 count; __u16 depth; __u64 pointer; };\n"
KEPT = "struct kept { struct request *request; };\n"


@pytest.fixture
def kernel_tree(tmp_path: Path) -> Path:
    for folder in ("include/uapi/linux", "drivers/x"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\nSUBLEVEL = 0\n")
    (tmp_path / "Kconfig").write_text("")
    (tmp_path / "include/uapi/linux/request.h").write_text(SHARED)
    return tmp_path


def found(tree: Path, body: str, params: str = "struct request *request", name: str = "make") -> list[tuple[str, str]]:
    text = f"#include <linux/request.h>\n{KEPT}void *{name}({params})\n{{\n\t{body}\n}}\n"
    (tree / "drivers/x/x.c").write_text(text)
    report = run([tree / "drivers"], Settings(severity="note", jobs=1, select=["KGF503", "KGF511"], cache=False))
    return [(finding.code, finding.severity.label) for finding in report.findings]


def test_a_shared_struct_that_a_caller_hands_over(kernel_tree: Path):
    assert found(kernel_tree, "return kmalloc(request->count, GFP_KERNEL);") == [("KGF511", "note")]


def test_an_ioctl_is_the_first_to_look(kernel_tree: Path):
    body = "struct request *args = data;\n\treturn kcalloc(args->count, 8, GFP_KERNEL);"
    assert found(kernel_tree, body, "void *data", "x_ioctl_make") == [("KGF511", "warning")]
    assert found(kernel_tree, body, "void *data") == [("KGF511", "note")]


@pytest.mark.parametrize("body", [
    "return kmalloc(request->depth, GFP_KERNEL);",
    "if (request->count > 64)\n\t\treturn NULL;\n\treturn kmalloc(request->count, GFP_KERNEL);",
    "if (!request->count || check(request))\n\t\treturn NULL;\n\treturn kmalloc(request->count, GFP_KERNEL);",
    "request->count = 8;\n\treturn kmalloc(request->count, GFP_KERNEL);",
    "struct request own = { .count = 8 };\n\treturn kmalloc(own.count, GFP_KERNEL);",
])  # fmt: skip
def test_what_bounds_it(kernel_tree: Path, body: str):
    assert found(kernel_tree, body) == []


def test_a_copy_that_is_kept_has_been_looked_at(kernel_tree: Path):
    assert found(kernel_tree, "return kmalloc(kept->request->count, GFP_KERNEL);", "struct kept *kept") == []


def test_one_branch_knows_nothing(kernel_tree: Path):
    body = "u32 more = 0;\n\tif (x)\n\t\tmore = other();\n\treturn kmalloc(request->count + more, GFP_KERNEL);"
    assert found(kernel_tree, body, "struct request *request, int x") == [("KGF503", "note")]


def test_a_value_that_is_computed_from_itself_is_bounded_once(kernel_tree: Path):
    loop = "u32 more;\n\n\tfor (;;) {\n\t\tmore = more + request->depth;\n\t\tif (more < 64)\n\t\t\tbreak;\n\t}\n"
    assert found(kernel_tree, loop + "\treturn kmalloc(request->count, GFP_KERNEL);") == [("KGF511", "note")]


def test_a_broken_table_is_told_before_anything_is_read(tmp_path, monkeypatch):
    copy = tmp_path / "rules"
    shutil.copytree(rules_directory(), copy)
    (copy / "taint.toml").write_text("[[source]\n")
    for module in (rules_of_taint, exposure_of_taint):
        monkeypatch.setattr(module, "rules_directory", lambda: copy)
    for table in (rules_of_taint.taint_rules, exposure_of_taint.exposure):
        table.cache_clear()
    (tmp_path / "a.c").write_text("int f(void) { return 0; }\n")
    try:
        with pytest.raises(CatalogueError, match=r"taint\.toml:1: is no table"):
            run([tmp_path / "a.c"], Settings())
    finally:
        for table in (rules_of_taint.taint_rules, exposure_of_taint.exposure):
            table.cache_clear()


FILE = """
#include <linux/slab.h>
#include <linux/fs.h>
static ssize_t own_write(struct file *file, const char __user *user, size_t count, loff_t *at)
{
	char *text = kmalloc(count + 1, GFP_KERNEL);

	if (!text)
		return -ENOMEM;
	kfree(text);
	return count;
}
static const struct file_operations own_fops = { .write = own_write };
int own_init(struct dentry *dir)
{
	%s;
	return 0;
}
"""


@pytest.mark.parametrize(("register", "severity"), [
    ("debugfs_create_file(\"own\", 0600, dir, NULL, &own_fops)", "note"), ("register_chrdev(0, \"own\", &own_fops)", "warning"),
])
def test_what_only_root_reaches_is_a_note(kernel_tree, register, severity):
    (kernel_tree / "include/linux").mkdir()
    (kernel_tree / "include/linux/fs.h").write_text(
        "struct file_operations { ssize_t (*write)(struct file *, const char *, size_t, loff_t *); };\n")
    (kernel_tree / "drivers/x/x.c").write_text(FILE % register)
    report = run([kernel_tree / "drivers"], Settings(severity="note", jobs=1, select=["KGF511"], cache=False))
    assert [finding.severity.label for finding in report.findings] == [severity]


@pytest.mark.parametrize(("test", "severity"), [
    ("if (!capable(CAP_SYS_ADMIN))", "note"), ("if (!capable(CAP_SYS_ADMIN) && !capable(CAP_SYS_RAWIO))", "note"),
    ("if (!capable(CAP_SYS_ADMIN) && !request->count)", "warning"), ("if (!ns_capable(own, CAP_NET_ADMIN))", "warning"),
])
def test_what_asks_for_root_first_is_a_note(kernel_tree, test, severity):
    body = f"struct request *request = data;\n\t{test}\n\t\treturn NULL;\n\treturn kmalloc(request->count, GFP_KERNEL);"
    assert found(kernel_tree, body, "void *data", "x_ioctl") == [("KGF511", severity)]


OPENED = """
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/fs.h>
static int x_open(struct inode *inode, struct file *file)
{
	%s
	return 0;
}
static long x_make(const u32 __user *from)
{
	void *made;
	u32 count;

	if (get_user(count, from))
		return -EFAULT;
	made = kcalloc(count, 8, GFP_KERNEL);
	kfree(made);
	return 0;
}
static long x_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	%s
	return x_make((const u32 __user *)arg);
}
%s
static const struct file_operations x_fops = { .open = x_open, .unlocked_ioctl = x_ioctl };
"""
ASKS = "if (!capable(CAP_SYS_ADMIN)) return -EPERM;"
AGAIN = "/* x_make() calls itself. */"


@pytest.mark.parametrize(("opening", "asking", "more", "severity"), [
    ("", "", "", "warning"), (ASKS, "", "", "note"), ("", ASKS, "", "note"), ("", "prepare(file); " + ASKS, "", "warning"),
    (ASKS, "", "long x_other(const u32 __user *from) { return x_make(from); }", "warning"), (ASKS, "", AGAIN, "note"),
])  # fmt: skip
def test_who_calls_or_opens_asks_for_root(kernel_tree, opening, asking, more, severity):
    (kernel_tree / "include/linux").mkdir()
    (kernel_tree / "include/linux/fs.h").write_text(
        "struct file_operations { int (*open)(struct inode *, struct file *);\n"
        "\tlong (*unlocked_ioctl)(struct file *, unsigned int, unsigned long); };\n")
    text = OPENED.replace("kfree(made);", "kfree(made);\n\tif (count)\n\t\treturn x_make(from + 1);") if more is AGAIN else OPENED
    (kernel_tree / "drivers/x/x.c").write_text(text % (opening, asking, more))
    report = run([kernel_tree / "drivers"], Settings(severity="note", jobs=1, select=["KGF511"], cache=False))
    assert [finding.severity.label for finding in report.findings] == [severity]


@pytest.mark.parametrize(("name", "severity"), [("x.c", "warning"), ("x_debugfs.c", "note")])
def test_a_file_that_is_named_after_debugfs(kernel_tree, name, severity):
    (kernel_tree / "include/linux").mkdir()
    (kernel_tree / "include/linux/fs.h").write_text(
        "struct file_operations { ssize_t (*write)(struct file *, const char *, size_t, loff_t *); };\n")
    (kernel_tree / "drivers/x" / name).write_text(FILE % "debugfs_create_file(table[0].name, 0600, dir, NULL, table[0].fops)")
    report = run([kernel_tree / "drivers"], Settings(severity="note", jobs=1, select=["KGF511"], cache=False))
    assert [finding.severity.label for finding in report.findings] == [severity]


def test_a_wrapper_may_have_looked(kernel_tree):
    body = "return copied(request->count);\n}\nvoid *copied(size_t n)\n{\n\treturn kmalloc(n, GFP_KERNEL);"
    assert found(kernel_tree, body, "unsigned int cmd, void *request", "x_ioctl") == []
    body = body.replace("request->count", "((struct request *)request)->count")
    assert ("KGF511", "warning") not in found(kernel_tree, body, "unsigned int cmd, void *request", "x_ioctl")
