"""The words of rules/syntax.toml, read once."""

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any


@cache
def syntax_rules() -> dict[str, Any]:
    """Return the parsed rules/syntax.toml, from the wheel or from the checkout."""
    shipped = resources.files("kgfplint") / "rules" / "syntax.toml"
    if shipped.is_file():
        return tomllib.loads(shipped.read_text())
    return tomllib.loads((Path(__file__).parents[2] / "rules" / "syntax.toml").read_text())


def _bytes(words: list[str]) -> frozenset[bytes]:
    return frozenset(word.encode() for word in words)


ATTRIBUTES = _bytes(syntax_rules()["attributes"]["words"])
"""Attribute words without arguments."""
ATTRIBUTE_CALLS = _bytes(syntax_rules()["attributes"]["calls"])
"""Attribute words that take arguments."""
MARKERS = tuple(word.encode() for word in syntax_rules()["attributes"]["markers"])
"""Attribute words that stand inside a struct and begin with no underscore."""
DIGIT_NAMES = tuple(word.encode() for word in syntax_rules()["names"]["after_digits"])
"""What follows the digits of a name that begins with digits."""
TYPES = _bytes(syntax_rules()["types"]["words"])
"""Words in two underscores that are no attributes."""
BUILTIN = frozenset((b"void", b"char", b"short", b"int", b"long", b"float", b"double", b"signed", b"unsigned", b"_Bool", b"bool"))
"""Names of C's own types."""
STORAGE = frozenset((b"static", b"extern", b"inline", b"const", b"volatile", b"register", b"typedef", b"auto", b"restrict"))
"""Storage classes and qualifiers."""
TAGS = frozenset((b"struct", b"union", b"enum"))
"""Keywords before a tag."""
STATEMENT = frozenset(
    (b"if", b"else", b"for", b"while", b"do", b"switch", b"case", b"default", b"return", b"goto", b"break", b"continue", b"sizeof", b"asm")
)
"""Keywords of statements and operators."""
ARGS = rb"\((?:[^()]|\((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*+\))*+\))*+\))*+\))*+\)"
"""A pattern for a parenthesised group, up to five deep; linear, for it never backtracks."""
