# Counted: buffers that go with their last reference.
import gc

try:
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit

a = knoll.Counted(100)
print(len(a), a.count(), bool(a), sum(a[:]))
a[0] = 5
a[1:4] = b"xyz"
a[-1] = 255
print(a[0], a[:5], a[-1], a[98:], a[200:], a[5:2])
a.ref()
print(a.count())
with a as same:
    print(a.count(), same is a)
print(a.count())
a.unref()
print(a.count(), a[0])
a.unref()
print(a.count(), len(a), bool(a))
for dead in (
    lambda: a[0],
    lambda: a[:],
    lambda: a.unref(),
    lambda: a.ref(),
    lambda: a.address(),
    lambda: a.__enter__(),
    lambda: a.__setitem__(0, 1),
):
    try:
        dead()
        print("alive")
    except (ValueError, AttributeError) as error:
        print(type(error).__name__, error if isinstance(error, ValueError) else "")

# released inside its own with
b = knoll.Counted(10)
with b:
    b.unref()
    b.unref()
print(b.count())
# an exception passes, the reference is given back
b = knoll.Counted(10)
try:
    with b:
        raise KeyError("through")
except KeyError as error:
    print(repr(error), b.count())

# memory is free again at once, without a collection
gc.collect()
gc.disable()
for i in range(2000):
    c = knoll.Counted(500)
    c[499] = i & 255
    c.unref()
gc.enable()
print("2000 times 500 bytes")

# many at a time, of all sizes, each its own
def many():
    buffers = []
    for i in range(60):
        c = knoll.Counted(1 + i * 7)
        c[:] = bytes([i]) * len(c)
        buffers.append(c)
    gc.collect()
    print(all(c[:] == bytes([i]) * len(c) for i, c in enumerate(buffers)))
    for c in buffers[::2]:
        c.unref()
    more = [knoll.Counted(33) for i in range(20)]
    print(all(sum(c[:]) == 0 for c in more), all(c[:] == bytes([2 * i + 1]) * len(c) for i, c in enumerate(buffers[1::2])))


# The collector is conservative: what the stack still has from before is held. So it is overwritten.
def clear_stack(depth=20):
    a = b = c = d = e = 0
    return depth and clear_stack(depth - 1)


# what Python drops goes at the next collection, and with the last buffer all the memory that they were in
b.unref()
gc.collect()
before = knoll.info()
many()
clear_stack()
gc.collect()
gc.collect()
after = knoll.info()
print(after["finalisers"] - before["finalisers"], after["used"] - before["used"] < 2000)
# a new one starts anew
d = knoll.Counted(40)
print(d.count(), sum(d[:]))
d[0:2] = bytearray(b"ok")
d[2:4] = memoryview(b"!!")
print(d[:5])

# wrong use
for wrong in (
    lambda: knoll.Counted(),
    lambda: knoll.Counted("5"),
    lambda: knoll.Counted(0),
    lambda: knoll.Counted(-1),
    lambda: knoll.Counted(1 << 70),
    lambda: d[40],
    lambda: d[-41],
    lambda: d["x"],
    lambda: d[0:4:2],
    lambda: memoryview(d),
):
    try:
        wrong()
        print("accepted")
    except (TypeError, ValueError, OverflowError, IndexError, NotImplementedError) as error:
        print(type(error).__name__)


def store(index, value):
    d[index] = value


def delete(index):
    del d[index]


def store_slice(length, value):
    d[0:length] = value


for wrong in ((store, 0, 256), (store, 0, -1), (store, 0, "x"), (store, 40, 1), (store_slice, 4, b"abc"), (store_slice, 4, b"abcde"), (store_slice, 2, 5)):
    try:
        wrong[0](*wrong[1:])
        print("accepted", wrong)
    except (TypeError, ValueError, IndexError) as error:
        print(type(error).__name__)
try:
    delete(0)
except TypeError:
    print("TypeError")
print(d[:5])
try:
    knoll.Counted(1 << 27)
except MemoryError:
    print("MemoryError")
print(d[:5], knoll.check())
