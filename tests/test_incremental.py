"""After any edits, a run that knows the run before finds what a run that knows nothing finds, to the byte."""

import os
import random
import shutil

import msgspec
import pytest

from kgfplint import engine
from kgfplint.checks.results import ANSWERS, FLOWS
from kgfplint.checks.run import Analysis
from kgfplint.config import Settings
from kgfplint.engine import run

HEADER = """
#ifndef WIDGET_H
#define WIDGET_H
#include "{other}"
#define WIDGET_GFP {mask}
typedef struct widget widget_t;
struct widget {{
	{first} first;
	spinlock_t lock;
	void *buf;
	struct widget *next;
}};
void *widget_alloc(size_t n);
void widget_free(void *p);
static inline void widget_enter(widget_t *w) {{ {enter} }}
static inline void widget_leave(widget_t *w) {{ {leave} }}
#endif
"""
OTHER = "#define OTHER_SIZE {size}\nenum {{ OTHER_ORDER = {order} }};\n"
MAKER = """
#include "widget.h"
void *widget_alloc(size_t n) {{ return {alloc}; }}
void widget_free(void *p) {{ {free}(p); }}
void *widget_twice(size_t n) {{ return n ? widget_other(n - 1) : {alloc}; }}
void *widget_other(size_t n) {{ return n ? widget_twice(n) : NULL; }}
"""
USER = """
#include "widget.h"
int user_{k}(struct widget *w, size_t n)
{{
	void *p;
{blank}
	widget_enter(w);
	p = {call}(OTHER_SIZE, WIDGET_GFP);
	widget_leave(w);
	if (!p)
		return -ENOMEM;
	w->buf = widget_alloc(n);
	{free}(p);
	return 0;
}}
void user_{k}_drop(struct widget *w)
{{
	{drop}(w->buf);
}}
int user_{k}_deep(size_t n)
{{
	char *p = widget_twice(n);

	p[0] = 1;
	{free}(p);
	return n;
}}
void user_{k}_locked(struct widget *w)
{{
	widget_enter(w);
	user_{k}_deep(4);
	widget_leave(w);
}}
"""
CHOICES = {
    "other": ["other.h", "another.h"],
    "mask": ["GFP_KERNEL", "GFP_ATOMIC", "GFP_KERNEL | __GFP_ZERO"],
    "first": ["int", "struct list_head"],
    "enter": ["spin_lock(&w->lock);", "", "mutex_lock(&w->mutex);"],
    "leave": ["spin_unlock(&w->lock);", "mutex_unlock(&w->mutex);"],
    "size": ["16", "4096"],
    "order": ["0", "2"],
    "alloc": ["kmalloc(n, GFP_KERNEL)", "vmalloc(n)", "kvmalloc(n, WIDGET_GFP)", "NULL"],
    "free": ["kfree", "vfree", "kvfree", "widget_free"],
    "call": ["kzalloc", "kmalloc", "vmalloc"],
    "drop": ["kfree", "vfree", "widget_free"],
    "blank": ["", "\n\n"],
}
FILES = {"Kconfig": "", "Makefile": "VERSION = 6\nPATCHLEVEL = 1\n"}


class Tree:
    """A small tree of texts with holes, and random edits of it."""

    def __init__(self, root, seed: int) -> None:
        self.root = root
        self.random = random.Random(seed)
        self.templates = {"include/widget.h": HEADER, "include/other.h": OTHER, "include/another.h": OTHER, "lib/maker.c": MAKER,
                          "drivers/a.c": USER, "drivers/b.c": USER, "net/c.c": USER}
        self.chosen = {path: {name: self.random.choice(values) for name, values in CHOICES.items()} for path in self.templates}
        for path, text in FILES.items():
            (root / path).write_text(text)
        self.write(*self.templates)

    def write(self, *paths: str) -> None:
        for path in paths:
            (self.root / path).parent.mkdir(parents=True, exist_ok=True)
            (self.root / path).write_text(self.templates[path].format(k=path[-3], **self.chosen[path]))

    def edit(self) -> str:
        path = self.random.choice(list(self.templates))
        kind = self.random.choice(["hole", "hole", "hole", "hole", "remove", "rename"])
        if kind == "hole" or len(self.templates) < 5:
            name = self.random.choice([name for name in CHOICES if f"{{{name}}}" in self.templates[path]])
            self.chosen[path][name] = self.random.choice(CHOICES[name])
            self.write(path)
            return f"{path}: {name} {self.chosen[path][name]!r}"
        (self.root / path).unlink()
        template, chosen = self.templates.pop(path), self.chosen.pop(path)
        if kind == "rename":
            fresh = path.replace("/", "/x") if "/x" not in path else path.replace("/x", "/")
            self.templates[fresh], self.chosen[fresh] = template, chosen
            self.write(fresh)
        return f"{kind} {path}"


