"""The run: the same answer however it is divided, nothing read twice, nothing dropped silently."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import pytest

from kgfplint import engine
from kgfplint.config import Settings
from kgfplint.engine import RunError, run, survey
from kgfplint.facts import index
from kgfplint.facts.includes import Includes
from kgfplint.facts.lower import lower
from kgfplint.facts.store import Store, StoreError
from kgfplint.facts.workers import Workers
from kgfplint.findings import Finding, Severity
from kgfplint.report import render
from kgfplint.source.tree import Files

LONG_AGO = 1_600_000_000


@pytest.fixture(autouse=True)
def _no_findings(monkeypatch):
    """What rules find is not the matter here."""
    monkeypatch.setattr(engine, "analyse", lambda *_: [])


@pytest.fixture
def copy(tree, tmp_path) -> Path:
    """A copy of the small tree, old enough that its time stamps are trusted."""
    place = tmp_path / "tree"
    shutil.copytree(tree, place)
    for path in place.rglob("*"):
        os.utime(path, (LONG_AGO, LONG_AGO))
    return place


@pytest.fixture
def lowered(monkeypatch) -> list[bytes]:
    """The contents that were lowered, in this process."""
    seen = []

    def counting(data, spare):
        seen.append(data)
        return lower(data, spare)

    monkeypatch.setattr(index, "lower", counting)
    return seen


def files(paths, **settings) -> set[str]:
    with survey([Path(path) for path in paths], Settings(**settings)) as found:
        return set(found.index.keys)


def one_per_function(program, found, *_):
    """A finding for each function of the targets, in an order of no meaning."""
    return [
        Finding("KGF000", "any", Severity.WARNING, program.file_of(number), row.line, 1, row.line, row.name, "here")
        for number, row in reversed(list(enumerate(program.rows))) if program.file_of(number) in found.targets
    ]


def test_the_headers_that_files_include_are_read(tree):
    assert files([tree / "drivers/demo/table.c"], scope="paths") == {
        "arch/x86/include/asm/page.h", "drivers/demo/demo.h", "drivers/demo/table.c", "include/linux/gfp_types.h",
        "include/linux/slab.h", "include/linux/spinlock.h", "include/linux/types.h", "include/linux/vmalloc.h",
    }


def test_only_what_was_asked_about_is_a_target(tree):
    with survey([tree / "drivers/demo"], Settings()) as found:
        assert found.targets == tuple(f"drivers/demo/{name}" for name in ("demo.h", "main.c", "ring.c", "table.c"))
        assert found.root == tree
        assert found.version == (6, 6)


def test_the_kernel_version_can_be_given(tree):
    with survey([tree], Settings(kernel="6.1.176")) as found:
        assert found.version == (6, 1)


def test_any_number_of_processes_gives_the_same_report(tree, monkeypatch):
    monkeypatch.setattr(index, "SMALL_BYTES", 0)
    monkeypatch.setattr(index, "CHUNK_BYTES", 1000)
    monkeypatch.setattr(engine, "analyse", one_per_function)
    reports = [run([tree], Settings(jobs=jobs, cache=False)) for jobs in (1, 2, 3)]
    assert len(reports[0].findings) > 5
    texts = {"".join(render("text", report)) for report in reports}
    assert len(texts) == 1
    assert len({(r.stats.files, r.stats.functions, r.stats.lines) for r in reports}) == 1


def test_a_second_run_reads_nothing(copy, lowered):
    files([copy])
    assert lowered
    lowered.clear()
    files([copy])
    assert not lowered


def test_an_edit_is_read_alone(copy, lowered):
    files([copy])
    lowered.clear()
    (copy / "drivers/demo/ring.c").write_bytes(b"int edited(void) { return 1; }\n")
    files([copy])
    assert lowered == [b"int edited(void) { return 1; }\n"]


def test_an_edit_that_keeps_size_and_time_is_seen(copy, lowered):
    path = copy / "drivers/demo/ring.c"
    path.write_bytes(b"int a;\n")
    files([copy])
    lowered.clear()
    path.write_bytes(b"int b;\n")
    files([copy])
    assert lowered == [b"int b;\n"]


def test_a_moved_tree_is_not_lowered_again(copy, lowered):
    files([copy])
    lowered.clear()
    files([copy.rename(copy.with_name("elsewhere"))])
    assert not lowered


def test_a_deleted_file_is_forgotten(copy):
    files([copy])
    (copy / "drivers/demo/ring.c").unlink()
    assert "drivers/demo/ring.c" not in files([copy])


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_file_that_cannot_be_lowered_is_named_and_counted(tree, monkeypatch, caplog, jobs):
    def failing(data, spare):
        if b"demo_ring_add(struct demo *demo, u32 length)\n{" in data:
            raise RecursionError("too deep\nby far")
        return lower(data, spare)

    monkeypatch.setattr(index, "lower", failing)
    monkeypatch.setattr(index, "SMALL_BYTES", 0)
    report = run([tree], Settings(jobs=jobs))
    assert report.stats.skipped["failed"] == 1
    assert [m for m in caplog.messages if "ring.c" in m] == ["drivers/demo/ring.c: failed: RecursionError: too deep"]
    assert report.stats.files == 10 - 1


def test_a_file_that_kills_its_process_is_named_and_counted(tree, monkeypatch, caplog):
    def dying(data, spare):
        if b"vmalloc(PAGE_SIZE" in data:
            os._exit(9)
        return lower(data, spare)

    monkeypatch.setattr(index, "lower", dying)
    monkeypatch.setattr(index, "SMALL_BYTES", 0)
    monkeypatch.setattr(index, "CHUNK_BYTES", 4000)
    report = run([tree], Settings(jobs=2))
    assert report.stats.skipped["failed"] == 1
    assert caplog.messages == ["drivers/demo/table.c: failed: its process died"]
    assert report.stats.files == 10 - 1


def square(numbers):
    return [number * number if number != 13 else os._exit(1) for number in numbers]


def test_workers_do_all_but_the_deadly():
    with Workers(2, lambda: None) as workers:
        done = list(workers.map(square, [range(n, n + 5) for n in range(0, 100, 5)]))
    results = sorted(value for _, values in done if values for value in values)
    assert results == [n * n for n in range(100) if n != 13]
    assert [list(chunk) for chunk, values in done if values is None] == [[13]]


def process(numbers):
    return [os.getpid() for _ in numbers]


def test_workers_are_replaced_when_they_have_served():
    forks = []
    with Workers(2, lambda: forks.append(1), 20) as workers:
        done = [pids for n in range(4) for _, pids in workers.map(process, [range(5)] * 9)]
    pids = [pid for found in done for pid in found]
    assert len(pids) == 4 * 9 * 5
    assert len(forks) == 5 and max(map(pids.count, pids)) <= 45


def test_an_unreadable_file_is_named_and_counted(copy, monkeypatch, caplog):
    monkeypatch.setattr(Files, "below", lambda *_: ["drivers/demo/ring.c", "drivers/demo/gone.c"])
    report = run([copy / "drivers"], Settings())
    assert report.stats.skipped["unreadable"] == 1
    assert caplog.messages == ["drivers/demo/gone.c: unreadable: No such file or directory"]


def test_a_path_that_is_not_there_ends_the_run(tree):
    with pytest.raises(RunError, match=r"nowhere: no such file"):
        run([tree / "nowhere"], Settings())


def test_a_full_disk_means_a_temporary_store(tree, monkeypatch, caplog):
    put_many = Store.put_many

    def full(self, rows):
        if not self.is_temporary:
            raise StoreError("database or disk is full")
        put_many(self, rows)

    monkeypatch.setattr(Store, "put_many", full)
    assert run([tree], Settings()).stats.files == 10
    assert len(caplog.messages) == 1 and "database or disk is full" in caplog.messages[0]


def test_a_disk_full_everywhere_ends_the_run(tree, monkeypatch):
    def full(self, rows):
        raise StoreError("database or disk is full")

    monkeypatch.setattr(Store, "put_many", full)
    with pytest.raises(RunError, match="disk is full"):
        run([tree], Settings())


def test_damage_that_shows_only_later_costs_one_more_run(copy, caplog, lowered):
    files([copy])
    with survey([copy], Settings()) as found:
        path = found.store.path
    content = bytearray(path.read_bytes())
    content[8192:] = bytes(len(content) - 8192)
    path.write_bytes(content)
    lowered.clear()
    assert run([copy], Settings()).stats.files == 10
    assert len(lowered) > 5
    assert len(caplog.messages) == 1 and "damaged" in caplog.messages[0]


@pytest.mark.parametrize("column", ["outline", "bodies"])
def test_a_damaged_blob_costs_one_more_run(copy, monkeypatch, caplog, column):
    def reading(program, found, *_):
        assert all(len(found.bodies(path)) >= 0 for path in found.targets)
        return []

    monkeypatch.setattr(engine, "analyse", reading)
    run([copy], Settings())
    with survey([copy], Settings()) as found, contextlib.closing(sqlite3.connect(found.store.path)) as connection:
        connection.execute(f"UPDATE facts SET {column} = zeroblob(length({column}))")
        connection.commit()
    # With other rules than before: what the run before found does not count.
    assert run([copy], Settings(select=("KGF301",))).stats.files == 10
    assert len(caplog.messages) == 1 and "damaged" in caplog.messages[0]


@pytest.fixture
def headers(tmp_path) -> Includes:
    for name in ("include/linux/a.h", "include/uapi/linux/a.h", "include/uapi/linux/u.h", "include/asm-generic/x.h",
                 "arch/arm/include/asm/x.h", "arch/x86/include/uapi/asm/x.h", "drivers/gpu/include/local.h",
                 "drivers/gpu/x/near.h", "drivers/gpu/x/main.c"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return Includes(Files(tmp_path))


@pytest.mark.parametrize(("line", "found"), [
    ("<linux/a.h>", ("include/linux/a.h",)),
    ("<uapi/linux/a.h>", ("include/uapi/linux/a.h",)),
    ("<linux/u.h>", ("include/uapi/linux/u.h",)),
    ("<asm/x.h>", ("arch/arm/include/asm/x.h", "arch/x86/include/uapi/asm/x.h", "include/asm-generic/x.h")),
    ('"near.h"', ("drivers/gpu/x/near.h",)),
    ('"../x/near.h"', ("drivers/gpu/x/near.h",)),
    ('"local.h"', ("drivers/gpu/include/local.h",)),
    ("<local.h>", ("drivers/gpu/include/local.h",)),
    ('"linux/a.h"', ("include/linux/a.h",)),
    ("<linux/none.h>", ()),
    ('"../../../../../etc/passwd.h"', ()),
    ("<linux/a.inc>", ()),
    ("MACRO", ()),
])
def test_include_lines_lead_to_files(headers, line, found):
    assert headers.resolve("drivers/gpu/x/main.c", line) == found
