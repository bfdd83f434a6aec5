# keep(): an equal object on the side of what lasts; deep, once for each object, rings included; all or nothing.
import gc

try:
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit
from array import array
from collections import OrderedDict, namedtuple

Point = namedtuple("Point", ("x", "y"))


class Thing:
    pass


long_lived_thing = Thing()


def function():
    pass


def text(prefix, n):
    return "%s %d of a text that is nobody's name" % (prefix, n)


def all_kinds():
    return [
        None,
        True,
        -5,
        1 << 80,
        -(3**70),
        text("a", 1),
        b"bytes %d" % 12345,
        bytearray(b"changeable"),
        array("H", (1, 2, 3)),
        array("i", (-7,)),
        1.5,
        (1, text("b", 2), (b"deep %d" % 3,)),
        [1, [2, [3, [text("c", 4)]]]],
        {text("key", 5): [6], 7: {8: b"nine %d" % 9}},
        {1, 2, text("d", 10)},
        frozenset((text("e", 11), 12)),
        OrderedDict((("z", 1), ("a", [2]), (text("f", 13), 3))),
        Point(text("g", 14), [15]),
        (),
        "",
        b"",
        [],
        {},
        set(),
        bytearray(),
        function,
        len,
        long_lived_thing,
        Thing,
        gc,
    ]


def same_kind(a, b):
    # The order of a dict or a set is that of its table, so no text is compared.
    return type(a) is type(b) and a == b and len(repr(a)) == len(repr(b))


# outside of a workflow everything lasts already
for value in all_kinds():
    kept = knoll.keep(value)
    if not same_kind(kept, value):
        print("differs", value, kept)
value = (1, text("a", 2))
print(knoll.keep(value) is value)
value = [1]
print(knoll.keep(value) is value, knoll.keep(value) == value)

# inside: below everything that the workflow has
with knoll.workflow():
    mark = bytearray(20)
    for value in all_kinds():
        kept = knoll.keep(value)
        if not same_kind(kept, value):
            print("differs", value, kept)
        if isinstance(value, (bool, int, float, str)) or not value and isinstance(value, (tuple, bytes)):
            continue
        if value in (None, function, len, long_lived_thing, Thing, gc):
            if kept is not value:
                print("not itself", value)
            continue
        if kept is value or id(kept) > id(mark):
            print("not kept", value, kept is value)
    number = (1 << 90) + len(text("", 1))
    print(knoll.keep(number) is number, knoll.keep(number) == number, id(knoll.keep(number)) < id(mark))
    string = text("x", 7)
    print(knoll.keep(string) is string, knoll.keep(string) == string, id(knoll.keep(string)) < id(mark))
    # what is kept already is not copied again, unless it can be changed
    kept = knoll.keep((string, (number,)))
    print(knoll.keep(kept) is kept, knoll.keep((kept, 1))[0] is kept)
    kept = knoll.keep([1])
    print(knoll.keep(kept) is kept, knoll.keep(kept) == kept)
    # an interned name takes nothing
    print(knoll.keep("wor" + "kflow"[:5]))

    # one object stays one object, a ring stays a ring
    shared = [1]
    kept = knoll.keep({"a": shared, "b": (shared, shared)})
    print(kept["a"] is kept["b"][0] is kept["b"][1], kept["a"] is shared)
    ring = [1]
    ring.append({"ring": ring, "tuple": (ring, ring)})
    kept = knoll.keep(ring)
    print(kept[1]["ring"] is kept, kept[1]["tuple"][0] is kept, kept is ring, id(kept) < id(mark))
    inner = []
    outer = (inner, 5)
    inner.append(outer)
    kept = knoll.keep(outer)
    print(kept[0][0] is kept, kept[1], kept is outer)

    # a copy is a copy
    value = [bytearray(b"abc"), {1: [2]}]
    kept = knoll.keep(value)
    value[0][0] = 120
    value[1][1].append(3)
    print(kept)

    # what can't be copied is refused, and nothing is left that lasts
    gc.collect()
    for bad in (Thing(), lambda: mark, [1, Thing()], {1: (2, [Thing()])}, (i for i in ()), memoryview(mark), {Thing(): 1}):
        try:
            knoll.keep(bad)
            print("kept", bad)
        except TypeError as error:
            print(type(error).__name__, "lasting" in str(error))

    # as deep as the stack allows, and not deeper
    deep = []
    for i in range(3000):
        deep = [deep]
    try:
        knoll.keep(deep)
        print("too deep")
    except RuntimeError:
        print("RuntimeError", knoll.info()["scopes"])
    deep = None

    # no memory: the object stays, the heap is sound
    gc.collect()
    try:
        size = knoll.info()["free"] * 2 // 3
        big = bytearray(size)
        knoll.keep([1, big])
        print("no MemoryError")
    except MemoryError:
        print("MemoryError", knoll.check())
    big = None
    probe = bytearray(20)
    print(id(probe) > id(knoll.keep(probe)))

# tables that grow in a workflow stay where they are, and what was kept is still right after it
table = {}
with knoll.workflow():
    for i in range(200):
        table[knoll.keep("entry %d" % i)] = knoll.keep([i, b"value %d" % i])
gc.collect()
print(len(table), all(table["entry %d" % i] == [i, b"value %d" % i] for i in range(200)))
for wrong in ((), (1, 2)):
    try:
        knoll.keep(*wrong)
    except TypeError:
        print("TypeError")
print(knoll.check())
