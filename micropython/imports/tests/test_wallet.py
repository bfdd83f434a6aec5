"""The tree in `wallet/`, in which each rule is broken; all of its findings, and no other."""

import unittest
from collections import Counter
from pathlib import Path

from knoll_imports.settings import RULES

from .support import FirmwareTest

WALLET = Path(__file__).parent / "wallet"

# rule, file, line, imported module
FINDINGS = """
accept-unused       imports.toml                   1  core.log
active-missing      imports.toml                   7
active-unkept       imports.toml                   7
listed-missing      imports.toml                   10
document-drift      memory.md                      3
document-drift      memory.md                      7
heavy-import        src/apps/base.py               2  core.ui.layouts
heavy-import        src/apps/base.py               3  core.ui.layouts
system-import       src/apps/common/address.py     1  apps.common.paths
system-import       src/apps/common/address.py     2  core.log
heavy-import        src/apps/common/paths.py       1  core.ui.layouts
import-cost         src/apps/common/registry.py    1  apps.common.coins
system-import       src/apps/common/registry.py    1  apps.common.coins
import-cycle        src/apps/send/__init__.py      3  apps.send.transaction
unknown-module      src/apps/send/__init__.py      6  gone
syntax              src/apps/send/broken.py        1
small-module        src/core/words.py              1  core.loop
system-import       src/core/words.py              1  core.loop
system-import       src/core/workflow.py           1  core.loop
presize             src/main.py                    4  core
active-unlisted     src/main.py                    7  core.log
active-import       src/storage/cache.py           2  storage.cache_common
active-import       src/storage/cache.py           5  storage.cache_thp
active-local-import src/storage/device.py          5  core.ui.layouts
"""


class Wallet(FirmwareTest):
    def test_all_findings_and_no_other(self) -> None:
        report = self.json(WALLET / "imports.toml")
        found = []
        for finding in report["findings"]:
            path = Path(finding["path"])
            path = path.relative_to(WALLET) if path.is_absolute() else path.resolve().relative_to(WALLET.resolve())
            found.append(f"{finding['rule']} {path} {finding['line']} {finding['imports']}".strip())
        expected = [" ".join(line.split()) for line in FINDINGS.strip().splitlines()]
        self.assertEqual(found, expected)
        self.assertEqual(report["errors"] + report["warnings"], len(found))
        self.assertEqual([row["reason"] for row in report["accepted"]], ["the session is what starts applications"])

    def test_every_rule_is_broken(self) -> None:
        rules = Counter(line.split()[0] for line in FINDINGS.strip().splitlines())
        self.assertEqual(sorted(rules), sorted(RULES))

    def test_the_chain_says_how_the_cache_is_kept(self) -> None:
        report = self.json(WALLET / "imports.toml", "--only", "active-import")
        steps = [step.rpartition(": ")[2] for step in report["findings"][0]["chain"]]
        self.assertEqual(steps, ["main -> storage", "storage -> storage.cache", "storage.cache -> storage.cache_common"])
        status, text, _ = self.command(WALLET / "imports.toml", "--only", "active-import")
        self.assertEqual(status, 1)
        self.assertRegex(text, r"src/storage/cache\.py:2: error: always-active storage\.cache imports storage\.cache_common, .*\[active-import\]")
        self.assertIn("src/main.py:6: main -> storage\n", text)


if __name__ == "__main__":
    unittest.main()
