"""Each rule: what breaks it, and what looks like it and does not."""

import unittest

from .support import FirmwareTest

ACTIVE = '[modules]\nalways_active = ["a", "b"]\nc = ["hw"]\nerased = ["typing"]\n[system]\nmodules = []\n'
SYSTEM = '[modules]\nalways_active = ["core"]\nc = ["hw"]\nheavy = ["ui.*", "ui"]\n'
BASE = {"core.py": "", "ui/__init__.py": "", "ui/big.py": ""}


class AlwaysActive(FirmwareTest):
    def test_c_modules_and_each_other(self) -> None:
        files = {"a.py": "import hw, gc, b\nfrom hw.x import y\nimport typing", "b.py": "import a"}
        self.assertEqual(self.found(ACTIVE + '[rules]\nimport-cycle = "off"', files), [])

    def test_another_module_at_top_level(self) -> None:
        files = {"a.py": "\nif x:\n    import c", "b.py": "class K:\n    from c import d", "c.py": ""}
        self.assertEqual(
            self.found(ACTIVE, files), ["active-import src/a.py:3 a c", "active-import src/b.py:2 b c"]
        )

    def test_in_a_function_is_told_apart(self) -> None:
        files = {"a.py": "def f():\n    import c", "b.py": "", "c.py": ""}
        findings = self.check(ACTIVE, files)
        self.assertEqual([(f.rule, f.severity) for f in findings], [("active-local-import", "warning")])
        self.assertIn("in f()", findings[0].message)
        for level, expected in (("error", ["error"]), ("off", [])):
            settings = ACTIVE + f'[rules]\nactive-local-import = "{level}"\n'
            self.assertEqual([f.severity for f in self.check(settings, files)], expected)

    def test_type_checking_is_free(self) -> None:
        files = {"a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import c", "b.py": "", "c.py": ""}
        self.assertEqual(self.found(ACTIVE, files), [])

    def test_the_package_is_loaded_with_it(self) -> None:
        settings = '[modules]\nalways_active = ["p.a"]\n[system]\nmodules = []\n'
        self.assertEqual(self.found(settings, {"p/__init__.py": "", "p/a.py": ""}), ["active-import src/p/a.py:1 p.a p"])

    def test_what_is_brought_along_is_told(self) -> None:
        files = {"a.py": "import c", "b.py": "", "c.py": "import d", "d.py": "x = 1"}
        finding = self.check(ACTIVE, files)[0]
        self.assertIn("it loads 2 modules, 13 bytes of source", finding.message)

    def test_as_in_the_firmware_of_trezor(self) -> None:
        """`storage.cache` and what it imports, none of which is on the documented list."""
        settings = """
            [modules]
            always_active = ["trezor", "trezor.utils", "storage", "storage.cache", "storage.device"]
            c = ["trezorconfig", "trezorutils"]
            [entry]
            module = "main"
            [system]
            modules = ["*", "!storage.*"]
            """
        files = {
            "main.py": "import trezor\nfrom trezor import utils\nimport storage\nwith utils.unimport():\n    import boot\n",
            "boot.py": "import storage.device",
            "trezor/__init__.py": "import trezorconfig as config\nfrom . import utils",
            "trezor/utils.py": "from trezorutils import consteq",
            "storage/__init__.py": "from storage import cache, device",
            "storage/cache.py": """\
                import builtins
                from storage.cache_common import SESSIONLESS_FLAG, SessionlessCache
                from trezor import utils
                if utils.USE_THP:
                    from storage import cache_thp
                else:
                    from storage import cache_codec
                """,
            "storage/cache_common.py": "SESSIONLESS_FLAG = 128\nclass SessionlessCache: pass",
            "storage/cache_thp.py": "from storage.cache_common import SessionlessCache",
            "storage/cache_codec.py": "from storage.cache_common import SessionlessCache",
            "storage/device.py": "from trezor import config\nfrom trezor.utils import consteq",
        }
        expected = [
            "active-import src/storage/cache.py:2 storage.cache storage.cache_common",
            "active-import src/storage/cache.py:5 storage.cache storage.cache_thp",
            "active-import src/storage/cache.py:7 storage.cache storage.cache_codec",
        ]
        self.assertEqual(self.found(settings, files), expected)
        # A build that has decided keeps one of the two.
        self.assertEqual(self.found(settings + '[constants]\n"utils.USE_THP" = false', files), [expected[0], expected[2]])


