/*
 * gc_place.h: what MicroPython's own code tells of a block's contents and lifetime, told on to Knoll.
 *
 * Some files of MicroPython are compiled with -include of this one (replaced.txt says which, and for what); their
 * source is as it was. A function that they call is another one there:
 *
 * - KNOLL_STR: the characters of a str, 64 or more, are never looked into (KN_NO_SCAN): they hold no pointers.
 * - KNOLL_VSTR, KNOLL_ARRAY: only if the firmware says KNOLL_NO_SCAN_BUFFERS=1, the same for all that is made in a
 *   vstr, bytes included, and for the buffers of bytearrays and of arrays of numbers smaller than a pointer. Such a
 *   firmware keeps no object alive by its address in a buffer: struct's `O` and `P`, pointers of uctypes, tables of
 *   addresses for C code. py/gc.c follows these; so does Knoll without the option.
 * - KNOLL_NAME: interned strings and their pools live for ever: they are placed among the long-lived blocks.
 * - KNOLL_TABLE: a map or set that is older than the workflow outlives it, so its tables are placed among the
 *   long-lived blocks: those of a module's globals, sys.modules, a cache, an object's attributes. py/map.c frees the
 *   old table and allocates the new one somewhere, and somewhere is the middle of the heap while a workflow is under
 *   way.
 *
 * Costs: 5 instructions on Cortex-M3 for a new table, some 60 in a scope; what is allocated with a flag takes some 30
 * more. Lookups cost nothing.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef KNOLL_GC_PLACE_H
#define KNOLL_GC_PLACE_H

/* MicroPython's headers declare what takes a va_list only if they know it by then. */
#include <stdarg.h>
#include "py/obj.h"

void *knoll_malloc_str(size_t bytes);
void *knoll_malloc_vstr(size_t bytes);
void *knoll_malloc_array(size_t bytes);
void *knoll_malloc_name(size_t bytes);

/* A table of a mp_map_t or mp_set_t. */
void *knoll_malloc_table(size_t bytes, const void *owner);

/* Blocks are transient now: is this map or set older than they, or static? */
bool knoll_outlives(const void *owner);

#ifdef KNOLL_STR
#define m_malloc knoll_malloc_str
#endif
#ifdef KNOLL_VSTR
#define m_malloc knoll_malloc_vstr
#endif
#ifdef KNOLL_ARRAY
#define m_malloc knoll_malloc_array
#endif
#ifdef KNOLL_NAME
#define m_malloc_maybe knoll_malloc_name
#endif
#ifdef KNOLL_TABLE
/* py/map.c allocates tables of maps where `map` is the map, and of sets where `set` is the set. */
#undef m_new0
#define m_new0(type, count) ((type *)knoll_malloc_##type(sizeof(type) * (count)))
#define knoll_malloc_mp_map_elem_t(bytes) knoll_malloc_table(bytes, map)
#define knoll_malloc_mp_obj_t(bytes) knoll_malloc_table(bytes, set)
#endif

#endif
