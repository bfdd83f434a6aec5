"""One file: its imports, what it binds, and what it costs to have it loaded.

- Told apart: imports that run when the module is imported (top level, in class bodies, in `if`, `try`, `with`, loops,
  defaults of arguments, bases and decorators) and those in a function or lambda, which run when it is called. Annotations
  never run: MicroPython drops them.
- What a build drops is not seen at all: `if TYPE_CHECKING`, branches that the settings' constants decide, and imports of
  `erased` modules.
- An import is *optional* in a `try` whose handler catches ImportError or more, and in such a handler: that the module
  is not there is no finding. It is *transient* in a `with` of the settings' `transient` functions: what it loads is
  unloaded again.
- `__import__("name")` with a constant name is an import like others.

The RAM estimate is a model of a 32-bit MicroPython with 16-byte granules: the module, its dict with one slot for each name
it binds, each function with its defaults, each class with its dict, and literal lists, dicts and sets at top level. Code
lies in flash when the module is frozen; else bytecode is estimated from the size of the syntax tree. A measured
cost (`--cost FILE`) replaces it.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .conditions import decide

# What MicroPython rounds a dict's slots up to (py/map.c grows by a table); above, by a quarter.
SLOTS = (1, 2, 4, 6, 8, 10, 12, 17, 23, 29, 37, 47, 59, 73, 97, 127, 167, 223, 293, 389, 521, 691, 919, 1223)
WORD, GRANULE = 4, 16
# Bytes for each node of the syntax tree where code is loaded into RAM: what MicroPython's own benchmark programs take there on a
# Cortex-M3, beyond the other terms of the model.
BYTECODE = 2.4


@dataclass(frozen=True)
class Import:
    """An import statement, or one name of it."""

    line: int
    # The module that is named, dots resolved; None when the dots lead out of the tree.
    module: str | None
    # `from module import name`: the name, `*` for all; None for `import module`.
    name: str | None = None
    # The function it stands in; None: it runs when the module is imported.
    function: str | None = None
    optional: bool = False
    transient: bool = False
    # The module as the file writes it, dots in front.
    written: str = ""

    def __str__(self) -> str:
        module = self.module if self.module is not None else self.written
        return f"import {module}" if self.name is None else f"from {module} import {self.name}"


@dataclass
class Source:
    """What a file does when it is imported."""

    bytes: int = 0
    ram: int = 0
    imports: list[Import] = field(default_factory=list)
    # Names that the module's dict gets, and those of them that are no import of a submodule of its own.
    bound: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    # `__all__`, where it is a constant list.
    exported: list[str] | None = None
    # Modules whose every name is imported with `*`.
    stars: list[str] = field(default_factory=list)
    # Calls `presize(module, n)`: line, the first argument's text, n.
    presized: list[tuple[int, str, int]] = field(default_factory=list)
    # Line and message when the file is no Python.
    error: tuple[int, str] | None = None


def parse(
    text: str,
    name: str,
    is_package: bool,
    constants: Mapping[str, Any] | None = None,
    transient: list[str] | None = None,
    presize: str = "presize_module",
    frozen: bool = True,
    erased: Container[str] = (),
) -> Source:
    """Reads a module's text; a syntax error is noted in the result."""
    source = Source(bytes=len(text.encode()))
    package = name if is_package else name.rpartition(".")[0]
    reader = _Reader(source, name, package, constants or {}, transient or [], presize, erased)
    if text.startswith("\ufeff"):
        source.error = (1, "begins with a byte order mark, which MicroPython takes for a letter")
        return source
    try:
        with warnings.catch_warnings():
            # An odd escape in a string is nothing to this program.
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
        reader.statements(tree.body, _Place())
    except (SyntaxError, ValueError) as error:
        source.error = (getattr(error, "lineno", None) or 1, getattr(error, "msg", None) or str(error))
        return source
    except (RecursionError, MemoryError):
        source.error = (1, "nested too deeply to be read")
        return source
    source.ram = _ram(source, reader.objects)
    if not frozen:
        source.ram += round(BYTECODE * sum(1 for _ in ast.walk(tree)))
    return source


@dataclass(frozen=True)
class _Place:
    """Where a statement stands."""

    function: str | None = None
    in_class: bool = False
    optional: bool = False
    transient: bool = False

    def within(self, **changes: Any) -> _Place:
        return _Place(**{**self.__dict__, **changes})

    def calling(self, name: str) -> _Place:
        """The inside of a function that is defined here."""
        name = name if self.function is None else f"{self.function}.{name}"
        return _Place(function=name, optional=self.optional)

    @property
    def binds(self) -> bool:
        """Whether what is assigned here becomes a name of the module."""
        return self.function is None and not self.in_class


