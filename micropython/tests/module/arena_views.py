# What has an address from a view of an Arena and outlives it: it refers to memory that is nobody else's.
import gc
import io

try:
    import framebuf
    import knoll
except ImportError:
    # Not this interpreter.
    print("SKIP")
    raise SystemExit

arena = knoll.Arena(4096)


def draw():
    with arena:
        arena.alloc(64)
        view = arena.alloc(512)
        view[:] = b"U" * 512
        picture = framebuf.FrameBuffer(view, 64, 64, framebuf.MONO_VLSB)
        file = io.BytesIO(view)
        return picture, file, view


# The collector is conservative: what the stack still has from before is held. So it is overwritten.
def clear_stack(depth=40):
    a = b = c = d = e = 0
    return depth and clear_stack(depth - 1)


picture, file, view = draw()
print(len(view), picture.pixel(0, 0))
view = None
clear_stack()
gc.collect()
gc.collect()
count = 60
others = [bytes([i]) * 500 for i in range(count)]
lists = [[i] * 20 for i in range(count)]
picture.fill(1)
print(all(others[i] == bytes([i]) * 500 for i in range(count)), all(lists[i] == [i] * 20 for i in range(count)))
picture.fill(0)
print(all(others[i] == bytes([i]) * 500 for i in range(count)), all(lists[i] == [i] * 20 for i in range(count)))
print(set(file.read()) <= {0, 85, 255}, picture.pixel(5, 5))
others = lists = None

# the next time it is other memory
with arena:
    view = arena.alloc(4096)
    picture.fill(1)
    print(sum(view))

# and with the last that refers to it the memory goes
before = knoll.info()["used"]
picture = file = view = None
clear_stack()
gc.collect()
print(before - knoll.info()["used"] > 8000)
print(knoll.check())
