"""One file: which imports are seen, where they stand, what is bound."""

import unittest
import warnings

from knoll_imports.source import Import, parse, slots_for


def imports(text: str, name: str = "pkg.mod", is_package: bool = False, **options: object) -> list[str]:
    source = parse(text, name, is_package, **options)
    assert source.error is None, source.error
    return [f"{i.line} {i}{' in ' + i.function if i.function else ''}" for i in source.imports]


class Imports(unittest.TestCase):
    def test_every_form(self) -> None:
        text = "import a, b.c as d\nfrom e import f, g as h\nfrom i import *\n"
        self.assertEqual(
            imports(text),
            ["1 import a", "1 import b.c", "2 from e import f", "2 from e import g", "3 from i import *"],
        )

    def test_relative_to_a_module_and_to_a_package(self) -> None:
        text = "from . import a\nfrom .b import c\nfrom ..d import e\n"
        self.assertEqual(imports(text, "p.q.m"), ["1 from p.q import a", "2 from p.q.b import c", "3 from p.d import e"])
        self.assertEqual(imports(text, "p.q", True), ["1 from p.q import a", "2 from p.q.b import c", "3 from p.d import e"])

    def test_beyond_the_top(self) -> None:
        self.assertIsNone(parse("from .. import a", "p.m", False).imports[0].module)
        self.assertIsNone(parse("from . import a", "m", False).imports[0].module)
        self.assertEqual(str(parse("from ...b import a", "p.m", False).imports[0]), "from ...b import a")

    def test_functions_are_named_and_class_bodies_run_at_import(self) -> None:
        text = """
class A:
    import a
    def f(self):
        import b
        def g():
            import c
async def h():
    import d
k = lambda: __import__("e")
"""
        self.assertEqual(
            imports(text),
            ["3 import a", "5 import b in f", "7 import c in f.g", "9 import d in h", "10 import e in <lambda>"],
        )

    def test_what_a_definition_runs_is_top_level(self) -> None:
        text = """
def f(x=__import__("a"), *, y=__import__("b")) -> __import__("not"): pass
@__import__("c").made
class A(__import__("d").B, metaclass=__import__("e").M):
    def g(self, z=__import__("f")): pass
k = lambda x=__import__("g"): (lambda: __import__("h"))
v: __import__("not") = __import__("i")
"""
        found = [(i.module, i.function) for i in parse(text, "m", False).imports]
        self.assertEqual(
            sorted(found), [(name, "<lambda>.<lambda>" if name == "h" else None) for name in "abcdefghi"]
        )

    def test_in_every_compound_statement(self) -> None:
        text = """
if x: import a
else: import b
for i in y: import c
while z: import d
with w: import e
try: import f
except OSError: import g
else: import h
finally: import i
match v:
    case 1: import j
"""
        self.assertEqual([str(i) for i in parse(text, "m", False).imports], [f"import {c}" for c in "abcdefghij"])

    def test_type_checking_is_not_seen(self) -> None:
        text = """
import typing
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import a
else:
    import b
if typing.TYPE_CHECKING and x: import c
if not TYPE_CHECKING: import d
"""
        self.assertEqual([i.module for i in parse(text, "m", False).imports], ["typing", "typing", "b", "d"])

    def test_erased_imports_are_not_seen_and_bind_nothing(self) -> None:
        source = parse("from typing import Any\nimport typing, a\n", "m", False, erased=["typing"])
        self.assertEqual(([i.module for i in source.imports], source.bound), (["a"], {"a"}))

    def test_constants_decide(self) -> None:
        text = """
if __debug__: import a
if utils.THP: import b
else: import c
if utils.MODEL == "T1" or utils.MODEL == "T2": import d
if utils.MODEL in ("T3", "T4"): import e
if not utils.THP or unknown: import f
if unknown and utils.MODEL != "T1": import g
if utils.THP is False: import h
"""
        constants = {"__debug__": False, "utils.THP": True, "utils.MODEL": "T2"}
        self.assertEqual([i.module for i in parse(text, "m", False, constants).imports], ["b", "d", "f", "g"])
        self.assertEqual([i.module for i in parse(text, "m", False).imports], list("abcdefgh"))

    def test_optional_by_what_the_handler_catches(self) -> None:
        def optional(handler: str) -> list[bool]:
            text = f"try:\n    import a\n{handler}:\n    import b\nimport c\n"
            return [i.optional for i in parse(text, "m", False).imports]

        self.assertEqual(optional("except ImportError"), [True, True, False])
        self.assertEqual(optional("except (OSError, ImportError)"), [True, True, False])
        self.assertEqual(optional("except"), [True, True, False])
        self.assertEqual(optional("except OSError"), [False, False, False])

    def test_transient_with(self) -> None:
        text = """
with utils.unimport():
    import a
manager = unimport()
with manager:
    import b
with other():
    import c
import d
"""
        found = parse(text, "m", False, transient=["unimport"]).imports
        self.assertEqual([(i.module, i.transient) for i in found], [("a", True), ("b", True), ("c", False), ("d", False)])

    def test_dunder_import(self) -> None:
        self.assertEqual(imports("x = [__import__('a'), __import__(b)]"), ["1 import a"])

    def test_syntax_error_has_a_line(self) -> None:
        source = parse("import a\nimport +\n", "m", False)
        self.assertEqual((source.error[0], source.imports), (2, []))
        self.assertIsNotNone(parse("a\0b", "m", False).error)
        self.assertIn("byte order mark", parse("\ufeffimport a", "m", False).error[1])

    def test_deep_nesting_is_a_finding_and_a_long_elif_is_none(self) -> None:
        self.assertIsNotNone(parse("x = " + "(" * 500 + ")" * 500, "m", False).error)
        self.assertIsNotNone(parse("x = " + "-" * 50000 + "1", "m", False).error)
        chain = "if a: import a\n" + "elif b: import b\n" * 800 + "else: import c\n"
        self.assertEqual(len(imports(chain)), 802)

    def test_odd_escapes_warn_nobody(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.assertEqual(imports(r"x = '\d'"), [])

    def test_a_huge_file_and_an_empty_one(self) -> None:
        self.assertEqual(imports(""), [])
        self.assertEqual(len(imports("import a\n" * 20000)), 20000)


class Bound(unittest.TestCase):
    def bound(self, text: str, name: str = "m", is_package: bool = False) -> list[str]:
        return sorted(parse(text, name, is_package).bound)

    def test_every_binding(self) -> None:
        text = """
import a.b, c as d
from e import f as g
h = i = 1
j, (k, *l) = x
m: int = 1
n: int
def o(): p = 1
class Q: r = 1
for s in x: pass
with x as t: pass
(u := 1)
"""
        self.assertEqual(self.bound(text), sorted("adghijklmotu" + "Qs"))

    def test_globals_count_and_deleted_names_do_not(self) -> None:
        self.assertEqual(self.bound("def f():\n    global a\n    a = 1\nb = 1\ndel b\n"), ["a", "f"])

    def test_private_constants_take_no_slot(self) -> None:
        self.assertEqual(self.bound("_A = const(1)\nB = const(2)\n_C = micropython.const(3)\n_D = 4\n"), ["B", "_D"])

    def test_submodules_are_no_attributes(self) -> None:
        source = parse("from . import a\nfrom . import b as c\nfrom .d import e\n", "p", True)
        self.assertEqual((sorted(source.bound), sorted(source.attributes)), (["a", "c", "e"], ["c", "e"]))

    def test_presizing_calls(self) -> None:
        source = parse("utils.presize_module(a.b, 30)\npresize_module(c, n)\n", "m", False)
        self.assertEqual(source.presized, [(1, "a.b", 30)])


class Ram(unittest.TestCase):
    def ram(self, text: str, **options: object) -> int:
        return parse(text, "m", False, **options).ram

    def test_grows_with_what_is_made(self) -> None:
        empty = self.ram("")
        self.assertGreater(empty, 0)
        for text in ("a = b = c = 1", "def f(): pass", "class C: pass", "x = [1, 2]", "x = {1: 2}"):
            self.assertGreater(self.ram(text), empty, text)

    def test_what_functions_make_is_not_made_at_import(self) -> None:
        self.assertEqual(self.ram("def f(): pass"), self.ram("def f():\n    x = [1] ; class_ = {}\n    def g(): pass"))

    def test_code_costs_only_when_it_is_not_frozen(self) -> None:
        short, long = "def f(): return 1", "def f(): return 1 + 2 * 3 - g(4)"
        self.assertEqual(self.ram(short), self.ram(long))
        self.assertLess(self.ram(short, frozen=False), self.ram(long, frozen=False))

    def test_slots_grow_as_micropython_grows_them(self) -> None:
        self.assertEqual([slots_for(n) for n in (0, 1, 2, 3, 11, 12, 13, 30, 2000)], [1, 1, 2, 4, 12, 12, 17, 37, 2500])


class ImportShown(unittest.TestCase):
    def test_as_it_is_written(self) -> None:
        self.assertEqual(str(Import(1, "a.b")), "import a.b")
        self.assertEqual(str(Import(1, "a", "b")), "from a import b")


if __name__ == "__main__":
    unittest.main()
