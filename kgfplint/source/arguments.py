"""Expressions that only the preprocessor makes C: types as arguments, case ranges, glued strings, assembly."""

import re

from kgfplint.source.canvas import Canvas
from kgfplint.source.regions import Regions
from kgfplint.source.words import ARGS, TAKES_TYPE

_TYPE = (
    rb"(?:(?:const|volatile)\s++)*(?:(struct|union|enum)\s++\w++|(?:unsigned|signed|long|short|int|char|void|float|double)\b"
    rb"(?:\s+(?:unsigned|signed|long|short|int|char|double)\b)*)(?:\s+const\b|\s*+\*)*"
)
# One pattern for each sign: an engine that looks for a single byte is ten times as fast as with a set of two.
_TYPE_ARGUMENTS = tuple(
    re.compile(sign + rb"\s*+(?=[cdefilsuv\d])(?:(" + _TYPE + rb")|(\d++[^\WxX]\w*+))\s*+(?=[,)])") for sign in (rb"\(", rb",")
)
_NUMBER = re.compile(rb"\d+[uUlL]*|\d+[eE]\d+|0[bB][01]+[uUlL]*")
_SIZE_OF_VALUE = re.compile(rb"__alignof__(?=\s*(?:\(\s*\*|[^\s(]))")
_TYPEOF_CAST = re.compile(rb"typeof(?:__)?\s*" + ARGS + rb"[\s*]*\)(?=\s*[\w~(*&-])")
_TYPEOF_NAME = re.compile(rb"typeof(?:__)?[ \t]*" + ARGS + rb"(?=[\s*]*[A-Za-z_])")
_POINTER_ARGUMENT = re.compile(rb"\*\s*+(?=[,)])")
_POINTER = re.compile(rb"\s*([A-Za-z_]\w*(?:\s*\*)*)\s*")
_TAGGED = re.compile(rb"(.*?(?:struct|union|enum)\s+)(\w+)(.*)\Z", re.S)
_DOTS = re.compile(rb"\.\.\.")
_CASE = re.compile(rb"\bcase\b[^:;{}]*\Z")
_OFFSETOF = re.compile(rb"offsetof\s*\(([^(),]*(?:\([^()]*\)\s*)?),([^()]*(?:\([^()]*\)[^()]*)*)\)")
_ASM = re.compile(rb"asm(?:__|_inline)?\b[\s\w]{0,200}(" + ARGS + rb")")
_ASM_BEFORE = re.compile(rb"(?:\A|\W)__\Z")
_OPERAND = re.compile(rb'(?:\[\s*\w+\s*\]\s*)?"\s*"\s*' + ARGS + rb'|"\s*"')
_REGISTER = re.compile(rb"(?:\w\s*[\s*])(?!else\b|do\b|volatile\b|inline\b)\w+\Z|\*\w+\Z")
_GOTO_LABELS = re.compile(rb":\s*\w+(?:\s*,\s*\w+)*\s*\Z")
_WORD_BEHIND = re.compile(rb'"\s*+[A-Za-z_]')
_GLUED_AFTER = re.compile(rb'"\s*([A-Za-z_]\w*\s*' + ARGS + rb")")
_GLUED_BEFORE = re.compile(rb"[A-Za-z_]\w*\s*" + ARGS + rb"\Z")
_TWO_BEFORE = re.compile(rb"[(,=]\s*((?:[A-Za-z_]\w*\s+)+)[A-Za-z_]\w*\Z")
_TWO_AFTER = re.compile(rb'"\s*[A-Za-z_]\w*((?:\s+[A-Za-z_]\w*)+)')
_LAST_LABEL = re.compile(rb":\s*+\}")
_LOCAL_LABEL = re.compile(rb"__label__(?<!\w__label__)\b[^;{}]*;")
_OF = re.compile(rb"of(?<=typeof|fsetof|lignof)")
"""`typeof`, `offsetof` or `__alignof__`: most files have none, and one look is enough to tell."""


def rewrite_arguments(canvas: Canvas, regions: Regions) -> None:
    """Rewrite what stands inside expressions; notes "type_argument", "case_range", "offsetof", "asm", "glue", "typeof"."""
    of_type = _OF.search(canvas.text) is not None
    _assemblies(canvas)
    if of_type:
        _member_paths(canvas)
    _type_arguments(canvas, regions)
    if of_type:
        _sizes_of_values(canvas)
        _typeof_casts(canvas)
        _typeof_declarations(canvas)
    _case_ranges(canvas)
    _glued_strings(canvas)
    _labels(canvas)


def _assemblies(canvas: Canvas) -> None:
    text = canvas.text
    for match in _ASM.finditer(text):
        start = match.start()
        before = bytes(text[max(0, start - 3) : start])
        if before[-1:].isalnum() or (before[-1:] == b"_" and not _ASM_BEFORE.search(before)):
            continue
        underscores = len(before) - len(before.rstrip(b"_"))
        if _REGISTER.search(canvas.before(start - underscores)) and b"volatile" not in match[0]:
            canvas.note("asm", start, match.end())
            canvas.blank(start - (2 if before.endswith(b"__") else 0), match.end())
            continue
        if text.startswith(b"_inline", start + 3):
            canvas.blank(start + 3, start + 10)
        _assembly(canvas, match.start(1), match.end(1), b"goto" in match[0][: match.start(1) - start])


def _sizes_of_values(canvas: Canvas) -> None:
    for match in _SIZE_OF_VALUE.finditer(canvas.text):
        canvas.note("alignof", match.start(), match.end())
        canvas.put(match.start(), b"  sizeof   ")


