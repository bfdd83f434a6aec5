/*
 * gc_swap.c: MicroPython's garbage-collected heap, kept by Knoll.
 *
 * MicroPython is not changed. The linker's --wrap gives every call of a gc_ function that comes from another
 * object file than py/gc.c to the function __wrap_... below (micropython.mk has the list); nothing then calls
 * py/gc.c, and --gc-sections drops it.
 *
 *     interpreter, modules, port           this file                  libknoll.a
 *     gc_alloc(n, flags)        ──wrap──▶   locked? threshold?   ──▶   kn_traced_alloc
 *     gc_collect_root(p, n)     ──wrap──▶                        ──▶   kn_traced_mark
 *     gc_collect()  (the port's own)  ◀──   collect()            ◀──   no room
 *     __del__ of the object           ◀──   finalise()           ◀──   found dead
 *
 * What callers of py/gc.c rely on holds:
 * - gc_alloc() returns zeroed memory; NULL for 0 bytes, while locked, in a finaliser, and when there is no room
 *   after a collection (none with gc.disable()).
 * - gc_free() calls no finaliser, is ignored while locked, and works inside a sweep.
 * - gc_realloc() shrinks in place, grows in place if it can, and keeps the finaliser.
 * - Only a pointer to a block's start keeps it; roots are mp_state_ctx, the Python stack and what the port adds.
 * - Finalisers run while all dead objects are intact, the scheduler locked, exceptions caught.
 * - The fields that others read and write are kept: gc_lock_depth of each thread with the flag of the collection
 *   in it, gc_auto_collect_enabled, gc_alloc_threshold, gc_alloc_amount, gc_collected, gc_mutex.
 *   MP_STATE_MEM(area) alone is not: nobody but py/gc.c has business there.
 *
 * Costs: 12 instructions on Cortex-M3 before kn_traced_alloc(), none behind it; with threads and no GIL the mutex.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include <string.h>

#include "py/gc.h"
#include "py/nlr.h"
#include "py/binary.h"
#include "py/obj.h"
#include "py/objarray.h"
#include "py/runtime.h"

#include "gc_swap.h"

#ifndef KNOLL_SLICE
#define KNOLL_SLICE 0
#endif

#if !MICROPY_ENABLE_GC
#error The knoll folder replaces the garbage-collected heap: MICROPY_ENABLE_GC must be 1.
#endif

#if MICROPY_PY_THREAD && !MICROPY_PY_THREAD_GIL
#define ENTER() mp_thread_recursive_mutex_lock(&MP_STATE_MEM(gc_mutex), 1)
#define LEAVE() mp_thread_recursive_mutex_unlock(&MP_STATE_MEM(gc_mutex))
#define MUTEX_INIT() mp_thread_recursive_mutex_init(&MP_STATE_MEM(gc_mutex))
#else
// No threads, or whoever allocates holds the GIL.
#define ENTER()
#define LEAVE()
#define MUTEX_INIT()
#endif

#define GRANULE ((size_t)MICROPY_BYTES_PER_GC_BLOCK)
#define GRANULES(bytes) (((bytes) + GRANULE - 1) / GRANULE)

// The names that --wrap makes. The compiler wants a declaration of each.
void __wrap_gc_init(void *start, void *end);
void __wrap_gc_lock(void);
void __wrap_gc_unlock(void);
bool __wrap_gc_is_locked(void);
void __wrap_gc_collect_start(void);
void __wrap_gc_collect_root(void **ptrs, size_t len);
void __wrap_gc_collect_end(void);
void __wrap_gc_sweep_all(void);
void *__wrap_gc_alloc(size_t n_bytes, unsigned int alloc_flags);
void __wrap_gc_free(void *ptr);
size_t __wrap_gc_nbytes(const void *ptr);
void *__wrap_gc_realloc(void *ptr, size_t n_bytes, bool allow_move);
void __wrap_gc_info(gc_info_t *info);
#if MICROPY_GC_SPLIT_HEAP
void __wrap_gc_add(void *start, void *end);
#endif

// The Python module's, if it is there.
MP_WEAK void knoll_module_forget(void);

static KnTraced *heap;

KnTraced *knoll_heap(void) {
    return heap;
}

void knoll_enter(void) {
    ENTER();
}

void knoll_leave(void) {
    LEAVE();
}

/******************************************************************************/
// The heap

