"""Every check, in the order in which one would mend things. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from bascule.doctor.capabilities import check_capabilities, check_interfaces
from bascule.doctor.facts import Choice, Facts
from bascule.doctor.findings import Finding, Level
from bascule.doctor.firewall import check_firewall
from bascule.doctor.paths import check_paths
from bascule.doctor.sysctls import check_sysctls


def diagnose(facts: Facts, choice: Choice) -> tuple[Finding, ...]:
    """All findings."""
    checks = (check_capabilities, check_interfaces, check_sysctls, check_paths, check_firewall)
    return tuple(finding for check in checks for finding in check(facts, choice))


def problems(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that keep packets from flowing."""
    return tuple(finding for finding in findings if finding.level is Level.PROBLEM)
