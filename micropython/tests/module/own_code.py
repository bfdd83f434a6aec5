# The program's own code in the middle of a call: __int__ of an argument, __hash__ and __eq__ of a key.
import gc
import sys

try:
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit


class Number:
    def __init__(self, value, act):
        self.value = value
        self.act = act

    def __int__(self):
        self.act()
        return self.value


class Key:
    armed = None

    def __hash__(self):
        if Key.armed:
            Key.armed()
        return 1

    def __eq__(self, other):
        if Key.armed:
            Key.armed()
        return self is other


def attempt(name, function):
    try:
        print(name, function())
    except Exception as error:
        print(name, type(error).__name__, error)


# ---- a buffer that is released while an index or a value is converted
def release(buffer):
    buffer.unref()
    gc.collect()


def store(buffer, index, value):
    buffer[index] = value


def store_slice(buffer, start, stop, value):
    buffer[start:stop] = value


buffer = knoll.Counted(4096)
attempt("store", lambda: store(buffer, 5, Number(1, lambda: release(buffer))))
buffer = knoll.Counted(4096)
attempt("store at", lambda: store(buffer, Number(1, lambda: release(buffer)), 1))
buffer = knoll.Counted(4096)
attempt("load", lambda: buffer[Number(4000, lambda: release(buffer))])
buffer = knoll.Counted(4096)
attempt("load slice", lambda: buffer[Number(1, lambda: release(buffer)) : 20])
buffer = knoll.Counted(4096)
attempt("store slice", lambda: store_slice(buffer, Number(1, lambda: release(buffer)), 4, b"abc"))
# one that is made new in its place is another buffer
buffer = knoll.Counted(4096)
others = []


def replace():
    buffer.unref()
    others.append(knoll.Counted(4096))


attempt("replaced", lambda: store(buffer, 5, Number(9, replace)))
print(sum(others[0][:]))
others = None
buffer = knoll.Counted(10)
attempt("alive", lambda: store(buffer, 5, Number(7, lambda: None)))
print(buffer[:])

# ---- an arena that is left while the size is converted
arena = knoll.Arena(1000)
with arena:
    attempt("left", lambda: arena.alloc(Number(64, arena.leave)))
    print(arena.used)
with arena:
    attempt("entered", lambda: len(arena.alloc(Number(64, lambda: (arena.leave(), arena.enter())))))

# ---- containers that change while they are copied
# (an instance is kept as it is, if it lasts already)
key = Key()
for name, change in (("clear", lambda: source.clear()), ("grow", lambda: source.extend(range(4000)))):
    with knoll.workflow():
        source = [{key: 1}]
        source.extend([i] for i in range(1000))
        spread = []

        def act():
            Key.armed = None
            change()
            gc.collect()
            spread.append([bytearray(32) for i in range(200)])

        Key.armed = act
        attempt("list " + name, lambda: len(knoll.keep(source)))
        Key.armed = spread = None
        print(knoll.info()["scopes"])
source = None
with knoll.workflow():
    for name, source in (("dict", {i: {i: i} for i in range(300)}), ("set", set(range(300)))):
        if name == "dict":
            source[key] = 1
        else:
            source.add(key)

        def act():
            Key.armed = None
            source.clear()
            gc.collect()
            spread.append([bytearray(32) for i in range(200)])

        spread = []
        Key.armed = act
        attempt(name, lambda: len(knoll.keep(source)))
        Key.armed = spread = None
source = None


# an exception of theirs passes, and nothing is open any more
def fail():
    Key.armed = None
    raise KeyError("mine")


with knoll.workflow():
    source = {key: 1}
    Key.armed = fail
    attempt("raises", lambda: knoll.keep(source))
    inside = bytearray(20)
    print(id(inside) > id(knoll.keep(inside)))
    # a copy within a copy
    Key.armed = lambda: knoll.keep([bytearray(10), (1, [2])])
    kept = knoll.keep([source])
    Key.armed = None
    print(len(kept), kept[0] is source, id(kept) < id(inside))
    source = kept = None

# ---- sys.modules whose keys have a mind of their own: they are not asked
me = sys.modules.get("__main__", sys)


def run():
    with knoll.workflow() as w:
        for i in range(10):
            sys.modules[Key()] = me
        Key.armed = fail
    return w


attempt("modules", lambda: run().modules)
Key.armed = None
print(knoll.info()["scopes"], knoll.info()["workflows"], any(type(key) is Key for key in sys.modules))

# ---- a key that changes the table that is presized
Key.armed = None
key = Key()
sys.modules[key] = me
names = len(sys.modules)


def act():
    Key.armed = None
    for i in range(200):
        sys.modules["a module %d" % i] = me
    gc.collect()


Key.armed = act
attempt("presize", lambda: knoll.presize_modules(90))
Key.armed = None
print(len(sys.modules) - names, sum(1 for name in sys.modules if type(name) is str and name.startswith("a module ")))
for i in range(200):
    del sys.modules["a module %d" % i]
del sys.modules[key]
print(knoll.check())
