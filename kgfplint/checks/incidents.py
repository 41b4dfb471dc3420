"""Findings about what happened on a path: anchored at the call, or at the line of a condition or scope exit."""

from collections.abc import Sequence

from kgfplint.checks import Rule
from kgfplint.checks.unit import Unit
from kgfplint.facts import ir
from kgfplint.findings import Finding, Severity, Step
from kgfplint.ownership.states import Incident


def finding_of(
    unit: Unit, rule: Rule, incident: Incident, message: str, trace: Sequence[Step] = (), severity: Severity | None = None,
) -> Finding:
    """Return a finding of `rule` about an incident."""
    if isinstance(incident.event, ir.Call):
        return unit.finding(rule, incident.event, message, trace, severity)
    by = f"{incident.free.free.name}({incident.lvalue})" if incident.free is not None else incident.lvalue
    return unit.finding_at(rule, incident.line, by, message, trace, severity)
