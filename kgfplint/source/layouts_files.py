"""Definitions of structs cut out of whole files: only what is asked for is read by pycparser."""

import re
from collections.abc import Iterator

from kgfplint.source.layouts_text import PACKED, WORDS, pack_at
from kgfplint.source.layouts_types import Aligned, Choice, Enum, Open, Record, Type, declarations
from kgfplint.source.words import ARGS

_SKIPPED = re.compile(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"", re.DOTALL)
_NO_NEWLINE = re.compile(r"[^\n]")
_BRACE = re.compile(r"[{}]")
_GROUP = ARGS.decode()
_ATTRIBUTE = rf"(?:__\w+|{'|'.join(sorted(PACKED | WORDS.keys()))})\s*(?:{_GROUP})?\s*"
_ATTRIBUTES = re.compile(rf"\s*(?:{_ATTRIBUTE}){{0,6}}")
_HEAD = re.compile(rf"\b(?:struct|union|enum)\s+(?:{_ATTRIBUTE}){{0,3}}$")
_OPENS = re.compile(rf"\s*(?:{_ATTRIBUTE}){{0,3}}\{{")
_CLOSED = re.compile(rf"\}}\s*(?:{_ATTRIBUTE}){{0,4}}\*?\s*$")
_ENDS = re.compile(rf"\s*(?:{_ATTRIBUTE}){{0,4}}(?=[;,])")
_TYPEDEF = re.compile(r"\btypedef\b[^;{}]*$")
_NEAR, _FAR = 200, 400
"""How far before a name, or before a brace, what belongs to it is looked for, in characters."""


def blanked(text: str) -> str:
    """Return the text of a file with comments and strings blanked, of the same length and lines."""
    return _SKIPPED.sub(lambda match: _NO_NEWLINE.sub(" ", match[0]), text)


def record_in(text: str, tag: str) -> Record | None:
    """Return the struct or union that a blanked file defines, by its tag or the typedef that names it; None if it does not.

    What is defined several times, for configurations that differ, has the members of all as arms of a choice.
    """
    found = list(_records(text, tag)) if tag else []
    if len(found) < 2:
        return found[0] if found and found[0].items is not None else None
    first = found[0]
    if any(other.items is None or other.union != first.union or other.marks != first.marks for other in found):
        return None
    arms = tuple(("__some_configuration", other.items or ()) for other in found[1:])
    return Record(tag, first.union, (Choice((*arms, ("1", first.items or ()))),), first.marks)


def enum_in(text: str, tag: str) -> Enum | None:
    """Return the enum that a blanked file defines, None if it does not."""
    for cut, pack in definitions_in(text, tag):
        found = declarations(cut, pack).enums.get(tag)
        if found is not None:
            return found
    return None


def typedefs_in(text: str, name: str) -> Iterator[Type]:
    """Yield what typedefs of structs, unions or enums defined in place mean: those of this name in a blanked file."""
    for match in re.finditer(rf"\b{re.escape(name)}\b", text):
        after = _ENDS.match(text, match.end())
        brace = _CLOSED.search(text[max(0, match.start() - _NEAR) : match.start()]) if after else None
        if after is None or brace is None:
            continue
        opening = _opening(text, max(0, match.start() - _NEAR) + brace.start())
        head = _TYPEDEF.search(text[max(0, opening - _FAR) : opening])
        if head is not None:
            cut = f"{text[max(0, opening - _FAR) + head.start() : after.end()]};"
            yield declarations(cut, pack_at(text, opening)).typedefs.get(name) or Open(name)


def _records(text: str, tag: str) -> Iterator[Record]:
    tagged = False
    for cut, pack in definitions_in(text, tag):
        tagged = True
        found = declarations(cut, pack).records.get(tag)
        yield found if found is not None else Record(tag, False, None)
    for meant in typedefs_in(text, tag) if not tagged else ():
        inner = meant.type if isinstance(meant, Aligned) else meant
        yield inner if isinstance(inner, Record) else Record(tag, False, None)


def definitions_in(text: str, tag: str) -> Iterator[tuple[str, int]]:
    """Yield the text of each definition of a tag with its attributes, and the #pragma pack that is in force."""
    for match in re.finditer(rf"\b{re.escape(tag)}\b", text):
        opens = _OPENS.match(text, match.end())
        near = max(0, match.start() - _NEAR)
        head = _HEAD.search(text[near : match.start()]) if opens else None
        if opens is not None and head is not None:
            end = _closing(text, opens.end())
            after = _ATTRIBUTES.match(text, end)
            yield f"{text[near + head.start() : after.end() if after else end]};", pack_at(text, match.start())


def _closing(text: str, start: int) -> int:
    """Return the offset behind the brace that closes the one before `start`."""
    depth = 1
    for match in _BRACE.finditer(text, start):
        depth += 1 if match[0] == "{" else -1
        if depth == 0:
            return match.end()
    return len(text)


def _opening(text: str, end: int) -> int:
    """Return the offset of the brace that the one at `end` closes."""
    depth, at = 1, end
    while depth and at > 0:
        at = max(text.rfind("{", 0, at), text.rfind("}", 0, at), 0)
        depth += 1 if text[at] == "}" else -1
    return at
