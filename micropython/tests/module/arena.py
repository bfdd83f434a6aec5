# Arena: views that end with it, whoever still has them.
import gc

try:
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit

arena = knoll.Arena(1024)
print(arena.size, arena.used)
with arena:
    a = arena.alloc(64)
    b = arena.alloc(100)
    print(type(a).__name__, len(a), len(b), sum(a) + sum(b))
    a[:] = bytes(range(64))
    b[0] = 255
    part = a[10:20]
    other = memoryview(part)
    print(bytes(part), bytes(other[2:4]), arena.used >= 164)
    empty = arena.alloc(0)
    print(len(empty))
print(len(a), len(b), len(part), len(other), bytes(a), arena.used)
for dead in (a, part, other):
    try:
        dead[0]
    except IndexError:
        print("IndexError")
    try:
        dead[0] = 1
    except IndexError:
        print("IndexError")
print(a[:], bytes(other[1:]))

# again: nothing is left of what was there
with arena:
    c = arena.alloc(1000)
    print(sum(c))
    c[5] = 7
    print(len(a), c[5])

# all of it, and not more
for size in (1, 8, 100, 1024, 5000, 20000):
    arena = knoll.Arena(size)
    with arena:
        whole = arena.alloc(arena.size)
        whole[0] = whole[-1] = 9
        try:
            arena.alloc(64)
            print("more than", size)
        except MemoryError as error:
            print(size, len(whole), error)

# many small ones, each its own
arena = knoll.Arena(800)
with arena:
    views = [arena.alloc(8) for i in range(100)]
    for i in range(100):
        views[i][:] = bytes([i]) * 8
    gc.collect()
    print(all(bytes(views[i]) == bytes([i]) * 8 for i in range(100)))
print(sum(len(view) for view in views))

# an exception passes and the arena ends
try:
    with arena:
        view = arena.alloc(5)
        raise KeyError("through")
except KeyError as error:
    print(repr(error), len(view))
# without with
arena.enter()
view = arena.alloc(5)
arena.leave()
print(len(view))

# views keep the memory if Python drops the arena, and two arenas are apart
def lost():
    arena = knoll.Arena(200)
    arena.enter()
    view = arena.alloc(50)
    view[:] = b"x" * 50
    return view


views = [lost() for i in range(10)]
gc.collect()
[bytearray(250) for i in range(20)]
print(all(bytes(view) == b"x" * 50 for view in views))
with knoll.Arena(64) as one, knoll.Arena(64) as two:
    a, b = one.alloc(32), two.alloc(32)
    a[:] = b"1" * 32
    b[:] = b"2" * 32
    print(bytes(a[:3]), bytes(b[:3]))

# wrong use
arena = knoll.Arena(64)
arena.__exit__(None, None, None)
try:
    with arena:
        arena.leave()
        raise KeyError("left before")
except KeyError as error:
    print(repr(error))
# On 32 bits a view has 24 bits for the place.
try:
    with knoll.Arena(1 << 24):
        print("so much memory")
except (MemoryError, ValueError):
    print("refused")
for wrong in (
    lambda: knoll.Arena(),
    lambda: knoll.Arena("5"),
    lambda: knoll.Arena(0),
    lambda: knoll.Arena(-1),
    lambda: knoll.Arena(1 << 70),
    lambda: arena.alloc(5),
    lambda: arena.leave(),
    lambda: setattr(arena, "size", 5),
):
    try:
        wrong()
        print("accepted")
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        print(type(error).__name__)
with arena:
    for wrong in (
        lambda: arena.enter(),
        lambda: arena.alloc(),
        lambda: arena.alloc("5"),
        lambda: arena.alloc(-1),
        lambda: arena.alloc(1 << 70),
        lambda: arena.alloc(1000000),
    ):
        try:
            wrong()
            print("accepted")
        except (TypeError, ValueError, OverflowError, RuntimeError, MemoryError) as error:
            print(type(error).__name__)
try:
    with knoll.Arena(1 << 23):
        print("so much memory")
except MemoryError:
    print("MemoryError")
print(knoll.check())
