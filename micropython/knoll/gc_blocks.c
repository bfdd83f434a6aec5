/*
 * gc_blocks.c: allocating, resizing and freeing: py/gc.c's functions, and those of py/malloc.c above them.
 *
 * What callers rely on holds:
 * - gc_alloc() returns zeroed memory; NULL for 0 bytes, while locked, in a finaliser, and when there is no room
 *   after a collection (none with gc.disable()). m_malloc() raises MemoryError instead of all but the first.
 * - gc_free() and m_free() call no finaliser, are ignored while locked, and work inside a sweep.
 * - gc_realloc() shrinks in place, grows in place if it can, and keeps the finaliser.
 * - micropython.mem_total(), mem_current() and mem_peak() give what py/malloc.c would count (MICROPY_MEM_STATS).
 *
 *     m_malloc(n)         locked? gc.threshold()?   ──▶ gc_alloc(n), and raise
 *                         else a jump               ──▶ kn_traced_alloc ──▶ no room: knoll_short() raises
 *     m_malloc(n) of a str, a name                  ──▶ with a flag: gc_place.h
 *
 * Costs on Cortex-M3: 10 instructions before kn_traced_alloc() and none behind it, 15 with MICROPY_MEM_STATS; with
 * threads and no GIL the mutex.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "py/binary.h"
#include "py/gc.h"
#include "py/obj.h"
#include "py/objarray.h"
#include "py/runtime.h"

#include "gc_swap.h"
#include "gc_place.h"

#if MICROPY_MALLOC_USES_ALLOCATED_SIZE
#define OLD_SIZE size_t old_bytes,
#define SIZE , size_t bytes
#else
#define OLD_SIZE
#define SIZE
#endif

// The names that --wrap makes. The compiler wants a declaration of each.
void *__wrap_gc_alloc(size_t bytes, unsigned int flags);
void __wrap_gc_free(void *block);
size_t __wrap_gc_nbytes(const void *block);
void *__wrap_gc_realloc(void *block, size_t bytes, bool allow_move);
void *__wrap_m_malloc(size_t bytes);
void *__wrap_m_malloc0(size_t bytes) __attribute__((alias("__wrap_m_malloc")));
void *__wrap_m_realloc(void *block, OLD_SIZE size_t bytes);
void __wrap_m_free(void *block SIZE);
void *__wrap_m_realloc_maybe(void *block, OLD_SIZE size_t bytes, bool allow_move);
void __wrap_m_tracked_free(void *block);
void __real_m_tracked_free(void *block);
#if MICROPY_MEM_STATS
size_t __wrap_m_get_peak_bytes_allocated(void);
#endif

// In the program each function that another file calls is whole: no jump from one to the next.
#define INLINE static inline __attribute__((always_inline))
#define heap knoll_the_heap
#define IS_LOCKED() (MP_STATE_THREAD(gc_lock_depth) != 0)
#define GRANULE ((size_t)MICROPY_BYTES_PER_GC_BLOCK)
#define GRANULES(bytes) (((bytes) + GRANULE - 1) / GRANULE)

/******************************************************************************/
// py/gc.c

#if MICROPY_GC_ALLOC_THRESHOLD
// gc.threshold() was called: count, and collect when it is reached.
static void count(size_t bytes) {
    if (MP_STATE_MEM(gc_alloc_amount) >= MP_STATE_MEM(gc_alloc_threshold) && MP_STATE_MEM(gc_auto_collect_enabled)) {
        gc_collect();
    }
    MP_STATE_MEM(gc_alloc_amount) += GRANULES(bytes);
}
#define COUNTS() (MP_STATE_MEM(gc_alloc_threshold) != (size_t)-1)
#else
#define count(bytes) (void)0
#define COUNTS() false
#endif

// Does the caller want NULL when there is no room?
static bool wants_null;

INLINE void *allocate(size_t bytes, unsigned int flags) {
    if (IS_LOCKED()) {
        return NULL;
    }
    ENTER();
    if (COUNTS()) {
        count(bytes);
    }
    wants_null = true;
    void *block = kn_traced_alloc(heap, bytes, flags);
    #if MICROPY_GC_SPLIT_HEAP_AUTO
    if (block == NULL && bytes != 0 && MP_STATE_MEM(gc_auto_collect_enabled) && knoll_grow(bytes)) {
        block = kn_traced_alloc(heap, bytes, flags);
    }
    #endif
    wants_null = false;
    LEAVE();
    return block;
}

void *__wrap_gc_alloc(size_t bytes, unsigned int flags) {
    return allocate(bytes, flags);
}

