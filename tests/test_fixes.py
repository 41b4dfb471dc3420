"""Mending: only what must change does, the kernel's style is kept, and what is mended stays so."""

import difflib
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kgfplint import fixes, runs
from kgfplint.cli import main
from kgfplint.config import Settings
from kgfplint.engine import run
from kgfplint.findings import Finding, Rewrite, Severity

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("KGF*/bad*.c"))
MECHANICAL = {"KGF101", "KGF210", "KGF213", "KGF214", "KGF401", "KGF402", "KGF501", "KGF502"}


def mended(text: str, callee: str, name: str, *args: str, drop: str = "") -> str:
    """Rewrite the first call of a function in a text; `drop` is the beginning of a call to drop."""
    def place(what):
        at = text.index(what)
        return text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at)

    line, column = place(callee + "(")
    fix = Rewrite(callee, name, args, place(drop) if drop else None)
    found = Finding("KGF000", "any", Severity.ERROR, "a.c", line, column, line, "f", "m", fix=fix)
    return fixes.applied(text.encode(), fixes.edits(found, text.encode())).decode()


@pytest.mark.parametrize(("text", "fix", "after"), [
    ("\tkfree(p);\n", ("kfree", "vfree", "$0"), "\tvfree(p);\n"),
    ("\tkfree( p /* why */ );\n", ("kfree", "kvfree", "$0"), "\tkvfree( p /* why */ );\n"),
    ("\tp = kcalloc(sizeof(*p), n, GFP_KERNEL);\n", ("kcalloc", "kcalloc", "$1", "$0", "$2"),
     "\tp = kcalloc(n, sizeof(*p), GFP_KERNEL);\n"),
    ("\tp = kmalloc(n * sizeof(*p), GFP_KERNEL);\n", ("kmalloc", "kmalloc_array", "n", "sizeof(*p)", "$1"),
     "\tp = kmalloc_array(n, sizeof(*p), GFP_KERNEL);\n"),
    ("\tp = kmalloc(f(a, (b)) * s[\",\"[0]],\n\t\t    GFP_KERNEL);\n", ("kmalloc", "kzalloc", "$0", "$1"),
     "\tp = kzalloc(f(a, (b)) * s[\",\"[0]],\n\t\t    GFP_KERNEL);\n"),
    ("\tp = kmalloc(size,\n\t\t    GFP_KERNEL);\n", ("kmalloc", "kvmalloc", "$0", "$1"),
     "\tp = kvmalloc(size,\n\t\t     GFP_KERNEL);\n"),
    ("\tp = kmalloc(size,\n\t\tGFP_KERNEL);\n", ("kmalloc", "kvmalloc", "$0", "$1"), "\tp = kvmalloc(size,\n\t\tGFP_KERNEL);\n"),
    ("\tp = kmalloc(size,\n\t\t    GFP_KERNEL |\n\t\t    __GFP_ZERO);\n", ("kmalloc", "kmalloc", "$0", "GFP_KERNEL"),
     "\tp = kmalloc(size,\n\t\t    GFP_KERNEL);\n"),
    ("\tfree_page(addr);\n", ("free_page", "free_pages", "$0", "2"), "\tfree_pages(addr, 2);\n"),
    ("\tpointer->member_with_a_name = kmalloc(number_of_elements * sizeof(*pointer->member_with_a_name), GFP_KERNEL);\n",
     ("kmalloc", "kmalloc_array", "number_of_elements", "sizeof(*pointer->member_with_a_name)", "$1"),
     "\tpointer->member_with_a_name = kmalloc_array(number_of_elements,\n\t\t\t\t\t\t    sizeof(*pointer->member_with_a_name),\n"
     "\t\t\t\t\t\t    GFP_KERNEL);\n"),
    ("\tp = kzalloc(sizeof(*p) +\n\t\t(n * sizeof(u32)),\n\t\t\tGFP_KERNEL);\n",
     ("kzalloc", "kzalloc", "struct_size(p, taps, n)", "$1"),
     "\tp = kzalloc(struct_size(p, taps, n), GFP_KERNEL);\n"),
    (f"\tp = kasprintf(GFP_KERNEL, fmt, arg); /* {'x' * 70} */\n", ("kasprintf", "kasprintf", "GFP_ATOMIC", "$1", "$2"),
     f"\tp = kasprintf(GFP_ATOMIC, fmt, arg); /* {'x' * 70} */\n"),
])
def test_a_call_is_written_otherwise(text, fix, after):
    assert mended(text, *fix) == after


