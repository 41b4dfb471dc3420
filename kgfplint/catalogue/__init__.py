"""The catalogue: what rules/*.toml say about the kernel's interfaces, for one kernel version.

    catalogue = load([rules_directory()], (6, 1))
    catalogue.allocs["kmalloc_array"].count      # 0, the index of its argument n
    catalogue.frees["kfree"].accepts             # ("kmalloc", …)
    catalogue.locks["spin_lock_irqsave"].kinds   # ("spin", "irq")

`load` takes the directories (the built-in one first, then those of `--rules`) and the version (None:
newest) and raises CatalogueError, whose text is one line `file:line: what is wrong`. The mappings of a
Catalogue hold only what this version has: allocs, frees, locks, sleepers, guards, cleanups and verdicts
by function or class name, callbacks by registering function, fields by "tag.member", and the words
that these refer to: families, kinds (of locks) and contexts. See entries for the attributes.
"""

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from msgspec.structs import replace

from kgfplint.catalogue.entries import (
    CALCULATED,
    Access,
    Alloc,
    Callback,
    Cleanup,
    Context,
    Counted,
    Family,
    Flag,
    Free,
    Guard,
    LockEffect,
    LockKind,
    Need,
    Parent,
    Phrase,
    Reclaim,
    Section,
    Setup,
    Sleeper,
    Test,
    Undo,
    Verdict,
    Version,
    View,
)
from kgfplint.catalogue.reading import Content, read
from kgfplint.catalogue.tables import CatalogueError

__all__ = [
    "CALCULATED",
    "Access", "Alloc", "Callback", "Catalogue", "CatalogueError", "Cleanup", "Context", "Counted", "Family", "Flag",
    "Free", "Guard", "LockEffect", "LockKind", "Need", "Parent", "Phrase", "Reclaim", "Section", "Setup", "Sleeper",
    "Test", "Undo", "Verdict", "Version", "View", "load",
    "rules_directory",
]  # fmt: skip


CALLER = "caller"
"""The context of what a function calls itself, at once: that of its caller."""


class Catalogue:
    """The kernel's interfaces by name, filtered for one kernel version; `digest` is the hash of the rule files."""

    def __init__(self, content: Content, version: Version | None) -> None:
        """Take over what was read for `version`."""
        self.version = version
        self.digest = content.digest
        self.families: Mapping[str, Family] = content.families
        self.kinds: Mapping[str, LockKind] = content.kinds
        self.contexts: Mapping[str, Context] = content.contexts
        self.allocs: Mapping[str, Alloc] = content.of(Alloc)
        self.frees: Mapping[str, Free] = content.of(Free)
        self.locks: Mapping[str, LockEffect] = content.of(LockEffect)
        self.sections: Mapping[str, Section] = content.of(Section)
        self.sleepers: Mapping[str, Sleeper] = content.of(Sleeper)
        self.tests: Mapping[str, Test] = content.of(Test)
        self.flags: Mapping[str, Flag] = content.flags
        self.phrases: Mapping[str, Phrase] = content.phrases
        self.counted: Mapping[str, Counted] = content.counted
        self.setups: Mapping[str, Setup] = content.setups
        self.failing: Mapping[str, Free] = {
            word.name: replace(self.frees[word.by], name=word.name, ptr=word.ptr) for word in content.failing.values()
            if word.by in self.frees}
        self.truths = frozenset(word.name for word in content.failing.values() if word.truth)
        self.parents: Mapping[str, Parent] = content.parents
        self.apart: tuple[str, ...] = tuple(f"{folder}/" for folder in content.apart)
        self._trials = re.compile("|".join(map(fnmatch.translate, content.trials)) or "(?!)")
        self.undos: Mapping[str, Undo] = content.undos
        self.guards: Mapping[str, Guard] = content.of(Guard)
        self.cleanups: Mapping[str, Cleanup] = content.of(Cleanup)
        self.views: Mapping[str, View] = content.of(View)
        self.needs: Mapping[str, Need] = content.of(Need)
        self.accesses: Mapping[str, Access] = content.of(Access)
        self.verdicts: Mapping[str, Verdict] = content.of(Verdict)
        self.callbacks: Mapping[str, tuple[Callback, ...]] = {
            name: entries for name, entries in content.callbacks.items() if not any(entry.context == CALLER for entry in entries)}
        self.walkers: Mapping[str, frozenset[int]] = {
            name: frozenset(entry.argument for entry in entries if entry.context == CALLER and entry.argument is not None)
            for name, entries in content.callbacks.items() if name not in self.callbacks}
        self.fields: Mapping[str, Callback] = content.fields

    def is_trial(self, path: str) -> bool:
        """Tell whether only tests run the code of a file."""
        return self._trials.match(path) is not None

    def are_general(self, families: Iterable[str]) -> bool:
        """Tell whether families are all those of general allocators."""
        return all(family in self.families and self.families[family].heap for family in families)

    @cached_property
    def primitives(self) -> frozenset[str]:
        """The names of what allocates, frees or changes what is held."""
        return frozenset({*self.allocs, *self.frees, *self.locks})

    @cached_property
    def described(self) -> frozenset[str]:
        """The names of primitives and of what sleeps: what their bodies say adds nothing to what stands here."""
        return self.primitives | self.sleepers.keys()

    @cached_property
    def kind_of_type(self) -> Mapping[str, str]:
        """The names of lock kinds by the types of their locks."""
        return {ctype: kind.name for kind in self.kinds.values() for ctype in kind.types}

    @cached_property
    def frees_of(self) -> Mapping[str, tuple[str, ...]]:
        """The names of the deallocators of each family, the one to recommend first."""

        def rank(free: Free, family: str) -> tuple[bool, int]:
            return free.flavour not in ("plain", "put", "inside"), free.accepts.index(family)

        ranked: dict[str, list[tuple[tuple[bool, int], str]]] = {family: [] for family in self.families}
        for free in self.frees.values():
            for family in free.accepts:
                ranked[family].append((rank(free, family), free.name))
        return {
            family: tuple(name for _, name in sorted(names, key=lambda pair: pair[0])) for family, names in ranked.items()
        }


def load(directories: Sequence[Path], version: Version | None) -> Catalogue:
    """Return the catalogue of the rule files in `directories` for kernel `version` (None: newest).

    CatalogueError when a file is wrong or cannot be read, or when two rules claim the same function.
    """
    return Catalogue(read(directories, version), version)


def rules_directory() -> Path:
    """Return the built-in rules: inside the installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "rules"
    return installed if installed.is_dir() else package.parent / "rules"