static void collect(void *context);
static void finalise(void *context, void *block);

// Is this collection the heap's own idea? Then it may leave the sweep to the allocations that come.
static bool automatic;

#if MICROPY_PY_THREAD && !MICROPY_PY_THREAD_GIL
// The block of an array object's size that was allocated last, and by whom: see large().
static const mp_obj_array_t *fresh;
static const void *fresh_thread;
#endif

void __wrap_gc_init(void *start, void *end) {
    const KnTracedConfig config = {
        .granule = GRANULE,
        .slice = KNOLL_SLICE,
        .collect = collect,
        .finalise = finalise,
    };
    heap = kn_traced_create(start, (size_t)((byte *)end - (byte *)start), &config);
    if (heap == NULL) {
        // Not one object fits: there is nobody yet who could catch an exception.
        nlr_jump_fail(NULL);
    }
    #if MICROPY_PY_THREAD && !MICROPY_PY_THREAD_GIL
    fresh = NULL;
    #endif
    automatic = false;
    if (knoll_module_forget != NULL) {
        knoll_module_forget();
    }
    MP_STATE_THREAD(gc_lock_depth) = 0;
    MP_STATE_MEM(gc_auto_collect_enabled) = 1;
    #if MICROPY_GC_ALLOC_THRESHOLD
    MP_STATE_MEM(gc_alloc_threshold) = (size_t)-1;
    MP_STATE_MEM(gc_alloc_amount) = 0;
    #endif
    MUTEX_INIT();
}

#if MICROPY_GC_SPLIT_HEAP
void __wrap_gc_add(void *start, void *end) {
    ENTER();
    kn_traced_add_area(heap, start, (size_t)((byte *)end - (byte *)start), 0);
    LEAVE();
}
#endif

// The depth is that of the thread, and an interrupt leaves it as it was: neither needs the mutex.
void __wrap_gc_lock(void) {
    MP_STATE_THREAD(gc_lock_depth) += 1 << GC_LOCK_DEPTH_SHIFT;
}

void __wrap_gc_unlock(void) {
    MP_STATE_THREAD(gc_lock_depth) -= 1 << GC_LOCK_DEPTH_SHIFT;
}

bool __wrap_gc_is_locked(void) {
    return MP_STATE_THREAD(gc_lock_depth) != 0;
}

/******************************************************************************/
// Collections

// Memory is short.
static void collect(void *context) {
    (void)context;
    if (MP_STATE_MEM(gc_auto_collect_enabled)) {
        automatic = true;
        gc_collect();
        automatic = false;
    }
}

// An object with a finaliser is dead.
static void finalise(void *context, void *block) {
    (void)context;
    #if MICROPY_ENABLE_FINALISER
    const mp_obj_base_t *object = block;
    if (object->type == NULL) {
        // Allocated, and then its making failed.
        return;
    }
    mp_obj_t method[2];
    mp_load_method_maybe(MP_OBJ_FROM_PTR(block), MP_QSTR___del__, method);
    if (method[0] == MP_OBJ_NULL) {
        return;
    }
    #if MICROPY_ENABLE_SCHEDULER
    mp_sched_lock();
    #endif
    mp_call_function_1_protected(method[0], method[1]);
    #if MICROPY_ENABLE_SCHEDULER
    mp_sched_unlock();
    #endif
    #else
    (void)block;
    #endif
}

// From here to gc_collect_end() the mutex is held, and this thread's allocations fail.
static void begin(void) {
    ENTER();
    MP_STATE_THREAD(gc_lock_depth) |= GC_COLLECT_FLAG;
    kn_traced_collect_start(heap);
}