def test_what_is_asked_for_stays_as_much(tmp_path):
    """A constant factor left out would make memory too small for what is written into it."""
    path = tmp_path / "bad_factors.c"
    shutil.copy(FIXTURES[0].parent.parent / "KGF501" / "bad_factors.c", path)
    [(_, _, new)] = runs.run_fixes([path], Settings(severity="note", jobs=1, select=("KGF501",)))[1]
    mended = " ".join(new.decode().split())
    assert "kcalloc(n, sizeof(*road->lanes) * 2, GFP_KERNEL)" in mended
    assert "kmalloc_array(n, sizeof(u32) * SIDES, GFP_KERNEL)" in mended
    assert "kmalloc_array(n, sizeof(struct lane) * 4, GFP_KERNEL)" in mended


BODY = "{\n\tp = kmalloc(n, GFP_KERNEL);\n\tif (!p)\n\t\treturn;\n%s}\n"


@pytest.mark.parametrize(("rest", "after"), [
    ("\tmemset(p, 0, n);\n\tgo();\n", "\tgo();\n"),
    ("\n\tmemset(p, 0, n);\n\n\tgo();\n", "\n\tgo();\n"),
    ("\tmemset(p, 0,\n\t       n);\n\tgo();\n", "\tgo();\n"),
])
def test_another_call_is_dropped(rest, after):
    text = mended(BODY % ("\tif (q) {\n\t}\n" + rest), "kmalloc", "kzalloc", "$0", "$1", drop="memset(")
    assert text == (BODY % ("\tif (q) {\n\t}\n" + after)).replace("kmalloc", "kzalloc")


@pytest.mark.parametrize("text", [
    BODY % "\tif (q)\n\t\tmemset(p, 0, n);\n\tgo();\n", BODY % "\tq = 1; memset(p, 0, n);\n", BODY % "\tmemset(p, 0, n); go();\n",
    BODY % "\tmemset(p, 0, n), go();\n",
])
def test_what_cannot_be_dropped_alone_is_left(text):
    assert mended(text, "kmalloc", "kzalloc", "$0", "$1", drop="memset(") == text


@pytest.mark.parametrize("text", ["\tkfree (p;\n", "\tkfree(\n", "kfree()"])
def test_what_is_not_as_expected_is_left(text):
    text = text.replace("kfree (", "kfree(")
    assert mended(text, "kfree", "vfree", "$0", "$1") == text


def untouched_lines_stay(copy: Path, settings: Settings) -> bytes:
    """Mend a file round by round and see that each line without an edit in it stays; return its text, and restore the file."""
    first = text = copy.read_bytes()
    while found := [edit for finding in run([copy], settings).findings for edit in finding.edits]:
        after = fixes.applied(text, found)
        lines = {number for edit in found for number in range(edit.line, edit.end_line + 1)}
        old, new = text.split(b"\n"), after.split(b"\n")
        for what, start, end, _, _ in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
            assert what == "equal" or lines.issuperset(range(start + 1, max(end, start + 1) + 1))
        assert after != text
        text = after
        copy.write_bytes(text)
    copy.write_bytes(first)
    return text


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_fixtures_lint_clean_once_they_are_mended(path, tmp_path):
    copy = tmp_path / path.name
    shutil.copy(path, copy)
    settings = Settings(severity="note", jobs=1, select=(path.parent.name,))
    before = run([copy], settings).findings
    report, changed = runs.run_fixes([copy], settings)
    if path.parent.name not in MECHANICAL:
        assert changed == [] and all(not finding.edits for finding in before)
        return
    able = [finding for finding in before if finding.edits]
    # What hid behind a finding is mended as well.
    assert len(report.findings) == len(before) - len(able)
    assert not any(finding.edits for finding in report.findings)
    if not able:
        return
    [(name, old, new)] = changed
    assert old == path.read_bytes()
    diff = "".join(fixes.diff(name, old, new))
    assert untouched_lines_stay(copy, settings) == new
    alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)}
    subprocess.run(["git", "apply", "-"], input=diff.encode(), cwd=tmp_path, check=True, env=alone)
    assert copy.read_bytes() == new
    assert runs.run_fixes([copy], settings)[1] == []


@pytest.mark.parametrize("code", sorted(MECHANICAL))
def test_each_mechanical_rule_mends_something(code):
    folder = Path(__file__).parent / "fixtures" / code
    assert any(finding.edits for finding in run([folder], Settings(severity="note", jobs=1, select=(code,))).findings)


BAD = "int f(size_t n)\n{\n\tvoid *p = vmalloc(n);\n\n\tif (!p)\n\t\treturn -ENOMEM;\n\tkfree(p);\n\treturn 0;\n}\n"


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "src" / "a.c"
    path.parent.mkdir()
    path.write_text(BAD)
    return path


def test_a_dry_run_prints_a_diff_and_writes_nothing(file, capsys):
    assert main([str(file), "--fix", "--dry-run", "--jobs", "1"]) == 1
    said = capsys.readouterr().out
    assert "--- a/a.c\n+++ b/a.c\n" in said and "\n-\tkfree(p);\n+\tvfree(p);\n" in said
    assert file.read_text() == BAD


