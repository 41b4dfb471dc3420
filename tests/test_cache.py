"""`kgfplint cache`: what is told, what is dropped, and that an archive is taken whole or not at all."""

import os
import random
import re
import time

import pytest
from test_store import facts

from kgfplint import engine
from kgfplint.cli import main
from kgfplint.config import Settings
from kgfplint.facts import archive, index, store, upkeep
from kgfplint.facts.database import NAME
from kgfplint.facts.lower import lower
from kgfplint.facts.store import Stamp, Store, facts_version, pack

DAY = 86400


@pytest.fixture
def folder() -> str:
    return os.environ["KGFPLINT_CACHE"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path_factory, monkeypatch):
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))


def said(capsys, *args) -> str:
    """Run a command that must succeed, and return what it says."""
    assert main(["cache", *map(str, args)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def failure(capsys, *args) -> str:
    """Run a command that must fail, and return the one line that it says."""
    assert main(["cache", *map(str, args)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"kgfplint: [^\n]+\n", err)
    return err


def fill(keys, *, monkeypatch, days: float = 0, version: bytes | None = None) -> None:
    """Put rows into the store as if it were some days ago, by another version if asked for."""
    with monkeypatch.context() as patch:
        if version:
            patch.setattr(store, "facts_version", lambda: version)
        patch.setattr(store.time, "time", lambda: NOW - days * DAY)
        kept = Store(store.store_path())
        kept.put_many([pack(key, facts(30), ()) for key in keys])
        kept.close()


NOW = time.time()


def held(*keys) -> set[bytes]:
    """Return those of the keys that the store has rows for, of whatever version."""
    kept = Store(store.store_path())
    try:
        with kept.connected() as connection:
            return {key for key, in connection.execute("SELECT key FROM facts")} & set(keys)
    finally:
        kept.close()


def test_no_store_is_no_mistake(capsys, folder):
    assert "not there yet" in said(capsys, "info")
    assert "0 rows dropped" in said(capsys, "prune")
    assert "nothing to remove" in said(capsys, "clear")
    assert "nothing to export" in failure(capsys, "export", "x")
    assert os.listdir(folder) == [] and not os.path.exists("x")


def test_info_tells_what_is_there(capsys, tree, folder, monkeypatch):
    fill([b"old"], version=b"0" * 16, monkeypatch=monkeypatch)
    with engine.survey([tree], Settings()):
        pass
    lines = said(capsys, "info").splitlines()
    assert lines[0].split() == ["store", os.path.join(folder, NAME)]
    assert re.fullmatch(r"size +\d+\.\d MB, \d+\.\d MB of it free", lines[1])
    assert lines[2].split() == ["versions", "2"]
    present = [line.split()[:4] for line in lines if "(present)" in line]
    assert present == [[facts_version().hex()[:12], "(present)", "facts", "10"]]
    assert lines[-1].startswith(f"  {tree}  10 files  used ")


def test_former_versions_are_pruned_but_not_while_in_use(monkeypatch, capsys):
    fill([b"old"], days=2, version=b"old", monkeypatch=monkeypatch)
    fill([b"other"], version=b"other", monkeypatch=monkeypatch)
    fill([b"own"], days=2, monkeypatch=monkeypatch)
    said(capsys, "prune")
    assert held(b"old", b"other", b"own") == {b"other", b"own"}


def test_what_no_tree_used_for_days_is_pruned(monkeypatch, capsys, tmp_path):
    fill([b"kept", b"gone", b"left", b"lost"], days=9, monkeypatch=monkeypatch)
    stamp = Stamp(1, 2, 3, 4)
    with monkeypatch.context() as patch:
        patch.setattr(store.time, "time", lambda: NOW - 9 * DAY)
        kept = Store.open()
        kept.put_stamps(tmp_path / "former", [("a.c", stamp, b"lost")])
        kept.close()
        patch.undo()
        kept = Store.open()
        kept.put_stamps(tmp_path, [("a.c", stamp, b"kept"), ("b.c", stamp, b"left")])
        kept.put_stamps(tmp_path, [("b.c", stamp, b"next")])  # another branch: this one may come back
        kept.close()
    said(capsys, "prune", "--days", "10")
    assert held(b"kept", b"gone", b"left", b"lost") == {b"kept", b"gone", b"left", b"lost"}
    said(capsys, "prune", "--days", "7")
    assert held(b"kept", b"gone", b"left", b"lost") == {b"kept", b"left"}
    assert "former" not in said(capsys, "info")


def test_a_size_keeps_what_was_used_last(monkeypatch, capsys, folder):
    for day in range(20):
        fill([b"%d.%d" % (day, n) for n in range(100)], days=20 - day, monkeypatch=monkeypatch)
    path = os.path.join(folder, NAME)
    before = os.path.getsize(path)
    said(capsys, "prune", "--size", str(before // 1_000_000 + 1))
    assert os.path.getsize(path) == before
    kept = Store.open()
    upkeep.prune(kept, days=30, limit=before // 2)
    kept.close()
    assert os.path.getsize(path) <= before // 2
    dropped = [day for day in range(20) if not held(*(b"%d.%d" % (day, n) for n in range(100)))]
    assert dropped == list(range(len(dropped))) and 5 < len(dropped) < 15
    said(capsys, "prune", "--size", "0")
    assert not held(*(b"19.%d" % n for n in range(100)))


def test_results_are_pruned_as_groups(monkeypatch, capsys):
    with monkeypatch.context() as patch:
        kept = Store.open()
        patch.setattr(store, "facts_version", lambda: b"former")
        patch.setattr("kgfplint.facts.database.time.time", lambda: NOW - DAY)
        kept.put_results("findings", b"1", [(b"k", b"v")])
        patch.setattr(store, "facts_version", facts_version)
        kept.put_results("findings", b"1", [(b"k", b"v")])
        kept.put_results("findings", b"2", [(b"k", b"v")])
    said(capsys, "prune")
    assert kept.results("findings", b"2")  # which notes the use
    kept.close()
    assert "2 rows" not in said(capsys, "prune", "--days", "0")
    assert Store.open().results("findings", b"1") == {}
    assert Store.open().results("findings", b"2") == {b"k": b"v"}


def test_files_beside_the_store_go_with_it(capsys, folder):
    Store.open().close()
    for name, days in (("facts-0.sqlite", 0), ("prototypes-1.msgpack", 40), ("prototypes-2.msgpack", 2), ("notes", 99)):
        path = os.path.join(folder, name)
        open(path, "w").close()
        os.utime(path, (NOW - days * DAY, NOW - days * DAY))
    said(capsys, "prune")
    assert {"facts-0.sqlite", "prototypes-1.msgpack"}.isdisjoint(os.listdir(folder))
    said(capsys, "clear")
    assert os.listdir(folder) == ["notes"]


def test_a_run_goes_on_while_its_store_is_pruned(tree, capsys):
    with engine.survey([tree], Settings()) as found:
        said(capsys, "prune", "--days", "0", "--size", "0")
        assert len(list(found.facts())) == 10


def test_a_tree_has_the_store_that_lies_in_it(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("KGFPLINT_CACHE")
    (tmp_path / ".kgfplint").mkdir()
    monkeypatch.chdir(tmp_path)
    assert said(capsys, "info").splitlines()[0].split() == ["store", str(tmp_path / ".kgfplint" / NAME)]


@pytest.fixture
def packed(tree, tmp_path, capsys) -> str:
    """An archive of the small tree, and no store any more."""
    with engine.survey([tree], Settings()) as found:
        found.store.put_results("findings", b"rules", [(b"k", b"v")], root=tree)
        found.store.put_results("findings", b"others", [(b"k", b"w")], root=tmp_path)
        found.store.put_many([pack(b"other", facts(), ())])
    file = str(tmp_path / "packed")
    assert said(capsys, "export", file, tree) == f"{file}: 11 rows\n"
    said(capsys, "clear")
    return file


def test_an_archive_makes_another_store_warm(packed, tree, capsys, monkeypatch):
    assert " 11 rows " in said(capsys, "import", packed)
    monkeypatch.setattr(index, "lower", lambda data: pytest.fail("lowered again"))
    with engine.survey([tree], Settings()) as found:
        assert len(found.index.keys) == 10
        assert found.store.results("findings", b"rules") == {b"k": b"v"}
        assert found.store.results("findings", b"others") == {}
        assert not found.store.known([b"other"])
        assert all(found.bodies(path) is not None and found.store.includes(key) is not None
                   for path, key in found.index.keys.items())
    assert " 11 rows " in said(capsys, "import", packed)  # twice is as good as once


def test_everything_can_be_exported(packed, tmp_path, capsys, monkeypatch):
    said(capsys, "import", packed)
    fill([b"other"], monkeypatch=monkeypatch)
    fill([b"former"], version=b"former", monkeypatch=monkeypatch)
    assert said(capsys, "export", tmp_path / "all") == f"{tmp_path}/all: 12 rows\n"
    said(capsys, "clear")
    said(capsys, "import", tmp_path / "all")
    assert held(b"other", b"former") == {b"other"}


def test_a_file_changed_since_is_not_exported(tmp_path, capsys, monkeypatch):
    for name in ("a.c", "b.c"):
        (tmp_path / name).write_text(f"int {name[0]}(void) {{ return 1; }}\n")
        os.utime(tmp_path / name, (NOW - DAY, NOW - DAY))
    with engine.survey([tmp_path], Settings()):
        pass
    (tmp_path / "b.c").write_text("int other(void);\n")
    assert said(capsys, "export", "packed", tmp_path) == "packed: 1 rows\n"
    (tmp_path / "a.c").write_text("int another(void);\n")
    assert "nothing of" in failure(capsys, "export", "none", tmp_path)
    assert not os.path.exists("none")


def test_files_too_young_to_be_trusted_are_exported(tmp_path, capsys):
    (tmp_path / "a.c").write_text("int a(void) { return 1; }\n")
    with engine.survey([tmp_path], Settings()) as found:
        assert not found.store.stamps(tmp_path)
    assert said(capsys, "export", "packed", tmp_path) == "packed: 1 rows\n"


def damaged(content: bytes, how: str) -> bytes:
    noise = random.Random(how)
    at = noise.randrange(len(content))
    return {"cut": content[: len(content) // 2], "short": content[:30], "longer": content + b"\0", "empty": b"",
            "text": b"not an archive\n" * 100, "kgfplint": b"kgfplint"}.get(
        how, content[:at] + bytes([content[at] ^ noise.randrange(1, 256)]) + content[at + 1 :])


@pytest.mark.parametrize("how", ["cut", "short", "longer", "empty", "text", "kgfplint", *map(str, range(30))])
def test_a_damaged_archive_is_refused(packed, capsys, how):
    with open(packed, "rb") as file:
        content = file.read()
    with open(packed, "wb") as file:
        file.write(damaged(content, how))
    assert packed in failure(capsys, "import", packed)
    kept = Store.open()
    assert sum(group.rows for group in upkeep.summary(kept).groups) == 0
    kept.close()


def test_an_archive_of_another_version_is_refused(packed, capsys, monkeypatch):
    monkeypatch.setattr(archive, "facts_version", lambda: b"another version!")
    line = failure(capsys, "import", packed)
    assert packed in line and facts_version().hex()[:12] in line


def test_an_archive_that_lies_with_a_right_checksum_is_refused_whole(packed, capsys, monkeypatch, tmp_path):
    """Rows are sealed: what somebody else packed is not believed more than the disk."""
    said(capsys, "import", packed)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "_check", lambda record: None)
        kept = Store.open()
        with kept.transaction() as connection:
            connection.execute("UPDATE facts SET outline = zeroblob(9) WHERE rowid = (SELECT max(rowid) FROM facts)")
        archive.export(kept, tmp_path / "lying")
        kept.close()
    said(capsys, "clear")
    assert "wrong checksum" in failure(capsys, "import", tmp_path / "lying")
    assert " 10 rows" not in said(capsys, "info")


def test_a_damaged_store_is_not_exported(packed, capsys, tmp_path, folder):
    said(capsys, "import", packed)
    kept = Store.open()
    with kept.transaction() as connection:
        connection.execute("UPDATE facts SET bodies = zeroblob(length(bodies))")
    kept.close()
    line = failure(capsys, "export", tmp_path / "new")
    assert os.path.join(folder, NAME) in line and "damaged" in line
    assert sorted(path.name for path in tmp_path.iterdir()) == ["packed"]


@pytest.mark.parametrize(("args", "words"), [
    (["import", "{tmp}/none"], "{tmp}/none"),
    (["import", "{tmp}"], "{tmp}"),
    (["export", "{tmp}/none/x"], "{tmp}/none"),
    (["export", "/dev/full"], "/dev/full: not a regular file"),
    (["export", "{tmp}/x", "{tmp}/nowhere"], "{tmp}/nowhere"),
    (["export"], "FILE"),
    (["prune", "--days", "-1"], "--days"),
    (["prune", "--days", "many"], "--days"),
    (["prune", "--size", "-1"], "--size"),
    (["prune", "--size", "nan"], "--size"),
    (["shrink"], "shrink"),
])
def test_a_mistake_is_one_line_that_names_it(packed, tmp_path, capsys, args, words):
    said(capsys, "import", packed)
    line = failure(capsys, *(arg.format(tmp=tmp_path) for arg in args))
    assert words.format(tmp=tmp_path) in line


@pytest.mark.parametrize("command", [["info"], ["prune"], ["export", "x"], ["import", "{packed}"]])
@pytest.mark.parametrize("content", [b"not a database, " * 600, b"SQLite format 3\0" + bytes(5000), None])
def test_an_unusable_store_is_one_line_that_names_it(packed, folder, capsys, command, content):
    path = os.path.join(folder, NAME)
    if content is None:
        os.mkdir(path)
    else:
        with open(path, "wb") as file:
            file.write(content)
    assert path in failure(capsys, *(arg.format(packed=packed) for arg in command))


def test_a_tree_with_odd_names_is_told(tmp_path, capfdbinary):
    odd = os.fsdecode(b"odd \xff")
    (tmp_path / odd).mkdir()
    (tmp_path / odd / "a.c").write_text("int a(void) { return 1; }\n")
    with engine.survey([tmp_path / odd], Settings()):
        pass
    assert main(["cache", "info"]) == 0
    assert b"odd \xff" in capfdbinary.readouterr().out


def test_lowering_is_what_an_archive_holds(packed, tree, capsys):
    said(capsys, "import", packed)
    kept = Store.open()
    for path in tree.rglob("*.[ch]"):
        key = store.key_of(path.read_bytes())
        lowered = lower(path.read_bytes())
        assert kept.outline(key) == lowered.facts
        bodies = kept.bodies(key)
        assert tuple(bodies.body(n) for n in range(len(bodies))) == lowered.bodies
    kept.close()