void __wrap_gc_collect_start(void) {
    begin();
    #if MICROPY_GC_ALLOC_THRESHOLD
    MP_STATE_MEM(gc_alloc_amount) = 0;
    #endif
    // mp_state_ctx is laid out so that all its roots lie between these two.
    const size_t first = offsetof(mp_state_ctx_t, thread.dict_locals);
    const size_t end = offsetof(mp_state_ctx_t, vm.qstr_last_chunk);
    void **words = (void **)(void *)&mp_state_ctx;
    kn_traced_mark(heap, words + first / sizeof(void *), (end - first) / sizeof(void *));
    #if MICROPY_ENABLE_PYSTACK
    const size_t used = (size_t)(MP_STATE_THREAD(pystack_cur) - MP_STATE_THREAD(pystack_start));
    kn_traced_mark(heap, (void **)(void *)MP_STATE_THREAD(pystack_start), used / sizeof(void *));
    #endif
}

// Without the mutex: ports call it in other threads, too, while the collecting one waits for them with it held.
void __wrap_gc_collect_root(void **ptrs, size_t len) {
    kn_traced_mark(heap, ptrs, len);
}

// Ends it, and sweeps all if the program asked for the collection: then it wants its memory and the number.
static void end(void) {
    kn_traced_collect_end(heap);
    if (KNOLL_SLICE > 0 && !automatic) {
        kn_traced_step(heap, (size_t)-1);
    }
    #if MICROPY_PY_GC_COLLECT_RETVAL
    MP_STATE_MEM(gc_collected) = kn_traced_freed(heap);
    #endif
    MP_STATE_THREAD(gc_lock_depth) &= (uint16_t) ~GC_COLLECT_FLAG;
}

void __wrap_gc_collect_end(void) {
    end();
    LEAVE();
}

// The interpreter ends or begins anew: everything is dead, and no workflow is under way any more.
void __wrap_gc_sweep_all(void) {
    begin();
    end();
    while (kn_traced_in_scope(heap)) {
        kn_traced_scope_end(heap);
    }
    if (knoll_module_forget != NULL) {
        knoll_module_forget();
    }
    LEAVE();
}

/******************************************************************************/
// Blocks

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

// From this size on it is worth while to find out whether a buffer holds pointers.
#define LARGE 64

// Is this the array object whose buffer of so many bytes is being allocated, and can that hold no pointer? Bytes
// and floats cannot. Integers as large as a pointer may be addresses, which py/gc.c would follow: so do we.
static bool is_fresh_array(const mp_obj_array_t *array, size_t bytes) {
    if (array == NULL || array->items != NULL || array->free != 0) {
        return false;
    }
    size_t item = 1;
    #if MICROPY_PY_BUILTINS_BYTEARRAY
    if (array->base.type == &mp_type_bytearray) {
        return array->typecode == BYTEARRAY_TYPECODE && array->len == bytes;
    }
    #endif
    #if MICROPY_PY_ARRAY
    if (array->base.type == &mp_type_array) {
        switch (array->typecode) {
            case 'b':
            case 'B':
                break;
            case 'h':
            case 'H':
                item = sizeof(short);
                break;
            case 'f':
                item = sizeof(float);
                break;
            case 'd':
                item = sizeof(double);
                break;
            default:
                return false;
        }
        return array->len * item == bytes;
    }
    #endif
    (void)item;
    return false;
}

// A large block. The buffer of an array is allocated right after its object, which says by then that its buffer
// is missing and how long it will be. A list of the same words, [bytearray, 0, n, nothing yet], has an n with
// bits set that a multiple of the word has not; and what is no multiple of the word is left alone.
static MP_NOINLINE void *large(size_t bytes, unsigned int flags) {
    #if MICROPY_PY_THREAD && !MICROPY_PY_THREAD_GIL
    const mp_obj_array_t *array = fresh_thread == mp_thread_get_state() ? fresh : NULL;
    fresh = NULL;
    #else
    // It may be gone, and shorter than an array: then its size says so.
    const mp_obj_array_t *array = kn_traced_newest(heap);
    if (kn_traced_size(heap, array) < sizeof *array) {
        array = NULL;
    }
    #endif
    if (bytes % sizeof(void *) == 0 && is_fresh_array(array, bytes)) {
        flags |= KN_NO_SCAN;
    }
    return kn_traced_alloc(heap, bytes, flags);
}

