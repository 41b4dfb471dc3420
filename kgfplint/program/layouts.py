"""Sizes of the program's own types: layouts whose names are looked up in the program, definitions read from its files.

    sizes = ProgramLayouts(program, abi_of("arm64"), read)     # read(tree-relative path) → text of the file, OSError
    sizes.sizeof(file, "struct sk_buff")                       # Range or None; `file` is the file number that asks
    sizes.offsetof(file, "struct sk_buff", "cb")
    sizes.constant(file, "sizeof(struct iphdr) + 2")

Facts name the file that defines a struct; its attributes and the `#if` inside it stand only in the text, so the definition
is cut out of the file when it is asked for, once.
"""

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import TypeVar

from pycparser import c_ast

from kgfplint.program.constants import constants_of
from kgfplint.program.link import Program
from kgfplint.source.layouts import Abi, Layouts, Range, Type, abi_of, type_of
from kgfplint.source.layouts_files import blanked, enum_in, record_in, typedefs_in
from kgfplint.source.layouts_types import Enum, OneOf, Open, Record, expression

Read = Callable[[str], str]
_Choice = TypeVar("_Choice")
_INNER = re.compile(r"(?:struct|union) (\w+)\.([\w.]+)")
"""A struct without tag is named by the member that it is the type of."""
_WORD = re.compile(r"[A-Za-z_]\w*")
_TYPE = re.compile(r"(?:struct |union |unsigned |signed )*\w+(?: ?\*)*")
_NEXT = re.compile(r"(\w+) \+ 1")
"""An enumerator that counts on from the one before."""
_ENUMERATORS = 4096
"""The most that an enum has."""
_KEPT = 128
"""Files whose blanked text is kept."""


class ProgramLayouts:
    """Layouts under one ABI, for types as any file of the program sees them."""

    def __init__(self, program: Program, abi: Abi, read: Read, page_size: int | None = None) -> None:
        """`read` gives the text of a file by its tree-relative path; what it cannot read (OSError) has no layout."""
        self.program = program
        self.abi = abi
        self._page_size = page_size
        self._read = read
        self._layouts: dict[int, Layouts] = {}
        self._records: dict[tuple[int, str], Record | None] = {}
        self._enums: dict[tuple[int, str], Enum | None] = {}
        self._homes: dict[tuple[int, str], tuple[int, ...]] = {}
        self.text = lru_cache(_KEPT)(self._text)

    def sizeof(self, file: int, ctype: str) -> Range | None:
        """Return the bytes of a type as facts write it (`struct foo`, `u8[4]`), None if nothing is known of it."""
        asked = self._asked(file, ctype)
        return self.within(file).sizeof(asked) if asked is not None else None

    def alignof(self, file: int, ctype: str) -> Range | None:
        """Return the alignment of a type in bytes, None if nothing is known of it."""
        asked = self._asked(file, ctype)
        return self.within(file).alignof(asked) if asked is not None else None

    def offsetof(self, file: int, ctype: str, path: str) -> Range | None:
        """Return the offset of a member in bytes, None if it is not known."""
        asked = self._asked(file, ctype)
        return self.within(file).offsetof(asked, path) if asked is not None else None

    def constant(self, file: int, text: str) -> int | None:
        """Return the value of a constant expression with sizes in it, None if it is not known."""
        return self.within(file).constant(text)

    def _asked(self, file: int, ctype: str) -> Type | None:
        inner = _INNER.fullmatch(ctype)
        if inner is not None:
            return self.within(file).member(f"struct {inner[1]}", inner[2])
        return type_of(ctype)

    def _text(self, file: int) -> str:
        try:
            return blanked(self._read(self.program.paths[file]))
        except OSError:
            return ""

    def homes(self, file: int, tag: str) -> tuple[int, ...]:
        """Return the numbers of the files whose definition of a tag `file` may mean."""
        key = file, tag
        if key not in self._homes:
            records = self.program.types.records
            known = records.get(tag) or records.get(self.program.types.macro(file, tag, _WORD)) or []
            self._homes[key] = self.choices(file, [(members.file, members.file) for members in known])
        return self._homes[key]

    def choices(self, file: int, known: Iterable[tuple[int, _Choice]]) -> tuple[_Choice, ...]:
        """Return the definitions that `file` may mean: its own, else of headers it includes, else of its architecture."""
        here = [choice for choice in known if choice[0] == file or not self._foreign(self.program.paths[choice[0]])]
        own = [found for where, found in here if where == file]
        seen = [found for where, found in here if not own and self.program.types.sees(file, where)]
        return tuple(dict.fromkeys(own or seen or (found for _, found in here)))

    def _foreign(self, path: str) -> bool:
        return path.startswith("tools/") or (path.startswith("arch/") and not path.startswith(self.abi.folder))

    def record(self, file: int, tag: str) -> Record | None:
        """Return the struct or union of a tag that a file defines."""
        key = file, tag
        if key not in self._records:
            text = self.text(file)
            self._records[key] = record_in(text, tag) or record_in(text, self.program.types.macro(file, tag, _WORD))
        return self._records[key]

    def within(self, file: int) -> Layouts:
        """Return the layouts for names as a file sees them."""
        known = self._layouts.get(file)
        if known is None:
            known = self._layouts[file] = Layouts(self.abi, _Scope(self, file), self._page_size)
        return known

    def enum(self, file: int, tag: str) -> Enum | None:
        """Return the enum of a tag if the file defines it."""
        key = file, tag
        if key not in self._enums:
            text = self.text(file)
            self._enums[key] = enum_in(text, tag) if f"enum {tag}" in text else None
        return self._enums[key]


