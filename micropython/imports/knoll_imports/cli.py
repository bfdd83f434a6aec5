"""`knoll-imports SETTINGS.toml`: arguments and exit status.

Exit status: 0 nothing found (warnings do not count, unless `--strict`), 1 findings, 2 usage: the arguments or the settings
make no sense, and standard error says which.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import __version__, report
from .accepted import sort_out, write_baseline
from .cost import Costs, measuring_script, read_measured
from .graph import Graph
from .rules import check, plural
from .settings import RULES, UsageError, load
from .tree import read_tree


def main(arguments: list[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.list_rules:
        for rule, (severity, what) in RULES.items():
            print(f"{rule:20} {severity:8} {what}")
        return 0
    if chosen.settings is None:
        parser.print_usage(sys.stderr)
        print("knoll-imports: which settings?", file=sys.stderr)
        return 2
    try:
        return _run(chosen)
    except UsageError as error:
        print(f"knoll-imports: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # Who reads has read enough. The interpreter would try to write the remainder once more.
        sys.stdout = None
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="knoll-imports", description="Checks which modules of a MicroPython firmware import which, and when."
    )
    parser.add_argument("settings", nargs="?", type=Path, help="the TOML file that says what the modules are")
    parser.add_argument("--json", action="store_true", help="the findings, and with --cost the costs, as JSON")
    parser.add_argument("--strict", action="store_true", help="warnings count as findings, too")
    parser.add_argument("--only", action="append", metavar="RULE", help="only this rule's findings; may be repeated")
    parser.add_argument(
        "--cost", nargs="?", const="", metavar="MEASURED.json",
        help="also what each top-level import of the system and always-active modules costs; with measured costs of knoll.import_cost",
    )
    parser.add_argument("--measure", action="store_true", help="only print a script for the device, whose output is MEASURED.json")
    parser.add_argument("--why", nargs=2, metavar=("MODULE", "IMPORTED"), help="only tell by which imports one module loads another")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="accept the findings of this file as well")
    parser.add_argument("--write-baseline", type=Path, metavar="FILE", help="write what is found now, to be accepted")
    parser.add_argument("--reason", default="found when the check was introduced", help="the reason that --write-baseline gives")
    parser.add_argument("--list-rules", action="store_true", help="name the rules and their severities")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser


def _run(chosen: argparse.Namespace) -> int:
    settings = load(chosen.settings, chosen.baseline)
    for rule in chosen.only or []:
        if rule not in RULES:
            raise UsageError(f"no rule {rule}; --list-rules names them")
    modules = read_tree(settings)
    if not modules:
        raise UsageError(f"{settings.file}: no Python module under {', '.join(map(str, settings.roots))}")
    graph = Graph(settings, modules)
    judged = [name for name in modules if name in settings.system or name in settings.always_active]
    if chosen.measure:
        print(measuring_script(graph, judged), end="")
        return 0
    costs = Costs(graph, read_measured(Path(chosen.cost)) if chosen.cost else None)
    if chosen.why:
        return _why(graph, *chosen.why)

    findings, accepted = sort_out(settings, check(settings, graph, costs))
    if chosen.only:
        findings = [finding for finding in findings if finding.rule in chosen.only]
    if chosen.write_baseline is not None:
        count = write_baseline(chosen.write_baseline, findings, chosen.reason)
        print(f"{chosen.write_baseline}: {plural(count, 'accepted finding')}")
        return 0
    shown = None
    if chosen.cost is not None:
        shown = [cost for name in judged for cost in costs.of(name)]
    if chosen.json:
        print(report.as_json(findings, accepted, len(modules), shown))
    else:
        if shown is not None:
            print(report.cost_table(shown) + "\n")
        print(report.text(findings, accepted, len(modules)))
    counted = [finding for finding in findings if chosen.strict or finding.severity == "error"]
    return 1 if counted else 0


def _why(graph: Graph, module: str, imported: str) -> int:
    for name in (module, imported):
        if name not in graph.modules:
            raise UsageError(f"{name} is no module of the tree")
    chain = graph.chain(module, lambda name: name == imported)
    if chain is None:
        print(f"{module} does not load {imported} when it is imported")
        return 1
    for edge in chain:
        print(f"{graph.modules[edge.importer].shown}:{edge.line}: {edge.importer} -> {edge.imported}")
    return 0
