"""The store: what goes in comes out, and damage or a full disk never costs more than time."""

import logging
import signal
import subprocess
import sys

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgfplint.facts import ir, store
from kgfplint.facts.database import NAME, store_path
from kgfplint.facts.store import BodyReader, Stamp, Store, StoreError, key_of, pack, seal, unseal

names = st.text("abcdefgh_", min_size=1, max_size=8)
expressions = st.recursive(
    names.map(ir.Name) | st.integers(-(2**63), 2**63 - 1).map(ir.Number),
    lambda inner: st.builds(ir.Binary, st.sampled_from("+|&"), inner, inner) | st.builds(ir.Deref, inner),
    max_leaves=6,
)
events = st.builds(ir.Assign, expressions, expressions, st.just(""), st.integers(1, 99), st.integers(1, 99))
bodies_of = st.lists(
    st.builds(ir.Body, st.lists(st.builds(ir.Block, st.lists(events, max_size=3).map(tuple), st.just(())),
                                max_size=3).map(tuple), st.just(())),
    max_size=5,
).map(tuple)


def facts(functions: int = 0, includes: tuple[str, ...] = ()) -> ir.FileFacts:
    rows = tuple(ir.Function(f"f{n}", n + 1, n + 1, 0, "int", (), "", (), (), (), ()) for n in range(functions))
    return ir.FileFacts(rows, (), (), (), (), (), (), includes, (), (), (), functions, True)


def body(name: str) -> ir.Body:
    return ir.Body((ir.Block((ir.Return(ir.Name(name), 1, 1),), ()),), ())


@given(bodies_of, st.lists(names, max_size=3).map(tuple))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_goes_in_comes_out(tmp_path, bodies, includes):
    kept = Store(tmp_path / "facts.sqlite")
    outline = facts(len(bodies), includes)
    row = pack(key_of(msgspec.msgpack.encode(bodies)), outline, bodies)
    kept.put_many([row])
    reader = Store.reader(kept.path)
    found = reader.bodies(row.key)
    assert reader.outline(row.key) == outline
    assert reader.includes(row.key) == includes
    assert tuple(found.body(n) for n in range(len(found))) == bodies
    reader.close()
    kept.close()


def test_bodies_are_counted_from_zero():
    found = BodyReader(unseal(pack(b"k", facts(2), (body("a"), body("b"))).bodies, b"k"))
    assert found.body(1) == body("b")
    for outside in (2, -1):
        with pytest.raises(IndexError):
            found.body(outside)


def test_keys_depend_on_every_byte():
    assert key_of(b"int a;") == key_of(b"int a;") != key_of(b"int b;")


def test_known_tells_only_what_is_there():
    kept = Store.temporary()
    kept.put_many([pack(b"one", facts(), ())])
    assert kept.known([b"one", b"two"]) == {b"one"}
    with pytest.raises(StoreError):
        kept.outline(b"two")
    kept.close()
    assert not kept.path.exists()


def test_stamps_are_kept_by_tree(tmp_path):
    kept = Store.temporary()
    stamp = Stamp(1, 2, 3, 4)
    kept.put_stamps(tmp_path / "a", [("x.c", stamp, b"k"), ("d\udcff/y.c", stamp, b"l")])
    kept.put_stamps(tmp_path / "ab", [("z.c", stamp, b"m")])
    assert kept.stamps(tmp_path / "a") == {"x.c": (stamp, b"k"), "d\udcff/y.c": (stamp, b"l")}


def test_a_reader_cannot_write():
    kept = Store.temporary()
    kept.put_many([pack(b"k", facts(), ())])
    with pytest.raises(StoreError):
        Store.reader(kept.path).put_many([pack(b"l", facts(), ())])


def test_a_released_store_reopens():
    kept = Store.temporary()
    kept.put_many([pack(b"k", facts(), ())])
    kept.release()
    assert kept.known([b"k"])


