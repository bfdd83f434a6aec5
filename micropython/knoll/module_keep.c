/*
 * keep(obj): an equal object on the side of what lasts, to be stored in something that outlives the workflow.
 *
 * | kind | what comes back |
 * | --- | --- |
 * | None, bool, small int, interned str, what lies in ROM | itself: it is in nobody's way |
 * | str, bytes, int, float, complex, tuple, namedtuple, frozenset | a copy; itself if it and all in it last already |
 * | list, dict, OrderedDict, set, bytearray, array | always a copy, so that it never depends on the place whether two names mean one object |
 * | anything else (function, class, instance, module, generator, memoryview) that lasts already | itself |
 * | anything else that is transient | TypeError: to copy it would change what it is; make it within `with knoll.lasting():` |
 *
 * - Deep: what a container refers to is kept by the same rule. One object that is reached twice is copied once, and
 *   rings stay rings.
 * - All or nothing: everything is looked at before anything is copied. After a TypeError nothing was allocated that
 *   lasts; after a MemoryError what was copied is garbage. So it is when a container or a buffer changes while it is
 *   copied, by a key's own __hash__ or __eq__ or a finaliser: RuntimeError.
 *
 * Two passes over a table from object to copy:
 *
 *   pass 1 (transient side)   find: enters each object that needs a copy, refuses what has none
 *   pass 2 (side that lasts)  copy: makes the copy, notes it in the table, then fills it
 *
 * Cost: O(objects) hash lookups and the allocations of the copies.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "module.h"
#include "py/binary.h"
#include "py/cstack.h"
#include "py/objarray.h"
#include "py/objint.h"
#include "py/objlist.h"
#include "py/objstr.h"
#include "py/objtuple.h"

#include <string.h>

/* As objset.c has it; MicroPython declares it in no header. */
typedef struct {
    mp_obj_base_t base;
    mp_set_t set;
} set_t;

/* Type codes whose items are objects or pointers, which the collector must find. */
bool knoll_holds_pointers(const mp_obj_array_t *array) {
    return array->typecode == 'O' || array->typecode == 'P' || array->typecode == 'S';
}

enum kind { AS_IT_IS, LEAF, TUPLE, LIST, DICT, SET, FROZENSET };

/* Objects are entered in the table by their address, as a number that is no pointer. */
static mp_obj_t number_of(mp_const_obj_t object) {
    return MP_OBJ_NEW_SMALL_INT((mp_int_t)((uintptr_t)MP_OBJ_TO_PTR(object) >> 3));
}

static bool is_transient(const void *block) {
    return kn_traced_is_transient(knoll_heap(), block);
}

static bool is_namedtuple(const mp_obj_type_t *type) {
    return type != &mp_type_attrtuple && MP_OBJ_TYPE_HAS_SLOT(type, iter)
        && (const void *)MP_OBJ_TYPE_GET_SLOT(type, iter) == (const void *)mp_obj_tuple_getiter;
}

/* What kind of copy the object needs, by its type alone; AS_IT_IS for a type that cannot be copied. */
static enum kind kind_of(mp_obj_t object) {
    const mp_obj_type_t *type = mp_obj_get_type(object);
    if (type == &mp_type_tuple) {
        return TUPLE;
    } else if (type == &mp_type_list) {
        return LIST;
    } else if (type == &mp_type_dict) {
        return DICT;
    #if MICROPY_PY_COLLECTIONS_ORDEREDDICT
    } else if (type == &mp_type_ordereddict) {
        return DICT;
    #endif
    } else if (type == &mp_type_set) {
        return SET;
    #if MICROPY_PY_BUILTINS_FROZENSET
    } else if (type == &mp_type_frozenset) {
        return FROZENSET;
    #endif
    } else if (type == &mp_type_str || type == &mp_type_bytes || type == &mp_type_bytearray || type == &mp_type_int) {
        return LEAF;
    #if MICROPY_PY_BUILTINS_FLOAT
    } else if (type == &mp_type_float) {
        return LEAF;
    #if MICROPY_PY_BUILTINS_COMPLEX
    } else if (type == &mp_type_complex) {
        return LEAF;
    #endif
    #endif
    #if MICROPY_PY_ARRAY
    } else if (type == &mp_type_array) {
        // What it would refer to is not copied with it.
        return knoll_holds_pointers(MP_OBJ_TO_PTR(object)) ? AS_IT_IS : LEAF;
    #endif
    } else if (is_namedtuple(type) && !is_transient(type)) {
        return TUPLE;
    }
    return AS_IT_IS;
}

