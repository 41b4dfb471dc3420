"""Expressions that only the preprocessor makes C: types as arguments, case ranges, glued strings, assembly."""

import re

from kgfplint.source.canvas import Canvas
from kgfplint.source.regions import Regions
from kgfplint.source.words import ARGS

_TYPE = (
    rb"(?:(?:const|volatile)\s++)*(?:(?:struct|union|enum)\s++\w++|"
    rb"(?:unsigned|signed|long|short|int|char|void|float|double)\b(?:\s++(?:unsigned|signed|long|short|int|char|double)\b)*+)"
    rb"(?:\s+const\b|\s*\*)*+"
)
_TYPE_ARGUMENT = re.compile(rb"([(,])\s*+(" + _TYPE + rb")\s*+(?=[,)])")
_POINTER_ARGUMENT = re.compile(rb"([(,])\s*+([A-Za-z_]\w*+(?:\s*+\*)++)\s*+(?=[,)])")
_TAGGED = re.compile(rb"(.*?(?:struct|union|enum)\s+)(\w+)(.*)\Z", re.S)
_CALLEE = re.compile(rb"([A-Za-z_]\w*)\Z")
_TAKES_TYPE = frozenset(
    (
        b"sizeof", b"offsetof", b"typeof", b"__typeof__", b"__typeof", b"__alignof__", b"__alignof", b"_Alignof", b"alignof",
        b"return", b"if", b"while", b"for", b"switch", b"case", b"__builtin_offsetof",
    )
)  # fmt: skip
_CASE = re.compile(rb"\bcase\b[^:;{}\[]*\Z")
_OFFSETOF = re.compile(rb"\boffsetof\s*+\(([^(),]*+),([^()]*+(?:\([^()]*+\)[^()]*+)*+)\)")
_ASM = re.compile(rb"\b(?:__)?asm(?:__)?\b[\s\w]*+(" + ARGS + rb")")
_GLUED_AFTER = re.compile(rb'"\s*+([A-Za-z_]\w*+\s*+' + ARGS + rb")")
_GLUED_BEFORE = re.compile(rb'([A-Za-z_]\w*+\s*+' + ARGS + rb')\s*+"')
_TWO_BEFORE = re.compile(rb'[(,=]\s*+([A-Za-z_]\w*+\s++)+?[A-Za-z_]\w*+\s*+"')
_TWO_AFTER = re.compile(rb'"\s*+[A-Za-z_]\w*+((?:\s++[A-Za-z_]\w*+)++)')
_LAST_LABEL = re.compile(rb":\s*+\}")
_LOCAL_LABEL = re.compile(rb"\b__label__\b[^;{}]*+;")


def rewrite_arguments(canvas: Canvas, regions: Regions) -> None:
    """Rewrite what stands inside expressions; notes "type_argument", "case_range", "offsetof", "asm", "glue"."""
    text = canvas.text
    if b"asm" in text:
        for match in _ASM.finditer(text):
            _assembly(canvas, match.start(1), match.end(1))
    if b"offsetof" in text:
        _member_paths(canvas)
    _type_arguments(canvas, regions)
    if b"..." in text:
        _case_ranges(canvas)
    _glued_strings(canvas)
    for match in _LAST_LABEL.finditer(text):
        if match.end() - match.start() > 2 and text[match.start() + 1] in b" \t":
            canvas.put(match.start() + 1, b";")
        else:
            _semicolon(canvas, match.start() + 1, match.end() - 1)
    if b"__label__" in text:
        for match in _LOCAL_LABEL.finditer(text):
            canvas.blank(match.start(), match.end())


def _semicolon(canvas: Canvas, start: int, end: int) -> None:
    for at in range(start, min(end, start + 400)):
        if canvas.text[at] in b" \t":
            canvas.put(at, b";")
            return


def _type_arguments(canvas: Canvas, regions: Regions) -> None:
    for match in _TYPE_ARGUMENT.finditer(canvas.text):
        start, end = match.span(2)
        at = match.start(1)
        kind = regions.kind(at)
        if match[1] == b"(":
            callee = _CALLEE.search(canvas.before(at))
            if not callee or callee[1] in _TAKES_TYPE or (kind not in ("function", "init") and not callee[1].isupper()):
                continue
        elif kind not in ("function", "init"):
            continue
        canvas.note("type_argument", start, end)
        canvas.put(start, _as_name(bytes(match[2])))
    for match in _POINTER_ARGUMENT.finditer(canvas.text):
        start, end = match.span(2)
        if match[1] == b"(":
            callee = _CALLEE.search(canvas.before(match.start(1)))
            if not callee or callee[1] in _TAKES_TYPE:
                continue
        if regions.kind(start) == "function":
            canvas.note("type_argument", start, end)
            canvas.put(start, match[2].replace(b"*", b" "))


def _as_name(words: bytes) -> bytes:
    """Return a single identifier in place of a type, as long as it: the tag, or the words joined."""
    tagged = _TAGGED.match(words)
    if tagged:
        return re.sub(rb"\S", b" ", tagged[1]) + tagged[2] + re.sub(rb"\S", b" ", tagged[3])
    name = words.replace(b"*", b" ")
    bare = name.rstrip()
    joined = bare[:1].upper() + re.sub(rb"[ \t]", b"_", bare[1:])
    return joined + name[len(bare) :]


def _member_paths(canvas: Canvas) -> None:
    """Let `offsetof(type, a.b[c])` read as a plain call: the grammar takes a single member only."""
    for match in _OFFSETOF.finditer(canvas.text):
        if match[2].strip().replace(b"_", b"a").isalnum():
            continue
        canvas.note("offsetof", match.start(), match.end())
        canvas.put(match.start(), b"O")
        words = bytes(match[1])
        tagged = _TAGGED.match(words)
        if tagged:
            canvas.put(match.start(1), _as_name(words))


def _case_ranges(canvas: Canvas) -> None:
    text = canvas.text
    at = text.find(b"...")
    while at >= 0:
        if _CASE.search(canvas.before(at)):
            end = text.find(b":", at)
            if end >= 0:
                canvas.note("case_range", at, end)
                canvas.blank(at, end)
        at = text.find(b"...", at + 3)


def _glued_strings(canvas: Canvas) -> None:
    """Leave only what the grammar glues: string literals with at most one macro between two."""
    text = canvas.text
    for pattern in (_GLUED_AFTER, _GLUED_BEFORE, _TWO_AFTER):
        for match in pattern.finditer(text):
            canvas.note("glue", match.start(1), match.end(1))
            canvas.blank(match.start(1), match.end(1))
    for match in _TWO_BEFORE.finditer(text):
        if not re.search(rb"\breturn\b", match[0]):
            canvas.blank(match.start() + 1, match.end(1))


def _assembly(canvas: Canvas, start: int, end: int) -> None:
    """Leave only string literals in the template of an assembly statement."""
    text = canvas.text
    depth = 0
    stop = end - 1
    for at in range(start, end):
        byte = text[at]
        if byte == 0x28:
            depth += 1
        elif byte == 0x29:
            depth -= 1
        elif byte == 0x3A and depth == 1:
            stop = at
            break
    template = bytes(text[start + 1 : stop])
    if re.search(rb"\w", template):
        canvas.note("asm", start + 1, stop)
        plain = re.sub(rb'[^"\s]', b" ", template)
        if b'"' not in plain and len(plain) > 1:
            plain = re.sub(rb"\A(\s*)  ", rb'\1""', plain, count=1)
        canvas.put(start + 1, plain)
