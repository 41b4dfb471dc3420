"""What a change newly breaks, on real git repositories: commits, the index, patches and mailboxes."""

import io
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kgfplint.checks.run import Analysis
from kgfplint.cli import main
from kgfplint.findings import Finding, Severity, site
from kgfplint.patches import Change, newly
from kgfplint.source.tree import Files

HEADER = "struct ring { spinlock_t lock; void *buf; };\nvoid *ring_alloc(struct ring *r);\nvoid ring_fill(struct ring *r);\n"
MAKER = """#include "ring.h"

void *ring_alloc(struct ring *r)
{
	return vmalloc(4096);
}
"""
USER = """#include "ring.h"

int ring_old(struct ring *r)
{
	void *p = vmalloc(64);

	if (!p)
		return -ENOMEM;
	kfree(p);
	return 0;
}

int ring_use(struct ring *r)
{
	void *p = ring_alloc(r);

	if (!p)
		return -ENOMEM;
	vfree(p);
	return 0;
}
"""
FILES = {"Kconfig": "", "Makefile": "VERSION = 6\nPATCHLEVEL = 6\n", "drivers/ring.h": HEADER, "drivers/maker.c": MAKER,
         "drivers/user.c": USER}


class Repository:
    """A git repository with a small kernel tree."""

    def __init__(self, root):
        self.root = root
        self.git("init", "-q", "-b", "main")
        for path, text in FILES.items():
            self.write(path, text)

    def git(self, *args, **options):
        name = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        return subprocess.run(["git", *name, *args], cwd=self.root, check=options.pop("check", True), capture_output=True,
                              text=True, **options).stdout

    def commit(self, message="change"):
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def edit(self, path, old, new):
        text = (self.root / path).read_text()
        assert old in text
        self.write(path, text.replace(old, new, 1))


@pytest.fixture
def repo(tmp_path, monkeypatch) -> Repository:
    for name, value in (("GIT_CONFIG_GLOBAL", os.devnull), ("GIT_CONFIG_SYSTEM", os.devnull)):
        monkeypatch.setenv(name, value)
    (tmp_path / "tree").mkdir()
    monkeypatch.chdir(tmp_path / "tree")
    return Repository(tmp_path / "tree").commit()


def broken(capsys, *args, code=1) -> list[dict]:
    """Run with the options of a change; return the findings."""
    assert main([*map(str, args), "--format", "json", "--jobs", "1"]) == code
    said = capsys.readouterr()
    assert said.err == ""
    return json.loads(said.out)["findings"]


def places(findings) -> list[tuple[str, int, str]]:
    return [(finding["path"], finding["line"], finding["rule"]) for finding in findings]


