"""What an import loads.

- `import a.b.c` loads `a`, `a.b` and `a.b.c`; `from a import b` loads `a.b` too iff that is a module and `a` binds no `b` of
  its own. Loading a module loads its packages first.
- Of these, C modules cost no RAM and lead nowhere; only modules of the tree are followed.
- A chain is a shortest one: the edges by which one module leads to another at import time.

Cost: each file is parsed once, when it is first looked at; a closure visits each module at most once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from .settings import Settings
from .source import Import
from .tree import Module


@dataclass(frozen=True)
class Edge:
    """That a module loads another."""

    importer: str
    imported: str
    line: int
    # `python`, `c`, or `unknown`.
    kind: str
    # The imported module is a package of what is named.
    implied: bool
    # The statement; None for the package that a module lies in.
    statement: Import | None

    @property
    def at_import(self) -> bool:
        """Whether it happens when the importer is imported."""
        return self.statement is None or self.statement.function is None


class Graph:
    """The modules of a tree and what they load."""

    def __init__(self, settings: Settings, modules: dict[str, Module]) -> None:
        self.settings, self.modules = settings, modules
        self.edges = cache(self._edges)
        self.attributes = cache(self._attributes)

    def ancestors(self, name: str) -> list[str]:
        """The packages that a module lies in, outermost first."""
        parts = name.split(".")
        return [".".join(parts[:count]) for count in range(1, len(parts))]

    def kind(self, name: str) -> str:
        """`python`, `c` or `unknown`."""
        if name in self.modules:
            return "python"
        return "c" if name in self.settings.c else "unknown"

    def _edges(self, importer: str) -> tuple[Edge, ...]:
        edges = [Edge(importer, name, 1, "python", True, None) for name in self.ancestors(importer)]
        for statement in self.modules[importer].source.imports:
            edges += self._loaded(importer, statement)
        return tuple(edges)

    def _loaded(self, importer: str, statement: Import) -> Iterator[Edge]:
        module = statement.module
        if module is None:
            yield Edge(importer, "(beyond the top-level package)", statement.line, "unknown", False, statement)
            return
        submodules = list(self._submodules(module, statement.name))
        for name in self.ancestors(module):
            yield Edge(importer, name, statement.line, self.kind(name), True, statement)
            if self.kind(name) == "unknown":
                return
        yield Edge(importer, module, statement.line, self.kind(module), bool(submodules), statement)
        for name in submodules:
            yield Edge(importer, name, statement.line, self.kind(name), False, statement)

    def _submodules(self, package: str, name: str | None) -> Iterator[str]:
        """The modules that `from package import name` loads beside the package."""
        if name is None or package not in self.modules:
            return
        names = [name] if name != "*" else self.modules[package].source.exported or []
        for name in names:
            if f"{package}.{name}" in self.modules and name not in self.attributes(package):
                yield f"{package}.{name}"

    def _attributes(self, module: str) -> frozenset[str]:
        """The names that a module binds, by `*` too, that are no submodules."""
        found, waiting, seen = set(), [module], set()
        while waiting:
            name = waiting.pop()
            if name in self.modules and name not in seen:
                seen.add(name)
                found |= self.modules[name].source.attributes
                waiting += self.modules[name].source.stars
        return frozenset(found)

    # ---- at import time

    def loads(self, module: str) -> Iterator[Edge]:
        """The edges to modules of the tree that are followed when a module is imported."""
        return (edge for edge in self.edges(module) if edge.at_import and edge.kind == "python")

    def closure(self, names: Iterable[str], loaded: Iterable[str] = ()) -> set[str]:
        """All modules of the tree that are loaded by importing `names`, with these, when `loaded` are already."""
        found = set(loaded)
        before = set(found)
        waiting = [name for name in names if name in self.modules]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += [edge.imported for edge in self.loads(name)]
        return found - before

    def chain(self, start: str, wanted: Callable[[str], bool], loaded: Iterable[str] = ()) -> list[Edge] | None:
        """The shortest chain from a module to one that is wanted; empty when it is itself; None: it leads to none."""
        seen = set(loaded) - {start}
        waiting: deque[tuple[str, tuple[Edge, ...]]] = deque([(start, ())])
        while waiting:
            name, path = waiting.popleft()
            if name in seen:
                continue
            seen.add(name)
            if wanted(name):
                return list(path)
            waiting.extend((edge.imported, (*path, edge)) for edge in self.loads(name))
        return None

    # ---- cycles

    def cycles(self) -> list[list[Edge]]:
        """For each set of modules that load each other, a shortest cycle through its first module; sorted."""
        cycles = []
        for component in self._components():
            first = min(component)
            found = [
                [edge, *back]
                for edge in self._explicit(first, component)
                if (back := self._back(edge.imported, first, component)) is not None
            ]
            cycles.append(min(found, key=len))
        return cycles

    def _explicit(self, module: str, within: set[str] | dict[str, Module]) -> list[Edge]:
        edges = (edge for edge in self.loads(module) if not edge.implied)
        return [edge for edge in edges if edge.imported in within and edge.imported != module]

    def _back(self, start: str, end: str, component: set[str]) -> list[Edge] | None:
        seen: set[str] = set()
        waiting: deque[tuple[str, tuple[Edge, ...]]] = deque([(start, ())])
        while waiting:
            name, path = waiting.popleft()
            if name == end:
                return list(path)
            if name not in seen:
                seen.add(name)
                waiting.extend((edge.imported, (*path, edge)) for edge in self._explicit(name, component))
        return None

    def _components(self) -> list[set[str]]:
        """Strongly connected components of more than one module (Tarjan 1972, without recursion), by first name."""
        index: dict[str, int] = {}
        low: dict[str, int] = {}
        stack: list[str] = []
        on_stack: set[str] = set()
        found = []
        for root in self.modules:
            if root in index:
                continue
            work = [(root, iter(self._explicit(root, self.modules)))]
            index[root] = low[root] = len(index)
            stack.append(root)
            on_stack.add(root)
            while work:
                name, edges = work[-1]
                for edge in edges:
                    other = edge.imported
                    if other not in index:
                        index[other] = low[other] = len(index)
                        stack.append(other)
                        on_stack.add(other)
                        work.append((other, iter(self._explicit(other, self.modules))))
                        break
                    if other in on_stack:
                        low[name] = min(low[name], index[other])
                else:
                    work.pop()
                    if work:
                        low[work[-1][0]] = min(low[work[-1][0]], low[name])
                    if low[name] == index[name]:
                        component = set()
                        while True:
                            member = stack.pop()
                            on_stack.discard(member)
                            component.add(member)
                            if member == name:
                                break
                        if len(component) > 1:
                            found.append(component)
        return sorted(found, key=min)