class _Scope:
    """The names that one file sees."""

    def __init__(self, layouts: ProgramLayouts, file: int) -> None:
        self._layouts = layouts
        self._program = layouts.program
        self._file = file

    def homes(self, tag: str) -> tuple[Layouts, ...]:
        """Return the layouts of the files that may define a tag."""
        return tuple(self._layouts.within(file) for file in self._layouts.homes(self._file, tag))

    def record(self, tag: str) -> Record | None:
        """Return the struct or union of a tag."""
        return self._layouts.record(self._file, tag)

    def enum(self, tag: str) -> Enum | None:
        """Return an enum; one of another file has the size of an int: few are packed, and facts keep no tags of enums."""
        return self._layouts.enum(self._file, tag) or Enum(tag, ())

    def typedef(self, name: str) -> Type | None:
        """Return what a typedef means: its text, or the struct that it names in place; one of several where they differ."""
        known = self._layouts.choices(self._file, self._program.types.typedefs.get(name, ()))
        macro = self._program.types.macro(self._file, name, _TYPE) if not known else ""
        found = [type_of(text) for text in (known or (macro,)) if text] or list(typedefs_in(self._layouts.text(self._file), name))
        types = [meant if meant is not None else Open(name) for meant in found]
        return OneOf(tuple(types)) if len(types) > 1 else next(iter(types), None)

    def constant(self, name: str) -> c_ast.Node | None:
        """Return what a macro or enumerator stands for, None where definitions differ."""
        constants = constants_of(self._program)
        value = constants.named(self._file, name)
        if value is not None:
            return expression(f"({value})")
        text, steps = constants.definition(self._file, name), 0
        while (match := _NEXT.fullmatch(text)) and steps < _ENUMERATORS:
            text, steps = constants.definition(self._file, match[1]), steps + 1
        return expression(f"({text}) + {steps}" if steps else text) if text else None


@lru_cache(maxsize=8)
def layouts_of(program: Program, arch: str) -> ProgramLayouts:
    """Return the layouts of a program for an architecture of rules/abi.toml, one table for all who ask."""
    files = program.files

    def read(path: str) -> str:
        if files is None:
            raise FileNotFoundError(path)
        return files.place(path).read_text(encoding="utf-8", errors="replace")

    return ProgramLayouts(program, abi_of(arch), read)