@pytest.mark.parametrize("damage", [b"", b"not a database, " * 600, b"SQLite format 3\0" + bytes(5000)])
def test_a_damaged_store_is_built_anew(caplog, damage):
    kept = Store.open()
    kept.put_many([pack(b"k", facts(), ())])
    kept.close()
    kept.path.write_bytes(damage)
    again = Store.open(kept.path)
    assert again.path == kept.path and not again.is_temporary
    assert not again.known([b"k"])
    again.put_many([pack(b"k", facts(), ())])
    assert again.outline(b"k") == facts()
    assert len(caplog.records) == (1 if damage else 0)  # an empty file is an empty database


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_flipped_bytes_never_go_unnoticed(data):
    kept = Store.temporary()
    wanted = {b"key%d" % n: (facts(n, ("<a.h>",) * n), tuple(body(f"b{m}" * 40) for m in range(n))) for n in range(8)}
    kept.put_many([pack(key, outline, bodies) for key, (outline, bodies) in wanted.items()])
    kept.release()
    content = bytearray(kept.path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] ^= data.draw(st.integers(1, 255))
    kept.path.write_bytes(content)
    for key, (outline, bodies) in wanted.items():
        try:
            assert kept.outline(key) == outline
            assert kept.includes(key) == outline.includes
            found = kept.bodies(key)
            assert tuple(found.body(n) for n in range(len(found))) == bodies
        except StoreError:
            pass
    kept.close()


def test_an_unusable_folder_means_a_temporary_store(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    kept = Store.open(tmp_path / "file" / "cache" / "facts.sqlite")
    assert kept.is_temporary
    kept.put_many([pack(b"k", facts(), ())])
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "\n" not in caplog.messages[0]


def test_stores_of_former_releases_are_removed(tmp_path):
    for name in ("facts-0123456789ab.sqlite", "facts-0123456789ab.sqlite-wal", "facts-ba9876543210.sqlite"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "notes").write_text("mine")
    Store.open(tmp_path / NAME).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, "notes"]