INLINE void release(void *block) {
    // A finaliser may free.
    if (MP_STATE_THREAD(gc_lock_depth) & ~GC_COLLECT_FLAG) {
        return;
    }
    ENTER();
    kn_traced_free(heap, block);
    LEAVE();
}

void __wrap_gc_free(void *block) {
    release(block);
}

size_t __wrap_gc_nbytes(const void *block) {
    ENTER();
    const size_t bytes = kn_traced_size(heap, block);
    LEAVE();
    return bytes;
}

void *__wrap_gc_realloc(void *old, size_t bytes, bool allow_move) {
    if (old == NULL) {
        return __wrap_gc_alloc(bytes, 0);
    }
    if (bytes == 0) {
        __wrap_gc_free(old);
        return NULL;
    }
    if (IS_LOCKED()) {
        return NULL;
    }
    ENTER();
    wants_null = true;
    void *block = kn_traced_realloc(heap, old, bytes, allow_move);
    #if MICROPY_GC_SPLIT_HEAP_AUTO
    if (block == NULL && allow_move && MP_STATE_MEM(gc_auto_collect_enabled) && knoll_grow(bytes)) {
        block = kn_traced_realloc(heap, old, bytes, allow_move);
    }
    #endif
    wants_null = false;
    #if MICROPY_GC_ALLOC_THRESHOLD
    if (block != old && COUNTS()) {
        MP_STATE_MEM(gc_alloc_amount) += GRANULES(bytes);
    }
    #endif
    LEAVE();
    return block;
}

/******************************************************************************/
// py/malloc.c

#if MICROPY_MEM_STATS
// The peak is looked at when the number falls, and when it is asked for.
INLINE void note_peak(void) {
    if (MP_STATE_MEM(current_bytes_allocated) > MP_STATE_MEM(peak_bytes_allocated)) {
        MP_STATE_MEM(peak_bytes_allocated) = MP_STATE_MEM(current_bytes_allocated);
    }
}
#define COUNT_BYTES(bytes) (MP_STATE_MEM(total_bytes_allocated) += (bytes), MP_STATE_MEM(current_bytes_allocated) += (bytes))
#else
#define note_peak() (void)0
#define COUNT_BYTES(bytes) (void)0
#endif

// Any case: locked, counted, with flags.
static MP_NOINLINE void *alloc_or_raise(size_t bytes, unsigned int flags) {
    void *block = allocate(bytes, flags);
    if (block == NULL && bytes != 0) {
        m_malloc_fail(bytes);
    }
    COUNT_BYTES(bytes);
    return block;
}

INLINE void *realloc_or_raise(void *old, size_t bytes) {
    void *block = __wrap_gc_realloc(old, bytes, true);
    if (block == NULL && bytes != 0) {
        m_malloc_fail(bytes);
    }
    return block;
}

#if KNOLL_PLAIN

INLINE void *allocate_usually(size_t bytes) {
    return alloc_or_raise(bytes, 0);
}

#else

// Nobody else is to be asked for memory: the caller gets NULL, or this raises.
void knoll_short(void *context, const KnTracedShort *report) {
    (void)context;
    if (!wants_null) {
        // It was counted before.
        COUNT_BYTES((size_t)0 - report->request);
        m_malloc_fail(report->request);
    }
}

// Nothing is done behind kn_traced_alloc(): no register is saved.
INLINE void *allocate_usually(size_t bytes) {
    if (MP_UNLIKELY(IS_LOCKED()) || MP_UNLIKELY(COUNTS())) {
        return alloc_or_raise(bytes, 0);
    }
    COUNT_BYTES(bytes);
    return kn_traced_alloc(heap, bytes, 0);
}

#endif

void *__wrap_m_malloc(size_t bytes) {
    return allocate_usually(bytes);
}

void *__wrap_m_realloc(void *old, OLD_SIZE size_t bytes) {
    #if !KNOLL_PLAIN && !MICROPY_MEM_STATS
    if (MP_LIKELY(!IS_LOCKED()) && MP_LIKELY(!COUNTS())) {
        return kn_traced_realloc(heap, old, bytes, true);
    }
    #endif
    void *block = realloc_or_raise(old, bytes);
    #if MICROPY_MEM_STATS
    note_peak();
    COUNT_BYTES(bytes - old_bytes);
    #elif MICROPY_MALLOC_USES_ALLOCATED_SIZE
    (void)old_bytes;
    #endif
    return block;
}

