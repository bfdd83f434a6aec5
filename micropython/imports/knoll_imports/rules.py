"""The rules: each is a generator of findings over a graph.

Which modules a rule looks at:

    always-active   active-import, active-local-import, presize, heavy-import
    system          system-import, heavy-import, import-cost      (not the always-active ones)
    all             import-cycle, unknown-module, syntax
    the lists       active-missing, active-unlisted, active-unkept, document-drift, small-module, listed-missing

One cause is one finding: a statement that breaks two rules is told once, by the more telling (`heavy-import` before
`system-import`); a module that pulls in a heavy namespace only because another module breaks a rule is counted in that
one's message and not told itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from .cost import Costs
from .document import listed
from .graph import Edge, Graph
from .settings import Patterns, Settings
from .source import slots_for


@dataclass
class Finding:
    """A rule that is broken, and where."""

    rule: str
    severity: str
    path: str
    line: int
    module: str
    # The imported module, or what else the finding is about; "" when it is the module itself.
    imports: str
    message: str
    # How the module leads to what is wrong: "file:line importer -> imported", import by import.
    chain: list[str] = field(default_factory=list)


def check(settings: Settings, graph: Graph, costs: Costs) -> list[Finding]:
    """Every finding whose rule is not off, by file and line."""
    rules = _Rules(settings, graph, costs)
    found = [finding for rule in rules.all() for finding in rule if finding.severity != "off"]
    return sorted(found, key=position)


def position(finding: Finding) -> tuple[str, int, str, str]:
    """The order of a report."""
    return finding.path, finding.line, finding.rule, finding.imports


class _Rules:
    def __init__(self, settings: Settings, graph: Graph, costs: Costs) -> None:
        self.settings, self.graph, self.costs, self.modules = settings, graph, costs, graph.modules
        self.active = [name for name in settings.always_active if name in self.modules]
        # The entry runs for ever, but is nobody's import.
        self.system = [
            name
            for name in self.modules
            if name in settings.system and name not in settings.always_active and name != settings.entry
            and name not in settings.erased
        ]
        # Statements that heavy() has told: importer, line, imported module.
        self.told: set[tuple[str, int, str]] = set()
        # How the entry leads to each listed module, and to what those import.
        self.kept: dict[str, list[Edge]] = {}

    def all(self) -> Iterator[Iterable[Finding]]:
        yield from (self.syntax(), self.unknown(), self.active_missing(), self.entry(), self.active_imports())
        yield from (self.document(), self.listed_missing(), self.small(), self.presize())
        yield from (self.heavy(), self.system_imports(), self.most(), self.cycles())

    def finding(
        self, rule: str, module: str, line: int, imports: str, message: str, chain: Iterable[Edge] = ()
    ) -> Finding:
        known = self.modules.get(module)
        path = known.shown if known else str(self.settings.file)
        return Finding(rule, self.settings.of_rule(rule), path, line, module, imports, message, [self.shown(e) for e in chain])

    def shown(self, edge: Edge) -> str:
        return f"{self.modules[edge.importer].shown}:{edge.line}: {edge.importer} -> {edge.imported}"

    def listed(self, rule: str, name: str, imports: str, message: str) -> Finding:
        """A finding about a list of the settings."""
        return Finding(rule, self.settings.of_rule(rule), str(self.settings.file), self.line_of(imports or name), name, imports, message)

    def line_of(self, name: str) -> int:
        """Where the settings name a module."""
        for number, line in enumerate(self.settings.file.read_text(encoding="utf-8").splitlines(), 1):
            if f'"{name}"' in line or line.startswith(name):
                return number
        return 1

    # ---- files

    def syntax(self) -> Iterator[Finding]:
        for name, module in self.modules.items():
            if module.source.error is not None:
                line, message = module.source.error
                yield self.finding("syntax", name, line, "", message)

    def unknown(self) -> Iterator[Finding]:
        for name in self.modules:
            told = set()
            for edge in self.graph.edges(name):
                if edge.kind == "unknown" and not edge.statement.optional and (edge.line, edge.imported) not in told:
                    told.add((edge.line, edge.imported))
                    beyond = edge.statement.module is None
                    why = "leads out of the top-level package" if beyond else f"{edge.imported} is neither in the tree nor listed as a C module"
                    message = f"`{edge.statement}`: {why}"
                    yield self.finding("unknown-module", name, edge.line, edge.imported, message)

    # ---- always-active modules

    def active_missing(self) -> Iterator[Finding]:
        for name in self.settings.always_active:
            if name not in self.modules:
                yield self.listed("active-missing", name, "", f"{name} is listed as always-active, and there is no such module")

    def active_imports(self) -> Iterator[Finding]:
        for name in self.active:
            wrong = [e for e in self.graph.edges(name) if e.kind == "python" and e.imported not in self.settings.always_active]
            for edges in by_statement(wrong):
                for edge in most_telling(edges):
                    if edge.statement is None:
                        message = f"always-active {name} lies in {edge.imported}, which is loaded with it and not always-active"
                        yield self.finding("active-import", name, 1, edge.imported, message, [edge])
                    elif edge.statement.function is None:
                        message = f"always-active {name} imports {edge.imported}, neither C nor always-active{self.brings(name, edge)}"
                        yield self.finding("active-import", name, edge.line, edge.imported, message, [*self.kept.get(name, []), edge])
                    else:
                        message = (
                            f"always-active {name} imports {edge.imported} in {edge.statement.function}()"
                            f"{self.brings(name, edge)}"
                        )
                        yield self.finding("active-local-import", name, edge.line, edge.imported, message, [edge])

    def brings(self, importer: str, edge: Edge, name_heavy: bool = True) -> str:
        """What an import loads, in words."""
        new = self.graph.closure([edge.imported], self.costs.loaded_before(importer) | {importer})
        if not new:
            return ""
        source, ram = self.costs.sums(new)
        heavy = sorted(name for name in new if name in self.settings.heavy)
        words = f"; it loads {plural(len(new), 'module')}, {source} bytes of source, about {ram} of RAM"
        return words + (f", {heavy[0]} among them" if name_heavy and heavy and edge.imported not in heavy else "")

    def entry(self) -> Iterator[Finding]:
        entry = self.settings.entry
        if entry is None:
            return
        if entry not in self.modules:
            yield self.listed("listed-missing", entry, "", f"the entry {entry} is no module of the tree")
            return
        # Followed are listed modules alone, whose own imports active_imports() tells.
        kept: set[str] = set()
        waiting: list[tuple[str, list[Edge]]] = [(entry, [])]
        for name, path in waiting:
            for edge in self.graph.loads(name):
                if edge.imported in kept or (name == entry and edge.statement is not None and edge.statement.transient):
                    continue
                kept.add(edge.imported)
                if edge.imported in self.settings.always_active:
                    self.kept[edge.imported] = [*path, edge]
                    waiting.append((edge.imported, [*path, edge]))
                elif name == entry and edge.imported not in self.settings.erased:
                    message = f"{entry} keeps {edge.imported} loaded, which is not listed as always-active{self.brings(name, edge)}"
                    yield self.finding("active-unlisted", name, edge.line, edge.imported, message, [edge])
        loaded = self.graph.closure(kept)
        for name in self.active:
            if name not in loaded:
                yield self.listed("active-unkept", name, "", f"{name} is listed as always-active, and {entry} does not keep it loaded")

    def document(self) -> Iterator[Finding]:
        if self.settings.document is None:
            return
        heading, found = listed(self.settings.document, self.settings.heading)
        severity, path = self.settings.of_rule("document-drift"), str(self.settings.document)
        for name, line in found.items():
            if name not in self.settings.always_active:
                message = f"{name} is documented as always-active, and not listed in {self.settings.file}"
                yield Finding("document-drift", severity, path, line, name, "", message)
            if name not in self.modules:
                message = f"{name} is documented as always-active, and there is no such module"
                yield Finding("document-drift", severity, path, line, name, "", message)
        for name in self.settings.always_active:
            if name not in found:
                message = f"{name} is always-active by {self.settings.file}, and not under \"{self.settings.heading}\""
                yield Finding("document-drift", severity, path, heading, name, "", message)

    # ---- the lists

    def listed_missing(self) -> Iterator[Finding]:
        settings = self.settings
        names = [*settings.small.exact(), *settings.heavy.exact(), *settings.slots]
        names += [*settings.expected_loaded.exact(), *settings.essential.exact()]
        for name in dict.fromkeys(names):
            if self.graph.kind(name) == "unknown":
                yield self.listed("listed-missing", name, "", f"{name} is named in the settings, and there is no such module")

    def small(self) -> Iterator[Finding]:
        for name in self.modules:
            if name not in self.settings.small:
                continue
            source = self.modules[name].source
            if source.bytes > self.settings.small_bytes:
                message = f"{name} is listed as small and has {source.bytes} bytes, more than {self.settings.small_bytes}"
                yield self.finding("small-module", name, 1, "", message)
            for edge in self.graph.loads(name):
                if not edge.implied and edge.imported not in self.settings.always_active:
                    message = f"{name} is listed as small and imports {edge.imported}{self.brings(name, edge)}"
                    yield self.finding("small-module", name, edge.line, edge.imported, message, [edge])

    def presize(self) -> Iterator[Finding]:
        """Names that the module binds, and submodules that anybody imports, against the slots that it is given."""
        slots = {name: (name, 1, count) for name, count in self.settings.slots.items()}
        for name, module in self.modules.items():
            for line, argument, count in module.source.presized:
                if argument in self.modules:
                    slots[argument] = (name, line, count)
        imported = {edge.imported for name in self.modules for edge in self.graph.edges(name) if edge.statement is not None}
        for name, (place, line, count) in slots.items():
            if name not in self.modules:
                continue
            module = self.modules[name]
            inside = {other.rpartition(".")[2] for other in imported if other.rpartition(".")[0] == name}
            # `__name__`, `__file__`, and `__path__` of a package.
            most = len(module.source.bound | inside) + 2 + module.is_package
            if most > count:
                message = (
                    f"{name} is presized to {count} and can come to {most}: {plural(len(module.source.bound), 'name')} "
                    f"that it binds, {plural(len(inside - module.source.bound), 'submodule')}; then its dict moves to {slots_for(most)} slots"
                )
                yield self.finding("presize", place, line, name, message)

    # ---- system modules

    def allowed(self, importer: str) -> Patterns:
        """What a system module may import at top level beside C and always-active modules."""
        settings = self.settings
        patterns = settings.expected_loaded.of(importer) + settings.essential.of(importer) + settings.small.patterns
        return Patterns(patterns)

    def system_imports(self) -> Iterator[Finding]:
        for name in self.system:
            allowed, own = self.allowed(name), set(self.graph.ancestors(name)) | {name}
            before = self.costs.loaded_before(name)
            wrong = [
                edge
                for edge in self.graph.loads(name)
                # A package comes with what is named in it, and is judged with it.
                if not edge.implied and edge.imported not in before and edge.imported not in own and edge.imported not in allowed
            ]
            for edges in by_statement(wrong):
                for edge in most_telling(edges):
                    if (name, edge.line, edge.imported) in self.told:
                        continue
                    message = f"{name} imports {edge.imported} at top level{self.brings(name, edge)}"
                    yield self.finding("system-import", name, edge.line, edge.imported, message, [edge])

    def heavy(self) -> Iterator[Finding]:
        """Chains to heavy modules; each is told where it can be cut."""
        settings = self.settings
        checked = {name: self.costs.loaded_before(name) | {name} for name in self.system if name not in settings.heavy}
        # By importer, line and heavy module: the chain; and the modules that are drawn in by the same statement.
        chains: dict[tuple[str, int, str], list[Edge]] = {}
        others: dict[tuple[str, int, str], set[str]] = {}
        for name, before in checked.items():
            allowed = self.may_draw(name)
            for edge in self.graph.loads(name):
                if edge.statement is None or edge.imported in before:
                    continue
                further = self.graph.chain(edge.imported, lambda m: m in settings.heavy and m not in allowed, before)
                if further is None:
                    continue
                chain = [edge, *further]
                heavy = chain[-1].imported
                # The last statement on the way that its own module may not make.
                cause = next(at for at in reversed(range(len(chain))) if at == 0 or self.is_cause(chain[at:], checked))
                key = (chain[cause].importer, chain[cause].line, heavy)
                if cause == 0:
                    chains.setdefault(key, chain)
                else:
                    others.setdefault(key, set()).add(name)
        for (name, line, heavy), chain in most_telling_chains(chains):
            self.told |= {(name, line, edge.imported) for edge in chain[:1]}
            also = len(others.get((name, line, heavy), ()))
            how = "imports" if len(chain) == 1 else f"imports {chain[0].imported} and thereby pulls in"
            message = f"{name} {how} {heavy} when it is imported{self.brings(name, chain[0], False)}"
            message += f"; {plural(also, 'other module')} with it" if also else ""
            yield self.finding("heavy-import", name, line, heavy, message, chain)

    def may_draw(self, name: str) -> Patterns:
        return Patterns(self.settings.expected_loaded.of(name) + self.settings.essential.of(name))

    def is_cause(self, chain: list[Edge], checked: dict[str, set[str]]) -> bool:
        """Whether the first import of a chain to a heavy module is a finding of its own module."""
        name, heavy = chain[0].importer, chain[-1].imported
        if chain[0].statement is None or name not in checked or heavy in self.may_draw(name):
            return False
        return not any(edge.imported in checked[name] for edge in chain)

    def most(self) -> Iterator[Finding]:
        if self.settings.most is None:
            return
        for name in self.system:
            for cost in self.costs.of(name):
                if cost.ram > self.settings.most:
                    message = (
                        f"`{cost.statement}` loads {plural(len(cost.loads), 'module')}, about {cost.ram} bytes of RAM, "
                        f"more than {self.settings.most}"
                    )
                    yield self.finding("import-cost", name, cost.line, cost.loads[0] if len(cost.loads) == 1 else cost.statement, message)

    def cycles(self) -> Iterator[Finding]:
        for cycle in self.graph.cycles():
            names = [edge.importer for edge in cycle] + [cycle[0].importer]
            message = "a cycle: " + " -> ".join(names)
            yield self.finding("import-cycle", cycle[0].importer, cycle[0].line, cycle[0].imported, message, cycle)


def by_statement(edges: Iterable[Edge]) -> Iterable[list[Edge]]:
    """The edges of each statement, in order."""
    groups: dict[object, list[Edge]] = {}
    for edge in edges:
        key = (edge.line, edge.statement.module) if edge.statement is not None else edge.imported
        groups.setdefault(key, []).append(edge)
    return groups.values()


def most_telling(edges: list[Edge]) -> list[Edge]:
    """What a statement names; the packages on the way to it only where it names nothing wrong itself."""
    named = [edge for edge in edges if not edge.implied] or edges[-1:]
    return list({edge.imported: edge for edge in named}.values())


def most_telling_chains(chains: dict[tuple[str, int, str], list[Edge]]) -> Iterator[tuple[tuple[str, int, str], list[Edge]]]:
    """Of each statement's chains those to heavy modules that it names; else one of those that it only leads to."""
    groups: dict[tuple[str, int], list[tuple[tuple[str, int, str], list[Edge]]]] = {}
    for key, chain in chains.items():
        groups.setdefault(key[:2], []).append((key, chain))
    for rows in groups.values():
        named = [row for row in rows if len(row[1]) == 1 and not row[1][0].implied]
        yield from named or rows[:1]


def plural(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"