static bool is_changeable(mp_obj_t object) {
    const mp_obj_type_t *type = mp_obj_get_type(object);
    switch (kind_of(object)) {
        case LIST:
        case DICT:
        case SET:
            return true;
        case LEAF:
            #if MICROPY_PY_ARRAY
            return type == &mp_type_bytearray || type == &mp_type_array;
            #else
            return type == &mp_type_bytearray;
            #endif
        default:
            return false;
    }
}

/* A leaf's bytes may lie elsewhere than the leaf: a str made of a buffer, for example. */
static bool leaf_is_transient(mp_obj_t object) {
    const mp_obj_type_t *type = mp_obj_get_type(object);
    if (type == &mp_type_str || type == &mp_type_bytes) {
        const mp_obj_str_t *str = MP_OBJ_TO_PTR(object);
        return is_transient(str) || is_transient(str->data);
    }
    #if MICROPY_LONGINT_IMPL == MICROPY_LONGINT_IMPL_MPZ
    if (type == &mp_type_int) {
        const mp_obj_int_t *number = MP_OBJ_TO_PTR(object);
        return is_transient(number) || is_transient(number->mpz.dig);
    }
    #endif
    return is_transient(MP_OBJ_TO_PTR(object));
}

// ---------------------------------------------------------------- first pass

static bool find(mp_map_t *table, mp_obj_t object);

/*
 * Looks at all that a container refers to; returns whether any of it needs a copy. The table grows by allocations, so a
 * finaliser may change the container: each step looks where its items are now.
 */
static bool find_inside(mp_map_t *table, enum kind kind, mp_obj_t object) {
    bool copy = false;
    if (kind == TUPLE) {
        const mp_obj_tuple_t *tuple = MP_OBJ_TO_PTR(object);
        for (size_t i = 0; i < tuple->len; i++) {
            copy |= find(table, tuple->items[i]);
        }
    } else if (kind == LIST) {
        const mp_obj_list_t *list = MP_OBJ_TO_PTR(object);
        for (size_t i = 0; i < list->len; i++) {
            copy |= find(table, list->items[i]);
        }
    } else if (kind == DICT) {
        const mp_map_t *map = mp_obj_dict_get_map(object);
        for (size_t i = 0; i < map->alloc; i++) {
            if (mp_map_slot_is_filled(map, i)) {
                mp_map_elem_t entry = map->table[i];
                copy |= find(table, entry.key);
                copy |= find(table, entry.value);
            }
        }
    } else {
        const set_t *set = MP_OBJ_TO_PTR(object);
        for (size_t i = 0; i < set->set.alloc; i++) {
            if (mp_set_slot_is_filled(&set->set, i)) {
                copy |= find(table, set->set.table[i]);
            }
        }
        copy |= is_transient(set->set.table);
    }
    return copy;
}

/* Enters what needs a copy; returns whether the object itself does. */
static bool find(mp_map_t *table, mp_obj_t object) {
    if (!mp_obj_is_obj(object)) {
        return false;
    }
    mp_obj_t number = number_of(object);
    mp_map_elem_t *known = mp_map_lookup(table, number, MP_MAP_LOOKUP);
    if (known != NULL) {
        // In a ring the object is met again before it is decided; then it needs a copy if it needs one at all.
        return known->value != mp_const_false;
    }
    enum kind kind = kind_of(object);
    bool copy;
    if (kind == AS_IT_IS) {
        if (is_transient(MP_OBJ_TO_PTR(object))) {
            mp_raise_msg_varg(&mp_type_TypeError,
                MP_ERROR_TEXT("can't keep '%s'; make it within knoll.lasting()"), mp_obj_get_type_str(object));
        }
        return false;
    } else if (kind == LEAF) {
        if (is_changeable(object)) {
            copy = true;
        } else {
            copy = leaf_is_transient(object);
        }
    } else {
        mp_cstack_check();
        // What can be changed is copied; of the rest it is not known before all in it is.
        copy = is_changeable(object) || is_transient(MP_OBJ_TO_PTR(object));
        mp_map_lookup(table, number, MP_MAP_LOOKUP_ADD_IF_NOT_FOUND)->value = mp_const_none;
        copy |= find_inside(table, kind, object);
    }
    mp_map_lookup(table, number, MP_MAP_LOOKUP_ADD_IF_NOT_FOUND)->value = copy ? mp_const_none : mp_const_false;
    return copy;
}

