"""The command: exit status, settings that make no sense, accepted findings, JSON."""

import json
import subprocess
import sys
import unittest
from pathlib import Path

from knoll_imports.settings import RULES, UsageError, load

from .support import FirmwareTest

HERE = Path(__file__).resolve().parent
FILES = {"core.py": "", "m.py": "import other\n", "other.py": "x = 1\n"}


class Status(FirmwareTest):
    def test_clean_is_0(self) -> None:
        status, out, err = self.command(self.write("", {"m.py": "import gc"}))
        self.assertEqual((status, err), (0, ""))
        self.assertEqual(out, "1 module: 0 errors, 0 warnings\n")

    def test_findings_are_1(self) -> None:
        status, out, _ = self.command(self.write("", FILES))
        self.assertEqual(status, 1)
        self.assertIn("[system-import]", out)
        self.assertTrue(out.endswith("3 modules: 1 error, 0 warnings\n"), out)

    def test_warnings_are_findings_only_when_strict(self) -> None:
        file = self.write('[rules]\nsystem-import = "warning"\n', FILES)
        self.assertEqual(self.command(file)[0], 0)
        self.assertEqual(self.command("--strict", file)[0], 1)

    def test_usage_is_2(self) -> None:
        file = self.write("", FILES)
        for arguments in ([], [self.root / "none.toml"], ["--only", "no-rule", file], ["--unknown", file],
                          ["--why", "m", "gone", file], ["--cost", self.root / "none.json", file],
                          ["--baseline", self.root / "none.toml", file],
                          ["--write-baseline", self.root / "none/new.toml", file]):
            status, out, err = self.command(*arguments)
            self.assertEqual((status, out), (2, ""), arguments)
            self.assertNotEqual(err, "", arguments)
            self.assertNotIn("Traceback", err)

    def test_settings_that_make_no_sense(self) -> None:
        for settings, told in (
            ("[modules]\nalways_activ = []", "modules.always_activ"),
            ("[nothing]\nx = 1", "nothing"),
            ('[modules]\nheavy = "ui"', "modules.heavy"),
            ("[modules]\nheavy = [1]", "modules.heavy"),
            ("modules = 3", "[modules]"),
            ('[modules]\nsmall_bytes = "9"', "small_bytes"),
            ('[modules]\nsmall_bytes = true', "small_bytes"),
            ("[cost]\nmost = -1", "cost.most"),
            ('[modules]\nc_stubs = ["none"]', "none"),
            ('[rules]\nsystem-import = "fatal"', "fatal"),
            ('[rules]\nother = "off"', "other"),
            ('[[accept]]\nrule = "system-import"', "no reason"),
            ('[[accept]]\nrule = "what"\nreason = "x"', "what"),
            ('accept = 1', "accept"),
            ('[presize.slots]\na = "9"', "presize.slots.a"),
            ("[", "imports.toml"),
        ):
            file = self.write("" if "accept = 1" in settings or "modules = 3" in settings else settings, {"m.py": ""})
            if file.read_text().endswith('["src"]\n'):
                file.write_text(settings + "\n" + file.read_text())
            status, out, err = self.command(file)
            self.assertEqual((status, out), (2, ""), settings)
            self.assertIn(told, err, settings)

    def test_no_tree(self) -> None:
        file = self.write("", FILES)
        file.write_text('[tree]\nroots = ["gone"]\n')
        self.assertEqual(self.command(file)[0], 2)
        (self.root / "empty").mkdir()
        file.write_text('[tree]\nroots = ["empty"]\n')
        self.assertIn("no Python module", self.command(file)[2])


