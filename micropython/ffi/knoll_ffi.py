# Knoll from MicroPython's unix port, without rebuilding it: this file, and libknoll.so.
#
#   import knoll_ffi
#   knoll = knoll_ffi.Knoll("libknoll.so")
#   with knoll.scope("parse", presize=4096) as scope:
#       line = scope.alloc(80)                    # a bytearray over the scope's memory
#   Node = knoll.type("Node", 32, refs=(0, 8), finaliser=lambda node: print("gone", node.address))
#   node = Node.new(); other = Node.new()
#   node[0] = other; other.unref()                # counted references, cycles included
#   node.unref()
#
# - Views are bytearrays over Knoll's memory: no copy, and nothing that keeps the memory. What was freed, whose scope was
#   left, or whose object has gone must not be used any more.
# - Python objects must not be stored in Knoll's memory: MicroPython's collector does not look there.
# - Finalisers run inside the call that drops the last reference (unref, [], collect, step, a scope's end). An exception in
#   one leaves that call by longjmp, through Knoll and libffi, and arrives where the call was made. The object is gone
#   all the same, once, and so is all that it referred to, at the latest with the next call that destroys something.
# - Everything belongs to the thread that made it.
# - Statuses that are no KN_OK are raised as KnollError; MemoryError where there is no memory.
#
# Where a call is described in few words, include/knoll.h has all of them.

import ffi
import json
import struct
import uctypes

OK, INVALID, NO_MEMORY, ORDER, ESCAPE, BUDGET = 0, -1, -2, -6, -8, -9

# For scope() and arena().
FIXED, ZERO, POISON, CHECK_LEAVE, CHECK_STORES, SITES = 1, 2, 4, 8, 16, 32
# For escapes: what becomes of references that lead from outside into a scope that is left.
NULL, PROMOTE, TRAP, REFUSE = 0, 1, 2, 3
# For type().
ACYCLIC = 1

# Result, name, parameters, as ffi's type codes: p P pointers, L size_t, i I 32 bits, B bool, s text, v nothing.
_FUNCTIONS = (
    ("s", "kn_version", ""),
    ("s", "kn_status_str", "i"),
    ("v", "kn_on_error", "C"),
    ("p", "kn_heap_default", ""),
    ("p", "kn_heap_use", "p"),
    ("p", "kn_heap_create", "PL"),
    ("p", "kn_heap_malloc", "pL"),
    ("v", "kn_heap_free", "pp"),
    ("L", "kn_heap_usable_size", "pp"),
    ("i", "kn_heap_check", "p"),
    ("i", "kn_heap_stats", "pP"),
    ("i", "kn_fragmentation", "pP"),
    ("i", "kn_dump_fragmentation", "pCp"),
    ("i", "kn_process_stats", "P"),
    ("i", "kn_process_check", ""),
    ("i", "kn_arena_enter", "pPP"),
    ("i", "kn_arena_leave", "pP"),
    ("i", "kn_arena_unwind", "pp"),
    ("p", "kn_arena_create", "pP"),
    ("v", "kn_arena_reset", "p"),
    ("v", "kn_arena_destroy", "p"),
    ("p", "kn_arena_alloc", "pL"),
    ("p", "kn_arena_aligned_alloc", "pLL"),
    ("B", "kn_arena_contains", "pp"),
    ("i", "kn_arena_stats", "pP"),
    ("I", "GC_registerType", "P"),
    ("p", "GC_new", "I"),
    ("p", "GC_newSized", "IL"),
    ("p", "GC_newIn", "pI"),
    ("p", "GC_ref", "p"),
    ("v", "GC_unref", "p"),
    ("v", "GC_assign", "pp"),
    ("I", "GC_refcount", "p"),
    ("L", "GC_sizeOf", "p"),
    ("v", "GC_runOrc", ""),
    ("B", "GC_step", "L"),
    ("i", "GC_configure", "P"),
    ("i", "GC_stats", "P"),
    ("i", "GC_check", ""),
    ("i", "kn_dump_instances", "Cp"),
    ("i", "GC_whoHolds", "pCp"),
)