def found(root, **settings) -> bytes:
    report = run([root], Settings(severity="note", jobs=1, **settings))
    return msgspec.json.encode(report.findings)


@pytest.mark.parametrize("seed", range(4))
def test_findings_after_edits_are_those_of_a_run_that_knows_nothing(tmp_path, seed):
    tree = Tree(tmp_path, seed)
    steps = []
    for _ in range(9):
        assert found(tmp_path) == found(tmp_path, cache=False), steps
        steps.append(tree.edit())


def test_a_branch_and_back(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    Tree(one, 11)
    shutil.copytree(one, two)
    (two / "lib/maker.c").write_text(MAKER.format(alloc="vmalloc(n)", free="kfree"))
    first, second = found(one, cache=False), found(two, cache=False)
    assert first != second
    assert [found(one), found(two), found(one), found(two)] == [first, second, first, second]


@pytest.fixture
def analysed(monkeypatch):
    """How many functions were analysed, wave by wave."""
    counts = []
    real = Analysis._run

    def counting(self, workers, wave):
        counts.append(len(wave.functions))
        return real(self, workers, wave)

    monkeypatch.setattr(Analysis, "_run", counting)
    return counts


def test_an_edit_is_analysed_with_what_it_can_reach(tmp_path, analysed):
    tree = Tree(tmp_path, 3)
    tree.chosen["lib/maker.c"]["alloc"] = "vmalloc(n)"
    tree.write("lib/maker.c")
    found(tmp_path)
    everything = sum(analysed)
    analysed.clear()
    found(tmp_path)
    assert not analysed
    # Its name is part of another that every file has.
    (tmp_path / "net/c.c").write_text((tmp_path / "net/c.c").read_text() + "\nint user(void) { return 0; }\n")
    found(tmp_path)
    assert 0 < sum(analysed) <= 3 < everything
    analysed.clear()
    tree.chosen["lib/maker.c"]["alloc"] = "kmalloc(n, GFP_KERNEL)"
    tree.write("lib/maker.c")
    found(tmp_path)
    assert sum(analysed) > 3


@pytest.fixture
def kept(monkeypatch):
    """What each run took over of the one before, beside results: (kind, names of functions)."""
    taken = []
    real = engine.State.beside

    def noting(self, kind, program, standing):
        found = real(self, kind, program, standing)
        taken.append((kind, {program.rows[number].name for number in found}))
        return found

    monkeypatch.setattr(engine.State, "beside", noting)
    return taken


def names(kept, kind):
    return [names for one, names in kept if one is kind]


def test_flows_that_no_edit_can_reach_are_kept(tmp_path, kept):
    tree = Tree(tmp_path, 3)
    for path in ("drivers/a.c", "drivers/b.c", "net/c.c", "lib/maker.c", "include/widget.h"):
        tree.chosen[path].update(alloc="kmalloc(n, GFP_KERNEL)", enter="spin_lock(&w->lock);", leave="spin_unlock(&w->lock);")
    tree.write(*tree.templates)
    found(tmp_path)
    (tmp_path / "net/c.c").write_text((tmp_path / "net/c.c").read_text().replace("return 0;", "return (0);"))
    assert found(tmp_path) == found(tmp_path, cache=False)
    before, after, alone = names(kept, FLOWS)
    assert before == alone == set()
    assert {"user_a_deep", "user_b_deep", "widget_twice"} <= after
    assert not any(name.startswith("user_c") for name in after)


def test_answers_are_kept_while_they_are_the_same(tmp_path, kept):
    tree = Tree(tmp_path, 3)
    for path in tree.templates:
        tree.chosen[path].update(alloc="vmalloc(n)", drop="kfree", free="kfree")
    tree.write(*tree.templates)
    first = found(tmp_path)
    assert b"every struct" in first or b"all of widget.buf" in first
    edit = tmp_path / "net/c.c"
    edit.write_text(edit.read_text().replace("return 0;", "return (0);"))
    assert found(tmp_path) == found(tmp_path, cache=False)
    assert {"user_a_drop", "user_b_drop"} <= names(kept, ANSWERS)[1]
    # Now something else is stored there as well: nobody knows any more.
    edit.write_text(edit.read_text().replace("w->buf = widget_alloc(n);", "w->buf = w;"))
    assert found(tmp_path) == found(tmp_path, cache=False) != first
    assert b"all of widget.buf" not in found(tmp_path)


def test_blank_lines_change_no_fingerprint(tmp_path):
    tree = Tree(tmp_path, 5)
    tree.chosen["drivers/a.c"]["blank"] = ""
    tree.write("drivers/a.c")
    before = {finding.fingerprint for finding in run([tmp_path], Settings(severity="note")).findings}
    tree.chosen["drivers/a.c"]["blank"] = "\n\n\n"
    tree.write("drivers/a.c")
    assert {finding.fingerprint for finding in run([tmp_path], Settings(severity="note")).findings} == before != set()


def test_results_of_another_run_are_not_mixed_with_ones_own(tmp_path, monkeypatch):
    tree = Tree(tmp_path, 7)
    found(tmp_path)
    tree.edit()
    saved = engine.State.save

    def late(self, program, results):
        # Another run finishes first, on other files.
        monkeypatch.setattr(engine.State, "save", saved)
        tree.edit()
        found(tmp_path)
        saved(self, program, results)

    monkeypatch.setattr(engine.State, "save", late)
    found(tmp_path)
    assert found(tmp_path) == found(tmp_path, cache=False)


def test_a_path_that_is_no_utf8_costs_time_only(tmp_path):
    Tree(tmp_path, 3)
    odd = tmp_path / os.fsdecode(b"drivers/\xff.c")
    odd.write_text((tmp_path / "net/c.c").read_text().replace("user_", "odd_"))
    first, second = run([tmp_path], Settings(jobs=1)).findings, run([tmp_path], Settings(jobs=1)).findings
    assert first == second
    assert "drivers/\udcff.c" in {finding.path for finding in first}


def test_one_file_is_judged_by_the_whole_tree(tmp_path):
    tree = Tree(tmp_path, 3)
    tree.chosen["lib/maker.c"]["alloc"] = "vmalloc(n)"
    tree.chosen["drivers/a.c"]["free"] = "kfree"
    tree.write("lib/maker.c", "drivers/a.c")
    one = [tmp_path / "drivers/a.c"]
    wide, narrow = run(one, Settings(severity="note")), run(one, Settings(severity="note", scope="paths"))
    everything = run([tmp_path], Settings(severity="note")).findings
    assert wide.findings == tuple(finding for finding in everything if finding.path == "drivers/a.c") != ()
    assert wide.stats.files == len(tree.templates) > narrow.stats.files == 3
    assert set(narrow.findings) < set(wide.findings)


def test_files_that_were_not_checked_before_are_checked_when_asked_about(tmp_path):
    Tree(tmp_path, 3)
    run([tmp_path / "drivers/a.c"], Settings(severity="note"))
    assert found(tmp_path) == found(tmp_path, cache=False)
    assert run([tmp_path / "net"], Settings(severity="note")).findings == run(
        [tmp_path / "net"], Settings(severity="note", cache=False)).findings