def failure(capsys, *args) -> str:
    assert main([str(arg) for arg in args]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


BREAK = ("drivers/user.c", "vfree(p)", "kfree(p)")


def test_only_what_is_new_is_reported(repo, capsys):
    assert places(broken(capsys, ".")) == [("drivers/user.c", 9, "mismatched-free")]
    assert broken(capsys, "--diff", "HEAD", code=0) == []
    repo.edit("drivers/user.c", "int ring_old", "\n\nint ring_old")
    assert broken(capsys, "--diff", "HEAD", code=0) == []
    repo.edit(*BREAK)
    assert places(broken(capsys, "--diff", "HEAD")) == [("drivers/user.c", 21, "mismatched-free")]
    repo.commit()
    assert broken(capsys, "--diff", "HEAD", code=0) == []
    assert places(broken(capsys, "--diff", "HEAD~1", ".")) == [("drivers/user.c", 21, "mismatched-free")]


def test_another_file_is_broken_and_told_where_the_change_is(repo, capsys):
    repo.edit("drivers/maker.c", "vmalloc(4096)", "kmalloc(4096, GFP_KERNEL)")
    [finding] = broken(capsys, "--diff", "HEAD")
    assert places([finding]) == [("drivers/maker.c", 5, "mismatched-free")]
    assert ("drivers/user.c", 19) in {(step["path"], step["line"]) for step in finding["trace"]}
    assert "ring_use() at drivers/user.c:19" in finding["message"]
    assert broken(capsys, "--diff", "HEAD", "--ignore", "KGF401", code=0) == []
    [same] = [f for f in broken(capsys, ".") if f["function"] == "ring_use"]
    assert same["fingerprint"] == finding["fingerprint"] and places([same]) == [("drivers/user.c", 19, "mismatched-free")]


CALLER = """#include "ring.h"

static void ring_start(struct ring *r)
{
	r->buf = NULL;
	ring_fill(r);
}

void ring_begin(struct ring *r)
{
	ring_start(r);
}
"""
CALLEE = """#include "ring.h"

static void *ring_more(size_t n)
{
	return kmalloc(n, GFP_KERNEL);
}

void ring_fill(struct ring *r)
{
	r->buf = ring_more(8);
}
"""


def test_a_new_lock_in_a_caller_breaks_an_old_allocation_elsewhere(repo, capsys):
    repo.write("drivers/caller.c", CALLER)
    repo.write("lib/callee.c", CALLEE)
    repo.commit()
    repo.edit("drivers/caller.c", "\tring_start(r);", "\tspin_lock(&r->lock);\n\tring_start(r);\n\tspin_unlock(&r->lock);")
    [finding] = broken(capsys, "--diff", "HEAD")
    assert places([finding]) == [("drivers/caller.c", 11, "sleeping-alloc-in-atomic")]
    assert ("lib/callee.c", 5) in {(step["path"], step["line"]) for step in finding["trace"]}
    assert finding["message"].startswith("since this change, in ")


def test_a_second_mistake_that_looks_like_the_first_is_the_new_one(repo, capsys):
    repo.edit("drivers/user.c", "\tif (!p)\n\t\treturn -ENOMEM;\n\tkfree(p);",
              "\tif (!p)\n\t\treturn -ENOMEM;\n\tif (r) {\n\t\tkfree(p);\n\t\treturn 1;\n\t}\n\tkfree(p);")
    assert places(broken(capsys, "--diff", "HEAD")) == [("drivers/user.c", 10, "mismatched-free")]


def test_a_renamed_file_is_the_same_file(repo, capsys):
    repo.git("mv", "drivers/user.c", "drivers/client.c")
    assert broken(capsys, "--diff", "HEAD", code=0) == []
    assert broken(capsys, "--staged", code=0) == []
    repo.edit("drivers/client.c", "vfree(p)", "kfree(p)")
    assert places(broken(capsys, "--diff", "HEAD")) == [("drivers/client.c", 19, "mismatched-free")]


def test_new_and_deleted_files(repo, capsys):
    repo.write("drivers/new.c", USER.replace("ring_old", "ring_new").replace("ring_use", "ring_also"))
    assert broken(capsys, "--diff", "HEAD", code=0) == []  # git does not know of it yet
    repo.git("add", "drivers/new.c")
    assert places(broken(capsys, "--staged")) == [("drivers/new.c", 9, "mismatched-free")]
    repo.git("rm", "-q", "--cached", "drivers/maker.c")
    repo.edit("drivers/new.c", "kfree", "vfree")
    assert places(broken(capsys, "--staged")) == [("drivers/new.c", 9, "mismatched-free")]
    assert broken(capsys, "--diff", "HEAD", code=0) == []


def test_staged_is_what_the_index_says(repo, capsys):
    repo.edit(*BREAK)
    assert broken(capsys, "--staged", code=0) == []
    repo.git("add", "-u")
    repo.edit("drivers/user.c", "int ring_use", "int other;\nint ring_use")
    repo.edit("drivers/maker.c", "vmalloc(4096)", "kmalloc(1, GFP_KERNEL)")
    assert places(broken(capsys, "--staged")) == [("drivers/user.c", 19, "mismatched-free")]


def test_before_the_first_commit_all_is_new(tmp_path, monkeypatch, capsys):
    (tmp_path / "fresh").mkdir()
    monkeypatch.chdir(tmp_path / "fresh")
    Repository(tmp_path / "fresh").git("add", "-A")
    assert places(broken(capsys, "--staged")) == [("drivers/user.c", 9, "mismatched-free")]


def test_an_unsolved_conflict_is_named(repo, capsys):
    repo.git("checkout", "-q", "-b", "other")
    repo.edit("drivers/maker.c", "4096", "8192")
    repo.commit()
    repo.git("checkout", "-q", "main")
    repo.edit("drivers/maker.c", "4096", "1024")
    repo.commit()
    repo.git("merge", "-q", "other", check=False)
    assert failure(capsys, "--staged") == "kgfplint: --staged: drivers/maker.c: there is an unsolved conflict\n"
    assert "drivers/maker.c" in failure(capsys, "--diff", "HEAD")


@pytest.mark.parametrize("options", [(), ("--no-prefix",), ("-U0",), ("-M", "--patch-with-stat"), ("-U20", "--function-context")])
def test_a_patch_that_is_not_applied(repo, tmp_path, capsys, options):
    repo.edit(*BREAK)
    (tmp_path / "p.patch").write_text(repo.git("diff", *options))
    repo.git("checkout", "-q", ".")
    if options in (("--no-prefix",), ("-U0",)):
        assert str(tmp_path / "p.patch") in failure(capsys, "--patch", tmp_path / "p.patch")
        return
    assert places(broken(capsys, "--patch", tmp_path / "p.patch")) == [("drivers/user.c", 19, "mismatched-free")]
    assert repo.git("status", "--porcelain") == ""


def test_a_plain_patch_outside_any_repository(tmp_path, monkeypatch, capsys):
    root = tmp_path / "plain"
    for path, text in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    (tmp_path / "user.c").write_text(USER.replace("vfree(p)", "kfree(p)"))
    diff = subprocess.run(["diff", "-u", "drivers/user.c", "../user.c"], cwd=root, capture_output=True, text=True).stdout
    lines = diff.splitlines(keepends=True)
    lines[:2] = ["--- linux.orig/drivers/user.c\t2026-01-01 00:00:00\n", "+++ linux/drivers/user.c\t2026-01-02 00:00:00\n"]
    monkeypatch.chdir(root / "drivers")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("".join(lines).encode())))
    assert places(broken(capsys, "--patch", "-")) == [("drivers/user.c", 19, "mismatched-free")]


