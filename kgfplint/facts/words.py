"""The macros and functions that lowering knows by name."""

from collections.abc import Iterable

TRANSPARENT = frozenset({"likely", "unlikely", "READ_ONCE", "ACCESS_ONCE", "data_race", "__builtin_expect"})
"""Macros whose value is their first argument (linux/compiler.h)."""
WARNINGS = frozenset({"WARN_ON", "WARN_ON_ONCE", "WARN", "WARN_ONCE", "WARN_TAINT", "VM_WARN_ON", "VM_WARN_ON_ONCE"})
"""Macros whose value is the truth of their first argument (asm-generic/bug.h)."""
LOOKED_THROUGH = TRANSPARENT | WARNINGS
FATAL = frozenset({"BUG_ON", "VM_BUG_ON", "VM_BUG_ON_PAGE", "VM_BUG_ON_FOLIO"})
"""Macros that do not return when their first argument is true (asm-generic/bug.h)."""
NO_CALLS = LOOKED_THROUGH | FATAL
"""Macros that leave no call behind."""
NORETURN = frozenset({"BUG", "panic", "do_exit", "unreachable", "__builtin_unreachable", "make_task_dead", "die"})
"""Functions and macros that never return."""


def spelled(words: Iterable[str]) -> frozenset[bytes]:
    """Return words as they stand in the text of a file."""
    return frozenset(word.encode() for word in words)