class Lists(FirmwareTest):
    def test_a_missing_module_is_found_where_it_is_listed(self) -> None:
        self.assertEqual(self.found(ACTIVE, {"a.py": ""}), ["active-missing imports.toml:4 b"])

    def test_the_entry_keeps_more_or_less(self) -> None:
        settings = ACTIVE + '[entry]\nmodule = "main"\ntransient = ["un"]\n'
        files = {"main.py": "import a, c\nwith un():\n    import b, d\n", "a.py": "", "b.py": "", "c.py": "", "d.py": ""}
        self.assertEqual(self.found(settings, files), ["active-unkept imports.toml:4 b", "active-unlisted src/main.py:1 main c"])
        files["main.py"] = "import a, b\nwith un():\n    import c, d\n"
        self.assertEqual(self.found(settings, files), [])
        self.assertEqual(self.found(settings, {"a.py": "", "b.py": ""}), ["listed-missing imports.toml:10 main"])

    def test_documentation(self) -> None:
        settings = ACTIVE + '[document]\nfile = "doc.md"\nheading = "Always active modules"\n'
        files = {"a.py": "", "b.py": "", "c.py": ""}
        good = "# x\n* `no`\n\n## always active modules ##\n\ntext `no`\n\n* `a`\n  - `b` - because\n\n## Other\n* `no`\n"
        self.assertEqual(self.found(settings, {**files, "doc.md": good}), [])
        bad = good.replace("`b`", "`c`")
        self.assertEqual(self.found(settings, {**files, "doc.md": bad}), ["document-drift doc.md:4 b", "document-drift doc.md:9 c"])
        status, _, message = self.command(self.write(settings, {**files, "doc.md": "# other"}))
        self.assertEqual(status, 2)
        self.assertIn("there is no heading", message)

    def test_small_modules_are_small_and_alone(self) -> None:
        settings = SYSTEM + 'small = ["s", "t", "u"]\nsmall_bytes = 50\n'
        files = {**BASE, "s.py": "import core, hw", "t.py": "x = 1\n" * 10, "u.py": "import s", "m.py": "import s"}
        self.assertEqual(self.found(settings, files), ["small-module src/t.py:1 t", "small-module src/u.py:1 u s"])

    def test_a_list_of_what_is_not_there(self) -> None:
        settings = SYSTEM + '[system.essential]\n"m" = ["gone", "hw", "other.*"]\n'
        self.assertEqual(self.found(settings, {**BASE, "m.py": ""}), ["listed-missing imports.toml:8 gone"])

    def test_presize(self) -> None:
        files = {"main.py": "import p\nsizing.presize(p, 6)\n", "p/__init__.py": "x = 1", "p/m.py": "", "p/unused.py": "", "apps/z.py": "import p.m"}
        settings = '[system]\nmodules = []\n[presize]\nfunction = "presize"\n'
        # x, m, __name__, __file__, __path__
        self.assertEqual(self.found(settings, files), [])
        files["main.py"] = "import p\nsizing.presize(p, 4)\n"
        self.assertEqual(self.found(settings, files), ["presize src/main.py:2 main p"])
        self.assertEqual(self.found(settings + "[presize.slots]\np = 5\n", {**files, "main.py": "import p"}), [])


