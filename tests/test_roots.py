"""Every root that rules/ knows has a fixture: what is registered in atomic contexts, and each struct of operations.

A function that registers others must be called in a fixture, of a struct one of its operations be set there; the fixtures
themselves show that a mistake behind it is found.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import kgfplint

RULES = Path(kgfplint.__file__).parent / "rules"
FIXTURES = Path(__file__).parent / "fixtures"
NAME = re.compile(r"[^(]*?(\w+)\s*\(")
TREES = ("mas_store_gfp", "mas_alloc_cyclic", "__xa_insert", "__xa_alloc", "__xa_cmpxchg")


def _tables(kind: str) -> Iterator[dict]:
    folder = RULES if RULES.is_dir() else Path(__file__).parent.parent / "rules"
    for path in sorted(folder.glob("*.toml")):
        yield from tomllib.loads(path.read_text(encoding="utf-8")).get(kind, [])


ATOMIC = {context["name"] for context in _tables("context") if context["atomic"]}
TEXTS = [path.read_text(encoding="utf-8") for path in sorted(FIXTURES.glob("KGF10[1-6]/bad*.c"))]


def _functions() -> Iterator[str]:
    """The functions and macros that register others to run where sleeping is wrong."""
    for table in _tables("callback"):
        if ATOMIC & set(table.get("contexts", {}).values()):
            yield from (NAME.match(line)[1] for line in table["prototypes"].strip().splitlines())


def _structs() -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The structs of operations: tag, context, members."""
    for table in _tables("callback"):
        members: dict[str, list[str]] = {}
        for operation in table.get("fields", ()):
            tag, _, member = operation.partition(".")
            members.setdefault(tag, []).append(member)
        yield from ((tag, table["context"], tuple(names)) for tag, names in members.items())


SLEEPABLE = ("process", "syscall", "thread", "workqueue", "probe")


@pytest.mark.parametrize("name", sorted(set(_functions())))
def test_a_function_that_registers_others_has_a_fixture(name):
    call = re.compile(rf"\b{name}\(")
    assert any(call.search(text) for text in TEXTS)


@pytest.mark.parametrize(("tag", "context", "members"), [one for one in _structs() if one[1] in ATOMIC or one[1] in SLEEPABLE],
                         ids=lambda value: value if isinstance(value, str) else "-".join(value[:1]))
def test_a_struct_of_operations_has_a_fixture(tag, context, members):
    struct, stored = re.compile(rf"\bstruct {tag}\b"), re.compile(rf"(?:\.|->)(?:{'|'.join(members)})\s*=[^=]")
    assert any(struct.search(text) and stored.search(text) for text in TEXTS)


@pytest.mark.parametrize("name", TREES)
def test_what_drops_its_lock_to_allocate_has_a_fixture(name):
    assert any(f"{name}(" in path.read_text(encoding="utf-8") for path in FIXTURES.glob("KGF101/good*.c"))
