# `Heap` and `Arena`, over the functions of knoll_heap_native.c, whose names begin with `_`.
#
# A block is a memoryview of the bytearray, exactly as long as was asked. It holds the bytearray, so memory never goes
# while a block is in use; but a block that was freed, or whose arena was reset, must not be used any more.


class Heap:
    """A heap in a bytearray: every block, and all that the heap knows, lies in it.

    The bytearray must not grow or shrink while the heap is in use. To forget the heap is to forget the bytearray.
    """

    def __init__(self, memory):
        if not _create(memory):
            raise ValueError("memory too small for a heap")
        self.memory = memory

    def _view(self, place, size):
        if place < 0:
            raise MemoryError("no room for %d bytes" % size)
        return memoryview(self.memory)[place : place + size]

    def _block(self, view):
        place = _place(self.memory, view)
        if _usable(self.memory, place) == 0:
            raise ValueError("no used block of this heap")
        return place

    def malloc(self, size):
        """A block of `size` bytes, not cleared. MemoryError: no free block is large enough."""
        return self._view(_malloc(self.memory, size), size)

    def free(self, block):
        """Gives a block back. ValueError: it is none of this heap, or free already."""
        _free(self.memory, self._block(block))

    def realloc(self, block, size):
        """The block with another size, perhaps elsewhere, its contents kept. MemoryError: it is as it was."""
        return self._view(_realloc(self.memory, self._block(block), size), size)

    def usable_size(self, block):
        """The bytes that the block takes; 0: it is no used block."""
        return _usable(self.memory, _place(self.memory, block))

    def arena(self, presize=0, budget=0):
        """An arena in the heap: see Arena. NameError: this module was made without arenas."""
        return Arena(self, presize, budget)

    def stats(self):
        """A dict of bytes and counts, as KnHeapStats."""
        return dict(zip(("total", "used", "free", "peak", "largest_free", "blocks", "overhead"), _stats(self.memory)))

    def check(self):
        """Verifies the heap's records; RuntimeError: something wrote outside of its block."""
        status = _check(self.memory)
        if status:
            raise RuntimeError("the heap is damaged: %d" % status)


class Arena:
    """Memory that goes all at once: with reset(), destroy(), or at the end of a `with`.

    `presize` bytes are taken at once; `budget` is the most that it may hold, 0: no limit.
    """

    def __init__(self, heap, presize=0, budget=0):
        self.heap = heap
        self._at = _arena(heap.memory, presize, budget)
        if self._at < 0:
            raise MemoryError("no room for an arena of %d bytes" % presize)

    def alloc(self, size):
        """`size` bytes, aligned to 8, not cleared. MemoryError: the heap or the budget has no room."""
        return self.heap._view(_arena_alloc(self.heap.memory, self._at, size), size)

    def reset(self):
        """All that was allocated goes; the memory stays the arena's."""
        _arena_reset(self.heap.memory, self._at)

    def destroy(self):
        """All goes, and the memory is the heap's again. A second time does nothing."""
        if self._at >= 0:
            _arena_destroy(self.heap.memory, self._at)
            self._at = -1

    def stats(self):
        """A dict of bytes and counts, as KnArenaStats."""
        names = ("used", "peak", "held", "presize", "budget", "blocks", "refused")
        return dict(zip(names, _arena_stats(self.heap.memory, self._at)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.destroy()
