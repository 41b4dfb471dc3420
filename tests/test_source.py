"""Normalising and parsing: constructs one by one, and the properties that hold for any bytes."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_sitter import Node

from kgfplint.source.normalise import normalise
from kgfplint.source.syntax import parse


def nodes(root: Node, kind: str) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        if node.type == kind:
            yield node
        stack.extend(reversed(node.children))


def notes(source: str, kind: str) -> list[str]:
    return [note.text for note in normalise(source.encode()).notes if note.kind == kind]


IN_FUNCTION = {
    "loop macro": "list_for_each_entry(p, &head, list) { use(p); }",
    "loop macro, one statement": "for_each_possible_cpu(cpu)\n\t\tif (cpu)\n\t\t\tuse(cpu);",
    "nested loop macros": "for_each_a(a, x)\n\t\tfor_each_b(b, a) {\n\t\t\tuse(b);\n\t\t}",
    "loop macro after else": "if (a)\n\t\tuse(a);\n\telse list_for_each_entry(p, &h, l) { use(p); }",
    "two loops in a row": "for_each_a(a, x) {\n\t}\n\tfor_each_b(b, x) {\n\t}",
    "scoped_guard": "scoped_guard(spinlock, &l) { use(a); }",
    "scoped_guard, one statement": "scoped_guard(rcu)\n\t\tuse(a);",
    "scoped_cond_guard": "scoped_cond_guard(mutex_intr, return -EINTR, &l) { use(a); }",
    "guard": "guard(spinlock)(&l);",
    "short macro": "each(x) { use(x); }",
    "macro without arguments": "locked_region() { use(x); }",
    "cleanup": "struct foo *p __free(kfree) = kzalloc(8, GFP_KERNEL);",
    "container_of": "struct foo *p = container_of(x, struct foo, member);",
    "last argument": "p = kzalloc_obj(struct foo);",
    "builtin type argument": "x = min_t(unsigned int, a, b);",
    "pointer type argument": "x = va_arg(ap, struct foo *) + f(u8 *, a);",
    "offsetof path": "x = offsetof(struct foo, a.b[2]);",
    "case range": "switch (x) { case 1 ... 5: use(x); break; default: use(a); }",
    "case range of offsets": "switch (x) { case offsetof(struct foo, a[0]) ... offsetof(struct foo, a[4]) - 1: use(x); }",
    "conditional over two lines": "x = a ?\n\t\tb : 0;",
    "unnamed bits": "struct {\n\t\tu32 a : 4;\n\t\tu32 : 4;\n\t} bits;",
    "loop at the end of do": "do { use(x); } while_each_thread(a, b);",
    "pasted names": "if (flag(tp, 5750_PLUS) && is(0x5f, 10UL, 40BIT)) use(a);",
    "operator argument": "ASSERTCMP(a, ==, b);",
    "cast to typeof": "x = (typeof(p->y))a + __alignof__(*p) + __alignof__(int);",
    "glued strings": 'pr_info("a" FOO(x) "b" PRIu64 "c", x); printk(KERN_ERR PFX "x"); p("a" A B);',
    "assembly": 'asm volatile("nop" ALT(x) "nop" : "=r"(x) : "r"(a) : "memory");',
    "assembly goto": 'asm goto("1:" : : "i"(a) : : out);\nout: use(x);',
    "directive in arguments": "use(a,\n#ifdef X\n\tb\n#else\n\tc\n#endif\n\t);",
    "directive in a condition": "if (a\n#ifdef X\n\t    && b\n#endif\n\t   )\n\t\tuse(a);",
    "directive in an initialiser": "struct foo f = {\n#ifdef X\n\t.a = 1,\n#else\n\t.a = 2,\n#endif\n\t};",
    "else before endif": "if (a)\n\t\tuse(a);\n#ifdef X\n\telse if (b)\n\t\tuse(b);\n#endif\n\telse\n\t\tuse(x);",
    "unbalanced arms": "#ifdef X\n\tif (a) {\n#else\n\tif (b) {\n#endif\n\t\tuse(a);\n\t}",
    "statement argument": "IF_DEBUG(printk(a);)\n\tuse(a);",
    "block argument": "poll(dev, 20,\n\t\tu32 t = read(dev);\n\t\tif (t)\n\t\t\tbreak;\n\t);",
    "return argument": 'ASSERT_OR((a), "no", return result);',
    "static macro": "static DEFINE_RATELIMIT_STATE(rs, 5 * HZ, 10);",
    "bitmap": "DECLARE_BITMAP(map, SIZE) = { 0 };",
    "statement expression": "x = ({ int t = f(a); t; });",
    "annotated local": "void __iomem *base = x; int unused __maybe_unused; u8 __foo_attr *q;",
    "label at the end": "goto out;\nout:\n",
    "label before a directive": "goto out;\nout:\n#ifdef X\n\tuse(a);\n#endif\n\tuse(x);",
    "local labels": "__label__ here; here: use(x);",
    "bare macro": "switch (x) {\n\tSOME_CASES\n\tdefault:\n\t\tuse(x);\n\t}",
}


@pytest.mark.parametrize("construct", IN_FUNCTION)
def test_function_parses_clean(construct: str) -> None:
    body = f"{{\n\tint x;\n\n\t{IN_FUNCTION[construct]}\n\treturn 0;\n}}\n"
    source = f"static int f(int a)\n{body}\nint g(void)\n{{\n\treturn 1;\n}}\n"
    syntax = parse(source.encode())
    assert len(list(nodes(syntax.tree.root_node, "function_definition"))) == 2
    assert not syntax.tree.root_node.has_error, syntax.text.decode()


TOP_LEVEL = {
    "attributes": "static int __init f(void) { return 0; }",
    "trailing annotations": "static void f(struct foo *p) __must_hold(&p->lock) { }",
    "annotation on its own line": "static void f(struct foo *p)\n\t__releases(&p->lock)\n{\n}",
    "format attribute": "static __printf(1, 2) void f(const char *s, ...) { }",
    "unknown word": "static int SOMETHING f(int a) { return a; }",
    "unknown first word": "HIDDEN int f(int a) { return a; }",
    "macro before": "EXPORT_THIS(x)\nstatic int f(int a) { return a; }",
    "static macro before": "static DEFINE_IT(x)\n\nstatic int f(int a) { return a; }",
    "syscall": "SYSCALL_DEFINE3(f, int, fd, const char __user *, name, int, flags) { return fd; }",
    "syscall without arguments": "SYSCALL_DEFINE0(f) { return 0; }",
    "bpf call": "BPF_CALL_2(f, void *, p, u32, n) { return n; }",
    "short defining macro": "TEST(f)\n{\n\treturn 0;\n}",
    "defining macro": "static IRQ_HANDLER(f) { return 0; }",
    "two heads": "#ifdef X\nint f(int a)\n#else\nint f(long a)\n#endif\n{\n\treturn a;\n}",
    "per-cpu": "static DEFINE_PER_CPU(struct foo, bar) = { .a = 1 };\nint f(void) { return 0; }",
    "dead code": "#if 0\nint f(void) { return }}} (\n#endif\nint f(void) { return 0; }",
    "assembler part": "#ifdef __ASSEMBLY__\n.macro x\n.endm\n#else\nint f(void) { return 0; }\n#endif",
    "extern C": (
        '#ifdef __cplusplus\nextern "C" {\n#endif\nint f(void);\nint f(void) { return 0; }\n#ifdef __cplusplus\n}\n#endif'
    ),
    "macro in a table": "struct x t[] = {\n#define E(a) { a },\n\tE(1)\n#undef E\n};\nint f(void) { return 0; }",
}


@pytest.mark.parametrize("construct", TOP_LEVEL)
def test_one_function_is_seen(construct: str) -> None:
    syntax = parse(TOP_LEVEL[construct].encode())
    functions = list(nodes(syntax.tree.root_node, "function_definition"))
    assert len(functions) == 1
    assert not functions[0].has_error, syntax.text.decode()
    assert any(node.text == b"f" for node in nodes(functions[0].child_by_field_name("declarator"), "identifier"))


def test_notes_keep_what_is_taken_out() -> None:
    source = (
        "static int f(struct foo *q) __must_hold(&q->lock)\n{\n"
        "\tstruct foo *p __free(kfree) = NULL;\n\tfor_each_x(a, b) {\n\t}\n\treturn 0;\n}\n"
        "SYSCALL_DEFINE1(close, int, fd) { return 0; }\n"
    )
    assert notes(source, "cleanup") == ["kfree"]
    assert notes(source, "annotation") == ["__must_hold(&q->lock)"]
    assert notes(source, "block_macro") == ["for_each_x"]
    assert notes(source, "macro_function") == ["sys_close"]
    for note in normalise(source.encode()).notes:
        if note.kind == "cleanup":
            assert source[note.start : note.end] == "__free(kfree)"
        elif note.kind == "block_macro":
            assert source[note.start : note.end] == note.text


def test_a_function_named_like_an_attribute_stays() -> None:
    source = b"static void __free(struct foo *p)\n{\n\tkfree(p);\n}\nvoid g(void)\n{\n\tif (x)\n\t\t__free(x);\n}\n"
    assert normalise(source).text == source


def test_both_arms_stay_among_statements() -> None:
    source = b"int f(void)\n{\n#ifdef A\n\ta();\n#else\n\tb();\n#endif\n\treturn 0;\n}\n"
    assert normalise(source).text == source


def test_types_stay_in_sizeof_casts_and_declarations() -> None:
    source = b"int f(struct a *x)\n{\n\tstruct b *p = (struct b *)g(sizeof(struct c), (unsigned long)x);\n\treturn 0;\n}\n"
    assert normalise(source).text == source


def test_comment_does_not_end_a_directive() -> None:
    source = b"#define A 1 /* one\n two */ + 2\nint f(void)\n{\n\treturn A;\n}\n"
    assert not parse(source).tree.root_node.has_error


PIECES = st.sampled_from(
    [
        *(f"\n\t{text}\n" for text in IN_FUNCTION.values()),
        *TOP_LEVEL.values(),
        *("{", "}", "(", ")", ";", '"', "'", "/*", "*/", "//", "\\\n", "\r\n", "\n", "\x00", "\xff", ",", "..."),
        *(
            "#if X\n",
            "#else\n",
            "#endif\n",
            "#define F(a) a\n",
            "__free(",
            "struct ",
            "asm(",
            "case ",
            "static ",
            "=",
            ":",
        ),
    ]
)


def check(data: bytes) -> None:
    text, found, _ = normalise(data)
    assert len(text) == len(data)
    assert [i for i, c in enumerate(text) if c == 0x0A] == [i for i, c in enumerate(data) if c == 0x0A]
    assert found == sorted(found, key=lambda note: note.start)
    assert all(0 <= note.start <= note.end <= len(data) for note in found)
    again = normalise(text).text
    assert len(again) == len(data)


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    check(data)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES, max_size=12), st.integers(0, 400), st.integers(0, 400))
def test_half_edited_kernel_code(pieces: list[str], start: int, length: int) -> None:
    data = "".join(pieces).encode("latin-1")
    check(data)
    check(data[:start])
    check(data[:start] + data[start + length :])


@pytest.mark.parametrize(
    "piece",
    [
        "(", ")", "{", "}", "a(", "a(\n\tb", "\n\tf(", "\n\tf(x)", '"', "'", '\\"', "/*", "/* */", "*", "#",
        "#if 1\n", "#if 1\n#endif\n",
        "__x ", "__free(", "__attribute__((", "case ", "...", "case 1 ...", "asm(", 'asm("', '"a" b(', ",",
        ", return", ";)", "(;)",
        "for_each", "for_each(", "struct ", "(struct a *", ",struct a,", "\\\n", "#define a \\\n", "=", "={",
        "\n\tA\n", "static ",
        "static A(b,", ":", ":}", "offsetof(", " ", "\t\n", "\n", "a ", "A(b) ", "x:\n", "1base", "/", "//", "\r",
        "(A B,", "{\n#if 1\n", "{ }\n", "struct a {A(", "{A(b,", "{A(b;)", "{AB AB ", "typeof(x) ", "DEFINE_PER_CPU( ", "a: ,",
    ],
)  # fmt: skip
def test_hostile_repetition_ends(piece: str) -> None:
    data = (piece * (200_000 // len(piece))).encode()
    assert len(normalise(data).text) == len(data)


def test_one_long_line() -> None:
    data = b"int f(void) { " + b"a = b(c, d); " * 80_000 + b"}"
    assert normalise(data).text == data


def test_deep_parentheses_in_a_function() -> None:
    data = b"int f(void)\n{\n\tx = " + b"(" * 100_000 + b"1" + b")" * 100_000 + b";\n}\n"
    assert normalise(data).text == data