def test_mending_writes_and_reports_the_rest(file, capsys):
    file.with_name("b.c").write_text(BAD.replace("int f", "int g").replace("kfree(p)", "kmem_cache_free(p, p)"))
    file.chmod(0o640)
    assert main([str(file.parent), "--fix", "--jobs", "1"]) == 1
    said = capsys.readouterr()
    assert file.read_text() == BAD.replace("kfree", "vfree") and file.stat().st_mode & 0o777 == 0o640
    assert said.out.startswith("b.c:7:2: error:") and said.err == "kgfplint: 1 files mended\n"
    assert main([str(file), "--fix", "--jobs", "1"]) == 0


def test_a_file_that_changes_meanwhile_is_not_overwritten(file):
    _, changed = runs.run_fixes([file], Settings(jobs=1))
    file.write_text("int other;\n")
    with pytest.raises(runs.RunError, match=r"a\.c: it has changed"):
        runs.write(file.parent, changed)
    assert file.read_text() == "int other;\n"


@pytest.mark.parametrize("options", [["--dry-run"], ["--fix", "--diff", "HEAD"], ["--fix", "--staged"]])
def test_options_that_do_not_go_together(file, capsys, options):
    assert main([str(file), *options]) == 2
    assert "--fix" in capsys.readouterr().err


def test_formats_carry_the_edits(file, capsys):
    def said(name):
        main([str(file), "--format", name, "--jobs", "1"])
        return json.loads(capsys.readouterr().out)

    place = {"line": 7, "column": 2, "end_line": 7, "end_column": 10}
    assert said("json")["findings"][0]["fix"] == {"edits": [{"path": "a.c", **place, "text": "vfree(p)"}]}
    [fix] = said("sarif")["runs"][0]["results"][0]["fixes"]
    [change] = fix["artifactChanges"]
    [replacement] = change["replacements"]
    assert replacement["deletedRegion"] == {"startLine": 7, "startColumn": 2, "endLine": 7, "endColumn": 10}
    assert replacement["insertedContent"] == {"text": "vfree(p)"}
    [diagnostic] = said("rdjson")["diagnostics"]
    assert diagnostic["suggestions"] == [
        {"range": {"start": {"line": 7, "column": 2}, "end": {"line": 7, "column": 10}}, "text": "vfree(p)"}]


LOCKED = """static void *get(size_t n, gfp_t gfp)
{
	return kmalloc(n, gfp);
}

static void *get_much(size_t n, gfp_t gfp)
{
	return kvmalloc(n, gfp);
}

void *f(struct box *box, size_t n)
{
	void *p;

	%s
	p = %s;
	%s
	return p;
}
"""
SPIN = ("spin_lock(&box->lock);", "spin_unlock(&box->lock);")


@pytest.mark.parametrize(("call", "after", "lock"), [
    ("kmalloc(n, GFP_KERNEL)", "kmalloc(n, GFP_ATOMIC)", SPIN),
    ("kmalloc(n, GFP_KERNEL)", "kmalloc(n, GFP_ATOMIC)", ("rcu_read_lock();", "rcu_read_unlock();")),
    ("get(n, GFP_KERNEL)", "get(n, GFP_ATOMIC)", SPIN),
    ("get_much(n, GFP_KERNEL)", "", SPIN),  # kvmalloc() cannot
    ("kvmalloc(n, GFP_KERNEL)", "", SPIN),
    ("vmalloc(n)", "", SPIN),
    ("kmalloc(n, GFP_KERNEL | __GFP_NOFAIL)", "", SPIN),
    ("kmalloc(n, GFP_NOFS)", "", SPIN),
    ("kmalloc(n, GFP_KERNEL)", "", ("raw_spin_lock(&box->lock);", "raw_spin_unlock(&box->lock);")),
    ("kmalloc(n, GFP_KERNEL)", "", ("lockdep_assert_held(&box->lock);", "")),
])
def test_a_lock_of_the_same_function_takes_gfp_atomic(tmp_path, call, after, lock):
    path = tmp_path / "a.c"
    text = LOCKED % (lock[0], call, lock[1])
    before = f"struct box {{\n\t{'raw_' if 'raw' in lock[0] else ''}spinlock_t lock;\n}};\n\n{text}"
    path.write_text(before)
    settings = Settings(jobs=1, select=("KGF101", "KGF106", "KGF201", "KGF202", "KGF212"))
    report, changed = runs.run_fixes([path], settings)
    if not after:
        assert changed == [] and [finding.code for finding in report.findings if finding.code == "KGF101"]
        return
    assert changed[0].after.decode() == before.replace(f"p = {call}", f"p = {after}")
    assert report.findings == ()
