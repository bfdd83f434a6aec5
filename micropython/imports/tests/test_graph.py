"""What an import loads; closures, chains, cycles; costs."""

import contextlib
import io
import json
import sys
import unittest
from unittest import mock

from knoll_imports.cost import Costs, Measured, measuring_script, read_measured
from knoll_imports.settings import UsageError
from knoll_imports.tree import read_tree

from .support import FirmwareTest

PLAIN = '[modules]\nc = ["hw"]\n'


class Loads(FirmwareTest):
    def loads(self, text: str, files: dict[str, str], settings: str = PLAIN) -> list[str]:
        graph = self.graph(settings, {"m.py": text, **files})
        return [f"{e.imported}{'' if e.kind == 'python' else ' ' + e.kind}" for e in graph.edges("m")]

    def test_packages_come_with_their_modules(self) -> None:
        files = {"a/__init__.py": "", "a/b/__init__.py": "", "a/b/c.py": ""}
        self.assertEqual(self.loads("import a.b.c", files), ["a", "a.b", "a.b.c"])

    def test_from_import_of_a_module_and_of_a_name(self) -> None:
        files = {"a/__init__.py": "x = 1", "a/b.py": "y = 1"}
        self.assertEqual(self.loads("from a import b", files), ["a", "a.b"])
        self.assertEqual(self.loads("from a import x", files), ["a"])
        self.assertEqual(self.loads("from a.b import y", files), ["a", "a.b"])

    def test_a_name_of_the_package_hides_its_module(self) -> None:
        self.assertEqual(self.loads("from a import b", {"a/__init__.py": "import hw as b", "a/b.py": ""}), ["a"])
        self.assertEqual(self.loads("from a import b", {"a/__init__.py": "from a import b", "a/b.py": ""}), ["a", "a.b"])
        self.assertEqual(
            self.loads("from a import b", {"a/__init__.py": "from n import *", "n.py": "b = 1", "a/b.py": ""}), ["a"]
        )

    def test_star_loads_the_submodules_of_all(self) -> None:
        files = {"a/__init__.py": "__all__ = ['b', 'x']\nx = 1", "a/b.py": "", "a/c.py": ""}
        self.assertEqual(self.loads("from a import *", files), ["a", "a.b"])

    def test_a_namespace_without_init(self) -> None:
        self.assertEqual(self.loads("from a import b", {"a/b.py": ""}), ["a", "a.b"])

    def test_a_package_hides_a_file_of_its_name(self) -> None:
        graph = self.graph(PLAIN, {"a.py": "import x", "a/__init__.py": "import y", "x.py": "", "y.py": ""})
        self.assertEqual([e.imported for e in graph.edges("a")], ["y"])

    def test_c_and_unknown(self) -> None:
        self.assertEqual(
            self.loads("import hw\nfrom hw.sub import x\nimport gone.sub\nimport gc", {}),
            ["hw c", "hw c", "hw.sub c", "gone unknown", "gc c"],
        )

    def test_excluded_files_and_other_roots(self) -> None:
        file = self.write('exclude = ["tests/*"]\n', {"m.py": "", "tests/t.py": ""})
        (self.root / "lib").mkdir()
        (self.root / "lib/m.py").write_text("import second")
        (self.root / "lib/only.py").write_text("")
        file.write_text('[tree]\nroots = ["src", "lib"]\nexclude = ["tests/*"]\n')
        from knoll_imports.settings import load

        modules = read_tree(load(file))
        self.assertEqual(list(modules), ["m", "only"])
        self.assertEqual(modules["m"].source.imports, [])


class Closures(FirmwareTest):
    FILES = {
        "a.py": "import b\ndef f(): import far",
        "b.py": "import c\nimport hw",
        "c.py": "import a",
        "far.py": "",
    }

    def test_closure_leaves_functions_and_c_out(self) -> None:
        graph = self.graph(PLAIN, self.FILES)
        self.assertEqual(graph.closure(["a"]), {"a", "b", "c"})
        self.assertEqual(graph.closure(["a"], ["b"]), {"a"})

    def test_chain_is_a_shortest_one(self) -> None:
        graph = self.graph(PLAIN, {**self.FILES, "b.py": "import d\nimport c", "d.py": "import c"})
        chain = graph.chain("a", lambda name: name == "c")
        self.assertEqual([(e.importer, e.imported, e.line) for e in chain], [("a", "b", 1), ("b", "c", 2)])
        self.assertEqual(graph.chain("a", lambda name: name == "a"), [])
        self.assertIsNone(graph.chain("a", lambda name: name == "far"))

    def test_cycles_by_name_not_by_package(self) -> None:
        graph = self.graph(
            PLAIN,
            {
                **self.FILES,
                # The package comes before its module; that alone is no cycle.
                "p/__init__.py": "from . import m",
                "p/m.py": "import hw",
                "q/__init__.py": "from . import m\nx = 1",
                "q/m.py": "from q import x",
                "self.py": "import self",
            },
        )
        shown = [[edge.importer for edge in cycle] for cycle in graph.cycles()]
        self.assertEqual(shown, [["a", "b", "c"], ["q", "q.m"]])

    def test_a_long_chain_needs_no_deep_stack(self) -> None:
        files = {f"m{i}.py": f"import m{i + 1}" for i in range(3000)} | {"m3000.py": "import m0"}
        graph = self.graph(PLAIN, files)
        self.assertEqual(len(graph.closure(["m0"])), 3001)
        self.assertEqual(len(graph.cycles()[0]), 3001)


