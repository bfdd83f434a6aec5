# When the heap collects by itself: when it is full, not while that is disabled, and after gc.threshold() bytes.
import gc


def fill(limit):
    # Garbage until there is no room, or `limit` blocks; returns how many there were.
    for count in range(limit):
        try:
            bytearray(1000)
        except MemoryError:
            return count
    return limit


gc.collect()
room = gc.mem_free()
blocks = room // 1024
assert gc.isenabled()
print("full heap collects:", fill(3 * blocks) == 3 * blocks)

gc.disable()
gc.collect()
count = fill(3 * blocks)
print("disabled, it does not:", blocks // 2 < count < 2 * blocks)
gc.collect()
print("but by hand it does:", gc.mem_free() > room // 2)
gc.enable()
print("enabled, it does again:", fill(3 * blocks) == 3 * blocks)

print("no threshold:", gc.threshold())
gc.threshold(8000)
print("a threshold:", 7500 < gc.threshold() <= 8000)
gc.collect()
least = gc.mem_free()
for _ in range(40):
    bytearray(1000)
    least = min(least, gc.mem_free())
print("it is kept:", gc.mem_free() > least - 20000, room - least < 60000)
gc.threshold(-1)
print("no threshold:", gc.threshold())
