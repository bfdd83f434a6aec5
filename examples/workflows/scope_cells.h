/* The Lisp's cells in the workflow's scope itself, by GC_newIn: put before its sources by the compiler's option
 * -include. Nothing is counted within the scope and nothing freed before the leave, so a workflow needs memory for
 * all that it ever makes. */
#ifndef SCOPE_CELLS_H
#define SCOPE_CELLS_H

#include <knoll.h>

/* The scope of the workflow that runs (memory_knoll.c). */
KnArena *memory_scope(void);

/* GC_registerType. Types are always active: the first workflow leaves them registered. */
KnTypeId memory_register(const KnType *type);

#define GC_registerType(type) memory_register(type)
#define GC_new(type) GC_newIn(memory_scope(), type)
#define GC_newSized(type, bytes) GC_newSizedIn(memory_scope(), type, bytes)

#endif
