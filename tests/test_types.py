"""Types across files: struct members however they are declared, and the types of expressions."""

from pathlib import Path

import pytest

from kgfplint.facts import ir
from kgfplint.facts.lower import lower
from kgfplint.program import link
from kgfplint.program.fields import fields, typing_of
from kgfplint.program.types import expression, split


def members(source: str, tag: str = "a") -> dict[str, tuple[str, int]]:
    """The members of `struct a` in a file that ends with one more struct, which must not suffer."""
    found = {r.tag: r for r in lower((source + "\nstruct last { int x; };\n").encode()).facts.records}
    assert [name for name, _, _ in found["last"].members] == ["x"]
    return {name: (ctype, bits) for name, ctype, bits in found[tag].members}


MEMBERS = {
    "bitmap": ("DECLARE_BITMAP(m, 12);", {"m": "unsigned long[12]"}),
    "flexible array": ("DECLARE_FLEX_ARRAY(struct foo, m);", {"m": "struct foo[]"}),
    "hash table": ("DECLARE_HASHTABLE(m, 4);", {"m": "struct hlist_head[]"}),
    "group": ("struct_group(g, int m; struct foo *n;);", {"m": "int", "n": "struct foo *", "g": "struct a.g"}),
    "group over lines": ("struct_group(g,\n\t\tint m;\n\t\tint n[3];\n\t);", {"m": "int", "n": "int[3]", "g": "struct a.g"}),
    "packed group": ("struct_group_attr(g, __packed, int m;);", {"m": "int", "g": "struct a.g"}),
    "tagged group": ("struct_group_tagged(t, g, int m; union { int n; };);", {"m": "int", "n": "int", "g": "struct t"}),
    "group without tag": ("__struct_group(/* no tag */, g, /* no attrs */, int m;);", {"m": "int", "g": "struct a.g"}),
    "reserved": ("ANDROID_KABI_RESERVE(1);", {}),
    "markers": ("__cacheline_group_begin(x);\n\tint m;\n\t__cacheline_group_end(x);\n\tCACHELINE_PADDING(p);", {"m": "int"}),
    "macro without semicolon": ("KABI_EXTEND(x)\n\tint m;", {"m": "int"}),
    "macro of members": ("SELFTEST_DECLARE(struct { int x; } m;)", {"m": "struct a.m"}),
    "bare macro": ("EXTRA_MEMBERS\n\tint m;", {"m": "int"}),
    "bare macro before a member": ("EXTRA u8 m[3];\n\tMORE TWO_MORE(int) struct foo *n;", {"m": "u8[3]", "n": "struct foo *"}),
    "fields in a macro": ("__BITFIELD(int m : 6,\n\t__BITFIELD(int n : 26,\n\t;))", {"m": "int", "n": "int"}),
    "unknown attribute": ("struct foo *m __protected_by(local);", {"m": "struct foo *"}),
    "pointers to arrays": ("u32 (*m)[16][4];", {"m": "u32[4][16] *"}),
    "both arms": ("#ifdef X\n\tint m;\n#else\n\tlong n;\n#endif", {"m": "int", "n": "long"}),
    "unnamed": ("struct { int m; union { int n; struct { int x; } o; }; };", {"m": "int", "n": "int", "o": "struct a.o"}),
    "counted": ("struct foo m[] __counted_by(n);", {"m": "struct foo[]"}),
    "function pointer": ("void (*m)(struct foo *p, int);", {"m": "void() *"}),
    "array of function pointers": ("int (*m[3])(void);", {"m": "int() *[3]"}),
    "arrays of arrays": ("int m[3][4];", {"m": "int[4][3]"}),
    "damaged": ("struct foo *m !! 5;", {"m": "struct foo *"}),
}


@pytest.mark.parametrize("construct", MEMBERS)
def test_members(construct: str) -> None:
    source, expected = MEMBERS[construct]
    found = members(f"struct a {{\n\tint first;\n\t{source}\n\tint after;\n}};")
    assert found.pop("first") == found.pop("after") == ("int", -1)
    assert {name: ctype for name, (ctype, _) in found.items()} == expected


def test_bits() -> None:
    found = members("struct a { unsigned b:3, c:4, :5; unsigned int :2; u32 :1; unsigned d:1; int e; };")
    assert found == {"b": ("unsigned", 3), "c": ("unsigned", 4), "d": ("unsigned", 1), "e": ("int", -1)}


def test_group_is_a_struct_of_its_own() -> None:
    source = "struct a { struct_group_tagged(t, g, int m;); struct_group(h, int n;); };"
    assert members(source, "t") == {"m": ("int", -1)}
    assert members(source, "a.h") == {"n": ("int", -1)}


KERNEL = """
#define g_flags __common.flags
#define entry_alias entry_real
#define Entry struct entry
#define head_of(x) (&(x)->head)
#define CB(s) ((struct cb *)&((s)->buf[0]))
#define last(x) ({ typeof(x) __l = (x); __l; })
#define get_deref(p) rcu_dereference_check(p, 1)
#define here (look_up(0))
#define current look_up(0)
#define DEFINE_WALK(name, x) struct walk name = { .e = (x) }
struct common { struct entry *flags; };
struct entry { int n; struct entry *next; struct { struct common c; } sub; union { int u; struct cb *v; }; };
struct entry_real { struct entry *e; };
struct head { struct entry *first; struct entry *table[4][2]; struct entry *(*find)(int); };
struct gadget { struct common __common; struct head head; char buf[8]; };
struct cb { struct entry e; };
struct walk { struct entry *e; };
typedef struct { struct entry *e; } box_t;
DEFINE_PER_CPU(struct head, heads);
static struct { struct entry *e; } globals[2];
struct entry *look_up(int n);
"""