# Structures that the library fills in: the fields in order, all of them size_t but where a letter is given.
_GC_STATS = "total occupied free buffers cells roots pending threshold trigger collections steps visited freed longest"
_HEAP_STATS = "total used free peak largest_free blocks regions overhead"
_PROCESS_STATS = (
    "used free mapped peak blocks small_used small_free small_blocks pages waiting "
    "medium_used medium_free medium_blocks regions large_used large_blocks threads"
)
_ARENA_STATS = "P:name used peak held presize budget suggested blocks escapes refused P:refused_by depth"
_LEAVE_REPORT = (
    "i:status P:name P:other children cleanups destroyed released dropped counted escapes nulled promoted weak "
    "used peak held suggested"
)
_FRAGMENTATION = "total used free largest_free I:permille holes"
# Behind the named fields of the last two: KnEscape, and two arrays of 24 numbers.
_REMAINDER = 512


class KnollError(Exception):
    """A call that did nothing, or not all: `status` is a KnStatus."""

    def __init__(self, status, text):
        super().__init__("%s (%d)" % (text, status))
        self.status = status


def _fields(text):
    """Names of a structure's fields and its format for struct."""
    pairs = [("L:" + field if ":" not in field else field).split(":") for field in text.split(" ")]
    return [name for _, name in pairs], "@" + "".join([letter for letter, _ in pairs])


def _text(address):
    """The text at an address; None: NULL."""
    if address == 0:
        return None
    length = 0
    while uctypes.bytes_at(address + length, 1) != b"\0":
        length += 1
    return uctypes.bytes_at(address, length).decode()


class Knoll:
    """The library, loaded; its process heap, or the heap of `with Heap(...)`."""

    def __init__(self, path="libknoll.so"):
        library = ffi.open(path)
        for result, name, parameters in _FUNCTIONS:
            setattr(self, name, library.func(result, name, parameters))
        self.version = self.kn_version()
        # What the library refers to for as long as it lives: types, texts, callbacks.
        self._kept = []
        self._written = []
        self._writer = ffi.callback("L", self._write, "ppL")
        self._hook = None

    # ---- errors

    def _check(self, status):
        if status == NO_MEMORY:
            raise MemoryError("knoll: out of memory")
        if status != OK:
            raise KnollError(status, self.kn_status_str(status))

    def on_error(self, function):
        """`function(status, address, text)` is told of misuse; without one, misuse of the process heap aborts."""
        if function is None:
            self.kn_on_error(None)
            return

        def hook(status, address, text):
            # A callback's numbers are whole words: of a 32-bit one the upper half is anything.
            status &= 0xFFFFFFFF
            function(status - (1 << 32) if status >> 31 else status, address, _text(text))

        self._hook = ffi.callback("v", hook, "ipp")
        self._kept.append(self._hook)
        self.kn_on_error(self._hook)

    def check(self):
        """Verifies the records of the process heap and of counted memory; KnollError: they contradict each other."""
        self._check(self.kn_process_check())
        self._check(self.GC_check())

    # ---- scopes and arenas

    def scope(self, name=None, presize=0, budget=0, flags=0, escapes=NULL):
        """A scope, for `with`: entered there, left at the end, also by an exception."""
        return Scope(self, name, presize, budget, flags, escapes)

    def arena(self, name=None, presize=0, budget=0, flags=0):
        """A free-standing arena: see Arena."""
        return Arena(self, name, presize, budget, flags)

    def unwind(self):
        """Leaves all scopes that are open, innermost first."""
        self._check(self.kn_arena_unwind(self.kn_heap_default(), None))

    # ---- counted objects

    def type(self, name, size, refs=(), finaliser=None, flags=0):
        """A type of counted objects: see Type."""
        return Type(self, name, size, refs, finaliser, flags)

    def collect(self):
        """Finds and destroys cycles that nobody refers to."""
        self.GC_runOrc()

    def step(self, budget):
        """The same in pieces, of `budget` visits of objects; True: nothing is left to do."""
        return bool(self.GC_step(budget))

    def configure(self, flags=0, threshold=0, slice=0, frees_per_unref=0, frees_per_new=0):
        """GC_configure; 0 is the library's own value."""
        config = struct.pack("@IIIIIIIL", flags, threshold, 0, slice, 0, frees_per_unref, frees_per_new, 0)
        self._check(self.GC_configure(config))

    # ---- numbers and reports

    def _filled(self, text, function, *arguments):
        names, form = _fields(text)
        out = bytearray(struct.calcsize(form) + _REMAINDER)
        self._check(function(*arguments, out))
        return dict(zip(names, struct.unpack_from(form, out)))

    def gc_stats(self):
        """Counted memory, as KnGcStats: `cells` are alive, `pending` of them wait for destruction."""
        return self._filled(_GC_STATS, self.GC_stats)

    def process_stats(self):
        """The process heap, as KnProcessStats."""
        return self._filled(_PROCESS_STATS, self.kn_process_stats)

    def fragmentation(self):
        """Whether free memory is in one piece, as KnFragmentation without its histogram; `permille` is 1000 if so."""
        return self._filled(_FRAGMENTATION, self.kn_fragmentation, self.kn_heap_default())

    def _write(self, _, text, length):
        self._written.append(uctypes.bytes_at(text, length))
        return length

    def _told(self, function, *arguments):
        self._written = []
        self._check(function(*arguments, self._writer, None))
        text, self._written = b"".join(self._written).decode(), []
        return text

    def dump_fragmentation(self):
        """The fragmentation witness: what is free, in which pieces, and who is in the way; docs/witness.md."""
        return json.loads(self._told(self.kn_dump_fragmentation, self.kn_heap_default()))

    def instances(self):
        """Lines of text: how many objects of each type there are."""
        return self._told(self.kn_dump_instances)

    def who_holds(self, held):
        """Lines of text: a line for each reference to an object."""
        return self._told(self.GC_whoHolds, held.address)