@pytest.fixture
def series(repo) -> str:
    """A mailbox of three patches to one file, two of them mistakes, and a cover letter; none is applied."""
    repo.edit("drivers/user.c", "int ring_use", "int ring_more(struct ring *r)\n{\n\treturn 0;\n}\n\nint ring_use")
    repo.commit("ring: add ring_more()\n\nFrom here on there is more,\nwith ünïcode.")
    repo.edit(*BREAK)
    repo.commit("ring: free it")
    repo.git("mv", "drivers/user.c", "drivers/client.c")
    repo.edit("drivers/client.c", "\treturn 0;\n}\n\nint ring_use",
              "\tvoid *p = kmalloc(8, GFP_KERNEL);\n\n\tif (p)\n\t\tvfree(p);\n\treturn 0;\n}\n\nint ring_use")
    repo.commit("ring: rename")
    mails = repo.git("format-patch", "--stdout", "--cover-letter", "-3")
    repo.git("reset", "-q", "--hard", "HEAD~3")
    return mails


WRONG = [("drivers/client.c", 18, "mismatched-free"), ("drivers/client.c", 28, "mismatched-free")]


def test_a_mailbox(repo, series, tmp_path, capsys):
    (tmp_path / "series.mbox").write_text(series)
    assert places(broken(capsys, "--patch", tmp_path / "series.mbox")) == WRONG
    assert repo.git("status", "--porcelain") == ""


def test_a_mailbox_in_another_order_and_encoded(repo, series, tmp_path, capsys):
    import base64
    import re

    mails = re.split(r"(?m)^(?=From [0-9a-f]{40} )", series)[1:]
    assert len(mails) == 4
    head, _, body = mails[3].partition("\n\n")
    mails[3] = f"{head}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\n" \
               f"{base64.encodebytes(body.encode()).decode()}\n"
    (tmp_path / "series.mbox").write_text("".join([mails[3], mails[0], mails[2], mails[1]]))
    assert places(broken(capsys, "--patch", tmp_path / "series.mbox")) == WRONG


