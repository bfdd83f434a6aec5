/*
 * gc_swap.h: MicroPython's heap on Knoll, as the other files of this folder see it.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef KNOLL_GC_SWAP_H
#define KNOLL_GC_SWAP_H

#include "knoll.h"

/* The heap that gc_init() made; NULL before. A soft reset that calls gc_init() again makes a new one. */
KnTraced *knoll_heap(void);

/*
 * Around every use of knoll_heap(). With threads and without a GIL: MicroPython's own recursive mutex of the
 * collector; else nothing. What may raise or run Python code does not belong between them.
 */
void knoll_enter(void);
void knoll_leave(void);

/*
 * gc_alloc(), under --wrap, takes besides GC_ALLOC_FLAG_HAS_FINALISER the flags of kn_traced_alloc():
 * KN_NO_SCAN and KN_LONG_LIVED.
 */

#endif
