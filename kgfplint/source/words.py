"""The words of rules/syntax.toml, read once, and the reader of such tables."""

import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any


@cache
def rules(name: str) -> dict[str, Any]:
    """Return a parsed file of rules/, from the wheel or from the checkout."""
    shipped = resources.files("kgfplint") / "rules" / name
    if shipped.is_file():
        return tomllib.loads(shipped.read_text())
    return tomllib.loads((Path(__file__).parents[2] / "rules" / name).read_text())


def syntax_rules() -> dict[str, Any]:
    """Return the parsed rules/syntax.toml."""
    return rules("syntax.toml")


def _bytes(words: list[str]) -> frozenset[bytes]:
    return frozenset(word.encode() for word in words)


SIZES: dict[str, int] = {word: int(size) for size, words in syntax_rules()["sizes"].items() for word in words}
"""Bytes of C's and the kernel's scalar types on a 64-bit machine (include/uapi/asm-generic/int-ll64.h)."""
ATTRIBUTES = _bytes(syntax_rules()["attributes"]["words"])
"""Attribute words without arguments."""
ATTRIBUTE_CALLS = _bytes(syntax_rules()["attributes"]["calls"])
"""Attribute words that take arguments."""
MARKERS = tuple(word.encode() for word in syntax_rules()["attributes"]["markers"])
"""Attribute words that stand inside a struct and begin with no underscore."""
TYPES = _bytes(syntax_rules()["types"]["words"])
"""Words in two underscores that are no attributes."""
BUILTIN = _bytes(syntax_rules()["keywords"]["types"])
"""Names of C's own types."""
STORAGE = _bytes(syntax_rules()["keywords"]["storage"])
"""Storage classes and qualifiers."""
TAGS = _bytes(syntax_rules()["keywords"]["tags"])
"""Keywords before a tag."""
STATEMENT = _bytes(syntax_rules()["keywords"]["statements"])
"""Keywords of statements and operators."""
TAKES_TYPE = _bytes(syntax_rules()["keywords"]["take_types"])
"""Operators that take a type in parentheses."""
# Possessive, here as elsewhere, are single classes only: with groups early releases of Python 3.11 err (gh-106052).
ARGS = rb"\([^()]*+\)"
for _ in range(4):
    ARGS = rb"\([^()]*+(?:" + ARGS + rb"[^()]*+)*\)"
"""A pattern for a parenthesised group, up to five deep; linear, for a text matches it in one way at most."""
