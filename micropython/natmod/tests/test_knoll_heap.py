# knoll_heap.mpy under MicroPython: the unix port and the Cortex-M3 firmware. Prints a line a test, and `N passed, N failed`.
# MicroPython's own unittest is in no port: this needs nothing but the interpreter.

import gc
import sys

import knoll_heap
from knoll_heap import Arena, Heap


# A module can be made without arenas.
ARENAS = hasattr(knoll_heap, "_arena")


class Refused(Exception):
    pass


def raises(kind, work, *arguments):
    try:
        work(*arguments)
    except kind:
        return
    raise Refused("no %s" % kind.__name__)


def same(found, expected):
    if found != expected:
        raise Refused("%r, not %r" % (found, expected))


class Random:
    # A small generator: the ports' own are not all there.
    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 1103515245 + 12345) & 0x7FFFFFFF
        return (self.state >> 8) % bound


def test_blocks_are_memory_of_the_bytearray():
    memory = bytearray(4096)
    heap = Heap(memory)
    a, b = heap.malloc(10), heap.malloc(100)
    same((len(a), len(b)), (10, 100))
    a[:] = b"0123456789"
    b[:] = bytes(range(100))
    same(bytes(a), b"0123456789")
    same(memory.find(b"0123456789") > 0, True)
    heap.check()
    heap.free(a)
    same(bytes(b), bytes(range(100)))
    heap.free(b)
    heap.check()
    same(heap.stats()["used"], 0)


def test_numbers():
    heap = Heap(bytearray(4096))
    before = heap.stats()
    same(before["used"] + before["free"], before["total"])
    same(before["total"] + before["overhead"] <= 4096, True)
    same(before["blocks"], 0)
    block = heap.malloc(before["largest_free"])
    after = heap.stats()
    same((after["blocks"], after["free"] < 64), (1, True))
    same(after["peak"], after["used"])
    same(heap.usable_size(block) >= before["largest_free"], True)
    heap.free(block)
    same(heap.stats()["free"], before["free"])


def test_full_is_memory_error_and_changes_nothing():
    heap = Heap(bytearray(2048))
    for size in (2048, 1 << 20, (1 << 30) - 1, -1):
        raises(MemoryError, heap.malloc, size)
    blocks = []
    try:
        while True:
            blocks.append(heap.malloc(24))
    except MemoryError:
        pass
    heap.check()
    same(len(blocks) > 40, True)
    for block in blocks:
        heap.free(block)
    heap.check()
    same(heap.stats()["blocks"], 0)


def test_wrong_blocks_are_refused():
    memory = bytearray(4096)
    heap = Heap(memory)
    block = heap.malloc(64)
    heap.free(block)
    raises(ValueError, heap.free, block)
    block = heap.malloc(64)
    raises(ValueError, heap.free, block[16:])
    raises(ValueError, heap.free, memory)
    raises(ValueError, heap.free, bytearray(64))
    raises(ValueError, heap.realloc, bytearray(64), 9)
    raises(TypeError, heap.free, 7)
    raises(TypeError, heap.malloc, "seven")
    same(heap.usable_size(bytearray(1)), 0)
    heap.free(block)
    heap.check()


def test_no_heap_is_refused():
    raises(ValueError, Heap, bytearray(16))
    raises(ValueError, Heap, bytearray(0))
    raises(TypeError, Heap, bytes(4096))
    raises(ValueError, knoll_heap._malloc, bytearray(4096), 10)
    heap = Heap(bytearray(4096))
    # A copy is another heap's memory.
    raises(ValueError, knoll_heap._malloc, bytearray(heap.memory), 10)
    for number in (-1, 0, 1, 4095, 4096, 1 << 29):
        same(knoll_heap._free(heap.memory, number), False)
        same(knoll_heap._realloc(heap.memory, number, 5), -1)
        if ARENAS:
            raises(ValueError, knoll_heap._arena_alloc, heap.memory, number, 5)
    heap.check()


def test_damage_is_told():
    memory = bytearray(4096)
    heap = Heap(memory)
    heap.malloc(32)
    heap.check()
    for n in range(40, len(memory)):
        memory[n] ^= 0x55
    raises(RuntimeError, heap.check)