def test_one_mail_on_standard_input_as_checkpatch_takes_it(repo, monkeypatch, capsys):
    repo.edit(*BREAK)
    repo.commit("ring: free it")
    mail = repo.git("format-patch", "--stdout", "-1").partition("\n")[2]
    repo.git("reset", "-q", "--hard", "HEAD~1")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(mail.encode())))
    assert main(["--terse", "-"]) == 1
    said = capsys.readouterr()
    assert said.out.startswith("drivers/user.c:19: ERROR: ") and said.out.count("\n") == 1 and said.err == ""


def test_c_on_standard_input(repo, monkeypatch, capsys):
    monkeypatch.chdir(repo.root / "drivers")
    text = USER.replace("ring_use", "x").replace("vfree", "kfree")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert places(broken(capsys, "-")) == [("drivers/stdin.c", line, "mismatched-free") for line in (9, 19)]


def test_a_patch_that_does_not_apply(repo, tmp_path, capsys):
    repo.edit(*BREAK)
    (tmp_path / "p.patch").write_text(repo.git("diff"))
    repo.edit("drivers/user.c", "kfree(p);\n\treturn 0;\n}\n", "kfree(p);\n\n\treturn 0;\n}\n")
    repo.edit("drivers/user.c", "\tkfree(p)", "\tdrop(p)")
    repo.edit("drivers/user.c", "\tkfree(p)", "\tdrop(p)")
    said = failure(capsys, "--patch", tmp_path / "p.patch")
    assert f"--patch {tmp_path / 'p.patch'}: drivers/user.c" in said


@pytest.mark.parametrize("name", ["/{outside}", "../../{outside}", "drivers/../../../{outside}"])
def test_a_patch_reaches_nothing_outside(repo, tmp_path, capsys, name):
    (tmp_path / "outside.c").write_text("int a;\n")
    path = name.format(outside="outside.c" if name.startswith(".") or "drivers" in name else tmp_path / "outside.c")
    (tmp_path / "p.patch").write_text(f"--- a/{path}\n+++ b/{path}\n@@ -1 +1 @@\n-int a;\n+int b;\n")
    assert str(tmp_path / "p.patch") in failure(capsys, "--patch", tmp_path / "p.patch")
    assert (tmp_path / "outside.c").read_text() == "int a;\n"


@pytest.mark.parametrize(("args", "said"), [
    (["--diff", "nowhere"], "--diff nowhere: no such commit"),
    (["--diff", "--staged"], "--diff --staged: no such commit"),
    (["--patch", "{tmp}/none"], "--patch {tmp}/none: No such file"),
    (["--patch", "{tmp}/tree/drivers/user.c"], "there is no patch in it"),
    (["--staged", "--diff", "HEAD"], "exclude each other"),
    (["--staged", "nowhere"], "nowhere: no such file"),
])
def test_a_mistake_is_one_line_that_names_it(repo, tmp_path, capsys, args, said):
    assert said.format(tmp=tmp_path) in failure(capsys, *[arg.format(tmp=tmp_path) for arg in args])


def test_outside_a_repository_there_is_nothing_to_compare_with(tmp_path, tree, monkeypatch, capsys):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    (tmp_path / "a.c").write_text("int a;\n")
    assert "--staged: not a git repository" in failure(capsys, "--staged", tmp_path)


def test_a_module_below_the_top_of_its_repository(tmp_path, monkeypatch, capsys):
    (tmp_path / "top").mkdir()
    repo = Repository(tmp_path / "top")
    for path in ("Kconfig", "Makefile"):
        (repo.root / path).unlink()
    repo.commit()
    repo.edit(*BREAK)
    monkeypatch.chdir(repo.root / "drivers")
    assert places(broken(capsys, "--diff", "HEAD")) == [("user.c", 19, "mismatched-free")]
    (tmp_path / "p.patch").write_text(repo.git("diff"))
    repo.git("checkout", "-q", ".")
    assert places(broken(capsys, "--patch", tmp_path / "p.patch", ".")) == [("user.c", 19, "mismatched-free")]


