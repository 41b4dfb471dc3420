"""The registry of rules: every module of this package that has a RULE is one.

A rule is one module named like the rule, `open_coded_array.py` for `open-coded-array`, with
`RULE = Rule(...)` and `check(unit)`, a generator of findings for one function with its analyses.
No list is kept by hand.
"""

import functools
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol, cast

import msgspec

from kgfplint.findings import Finding, Severity


class Rule(msgspec.Struct, frozen=True):
    """What is said of a rule: its code and name, default severity, section of the guide, and one sentence."""

    code: str
    name: str
    severity: Severity
    guide: str
    summary: str


class CheckModule(Protocol):
    """A module of this package that holds a rule.

    One that has a `reached(chain)`, too, is asked about what is reached through calls in an atomic context, one with a
    `recursed(chain)` about what lets reclaim into code that reclaim waits for; one that leaves
    findings in doubt (see Unit) has a `settled(finding, hops, program)`. A `prepare(meaning)` computes what all
    functions of a program share, before processes are forked: each would copy the pages that it goes through.
    """

    RULE: Rule
    check: Callable[[Any], Iterator[Finding]]


class UnknownRule(Exception):
    """No rule has this code or name; str is one line."""


@functools.cache
def all_checks() -> dict[str, CheckModule]:
    """Return the rules' modules by code, in the order of codes; TypeError for a rule that is not well described."""
    found: dict[str, CheckModule] = {}
    for info in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = importlib.import_module(info.name)
        if hasattr(module, "RULE") or hasattr(module, "check"):
            check = _validated(module, info.name.rpartition(".")[2])
            if found.setdefault(check.RULE.code, check) is not check:
                raise TypeError(f"{info.name}: {check.RULE.code} is taken")
    return dict(sorted(found.items()))


def _validated(module: object, name: str) -> CheckModule:
    rule = getattr(module, "RULE", None)
    if not isinstance(rule, Rule):
        raise TypeError(f"{name}: RULE is not a Rule")
    if not callable(getattr(module, "check", None)):
        raise TypeError(f"{name}: there is no check()")
    if not re.fullmatch(r"KGF[0-9]{3}", rule.code):
        raise TypeError(f"{name}: {rule.code!r} is not a rule code")
    if rule.name != name.replace("_", "-"):
        raise TypeError(f"{name}: the rule is named {rule.name!r}, not like its module")
    if not rule.guide or not rule.summary:
        raise TypeError(f"{name}: the guide's section and a summary are needed")
    return cast(CheckModule, module)


def find(word: str) -> CheckModule:
    """Return the rule with this code or name; UnknownRule when there is none."""
    for check in all_checks().values():
        if word.upper() == check.RULE.code or word.lower() == check.RULE.name:
            return check
    raise UnknownRule(f"unknown rule {word!r}")


def select(wanted: Iterable[str], ignored: Iterable[str]) -> list[CheckModule]:
    """Return the rules to run, by code, name or the beginning of a code (`KGF4`); all when none is wanted.

    Raises UnknownRule for a word that fits no rule.
    """
    dropped = {code for word in ignored for code in _codes(word)}
    kept = {code for word in wanted for code in _codes(word)} or all_checks().keys()
    return [check for code, check in all_checks().items() if code in kept and code not in dropped]


def _codes(word: str) -> list[str]:
    if re.fullmatch(r"KGF[0-9]{1,2}", word.upper()):
        codes = [code for code in all_checks() if code.startswith(word.upper())]
        if codes:
            return codes
    return [find(word).RULE.code]