class Accepted(FirmwareTest):
    def test_with_a_reason(self) -> None:
        settings = '[[accept]]\nrule = "system-import"\nmodule = "m"\nimports = "other"\nreason = "because"\n'
        file = self.write(settings, FILES)
        self.assertEqual(self.command(file)[0], 0)
        self.assertEqual(self.json(file)["accepted"][0]["reason"], "because")

    def test_for_another_import_it_does_not_count_and_is_told(self) -> None:
        settings = '[[accept]]\nrule = "system-import"\nmodule = "m"\nimports = "core"\nreason = "because"\n'
        self.assertEqual(
            self.found(settings, FILES), ["accept-unused imports.toml:1 m core", "system-import src/m.py:1 m other"]
        )

    def test_baseline(self) -> None:
        file, baseline = self.write("", FILES), self.root / "baseline.toml"
        status, out, _ = self.command(file, "--write-baseline", baseline, "--reason", 'says "so"')
        self.assertEqual((status, out), (0, f"{baseline}: 1 accepted finding\n"))
        self.assertEqual(self.command(file, "--baseline", baseline, "--strict")[0], 0)
        self.assertEqual(load(file, baseline).accepted[0].reason, 'says "so"')
        # A new finding is one.
        (self.root / "src/m.py").write_text("import other, core\n")
        self.assertEqual([f["imports"] for f in self.json(file, "--baseline", baseline)["findings"]], ["core"])
        # An old one that has gone is told.
        (self.root / "src/m.py").write_text("")
        self.assertEqual(self.command(file, "--baseline", baseline)[0], 0)
        self.assertEqual(self.command(file, "--baseline", baseline, "--strict")[0], 1)
        baseline.write_text("[tree]\n")
        with self.assertRaises(UsageError):
            load(file, baseline)


class Told(FirmwareTest):
    def test_json(self) -> None:
        report = self.json("--cost", "--", self.write("", FILES))
        self.assertEqual((report["version"], report["modules"], report["errors"], report["warnings"]), (1, 3, 1, 0))
        finding = report["findings"][0]
        self.assertEqual((finding["rule"], finding["line"], finding["module"], finding["imports"]), ("system-import", 1, "m", "other"))
        cost = report["costs"][0]
        self.assertEqual((cost["module"], cost["loads"], cost["source"], cost["measured"]), ("m", ["other"], 6, 0))

    def test_cost_table(self) -> None:
        file, measured = self.write("", FILES), self.root / "measured.json"
        out = self.command(file, "--cost")[1]
        self.assertRegex(out, r"~\d+ +6 +1  .*m\.py:1: import other")
        measured.write_text(json.dumps({"other": 1234}))
        out = self.command(file, "--cost", measured)[1]
        self.assertRegex(out, r" 1234 +6 +1  .*m\.py:1: import other")
        self.assertIn("about 1234 of RAM", out)

    def test_why(self) -> None:
        file = self.write("", {**FILES, "other.py": "def f(): pass\nimport core"})
        status, out, _ = self.command(file, "--why", "m", "core")
        self.assertEqual(status, 0)
        self.assertEqual([line.rpartition("/")[2] for line in out.splitlines()], ["m.py:1: m -> other", "other.py:2: other -> core"])
        self.assertEqual(self.command(file, "--why", "core", "m")[0], 1)

    def test_rules_are_listed(self) -> None:
        status, out, _ = self.command("--list-rules")
        self.assertEqual((status, [line.split()[0] for line in out.splitlines()]), (0, list(RULES)))


class Run(FirmwareTest):
    """As a program of its own, from the tree."""

    def test_script_and_module(self) -> None:
        file = self.write("", FILES)
        for command in ([str(HERE.parent / "knoll-imports")], [sys.executable, "-m", "knoll_imports"]):
            ended = subprocess.run([*command, str(file)], cwd=HERE.parent, capture_output=True, text=True, check=False)
            self.assertEqual((ended.returncode, ended.stderr), (1, ""))

    def test_bytes_that_are_no_text(self) -> None:
        file = self.write("", FILES)
        (self.root / "src/m.py").write_bytes(b"# \xff\nimport gc\n")
        self.assertEqual(self.command(file)[0], 0)

    def test_what_is_no_file_is_a_finding(self) -> None:
        file = self.write("", {"m.py": "import gc\n"})
        (self.root / "src/gone.py").symlink_to("nowhere")
        (self.root / "src/folder.py").mkdir()
        (self.root / "src/again").symlink_to(".")
        findings = self.json(file)["findings"]
        self.assertEqual([(f["rule"], f["module"]) for f in findings], [("syntax", "gone")])

    def test_dots_out_of_the_tree(self) -> None:
        file = self.write("", {"p/__init__.py": "", "p/m.py": "from ...x import y\n"})
        self.assertIn("`from ...x import y`: leads out of the top-level package", self.command(file)[1])


if __name__ == "__main__":
    unittest.main()
