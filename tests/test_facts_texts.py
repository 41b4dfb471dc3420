"""What is read from its text alone is what the syntax says."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kgfplint.facts import ir
from kgfplint.facts.marks import Marks
from kgfplint.facts.statements import Statements
from kgfplint.facts.texts import Texts
from kgfplint.source.syntax import parse

NAMES = st.sampled_from(["a", "p", "dev", "NULL", "true", "FALSE", "GFP_KERNEL", "x1", "sizeof_it", "u32"])
NUMBERS = st.sampled_from(["0", "1", "0x10UL", "010", "08", "18446744073709551616", "1e3"])
PATHS = st.builds(lambda first, rest: first + "".join(rest), NAMES,
                  st.lists(st.builds(str.__add__, st.sampled_from(["->", "."]), st.sampled_from(["f", "lock", "n"])), max_size=3))
TERMS = st.builds(str.__add__, st.sampled_from(["", "", "", "&", "*", "!", "~", "-"]), PATHS | NUMBERS)
OPERATORS = st.sampled_from(["==", "!=", "<", ">=", "&", "|", "+", "-", "*", "/", "%", "<<", ">>", "&&", "||", "^"])
SPACE = st.sampled_from([" ", " ", " ", "", "\n\t", "  "])
EXPRESSIONS = st.recursive(
    TERMS | st.sampled_from(['"a, b"', '"x" "y\\n"', "','", "sizeof(*p)", "sizeof(struct s)", "(u8 *)p", "a[i]", "i++", "(a)"]),
    lambda inner: (
        st.builds("{}{}{}{}{}".format, inner, SPACE, OPERATORS, SPACE, inner)
        | st.builds(lambda name, args, space: f"{name}({(',' + space).join(args)})", NAMES, st.lists(inner, max_size=3), SPACE)
        | st.builds("({})".format, inner)
        | st.builds("{} ? {} : {}".format, inner, inner, inner)
    ), max_leaves=5)
TARGETS = PATHS | st.builds("*{}".format, PATHS) | st.just("a[1]")
TYPES = st.sampled_from(["int", "u32", "struct foo", "const struct foo", "unsigned long", "static int", "unsigned", "long long"])
STATEMENTS = (
    st.builds("{};".format, EXPRESSIONS)
    | st.builds("{}{}{}={}{};".format, TARGETS, SPACE, st.sampled_from(["", "", "|", "+", "<<"]), SPACE, EXPRESSIONS)
    | st.builds("{} {}{} = {};".format, TYPES, st.sampled_from(["", "*", "**"]), st.sampled_from(["l", "m"]), EXPRESSIONS)
    | st.builds("{} l, *m;".format, TYPES)
    | st.builds("if ({}) return {};".format, EXPRESSIONS, EXPRESSIONS)
    | st.sampled_from(["BUG();", "WARN_ON(a);", "x = likely(a);", "BUG_ON(!p);", "guard(mutex)(&a->lock);", "panic(\"x\");",
                       "char *q __free(kfree) = kmalloc(1, GFP_KERNEL);", "k = container_of(p, struct foo, f);"])
)


def lowered(text: str, remembering: bool) -> ir.Body:
    syntax = parse(text.encode())
    marks = Marks(syntax.notes)
    function = syntax.tree.root_node.named_children[0]
    body = function.child_by_field_name("body")
    assume(body is not None)  # The grammar reads `NULL = …` as no statement, and then the function as none.
    lowering = Statements(syntax.text, marks)
    if not remembering:
        lowering.texts = None
    return lowering.body(body, 9)


@given(st.lists(STATEMENTS, min_size=1, max_size=6))
def test_reading_text_is_reading_syntax(statements):
    text = "void f(void)\n{\n\t" + "\n\t".join(statements) + "\n}\n"
    assume("/*" not in text)  # A division by what a pointer leads to would begin a comment.
    assert lowered(text, True) == lowered(text, False)


ONLY_SYNTAX = ["a +b", "a + b + c", "(a)", "a[1]", "f()", '"s"', "", "a->", "->b", "1.5", "a b", "a = b", "i++", "a, b"]


@pytest.mark.parametrize("text", ONLY_SYNTAX)
def test_what_only_syntax_tells(text):
    assert Texts().read(text.encode()) is None


def test_arguments():
    texts = Texts()
    assert texts.listed(b"") == ()
    assert texts.listed(b' p, "a, b" "c" ,&q->r') == (
        ir.Name("p"), ir.Text('a, b" "c'), ir.AddressOf(ir.Field(ir.Name("q"), "r", True)))
    assert texts.listed(b"a, f(b, c)") is None
    assert texts.listed(b"a, ") is None


def test_remembered_only_without_calls():
    texts = Texts()
    texts.remember(b"a[i]", ir.Unknown("1"))
    texts.remember(b"sizeof(*p)", ir.Unknown("2"))
    texts.remember(b"f(a)", ir.Unknown("3"))
    texts.remember(b"a + " * 30 + b"b", ir.Unknown("4"))
    assert texts.read(b"a[i]") == ir.Unknown("1")
    assert texts.read(b"sizeof(*p)") == ir.Unknown("2")
    assert texts.read(b"f(a)") is None
    assert len(texts.known) == 6
