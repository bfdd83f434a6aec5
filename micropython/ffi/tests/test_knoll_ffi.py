# knoll_ffi.py under MicroPython's unix port: python files and libknoll.so by its path as the only argument.
# Prints a line a test, and `N passed, N failed`.

import gc
import sys
import uctypes

import knoll_ffi

knoll = knoll_ffi.Knoll(sys.argv[1])


class Refused(Exception):
    pass


class Planned(Exception):
    pass


def raises(kind, work, *arguments):
    try:
        work(*arguments)
    except kind as error:
        return error
    raise Refused("no %s" % kind.__name__)


def same(found, expected):
    if found != expected:
        raise Refused("%r, not %r" % (found, expected))


def cells():
    knoll.check()
    return knoll.gc_stats()["cells"]


def test_version():
    same(knoll.version.count("."), 2)
    raises(OSError, knoll_ffi.Knoll, "/no/such/library.so")


# ---- scopes and arenas


def test_scope_gives_views():
    with knoll.scope("reader", presize=1024) as scope:
        a, b = scope.alloc(10), scope.alloc(100, align=64)
        a[:] = b"0123456789"
        b[:] = bytes(range(100))
        same((bytes(a), len(b), uctypes.addressof(b) % 64), (b"0123456789", 100, 0))
        same((scope.contains(a), scope.contains(bytearray(4))), (True, False))
        stats = scope.stats()
        same((stats["name"], stats["depth"], stats["used"] >= 110), ("reader", 1, True))
    same((scope.report["name"], scope.report["status"], scope.report["used"] >= 110), ("reader", 0, True))
    raises(knoll_ffi.KnollError, scope.stats)


def test_scope_ends_by_exception():
    def work():
        with knoll.scope("outer"):
            with knoll.scope("inner") as inner:
                inner.alloc(1000)
                raise Planned

    raises(Planned, work)
    with knoll.scope("next") as scope:
        same(scope.stats()["depth"], 1)


def test_scope_leaves_what_was_left_open():
    outer = knoll.scope("outer").__enter__()
    knoll.scope("forgotten").__enter__()
    error = raises(knoll_ffi.KnollError, outer.__exit__, None)
    same((error.status, outer.report["other"]), (knoll_ffi.ORDER, "forgotten"))
    knoll.scope("again").__enter__()
    knoll.unwind()
    with knoll.scope() as scope:
        same(scope.stats()["depth"], 1)


def test_limits():
    with knoll.scope("small", budget=4096) as scope:
        raises(MemoryError, scope.alloc, 100000)
        same(scope.stats()["refused_by"], "small")
    raises(MemoryError, knoll.scope("huge", presize=1 << 60).__enter__)
    raises(MemoryError, knoll.arena, "huge", 1 << 60)
    error = raises(knoll_ffi.KnollError, knoll.scope("wrong", flags=1 << 30).__enter__)
    same(error.status, knoll_ffi.INVALID)


def test_arena():
    with knoll.arena("messages", presize=2048) as arena:
        for _ in range(3):
            views = [arena.alloc(200) for _ in range(20)]
            for number, view in enumerate(views):
                view[:] = bytes([number]) * 200
            same([view[199] for view in views], list(range(20)))
            arena.reset()
            same(arena.stats()["used"], 0)
    same(arena.address, 0)
    arena.destroy()


def test_memory_is_not_micropythons():
    gc.collect()
    before = gc.mem_alloc()
    with knoll.arena("large", presize=1 << 20) as arena:
        view = arena.alloc(1 << 20)
        view[(1 << 20) - 1] = 7
        gc.collect()
        same(gc.mem_alloc() - before < 4096, True)
        same(view[(1 << 20) - 1], 7)


# ---- counted objects


def test_counts_and_finalisers():
    gone = []
    Node = knoll.type("Node", 32, refs=(0, 8), finaliser=lambda node: gone.append(node.address))
    before = cells()
    a, b = Node.new(), Node.new()
    same((a.count, cells() - before, a[0]), (1, 2, 0))
    a.view()[16:24] = b"payload!"
    a[0] = b
    same((b.count, a[0], Node.at(a[0]) == b), (2, b.address, True))
    b.unref()
    same((gone, b.count), ([], 1))
    a.ref().unref()
    a.unref()
    same((gone, cells() - before), ([a.address, b.address], 0))
    raises(IndexError, lambda: a[4])


