"""The store: what goes in comes out, and damage or a full disk never costs more than time."""

import logging
import os
import signal
import subprocess
import sys

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgfplint.facts import ir, store
from kgfplint.facts.store import BodyReader, Stamp, Store, StoreError, key_of, pack

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
    found = BodyReader(pack(b"k", facts(2), (body("a"), body("b"))).bodies)
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


def test_only_the_newest_former_store_stays(tmp_path):
    for age, name in enumerate(("facts-new", "facts-old", "facts-oldest")):
        path = tmp_path / f"{name}.sqlite"
        path.write_bytes(b"")
        os.utime(path, (1000 - age, 1000 - age))
    Store.open(tmp_path / "facts-current.sqlite").close()
    assert sorted(p.name for p in tmp_path.glob("*.sqlite")) == ["facts-current.sqlite", "facts-new.sqlite"]


def test_a_store_grown_too_large_begins_anew(monkeypatch, caplog):
    kept = Store.open()
    kept.put_many([pack(b"k", facts(), ())])
    kept.close()
    monkeypatch.setattr(store, "SIZE_LIMIT", 1000)
    assert not Store.open(kept.path).known([b"k"])
    assert len(caplog.records) == 1


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
