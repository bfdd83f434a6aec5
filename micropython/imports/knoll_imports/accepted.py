"""Findings that somebody accepted, with the reason: in the settings, or in a baseline file.

```toml
[[accept]]
rule = "system-import"          # one rule
module = "apps.common.confirm"  # patterns, as elsewhere; "*" when left out
imports = "trezor.ui.*"
reason = "it draws, whatever it is called for"
```

A baseline is written by `--write-baseline FILE` from what is found now, so that a tree with old findings can be checked
for new ones at once. What is accepted and no longer found is told (`accept-unused`), so that lists shrink.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from .rules import Finding, position
from .settings import Accepted, Settings, UsageError, matches


def sort_out(settings: Settings, findings: Iterable[Finding]) -> tuple[list[Finding], list[tuple[Finding, Accepted]]]:
    """The findings that stay, those for unused entries among them, and the accepted ones with their entries."""
    kept, accepted = [], []
    for finding in findings:
        for entry in settings.accepted:
            if entry.rule == finding.rule and matches(entry.module, finding.module) and matches(entry.imports, finding.imports):
                entry.used = True
                accepted.append((finding, entry))
                break
        else:
            kept.append(finding)
    if settings.of_rule("accept-unused") != "off":
        for entry in settings.accepted:
            if not entry.used and settings.of_rule(entry.rule) != "off":
                what = f"{entry.rule} of {entry.module} for {entry.imports} is accepted ({entry.reason}) and not found"
                severity = settings.of_rule("accept-unused")
                kept.append(Finding("accept-unused", severity, str(settings.file), 1, entry.module, entry.imports, what))
    return sorted(kept, key=position), accepted


def write_baseline(file: Path, findings: Iterable[Finding], reason: str) -> int:
    """Writes every finding that is there to be accepted; returns how many entries it wrote."""
    rows = {(f.rule, f.module, f.imports) for f in findings if f.rule != "accept-unused"}
    text = ["# Findings that were there before. Each needs a reason of its own, or an end."]
    for rule, module, imports in sorted(rows):
        quoted = (json.dumps(value, ensure_ascii=False) for value in (rule, module, imports, reason))
        text += ["", "[[accept]]"] + [f"{key} = {value}" for key, value in zip(("rule", "module", "imports", "reason"), quoted)]
    try:
        file.write_text("\n".join(text) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    return len(rows)
