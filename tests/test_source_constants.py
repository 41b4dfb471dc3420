"""Constant expressions, against Python's own arithmetic and C's rules."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kgfplint.source.constants import evaluate

NAMES = {"PAGE_SIZE": 4096, "PAGE_SHIFT": 12, "ZERO": 0}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("PAGE_SIZE << 1", 8192),
        ("(1UL << PAGE_SHIFT)", 4096),
        ("sizeof(int) * 2", 8),
        ("sizeof(unsigned long long)", 8),
        ("sizeof(struct foo *)", 8),
        ("sizeof(u16)", 2),
        ("010", 8),
        ("0x10u", 16),
        ("0b11", 3),
        ("'a'", 97),
        (r"'\n'", 10),
        (r"'\x41'", 65),
        ("ZERO ? 1 : 2", 2),
        ("-7 / 2", -3),
        ("-7 % 2", -1),
        ("~0U", 0xFFFFFFFF),
        ("(u8)300", 44),
        ("-1 < 0u", 0),
        ("!ZERO", 1),
        ("BIT(3) | BIT(0)", 9),
        ("(size_t)1 << 4", 16),
        ("ZERO && UNKNOWN", 0),
        ("max(3, 5)", 5),
        (" PAGE_SIZE ", 4096),
    ],
)
def test_known(text: str, value: int) -> None:
    assert evaluate(text, NAMES) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "UNKNOWN",
        "sizeof(struct foo)",
        "1.5",
        '"a"',
        "1, 2",
        "x; int y",
        "1 / ZERO",
        "1 << 4000",
        "((((",
        "f()",
        "-" * 9999 + "1",
        "(" * 999 + "1" + ")" * 999,
        "1+" * 999 + "1",
        "1)+(2",
        "\x00",
    ],
)
def test_unknown(text: str) -> None:
    assert evaluate(text, NAMES) is None


@given(st.text(alphabet="()+-*/%<>&|^~!?:0123456789abxuLUPAGE_SIZE '\"\\[]{},;.#=", max_size=40))
@settings(deadline=None)
def test_never_raises(text: str) -> None:
    evaluate(text, NAMES)


@given(st.integers(0, 2**31 - 1), st.integers(1, 2**31 - 1), st.sampled_from("+-*/%&|^"))
@settings(deadline=None)
def test_arithmetic(left: int, right: int, sign: str) -> None:
    python = {"/": "//"}.get(sign, sign)
    assert evaluate(f"({left} {sign} {right})", {}) == eval(f"{left} {python} {right}")