class Heap:
    """A heap in a bytearray. In `with heap:` it is what scopes and counted objects are made in."""

    def __init__(self, knoll, memory):
        self.knoll, self.memory = knoll, memory
        self.address = knoll.kn_heap_create(memory, len(memory))
        if self.address == 0:
            raise ValueError("memory too small for a heap")
        self._before = []

    def malloc(self, size):
        """`size` bytes as a bytearray over them."""
        return _view(self.knoll.kn_heap_malloc(self.address, size), size)

    def free(self, block):
        """Gives a block back; ValueError: it is no used block of this heap."""
        at = uctypes.addressof(block)
        if self.knoll.kn_heap_usable_size(self.address, at) == 0:
            raise ValueError("no used block of this heap")
        self.knoll.kn_heap_free(self.address, at)

    def stats(self):
        """As KnHeapStats."""
        return self.knoll._filled(_HEAP_STATS, self.knoll.kn_heap_stats, self.address)

    def check(self):
        """Verifies the heap's records."""
        self.knoll._check(self.knoll.kn_heap_check(self.address))

    def __enter__(self):
        knoll = self.knoll
        before = knoll.kn_heap_default()
        knoll.kn_heap_use(self.address)
        self._before.append(before)
        return self

    def __exit__(self, *_):
        self.knoll.kn_heap_use(self._before.pop())


def _view(address, size):
    if address == 0:
        raise MemoryError("knoll: no room for %d bytes" % size)
    return uctypes.bytearray_at(address, size)


class _Memory:
    # What scopes and arenas have in common.

    def _config(self, name, presize, budget, flags, escapes):
        # The text lives as long as this object, and this one as long as the scope.
        self._name = ((name or "?") + "\0").encode()
        at = uctypes.addressof(self._name)
        return struct.pack("@PLLLLIIPPP", at, presize, budget, 0, 0, flags, escapes, 0, 0, 0)

    def alloc(self, size, align=0):
        """`size` bytes as a bytearray over them, aligned to 8 or as asked."""
        knoll = self.knoll
        if align:
            return _view(knoll.kn_arena_aligned_alloc(self.address, align, size), size)
        return _view(knoll.kn_arena_alloc(self.address, size), size)

    def new(self, type):
        """An object of a type in this memory: it goes with it, whatever its count is."""
        return type._made(self.knoll.GC_newIn(self.address, type.number))

    def contains(self, view):
        """Whether a view's bytes lie here."""
        return bool(self.knoll.kn_arena_contains(self.address, uctypes.addressof(view)))

    def stats(self):
        """As KnArenaStats."""
        stats = self.knoll._filled(_ARENA_STATS, self.knoll.kn_arena_stats, self.address)
        stats["name"], stats["refused_by"] = _text(stats["name"]), _text(stats["refused_by"])
        return stats


