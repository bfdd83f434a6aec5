/*
 * gc_place.c: what MicroPython's own code tells of a block's contents and lifetime, told on to Knoll.
 *
 * None of these functions of MicroPython is replaced: each is called as it was, with something done around it.
 *
 * - The buffer of a vstr, from which strings and bytes are made, holds characters: it is never looked into
 *   (KN_NO_SCAN). It stays so when it grows, and when a bytes object takes it over.
 * - A dictionary that is older than the workflow outlives it, so the table that it grows into is placed among
 *   the long-lived blocks: a module's globals, sys.modules, a cache. py/map.c frees the old table, allocates the
 *   new one somewhere, and somewhere is the middle of the heap while a workflow is under way.
 * - An interned string lives for ever, with its pool.
 *
 *     mp_map_lookup(map, key, ADD)   full? in a scope? an old table?  ──▶ long-lived { the real one }
 *     qstr_from_strn(text, n)        new? in a scope?                 ──▶ long-lived { the real one }
 *     vstr_init(v, n)                                                 ──▶ the real one, then kn_traced_no_scan
 *
 * Without an open scope nothing is done around the first two. Costs: 3 instructions on Cortex-M3 for each
 * mp_map_lookup() that does not add, 7 for one that adds without growing, 8 for each vstr_init() of a short string.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#include "py/nlr.h"
#include "py/obj.h"
#include "py/qstr.h"

#include "gc_swap.h"

mp_map_elem_t *__real_mp_map_lookup(mp_map_t *map, mp_obj_t index, mp_map_lookup_kind_t lookup_kind);
mp_map_elem_t *__wrap_mp_map_lookup(mp_map_t *map, mp_obj_t index, mp_map_lookup_kind_t lookup_kind);
qstr __real_qstr_from_strn(const char *str, size_t len);
qstr __wrap_qstr_from_strn(const char *str, size_t len);
void __real_vstr_init(vstr_t *vstr, size_t alloc);
void __wrap_vstr_init(vstr_t *vstr, size_t alloc);
void __real_vstr_init_len(vstr_t *vstr, size_t len);
void __wrap_vstr_init_len(vstr_t *vstr, size_t len);

/******************************************************************************/
// Long-lived

// What is inside may raise (no memory, the key's __eq__ or __hash__); the time of long-lived blocks ends then, too.
static void lasting_end(void *context) {
    (void)context;
    knoll_enter();
    kn_traced_lasting_end(knoll_heap());
    knoll_leave();
}

static void lasting_begin(nlr_jump_callback_node_t *node) {
    knoll_enter();
    kn_traced_lasting_begin(knoll_heap());
    knoll_leave();
    nlr_push_jump_callback(node, lasting_end);
}

// Was there room for this map before the workflow began? A map without a table is judged by where it lies itself.
static bool is_long_lived(const mp_map_t *map) {
    const void *place = map->table != NULL ? (const void *)map->table : (const void *)map;
    knoll_enter();
    const bool transient = kn_traced_is_transient(knoll_heap(), place);
    knoll_leave();
    return !transient;
}

static MP_NOINLINE mp_map_elem_t *grow_long_lived(mp_map_t *map, mp_obj_t index) {
    nlr_jump_callback_node_t node;
    lasting_begin(&node);
    mp_map_elem_t *slot = __real_mp_map_lookup(map, index, MP_MAP_LOOKUP_ADD_IF_NOT_FOUND);
    nlr_pop_jump_callback(true);
    return slot;
}

static MP_NOINLINE mp_map_elem_t *add(mp_map_t *map, mp_obj_t index) {
    if (map->used == map->alloc && kn_traced_in_scope(knoll_heap()) && is_long_lived(map)) {
        return grow_long_lived(map, index);
    }
    return __real_mp_map_lookup(map, index, MP_MAP_LOOKUP_ADD_IF_NOT_FOUND);
}

// Apart, so that a lookup that does not add saves no registers.
mp_map_elem_t *__wrap_mp_map_lookup(mp_map_t *map, mp_obj_t index, mp_map_lookup_kind_t lookup_kind) {
    if (MP_LIKELY(lookup_kind != MP_MAP_LOOKUP_ADD_IF_NOT_FOUND)) {
        return __real_mp_map_lookup(map, index, lookup_kind);
    }
    return add(map, index);
}

qstr __wrap_qstr_from_strn(const char *str, size_t len) {
    if (!kn_traced_in_scope(knoll_heap()) || qstr_find_strn(str, len) != MP_QSTRnull) {
        return __real_qstr_from_strn(str, len);
    }
    nlr_jump_callback_node_t node;
    lasting_begin(&node);
    const qstr name = __real_qstr_from_strn(str, len);
    nlr_pop_jump_callback(true);
    return name;
}

/******************************************************************************/
// Without pointers

// A shorter buffer is looked into faster than flagged.
#define LARGE 64

static MP_NOINLINE void holds_text(const vstr_t *vstr) {
    knoll_enter();
    kn_traced_no_scan(knoll_heap(), vstr->buf);
    knoll_leave();
}

void __wrap_vstr_init(vstr_t *vstr, size_t alloc) {
    __real_vstr_init(vstr, alloc);
    if (alloc >= LARGE) {
        holds_text(vstr);
    }
}

void __wrap_vstr_init_len(vstr_t *vstr, size_t len) {
    __real_vstr_init_len(vstr, len);
    if (len >= LARGE) {
        holds_text(vstr);
    }
}
