/*
 * who_holds(obj): which blocks of the heap refer to an object, and how the program reaches it through each.
 *
 *   >>> knoll.who_holds(key)
 *   [('dict table', 0x20001a40, "storage.cache.entries['session'][0]"), ('list', 0x20001b80, None)]
 *
 * - One tuple for each word of a block that has the object's address, of the first HOLDERS: what the block is, where, and
 *   the path from a module, from sys.modules or from another root; None when no path was found (the stack, or a path that
 *   is longer than is looked at).
 * - A collection goes before, so no garbage is told of. The collector is conservative: a number in the stack can look like
 *   a reference, and then the holder is told without a path.
 * - A `frame` is that of a function that runs now; it also has values of steps that are done.
 * - What is searched with lies on the C stack, so it works on a heap that is full, but for the answer itself.
 * - Blocks do not say what they are. What looks like an object by its first word is believed only as far as its sizes fit
 *   each other, and no word is followed that is not a block of the heap: a wrong guess costs a name in a path.
 *
 * The search goes upwards, breadth first, from the holder to whoever refers to it, until a word in MicroPython's root
 * pointers refers to it:
 *
 *   object <- items of a list <- list <- table of a dict <- dict <- module <- table of sys.modules <- root
 *
 * Cost: a look at every word of the heap for each of at most NODES blocks; a diagnosis, nothing for a hot path.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "module.h"
#include "py/bc.h"
#include "py/gc.h"
#include "py/objfun.h"
#include "py/objlist.h"
#include "py/objstr.h"
#include "py/objtuple.h"
#include "py/objtype.h"

#include <string.h>

enum { NODES = 48, HOLDERS = 12 };

/* A block on the way up, and the word in it that refers to the node below. */
struct node {
    const void *block;
    const void *const *slot;
    size_t below;
};

struct search {
    struct node nodes[NODES];
    size_t count;
    size_t at; /* whose holders are being collected */
};

/* The types by which a block is known; what is not here is a part of something, or a type of the program's. */
static const mp_obj_type_t *const known_types[] = {
    &mp_type_tuple, &mp_type_list, &mp_type_dict, &mp_type_module, &mp_type_fun_bc, &mp_type_bound_meth,
    &mp_type_gen_instance, &mp_type_gen_wrap, &mp_type_staticmethod, &mp_type_classmethod, &mp_type_property, &mp_type_type,
    &mp_type_str, &mp_type_bytes, &mp_type_memoryview, &mp_type_super, &mp_type_slice, &mp_type_enumerate, &mp_type_map,
    &mp_type_filter, &mp_type_zip, &mp_type_polymorph_iter,
    #if MICROPY_PY_BUILTINS_SET
    &mp_type_set,
    #endif
    #if MICROPY_PY_BUILTINS_FROZENSET
    &mp_type_frozenset,
    #endif
    #if MICROPY_PY_BUILTINS_BYTEARRAY
    &mp_type_bytearray,
    #endif
    #if MICROPY_PY_ARRAY
    &mp_type_array,
    #endif
    #if MICROPY_PY_COLLECTIONS_ORDEREDDICT
    &mp_type_ordereddict,
    #endif
    #if MICROPY_PY_COLLECTIONS_DEQUE
    &mp_type_deque,
    #endif
    #if MICROPY_EMIT_NATIVE
    &mp_type_fun_native,
    #endif
};

static const void *word(const void *block, size_t index) {
    return ((const void *const *)block)[index];
}

/* The type of the object that the block is, or NULL for what is no object. Looks only at blocks and at known types. */
static const mp_obj_type_t *type_of(const void *block) {
    const void *first = word(block, 0);
    for (size_t i = 0; i < MP_ARRAY_SIZE(known_types); i++) {
        if (first == known_types[i]) {
            return first;
        }
    }
    // A class of the program is a block itself, and begins with `type`; so may a list's items.
    if (kn_traced_size(knoll_heap(), first) >= offsetof(mp_obj_type_t, slots) && word(first, 0) == &mp_type_type
        && ((const mp_obj_type_t *)first)->name < QSTR_TOTAL()) {
        return first;
    }
    return NULL;
}

/* Whether the word at `slot` refers to the table of the map around it, which the block has room for. */
static bool is_table_of(const void *block, const void *map_in_block, const void *const *slot) {
    const mp_map_t *map = map_in_block;
    size_t room = kn_traced_size(knoll_heap(), block), before = (const char *)map_in_block - (const char *)block;
    return before + sizeof(mp_map_t) <= room && slot == (const void *const *)&map->table && map->used <= map->alloc
        && map->alloc <= kn_traced_size(knoll_heap(), map->table) / sizeof(mp_map_elem_t);
}

static bool are_items_of(const void *block, const void *const *slot) {
    const mp_obj_list_t *list = block;
    return kn_traced_size(knoll_heap(), block) >= sizeof(*list) && slot == (const void *const *)&list->items
        && list->len <= list->alloc && list->alloc <= kn_traced_size(knoll_heap(), list->items) / sizeof(mp_obj_t);
}