def _labels(canvas: Canvas) -> None:
    """Give a label that ends its block a statement, and blank declarations of labels."""
    text = canvas.text
    for match in _LAST_LABEL.finditer(text):
        if match.end() - match.start() > 2 and text[match.start() + 1] in b" \t":
            canvas.put(match.start() + 1, b";")
        else:
            _semicolon(canvas, match.start() + 1, match.end() - 1)
    for match in _LOCAL_LABEL.finditer(text):
        canvas.blank(match.start(), match.end())


def _semicolon(canvas: Canvas, start: int, end: int) -> None:
    for at in range(end - 1, max(start, end - 400) - 1, -1):
        if canvas.text[at] in b" \t":
            canvas.put(at, b";")
            return


def _type_arguments(canvas: Canvas, regions: Regions) -> None:
    text = canvas.text
    for pattern in _TYPE_ARGUMENTS:
        for match in pattern.finditer(text):
            if match[3]:
                if not _NUMBER.fullmatch(match[3]):  # a name that a macro pastes together
                    canvas.put(match.start(3), b"_")
            elif _is_argument(canvas, regions, match.start()) and match.start(2) - match.start() <= 80:
                _name_type(canvas, match.start(1), match.end(1))
    for start, end in regions.functions:
        _pointer_arguments(canvas, regions, start, end)


def _pointer_arguments(canvas: Canvas, regions: Regions, start: int, end: int) -> None:
    text = canvas.text
    for match in _POINTER_ARGUMENT.finditer(text, start, end):
        at = match.start()
        reach = max(0, at - 80)
        opening = max(text.rfind(b"(", reach, at), text.rfind(b",", reach, at))
        if opening < 0 or (text[opening] == 0x28 and text[opening - 1] in b"( \t=!&*-+|<>"):
            continue  # most often a cast
        found = _POINTER.fullmatch(text, opening + 1, at)
        if found and regions.kind(opening) == "function" and _is_argument(canvas, regions, opening):
            _name_type(canvas, found.start(1), at + 1)


def _is_argument(canvas: Canvas, regions: Regions, at: int) -> bool:
    """Tell whether what follows the `(` or `,` at `at` is an argument of a call of a macro."""
    if canvas.text[at] == 0x2C:
        return regions.kind(at) in ("function", "init")
    callee = canvas.word_before(at)
    if not callee or callee in TAKES_TYPE:
        return False
    return callee.isupper() or regions.kind(at) in ("function", "init")


def _name_type(canvas: Canvas, start: int, end: int) -> None:
    canvas.note("type_argument", start, end)
    canvas.put(start, _as_name(bytes(canvas.text[start:end])))


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
        if match[2].strip().replace(b"_", b"a").isalnum() and b"(" not in match[1]:
            continue
        canvas.note("offsetof", match.start(), match.end())
        canvas.put(match.start(), b"O")
        words = bytes(match[1])
        tagged = _TAGGED.match(words)
        if tagged:
            canvas.put(match.start(1), _as_name(words))


def _typeof_casts(canvas: Canvas) -> None:
    """Blank casts to the type of an expression."""
    text = canvas.text
    for match in _TYPEOF_CAST.finditer(text):
        opening = text.rfind(b"(", max(0, match.start() - 40), match.start())
        if opening >= 0 and not text[opening + 1 : match.start()].strip(b" \t\n_") and not canvas.word_before(opening):
            canvas.note("cast", opening, match.end())
            canvas.blank(opening, match.end())


def _typeof_declarations(canvas: Canvas) -> None:
    """Let the type of an expression read as a name where it declares something."""
    for match in _TYPEOF_NAME.finditer(canvas.text):
        start, end = match.span()
        if canvas.text[max(0, start - 2) : start] == b"__":
            start -= 2
        if b"\n" not in match[0] and not canvas.word_before(start).endswith(b"_"):
            canvas.note("typeof", start, end)
            canvas.put(start, b"typeof".ljust(end - start, b"_"))


def _case_ranges(canvas: Canvas) -> None:
    text = canvas.text
    for match in _DOTS.finditer(text):
        at = match.start()
        end = text.find(b":", at) if _CASE.search(canvas.before(at)) else -1
        if end >= 0:
            canvas.note("case_range", at, end)
            canvas.blank(at, end)


def _glued_strings(canvas: Canvas) -> None:
    """Leave only what the grammar glues: string literals with at most one macro between two."""
    text = canvas.text
    if _WORD_BEHIND.search(text):
        for pattern in (_GLUED_AFTER, _TWO_AFTER):
            for match in pattern.finditer(text):
                canvas.note("glue", match.start(1), match.end(1))
                canvas.blank(match.start(1), match.end(1))
    for start, _ in canvas.literals:
        if text[start] != 0x22 or not start or text[start - 1] in b"(," or bytes(text[start - 2 : start]) in (b", ", b"= "):
            continue
        reach = max(0, start - 120)
        window = text[reach:start].rstrip()
        last = window[-1:]
        if last == b")":
            found = _GLUED_BEFORE.search(window)
            if found and not found[0].startswith((b"if", b"while", b"for", b"switch", b"return")):
                canvas.note("glue", reach + found.start(), reach + found.end())
                canvas.blank(reach + found.start(), reach + found.end())
        elif last.isalnum() or last == b"_":
            found = _TWO_BEFORE.search(window)
            if found:
                canvas.note("glue", reach + found.start(1), reach + found.end(1))
                canvas.blank(reach + found.start(1), reach + found.end(1))


def _assembly(canvas: Canvas, start: int, end: int, jumps: bool) -> None:
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
    operands = bytes(text[stop : end - 1])
    if re.search(rb"\w", _OPERAND.sub(b"", _GOTO_LABELS.sub(b"", operands) if jumps else operands)):
        canvas.note("asm", stop, end - 1)
        canvas.blank(stop, end - 1)
