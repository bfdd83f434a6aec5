"""The TOML file: what the firmware's modules are.

- A key that this module does not know is a `UsageError` that names it: a mistyped list is never silently empty.
- Paths in the file are relative to the file.
- Patterns name modules: `a.b` is that module, `a.b.*` every module below it, at any depth, `*` every module;
  `!` in front takes modules out again. The last pattern of a list that matches decides.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# What each rule is, and whether its findings make the exit status 1. `--list-rules` prints this table.
RULES: dict[str, tuple[str, str]] = {
    "active-import": ("error", "an always-active module imports, at top level, a module that is neither C nor always-active"),
    "active-local-import": ("warning", "the same inside a function: not kept loaded by the module, but loaded while it works"),
    "active-missing": ("error", "a module is listed as always-active, and there is no such module"),
    "active-unlisted": ("error", "the entry keeps a module loaded that is not listed as always-active"),
    "active-unkept": ("warning", "a module is listed as always-active, and the entry does not keep it loaded"),
    "document-drift": ("error", "the documentation lists other always-active modules than the settings"),
    "system-import": ("error", "a system module imports at top level what it should import where it is needed"),
    "heavy-import": ("error", "a module pulls in a heavy namespace when it is imported, directly or through others"),
    "small-module": ("error", "a module is listed as small, and it is large or has dependencies"),
    "listed-missing": ("error", "a module is named in the settings, and there is no such module"),
    "import-cycle": ("warning", "modules import each other at top level"),
    "import-cost": ("error", "a top-level import of a system module costs more than [cost] most"),
    "presize": ("error", "the dict of an always-active module is presized smaller than it can become"),
    "unknown-module": ("error", "an import leads to no module of the tree and to no C module"),
    "syntax": ("error", "a file is no Python"),
    "accept-unused": ("warning", "an accepted finding is no longer found"),
}

# Modules that MicroPython itself has in C; with and without the `u` of old names.
MICROPYTHON_MODULES = (
    "array binascii bluetooth btree builtins cmath collections cryptolib deflate errno esp esp32 espnow ffi framebuf "
    "gc hashlib heapq io json lcd160cr lwip machine math micropython mip neopixel network openamp os platform pyb "
    "random re requests rp2 select socket ssl stm struct sys termios time tls uctypes vfs websocket webrepl "
    "wipy zephyr zsensor _thread _asyncio _onewire _webrepl"
).split()


class UsageError(Exception):
    """The settings or the arguments make no sense; exit status 2."""


class Patterns:
    """A list of patterns for module names; the last that matches decides."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self.patterns = list(patterns)

    def __contains__(self, name: str) -> bool:
        found = False
        for pattern in self.patterns:
            wanted = not pattern.startswith("!")
            if matches(pattern.removeprefix("!"), name):
                found = wanted
        return found

    def exact(self) -> list[str]:
        """The patterns that name one module."""
        return [pattern for pattern in self.patterns if "*" not in pattern and not pattern.startswith("!")]


def matches(pattern: str, name: str) -> bool:
    """Whether one pattern, without `!`, names the module."""
    if pattern == "*":
        return True
    if pattern.endswith(".*"):
        return name.startswith(pattern[:-1])
    return name == pattern


class PerModule:
    """A table whose keys are patterns for importing modules, and whose values name what those may import."""

    def __init__(self, table: dict[str, list[str]]) -> None:
        self.rows = [(key, Patterns(values)) for key, values in table.items()]

    def of(self, importer: str) -> list[str]:
        """The patterns of every row that the importer matches."""
        return [pattern for key, values in self.rows if matches(key, importer) for pattern in values.patterns]

    def exact(self) -> list[str]:
        names = [key for key, _ in self.rows if "*" not in key]
        return names + [name for _, values in self.rows for name in values.exact()]


@dataclass
class Accepted:
    """A finding that is accepted: rule, module and imported module, as patterns, and the reason."""

    rule: str
    module: str
    imports: str
    reason: str
    used: bool = False


@dataclass
class Settings:
    """What the TOML file says; README.md has the table of keys."""

    file: Path
    roots: list[Path] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    always_active: list[str] = field(default_factory=list)
    c: Patterns = field(default_factory=Patterns)
    erased: Patterns = field(default_factory=Patterns)
    system: Patterns = field(default_factory=lambda: Patterns(["*", "!apps.*", "apps.base", "apps.common", "apps.common.*"]))
    heavy: Patterns = field(default_factory=Patterns)
    small: Patterns = field(default_factory=Patterns)
    small_bytes: int = 2048
    expected_loaded: PerModule = field(default_factory=lambda: PerModule({}))
    essential: PerModule = field(default_factory=lambda: PerModule({}))
    constants: dict[str, Any] = field(default_factory=dict)
    entry: str | None = None
    transient: list[str] = field(default_factory=lambda: ["unimport", "workflow"])
    document: Path | None = None
    heading: str = "Always active modules"
    presize: str = "presize_module"
    slots: dict[str, int] = field(default_factory=dict)
    most: int | None = None
    frozen: bool = True
    severity: dict[str, str] = field(default_factory=dict)
    accepted: list[Accepted] = field(default_factory=list)

    def of_rule(self, rule: str) -> str:
        """`error`, `warning` or `off`."""
        return self.severity.get(rule, RULES[rule][0])