// ---------------------------------------------------------------- second pass

static NORETURN void raise_changed(void) {
    mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("changed while it was kept"));
}

static mp_obj_t copy_leaf(mp_obj_t object) {
    const mp_obj_type_t *type = mp_obj_get_type(object);
    if (type == &mp_type_str || type == &mp_type_bytes) {
        size_t length;
        const char *data = mp_obj_str_get_data(object, &length);
        qstr interned = type == &mp_type_str ? qstr_find_strn(data, length) : MP_QSTRnull;
        if (interned != MP_QSTRnull) {
            return MP_OBJ_NEW_QSTR(interned); // it is there already, and takes nothing
        }
        return mp_obj_new_str_copy(type, (const byte *)data, length);
    }
    #if MICROPY_LONGINT_IMPL == MICROPY_LONGINT_IMPL_MPZ
    if (type == &mp_type_int) {
        mp_obj_int_t *copy = mp_obj_int_new_mpz();
        mpz_set(&copy->mpz, &((const mp_obj_int_t *)MP_OBJ_TO_PTR(object))->mpz);
        return MP_OBJ_FROM_PTR(copy);
    }
    #elif MICROPY_LONGINT_IMPL == MICROPY_LONGINT_IMPL_LONGLONG
    if (type == &mp_type_int) {
        return mp_obj_new_int_from_ll(((const mp_obj_int_t *)MP_OBJ_TO_PTR(object))->val);
    }
    #endif
    #if MICROPY_PY_BUILTINS_FLOAT
    if (type == &mp_type_float) {
        return mp_obj_new_float(mp_obj_float_get(object));
    }
    #if MICROPY_PY_BUILTINS_COMPLEX
    if (type == &mp_type_complex) {
        mp_float_t real, imag;
        mp_obj_get_complex(object, &real, &imag);
        return mp_obj_new_complex(real, imag);
    }
    #endif
    #endif
    const mp_obj_array_t *array = MP_OBJ_TO_PTR(object);
    int typecode = type == &mp_type_bytearray ? BYTEARRAY_TYPECODE : array->typecode;
    // The copy's allocation may collect; `items` holds the memory that is copied from, whatever a finaliser does.
    size_t length = array->len;
    void *items = array->items;
    size_t bytes = length * mp_binary_get_size('@', typecode, NULL);
    mp_obj_array_t *copy = MP_OBJ_TO_PTR(mp_obj_new_bytearray(bytes, items));
    if (array->items != items || array->len != length) {
        raise_changed();
    }
    copy->base.type = type;
    copy->typecode = array->typecode;
    copy->len = length;
    return MP_OBJ_FROM_PTR(copy);
}