def test_cycles():
    gone = []
    Ring = knoll.type("Ring", 16, refs=(0,), finaliser=lambda node: gone.append(1))
    before = cells()
    ring = [Ring.new() for _ in range(10)]
    for number, node in enumerate(ring):
        node[0] = ring[number - 1]
    for node in ring:
        node.unref()
    same(len(gone), 0)
    knoll.collect()
    same((len(gone), cells() - before), (10, 0))


def test_steps():
    gone = []
    Ring = knoll.type("Stepped", 16, refs=(0,), finaliser=lambda node: gone.append(1))
    for _ in range(50):
        a = Ring.new()
        a[0] = a
        a.unref()
    steps = 0
    while not knoll.step(10):
        steps += 1
        same(steps < 1000, True)
    same((len(gone), steps > 1), (50, True))


def test_finaliser_sees_the_object_and_keeps_it():
    kept = []

    def finaliser(node):
        if not kept:
            kept.append(bytes(node.view()[8:16]))
            node.ref()

    Phoenix = knoll.type("Phoenix", 16, refs=(0,), finaliser=finaliser)
    before = cells()
    bird = Phoenix.new()
    bird.view()[8:16] = b"feathers"
    bird.unref()
    same((kept, cells() - before, bird.count), ([b"feathers"], 1, 1))
    bird.unref()
    same(cells() - before, 0)


def test_finaliser_that_raises():
    # The exception leaves GC_unref by longjmp. The object is gone all the same, once.
    called = []

    def finaliser(node):
        called.append(node.address)
        raise Planned("from the finaliser")

    Bad = knoll.type("Bad", 16, finaliser=finaliser)
    Holder = knoll.type("Holder", 16, refs=(0,))
    before = cells()
    for round in range(20):
        bad = Bad.new()
        raises(Planned, bad.unref)
        knoll.check()
    same(len(called), 20)
    # The next destruction goes on with what was left.
    Bad.knoll.collect()
    same((cells() - before, knoll.gc_stats()["pending"]), (0, 0))
    same(len(called), 20)


def test_finaliser_that_raises_in_the_middle():
    # A list of ten: each third raises. Everything goes, each finaliser once.
    called = []

    def finaliser(node):
        number = node.view()[8]
        called.append(number)
        if number % 3 == 0:
            raise Planned(number)

    Link = knoll.type("Link", 16, refs=(0,), finaliser=finaliser)
    before = cells()
    head = None
    for number in range(10):
        link = Link.new()
        link.view()[8] = number
        if head is not None:
            link[0] = head
            head.unref()
        head = link
    raised = 0
    try:
        head.unref()
    except Planned:
        raised += 1
    for _ in range(20):
        try:
            knoll.collect()
        except Planned:
            raised += 1
        knoll.check()
    same((sorted(called), cells() - before), (list(range(10)), 0))
    same(raised, 4)


def test_finaliser_that_raises_in_a_cycle():
    called = []

    def finaliser(node):
        called.append(node.address)
        raise Planned

    Ring = knoll.type("BadRing", 16, refs=(0,), finaliser=finaliser)
    before = cells()
    ring = [Ring.new() for _ in range(6)]
    for number, node in enumerate(ring):
        node[0] = ring[number - 1]
    for node in ring:
        node.unref()
    for _ in range(20):
        try:
            knoll.collect()
        except Planned:
            pass
        knoll.check()
    same((len(called), len(set(called)), cells() - before), (6, 6, 0))


def test_finaliser_that_raises_in_a_scope():
    called = []

    def finaliser(node):
        called.append(node.address)
        raise Planned

    Local = knoll.type("Local", 32, finaliser=finaliser)
    before = cells()

    def work():
        with knoll.scope("local") as scope:
            for _ in range(3):
                scope.new(Local)

    raises(Planned, work)
    # The scope is still open: leaving it was interrupted. Unwinding goes on behind the callback.
    for _ in range(10):
        try:
            knoll.unwind()
        except Planned:
            pass
    same((len(called), len(set(called)), cells() - before), (3, 3, 0))
    with knoll.scope() as scope:
        same(scope.stats()["depth"], 1)


def test_finaliser_uses_knoll_and_micropython():
    made = []
    Other = knoll.type("Other", 64)

    def finaliser(node):
        with knoll.scope("in a finaliser") as scope:
            scope.alloc(500)[:] = b"x" * 500
        other = Other.new()
        made.append(other)
        gc.collect()
        knoll.collect()

    Busy = knoll.type("Busy", 16, finaliser=finaliser)
    before = cells()
    for _ in range(5):
        Busy.new().unref()
    same((len(made), cells() - before), (5, 5))
    for other in made:
        other.unref()
    same(cells() - before, 0)


