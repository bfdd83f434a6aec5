# Always active: what a workflow begins and ends with, on Knoll and on MicroPython's own collector.
#
# On MicroPython's own collector this is the seed's way: modules imported by a workflow are forgotten (unimport), the
# memory is collected, the tables of always-active modules are presized. On Knoll it is knoll.workflow().

import gc
import sys

try:
    import knoll
except ImportError:
    knoll = None


def unimport_begin():
    return set(sys.modules)


def unimport_end(before):
    for name in sys.modules:
        if name not in before:
            # Out of sys.modules, and out of the parent module, which refers to it, too.
            module = sys.modules.pop(name)
            dot = name.rfind(".")
            parent = sys.modules.get(name[:dot]) if dot >= 0 else None
            if parent is not None and getattr(parent, name[dot + 1 :], None) is module:
                delattr(parent, name[dot + 1 :])
    gc.collect()


class Unimport:
    """with Unimport(): the modules imported inside are forgotten at the end."""

    def __enter__(self):
        self.before = unimport_begin()
        return self

    def __exit__(self, kind, value, traceback):
        unimport_end(self.before)


def presize(table, entries):
    """Makes a dict as large as `entries` need, with what every MicroPython has: it never shrinks."""
    names = ["presize %d" % i for i in range(entries - len(table))]
    for name in names:
        table[name] = None
    for name in names:
        del table[name]


if knoll:
    keep = knoll.keep
    workflow = knoll.workflow
    presize_module = knoll.presize_module
    presize_modules = knoll.presize_modules
else:

    def keep(value):
        return value

    workflow = Unimport

    def presize_module(module, entries):
        presize(module.__dict__, entries)

    def presize_modules(entries):
        presize(sys.modules, entries)