def test_a_store_grown_too_large_drops_what_was_longest_not_used(monkeypatch, caplog):
    kept = Store.open()
    kept.put_many([pack(b"old%d" % n, facts(40), ()) for n in range(300)])
    with kept.transaction() as connection:
        connection.execute("UPDATE facts SET made = made - 86400")
    kept.put_many([pack(b"new", facts(), ())])
    kept.close()
    size = kept.path.stat().st_size
    monkeypatch.setattr(store, "SIZE_LIMIT", size * 2 // 3)
    again = Store.open()
    again.close()
    assert kept.path.stat().st_size < size * 2 // 3
    left = again.known([b"new", *(b"old%d" % n for n in range(300))])
    assert b"new" in left and 50 < len(left) < 200
    assert len(caplog.records) == 1


@given(st.binary(), st.binary(), st.binary())
def test_a_sealed_blob_is_good_in_its_row_only(content, key, other):
    assert bytes(unseal(seal(content, key), key)) == content
    if other != key:
        # Of 32 bits: keys that agree exist, one pair in four thousand million.
        with pytest.raises(ValueError, match="checksum"):
            unseal(seal(content, key), other)


def test_results_are_kept_by_kind_and_digest(tmp_path):
    kept = Store.open()
    kept.put_results("summaries", b"rules 1", [(b"f", b"one"), (b"g", b"two")], root=tmp_path)
    kept.put_results("summaries", b"rules 2", [(b"f", b"three")])
    kept.put_results("findings", b"rules 1", [(b"f", b"four")])
    reader = Store.reader(kept.path)
    assert reader.results("summaries", b"rules 1") == {b"f": b"one", b"g": b"two"}
    assert reader.results("summaries", b"rules 2", [b"f", b"g"]) == {b"f": b"three"}
    assert reader.results("findings", b"rules 2") == {}
    kept.put_results("summaries", b"rules 1", [(b"h", b"five")], gone=[b"f"])
    assert kept.results("summaries", b"rules 1") == {b"g": b"two", b"h": b"five"}


def test_contents_that_several_files_had_come_and_go(tmp_path):
    kept = Store.open()
    stamp = Stamp(1, 2, 3, 4)
    for key in (b"k", b"l", b"k", b"l"):
        kept.put_stamps(tmp_path, [("x.c", stamp, key), ("y.c", stamp, key)])
        assert kept.stamps(tmp_path) == {"x.c": (stamp, key), "y.c": (stamp, key)}


def test_results_of_another_version_are_not_seen(monkeypatch):
    kept = Store.open()
    kept.put_results("summaries", b"rules", [(b"f", b"one")])
    monkeypatch.setattr(store, "facts_version", lambda: b"another")
    assert kept.results("summaries", b"rules") == {}
    kept.put_results("summaries", b"rules", [(b"f", b"two")])
    assert kept.results("summaries", b"rules") == {b"f": b"two"}


def test_a_stamp_of_another_version_does_not_lead_to_its_facts(tmp_path, monkeypatch):
    kept = Store.open()
    stamp = Stamp(1, 2, 3, 4)
    row = pack(b"k", facts(1), (body("a"),))
    kept.put_many([row])
    kept.put_stamps(tmp_path, [("x.c", stamp, row.key)])
    assert kept.stamps(tmp_path) == {"x.c": (stamp, b"k")}
    monkeypatch.setattr(store, "facts_version", lambda: b"another")
    assert kept.stamps(tmp_path) == {}
    kept.put_many([pack(b"l", facts(1), (body("a"),))])
    kept.put_stamps(tmp_path, [("x.c", stamp, b"l")])
    assert kept.stamps(tmp_path) == {"x.c": (stamp, b"l")}


def test_facts_of_another_version_are_not_known(monkeypatch):
    kept = Store.open()
    key = key_of(b"int a;")
    kept.put_many([pack(key, facts(1), ())])
    assert kept.known([key]) == {key}
    monkeypatch.setattr(store, "facts_version", lambda: b"another")
    assert kept.known([key]) == set()


def test_a_damaged_result_is_not_returned():
    kept = Store.open()
    kept.put_results("summaries", b"rules", [(b"f", b"one")])
    with kept.transaction() as connection:
        connection.execute("UPDATE results SET content = zeroblob(length(content))")
    with pytest.raises(StoreError) as error:
        kept.results("summaries", b"rules")
    assert error.value.damaged


def test_a_transaction_is_kept_or_not_at_all():
    kept = Store.open()
    with pytest.raises(KeyError), kept.transaction() as connection:
        connection.execute("INSERT INTO trees(root, used) VALUES (x'61', 1)")
        raise KeyError
    with kept.connected() as connection:
        assert connection.execute("SELECT count(*) FROM trees").fetchone() == (0,)


def test_a_tree_with_a_folder_of_its_own_has_its_own_store(tmp_path, monkeypatch):
    assert store_path(tmp_path) == store_path() != tmp_path / ".kgfplint" / NAME
    (tmp_path / ".kgfplint").mkdir()
    assert store_path(tmp_path) == store_path()  # KGFPLINT_CACHE wins over it
    monkeypatch.delenv("KGFPLINT_CACHE")
    assert store_path(tmp_path) == tmp_path / ".kgfplint" / NAME
    assert store_path(tmp_path / "elsewhere") == store_path()


def test_a_store_that_another_process_rebuilt_is_not_removed(caplog):
    kept = Store.open()
    kept.put_many([pack(b"k", facts(), ())])
    kept.path.rename(kept.path.with_name("aside"))  # as another process does with a damaged one
    other = Store.open()
    other.put_many([pack(b"l", facts(), ())])
    with pytest.raises(StoreError) as error:
        kept.outline(b"none")
    again = Store.instead_of(kept.path, error.value)
    assert again.known([b"k", b"l"]) == {b"l"}
    assert len(caplog.records) == 1


def test_a_store_of_another_format_is_built_anew(caplog):
    kept = Store.open()
    with kept.connected() as connection:
        connection.execute("PRAGMA user_version = 99")
    kept.close()
    assert not Store.open().is_temporary
    assert len(caplog.records) == 1 and "format 99" in caplog.messages[0]


WRITER = """
import sys
from pathlib import Path
from kgfplint.facts import ir
from kgfplint.facts.store import Store, pack
kept = Store(Path(sys.argv[1]))
empty = ir.FileFacts((), (), (), (), (), (), (), ("<a.h>",) * 500, (), (), (), 0, True)
for n in range(1000000):
    kept.put_many([pack(b"%d.%d" % (n, m), empty, ()) for m in range(10)])
    print(n, flush=True)
"""


def test_a_killed_writer_leaves_a_good_store(tmp_path):
    path = tmp_path / "facts.sqlite"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE) as writer:
        written = [int(writer.stdout.readline()) for _ in range(20)][-1]
        writer.send_signal(signal.SIGKILL)
    kept = Store.open(path)
    keys = [b"%d.%d" % (n, m) for n in range(written + 1) for m in range(10)]
    assert kept.known(keys) == set(keys)
    assert all(kept.outline(key).lines == 0 for key in keys)


def test_two_writers_take_turns():
    one = Store.open()
    two = Store.open()
    for n in range(20):
        one.put_many([pack(b"a%d" % n, facts(), ())])
        two.put_many([pack(b"b%d" % n, facts(), ())])
    assert one.known([b"a3", b"b3"]) == {b"a3", b"b3"}
