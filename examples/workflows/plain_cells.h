/* The Lisp's counted cells over any malloc: put before its sources by the compiler's option -include, so that they
 * stay as they are and take these functions for Knoll's.
 *
 * Counting is the plain kind. There is one collector of cycles, which looks at all cells at once: it runs when memory
 * is full, and at the end, where it leaves nothing. A cell has the 8 bytes in front that Knoll's has, so each
 * allocator is asked for the same blocks; what the collector itself needs lies outside the heap that is measured. */
#ifndef PLAIN_CELLS_H
#define PLAIN_CELLS_H

#include <knoll.h>

KnTypeId plain_register(const KnType *type);
void *plain_new(KnTypeId type, size_t bytes); /* bytes 0: the type's; count 1, zeroed; NULL: no memory */
void *plain_ref(void *cell);
void plain_unref(void *cell);
void plain_assign(void **slot, void *cell);
void *plain_move(void **slot);
void *plain_drop_reuse(void *cell);
KnTypeId plain_type(const void *cell);
size_t plain_size(const void *cell);
void plain_collect(void);

/* Cells that live. */
size_t plain_cells(void);

#define GC_registerType(type) plain_register(type)
#define GC_new(type) plain_new(type, 0)
#define GC_newSized(type, bytes) plain_new(type, bytes)
#define GC_ref(cell) plain_ref(cell)
#define GC_refInline(cell) plain_ref(cell)
#define GC_unref(cell) plain_unref(cell)
#define GC_unrefInline(cell) plain_unref(cell)
#define GC_assign(slot, cell) plain_assign(slot, cell)
#define GC_move(slot) plain_move(slot)
#define GC_dropReuse(cell) plain_drop_reuse(cell)
#define GC_typeOf(cell) plain_type(cell)
#define GC_typeOfInline(cell) plain_type(cell)
#define GC_sizeOf(cell) plain_size(cell)
#define GC_runOrc() plain_collect()

/* The Lisp's own function of this name would meet that of the Rust allocators. */
#define fail lisp_fail

#endif
