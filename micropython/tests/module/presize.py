# Tables that do not move: modules, sys.modules, and the assertion at a workflow's end; what an import costs.
import gc
import sys

try:
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit


class Holder:
    pass


Module = type(sys)
me = __import__("__main__")


def table_of(module):
    # The first holder of an object that is only in this module is its table.
    return [holder for holder in knoll.who_holds(module.probe_value) if "__main__" in str(holder[2])][0][1]


probe_value = bytearray(30)
knoll.presize_module(me, 120)
before = table_of(me)
for i in range(60):
    setattr(me, "name_%d" % i, i)
print(table_of(me) == before)
print(all(getattr(me, "name_%d" % i) == i for i in range(60)))
for i in range(60):
    delattr(me, "name_%d" % i)
knoll.presize_module(me, 3)
print(table_of(me) == before)

# sys.modules: the end of a workflow asserts that it has not moved
with knoll.workflow():
    for i in range(100):
        sys.modules["module %d" % i] = me
print(any(name.startswith("module ") for name in sys.modules))
room = len(sys.modules) + 10
knoll.presize_modules(room)
with knoll.workflow():
    for i in range(8):
        sys.modules["module %d" % i] = me
print(len(sys.modules) <= room)


def outgrow():
    with knoll.workflow():
        for i in range(200):
            sys.modules["module %d" % i] = me


try:
    outgrow()
    print("no assertion")
except AssertionError as error:
    print("AssertionError", "presize_modules" in str(error), knoll.info()["scopes"])
# an exception on its way is not replaced
try:
    with knoll.workflow():
        for i in range(400):
            sys.modules["module %d" % i] = me
        raise KeyError("mine")
except KeyError as error:
    print(repr(error))
knoll.presize_modules(500)
outgrow()
print(any(name.startswith("module ") for name in sys.modules), sys.modules["__main__"] is me if "__main__" in sys.modules else True)

# wrong arguments
for wrong in (
    (knoll.presize_module, me),
    (knoll.presize_module, 5, 5),
    (knoll.presize_module, Holder(), 5),
    (knoll.presize_module, "__main__", 5),
    (knoll.presize_module, me, "5"),
    (knoll.presize_module, me, -1),
    (knoll.presize_module, me, 1 << 29),
    (knoll.presize_module, me, 1 << 70),
    (knoll.presize_module, knoll, 5),
    (knoll.presize_modules, 0),
    (knoll.presize_modules, -5),
    (knoll.presize_modules, None),
    (knoll.presize_modules, 1 << 28),
    (knoll.import_cost, 5),
    (knoll.import_cost, "there_is_no_such_module"),
    (knoll.import_cost, ""),
):
    try:
        wrong[0](*wrong[1:])
        print("accepted", wrong[1:])
    except (TypeError, ValueError, OverflowError, ImportError) as error:
        print(type(error).__name__)

# what an import costs: nothing when it is there
cost = knoll.import_cost("sys")
print(sorted(cost), cost["modules"], abs(cost["bytes"]) < 200, cost["after"] - cost["before"] == cost["bytes"])
print(knoll.check())
