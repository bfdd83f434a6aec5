/*
 * What the sources of the Python module `knoll` share.
 *
 * - The module stands beside the collector's swap (gc_swap.c): it asks the heap that the swap made, and changes nothing
 *   of how MicroPython allocates.
 * - Each function that may raise leaves the heap as consistent as it found it: scopes end, windows close, locks are
 *   given back, whatever jumps away.
 * - The program's own code may run wherever an argument is converted (__int__), a key is looked up (__hash__, __eq__) or
 *   memory is allocated (a collection's finalisers). So arguments are converted first; what was asked of an object's state
 *   before such a place is asked again behind it; and no pointer into what a program can resize is kept across one.
 *
 *   module.c            the module's table, numbers, reports, steps, thresholds, buffers without scanning
 *   module_workflow.c   workflow(), lasting(), boot_done(): which side allocations go to; clearing of modules
 *   module_presize.c    tables of modules that do not move: presize_module(), presize_modules(); import_cost()
 *   module_keep.c       keep(): a copy on the side of what lasts
 *   module_holders.c    who_holds(): who refers to an object, and by which path
 *   module_arena.c      Arena: scoped memory, handed out as views that end with it
 *   module_counted.c    Counted: buffers that go with their last reference, not with the next collection
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#ifndef KNOLL_MODULE_H
#define KNOLL_MODULE_H

/* What a firmware that is short of flash leaves out: each brings a part of the library with it. */
#ifndef KNOLL_ARENA
#define KNOLL_ARENA (1)
#endif
#ifndef KNOLL_COUNTED
#define KNOLL_COUNTED (1)
#endif

#include "gc_swap.h"
#include "knoll.h"
#include "py/obj.h"
#include "py/objarray.h"
#include "py/runtime.h"

/* The module's own state. It holds no pointer into the heap: what must stay reachable is a registered root pointer. */
struct knoll_state {
    bool automatic; /* boot_done() opened a scope that nobody ends */
    size_t lasting; /* `with knoll.lasting()` that are open */
    size_t workflows; /* workflows that are open */
    void *modules_table; /* the table of sys.modules as presize_modules left it, as a number only; or NULL */
    size_t modules_room; /* how many it was presized for */
};
extern struct knoll_state knoll_state;

/* Between a begin and its end by this node all is long-lived; the node ends it also when an exception jumps away. */
struct knoll_lasting {
    nlr_jump_callback_node_t node;
};
void knoll_lasting_begin(struct knoll_lasting *window);
void knoll_lasting_end(struct knoll_lasting *window);

/* A table for `map` with room for `entries`, on the side of what lasts; MemoryError with the map as it was. */
void knoll_presize_map(mp_map_t *map, size_t entries);
/* Forgets the modules that are not among the `count` names, in sys.modules and in their parents; returns how many. */
size_t knoll_unimport(const mp_obj_t *names, size_t count);
/* The names of the loaded modules, `*count` of them, in a block of their own; NULL: no memory. */
mp_obj_t *knoll_loaded(size_t *count);
bool knoll_is_among(mp_obj_t name, const mp_obj_t *names, size_t count);

/* A number of bytes or of entries from Python: TypeError, and ValueError below `least` or above what can be. */
size_t knoll_size_argument(mp_obj_t from, size_t least);
/* Whether an array's items are objects or pointers, which hold what they refer to. */
bool knoll_holds_pointers(const mp_obj_array_t *array);
/* Whether the object is a block of the heap, and its head. */
bool knoll_is_block(mp_const_obj_t object);

MP_DECLARE_CONST_FUN_OBJ_KW(knoll_workflow_obj);
MP_DECLARE_CONST_FUN_OBJ_0(knoll_lasting_obj);
MP_DECLARE_CONST_FUN_OBJ_0(knoll_boot_done_obj);
MP_DECLARE_CONST_FUN_OBJ_VAR_BETWEEN(knoll_automatic_obj);
MP_DECLARE_CONST_FUN_OBJ_2(knoll_presize_module_obj);
MP_DECLARE_CONST_FUN_OBJ_1(knoll_presize_modules_obj);
MP_DECLARE_CONST_FUN_OBJ_1(knoll_import_cost_obj);
MP_DECLARE_CONST_FUN_OBJ_1(knoll_keep_obj);
MP_DECLARE_CONST_FUN_OBJ_1(knoll_who_holds_obj);
extern const mp_obj_type_t knoll_type_arena;
extern const mp_obj_type_t knoll_type_counted;

/* Whether the block is a part of the stack that MicroPython has in the heap. */
bool knoll_is_frame(const void *block);
/* MicroPython's root pointers, but for those that the running code has at hand at this moment. */
const void *const *knoll_root_words(size_t *count);

/* Drops what the module kept of an interpreter that has ended: all of it; the counted buffers. */
void knoll_module_forget(void);
void knoll_counted_forget(void);

#endif
