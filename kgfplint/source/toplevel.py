"""Top-level macros: calls without a semicolon, functions defined by a macro, words around a declaration."""

import re

from kgfplint.source.canvas import Canvas
from kgfplint.source.regions import Region, Regions
from kgfplint.source.words import ARGS, ATTRIBUTES, BUILTIN, STORAGE, TAGS, TYPES, syntax_rules

_PLAIN = re.compile(
    rb"\s*+(?:static\s++)?(?:inline\s++)?(?:const\s++)?(?:struct\s++)?(?!__)([A-Za-z_]\w*+)[\s*]++([A-Za-z_]\w*+)\("
)
_CALL_THEN_WORD = re.compile(
    rb"((?:static\s+)?(?!static\s|typeof|__typeof)[A-Za-z_]\w*+)[ \t]*+" + ARGS + rb"(\s++)(?=[A-Za-z_])"
)
_WORD_BEFORE_WORD = re.compile(rb"(__[a-z]\w*)\b\s+(?=__[a-z]|static\b|void\b|int\b|long\b|SEC\()")
_MACRO_HEAD = re.compile(
    rb"((?:(?:static|inline|extern)\s+)*)(?!(?:static|inline|extern)\s)([A-Za-z_]\w*)\b\s*(" + ARGS + rb")\s*\Z"
)
_DECLARES = re.compile(
    rb"(?:(?:static|extern|const)\s+)*(D(?:EFINE|ECLARE)_[A-Z_]+)\s*\(([^(),]+),\s*(\w+)\s*(?:,[^(),]*)?(\))\s*(?:=|\Z)"
)
_CONST_CALL = re.compile(rb"((?:(?:static|extern)\s+)?const\s+(?:static\s+)?)[A-Z][A-Z0-9_]*\s*\(")
_SPACE = re.compile(rb"\s*")
_HEAD = re.compile(rb"([A-Za-z_]\w*+(?:[\s*]+[A-Za-z_]\w*+)*[\s*]*+)\(")
_WORD = re.compile(rb"[A-Za-z_]\w*")
_TRAILING = re.compile(rb"\)\s*([A-Za-z_]\w*(?:\s*" + ARGS + rb")?)\s*\Z")
_TYPED = frozenset(name.encode() for name in syntax_rules()["macro_declarations"]["typed"])
_NO_TYPE = ATTRIBUTES | STORAGE
_MACROS: dict[bytes, dict[str, object]] = {name.encode(): rule for name, rule in syntax_rules()["macro_functions"].items()}


def rewrite_toplevel(canvas: Canvas, regions: Regions) -> None:
    """Make each top-level item a declaration, definition or call; notes "macro_call" and "macro_function"."""
    position = 0
    for region in regions.all:
        _segment(canvas, position, region.start, region)
        position = region.end
    _segment(canvas, position, len(canvas.text), None)


def _segment(canvas: Canvas, start: int, end: int, region: Region | None) -> None:
    """Rewrite the items between two regions; the last one is the head of `region`."""
    text = canvas.text
    while True:
        stop = text.find(b";", start, end)
        if stop < 0:
            break
        if text.find(b"(", start, stop) >= 0 and not _is_plain(text, start, stop):
            _prototype(canvas, _item(canvas, start, stop), stop)
        start = stop + 1
    if text.find(b"(", start, end) < 0:
        return
    if _is_plain(text, start, end):
        if region is not None and region.kind == "function":
            _trailing_word(canvas, start, end)
        return
    start = _item(canvas, start, end)
    if region is not None and region.kind == "function":
        _function_head(canvas, start, end)
    elif region is not None and region.kind == "variant":
        macro = _MACRO_HEAD.match(canvas.text, start, end)
        if macro:
            canvas.note("macro_declaration", macro.start(2), macro.end(2))
            canvas.put(macro.start(2), b"int"[: macro.end(2) - macro.start(2)].ljust(macro.end(2) - macro.start(2)))
            first = _WORD.search(canvas.text, macro.start(3), macro.end(3))
            name = first.span() if first else macro.span(3)
            canvas.blank(macro.start(3), name[0])
            canvas.blank(name[1], macro.end(3))
            canvas.put(macro.end(3) - 1, b"=")


def _is_plain(text: bytearray, start: int, end: int) -> bool:
    """Tell whether the item begins as most functions do: one type, then the name; nothing is to be done to its head."""
    head = _PLAIN.match(text, start, end)
    return head is not None and head[1] not in _NO_TYPE and head[2] not in ATTRIBUTES


