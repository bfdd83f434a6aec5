/*
 * gc_map.c: what micropython.mem_info() prints of the heap, in the words of MicroPython's own collector.
 *
 * - gc_dump_info() prints the numbers of gc_info() in two lines.
 * - gc_dump_alloc_table() prints a character for each granule, 64 to a line, for each area of memory:
 *   `.` free, `=` continues a block, and at its start what type of object it holds:
 *
 *       T tuple  L list  D dict  S str or bytes  A array or bytearray  F float  B function  M module  h other
 *
 *   Two lines or more that are all free are counted instead of printed.
 *
 * The order of blocks is Knoll's: a test that compares tables of two heaps compares placement, too.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "py/gc.h"
#include "py/objfun.h"
#include "py/objmodule.h"
#include "py/runtime.h"

#include "gc_swap.h"

void __wrap_gc_dump_info(const mp_print_t *print);
void __wrap_gc_dump_alloc_table(const mp_print_t *print);

#define GRANULE ((size_t)MICROPY_BYTES_PER_GC_BLOCK)
#define LINE ((size_t)64)

void __wrap_gc_dump_info(const mp_print_t *print) {
    gc_info_t info;
    gc_info(&info);
    mp_printf(print, "GC: total: %u, used: %u, free: %u", (uint)info.total, (uint)info.used, (uint)info.free);
    #if MICROPY_GC_SPLIT_HEAP_AUTO
    mp_printf(print, ", max new split: %u", (uint)info.max_new_split);
    #endif
    mp_printf(print, "\n No. of 1-blocks: %u, 2-blocks: %u, max blk sz: %u, max free sz: %u\n",
        (uint)info.num_1block, (uint)info.num_2block, (uint)info.max_block, (uint)info.max_free);
}

/******************************************************************************/
// The map

// Where the writer is.
typedef struct {
    const mp_print_t *print;
    const byte *end;    // of the block before; NULL: none yet
    size_t granule;     // number of the next one in its area
    size_t free;        // granules that are free and not yet printed
} map_t;

static char letter(const void *start) {
    const mp_obj_type_t *type = *(const mp_obj_type_t *const *)start;
    if (type == &mp_type_tuple) {
        return 'T';
    }
    if (type == &mp_type_list) {
        return 'L';
    }
    if (type == &mp_type_dict) {
        return 'D';
    }
    if (type == &mp_type_str || type == &mp_type_bytes) {
        return 'S';
    }
    #if MICROPY_PY_BUILTINS_BYTEARRAY
    if (type == &mp_type_bytearray) {
        return 'A';
    }
    #endif
    #if MICROPY_PY_ARRAY
    if (type == &mp_type_array) {
        return 'A';
    }
    #endif
    #if MICROPY_PY_BUILTINS_FLOAT
    if (type == &mp_type_float) {
        return 'F';
    }
    #endif
    if (type == &mp_type_fun_bc) {
        return 'B';
    }
    if (type == &mp_type_module) {
        return 'M';
    }
    return 'h';
}

// Prints one granule, and before it, at the start of a line, where it lies.
static void put(map_t *map, char character) {
    if (map->granule % LINE == 0) {
        mp_printf(map->print, "\n%08x: ", (uint)(map->granule * GRANULE));
    }
    mp_printf(map->print, "%c", character);
    map->granule++;
}

// Prints what is free up to here: to the end of the line, then whole lines as a number, then the rest.
static void put_free(map_t *map) {
    while (map->free > 0) {
        if (map->granule % LINE == 0 && map->free >= 2 * LINE) {
            const size_t lines = map->free / LINE;
            mp_printf(map->print, "\n       (%u lines all free)", (uint)lines);
            map->granule += lines * LINE;
            map->free -= lines * LINE;
        } else {
            put(map, '.');
            map->free--;
        }
    }
}

static bool visit(void *context, const KnBlock *block) {
    map_t *map = context;
    if (block->start != map->end) {
        // Another area.
        if (map->end != NULL) {
            put_free(map);
            mp_print_str(map->print, "\n");
        }
        mp_printf(map->print, "GC memory layout; from %p:", block->start);
        map->granule = 0;
    }
    map->end = (const byte *)block->start + block->size;
    const size_t granules = block->size / GRANULE;
    if (block->state == KN_BLOCK_FREE) {
        // The next run may be free, too, where one scope's side of the heap ends.
        map->free += granules;
        return true;
    }
    put_free(map);
    put(map, letter(block->start));
    for (size_t i = 1; i < granules; i++) {
        put(map, '=');
    }
    return true;
}

void __wrap_gc_dump_alloc_table(const mp_print_t *print) {
    map_t map = { .print = print, .end = NULL, .granule = 0, .free = 0 };
    knoll_enter();
    kn_traced_walk(knoll_heap(), visit, &map);
    put_free(&map);
    mp_print_str(print, "\n");
    knoll_leave();
}
