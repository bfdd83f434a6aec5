/*
 * gc_swap.h: MicroPython's heap on Knoll, as the other files of this folder see it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef KNOLL_GC_SWAP_H
#define KNOLL_GC_SWAP_H

#include "py/mpstate.h"
#include "py/mpthread.h"

#include "knoll.h"

/* Threads that run at the same time: each use of the heap is inside MicroPython's mutex of the collector. */
#define KNOLL_MUTEX (MICROPY_PY_THREAD && !MICROPY_PY_THREAD_GIL)

/* The heap that gc_init() made; NULL before. A soft reset that calls gc_init() again makes a new one. */
extern KnTraced *knoll_the_heap;
static inline KnTraced *knoll_heap(void) {
    return knoll_the_heap;
}

/*
 * Around every use of knoll_heap(). With threads and without a GIL: MicroPython's own recursive mutex of the
 * collector; else nothing. What may raise or run Python code does not belong between them.
 */
void knoll_enter(void);
void knoll_leave(void);

/* For gc_swap.c and gc_blocks.c alone. */
#if KNOLL_MUTEX
#define ENTER() mp_thread_recursive_mutex_lock(&MP_STATE_MEM(gc_mutex), 1)
#define LEAVE() mp_thread_recursive_mutex_unlock(&MP_STATE_MEM(gc_mutex))
#define MUTEX_INIT() mp_thread_recursive_mutex_init(&MP_STATE_MEM(gc_mutex))
#else
/* No threads, or whoever allocates holds the GIL. */
#define ENTER()
#define LEAVE()
#define MUTEX_INIT()
#endif

/*
 * An allocation that fails cannot raise by itself: it holds the mutex, another thread may come in the middle of a
 * collection, or the heap may grow.
 */
#define KNOLL_PLAIN (MICROPY_PY_THREAD || MICROPY_GC_SPLIT_HEAP_AUTO)

/* Takes more memory of the system for a block of so many bytes (MICROPY_GC_SPLIT_HEAP_AUTO): whether there was some. */
bool knoll_grow(size_t bytes);

/* A new heap: nothing was allocated before. */
void knoll_blocks_begin(void);
/* There is no room for an allocation. */
void knoll_short(void *context, const KnTracedShort *report);

/*
 * gc_alloc(), under --wrap, takes besides GC_ALLOC_FLAG_HAS_FINALISER the flags of kn_traced_alloc():
 * KN_NO_SCAN and KN_LONG_LIVED.
 */

#endif