def _item(canvas: Canvas, start: int, end: int) -> int:
    """Blank the macro calls without a semicolon that begin an item; return where the first word of the rest is."""
    text = canvas.text
    while True:
        space = _SPACE.match(text, start, end)
        start = space.end() if space else start
        call = _CALL_THEN_WORD.match(text, start, end)
        if not call:
            word = _WORD_BEFORE_WORD.match(canvas.text, start, end)
            if not word or bytes(word[1]) in TYPES:
                break
            canvas.note("annotation", word.start(1), word.end(1))
            canvas.blank(word.start(1), word.end(1))
            start = word.end(1)
            continue
        stop = call.start(2)
        canvas.note("macro_call", call.start(1), stop)
        if canvas.text[stop] in b" \t":
            canvas.put(stop, b";")
        else:
            canvas.blank(call.start(1), stop)
        start = call.end()
    declares = _DECLARES.match(text, start, end)
    if declares and declares[1] in _TYPED:
        canvas.note("macro_declaration", declares.start(1), declares.end(1))
        canvas.blank(declares.start(1), declares.start(2))
        canvas.blank(declares.end(2), declares.start(3))
        canvas.blank(declares.end(3), declares.end(4))
    elif not declares:
        # `static const MACRO(a, 0, 1);` names no type; without the qualifiers it is a call like others.
        qualified = _CONST_CALL.match(text, start, end)
        if qualified:
            canvas.note("annotation", qualified.start(1), qualified.end(1))
            canvas.blank(qualified.start(1), qualified.end(1))
    return start


def _function_head(canvas: Canvas, start: int, end: int) -> None:
    macro = _MACRO_HEAD.match(canvas.text, start, end)
    if macro:
        if macro[2].islower() and not macro[1]:
            return  # a function of implicit type
        _macro_function(canvas, macro)
        return
    _trailing_word(canvas, start, end)
    _prototype(canvas, start, end)


def _trailing_word(canvas: Canvas, start: int, end: int) -> None:
    """Blank a word or call between the parameters of a function and its body."""
    trailing = _TRAILING.search(canvas.text, max(start, end - 200), end)
    if trailing:
        canvas.note("annotation", trailing.start(1), trailing.end(1))
        canvas.blank(trailing.start(1), trailing.end(1))


def _prototype(canvas: Canvas, start: int, end: int) -> None:
    head = _HEAD.match(canvas.text, start, end)
    if head:
        _specifiers(canvas, head.start(1), head.end(1))


def _specifiers(canvas: Canvas, start: int, end: int) -> None:
    """Blank the unknown words between the type and the name of a function."""
    spare: list[re.Match[bytes]] = []
    words: list[re.Match[bytes]] = []
    for found in _WORD.finditer(canvas.text, start, end):
        if found[0] in ATTRIBUTES:
            spare.append(found)
        elif found[0] not in STORAGE:
            words.append(found)
    typed = False
    skip = False
    for number, word in enumerate(words[:-1]):
        if skip:
            skip = False
        elif word[0] in TAGS:
            spare.extend(w for w in words[:number] if w not in spare and w[0] not in BUILTIN)
            typed = skip = True
        elif word[0] in BUILTIN:
            if typed and not any(w[0] in BUILTIN for w in words[:number]):
                spare.extend(w for w in words[:number] if w not in spare)
            typed = True
        elif typed:
            spare.append(word)
        else:
            typed = True
    for word in spare:
        canvas.note("annotation", word.start(), word.end())
        canvas.blank(word.start(), word.end())


def _macro_function(canvas: Canvas, match: re.Match[bytes]) -> None:
    """Write `type name(parameters)` over `MACRO(name, parameters)`."""
    text = canvas.text
    opening, closing = match.start(3), match.end(3) - 1
    parts = _split(bytes(text[opening + 1 : closing]))
    name = parts[0].strip()
    if not _WORD.fullmatch(name):
        canvas.blank(match.start(1), match.end(1))
        return
    rule = _MACROS.get(match[2].rstrip(b"0123456789")) or {"name": "{0}", "pairs": False}
    shown = str(rule["name"]).format(name.decode())
    canvas.note("macro_function", match.start(2), match.end(3), shown.encode())
    at = text.find(name, opening)
    after = at + len(name)
    canvas.blank(match.start(2), after)
    # A lone name moves to the parenthesis, so that its own `()` fits: leave a blank before it.
    room = min(4, match.end(2) - match.start(2) - (len(parts) == 1))
    canvas.put(match.start(2), (b"", b"T", b"u8", b"int", b"long")[room])
    if len(parts) == 1:
        canvas.put(opening, name + b"()")
        canvas.blank(opening + len(name) + 2, closing + 1)
        return
    canvas.put(at, name)
    comma = text.find(b",", after)
    canvas.put(comma, b"(")
    if rule["pairs"]:
        _pair_parameters(canvas, comma + 1, parts[1:])
    elif not all(_WORD.fullmatch(part.strip()) or re.search(rb"\w[\s*]+\w+\s*\Z", part) for part in parts[1:]):
        canvas.blank(comma + 1, closing)


def _pair_parameters(canvas: Canvas, position: int, parts: list[bytes]) -> None:
    """Blank every other comma, so that `type, name` reads `type  name`."""
    for number, part in enumerate(parts):
        position += len(part)
        if number % 2 == 0 and number + 1 < len(parts):
            canvas.blank(position, position + 1)
        position += 1


def _split(arguments: bytes) -> list[bytes]:
    """Return the arguments between top-level commas."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(rb"[(),]", arguments):
        if match[0] == b"(":
            depth += 1
        elif match[0] == b")":
            depth -= 1
        elif depth == 0:
            parts.append(arguments[start : match.start()])
            start = match.end()
    return [*parts, arguments[start:]]