#if MICROPY_PY_THREAD && !MICROPY_PY_THREAD_GIL

void *__wrap_gc_alloc(size_t n_bytes, unsigned int alloc_flags) {
    if (MP_STATE_THREAD(gc_lock_depth) > 0) {
        return NULL;
    }
    ENTER();
    if (COUNTS()) {
        count(n_bytes);
    }
    void *block;
    if (n_bytes >= LARGE) {
        block = large(n_bytes, alloc_flags);
    } else {
        block = kn_traced_alloc(heap, n_bytes, alloc_flags);
        if (n_bytes == sizeof(mp_obj_array_t)) {
            // Another thread's allocations do not come between.
            fresh = block;
            fresh_thread = mp_thread_get_state();
        }
    }
    LEAVE();
    return block;
}

#else

static MP_NOINLINE void *counted(size_t bytes, unsigned int flags) {
    count(bytes);
    return bytes >= LARGE ? large(bytes, flags) : kn_traced_alloc(heap, bytes, flags);
}

// Nothing is done behind kn_traced_alloc(): no register is saved.
void *__wrap_gc_alloc(size_t n_bytes, unsigned int alloc_flags) {
    if (MP_UNLIKELY(MP_STATE_THREAD(gc_lock_depth) > 0)) {
        return NULL;
    }
    if (MP_UNLIKELY(COUNTS())) {
        return counted(n_bytes, alloc_flags);
    }
    if (n_bytes >= LARGE) {
        return large(n_bytes, alloc_flags);
    }
    return kn_traced_alloc(heap, n_bytes, alloc_flags);
}

#endif

void __wrap_gc_free(void *ptr) {
    // A finaliser may free.
    if (MP_STATE_THREAD(gc_lock_depth) & ~GC_COLLECT_FLAG) {
        return;
    }
    ENTER();
    kn_traced_free(heap, ptr);
    LEAVE();
}

size_t __wrap_gc_nbytes(const void *ptr) {
    ENTER();
    const size_t bytes = kn_traced_size(heap, ptr);
    LEAVE();
    return bytes;
}

void *__wrap_gc_realloc(void *ptr, size_t n_bytes, bool allow_move) {
    if (ptr == NULL) {
        return __wrap_gc_alloc(n_bytes, 0);
    }
    if (n_bytes == 0) {
        __wrap_gc_free(ptr);
        return NULL;
    }
    if (MP_STATE_THREAD(gc_lock_depth) > 0) {
        return NULL;
    }
    ENTER();
    void *block = kn_traced_realloc(heap, ptr, n_bytes, allow_move);
    #if MICROPY_GC_ALLOC_THRESHOLD
    if (block != ptr && COUNTS()) {
        MP_STATE_MEM(gc_alloc_amount) += GRANULES(n_bytes);
    }
    #endif
    LEAVE();
    return block;
}

void __wrap_gc_info(gc_info_t *info) {
    KnTracedStats stats;
    memset(&stats, 0, sizeof stats);
    ENTER();
    // What is dead and not yet swept is as good as free.
    kn_traced_step(heap, (size_t)-1);
    kn_traced_stats(heap, &stats);
    LEAVE();
    memset(info, 0, sizeof *info);
    info->total = stats.total;
    info->used = stats.used;
    info->free = stats.free;
    // These two in granules.
    info->max_free = stats.largest_free / GRANULE;
    info->max_block = stats.largest_block / GRANULE;
    info->num_1block = stats.one_granule;
    info->num_2block = stats.two_granules;
    #if MICROPY_GC_SPLIT_HEAP_AUTO
    info->max_new_split = gc_get_max_new_split();
    #endif
}
