# Every function of the module with the heap locked, and with so little left that an allocation inside it fails:
# MemoryError, and a heap that is as sound as before.
import gc
import micropython

try:
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit

arena = knoll.Arena(64)
counted = knoll.Counted(8)
sample = [b"bytes that are not interned: %d" % 1, {"a": (1, 2.5, bytearray(8))}]


def work():
    with knoll.workflow():
        [0] * 30


def use_arena():
    with arena:
        arena.alloc(8)
        arena.alloc(8)


def use_counted():
    c = knoll.Counted(24)
    c[0:3] = b"abc"
    c[:]
    c.unref()


FUNCTIONS = (
    work,
    use_arena,
    use_counted,
    lambda: knoll.keep(sample),
    lambda: knoll.info(),
    lambda: knoll.witness(),
    lambda: knoll.who_holds(sample[0]),
    lambda: knoll.buffer(40),
    lambda: knoll.Arena(16),
    lambda: knoll.Counted(16).unref(),
    lambda: knoll.import_cost("knoll"),
)


def tries(function):
    try:
        function()
        return 1
    except MemoryError:
        return 0


# locked
for function in FUNCTIONS:
    micropython.heap_lock()
    done = tries(function)
    micropython.heap_unlock()
    if done or not knoll.check() or knoll.info()["scopes"] or arena.used:
        print("locked", FUNCTIONS.index(function))
print("locked")


# full, but for a hole of so many bytes
def fill():
    chain = None
    for size in (4096, 512, 64):
        try:
            while True:
                chain = [chain, bytearray(size)]
        except MemoryError:
            pass
    try:
        while True:
            chain = [chain]
    except MemoryError:
        pass
    return chain


def attempt(function, hole):
    room = [bytearray(hole)]
    chain = fill()
    room[0] = None
    done = tries(function)
    # The collector is conservative: a link that the stack still has from before would hold all the others.
    while chain is not None:
        link = chain
        chain = link[0]
        link[0] = link[-1] = None
    gc.collect()
    return done


for function in FUNCTIONS:
    outcomes = [attempt(function, hole) for hole in (0, 16, 32, 48, 64, 96, 128, 192, 256, 512, 1024)]
    info = knoll.info()
    if not knoll.check() or info["scopes"] or arena.used or counted.count() != 1:
        print("unsound", FUNCTIONS.index(function), info)
    if attempt(function, 16384) != 1:
        print("fails with room", FUNCTIONS.index(function))
print("full")
counted[0] = 3
print(counted[:2], knoll.keep(sample) == sample, knoll.check())
