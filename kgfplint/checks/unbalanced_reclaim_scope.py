"""KGF204: a reclaim scope that is not ended as it was begun."""

from collections.abc import Iterator

from kgfplint.checks import Rule
from kgfplint.checks.unit import Unit, text_of
from kgfplint.facts import ir
from kgfplint.facts.terms import show
from kgfplint.findings import Finding, Severity
from kgfplint.gfp.policy import policy
from kgfplint.ownership.scopes import Misuse

RULE = Rule(
    code="KGF204",
    name="unbalanced-reclaim-scope",
    severity=Severity.ERROR,
    guide="Get Free Page flags",
    summary="Each memalloc_*_save() has its restore on every path, with the cookie that it returned.",
)


def check(unit: Unit) -> Iterator[Finding]:
    """Report scopes left open, ended by the wrong function, ended twice or never begun, and cookies that are lost."""
    if not unit.touches_scopes or unit.row.flags & ir.MACRO:
        return
    told: set[tuple[int, ir.Expr]] = set()
    for misuse in unit.scopes.misuses:
        if (id(misuse.event), misuse.lvalue) in told or (misuse.what == "dropped" and _is_thread(unit)):
            continue  # the scope is the whole life of the thread
        told.add((id(misuse.event), misuse.lvalue))
        message = _message(unit, misuse)
        trace = [unit.step(misuse.cookie.line, f"{misuse.cookie.by}() begins a scope")] if misuse.cookie.by else []
        line = misuse.cookie.line if isinstance(misuse.event, ir.Declare) else getattr(misuse.event, "line", 0)
        if misuse.cookie.line != line:
            trace.append(unit.step(line, _STEPS[misuse.what]))
        severity = None if misuse.sure else Severity.WARNING
        yield unit.finding_at(RULE, line, text_of(misuse.event), message, trace, severity)


_STEPS = {
    "open": "the function returns in it", "lost": "the cookie is overwritten", "dropped": "nobody keeps the cookie",
    "other": "a scope of another kind is ended", "twice": "it is ended again", "never": "a scope is ended",
}


def _is_thread(unit: Unit) -> bool:
    """Tell whether a function looks like the main function of a thread: int f(void *)."""
    return unit.row.returns == "int" and [param.ctype for param in unit.row.params] == ["void *"]


def _message(unit: Unit, misuse: Misuse) -> str:
    cookie, place = misuse.cookie, show(misuse.lvalue)
    begun = f"the cookie of {cookie.by}() at line {cookie.line}"
    some = "" if misuse.sure else " on some path"
    ends = _ends(unit, cookie.kind)
    match misuse.what:
        case "open":
            return f"the scope of {cookie.by}() at line {cookie.line} is still open here{some}: call {ends}({place}) before"
        case "lost":
            return f"{place} holds {begun} and is overwritten: call {ends}({place}) before"
        case "dropped":
            return f"the cookie of {cookie.by}() is not kept: the scope cannot be ended; keep it for {ends}()"
        case "other":
            return f"{place} holds {begun}, but a {misuse.kind} scope is ended with it: call {ends}({place})"
        case "twice":
            return f"the scope of {place} was ended at line {cookie.ended}{some}: the second end may end one of a caller"
    return f"{place} holds no cookie here{some}: no {_begins(unit, cookie.kind)}() comes before this end"


def _ends(unit: Unit, kind: str) -> str:
    return next(scope.end for scope in policy(unit.meaning.catalogue.version).scopes if scope.kind == kind)


def _begins(unit: Unit, kind: str) -> str:
    return next(scope.begin for scope in policy(unit.meaning.catalogue.version).scopes if scope.kind == kind)