def test_the_base_is_linted_once_and_evicts_nothing(repo, capsys, monkeypatch):
    counts = []
    real = Analysis._run

    def counting(self, workers, wave):
        counts.append(len(wave.functions))
        return real(self, workers, wave)

    monkeypatch.setattr(Analysis, "_run", counting)
    broken(capsys, ".")
    everything = sum(counts)
    counts.clear()
    repo.edit(*BREAK)
    broken(capsys, "--diff", "HEAD")
    assert 0 < sum(counts) < everything
    counts.clear()
    broken(capsys, "--diff", "HEAD")
    broken(capsys, ".")
    assert counts == []
    repo.git("stash", "-q")
    broken(capsys, ".")
    assert counts == []


def test_a_comment_that_allows_it_counts_on_both_sides(repo, capsys):
    repo.edit(*BREAK)
    repo.edit("drivers/user.c", "kfree(p);\n\treturn 0;\n}\n\nint ring_use", "vfree(p);\n\treturn 0;\n}\n\nint ring_use")
    assert places(broken(capsys, "--diff", "HEAD")) == [("drivers/user.c", 19, "mismatched-free")]
    repo.edit("drivers/user.c", "kfree(p);", "kfree(p); // kgfplint: allow(mismatched-free) to be mended")
    assert broken(capsys, "--diff", "HEAD", code=0) == []
    repo.commit()
    repo.edit("drivers/user.c", " // kgfplint: allow(mismatched-free) to be mended", "")
    assert places(broken(capsys, "--diff", "HEAD")) == [("drivers/user.c", 19, "mismatched-free")]


def test_a_function_that_only_moved_brings_nothing(repo, capsys):
    repo.edit("drivers/user.c", "int ring_old", "int ring_older")
    assert broken(capsys, "--diff", "HEAD", code=0) == []
    repo.edit("drivers/user.c", "int ring_older", "int ring_old")
    first, _, rest = (repo.root / "drivers/user.c").read_text().partition("int ring_use")
    repo.write("drivers/user.c", '#include "ring.h"\n\nint ring_use' + rest)
    repo.write("drivers/moved.c", first)
    repo.git("add", "-A")
    assert broken(capsys, "--staged", code=0) == []
    repo.edit("drivers/user.c", "vfree(p)", "kfree(p)")
    assert places(broken(capsys, "--diff", "HEAD")) == [("drivers/user.c", 9, "mismatched-free")]


def test_a_mistake_mended_here_and_made_there_is_new(repo, capsys):
    repo.edit("drivers/user.c", "kfree(p)", "drop(p)")
    repo.edit(*BREAK)
    assert places(broken(capsys, "--diff", "HEAD", "--select", "KGF401")) == [("drivers/user.c", 19, "mismatched-free")]


FOUND = st.lists(st.builds(
    Finding, st.sampled_from(["KGF401", "KGF101"]), st.just("r"), st.just(Severity.ERROR), st.sampled_from(["a.c", "b.c"]),
    st.integers(1, 9), st.just(1), st.just(1), st.sampled_from(["f", "g"]), st.just("m"), key=st.sampled_from(["x", "y"])))
CHANGE = Change(Files(Path("/")), Files(Path("/")), {}, {"a.c": [range(2, 5)]})


@given(FOUND, FOUND)
def test_what_is_new_and_what_was_there_are_all_that_is(before, after):
    def functions(files, path):
        return {"f": range(1, 5), "g": range(5, 10)}

    fresh = newly(before, after, CHANGE, functions)
    assert newly(after, after, CHANGE, functions) == []
    assert len(newly([], after, CHANGE, functions)) == len(after)
    counts = Counter(map(site, after)) - Counter(map(site, before))
    assert len(fresh) == counts.total()
    assert all(finding.path == "a.c" and 2 <= finding.line <= 4 for finding in fresh)