def test_realloc_keeps_contents():
    heap = Heap(bytearray(8192))
    block = heap.malloc(20)
    block[:] = bytes(range(20))
    wall = heap.malloc(20)
    for size in (40, 1000, 3000, 100, 20, 1):
        block = heap.realloc(block, size)
        same((len(block), bytes(block[: min(size, 20)])), (size, bytes(range(min(size, 20)))))
        heap.check()
    raises(MemoryError, heap.realloc, wall, 100000)
    heap.free(wall)
    heap.free(block)
    same(heap.stats()["used"], 0)


def test_blocks_keep_the_memory():
    block = Heap(bytearray(4096)).malloc(100)
    block[:] = b"k" * 100
    for _ in range(20):
        gc.collect()
        bytearray(4096)
    same(bytes(block), b"k" * 100)


def test_any_address():
    memory = bytearray(4096 + 16)
    # MicroPython gives whole granules; a view at an odd place is refused, at a word's it serves.
    raises(ValueError, Heap, memoryview(memory)[1:])
    heap = Heap(memoryview(memory)[8:])
    heap.free(heap.malloc(100))
    heap.check()


def test_arena():
    if not ARENAS:
        raises(NameError, Heap(bytearray(4096)).arena)
        return
    heap = Heap(bytearray(8192))
    before = heap.stats()["used"]
    with heap.arena(presize=512) as arena:
        first = arena.alloc(30)
        first[:] = b"a" * 30
        rest = [arena.alloc(100) for _ in range(20)]
        for number, block in enumerate(rest):
            block[:] = bytes([number]) * 100
        same([bytes(block) for block in rest], [bytes([n]) * 100 for n in range(20)])
        same(bytes(first), b"a" * 30)
        stats = arena.stats()
        same((stats["used"] >= 2030, stats["presize"] >= 512, stats["refused"]), (True, True, 0))
        arena.reset()
        same(arena.stats()["used"], 0)
        heap.check()
    same(heap.stats()["used"], before)
    raises(ValueError, arena.alloc, 5)
    arena.destroy()


def test_arena_limits():
    if not ARENAS:
        return
    heap = Heap(bytearray(8192))
    raises(MemoryError, heap.arena, 100000)
    raises(MemoryError, heap.arena, -1)
    arena = heap.arena(presize=256, budget=1024)
    raises(MemoryError, arena.alloc, 2000)
    raises(MemoryError, arena.alloc, -1)
    same(arena.stats()["refused"] >= 1, True)
    block = heap.malloc(600)
    raises(ValueError, knoll_heap._arena_alloc, heap.memory, knoll_heap._place(heap.memory, block), 5)
    arena.destroy()
    heap.free(block)
    same(heap.stats()["used"], 0)


def test_random_operations():
    heap, random, live = Heap(bytearray(12000)), Random(7), []
    for step in range(1500 if sys.platform == "linux" else 300):
        what = random.below(10)
        if what < 5:
            try:
                block = heap.malloc(random.below(300))
            except MemoryError:
                continue
            mark = random.below(256)
            block[:] = bytes([mark]) * len(block)
            live.append((block, mark))
        elif live:
            at = random.below(len(live))
            block, mark = live.pop(at)
            same(bytes(block), bytes([mark]) * len(block))
            if what < 8:
                heap.free(block)
            else:
                kept = len(block)
                try:
                    block = heap.realloc(block, random.below(300))
                except MemoryError:
                    pass
                kept = min(kept, len(block))
                same(bytes(block[:kept]), bytes([mark]) * kept)
                block[:] = bytes([mark]) * len(block)
                live.append((block, mark))
        if step % 50 == 0:
            heap.check()
    for block, mark in live:
        same(bytes(block), bytes([mark]) * len(block))
        heap.free(block)
    heap.check()
    same(heap.stats()["blocks"], 0)


passed = failed = 0
for name, test in sorted(globals().items()):
    if name.startswith("test_"):
        try:
            test()
            passed += 1
            print("ok", name)
        except Exception as error:
            failed += 1
            print("FAILED", name)
            sys.print_exception(error)
print("%d passed, %d failed" % (passed, failed))
