# One collection of each live set, after one that has left nothing dead.
import gc

try:
    import knoll
except ImportError:
    knoll = None


def collect(mark):
    gc.collect()
    begin(mark)
    gc.collect()
    end()


def lists(count):
    return [[number] for number in range(count)]


def deep(count):
    inner = None
    for _ in range(count):
        inner = [inner]
    return inner


for count in (0, 250, 1000, 2000):
    live = lists(count)
    collect(count)
    live = None

live = bytearray(100 * 1024)
collect(1)
live = None
gc.collect()

live = [None] * (25 * 1024)
collect(2)
live = None
gc.collect()

live = deep(2000)
collect(3)
live = None
gc.collect()

live = bytearray(100 * 1024)
if knoll is not None:
    knoll.no_scan(live)
collect(4)