/*
 * Whether the block is the frame of a function or a generator that runs now: a part of the stack, that MicroPython has in
 * the heap when it is large. In it are also values of steps that are done.
 */
bool knoll_is_frame(const void *block) {
    size_t size = kn_traced_size(knoll_heap(), block);
    if (size < sizeof(mp_code_state_t)) {
        return false;
    }
    if (word(block, 0) == &mp_type_gen_instance) {
        return word(block, 1) == MP_OBJ_NULL; // its pend_exc, as objgenerator.c has it
    }
    const mp_code_state_t *frame = block;
    const char *top = (const char *)frame->sp;
    return kn_traced_size(knoll_heap(), frame->fun_bc) >= sizeof(mp_obj_base_t)
           && word(frame->fun_bc, 0) == &mp_type_fun_bc
           && top >= (const char *)block && top < (const char *)block + size;
}

static bool is_dict(const mp_obj_type_t *type) {
    #if MICROPY_PY_COLLECTIONS_ORDEREDDICT
    return type == &mp_type_dict || type == &mp_type_ordereddict;
    #else
    return type == &mp_type_dict;
    #endif
}

static bool is_instance(const mp_obj_type_t *type) {
    return type != NULL && kn_traced_size(knoll_heap(), type) != 0;
}

// ---------------------------------------------------------------- roots

const void *const *knoll_root_words(size_t *count) {
    size_t start = offsetof(mp_state_ctx_t, vm) / sizeof(void *);
    size_t end = offsetof(mp_state_ctx_t, vm.qstr_last_chunk) / sizeof(void *);
    *count = end - start;
    return (const void *const *)&mp_state_ctx + start;
}

/* Whether a root pointer refers to the block: that of the tables of sys.modules and of __main__ is one, too. */
static bool is_rooted(const void *block) {
    size_t count;
    const void *const *words = knoll_root_words(&count);
    for (size_t i = 0; i < count; i++) {
        if (words[i] == block) {
            return true;
        }
    }
    return false;
}

// ---------------------------------------------------------------- search

static bool note_holder(void *context, const void *holder, const void *slot) {
    struct search *search = context;
    for (size_t i = 0; i < search->count; i++) {
        if (search->nodes[i].block == holder) {
            return true;
        }
    }
    if (search->count < NODES) {
        search->nodes[search->count++] = (struct node) { holder, slot, search->at };
    }
    return search->count < NODES;
}

/* Upwards from nodes[0]; the index of the first node that a root refers to, or NODES. */
static size_t search_up(struct search *search) {
    for (search->at = 0; search->at < search->count; search->at++) {
        const void *block = search->nodes[search->at].block;
        if (is_rooted(block)) {
            return search->at;
        }
        kn_traced_holders(knoll_heap(), block, note_holder, search);
    }
    return NODES;
}

// ---------------------------------------------------------------- path

/* What the pointer that is followed next is a part of. */
enum style { PART, NAMES, ATTRIBUTES, KEYS, ITEMS };

/* Whether a word can be printed as a key, whatever it is: a name, a number, or a str that lies in the heap. */
static bool is_plain_key(mp_const_obj_t key) {
    if (!mp_obj_is_obj(key)) {
        return mp_obj_is_small_int(key) || (mp_obj_is_qstr(key) && MP_OBJ_QSTR_VALUE(key) < QSTR_TOTAL());
    }
    const mp_obj_str_t *str = MP_OBJ_TO_PTR(key);
    return kn_traced_size(knoll_heap(), str) >= sizeof(*str) && str->base.type == &mp_type_str
        && str->len < kn_traced_size(knoll_heap(), str->data);
}

static void print_key(const mp_print_t *print, enum style style, const struct node *node) {
    size_t at = node->slot - (const void *const *)node->block;
    if (style == ITEMS) {
        mp_printf(print, "[%u]", (unsigned)at);
        return;
    }
    // Printing allocates, and a finaliser may have shortened the table since it was searched.
    size_t key_at = at & ~(size_t)1;
    bool there = key_at < kn_traced_size(knoll_heap(), node->block) / sizeof(mp_obj_t);
    mp_obj_t key = there ? ((const mp_obj_t *)node->block)[key_at] : MP_OBJ_NULL;
    if (!there || !is_plain_key(key)) {
        mp_print_str(print, "[...]");
    } else if (style == KEYS) {
        mp_print_str(print, "[");
        mp_obj_print_helper(print, key, PRINT_REPR);
        mp_print_str(print, "]");
    } else {
        mp_print_str(print, style == ATTRIBUTES ? "." : "");
        mp_obj_print_helper(print, key, PRINT_STR);
    }
    if ((at & 1) == 0) {
        mp_print_str(print, " (the key)");
    }
}

