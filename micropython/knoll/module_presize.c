/*
 * Tables that do not move: presize_module(), presize_modules(); and what an import costs: import_cost().
 *
 * MicroPython gives a module's dict one slot, and sys.modules few; each grows by a new table, which on a heap without
 * sides comes to lie wherever there is room, in the middle of a workflow's memory, and stays there.
 *
 * - presize_module(m, n): n names fit into m without a new table; an n that it has already changes nothing.
 * - presize_modules(n): the same for sys.modules, and the end of each workflow asserts that its table is still that one:
 *   what MICROPY_LOADED_MODULES_DICT_SIZE does when the firmware is built, at run time. Once outgrown each end asserts,
 *   until it is presized anew.
 * - The new table lies on the side of what lasts. When there is no memory the old one stays: MemoryError. So it does when
 *   a key's own __hash__ or __eq__ changes the module meanwhile: RuntimeError.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "module.h"
#include "py/gc.h"
#include "py/objmodule.h"

/* More than this is no number of names, and would overflow the table's size. */
#define MOST_ENTRIES 65535

void knoll_presize_map(mp_map_t *map, size_t entries) {
    if (entries <= map->alloc) {
        return;
    }
    struct knoll_lasting window;
    mp_map_t larger;
    knoll_lasting_begin(&window);
    mp_map_init(&larger, entries);
    knoll_lasting_end(&window);
    larger.is_ordered = map->is_ordered;
    const mp_map_elem_t *table = map->table;
    size_t alloc = map->alloc, used = map->used;
    for (size_t i = 0; i < alloc; i++) {
        if (mp_map_slot_is_filled(map, i)) {
            mp_map_elem_t entry = table[i];
            mp_map_lookup(&larger, entry.key, MP_MAP_LOOKUP_ADD_IF_NOT_FOUND)->value = entry.value;
            if (map->table != table || map->alloc != alloc || map->used != used) {
                mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("changed while it was presized"));
            }
        }
    }
    m_del(mp_map_elem_t, map->table, map->alloc);
    *map = larger;
}

static mp_obj_t knoll_presize_module(mp_obj_t module, mp_obj_t entries_in) {
    if (!mp_obj_is_type(module, &mp_type_module)) {
        mp_raise_TypeError(MP_ERROR_TEXT("a module is needed"));
    }
    size_t entries = knoll_size_argument(entries_in, 0);
    mp_obj_dict_t *globals = mp_obj_module_get_globals(module);
    if (globals->map.is_fixed || entries > MOST_ENTRIES) {
        mp_raise_ValueError(globals->map.is_fixed ? MP_ERROR_TEXT("the module's table is in ROM")
            : MP_ERROR_TEXT("too many entries"));
    }
    knoll_presize_map(&globals->map, entries);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_2(knoll_presize_module_obj, knoll_presize_module);

static mp_obj_t knoll_presize_modules(mp_obj_t entries_in) {
    size_t entries = knoll_size_argument(entries_in, 1);
    if (entries > MOST_ENTRIES) {
        mp_raise_ValueError(MP_ERROR_TEXT("too many entries"));
    }
    mp_map_t *map = &MP_STATE_VM(mp_loaded_modules_dict).map;
    knoll_presize_map(map, entries);
    knoll_state.modules_table = map->table;
    knoll_state.modules_room = map->alloc;
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_1(knoll_presize_modules_obj, knoll_presize_modules);

static size_t bytes_used(void) {
    KnTracedStats stats;
    gc_collect();
    knoll_enter();
    kn_traced_stats(knoll_heap(), &stats);
    knoll_leave();
    return stats.used;
}

/*
 * Imports a module and tells what stayed: {'before': bytes, 'after': bytes, 'bytes': their difference,
 * 'modules': the names that sys.modules gained}. The module stays loaded; in a workflow it goes at the end.
 */
static mp_obj_t knoll_import_cost(mp_obj_t name) {
    if (!mp_obj_is_str(name)) {
        mp_raise_TypeError(MP_ERROR_TEXT("a module's name is needed"));
    }
    qstr as_qstr = mp_obj_str_get_qstr(name);
    size_t count;
    const mp_obj_t *names = knoll_loaded(&count);
    if (names == NULL) {
        m_malloc_fail(count * sizeof(mp_obj_t));
    }
    size_t before = bytes_used();
    mp_import_name(as_qstr, mp_const_none, MP_OBJ_NEW_SMALL_INT(0));
    size_t after = bytes_used();
    mp_obj_t gained = mp_obj_new_list(0, NULL);
    mp_map_t *map = &MP_STATE_VM(mp_loaded_modules_dict).map;
    for (size_t i = 0; i < map->alloc; i++) {
        if (mp_map_slot_is_filled(map, i) && !knoll_is_among(map->table[i].key, names, count)) {
            mp_obj_list_append(gained, map->table[i].key);
        }
    }
    mp_obj_t answer = mp_obj_new_dict(4);
    mp_int_t cost = (mp_int_t)after - (mp_int_t)before;
    mp_obj_dict_store(answer, MP_OBJ_NEW_QSTR(MP_QSTR_before), mp_obj_new_int_from_uint(before));
    mp_obj_dict_store(answer, MP_OBJ_NEW_QSTR(MP_QSTR_after), mp_obj_new_int_from_uint(after));
    mp_obj_dict_store(answer, MP_OBJ_NEW_QSTR(MP_QSTR_bytes), mp_obj_new_int(cost));
    mp_obj_dict_store(answer, MP_OBJ_NEW_QSTR(MP_QSTR_modules), gained);
    return answer;
}
MP_DEFINE_CONST_FUN_OBJ_1(knoll_import_cost_obj, knoll_import_cost);
