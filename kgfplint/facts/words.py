"""The macros, functions and types that code is read by: rules/syntax.toml, [values]."""

from collections.abc import Iterable

from kgfplint.source.words import syntax_rules


def _named(kind: str) -> frozenset[str]:
    return frozenset(syntax_rules()["values"][kind])


TRANSPARENT = _named("same")
"""Macros whose value is their first argument."""
LOOKED_THROUGH = TRANSPARENT | _named("truth")
"""Those, and macros whose value is the truth of their first argument."""
FATAL = _named("fatal")
"""Macros that do not return when their first argument is true."""
NO_CALLS = LOOKED_THROUGH | FATAL
"""Macros that leave no call behind."""
NORETURN = _named("noreturn")
"""Functions and macros that never return."""
ERROR_POINTERS = _named("error_pointers")
"""Functions that return error pointers."""
ERROR_NUMBERS = _named("error_numbers")
"""Functions that return the number of an error pointer."""
UNEVALUATED = _named("unevaluated")
"""Macros that look only at the types of their arguments."""
BYTES = _named("bytes")
"""Types of pointers to bytes."""


def spelled(words: Iterable[str]) -> frozenset[bytes]:
    """Return words as they stand in the text of a file."""
    return frozenset(word.encode() for word in words)