class Scope(_Memory):
    """Memory that goes when its `with` ends. `report` says then what leaving did, as KnLeaveReport."""

    def __init__(self, knoll, name, presize, budget, flags, escapes):
        self.knoll, self.address, self.report = knoll, 0, None
        self._wanted = self._config(name, presize, budget, flags, escapes)

    def __enter__(self):
        out = bytearray(8)
        self.knoll._check(self.knoll.kn_arena_enter(self.knoll.kn_heap_default(), self._wanted, out))
        self.address = struct.unpack_from("@P", out)[0]
        return self

    def __exit__(self, kind, *_):
        names, form = _fields(_LEAVE_REPORT)
        out = bytearray(struct.calcsize(form) + _REMAINDER)
        status = self.knoll.kn_arena_leave(self.address, out)
        report = dict(zip(names, struct.unpack_from(form, out)))
        report["name"], report["other"] = _text(report["name"]), _text(report["other"])
        self.report = report
        # An exception on its way is not hidden by what leaving says.
        if kind is None:
            self.knoll._check(status)


class Arena(_Memory):
    """Memory that goes with reset(), destroy(), or the end of a `with`."""

    def __init__(self, knoll, name, presize, budget, flags):
        self.knoll = knoll
        self.address = knoll.kn_arena_create(knoll.kn_heap_default(), self._config(name, presize, budget, flags, NULL))
        if self.address == 0:
            raise MemoryError("knoll: no arena of %d bytes" % presize)

    def reset(self):
        """All that was allocated goes; the memory stays the arena's."""
        self.knoll.kn_arena_reset(self.address)

    def destroy(self):
        """All goes, and the memory is the heap's again. A second time does nothing."""
        address, self.address = self.address, 0
        self.knoll.kn_arena_destroy(address)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()


class Type:
    """A type of counted objects of `size` bytes, with references at the offsets `refs`.

    `finaliser(object)` is called once, when nobody refers to the object any more, its memory and references still in
    place. It may use everything, keep the object by ref(), or raise. A type lives as long as the library.
    """

    def __init__(self, knoll, name, size, refs, finaliser, flags):
        self.knoll, self.name, self.size, self.refs = knoll, name, size, tuple(refs)
        text = (name + "\0").encode()
        offsets = struct.pack("@%dI" % len(refs), *refs)
        destroy = 0
        if finaliser is not None:
            callback = ffi.callback("v", lambda address: finaliser(Object(self, address)), "p")
            destroy = callback.cfun()
            knoll._kept.append(callback)
        at, offsets_at = uctypes.addressof(text), uctypes.addressof(offsets) if refs else 0
        descriptor = struct.pack("@PIIIPPPPPP", at, size, flags, len(refs), offsets_at, destroy, 0, 0, 0, 0)
        knoll._kept.append((text, offsets, descriptor, finaliser))
        self.number = knoll.GC_registerType(descriptor)
        if self.number == 0:
            raise ValueError("knoll: %s is no type" % name)

    def new(self):
        """An object, all zero, with one reference: yours."""
        return self._made(self.knoll.GC_new(self.number))

    def new_sized(self, size):
        """The same with more bytes than the type has."""
        return self._made(self.knoll.GC_newSized(self.number, size))

    def at(self, address):
        """The object at an address; None for 0. No reference is taken."""
        return Object(self, address) if address else None

    def _made(self, address):
        if address == 0:
            raise MemoryError("knoll: no room for a %s" % self.name)
        return Object(self, address)


class Object:
    """A counted object, by its address: several of these may stand for one. Not counted by being there."""

    def __init__(self, type, address):
        self.type, self.address = type, address

    def view(self):
        """Its bytes, as a bytearray over them. References in them are changed by `object[offset] = …` alone."""
        return uctypes.bytearray_at(self.address, self.type.knoll.GC_sizeOf(self.address))

    @property
    def count(self):
        return self.type.knoll.GC_refcount(self.address)

    def ref(self):
        """One reference more; returns the object."""
        self.type.knoll.GC_ref(self.address)
        return self

    def unref(self):
        """One less; with the last one the object goes."""
        self.type.knoll.GC_unref(self.address)

    def _slot(self, offset):
        if offset not in self.type.refs:
            raise IndexError("%s has no reference at %s" % (self.type.name, offset))
        return self.address + offset

    def __getitem__(self, offset):
        """The address that a reference holds, 0: none. `type.at(address)` makes an object of it."""
        return struct.unpack_from("@P", uctypes.bytes_at(self._slot(offset), struct.calcsize("@P")))[0]

    def __setitem__(self, offset, other):
        """Sets a reference: counts the new one, drops the old one. None: NULL."""
        self.type.knoll.GC_assign(self._slot(offset), None if other is None else other.address)

    def __eq__(self, other):
        return isinstance(other, Object) and self.address == other.address

    def __hash__(self):
        return self.address

    def __repr__(self):
        return "<%s at 0x%x>" % (self.type.name, self.address)
