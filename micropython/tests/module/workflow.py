# A workflow's scope: where its blocks lie, what is cleared at its end, and that it ends whatever happens.
import gc
import io
import struct
import sys

try:
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit

try:
    import vfs
except ImportError:
    print("SKIP")
    raise SystemExit


class File(io.IOBase):
    def __init__(self, data):
        self.data = data
        self.at = 0

    def ioctl(self, request, argument):
        return 0

    def readinto(self, buffer):
        count = min(len(buffer), len(self.data) - self.at)
        buffer[:count] = self.data[self.at : self.at + count]
        self.at += count
        return count

    def close(self):
        pass


class Files:
    def __init__(self, files):
        self.files = files

    def mount(self, readonly, mkfs):
        pass

    def umount(self):
        pass

    def stat(self, path):
        if path in self.files:
            return (0x8000, 0, 0, 0, 0, 0, len(self.files[path]), 0, 0, 0)
        if any(name.startswith(path + "/") for name in self.files):
            return (0x4000, 0, 0, 0, 0, 0, 0, 0, 0, 0)
        raise OSError(2)

    def open(self, path, mode):
        return File(self.files[path])


vfs.mount(
    Files(
        {
            "/always/__init__.py": b"room = []\n",
            "/always/inner.py": b"value = 1\n",
            "/single.py": b"import always.inner\ndata = bytes(300)\ndef work():\n    return len(data)\n",
        }
    ),
    "/modules",
)
sys.path.append("/modules")

import always


def loaded():
    return sorted(name for name in ("always", "always.inner", "single") if name in sys.modules)


def imports():
    import single

    return single.work()


# modules go, out of their parents, too
with knoll.workflow() as w:
    print(imports(), loaded(), hasattr(always, "inner"), w.modules)
print(loaded(), hasattr(always, "inner"), w.modules, w.escaped < 20)
# and can come again
with knoll.workflow() as w:
    print(imports(), loaded())
print(loaded(), w.modules)


# what lies where
def places():
    before = bytearray(40)
    with knoll.workflow():
        inside = bytearray(40)
        with knoll.lasting():
            lasting = bytearray(40)
            with knoll.lasting():
                pass
            still = bytearray(40)
        again = bytearray(40)
        print(id(inside) > id(lasting), id(inside) > id(still), id(again) > id(still), id(inside) > id(before))
    after = bytearray(40)
    print(id(after) < id(inside))


places()


# an exception passes, the scope ends
def raises():
    with knoll.workflow():
        imports()
        raise ValueError("through")


try:
    raises()
except ValueError as error:
    print(repr(error), loaded(), knoll.info()["scopes"], knoll.info()["workflows"])


# a return, a break
def returns():
    with knoll.workflow():
        return knoll.info()["scopes"]


print(returns(), knoll.info()["scopes"])
for i in range(3):
    with knoll.workflow():
        if i == 1:
            break
print(i, knoll.info()["scopes"])

# nested
with knoll.workflow() as outer:
    imports()
    with knoll.workflow() as inner:
        print(imports(), knoll.info()["scopes"], inner.modules)
    print(inner.modules, loaded(), knoll.info()["scopes"])
print(outer.modules, loaded(), knoll.info()["scopes"])

# what outlives a workflow is counted, and refused if that is wanted
held = []


def leaves(count):
    with knoll.workflow() as w:
        for i in range(count):
            with knoll.lasting():
                held.append(None)
            held[-1] = bytearray(500)
    return w


def work():
    [bytearray(10) for i in range(20)]


# The collector is conservative: what the stack still has from before is held. So it is overwritten.
def clear_stack(depth=20):
    a = b = c = d = e = 0
    return depth and clear_stack(depth - 1)


def clean():
    with knoll.workflow(strict=True) as w:
        work()
    return w


w = leaves(3)
print(w.escaped >= 6, w.escaped_bytes >= 1500, w.free > w.escaped_bytes, w.largest <= w.free)
held.clear()
print(clean().held)


def strict():
    with knoll.workflow(strict=True):
        held.append(bytearray(500))


try:
    strict()
except AssertionError as error:
    print("AssertionError", "held by what lasts" in str(error), knoll.info()["scopes"])
held.clear()


# however much hangs on it, and wherever in it the one is that is held
def strict_list(count):
    with knoll.workflow(strict=True) as w:
        values = [None] * count
        place[0] = values
        for i in range(count):
            values[i] = [i]
        values = None


def strict_last(count):
    with knoll.workflow(strict=True) as w:
        values = [[i] for i in range(count)]
        place[0] = values[count // 2]
        values = None


place = [None] * 4
for function in (strict_list, strict_last):
    for count in (3, 25, 200):
        try:
            function(count)
            print("no assertion", count)
        except AssertionError as error:
            print(count, "held by what lasts" in str(error))
        place[0] = None
        clear_stack()
        gc.collect()
# what the collector does not look into holds nothing
numbers = knoll.buffer(64)


def strict_number():
    with knoll.workflow(strict=True) as w:
        numbers[:] = bytes(64)
        struct.pack_into("P", numbers, 0, id([1]))
    return w


print(strict_number().held)

# wrong use
w = knoll.workflow()
print(w.modules)
for wrong in (
    lambda: w.__exit__(None, None, None),
    lambda: knoll.lasting().__exit__(None, None, None),
    lambda: knoll.workflow(1),
    lambda: knoll.workflow(strange=1),
):
    try:
        wrong()
    except (RuntimeError, TypeError) as error:
        print(type(error).__name__)
w.__enter__()
try:
    w.__enter__()
except RuntimeError as error:
    print(error, knoll.info()["scopes"])
w.__exit__(None, None, None)
try:
    w.modules = 1
except AttributeError:
    print("AttributeError")


# a generator that never goes on: its scope ends when it is collected
def waits():
    with knoll.workflow():
        yield 1


def start():
    g = waits()
    next(g)
    print(knoll.info()["scopes"])


start()
clear_stack()
gc.collect()
print(knoll.info()["scopes"])

# automatic: all is transient but what is kept
print(knoll.automatic())
knoll.boot_done()
knoll.boot_done()
a, b = bytearray(40), knoll.keep(bytearray(40))
print(knoll.automatic(), knoll.info()["scopes"], id(a) > id(b))
with knoll.workflow() as w:
    print(knoll.info()["scopes"])
print(knoll.automatic(False), knoll.info()["scopes"])
print(knoll.check())
