"""What an edit of some files can reach: names whose definitions changed, and the files that see or mention them.

Results of an analysis of one function depend on its own body, on the summaries of what it calls, and on the definitions
of names: of those that it mentions, and of those that their definitions mention.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain
from typing import AnyStr

from kgfplint.facts import ir
from kgfplint.program.link import Program
from kgfplint.source.tree import Files

_MANY = 20
"""More names than this are looked for word by word."""
_MOST = 3000
"""With more names than this, to find out who mentions them takes longer than to analyse everything."""
_WORD, _BYTES = re.compile(r"\w+"), re.compile(rb"\w+")
_READING = ~(ir.SKETCHED | ir.DAMAGED)
"""Flags that tell how a function was read are not about what it is."""


def changed_names(before: Iterable[ir.FileFacts], after: Iterable[ir.FileFacts]) -> set[str]:
    """Return the names that are defined otherwise in files as they were `before` and as they are `after`."""
    old = set(chain.from_iterable(map(_definitions, before)))
    new = set(chain.from_iterable(map(_definitions, after)))
    return {str(definition[0]) for definition in old ^ new}


def _definitions(facts: ir.FileFacts) -> Iterator[tuple[object, ...]]:
    """Yield what a file says of names, without places: the name first."""
    for record in facts.records:
        if record.tag.startswith("unnamed."):
            continue  # named by its place; no other file can mean it
        # The first member has the address of the struct, the last may be a flexible array; where others lie, nobody asks.
        ends = record.members if record.kind == "union" else record.members[:1] + record.members[-1:]
        yield record.tag, "record", record.kind, ends
        for name, ctype, bits in record.members:
            yield name, "member", record.tag, ctype, bits
    for function in facts.functions:
        masked = any("gfp_t" in param.ctype for param in function.params)
        calls = tuple(sorted(name for name, _ in function.calls)) if masked or function.flags & ir.MACRO else ()
        yield (function.name, "function", function.flags & _READING, function.returns, function.params,
               function.annotations, calls)
    for kind, pairs in (("typedef", facts.typedefs), ("enumerator", facts.enumerators), ("macro", facts.macros),
                        ("global", tuple((name, ctype) for name, ctype, _ in facts.globals))):
        for name, text in pairs:
            yield name, kind, text
    for name, returns, params in facts.prototypes:
        yield name, "prototype", returns, params
    for name in facts.noreturn:
        yield name, "noreturn"


def with_dependents(program: Program, names: Collection[str]) -> set[str] | None:
    """Return names with those whose definitions mention one of them, directly or not; None if that is half the program."""
    found: set[str] = set()
    fresh = set(names)
    while fresh:
        found |= fresh
        if len(found) > _MOST:
            return None
        mentions = _finder(fresh, _WORD)
        fresh = {name for name, text in _texts(program) if name not in found and mentions(text)}
    return found


def _texts(program: Program) -> Iterator[tuple[str, str]]:
    """Yield (name, text of a definition) for all definitions that mention other names."""
    types = program.types
    for name, choices in chain.from_iterable(table.items() for table in (program.macros, program.enumerators, types.typedefs,
                                                                         types.globals, types.returns)):
        yield from ((name, text) for _, text in choices)
    for records in types.records.values():
        for members in records:
            yield from members.items()
    for name, shapes in types.declaring.items():
        yield from ((name, " ".join(shape)) for _, shape in shapes)


def seeing(program: Program, files: Iterable[int], headers: Collection[str]) -> set[int]:
    """Return the files that see otherwise than before: those given, whose include lines changed, those that name one of
    `headers`, which came or went, and all that include such a file."""
    includes = program.types.includes
    assert includes is not None
    tails = {header.rpartition("/")[2] for header in headers}
    changed = set(files)
    if tails:
        changed.update(includes.naming(tails))
    mask = includes.bits(changed)
    return changed | ({file for file in range(len(program.paths)) if includes.closure(file) & mask} if mask else set())


def mentioning(files: Files, paths: Iterable[tuple[int, str]], names: Collection[str]) -> set[int]:
    """Return those of some (number, tree-relative path) files in whose text one of the names occurs, or that cannot be read."""
    mentions = _finder({name.encode() for name in names}, _BYTES)
    found = set()
    for number, path in paths if names else ():
        try:
            data = files.place(path).read_bytes()
        except OSError:
            found.add(number)
            continue
        if mentions(data):
            found.add(number)
    return found


def _finder(names: Collection[AnyStr], word: re.Pattern[AnyStr]) -> Callable[[AnyStr], bool]:
    """Return what tells whether one of some names is among the words of a text; of `outer.member`, either will do."""
    known = frozenset(part for name in names for part in word.findall(name))
    if len(known) > _MANY:
        return lambda text: not known.isdisjoint(word.findall(text))
    # A plain search is some twenty times faster than one for words, and most often enough.
    return lambda text: any(name in text for name in known) and not known.isdisjoint(word.findall(text))


def moved(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> set[str]:
    """Return the paths of files that were changed, added or removed, from the keys of their facts."""
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
