"""From a lowered body to the outline of its function: calls, indirect calls, callbacks handed over, names stored."""

import re
from collections.abc import Iterator, Mapping

from kgfplint.facts import ir
from kgfplint.facts.terms import bare, member_of, show

_TYPED = (ir.Field, ir.Deref, ir.AddressOf, ir.Index, ir.CallResult, ir.Conditional, ir.Initialiser)
_NAMING = (ir.Name, ir.AddressOf, ir.Cast)
_WORD = re.compile(r"(?<![\w.>])[A-Za-z_]\w*")
_LONGEST = 200
"""Characters of the longest type of a macro's value that is kept."""


def root_path(expr: ir.Expr, types: Mapping[str, str]) -> tuple[str, str] | None:
    """Return (type of the root, dotted member path) of a field expression, None if it has no such form.

    The root's type is C text for a local or parameter, `@name` for a global, `()name` for the
    result of a function; linking resolves the latter two.
    """
    members: list[str] = []
    while True:
        if isinstance(expr, ir.Field):
            members.append(expr.member)
            expr = expr.base
        elif isinstance(expr, ir.Index | ir.Deref | ir.AddressOf):
            expr = expr.base
        elif isinstance(expr, ir.Cast):
            return expr.ctype, ".".join(reversed(members))
        elif isinstance(expr, ir.Name):
            return types.get(expr.id, "@" + expr.id), ".".join(reversed(members))
        elif isinstance(expr, ir.CallResult) and isinstance(expr.callee, ir.Name):
            typed = _type_argument(expr)
            return typed or "()" + expr.callee.id, ".".join(reversed(members))
        else:
            return None


def _type_argument(call: ir.CallResult) -> str:
    """`container_of(p, struct foo, m)` and its like: the type is among the arguments."""
    for argument in call.args:
        if isinstance(argument, ir.TypeName):
            return argument.ctype + " *"
    name = call.callee.id if isinstance(call.callee, ir.Name) else ""
    if len(call.args) == 3 and name.endswith(("container_of", "_entry", "_entry_or_null", "_entry_rcu")):
        kind = call.args[1]
        return f"struct {kind.id} *" if isinstance(kind, ir.Name) else ""
    return ""


def _plain_name(expr: ir.Expr) -> str:
    expr = bare(expr)
    if isinstance(expr, ir.AddressOf):
        expr = expr.base
    return expr.id if isinstance(expr, ir.Name) else ""


def _may_be_function(name: str, types: Mapping[str, str]) -> bool:
    return name != "" and name not in types and not name.isupper()


def summarise(
    name: str, line: int, end_line: int, flags: int, returns: str, params: tuple[ir.Param, ...], condition: str,
    annotations: tuple[str, ...], body: ir.Body,
) -> tuple[ir.Function, list[ir.Binding]]:
    """Return the outline of a function and the bindings that its assignments make."""
    types = {param.name: param.ctype for param in params}
    types.update((local.name, local.ctype) for local in body.locals)
    calls: dict[str, int] = {}
    indirect: dict[tuple[str, str], int] = {}
    handed: dict[tuple[str, int, str], int] = {}
    members: set[str] = set()
    stored: list[ir.Binding] = []
    comes_back = False
    for block in body.blocks:
        for event in block.events:
            if isinstance(event, ir.Call):
                _note_call(event, types, calls, indirect, handed)
                members.update(member_of(place) for place in written(event))
            elif isinstance(event, ir.Assign):
                members.update(member_of(place) for place in written(event))
                if isinstance(event.target, ir.Field):
                    value = _plain_name(event.value)
                    if _may_be_function(value, types):
                        place = root_path(event.target, types)
                        if place:
                            stored.append(ir.Binding(place[0], place[1], value, event.line, name))
                        continue
                if isinstance(event.value, ir.Initialiser):
                    _note_initialiser(event, types, name, stored)
            elif isinstance(event, ir.Return):
                comes_back = True
            elif isinstance(event, ir.Guard):
                calls.setdefault("guard", event.line)  # what takes a lock is looked at
    if flags & ir.MACRO:
        returns = macro_type(params, body) if flags & ir.EXPRESSION else ""
        params = declaring(params, body)
    outline = ir.Function(
        name, line, end_line, flags if comes_back else flags | ir.NORETURN, returns, params, condition, annotations,
        tuple(calls.items()),
        tuple((root, path, at) for (root, path), at in indirect.items()),
        tuple((callee, place, function, at) for (callee, place, function), at in handed.items()),
        tuple(sorted(members - {""})),
    )
    return outline, stored