class CostTest(FirmwareTest):
    SETTINGS = """
        [modules]
        always_active = ["core"]
        [system.expected_loaded]
        "m" = ["ready"]
        """
    FILES = {
        "core.py": "import below",
        "below.py": "",
        "ready.py": "import behind",
        "behind.py": "",
        "m.py": "import core, below, ready, behind\nimport new\nfrom pack import one, two\nimport hw",
        "new.py": "import core, newer, ready",
        "newer.py": "x = 1",
        "pack/__init__.py": "",
        "pack/one.py": "",
        "pack/two.py": "",
    }

    def test_what_is_loaded_already_costs_nothing(self) -> None:
        graph = self.graph(self.SETTINGS, self.FILES)
        costs = {cost.statement: cost.loads for cost in Costs(graph).of("m")}
        self.assertEqual(costs["import new"], ["new", "newer"])
        self.assertEqual(costs["from pack import one, two"], ["pack", "pack.one", "pack.two"])
        self.assertEqual([loads for text, loads in costs.items() if "core" in text], [[]])

    def test_sums_and_measured_costs(self) -> None:
        graph = self.graph(self.SETTINGS, self.FILES)
        cost = next(c for c in Costs(graph).of("m") if c.statement == "import new")
        self.assertEqual(cost.source, len("import core, newer, ready") + len("x = 1"))
        self.assertEqual(cost.measured, 0)
        modules = graph.modules
        self.assertEqual(cost.ram, modules["new"].source.ram + modules["newer"].source.ram)
        cost = next(c for c in Costs(graph, [Measured(["new"], 1000), Measured(["newer"], 10)]).of("m") if c.statement == "import new")
        self.assertEqual((cost.ram, cost.measured), (1010, 2))

    def test_an_always_active_module_pays_for_all(self) -> None:
        graph = self.graph(self.SETTINGS, self.FILES)
        self.assertEqual(Costs(graph).of("core")[0].loads, ["below"])

    def test_several_modules_of_one_import_share_its_cost(self) -> None:
        graph = self.graph(self.SETTINGS, self.FILES)
        costs = Costs(graph, [Measured(["new", "newer", "of C"], 1000), Measured(["newer"], 300)])
        self.assertEqual(costs.measured, {"newer": 300, "new": 700})
        costs = Costs(graph, [Measured(["pack.one", "pack.two", "pack"], 1001)])
        self.assertEqual(sum(costs.measured.values()), 1001)
        self.assertEqual(Costs(graph, [Measured(["new"], 5), Measured(["new", "newer"], 3)]).measured["newer"], 0)

    def test_files_of_measured_costs(self) -> None:
        file = self.root / "measured.json"
        for text, expected in (
            ('{"a": 5}', Measured(["a"], 5)),
            ('{"a": {"before": 1, "after": 6, "bytes": 5, "modules": ["a", "b"]}}', Measured(["a", "b"], 5)),
            ('{"a": {"bytes": 5, "modules": []}}', Measured([], 5)),
        ):
            file.write_text(text)
            self.assertEqual(read_measured(file), [expected])
        for text in ("", "[1]", '{"a": "5"}', '{"a": {"modules": []}}', '{"a": {"bytes": 5, "modules": "a"}}', "7"):
            file.write_text(text)
            with self.assertRaises(UsageError, msg=text):
                read_measured(file)

    def test_the_script_for_the_device_imports_what_is_needed_first(self) -> None:
        script = measuring_script(self.graph(self.SETTINGS, self.FILES), ["m"])
        asked = []

        class Knoll:
            @staticmethod
            def import_cost(name: str) -> dict:
                if name == "ready":
                    raise ImportError
                asked.append(name)
                return {"bytes": 16, "modules": [name]}

        with mock.patch.dict(sys.modules, knoll=Knoll), contextlib.redirect_stdout(io.StringIO()) as out:
            exec(script, {})
        self.assertEqual(asked, ["below", "core", "behind", "newer", "new", "pack", "pack.one", "pack.two", "m"])
        self.assertEqual(json.loads(out.getvalue())["new"], {"bytes": 16, "modules": ["new"]})


if __name__ == "__main__":
    unittest.main()