class System(FirmwareTest):
    def test_what_is_allowed(self) -> None:
        settings = SYSTEM + 'small = ["s"]\n[system]\n[system.expected_loaded]\n"m" = ["ready"]\n[system.essential]\n"m" = ["needed.*"]\n'
        files = {
            **BASE,
            "m.py": "import hw, core, s, ready, behind\nfrom needed import part\ndef f(): import other, ui.big",
            "s.py": "", "ready.py": "import behind", "behind.py": "", "needed/__init__.py": "", "needed/part.py": "", "other.py": "",
        }
        found = self.found(settings, files)
        self.assertEqual(found, ["system-import src/ready.py:1 ready behind"])

    def test_what_is_not(self) -> None:
        files = {**BASE, "m.py": "import core\nimport other\nfrom pack import part, name", "other.py": "", "pack/__init__.py": "name = 1", "pack/part.py": ""}
        self.assertEqual(
            self.found(SYSTEM, files),
            ["system-import src/m.py:2 m other", "system-import src/m.py:3 m pack", "system-import src/m.py:3 m pack.part"],
        )

    def test_applications_import_what_they_like(self) -> None:
        files = {**BASE, "apps/__init__.py": "", "apps/x.py": "import other\nimport ui.big", "apps/common/__init__.py": "", "apps/common/y.py": "import other", "other.py": ""}
        self.assertEqual(self.found(SYSTEM, files), ["system-import src/apps/common/y.py:1 apps.common.y other"])

    def test_own_package_is_loaded_already(self) -> None:
        files = {**BASE, "p/__init__.py": "x = 1", "p/m.py": "from p import x\nfrom . import n", "p/n.py": ""}
        self.assertEqual(self.found(SYSTEM, files), ["system-import src/p/m.py:2 p.m p.n"])

    def test_heavy_directly_is_one_finding(self) -> None:
        self.assertEqual(self.found(SYSTEM, {**BASE, "m.py": "from ui import big"}), ["heavy-import src/m.py:1 m ui.big"])

    def test_heavy_through_a_module_that_may(self) -> None:
        settings = SYSTEM + '[system.essential]\n"drawing" = ["ui.*", "ui"]\n"m" = ["drawing", "plain"]\n"plain" = ["drawing"]\n'
        files = {**BASE, "drawing.py": "import ui.big", "plain.py": "import drawing", "m.py": "import plain"}
        findings = self.check(settings, files)
        self.assertEqual([(f.module, f.imports) for f in findings], [("plain", "ui")])
        self.assertEqual([step.rpartition(": ")[2] for step in findings[0].chain], ["plain -> drawing", "drawing -> ui"])
        # m is told in the same breath: the cause is one.
        self.assertIn("1 other module with it", findings[0].message)

    def test_heavy_is_not_pulled_in_by_what_is_loaded_already(self) -> None:
        settings = SYSTEM + '[system.expected_loaded]\n"*" = ["drawing", "ui.*", "ui"]\n'
        self.assertEqual(self.found(settings, {**BASE, "drawing.py": "import ui.big", "m.py": "import drawing"}), [])

    def test_heavy_modules_among_themselves(self) -> None:
        settings = SYSTEM + '[rules]\nsystem-import = "off"\n'
        self.assertEqual(self.found(settings, {**BASE, "ui/big.py": "import ui.other", "ui/other.py": ""}), [])

    def test_cost(self) -> None:
        settings = SYSTEM + '[system]\nmodules = ["m"]\n[cost]\nmost = 500\n[rules]\nsystem-import = "off"\n'
        files = {**BASE, "m.py": "import dear\nimport cheap", "cheap.py": "", "dear.py": "\n".join(f"x{i} = []" for i in range(50))}
        self.assertEqual(self.found(settings, files), ["import-cost src/m.py:1 m dear"])


class All(FirmwareTest):
    QUIET = '[system]\nmodules = []\n'

    def test_unknown_and_optional_and_beyond(self) -> None:
        files = {
            "m.py": "import gone\ntry:\n    import maybe\nexcept ImportError:\n    maybe = None\nfrom .. import up\ndef f(): import late",
            "p/__init__.py": "",
            "p/n.py": "import p.gone.deep\nfrom p import something",
        }
        self.assertEqual(
            self.found(self.QUIET, files),
            [
                "unknown-module src/m.py:1 m gone",
                "unknown-module src/m.py:6 m (beyond the top-level package)",
                "unknown-module src/m.py:7 m late",
                "unknown-module src/p/n.py:1 p.n p.gone",
            ],
        )

    def test_syntax(self) -> None:
        self.assertEqual(self.found(self.QUIET, {"m.py": "x = 1\ny = = 2\n"}), ["syntax src/m.py:2 m"])

    def test_cycles(self) -> None:
        files = {"a.py": "import b", "b.py": "def f(): import a"}
        self.assertEqual(self.found(self.QUIET, files), [])
        files["b.py"] = "import a"
        self.assertEqual(self.found(self.QUIET, files), ["import-cycle src/a.py:1 a b"])


if __name__ == "__main__":
    unittest.main()