static mp_obj_t copy_of(mp_map_t *table, mp_obj_t object) {
    if (!mp_obj_is_obj(object)) {
        return object;
    }
    mp_map_elem_t *known = mp_map_lookup(table, number_of(object), MP_MAP_LOOKUP);
    if (known == NULL || known->value == mp_const_false) {
        return object; // it lasts already
    }
    if (known->value != mp_const_none) {
        return known->value; // the copy
    }
    // Nothing is added to the table any more, so `known` stays where it is.
    mp_cstack_check();
    switch (kind_of(object)) {
        case TUPLE: {
            mp_obj_tuple_t *tuple = MP_OBJ_TO_PTR(object);
            mp_obj_tuple_t *copy = MP_OBJ_TO_PTR(mp_obj_new_tuple(tuple->len, NULL));
            if (tuple->len == 0) {
                return known->value = MP_OBJ_FROM_PTR(copy);
            }
            // Until it is filled it is a plain tuple of None.
            for (size_t i = 0; i < tuple->len; i++) {
                copy->items[i] = mp_const_none;
            }
            copy->base.type = tuple->base.type;
            known->value = MP_OBJ_FROM_PTR(copy);
            for (size_t i = 0; i < tuple->len; i++) {
                copy->items[i] = copy_of(table, tuple->items[i]);
            }
            break;
        }
        case LIST: {
            mp_obj_list_t *list = MP_OBJ_TO_PTR(object);
            mp_obj_list_t *copy = MP_OBJ_TO_PTR(mp_obj_new_list(list->len, NULL));
            for (size_t i = 0; i < copy->len; i++) {
                copy->items[i] = mp_const_none;
            }
            known->value = MP_OBJ_FROM_PTR(copy);
            // The copy of an item may run a __hash__ that changes the list.
            for (size_t i = 0; i < copy->len; i++) {
                if (list->len != copy->len) {
                    raise_changed();
                }
                copy->items[i] = copy_of(table, list->items[i]);
            }
            break;
        }
        case DICT: {
            mp_map_t *map = mp_obj_dict_get_map(object);
            mp_obj_dict_t *copy = MP_OBJ_TO_PTR(mp_obj_new_dict(map->used));
            copy->base.type = mp_obj_get_type(object);
            copy->map.is_ordered = map->is_ordered;
            known->value = MP_OBJ_FROM_PTR(copy);
            const mp_map_elem_t *entries = map->table;
            size_t alloc = map->alloc, used = map->used;
            for (size_t i = 0; i < alloc; i++) {
                if (mp_map_slot_is_filled(map, i)) {
                    mp_map_elem_t entry = entries[i];
                    mp_obj_t key = copy_of(table, entry.key);
                    mp_obj_dict_store(known->value, key, copy_of(table, entry.value));
                    if (map->table != entries || map->alloc != alloc || map->used != used) {
                        raise_changed();
                    }
                }
            }
            break;
        }
        case SET:
        case FROZENSET: {
            const mp_set_t *set = &((const set_t *)MP_OBJ_TO_PTR(object))->set;
            set_t *copy = MP_OBJ_TO_PTR(mp_obj_new_set(0, NULL));
            copy->base.type = mp_obj_get_type(object);
            known->value = MP_OBJ_FROM_PTR(copy);
            const mp_obj_t *entries = set->table;
            size_t alloc = set->alloc, used = set->used;
            for (size_t i = 0; i < alloc; i++) {
                if (mp_set_slot_is_filled(set, i)) {
                    mp_set_lookup(&copy->set, copy_of(table, entries[i]), MP_MAP_LOOKUP_ADD_IF_NOT_FOUND);
                    if (set->table != entries || set->alloc != alloc || set->used != used) {
                        raise_changed();
                    }
                }
            }
            break;
        }
        default:
            known->value = copy_leaf(object);
    }
    return known->value;
}

static mp_obj_t knoll_keep(mp_obj_t object) {
    if (!mp_obj_is_obj(object)) {
        return object;
    }
    // Most that is kept is one leaf: no table for it.
    if (kind_of(object) == LEAF) {
        if (!is_changeable(object) && !leaf_is_transient(object)) {
            return object;
        }
        struct knoll_lasting window;
        knoll_lasting_begin(&window);
        mp_obj_t copy = copy_leaf(object);
        knoll_lasting_end(&window);
        return copy;
    }
    mp_map_t table;
    mp_map_init(&table, 0);
    mp_obj_t answer = object;
    if (find(&table, object)) {
        struct knoll_lasting window;
        knoll_lasting_begin(&window);
        answer = copy_of(&table, object);
        knoll_lasting_end(&window);
    }
    mp_map_deinit(&table);
    return answer;
}
MP_DEFINE_CONST_FUN_OBJ_1(knoll_keep_obj, knoll_keep);