class _Reader:
    def __init__(
        self,
        source: Source,
        name: str,
        package: str,
        constants: Mapping[str, Any],
        transient: list[str],
        presize: str,
        erased: Container[str],
    ) -> None:
        self.source, self.name, self.package = source, name, package
        self.constants, self.transient, self.presize, self.erased = constants, transient, presize, erased
        # Bytes of functions, classes and literals that importing the module makes.
        self.objects = 0
        # Names that stand for a transient manager: `manager = unimport()`.
        self.managers: set[str] = set()

    def statements(self, body: list[ast.stmt], place: _Place) -> None:
        for statement in body:
            self.statement(statement, place)

    def statement(self, node: ast.stmt, place: _Place) -> None:
        match node:
            case ast.Import():
                for alias in node.names:
                    if alias.name in self.erased:
                        continue
                    self.imported(node, place, alias.name, None)
                    self.bind(alias.asname or alias.name.partition(".")[0], place, alias.asname is None)
            case ast.ImportFrom():
                self.import_from(node, place)
            case ast.If():
                self.branches(node, place)
            case ast.Try() | ast.TryStar():
                optional = place.optional or any(_catches_import_error(handler) for handler in node.handlers)
                self.statements(node.body, place.within(optional=optional))
                for handler in node.handlers:
                    self.statements(handler.body, place.within(optional=place.optional or _catches_import_error(handler)))
                self.statements(node.orelse + node.finalbody, place)
            case ast.With() | ast.AsyncWith():
                transient = place.transient or any(self.is_transient(item.context_expr) for item in node.items)
                for item in node.items:
                    self.expressions(item.context_expr, place)
                    self.targets(item.optional_vars, place)
                self.statements(node.body, place.within(transient=transient))
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.bind(node.name, place)
                self.function(node, place)
            case ast.ClassDef():
                self.bind(node.name, place)
                self.class_(node, place)
            case ast.For() | ast.AsyncFor() | ast.While():
                self.targets(getattr(node, "target", None), place)
                self.expressions(node.iter if not isinstance(node, ast.While) else node.test, place)
                self.statements(node.body + node.orelse, place)
            case ast.Match():
                self.expressions(node.subject, place)
                for branch in node.cases:
                    self.statements(branch.body, place)
            case ast.Assign() | ast.AnnAssign() | ast.AugAssign():
                self.assign(node, place)
            case ast.Delete():
                for target in node.targets:
                    if isinstance(target, ast.Name) and place.binds:
                        # The slot stays, but another may take it: `del boot` after its import.
                        self.source.bound.discard(target.id)
            case ast.Global() if place.function is not None:
                self.source.bound.update(node.names)
                self.source.attributes.update(node.names)
            case _:
                self.expressions(node, place)

    def branches(self, node: ast.If, place: _Place) -> None:
        """An `if` with all its `elif`, which the tree has one in the other."""
        while True:
            decided = decide(node.test, self.constants)
            self.expressions(node.test, place)
            if decided is not False:
                self.statements(node.body, place)
            if decided is True:
                return
            match node.orelse:
                case [ast.If() as other]:
                    node = other
                case others:
                    self.statements(others, place)
                    return

    # ---- imports

    def imported(self, node: ast.AST, place: _Place, module: str | None, name: str | None, written: str = "") -> None:
        found = Import(node.lineno, module, name, place.function, place.optional, place.transient, written)
        self.source.imports.append(found)

    def import_from(self, node: ast.ImportFrom, place: _Place) -> None:
        module = self.absolute(node.module, node.level)
        if module is not None and module in self.erased:
            return
        for alias in node.names:
            self.imported(node, place, module, alias.name, "." * node.level + (node.module or ""))
            if alias.name == "*":
                if module is not None and place.binds:
                    self.source.stars.append(module)
            else:
                self.bind(alias.asname or alias.name, place, module == self.name and alias.asname in (None, alias.name))

    def absolute(self, module: str | None, level: int) -> str | None:
        """The name without dots in front; None when there are more dots than packages."""
        if level == 0:
            return module
        parts = self.package.split(".") if self.package else []
        if level > len(parts):
            return None
        return ".".join(parts[: len(parts) - level + 1] + ([module] if module else []))

    # ---- what is bound and made

    def bind(self, name: str, place: _Place, submodule: bool = False) -> None:
        if place.binds:
            self.source.bound.add(name)
            if not submodule:
                self.source.attributes.add(name)

    def targets(self, target: ast.AST | None, place: _Place) -> None:
        for node in ast.walk(target) if target is not None else ():
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self.bind(node.id, place)

    def assign(self, node: ast.Assign | ast.AnnAssign | ast.AugAssign, place: _Place) -> None:
        value = node.value
        if value is None:
            return
        self.expressions(value, place)
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        names = [target.id for target in targets if isinstance(target, ast.Name)]
        if self.is_transient(value):
            self.managers.update(names)
        if names == ["__all__"] and place.binds and isinstance(value, (ast.List, ast.Tuple)):
            self.source.exported = [e.value for e in value.elts if isinstance(e, ast.Constant) and isinstance(e.value, str)]
        # `_NAME = const(…)` is replaced by its value at compile time and takes no slot.
        if len(names) == 1 and names[0].startswith("_") and _calls(value, "const"):
            self.source.attributes.update(names if place.binds else ())
            return
        for target in targets:
            self.targets(target, place)

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef, place: _Place) -> None:
        arguments = node.args
        if place.function is None:
            defaults = [d for d in arguments.defaults + arguments.kw_defaults if d is not None]
            self.objects += _rounded(4 * WORD + WORD * len(defaults))
        self.each(node.decorator_list + arguments.defaults + arguments.kw_defaults, place)
        self.statements(node.body, place.calling(node.name))

    def class_(self, node: ast.ClassDef, place: _Place) -> None:
        inner = place.within(in_class=True)
        if place.function is None:
            members = sum(isinstance(s, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Assign)) for s in node.body)
            # The type with its slots, the tuple of bases, the dict of members.
            self.objects += 64 + _rounded((2 + len(node.bases)) * WORD) + GRANULE + _table(members + 2)
        self.each(node.decorator_list + node.bases + [keyword.value for keyword in node.keywords], place)
        self.statements(node.body, inner)

    def each(self, nodes: list[ast.expr | None], place: _Place) -> None:
        for node in nodes:
            if node is not None:
                self.expressions(node, place)

    def expressions(self, node: ast.AST, place: _Place) -> None:
        """`__import__` and presizing calls, and literals, anywhere in an expression; a lambda's body runs later."""
        parts = [node]
        while parts:
            part = parts.pop(0)
            match part:
                case ast.Lambda():
                    parts += [default for default in part.args.defaults + part.args.kw_defaults if default is not None]
                    self.expressions(part.body, place.calling("<lambda>"))
                    continue
                case ast.Call(args=[ast.Constant(value=str(module)), *_]) if _calls(part, "__import__"):
                    self.imported(part, place, module, None)
                case ast.Call(args=[module, ast.Constant(value=int(count))]) if _calls(part, self.presize):
                    self.source.presized.append((part.lineno, ast.unparse(module), count))
                case ast.List() | ast.Set() if place.function is None and not isinstance(getattr(part, "ctx", None), ast.Store):
                    self.objects += GRANULE + _rounded(WORD * max(4, len(part.elts)))
                case ast.Dict() if place.function is None:
                    self.objects += GRANULE + _table(len(part.keys))
                case ast.NamedExpr(target=ast.Name(id=name)):
                    self.bind(name, place)
            parts += ast.iter_child_nodes(part)

    def is_transient(self, node: ast.expr) -> bool:
        if isinstance(node, ast.Name) and node.id in self.managers:
            return True
        return any(_calls(node, name) for name in self.transient)


def _calls(node: ast.AST, name: str) -> bool:
    """Whether the node is a call of `name` or of `something.name`."""
    if not isinstance(node, ast.Call):
        return False
    text = ast.unparse(node.func)
    return text == name or text.endswith("." + name)


def _catches_import_error(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    names = {ast.unparse(node).rpartition(".")[2] for node in _elements(handler.type)}
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _elements(node: ast.expr) -> Iterator[ast.expr]:
    yield from node.elts if isinstance(node, ast.Tuple) else [node]


# ---- the model of RAM


def slots_for(count: int) -> int:
    """The slots that a dict has when `count` names went in one by one."""
    for slots in SLOTS:
        if slots >= count:
            return slots
    return count + count // 4


def _rounded(size: int) -> int:
    return -(-size // GRANULE) * GRANULE


def _table(count: int) -> int:
    return _rounded(2 * WORD * slots_for(count)) if count else 0


def _ram(source: Source, objects: int) -> int:
    # The module object, its dict, the dict's table; `__name__` and `__file__` are there already.
    return 2 * GRANULE + _table(len(source.bound) + 2) + objects
