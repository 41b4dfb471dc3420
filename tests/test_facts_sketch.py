"""Sketches say what lowering says, and the bodies that they left out can be had later."""

import contextlib
from pathlib import Path

import pytest

from kgfplint.facts import ir
from kgfplint.facts.bodies import Bodies, FileChanged
from kgfplint.facts.lower import lower, lower_alone, sketchable
from kgfplint.facts.store import Store, key_of, pack
from kgfplint.source.tree import Files

FIXTURES = sorted(Path(__file__).parent.joinpath("fixtures").rglob("*.[ch]"))
TEXT = b"""
struct ops { int (*open)(struct dev *dev); void (*done)(void *arg); };

static int quiet(struct dev *dev, void (*cb)(void *))
{
	struct ops *ops = dev->ops, spare[2];
	int i, n = count(dev, 0);

	if (likely(n > 0) && ops->open(dev))
		return -EIO;
	ops->done = finish;
	ops->done = cb;
	for (i = 0; i < n; i++)
		dev->parent->ops[i].open(dev);
	to_ops(dev)->open(dev);
	container_of(dev, struct board, dev)->reset(dev);
	((struct board *)dev)->start(i);
	walk(dev, visit, &i, MAX);
	return (int)sizeof(spare);
}

static void *loud(size_t n)
{
	return kmalloc(n, GFP_KERNEL);
}

static void forever(void)
{
	for (;;)
		wait();
}
"""


def sketched(text: bytes) -> dict[str, ir.Function]:
    return {function.name: function for function in lower(text, sketchable).facts.functions}


def test_only_what_touches_neither_memory_nor_locks_is_sketched():
    flags = {name: bool(function.flags & ir.SKETCHED) for name, function in sketched(TEXT).items()}
    assert flags == {"quiet": True, "loud": False, "forever": False}


def test_a_sketch_names_what_is_called_handed_over_and_stored():
    found = sketched(TEXT)["quiet"]
    assert {name for name, _ in found.calls} == {"count", "to_ops", "container_of", "walk"}
    assert {place[:2] for place in found.indirect} == {
        ("struct ops *", "open"), ("struct dev *", "parent.ops.open"), ("()to_ops", "open"), ("struct board *", "reset"),
        ("struct board *", "start")}
    assert {place[:3] for place in found.handed} == {("walk", 1, "visit")}
    [stored] = [b for b in lower(TEXT, sketchable).facts.bindings if b.inside == "quiet"]
    assert (stored.owner, stored.path, stored.function) == ("struct ops *", "done", "finish")


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.name)
def test_sketches_agree_with_lowering(path):
    data = path.read_bytes()
    whole, short = lower(data).facts, lower(data, sketchable).facts
    for full, brief in zip(whole.functions, short.functions, strict=True):
        assert (full.name, full.line, full.end_line, full.params) == (brief.name, brief.line, brief.end_line, brief.params)
        assert {c[0] for c in full.calls} == {c[0] for c in brief.calls}, full.name
        assert {c[:2] for c in full.indirect} == {c[:2] for c in brief.indirect}, full.name
        assert {c[:3] for c in full.handed} == {c[:3] for c in brief.handed}, full.name
    assert {b[:3] for b in map(tuple_of, whole.bindings)} == {b[:3] for b in map(tuple_of, short.bindings)}


def tuple_of(binding: ir.Binding) -> tuple[str, str, str]:
    return binding.owner, binding.path, binding.function


@pytest.fixture
def kept(tmp_path):
    path = tmp_path / "a.c"
    path.write_bytes(TEXT)
    store = Store.temporary()
    facts, bodies = lower(TEXT, sketchable)
    store.put_many([pack(key_of(TEXT), facts, bodies)])
    yield path, Bodies(Files(tmp_path), {"a.c": key_of(TEXT)}, store), facts.functions
    store.close()


def test_a_sketched_body_is_parsed_when_it_is_wanted(kept):
    _, bodies, functions = kept
    wanted = dict(enumerate(functions))
    assert bodies.of("a.c", wanted) == dict(enumerate(lower(TEXT).bodies))
    assert bodies.of("a.c", {0: wanted[0]}) == {0: lower(TEXT).bodies[0]}


ODD = b"""
static inline int early(struct regs *fx)
{
	return user_insn(store %[fx]; fwait,  [fx] "=m" (*fx), "m" (*fx));
}

static inline int late(struct regs *fx)
{
	return use(fx, 4);
}

static inline int last(struct regs *fx)
{
	return use(fx, 5);
}
"""


def test_a_function_that_the_parser_loses_with_its_body_takes_no_other_body(tmp_path):
    (tmp_path / "a.h").write_bytes(ODD)
    with contextlib.closing(Store.temporary()) as store:
        facts, found = lower(ODD, sketchable)
        store.put_many([pack(key_of(ODD), facts, found)])
        assert [function.name for function in facts.functions] == ["early", "late", "last"]
        wanted = dict(enumerate(facts.functions))
        bodies = Bodies(Files(tmp_path), {"a.h": key_of(ODD)}, store).of("a.h", wanted)
    heads = {index: (function.name, function.end_line) for index, function in enumerate(facts.functions)}
    assert ("early", 6) not in {(f.name, f.end_line) for f in lower(ODD).facts.functions}
    # What its neighbour tears along in the whole file can be read alone.
    alone = {**_read_alone(ODD, b"static inline int late"), **_read_alone(ODD, b"static inline int last")}
    assert {heads[index]: body for index, body in bodies.items()} == alone


def _read_alone(text, head):
    """The bodies of a text from which all functions but one were taken."""
    start = text.index(head)
    end = text.index(b"\n}\n", start) + 3
    alone = lower(b"\n" * text.count(b"\n", 0, start) + text[start:end])
    return {(f.name, f.end_line): body for f, body in zip(alone.facts.functions, alone.bodies, strict=True)}


def test_a_body_read_alone_is_that_of_the_whole_file():
    facts, _ = lower(TEXT, sketchable)
    sketched = {index: head for index, head in enumerate(facts.functions) if head.flags & ir.SKETCHED}
    alone = dict(lower_alone(TEXT, sketched))
    assert alone == {index: lower(TEXT).bodies[index] for index in sketched}
    torn = TEXT.replace(b"{\n", b"{\n#ifdef CONFIG_X\n#endif\n")
    heads = lower(torn, sketchable).facts.functions
    assert not dict(lower_alone(torn, {i: head for i, head in enumerate(heads) if head.flags & ir.SKETCHED}))


def test_a_body_of_a_file_that_changed_is_not_to_be_had(kept):
    path, bodies, functions = kept
    path.write_bytes(TEXT + b"\n")
    assert bodies.of("a.c", {1: functions[1]})
    with pytest.raises(FileChanged):
        bodies.of("a.c", {0: functions[0]})