void __wrap_m_free(void *block SIZE) {
    #if MICROPY_MEM_STATS
    note_peak();
    MP_STATE_MEM(current_bytes_allocated) -= bytes;
    #elif MICROPY_MALLOC_USES_ALLOCATED_SIZE
    (void)bytes;
    #endif
    release(block);
}

void *__wrap_m_realloc_maybe(void *old, OLD_SIZE size_t bytes, bool allow_move) {
    void *block = __wrap_gc_realloc(old, bytes, allow_move);
    #if MICROPY_MEM_STATS
    // One that failed does not count.
    if (block != NULL || bytes == 0) {
        note_peak();
        COUNT_BYTES(bytes - old_bytes);
    }
    #elif MICROPY_MALLOC_USES_ALLOCATED_SIZE
    (void)old_bytes;
    #endif
    return block;
}

// It frees in py/malloc.c.
void __wrap_m_tracked_free(void *block) {
    note_peak();
    __real_m_tracked_free(block);
}

#if MICROPY_MEM_STATS
size_t __wrap_m_get_peak_bytes_allocated(void) {
    note_peak();
    return MP_STATE_MEM(peak_bytes_allocated);
}
#endif

/******************************************************************************/
// Contents and lifetimes, by who allocates

// From this size on a block is looked into more slowly than flagged.
#define LARGE 64

// The characters of a str or bytes object are allocated right after the object, which says by then what it is.
static MP_NOINLINE void *alloc_characters(size_t bytes) {
    unsigned int flags = 0;
    #if !KNOLL_MUTEX
    const mp_obj_base_t *object = kn_traced_newest(heap);
    if (object != NULL && object->type == &mp_type_str) {
        flags = KN_NO_SCAN;
    }
    #endif
    return alloc_or_raise(bytes, flags);
}

void *knoll_malloc_str(size_t bytes) {
    if (bytes >= LARGE) {
        return alloc_characters(bytes);
    }
    return allocate_usually(bytes);
}

#if KNOLL_NO_SCAN_BUFFERS

void *knoll_malloc_vstr(size_t bytes) {
    if (bytes >= LARGE) {
        return alloc_or_raise(bytes, KN_NO_SCAN);
    }
    return allocate_usually(bytes);
}

#if KNOLL_MUTEX
// The array object that was allocated last, and by whom: other threads allocate in between.
static const mp_obj_array_t *fresh;
static const void *fresh_thread;
#endif

// An array object's buffer is allocated right after the object, which says by then of what type it is. Can it hold
// no pointer? Bytes and floats cannot. Integers as large as a pointer may be addresses, which py/gc.c would follow:
// so do we.
static bool is_without_pointers(const mp_obj_array_t *array) {
    #if MICROPY_PY_BUILTINS_BYTEARRAY
    if (array->base.type == &mp_type_bytearray) {
        return true;
    }
    #endif
    switch (array->typecode) {
        case 'b':
        case 'B':
        case 'h':
        case 'H':
        case 'f':
        case 'd':
            return true;
        default:
            return false;
    }
}

static MP_NOINLINE void *alloc_items(size_t bytes) {
    #if KNOLL_MUTEX
    const mp_obj_array_t *array = fresh_thread == mp_thread_get_state() ? fresh : NULL;
    fresh = NULL;
    #else
    const mp_obj_array_t *array = kn_traced_newest(heap);
    #endif
    return alloc_or_raise(bytes, array != NULL && is_without_pointers(array) ? KN_NO_SCAN : 0);
}

void *knoll_malloc_array(size_t bytes) {
    if (bytes >= LARGE) {
        return alloc_items(bytes);
    }
    void *block = allocate_usually(bytes);
    #if KNOLL_MUTEX
    if (bytes == sizeof(mp_obj_array_t)) {
        fresh = block;
        fresh_thread = mp_thread_get_state();
    }
    #endif
    return block;
}

#endif

void *knoll_malloc_name(size_t bytes) {
    ENTER();
    const bool in_scope = kn_traced_in_scope(heap);
    LEAVE();
    void *block = allocate(bytes, in_scope ? KN_LONG_LIVED : 0);
    COUNT_BYTES(block != NULL ? bytes : 0);
    return block;
}

void *knoll_malloc_table(size_t bytes, const void *owner) {
    if (MP_UNLIKELY(kn_traced_in_scope(heap)) && knoll_outlives(owner)) {
        return alloc_or_raise(bytes, KN_LONG_LIVED);
    }
    return allocate_usually(bytes);
}

void knoll_blocks_begin(void) {
    wants_null = false;
    #if KNOLL_MUTEX && KNOLL_NO_SCAN_BUFFERS
    fresh = NULL;
    #endif
}