EXPRESSIONS = {
    "x->head.first->next": "struct entry *",
    "x->head.table[1][0]->next": "struct entry *",
    "x->head.find(1)->next": "struct entry *",
    "x->g_flags->next": "struct entry *",
    "head_of(x)->first": "struct entry *",
    "CB(x)->e.next": "struct entry *",
    "last(x)->head.first": "struct entry *",
    "get_deref(x->head.first)->next": "struct entry *",
    "rcu_dereference(x->head.first)->next": "struct entry *",
    "here->next": "struct entry *",
    "look_up(1)->next": "struct entry *",
    "look_up(1)->sub.c.flags": "struct entry *",
    "look_up(1)->v->e.next": "struct entry *",
    "((struct entry *)y)->next": "struct entry *",
    "container_of(y, struct gadget, head)->head.first": "struct entry *",
    "list_entry(y, struct gadget, head)->head.first": "struct entry *",
    "per_cpu_ptr(&heads, 1)->first": "struct entry *",
    "per_cpu(heads, 1).first": "struct entry *",
    "this_cpu_ptr(&heads)->first": "struct entry *",
    "globals[1].e->next": "struct entry *",
    "alias->e->next": "struct entry *",
    "upper->next": "struct entry *",
    "boxed.e->next": "struct entry *",
    "same->head.first": "struct entry *",
    "part->next": "struct entry *",
    "unnamed.e->next": "struct entry *",
    "walk.e->next": "struct entry *",
    "current->next": "struct entry *",
    "(x ? x : 0)->head.first": "struct entry *",
    "(x + 1)->head.first": "struct entry *",
    "(*&x)->head.first": "struct entry *",
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_types_of_expressions(text: str) -> None:
    body = (
        "{\n\tstruct entry_alias *alias = y; Entry *upper = y; box_t boxed;\n\ttypeof(x) same = x;\n"
        "\ttypeof(*x->head.first) *part = y;\n\tstruct { struct entry *e; } unnamed;\n\tDEFINE_WALK(walk, y);\n"
        f"\tuse({text});\n}}"
    )
    source = f"{KERNEL}\nvoid f(struct gadget *x, void *y)\n{body}\n"
    lowered = lower(source.encode())
    program = link([("a.c", lowered.facts), ("b.c", lower(b"struct menu { int x; } *current;\n").facts)])
    (number,) = program.defined["f"]
    typing = typing_of(program, number, lowered.bodies[number])
    assert typing.of(expression(text)) == EXPRESSIONS[text]
    assert not [field for field in fields(lowered.bodies[number]) if not typing.of(field)]


def test_own_definition_wins_over_one_of_the_same_name() -> None:
    source = "struct s { struct one *p; };\nstatic struct one *get(void);\nvoid f(struct s *x) { use(x->p, get()); }\n"
    files = [source.replace("one", word).replace("f(", f"f_{word}(") for word in ("ab", "cd")]
    program = link([(f"{number}.c", lower(file.encode()).facts) for number, file in enumerate(files)])
    for word in ("ab", "cd"):
        (number,) = program.defined[f"f_{word}"]
        typing = typing_of(program, number, ir.Body((), ()))
        assert typing.of(expression("x->p")) == typing.of(expression("get()")) == f"struct {word} *"


def test_macros_that_stand_for_each_other_end() -> None:
    facts = lower(b"#define a b\n#define b a\n#define f(x) g(x)\n#define g(x) f(x)\nvoid h(void) { use(a->x, f(1)->y); }\n")
    program = link([("a.c", facts.facts)])
    (number,) = program.defined["h"]
    typing = typing_of(program, number, facts.bodies[number])
    assert [typing.of(field) for field in fields(facts.bodies[number])] == ["", ""]


def test_each_member_counts_once() -> None:
    body = lower(b"int f(struct s *p) { if (p->a) g(h(p->b.c), p->d); return p->e; }\n").bodies[0]
    assert sorted(field.member for field in fields(body)) == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize(
    ("ctype", "base", "rest"),
    [
        ("struct foo *", "struct foo", "*"),
        ("u8[4]", "u8", "[4]"),
        ("typeof(*(p)) *", "typeof(*(p))", "*"),
        ("int() *", "int", "() *"),
    ],
)
def test_split(ctype: str, base: str, rest: str) -> None:
    assert split(ctype) == (base, rest)


def test_stats_tell_how_well_types_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kgfplint.config import Settings
    from kgfplint.engine import run

    monkeypatch.setenv("KGFPLINT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "a.c").write_text("struct s { int x; };\nint f(struct s *p) { return p->x + p->y + q->z; }\n")
    assert run([tmp_path / "a.c"], Settings(jobs=1)).stats.fields is None
    stats = run([tmp_path / "a.c"], Settings(jobs=1), measure=True).stats
    assert (stats.fields, stats.fields_resolved) == (3, 1)
