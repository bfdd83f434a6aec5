"""All files under the roots, by module name.

A directory is a package; `__init__.py` is its file, and one without is a namespace. A package hides a module file of
the same name, as MicroPython looks for directories first; of two roots the first that has a name wins.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath

from .settings import Settings
from .source import Source, parse


@dataclass
class Module:
    """A module of the tree; `path` is None for a namespace, a directory without `__init__.py`."""

    name: str
    path: Path | None
    is_package: bool
    shown: str
    settings: Settings

    @cached_property
    def source(self) -> Source:
        """The file, read and parsed once."""
        if self.path is None:
            return Source()
        try:
            raw = self.path.read_bytes()
        except OSError as error:
            return Source(error=(1, f"can't be read: {error.strerror}"))
        settings = self.settings
        source = parse(
            # A comment in another encoding is no reason to stop.
            raw.decode("utf-8", "replace"),
            self.name,
            self.is_package,
            settings.constants,
            settings.transient,
            settings.presize,
            settings.frozen,
            settings.erased,
        )
        source.bytes = len(raw)
        return source


def read_tree(settings: Settings) -> dict[str, Module]:
    """The modules under `settings.roots`, sorted by name."""
    found: dict[str, Module] = {}
    for root in settings.roots:
        for name, path, is_package in sorted(_under(root, "", settings.exclude)):
            file = path / "__init__.py" if is_package else path
            if is_package and not file.is_file():
                file = None
            shown = _shown(file or path)
            kept = found.get(name)
            if kept is None or (kept.path is None and file is not None):
                found[name] = Module(name, file, is_package, shown, settings)
    _drop_empty_namespaces(found)
    return dict(sorted(found.items()))


def _under(directory: Path, prefix: str, exclude: list[str], top: Path | None = None, above: tuple[Path, ...] = ()) -> list[tuple[str, Path, bool]]:
    """Name, path and whether it is a package, of everything in a directory and below, but for links back to where one came from."""
    top = top or directory
    above = (*above, directory.resolve())
    packages, files = [], []
    for entry in sorted(directory.iterdir()):
        inside = PurePath(entry.relative_to(top))
        if any(inside.match(pattern) for pattern in exclude):
            continue
        if entry.is_dir():
            if not entry.name.isidentifier() or entry.name == "__pycache__" or entry.resolve() in above:
                continue
            packages.append((prefix + entry.name, entry, True))
        elif entry.suffix == ".py" and entry.stem.isidentifier() and entry.stem != "__init__":
            files.append((prefix + entry.stem, entry, False))
    names = {name for name, path, _ in packages if (path / "__init__.py").is_file()}
    files = [row for row in files if row[0] not in names]
    inner = [row for name, path, _ in packages for row in _under(path, name + ".", exclude, top, above)]
    taken = {name for name, _, _ in files}
    return [row for row in packages if row[0] not in taken] + files + inner


def _drop_empty_namespaces(found: dict[str, Module]) -> None:
    """A directory without a module in it is no module."""
    for name in sorted(found, key=len, reverse=True):
        if found[name].path is None and not any(other.startswith(name + ".") for other in found):
            del found[name]


def _shown(path: Path) -> str:
    """A path as the reader would type it from where the command runs."""
    relative = os.path.relpath(path)
    return os.path.normpath(path) if relative.startswith("..") else relative
