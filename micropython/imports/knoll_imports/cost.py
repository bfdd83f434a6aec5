"""What a top-level import costs: the modules that it loads, and their bytes.

Counted are modules of the tree that are not loaded already when the importer is imported: not the always-active ones, not
the importer's packages, not what it expects loaded, and what these load themselves. RAM is a measured cost where
there is one, else the estimate of source.py.

A file of measured costs is JSON: an object of module names and what `knoll.import_cost` answered for each, of which `bytes`
and `modules` count: the bytes of all modules that this import loaded. Where they are several, what is left of the bytes after
those that have a row of their own is shared among the others as the estimates are. `--measure` gives a script for the device that
imports what others need first, so that each module has a row of its own. A number instead of an answer is one module's bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .graph import Graph
from .settings import UsageError, matches


@dataclass
class Measured:
    """A row of a file of measured costs."""

    modules: list[str]
    bytes: int


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

    def __init__(self, graph: Graph, rows: list[Measured] | None = None) -> None:
        self.graph = graph
        self.measured: dict[str, int] = {}
        # Rows of one module first: they say what is left of the others.
        for row in sorted(rows or [], key=lambda row: len(row.modules)):
            self.measured |= self.shares(row)
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

    def shares(self, row: Measured) -> dict[str, int]:
        """What each module of a row costs that has no cost yet."""
        known = sum(self.measured.get(name, 0) for name in row.modules)
        new = [name for name in row.modules if name not in self.measured and name in self.graph.modules]
        estimates = [self.graph.modules[name].source.ram for name in new]
        left, whole = max(row.bytes - known, 0), sum(estimates)
        shares = {}
        for name, estimate in zip(new, estimates):
            shares[name] = left * estimate // whole if whole else 0
            left, whole = left - shares[name], whole - estimate
        return shares

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


def read_measured(file: Path) -> list[Measured]:
    """A file of measured costs; `UsageError` when it is none."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file}: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{file}: not an object of module names and costs")
    rows = []
    for name, answer in content.items():
        if not isinstance(answer, dict):
            answer = {"bytes": answer}
        size, modules = answer.get("bytes"), answer.get("modules", [name])
        if not isinstance(size, int) or not isinstance(modules, list) or not all(isinstance(m, str) for m in modules):
            raise UsageError(f"{file}: {name} has no number of bytes, or no list of modules")
        rows.append(Measured(modules, size))
    return rows


def measuring_script(graph: Graph, names: Iterable[str]) -> str:
    """A script for MicroPython with Knoll that imports modules, those that others need first, and prints what each cost."""
    ordered = dict.fromkeys(found for name in names for found in _needed_first(graph, name))
    lines = ["import json", "import knoll", "", "costs = {}", "for name in ("]
    lines += [f'    "{name}",' for name in ordered]
    lines += ["):", "    try:", "        costs[name] = knoll.import_cost(name)", "    except ImportError:", "        pass"]
    return "\n".join([*lines, "print(json.dumps(costs))"]) + "\n"


def _needed_first(graph: Graph, name: str) -> Iterator[str]:
    """A module and all that it loads, each behind those that it loads itself, as far as cycles let."""
    work, seen = [(name, iter(graph.loads(name)))], {name}
    while work:
        module, edges = work[-1]
        for edge in edges:
            if edge.imported not in seen:
                seen.add(edge.imported)
                work.append((edge.imported, iter(graph.loads(edge.imported))))
                break
        else:
            work.pop()
            if graph.modules[module].path is not None:
                yield module
