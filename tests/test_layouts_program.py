"""Layouts of what configurations decide, of what is not known, and of the structs of a program."""

import pytest
from test_facts_harness import Tree

from kgfplint.program.layouts import ProgramLayouts
from kgfplint.source.layouts import Layouts, Range, abi_of, declarations

OPTIONS = """
struct part { u32 a; };
struct plain {
    u8 first;
#ifdef CONFIG_BIG
    u64 more[2];
#endif
    u32 last;
};
struct either {
#if defined(CONFIG_A)
    u8 x;
#elif IS_ENABLED(CONFIG_B)
    u16 x;
#else
    u32 x;
#endif
};
struct words {
#ifdef CONFIG_64BIT
    u64 x;
#else
    u8 x;
#endif
    u8 end;
};
struct ends {
#if defined(__LITTLE_ENDIAN_BITFIELD)
    u8 low : 4, high : 4;
#elif defined(__BIG_ENDIAN_BITFIELD)
    u8 high : 4, low : 4;
#else
#error "which?"
#endif
};
struct lines { int a; char own[3] ____cacheline_aligned_in_smp; };
struct holes { struct part p; struct nowhere n; u32 tail; };
struct sized { char buf[NOBODY_KNOWS]; };
struct grown { u8 pad[sizeof(struct plain) + 1]; };
struct grouped { u8 z; struct_group(both, u8 a; u32 b;); DECLARE_BITMAP(map, 65); DECLARE_FLEX_ARRAY(u64, rest); };
enum far { NEAR = 1, AWAY = 1ULL << 33 };
typedef u64 low64 __aligned(4);
struct mixed { u8 c; low64 v; enum far f; struct mixed *next; int (*call)(struct nowhere *n, int x); };
"""


@pytest.mark.parametrize(("ctype", "size"), [
    ("struct plain", Range(8, 32)), ("struct either", Range(1, 4)), ("struct words", Range(16, 16)), ("struct ends", Range(1, 1)),
    ("struct lines", Range(8, 256)), ("struct holes", Range(8, None)), ("struct sized", None), ("struct nowhere", None),
    ("struct grown", Range(9, 33)), ("struct grouped", Range(32, 32)), ("struct mixed", Range(40, 40)), ("u8[3]", Range(3, 3)),
    ("struct plain *[2]", Range(16, 16)), ("enum far", Range(8, 8)), ("nothing_t", None), ("enum nobody", Range(1, 8)),
    ("struct plain[2]", Range(16, 64)),
    ("void (*)(int)", Range(8, 8)), ("unsigned long int", Range(8, 8)), ("not a type at all", None),
])  # fmt: skip
def test_ranges(ctype: str, size: Range | None):
    assert Layouts(abi_of("x86_64"), declarations(OPTIONS)).sizeof(ctype) == size


@pytest.mark.parametrize(("ctype", "path", "offset"), [
    ("struct plain", "last", Range(4, 24)), ("struct words", "end", Range(8, 8)), ("struct holes", "tail", Range(4, None)),
    ("struct grouped", "both.b", Range(8, 8)), ("struct grouped", "b", Range(8, 8)), ("struct lines", "own", Range(4, 128)),
    ("struct plain", "nobody", None), ("struct ends", "low", None), ("u32", "x", None),
])  # fmt: skip
def test_offsets(ctype: str, path: str, offset: Range | None):
    assert Layouts(abi_of("x86_64"), declarations(OPTIONS)).offsetof(ctype, path) == offset


def test_an_architecture_decides_its_own_conditions():
    assert Layouts(abi_of("arm"), declarations(OPTIONS)).sizeof("struct words") == Range(2, 2)
    assert Layouts(abi_of("s390x"), declarations(OPTIONS)).sizeof("struct ends") == Range(1, 1)


def test_ranges_show_as_words():
    assert [str(Range(8, 8)), str(Range(8, 32)), str(Range(8, None))] == ["8", "8..32", "8 or more"]


FILES = {
    "include/linux/box.h": """
/* struct box { char wrong[1000]; }; */
#define BOX_WORDS (4 * 2)
#define box_alias box
#define page_t unsigned long
typedef struct { unsigned int sequence; } seqcount_t;
typedef struct { int n; } __packed box_t;
enum kind { ONE, TWO, KINDS, } __packed;
struct box {
    u64 words[BOX_WORDS];
    struct { u16 deep; } inside;
    box_t small;
    enum kind kind;
    lock_t lock;
} __aligned(32);
""",
    "include/linux/lock.h": """
#ifdef CONFIG_SLOW
typedef struct { u64 slow; } lock_t;
typedef u64 word_t;
#else
typedef struct { u32 fast; } lock_t;
typedef u16 word_t;
#endif
""",
    "arch/x86/include/asm/part.h": "struct part { u64 mine; };\n",
    "arch/mips/include/asm/part.h": "struct part { u8 other[99]; };\n",
    "a.c": """
#include <linux/box.h>
#include <linux/lock.h>
struct local { struct box b[2]; struct box_alias *p; };
#pragma pack(push, 1)
struct tight { u8 c; u64 x; };
#pragma pack(pop)
struct loose { u8 c; u64 x; };
struct counted { u8 b[STEP_LAST]; };
enum steps { STEP_0 = 3, STEP_1, STEP_2, STEP_LAST };
void f(void) { }
""",
}


@pytest.mark.parametrize(("ctype", "size"), [
    ("struct box", Range(96, 96)), ("struct local", Range(224, 224)), ("box_t", Range(4, 4)), ("struct box.inside", Range(2, 2)),
    ("word_t[2]", Range(4, 16)), ("page_t[2]", Range(16, 16)), ("seqcount_mutex_t", Range(4, 16)),
    ("struct tight", Range(9, 9)), ("struct loose", Range(16, 16)), ("struct counted", Range(6, 6)), ("struct part", Range(8, 8)),
    ("struct box_alias", Range(96, 96)), ("struct stranger", None), ("lock_t", Range(4, 8)),
    ("struct box[BOX_WORDS]", Range(768, 768)),
])  # fmt: skip
def test_structs_of_a_program(ctype: str, size: Range | None):
    program = Tree(FILES).program
    layouts = ProgramLayouts(program, abi_of("x86_64"), FILES.__getitem__)
    assert layouts.sizeof(program.paths.index("a.c"), ctype) == size


def test_values_and_offsets_of_a_program():
    program = Tree(FILES).program
    layouts = ProgramLayouts(program, abi_of("x86_64"), FILES.__getitem__)
    file = program.paths.index("a.c")
    assert layouts.constant(file, "sizeof(struct box) * BOX_WORDS + STEP_LAST") == 96 * 8 + 6
    assert layouts.offsetof(file, "struct box", "inside.deep") == Range(64, 64)
    assert layouts.alignof(file, "struct local") == Range(32, 32)


def test_a_file_that_is_gone_has_no_layouts():
    def gone(path: str) -> str:
        raise FileNotFoundError(path)

    program = Tree(FILES).program
    assert ProgramLayouts(program, abi_of("x86_64"), gone).sizeof(program.paths.index("a.c"), "struct box") is None