/* One step down: what the node is called within what is above it; returns what its own pointer is a part of. */
static enum style print_step(const mp_print_t *print, enum style style, const struct node *node) {
    const mp_obj_type_t *type = style == PART ? type_of(node->block) : NULL;
    size_t at = node->slot - (const void *const *)node->block;
    if (style != PART) {
        print_key(print, style, node);
        return PART;
    } else if (type == &mp_type_list && are_items_of(node->block, node->slot)) {
        return ITEMS;
    } else if (is_dict(type) && is_table_of(node->block, &((const mp_obj_dict_t *)node->block)->map, node->slot)) {
        return KEYS;
    } else if (type == &mp_type_tuple) {
        mp_printf(print, "[%u]", (unsigned)(at - offsetof(mp_obj_tuple_t, items) / sizeof(void *)));
    } else if (type == &mp_type_fun_bc) {
        mp_printf(print, "()");
    } else if (is_instance(type)
        && is_table_of(node->block, &((const mp_obj_instance_t *)node->block)->members, node->slot)) {
        return ATTRIBUTES;
    } else if (type != &mp_type_module && type != &mp_type_type) {
        mp_printf(print, "+%u", (unsigned)(at * sizeof(void *)));
    }
    return PART;
}

static void print_path(const mp_print_t *print, const struct search *search, size_t top, const struct node *last) {
    const void *block = search->nodes[top].block;
    enum style style = PART;
    if (block == MP_STATE_VM(mp_loaded_modules_dict).map.table) {
        style = NAMES;
    } else if (block == MP_STATE_VM(dict_main).map.table) {
        mp_print_str(print, "__main__");
        style = ATTRIBUTES;
    } else {
        mp_print_str(print, "root");
    }
    const mp_obj_type_t *above = NULL;
    for (size_t at = top;; at = search->nodes[at].below) {
        const struct node *node = at == 0 ? last : &search->nodes[at];
        enum style next = print_step(print, style, node);
        if (at == 0) {
            return;
        }
        // A module's or a class's dict holds its names.
        if (next == KEYS && (above == &mp_type_module || above == &mp_type_type)) {
            next = ATTRIBUTES;
        }
        above = style == PART ? type_of(node->block) : NULL;
        style = next;
    }
}

// ---------------------------------------------------------------- the function

struct holders {
    struct node found[HOLDERS];
    size_t count;
};

static bool collect_holder(void *context, const void *holder, const void *slot) {
    struct holders *holders = context;
    holders->found[holders->count++] = (struct node) { holder, slot, 0 };
    return holders->count < HOLDERS;
}

/* What a block is, in a word or two. */
static mp_obj_t name_of(const struct search *search) {
    const void *block = search->nodes[0].block;
    const mp_obj_type_t *type = type_of(block);
    if (knoll_is_frame(block)) {
        return MP_OBJ_NEW_QSTR(MP_QSTR_frame);
    }
    if (type != NULL) {
        return MP_OBJ_NEW_QSTR(type->name);
    }
    if (block == MP_STATE_VM(mp_loaded_modules_dict).map.table) {
        return mp_obj_new_str("table of sys.modules", 20);
    } else if (block == MP_STATE_VM(dict_main).map.table) {
        return mp_obj_new_str("table of __main__", 17);
    }
    // What refers to it says what it is a part of.
    for (size_t i = 1; i < search->count && search->nodes[i].below == 0; i++) {
        const mp_obj_type_t *above = type_of(search->nodes[i].block);
        if (above != NULL) {
            vstr_t text;
            mp_print_t print;
            vstr_init_print(&text, 24, &print);
            mp_printf(&print, "part of %q", (qstr)above->name);
            return mp_obj_new_str_from_vstr(&text);
        }
    }
    return MP_OBJ_NEW_QSTR(MP_QSTR_block);
}

/* Behind the collection, in a frame of its own: what such a large frame holds from before would hold blocks. */
static MP_NOINLINE mp_obj_t find_holders(mp_obj_t object) {
    mp_obj_t answer = mp_obj_new_list(0, NULL);
    struct holders holders;
    holders.count = 0;
    knoll_enter();
    kn_traced_holders(knoll_heap(), MP_OBJ_TO_PTR(object), collect_holder, &holders);
    knoll_leave();
    for (size_t i = 0; i < holders.count; i++) {
        // The answer grows while it is made; what was found stays where it is, since it is alive.
        struct search search;
        search.count = 1;
        search.nodes[0] = holders.found[i];
        knoll_enter();
        size_t top = search_up(&search);
        knoll_leave();
        mp_obj_t items[3] = {
            name_of(&search), mp_obj_new_int_from_uint((uintptr_t)holders.found[i].block), mp_const_none
        };
        if (top != NODES) {
            vstr_t text;
            mp_print_t print;
            vstr_init_print(&text, 32, &print);
            print_path(&print, &search, top, &holders.found[i]);
            items[2] = mp_obj_new_str_from_vstr(&text);
        }
        mp_obj_list_append(answer, mp_obj_new_tuple(3, items));
    }
    return answer;
}

static mp_obj_t knoll_who_holds(mp_obj_t object) {
    if (!knoll_is_block(object)) {
        return mp_obj_new_list(0, NULL); // a small int, an interned str, what lies in ROM: not in the heap
    }
    gc_collect();
    return find_holders(object);
}
MP_DEFINE_CONST_FUN_OBJ_1(knoll_who_holds_obj, knoll_who_holds);