def test_types_live_without_their_names():
    def make():
        gone = []
        return knoll.type("Forgotten", 16, finaliser=lambda node: gone.append(1)).new(), gone

    node, gone = make()
    for _ in range(10):
        gc.collect()
        bytearray(2000)
    node.unref()
    same(gone, [1])


def test_frees_in_portions():
    gone = []
    Link = knoll.type("Portion", 16, refs=(0,), finaliser=lambda node: gone.append(1))
    before = cells()
    knoll.configure(frees_per_unref=2)
    head = None
    for _ in range(20):
        link = Link.new()
        if head is not None:
            link[0] = head
            head.unref()
        head = link
    head.unref()
    same((len(gone) < 20, knoll.gc_stats()["pending"] > 0), (True, True))
    while not knoll.step(100):
        pass
    knoll.configure()
    same((len(gone), cells() - before), (20, 0))


# ---- heaps, numbers, reports


def test_heap_in_a_bytearray():
    heap = knoll_ffi.Heap(knoll, bytearray(32768))
    block = heap.malloc(1000)
    block[:] = b"b" * 1000
    raises(MemoryError, heap.malloc, 100000)
    raises(ValueError, heap.free, bytearray(10))
    with heap:
        gone = []
        Inside = knoll.type("Inside", 64, finaliser=lambda node: gone.append(1))
        nodes = [Inside.new() for _ in range(10)]
        same(knoll.gc_stats()["cells"], 10)
        with knoll.scope("here") as scope:
            same(heap.address < uctypes.addressof(scope.alloc(8)) < heap.address + 32768, True)
        same(knoll.fragmentation()["total"] <= 32768, True)
        for node in nodes:
            node.unref()
        same((len(gone), knoll.gc_stats()["cells"]), (10, 0))
        knoll._check(knoll.GC_check())
    same(bytes(block), b"b" * 1000)
    heap.free(block)
    raises(ValueError, heap.free, block)
    heap.check()
    raises(ValueError, knoll_ffi.Heap, knoll, bytearray(64))


def test_numbers():
    process = knoll.process_stats()
    same((process["mapped"] > 0, process["threads"] >= 1), (True, True))
    same(process["used"] == process["small_used"] + process["medium_used"] + process["large_used"], True)
    stats = knoll.gc_stats()
    same(stats["total"], stats["occupied"] + stats["free"])
    fragmentation = knoll.fragmentation()
    same((0 <= fragmentation["permille"] <= 1000, fragmentation["total"]), (True, fragmentation["used"] + fragmentation["free"]))


def test_dump_of_fragmentation():
    heap = knoll_ffi.Heap(knoll, bytearray(65536))
    with heap:
        blocks = [heap.malloc(1000) for _ in range(40)]
        for block in blocks[::2]:
            heap.free(block)
        dump = knoll.dump_fragmentation()
        same(isinstance(dump, dict), True)
        same(dump["free"], heap.stats()["free"])
        same(len(dump["pins"]) > 0, True)
        same(knoll.fragmentation()["holes"] >= 20, True)


def test_who_holds_and_instances():
    Named = knoll.type("Named", 16, refs=(0,))
    a, b = Named.new(), Named.new()
    a[0] = b
    text = knoll.who_holds(b)
    same(("Named+0 at 0x" in text, "references from elsewhere: 1" in text), (True, True))
    same("[Heap] Named: #2; bytes: " in knoll.instances(), True)
    raises(knoll_ffi.KnollError, knoll.who_holds, knoll.type("Nothing", 8).at(uctypes.addressof(bytearray(64))))
    b.unref()
    a.unref()


def test_misuse_is_told():
    told = []
    knoll.on_error(lambda status, address, text: told.append((status, text)))
    heap = knoll_ffi.Heap(knoll, bytearray(4096))
    block = uctypes.addressof(heap.malloc(100))
    knoll.kn_heap_free(heap.address, block)
    knoll.kn_heap_free(heap.address, block)
    knoll.on_error(None)
    same((len(told), told[0][0]), (1, -3))
    same("double free" in told[0][1], True)
    heap.check()


passed = failed = 0
only = sys.argv[2:]
for name, test in sorted(globals().items()):
    if name.startswith("test_") and (not only or name in only):
        try:
            test()
            passed += 1
            print("ok", name)
        except Exception as error:
            failed += 1
            print("FAILED", name)
            sys.print_exception(error)
print("%d passed, %d failed" % (passed, failed))
