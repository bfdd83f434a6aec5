"""What a top-level import costs: the modules that it loads, and their bytes.

Counted are modules of the tree that are not loaded already when the importer is imported: not the always-active ones, not
the importer's packages, not what it expects loaded, and what these load themselves. RAM is a measured cost where
there is one, else the estimate of source.py.

A file of measured costs is JSON: an object of module names and bytes, or of module names and objects with `bytes`; or a
list of objects with `name` and `bytes`. Each is the cost of one module without those that it loads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .graph import Graph
from .settings import UsageError, matches


@dataclass
class Cost:
    """What one statement loads when its module is imported."""

    module: str
    path: str
    line: int
    statement: str
    # Modules in the order of their names.
    loads: list[str]
    source: int
    ram: int
    # How many of `loads` are measured.
    measured: int


class Costs:
    """The costs of a graph's modules."""

    def __init__(self, graph: Graph, measured: dict[str, int] | None = None) -> None:
        self.graph, self.measured = graph, measured or {}
        self.active = set(graph.settings.always_active) & set(graph.modules)
        self.active |= graph.closure(self.active)

    def loaded_before(self, module: str) -> set[str]:
        """What is loaded when a module is imported: always-active ones, its packages, what it expects."""
        graph, settings = self.graph, self.graph.settings
        expected = settings.expected_loaded.of(module)
        names = {name for name in graph.modules if any(matches(pattern, name) for pattern in expected)}
        names |= set(graph.ancestors(module)) & set(graph.modules)
        # An always-active module is judged as if it came first.
        before = set() if module in settings.always_active else self.active
        return before | names | graph.closure(names, before)

    def ram(self, module: str) -> int:
        """The bytes of a module's own."""
        return self.measured.get(module, self.graph.modules[module].source.ram)

    def sums(self, modules: set[str]) -> tuple[int, int]:
        """Bytes of source and of RAM."""
        return sum(self.graph.modules[m].source.bytes for m in modules), sum(self.ram(m) for m in modules)

    def of(self, module: str) -> list[Cost]:
        """The cost of each top-level import statement of a module, in the order of the source; C modules left out."""
        loaded = self.loaded_before(module) | {module}
        lines: dict[int, list[Any]] = {}
        for edge in self.graph.loads(module):
            if edge.statement is not None and edge.imported != module:
                lines.setdefault(edge.line, []).append(edge)
        costs = []
        for line, edges in lines.items():
            new = self.graph.closure([edge.imported for edge in edges], loaded)
            names = dict.fromkeys(edge.statement.name for edge in edges)
            first = edges[0].statement
            many = f"from {first.module} import {', '.join(str(name) for name in names)}"
            source, ram = self.sums(new)
            path = self.graph.modules[module].shown
            measured = sum(name in self.measured for name in new)
            text = str(first) if len(names) == 1 else many
            costs.append(Cost(module, path, line, text, sorted(new), source, ram, measured))
        return costs


def read_measured(file: Path) -> dict[str, int]:
    """A file of measured costs; `UsageError` when it is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from error
    rows = content.items() if isinstance(content, dict) else [(row.get("name"), row) for row in _objects(file, content)]
    measured = {}
    for name, value in rows:
        if isinstance(value, dict):
            value = value.get("bytes")
        if not isinstance(name, str) or not isinstance(value, int):
            raise UsageError(f"{file}: {name!r} has no number of bytes")
        measured[name] = value
    return measured


def _objects(file: Path, content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise UsageError(f"{file}: neither an object nor a list of objects")
    return content
