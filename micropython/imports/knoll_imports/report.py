"""Findings and costs as text and as JSON.

The JSON has a number of its own, `version`; a field is never renamed or removed without a new one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict

from .cost import Cost
from .rules import Finding, plural
from .settings import Accepted

VERSION = 1


def text(findings: list[Finding], accepted: list[tuple[Finding, Accepted]], checked: int) -> str:
    """The findings as a compiler tells them, and a summary."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.path}:{finding.line}: {finding.severity}: {finding.message} [{finding.rule}]")
        if len(finding.chain) > 1:
            lines += [f"    {step}" for step in finding.chain]
    if findings:
        lines.append("")
        for (severity, rule), count in sorted(Counter((f.severity, f.rule) for f in findings).items()):
            lines.append(f"{count:5} {rule} ({severity})")
    lines.append(summary(findings, accepted, checked))
    return "\n".join(lines)


def summary(findings: list[Finding], accepted: list[tuple[Finding, Accepted]], checked: int) -> str:
    errors = sum(finding.severity == "error" for finding in findings)
    words = f"{plural(checked, 'module')}: {plural(errors, 'error')}, {plural(len(findings) - errors, 'warning')}"
    return words + (f", {len(accepted)} accepted" if accepted else "")


def as_json(
    findings: list[Finding], accepted: list[tuple[Finding, Accepted]], checked: int, costs: Iterable[Cost] | None
) -> str:
    """One object: `findings`, `accepted` with their reasons, and `costs` where they were asked for."""
    content = {
        "version": VERSION,
        "modules": checked,
        "errors": sum(finding.severity == "error" for finding in findings),
        "warnings": sum(finding.severity == "warning" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
        "accepted": [asdict(finding) | {"reason": entry.reason} for finding, entry in accepted],
    }
    if costs is not None:
        content["costs"] = [asdict(cost) for cost in costs]
    return json.dumps(content, indent=2)


def cost_table(costs: Iterable[Cost], shortest: int = 1) -> str:
    """A line for each import that loads something, dearest first."""
    rows = [cost for cost in costs if len(cost.loads) >= shortest]
    rows.sort(key=lambda cost: (-cost.ram, cost.path, cost.line))
    lines = [f"{'RAM':>9} {'source':>9} {'modules':>8}  import"]
    for cost in rows:
        mark = "" if cost.measured == len(cost.loads) else "~"
        lines.append(f"{mark + str(cost.ram):>9} {cost.source:>9} {len(cost.loads):>8}  {cost.path}:{cost.line}: {cost.statement}")
    lines.append("bytes; ~: estimated, at least in part. What is always active or expected loaded is not counted.")
    return "\n".join(lines)
