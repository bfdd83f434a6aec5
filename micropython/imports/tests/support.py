"""A firmware of a few lines, written to a temporary directory and checked."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import tempfile
import textwrap
import unittest
from pathlib import Path

from knoll_imports.accepted import sort_out
from knoll_imports.cli import main
from knoll_imports.cost import Costs
from knoll_imports.graph import Graph
from knoll_imports.rules import Finding, check
from knoll_imports.settings import load
from knoll_imports.tree import read_tree


class FirmwareTest(unittest.TestCase):
    """Gives each test a directory of its own."""

    maxDiff = None

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)

    def write(self, settings: str, files: dict[str, str]) -> Path:
        """Writes the files under `src`, where none is left of before, and the settings beside it."""
        shutil.rmtree(self.root / "src", ignore_errors=True)
        for name, text in files.items():
            path = self.root / ("src" if name.endswith(".py") else "") / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        file = self.root / "imports.toml"
        file.write_text('[tree]\nroots = ["src"]\n' + textwrap.dedent(settings), encoding="utf-8")
        return file

    def graph(self, settings: str, files: dict[str, str]) -> Graph:
        loaded = load(self.write(settings, files))
        return Graph(loaded, read_tree(loaded))

    def check(self, settings: str, files: dict[str, str]) -> list[Finding]:
        graph = self.graph(settings, files)
        return sort_out(graph.settings, check(graph.settings, graph, Costs(graph)))[0]

    def found(self, settings: str, files: dict[str, str]) -> list[str]:
        """`rule file:line module imported` of each finding, in the order of the report."""
        return [
            f"{f.rule} {Path(f.path).relative_to(self.root)}:{f.line} {f.module} {f.imports}".strip()
            for f in self.check(settings, files)
        ]

    def command(self, *arguments: object) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of the command."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                status = main([str(argument) for argument in arguments])
            except SystemExit as ended:  # argparse
                status = ended.code
        return status, out.getvalue(), err.getvalue()

    def json(self, *arguments: object) -> dict:
        return json.loads(self.command("--json", *arguments)[1])