def written(event: ir.Event) -> Iterator[ir.Expr]:
    """Yield what an event may give another value than a constant: its target, and what it hands over the address of."""
    if isinstance(event, ir.Call):
        if event.target is not None:
            yield event.target
        yield from (argument.base for argument in event.args if isinstance(argument, ir.AddressOf))
    elif isinstance(event, ir.Assign) and not _is_constant(event.value):
        yield event.target


def _is_constant(value: ir.Expr) -> bool:
    value = bare(value)
    return isinstance(value, ir.Number | ir.Unary) or (isinstance(value, ir.Name) and value.id.isupper())


def macro_type(params: tuple[ir.Param, ...], body: ir.Body) -> str:
    """Return the type of the value of a macro: C text, or `typeof(...)` in which `$0` is the first argument; "" if unknown."""
    values = [event.value for event in _events(body) if isinstance(event, ir.Return) and event.value is not None]
    value = values[0] if len(values) == 1 else None
    if isinstance(value, ir.Cast):
        ctype = value.ctype
    elif isinstance(value, ir.Name):
        ctype = next((local.ctype for local in body.locals if local.name == value.id), f"typeof({value.id})")
    elif isinstance(value, _TYPED):
        ctype = f"typeof({show(value)})"
    else:
        return ""
    return _placed(ctype, params)


def declaring(params: tuple[ir.Param, ...], body: ir.Body) -> tuple[ir.Param, ...]:
    """Return the parameters of a macro, with a type where the macro declares a variable of that name."""
    names = {param.name for param in params}
    types = {local.name: _placed(local.ctype, params) for local in body.locals if local.name in names}
    return tuple(ir.Param(param.name, types.get(param.name, "")) for param in params) if types else params


def _placed(ctype: str, params: tuple[ir.Param, ...]) -> str:
    """Write `$0`, `$1`, ... for the parameters of a macro in a type; "" for a type that is too long."""
    if len(ctype) > _LONGEST or "..." in ctype:
        return ""
    places = {param.name: f"${place}" for place, param in enumerate(params)}
    return _WORD.sub(lambda match: places.get(match[0], match[0]), ctype)


def _events(body: ir.Body) -> Iterator[ir.Event]:
    for block in body.blocks:
        yield from block.events


def _note_call(
    event: ir.Call, types: Mapping[str, str], calls: dict[str, int], indirect: dict[tuple[str, str], int],
    handed: dict[tuple[str, int, str], int],
) -> None:
    callee = event.callee
    if isinstance(callee, ir.Deref):
        callee = callee.base
    word = callee.id if isinstance(callee, ir.Name) else ""
    if word:
        calls.setdefault(word, event.line)
    elif place := root_path(callee, types):
        indirect.setdefault(place, event.line)
    for position, argument in enumerate(event.args):
        if isinstance(argument, _NAMING):
            name = _plain_name(argument)
            if _may_be_function(name, types):
                handed.setdefault((word, position, name), event.line)


def _note_initialiser(event: ir.Assign, types: Mapping[str, str], inside: str, stored: list[ir.Binding]) -> None:
    place = root_path(event.target, types)
    if place is None or not isinstance(event.value, ir.Initialiser):
        return
    root, path = (event.value.ctype, "") if event.value.ctype else place
    for position, (member, value) in enumerate(event.value.items):
        name = _plain_name(value)
        if _may_be_function(name, types):
            word = member or f"#{position}"
            stored.append(ir.Binding(root, f"{path}.{word}" if path else word, name, event.line, inside))
