/*
 * gc_swap.c: MicroPython's garbage-collected heap, kept by Knoll: the heap itself, and its collections.
 *
 * MicroPython is not changed. The linker's --wrap gives every call of a gc_ function that comes from another
 * object file than py/gc.c to the function __wrap_... here or in gc_blocks.c (replaced.txt has the list); nothing
 * then calls py/gc.c, and --gc-sections drops it.
 *
 *     interpreter, modules, port           this folder                libknoll.a
 *     m_malloc(n)               ──wrap──▶   locked? threshold?   ──▶   kn_traced_alloc
 *     gc_collect_root(p, n)     ──wrap──▶                        ──▶   kn_traced_mark
 *     gc_collect()  (the port's own)  ◀──   collect()            ◀──   no room
 *     __del__ of the object           ◀──   finalise()           ◀──   found dead
 *
 * What callers of py/gc.c rely on holds (for blocks: gc_blocks.c):
 * - Only a pointer to a block's start keeps it; roots are mp_state_ctx, the Python stack and what the port adds.
 * - Finalisers run while all dead objects are intact, the scheduler locked, exceptions caught.
 * - The fields that others read and write are kept: gc_lock_depth of each thread with the flag of the collection
 *   in it, gc_auto_collect_enabled, gc_alloc_threshold, gc_alloc_amount, gc_collected, gc_mutex.
 *   MP_STATE_MEM(area) alone is not: nobody but py/gc.c has business there.
 * What does not: MICROPY_GC_HOOK_LOOP must be empty. With MICROPY_GC_SPLIT_HEAP_AUTO the heap takes more memory when
 * there is no room; what it took it keeps, also when it is empty again.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include <string.h>

#include "py/gc.h"
#include "py/nlr.h"
#include "py/obj.h"
#include "py/runtime.h"

#include "gc_swap.h"

#ifndef KNOLL_SLICE
#define KNOLL_SLICE 0
#endif

#if !MICROPY_ENABLE_GC
#error The knoll folder replaces the garbage-collected heap: MICROPY_ENABLE_GC must be 1.
#endif

// The loops of py/gc.c would run it; those of Knoll cannot.
#define TEXT(tokens) TEXT_OF(tokens)
#define TEXT_OF(tokens) #tokens
_Static_assert(sizeof(TEXT(MICROPY_GC_HOOK_LOOP(0))) == 1, "MICROPY_GC_HOOK_LOOP must be empty: nobody runs it");

// The names that --wrap makes. The compiler wants a declaration of each.
void __wrap_gc_init(void *start, void *end);
void __wrap_gc_lock(void);
void __wrap_gc_unlock(void);
bool __wrap_gc_is_locked(void);
void __wrap_gc_collect_start(void);
void __wrap_gc_collect_root(void **ptrs, size_t len);
void __wrap_gc_collect_end(void);
void __wrap_gc_sweep_all(void);
void __wrap_gc_info(gc_info_t *info);
#if MICROPY_GC_SPLIT_HEAP
void __wrap_gc_add(void *start, void *end);
#endif

// The Python module's, if it is there.
MP_WEAK void knoll_module_forget(void);

KnTraced *knoll_the_heap;
#define heap knoll_the_heap
#define GRANULE ((size_t)MICROPY_BYTES_PER_GC_BLOCK)

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

// Collections that finalisers have asked for, in the middle of one: nothing is done.
static size_t nested;

// Is this collection the heap's own idea? Then it may leave the sweep to the allocations that come.
static bool automatic;

void __wrap_gc_init(void *start, void *end) {
    const KnTracedConfig config = {
        .granule = GRANULE,
        .slice = KNOLL_SLICE,
        .collect = collect,
        .finalise = finalise,
        #if !KNOLL_PLAIN
        .on_short = knoll_short,
        #endif
    };
    // Nothing here needs what the plain one leaves out; a second area makes it a general one.
    heap = kn_traced_create_plain(start, (size_t)((byte *)end - (byte *)start), &config);
    if (heap == NULL) {
        // Not one object fits: there is nobody yet who could catch an exception.
        nlr_jump_fail(NULL);
    }
    knoll_blocks_begin();
    automatic = false;
    nested = 0;
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

#if MICROPY_GC_SPLIT_HEAP_AUTO
// As py/gc.c does it: as much again as there is, at least what is asked for, at most what the port can give.
bool knoll_grow(size_t bytes) {
    const size_t available = gc_get_max_new_split();
    // What is kept of an area beside its granules is less than an eighth.
    const size_t needed = bytes + bytes / 8 + 512;
    if (available < needed) {
        return false;
    }
    KnTracedStats stats;
    memset(&stats, 0, sizeof stats);
    kn_traced_stats(heap, &stats);
    const size_t size = MIN(available, MAX(stats.total, needed));
    void *more = MP_PLAT_ALLOC_HEAP(size);
    if (more == NULL) {
        return false;
    }
    if (kn_traced_add_area(heap, more, size, 0) != KN_OK) {
        MP_PLAT_FREE_HEAP(more);
        return false;
    }
    return true;
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
static bool begin(void) {
    ENTER();
    if (MP_STATE_THREAD(gc_lock_depth) & GC_COLLECT_FLAG) {
        nested++;
        return false;
    }
    MP_STATE_THREAD(gc_lock_depth) |= GC_COLLECT_FLAG;
    kn_traced_collect_start(heap);
    return true;
}

void __wrap_gc_collect_start(void) {
    if (!begin()) {
        return;
    }
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
    if (nested == 0) {
        kn_traced_mark(heap, ptrs, len);
    }
}

// Ends it, and sweeps all if the program asked for the collection: then it wants its memory and the number.
static void end(void) {
    if (nested > 0) {
        nested--;
        return;
    }
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
    // Whoever was to end the scopes, and the time of long-lived blocks, is gone. With one scope more the latter alone
    // can be why none seems open.
    kn_traced_scope_begin(heap);
    while (!kn_traced_in_scope(heap)) {
        kn_traced_lasting_end(heap);
    }
    while (kn_traced_in_scope(heap)) {
        kn_traced_scope_end(heap);
    }
    if (knoll_module_forget != NULL) {
        knoll_module_forget();
    }
    LEAVE();
}

/******************************************************************************/
// Numbers

// Counts a block or a free run. The walk is there for the map already: kn_traced_stats would be code beside it.
static bool count(void *context, const KnBlock *block) {
    gc_info_t *info = context;
    // The largest ones are told in granules.
    const size_t granules = block->size / GRANULE;
    info->total += block->size;
    if (block->state == KN_BLOCK_FREE) {
        info->free += block->size;
        info->max_free = MAX(info->max_free, granules);
    } else {
        info->used += block->size;
        info->max_block = MAX(info->max_block, granules);
        info->num_1block += granules == 1;
        info->num_2block += granules == 2;
    }
    return true;
}

void __wrap_gc_info(gc_info_t *info) {
    memset(info, 0, sizeof *info);
    ENTER();
    // What is dead and not yet swept is as good as free.
    kn_traced_step(heap, (size_t)-1);
    kn_traced_walk(heap, count, info);
    LEAVE();
    #if MICROPY_GC_SPLIT_HEAP_AUTO
    info->max_new_split = gc_get_max_new_split();
    #endif
}