class Table:
    """A TOML table that is read key by key, and then must be empty."""

    def __init__(self, file: Path, name: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise UsageError(f"{file}: [{name}] is no table")
        self.file, self.name, self.values = file, name, dict(values)

    def take(self, key: str, kind: type, default: Any) -> Any:
        value = self.values.pop(key, default)
        if value is not default and (not isinstance(value, kind) or isinstance(value, bool) != (kind is bool)):
            raise UsageError(f"{self.file}: {self.name}.{key} should be a {kind.__name__}, not {value!r}")
        if kind is int and value is not default and value < 0:
            raise UsageError(f"{self.file}: {self.name}.{key} is a number of bytes or slots, not {value}")
        return value

    def strings(self, key: str, default: Iterable[str] = ()) -> list[str]:
        values = self.take(key, list, list(default))
        if not all(isinstance(value, str) for value in values):
            raise UsageError(f"{self.file}: {self.name}.{key} should be a list of strings")
        return values

    def rows(self, key: str) -> dict[str, list[str]]:
        table = Table(self.file, f"{self.name}.{key}", self.take(key, dict, {}))
        return {row: table.strings(row) for row in list(table.values)}

    def path(self, key: str) -> Path | None:
        text = self.take(key, str, None)
        return None if text is None else self.file.parent / text

    def done(self) -> None:
        if self.values:
            keys = ", ".join(f"{self.name}.{key}" for key in self.values)
            raise UsageError(f"{self.file}: not known: {keys}")


def read_toml(file: Path) -> dict[str, Any]:
    """The file's content; `UsageError` when it can't be read or is no TOML."""
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: {error}") from error


def read_accepted(file: Path, rows: Any) -> list[Accepted]:
    """The `[[accept]]` tables of a settings or baseline file."""
    if not isinstance(rows, list):
        raise UsageError(f"{file}: accept should be a list of tables: [[accept]]")
    accepted = []
    for number, row in enumerate(rows, 1):
        table = Table(file, f"accept {number}", row)
        found = Accepted(*(table.take(key, str, "*" if key != "reason" else "") for key in ("rule", "module", "imports", "reason")))
        table.done()
        if not found.reason.strip():
            raise UsageError(f"{file}: accept {number} ({found.rule}, {found.module}) gives no reason")
        if found.rule not in RULES:
            raise UsageError(f"{file}: accept {number}: no rule {found.rule}")
        accepted.append(found)
    return accepted


def load(file: Path, baseline: Path | None = None) -> Settings:
    """Reads the settings, and the baseline's accepted findings beside its own; `UsageError` says what is wrong."""
    content = read_toml(file)
    sections = {
        name: Table(file, name, content.pop(name, {}))
        for name in ("tree", "modules", "system", "constants", "entry", "document", "presize", "cost", "rules")
    }
    settings = Settings(file)
    settings.accepted = read_accepted(file, content.pop("accept", []))
    if baseline is not None:
        rows = read_toml(baseline)
        settings.accepted += read_accepted(baseline, rows.pop("accept", []))
        if rows:
            raise UsageError(f"{baseline}: a baseline has [[accept]] tables only, not {', '.join(rows)}")
    if content:
        raise UsageError(f"{file}: not known: {', '.join(content)}")

    tree = sections["tree"]
    settings.roots = [file.parent / root for root in tree.strings("roots", ["."])]
    settings.exclude = tree.strings("exclude")
    for root in settings.roots:
        if not root.is_dir():
            raise UsageError(f"{file}: tree.roots: there is no directory {root}")

    modules = sections["modules"]
    settings.always_active = modules.strings("always_active")
    c = modules.strings("c")
    if modules.take("micropython", bool, True):
        c += [name for module in MICROPYTHON_MODULES for name in (module, "u" + module)]
    for stubs in modules.strings("c_stubs"):
        c += stub_modules(file, file.parent / stubs)
    settings.c = Patterns(c + [name + ".*" for name in c if "*" not in name and not name.startswith("!")])
    settings.erased = Patterns(modules.strings("erased"))
    settings.heavy = Patterns(modules.strings("heavy"))
    settings.small = Patterns(modules.strings("small"))
    settings.small_bytes = modules.take("small_bytes", int, settings.small_bytes)

    system = sections["system"]
    settings.system = Patterns(system.strings("modules", settings.system.patterns))
    settings.expected_loaded = PerModule(system.rows("expected_loaded"))
    settings.essential = PerModule(system.rows("essential"))

    settings.constants = sections["constants"].values
    sections["constants"].values = {}

    entry = sections["entry"]
    settings.entry = entry.take("module", str, None)
    settings.transient = entry.strings("transient", settings.transient)

    document = sections["document"]
    settings.document = document.path("file")
    settings.heading = document.take("heading", str, settings.heading)

    presize = sections["presize"]
    settings.presize = presize.take("function", str, settings.presize)
    slots = Table(file, "presize.slots", presize.take("slots", dict, {}))
    settings.slots = {name: slots.take(name, int, 0) for name in list(slots.values)}

    cost = sections["cost"]
    settings.most = cost.take("most", int, None)
    settings.frozen = cost.take("frozen", bool, True)

    rules = sections["rules"]
    for rule in list(rules.values):
        level = rules.take(rule, str, "")
        if rule not in RULES or level not in ("error", "warning", "off"):
            raise UsageError(f"{file}: rules.{rule} = {level!r}: not a rule, or none of error, warning, off")
        settings.severity[rule] = level
    for section in sections.values():
        section.done()
    return settings


def stub_modules(file: Path, directory: Path) -> list[str]:
    """The C modules that a directory of `.pyi` stubs describes."""
    if not directory.is_dir():
        raise UsageError(f"{file}: modules.c_stubs: there is no directory {directory}")
    return [path.stem for path in directory.glob("*.pyi")] + [path.parent.name for path in directory.glob("*/__init__.pyi")]
