"""The list of always-active modules in the documentation.

Read are the items of the lists under one heading of a Markdown file: the first `code` of an item is a module's name.
"""

from __future__ import annotations

import re
from pathlib import Path

from .settings import UsageError

ITEM = re.compile(r"^\s*(?:[*+-]|\d+[.)])\s+`([A-Za-z_][\w.]*)`")
HEADING = re.compile(r"^#+\s+(.*?)\s*#*\s*$")


def listed(file: Path, heading: str) -> tuple[int, dict[str, int]]:
    """The heading's line, and module names with theirs; `UsageError` when there is no such heading."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    found: dict[str, int] = {}
    inside, at = False, 0
    for number, line in enumerate(lines, 1):
        if title := HEADING.match(line):
            inside = title[1].lower() == heading.lower()
            at = number if inside and not at else at
        elif inside and (item := ITEM.match(line)):
            found.setdefault(item[1], number)
    if not at:
        raise UsageError(f"{file}: there is no heading {heading!r}")
    return at, found
