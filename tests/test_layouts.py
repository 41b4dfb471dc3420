"""Layouts against gcc: structs made by hypothesis, laid out by us and by every compiler that is installed."""

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kgfplint.source.layouts import Layouts, Range, abi_names, abi_of, declarations

COMPILERS = {
    "x86_64": ["gcc", "-m64"], "i386": ["gcc", "-m32"], "arm64": ["aarch64-linux-gnu-gcc"],
    "arm": ["arm-linux-gnueabihf-gcc"], "riscv64": ["riscv64-linux-gnu-gcc"], "s390x": ["s390x-linux-gnu-gcc"],
    "ppc64le": ["powerpc64le-linux-gnu-gcc"],
}  # fmt: skip
NUMBERS = re.compile(r"\s\.(?:long|word|4byte)\s+(\d+)|\s\.(?:zero|space)\s+(\d+)")

SCALARS = st.sampled_from([
    "char", "unsigned char", "short", "int", "unsigned int", "long", "unsigned long", "long long", "unsigned long long int",
    "_Bool", "float", "double", "void *", "struct first *", "enum small", "enum wide", "enum tight", "struct first", "odd",
    "even",
])  # fmt: skip
BIT_FIELDS = st.sampled_from([
    ("unsigned char", 8), ("unsigned short", 16), ("int", 32), ("unsigned long", 32), ("unsigned long long", 64), ("_Bool", 1),
    ("enum small", 32),
])  # fmt: skip
ATTRIBUTES = st.sampled_from([""] * 8 + [
    "__attribute__((packed))", "__attribute__((aligned(8)))", "__attribute__((aligned(2), packed))",
    "__attribute__((__aligned__(sizeof(long))))",
])  # fmt: skip
LENGTHS = st.sampled_from(["0", "1", "3", "TWO", "sizeof(long)", "FOUR * 2 - 1"])
PRELUDE = """
enum small { ONE = 1, TWO, FOUR = TWO << 1 };
enum wide { FAR = 1LL << 40, NEAR = 1 };
enum tight { LITTLE = 3, MORE = LITTLE + 250 } __attribute__((packed));
struct first { char c; long long x; int y[ONE + TWO]; };
typedef int odd __attribute__((aligned(2)));
typedef struct { short a, b : 3; } even;
"""


@dataclass
class Made:
    """A struct as text, and the paths of its members that have an offset."""

    text: str
    paths: list[str] = field(default_factory=list)


@st.composite
def members(draw: st.DrawFn, depth: int, prefix: str) -> Made:
    """Some members with names that begin with `prefix`."""
    made = Made("")
    for number in range(draw(st.integers(0, 5))):
        name = f"{prefix}{number}"
        kind = draw(st.sampled_from(["plain", "plain", "array", "bits", "bits", "inner", "unnamed"]))
        if kind in ("inner", "unnamed") and depth:
            inner = draw(record(depth - 1, f"{name}_"))
            if kind == "inner":
                made.text += f"{inner.text} {name} {draw(ATTRIBUTES)};\n"
                made.paths += [name, *(f"{name}.{path}" for path in inner.paths)]
            else:
                made.text += f"{inner.text};\n"
                made.paths += inner.paths
        elif kind == "bits":
            ctype, most = draw(BIT_FIELDS)
            width = draw(st.integers(0, most))
            made.text += f"{ctype} {f'{name} ' if width and draw(st.booleans()) else ''}: {width};\n"
        else:
            length = f"[{draw(LENGTHS)}]" if kind == "array" else ""
            made.text += f"{draw(SCALARS)} {name}{length} {draw(ATTRIBUTES)};\n"
            made.paths.append(name)
    return made


@st.composite
def record(draw: st.DrawFn, depth: int, prefix: str, tag: str = "") -> Made:
    """A struct or union, with a flexible array or without."""
    inner = draw(members(depth, prefix))
    word = draw(st.sampled_from(["struct", "struct", "union"]))
    if word == "struct" and tag and inner.paths and draw(st.booleans()):
        inner.text += f"{draw(SCALARS)} {prefix}flexible[];\n"
        inner.paths.append(f"{prefix}flexible")
    return Made(f"{word} {tag} {{\n{inner.text}}} {draw(ATTRIBUTES)}", inner.paths)


@st.composite
def structs(draw: st.DrawFn) -> list[Made]:
    """Definitions of `made_0`, `made_1`, … each on its own."""
    made = [draw(record(2, "m", f"made_{number}")) for number in range(draw(st.integers(1, 8)))]
    for one in made:
        pack = draw(st.sampled_from([0, 0, 0, 1, 2, 4]))
        if pack and "aligned" not in one.text:
            one.text = f"#pragma pack(push, {pack})\n{one.text};\n#pragma pack(pop)\n"
        else:
            one.text += ";\n"
    return made


def compiled(compiler: list[str], text: str, asked: Iterable[str]) -> list[int]:
    """The values of constant expressions under a compiler; nothing has to run on its machine."""
    source = f"{text}\nconst unsigned int asked[] = {{ {', '.join(asked)} }};\n"
    made = subprocess.run([*compiler, "-w", "-S", "-x", "c", "-o", "-", "-"], input=source, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr + source
    values: list[int] = []
    for number, zeros in NUMBERS.findall(made.stdout[made.stdout.index("asked:"):]):
        values += [int(number)] if number else [0] * (int(zeros) // 4)
    return values


def questions(made: list[Made]) -> list[tuple[str, str]]:
    """(struct, path) of all members, the path "" for size and "!" for alignment of the struct itself."""
    tags = [re.match(r"(?:#.*\n)?(\w+ made_\d+)", one.text)[1] for one in made]
    return [(tag, path) for tag, one in zip(tags, made, strict=True) for path in ("", "!", *one.paths)]


def in_c(tag: str, path: str) -> str:
    if path == "!":
        return f"__builtin_offsetof(struct {{ char c; {tag} x; }}, x)"
    return f"__builtin_offsetof({tag}, {path})" if path else f"sizeof({tag})"


def ours(layouts: Layouts, tag: str, path: str) -> Range | None:
    if path == "!":
        return layouts.alignof(tag)
    return layouts.offsetof(tag, path) if path else layouts.sizeof(tag)


@pytest.mark.parametrize("arch", abi_names())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(made=structs())
def test_structs_are_laid_out_as_gcc_does(arch: str, made: list[Made]):
    if shutil.which(COMPILERS[arch][0]) is None:
        pytest.skip(f"no {COMPILERS[arch][0]}")
    text = PRELUDE + "".join(one.text for one in made)
    asked = questions(made)
    expected = compiled(COMPILERS[arch], text, (in_c(*question) for question in asked))
    layouts = Layouts(abi_of(arch), declarations(text))
    found = [ours(layouts, *question) for question in asked]
    assert dict(zip(asked, found, strict=True)) == {
        question: Range(value, value) for question, value in zip(asked, expected, strict=True)
    }
