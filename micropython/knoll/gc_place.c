/*
 * gc_place.c: what a map or a set of MicroPython's keeps its entries in lasts as long as itself (gc_place.h).
 *
 *     mp_map_lookup(map, key, ADD)   full  ──▶ a new table   transient blocks now, and is `map` older?
 *                                                              ──▶ KN_LONG_LIVED
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "py/mpstate.h"

#include "gc_place.h"
#include "gc_swap.h"

// Is it in the frame of a function that will have returned by the end of the workflow? Stacks grow downwards.
static bool is_on_stack(const void *place) {
    const volatile char here = 0;
    return (uintptr_t)place >= (uintptr_t)&here && (const char *)place < MP_STATE_THREAD(stack_top);
}

// An owner that is an object, or part of one, lies in its granules; one that does not lie in the heap is static.
bool knoll_outlives(const void *owner) {
    const uintptr_t granule = (uintptr_t)owner & ~((uintptr_t)MICROPY_BYTES_PER_GC_BLOCK - 1);
    knoll_enter();
    const bool transient = kn_traced_is_transient(knoll_heap(), (const void *)granule);
    knoll_leave();
    return !transient && !is_on_stack(owner);
}
