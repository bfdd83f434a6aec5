/*
 * Which side of the heap allocations go to, and what ends with a workflow.
 *
 *   with knoll.workflow():      all that is allocated inside is transient, from the heap's top
 *       handle(message)         modules imported inside are cleared at the end, as Trezor's unimport does
 *   with knoll.lasting():       all that is allocated inside lasts, from the bottom, whatever scope is open
 *   knoll.boot_done()           from here on everything is transient but what is kept
 *
 * - A workflow's scope ends whatever happens: by return, by an exception (which passes through), or when the object is
 *   collected because a generator that was inside never went on. Nothing of the program runs at its end but finalisers
 *   of the collection, and they find it neither open nor closed: to enter or to leave it is a RuntimeError then.
 * - At its end, in this order: modules that were imported inside leave sys.modules and their parents; a collection;
 *   what is left on the transient side is counted; the scope ends; the seed's assertion: sys.modules has not outgrown the
 *   table that presize_modules made. An exception on its way is never replaced by the assertion.
 * - `with knoll.workflow() as w` tells afterwards: w.modules cleared, w.escaped blocks and w.escaped_bytes that were still
 *   reachable on the transient side (from the stack too, where the collector is conservative; and what earlier workflows
 *   left there), w.free and w.largest behind the collection.
 * - workflow(strict=True) counts only blocks of this workflow as escaped, and asserts that nothing that lasts refers to one:
 *   w.held, the references that do, is 0. That is what keep() and lasting() are for, and who_holds() tells where one was
 *   forgotten.
 * - Workflows nest; what is left is counted at the end of the outermost, and under automatic() none is. The end of one
 *   needs no memory.
 *
 * Cost: the end is a collection and a walk over the blocks that are left; strict: two walks more at the beginning, and a
 * look at each word of what lasts at the end.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "module.h"
#include "py/gc.h"
#include "py/objmodule.h"

#include <string.h>

typedef struct {
    mp_obj_base_t base;
    mp_obj_t *before; /* names of the modules that were loaded; on the transient side */
    size_t before_count;
    const void **residents; /* strict: what lay on the transient side already, as numbers that hold nothing */
    size_t resident_count;
    size_t cleared; /* modules, at the end */
    size_t escaped; /* transient blocks that were still reachable */
    size_t escaped_bytes;
    size_t held; /* words of what lasts, and root pointers, that refer to one of them */
    size_t free; /* bytes, behind the collection */
    size_t largest;
    bool strict;
    bool ended; /* the numbers are there */
    enum { CLOSED, OPEN, ENDING } state;
} knoll_workflow_t;

struct knoll_state knoll_state;

// ---------------------------------------------------------------- lasting

static void end_lasting(void *node) {
    (void)node;
    knoll_enter();
    kn_traced_lasting_end(knoll_heap());
    knoll_leave();
}

void knoll_lasting_begin(struct knoll_lasting *window) {
    knoll_enter();
    kn_traced_lasting_begin(knoll_heap());
    knoll_leave();
    nlr_push_jump_callback(&window->node, end_lasting);
}

void knoll_lasting_end(struct knoll_lasting *window) {
    (void)window;
    nlr_pop_jump_callback(true);
}

static mp_obj_t lasting_enter(mp_obj_t self) {
    knoll_enter();
    kn_traced_lasting_begin(knoll_heap());
    knoll_state.lasting += 1;
    knoll_leave();
    return self;
}
static MP_DEFINE_CONST_FUN_OBJ_1(lasting_enter_obj, lasting_enter);

static mp_obj_t lasting_exit(size_t count, const mp_obj_t *args) {
    (void)count;
    (void)args;
    if (knoll_state.lasting == 0) {
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("knoll.lasting: not entered"));
    }
    knoll_enter();
    knoll_state.lasting -= 1;
    kn_traced_lasting_end(knoll_heap());
    knoll_leave();
    return mp_const_false;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(lasting_exit_obj, 1, 4, lasting_exit);

static const mp_rom_map_elem_t lasting_locals[] = {
    { MP_ROM_QSTR(MP_QSTR___enter__), MP_ROM_PTR(&lasting_enter_obj) },
    { MP_ROM_QSTR(MP_QSTR___exit__), MP_ROM_PTR(&lasting_exit_obj) },
};
static MP_DEFINE_CONST_DICT(lasting_locals_dict, lasting_locals);

static MP_DEFINE_CONST_OBJ_TYPE(
    knoll_type_lasting, MP_QSTR_lasting, MP_TYPE_FLAG_NONE,
    locals_dict, &lasting_locals_dict);

/* It has no state of its own, so there is one, and it takes no memory. */
static const mp_obj_base_t lasting_only = { &knoll_type_lasting };

static mp_obj_t knoll_lasting(void) {
    return MP_OBJ_FROM_PTR(&lasting_only);
}
MP_DEFINE_CONST_FUN_OBJ_0(knoll_lasting_obj, knoll_lasting);

// ---------------------------------------------------------------- automatic

static void set_automatic(bool on) {
    knoll_enter();
    if (on && !knoll_state.automatic) {
        kn_traced_scope_begin(knoll_heap());
    } else if (!on && knoll_state.automatic) {
        kn_traced_scope_end(knoll_heap());
    }
    knoll_state.automatic = on;
    knoll_leave();
}

static mp_obj_t knoll_boot_done(void) {
    gc_collect();
    set_automatic(true);
    return mp_const_none;
}
MP_DEFINE_CONST_FUN_OBJ_0(knoll_boot_done_obj, knoll_boot_done);

/* automatic() tells, automatic(on) sets; without the collection of boot_done(). */
static mp_obj_t knoll_automatic(size_t count, const mp_obj_t *args) {
    if (count == 1) {
        set_automatic(mp_obj_is_true(args[0]));
    }
    return mp_obj_new_bool(knoll_state.automatic);
}
MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(knoll_automatic_obj, 0, 1, knoll_automatic);

// ---------------------------------------------------------------- modules

static mp_map_t *loaded_map(void) {
    return &MP_STATE_VM(mp_loaded_modules_dict).map;
}

mp_obj_t *knoll_loaded(size_t *count) {
    const mp_map_t *map = loaded_map();
    mp_obj_t *names;
    size_t room;
    do {
        room = *count = map->used + 1;
        names = m_new_maybe(mp_obj_t, room);
        // The allocation may have collected, and a finaliser may have imported.
    } while (names != NULL && map->used > room);
    if (names != NULL) {
        *count = 0;
        for (size_t i = 0; i < map->alloc; i++) {
            if (mp_map_slot_is_filled(map, i)) {
                names[(*count)++] = map->table[i].key;
            }
        }
    }
    return names;
}

bool knoll_is_among(mp_obj_t name, const mp_obj_t *names, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (names[i] == name) {
            return true;
        }
    }
    return false;
}

/* The slot of a name, or NULL. Names are interned, so no key is asked whether it is equal. */
static mp_map_elem_t *find_name(const mp_map_t *map, qstr name) {
    for (size_t i = 0; i < map->alloc; i++) {
        if (map->table[i].key == MP_OBJ_NEW_QSTR(name)) {
            return &map->table[i];
        }
    }
    return NULL;
}

/* Empties a slot of a hash table as mp_map_lookup does; it keeps no pointer, or the value would stay reachable. */
static void remove_slot(mp_map_t *map, mp_map_elem_t *slot) {
    const mp_map_elem_t *next = &map->table[(size_t)(slot - map->table + 1) % map->alloc];
    slot->key = next->key == MP_OBJ_NULL ? MP_OBJ_NULL : MP_OBJ_SENTINEL;
    slot->value = MP_OBJ_NULL;
    map->used -= 1;
}

/* `a.b` of a module named `a.b`, if `a` is loaded and its table can be written. Makes no string. */
static void remove_from_parent(mp_obj_t name, mp_obj_t module) {
    size_t length;
    const char *text = mp_obj_str_get_data(name, &length);
    size_t dot = length;
    while (dot > 0 && text[dot - 1] != '.') {
        dot -= 1;
    }
    if (dot <= 1) {
        return;
    }
    qstr parent = qstr_find_strn(text, dot - 1);
    qstr own = qstr_find_strn(text + dot, length - dot);
    if (parent == MP_QSTRnull || own == MP_QSTRnull) {
        return;
    }
    const mp_map_elem_t *found = find_name(loaded_map(), parent);
    if (found == NULL || !mp_obj_is_type(found->value, &mp_type_module)) {
        return;
    }
    mp_map_t *names = &mp_obj_module_get_globals(found->value)->map;
    mp_map_elem_t *slot = names->is_fixed || names->is_ordered ? NULL : find_name(names, own);
    if (slot != NULL && slot->value == module) {
        remove_slot(names, slot);
    }
}

MP_NOINLINE size_t knoll_unimport(const mp_obj_t *names, size_t count) {
    mp_map_t *map = loaded_map();
    size_t cleared = 0;
    for (size_t i = 0; i < map->alloc; i++) {
        if (!mp_map_slot_is_filled(map, i) || knoll_is_among(map->table[i].key, names, count)) {
            continue;
        }
        mp_obj_t name = map->table[i].key, module = map->table[i].value;
        if (mp_obj_is_str(name)) {
            remove_from_parent(name, module);
        }
        remove_slot(map, &map->table[i]);
        cleared += 1;
    }
    return cleared;
}

// ---------------------------------------------------------------- workflow

struct escape {
    knoll_workflow_t *workflow;
    const void *lowest; /* of the blocks that escaped */
    const void *highest;
};

/* Whether a block's head was allocated in the workflow, as far as that is known. */
static bool is_escaped(const knoll_workflow_t *self, const void *block) {
    // The scope's own lists and this very object are not the workflow's doing.
    if (block == self->before || block == self->residents || block == self
        || !kn_traced_is_transient(knoll_heap(), block)) {
        return false;
    }
    for (size_t i = 0; i < self->resident_count; i++) {
        if (self->residents[i] == block) {
            return false;
        }
    }
    return true;
}

static bool count_escaped(void *context, const KnBlock *block) {
    struct escape *escape = context;
    knoll_workflow_t *self = escape->workflow;
    if (block->state == KN_BLOCK_USED && is_escaped(self, block->start)) {
        escape->lowest = self->escaped == 0 || block->start < escape->lowest ? block->start : escape->lowest;
        escape->highest = block->start > escape->highest ? block->start : escape->highest;
        self->escaped += 1;
        self->escaped_bytes += block->size;
    }
    return true;
}

static void count_words(const struct escape *escape, const void *const *words, size_t count) {
    for (size_t i = 0; i < count; i++) {
        const void *word = words[i];
        if (word >= escape->lowest && word <= escape->highest && kn_traced_size(knoll_heap(), word) != 0
            && is_escaped(escape->workflow, word)) {
            escape->workflow->held += 1;
        }
    }
}

static bool count_held(void *context, const KnBlock *block) {
    if (block->state == KN_BLOCK_USED && !kn_traced_is_transient(knoll_heap(), block->start)
        && (kn_traced_flags(knoll_heap(), block->start) & KN_NO_SCAN) == 0 && !knoll_is_frame(block->start)) {
        count_words(context, block->start, block->size / sizeof(void *));
    }
    return true;
}

/*
 * What is left, behind the collection. The stack is no holder, frames that lie in the heap included: what it has from
 * before is there by chance. A function of its own, since the collector looks at every word of the stack: what lies in a
 * frame that is there while it runs is held.
 */
static MP_NOINLINE void look_back(knoll_workflow_t *self) {
    KnTracedStats stats;
    knoll_enter();
    kn_traced_stats(knoll_heap(), &stats);
    if (stats.scopes == 1) {
        // Of an inner scope's blocks the heap does not know which are whose.
        struct escape escape = { self, NULL, NULL };
        kn_traced_walk(knoll_heap(), count_escaped, &escape);
        if (self->strict && self->escaped != 0) {
            size_t count;
            const void *const *roots = knoll_root_words(&count);
            count_words(&escape, roots, count);
            kn_traced_walk(knoll_heap(), count_held, &escape);
        }
    }
    knoll_leave();
    self->free = stats.free;
    self->largest = stats.largest_free;
    self->ended = true;
}

/* The blocks above the largest free run: what earlier workflows left there. */
struct residents {
    const void *above;
    size_t largest;
    const void **blocks;
    size_t count;
    size_t room;
};

static bool find_largest(void *context, const KnBlock *block) {
    struct residents *residents = context;
    if (block->state == KN_BLOCK_FREE && block->size > residents->largest) {
        residents->largest = block->size;
        residents->above = block->start;
        residents->count = 0;
    } else if (block->state == KN_BLOCK_USED) {
        residents->count += 1;
    }
    return true;
}

static bool list_residents(void *context, const KnBlock *block) {
    struct residents *residents = context;
    if (block->state == KN_BLOCK_USED && block->start > residents->above && residents->count < residents->room) {
        residents->blocks[residents->count++] = block->start;
    }
    return true;
}

/* Notes them for the start of a scope; false: no memory. */
static bool note_residents(struct residents *residents) {
    knoll_enter();
    kn_traced_walk(knoll_heap(), find_largest, residents);
    knoll_leave();
    residents->room = residents->count + 1;
    residents->count = 0;
    residents->blocks = gc_alloc(residents->room * sizeof(void *), KN_NO_SCAN);
    if (residents->blocks == NULL) {
        return false;
    }
    knoll_enter();
    kn_traced_walk(knoll_heap(), list_residents, residents);
    knoll_leave();
    return true;
}

static void begin_scope(void) {
    knoll_enter();
    kn_traced_scope_begin(knoll_heap());
    knoll_state.workflows += 1;
    knoll_leave();
}

static void end_scope(void) {
    knoll_enter();
    knoll_state.workflows -= 1;
    kn_traced_scope_end(knoll_heap());
    knoll_leave();
}

/* Ends the workflow's scope, unless a finaliser has done so by calling __del__ itself. */
static void end_workflow(knoll_workflow_t *self) {
    if (self->state != CLOSED) {
        self->state = CLOSED;
        self->before = NULL;
        self->before_count = 0;
        self->residents = NULL;
        self->resident_count = 0;
        end_scope();
    }
}

static mp_obj_t workflow_enter(mp_obj_t self_in) {
    knoll_workflow_t *self = MP_OBJ_TO_PTR(self_in);
    mp_obj_t *before = NULL;
    size_t before_count = 0;
    struct residents residents = { NULL, 0, NULL, 0, 0 };
    bool noted = true;
    begin_scope();
    if (self->state == CLOSED) {
        before = knoll_loaded(&before_count);
        noted = before != NULL && (!self->strict || note_residents(&residents));
    }
    // Nothing is stored before all is there: an allocation may have collected, and a finaliser entered this workflow.
    if (self->state != CLOSED) {
        end_scope();
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("knoll.workflow: already entered"));
    } else if (!noted) {
        end_scope();
        m_malloc_fail(before_count * sizeof(mp_obj_t));
    }
    self->state = OPEN;
    self->ended = false;
    self->cleared = self->escaped = self->escaped_bytes = self->held = 0;
    self->before = before;
    self->before_count = before_count;
    self->residents = residents.blocks;
    self->resident_count = residents.count;
    return self_in;
}
static MP_DEFINE_CONST_FUN_OBJ_1(workflow_enter_obj, workflow_enter);

static mp_obj_t workflow_exit(size_t count, const mp_obj_t *args) {
    knoll_workflow_t *self = MP_OBJ_TO_PTR(args[0]);
    if (self->state != OPEN) {
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("knoll.workflow: not entered"));
    }
    self->state = ENDING;
    self->cleared = knoll_unimport(self->before, self->before_count);
    gc_collect();
    look_back(self);
    end_workflow(self);
    bool passing = count > 1 && args[1] != mp_const_none;
    if (passing) {
        return mp_const_false;
    }
    const mp_map_t *map = loaded_map();
    if (knoll_state.modules_table != NULL
        && (knoll_state.modules_table != map->table || knoll_state.modules_room != map->alloc)) {
        mp_raise_msg_varg(&mp_type_AssertionError,
            MP_ERROR_TEXT("sys.modules outgrew the %u entries of knoll.presize_modules"), (unsigned)knoll_state.modules_room);
    }
    if (self->held != 0) {
        mp_raise_msg_varg(&mp_type_AssertionError,
            MP_ERROR_TEXT("the workflow's memory is held by what lasts: %u references"), (unsigned)self->held);
    }
    return mp_const_false;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(workflow_exit_obj, 1, 4, workflow_exit);

/* Called by the collector for an object that is no longer reachable; nothing but the scope can be ended here. */
static mp_obj_t workflow_del(mp_obj_t self_in) {
    end_workflow(MP_OBJ_TO_PTR(self_in));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(workflow_del_obj, workflow_del);

static void workflow_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    knoll_workflow_t *self = MP_OBJ_TO_PTR(self_in);
    if (dest[0] != MP_OBJ_NULL) {
        return; // read only
    }
    size_t value;
    switch (attr) {
        case MP_QSTR_modules:
            value = self->cleared;
            break;
        case MP_QSTR_escaped:
            value = self->escaped;
            break;
        case MP_QSTR_escaped_bytes:
            value = self->escaped_bytes;
            break;
        case MP_QSTR_held:
            value = self->held;
            break;
        case MP_QSTR_free:
            value = self->free;
            break;
        case MP_QSTR_largest:
            value = self->largest;
            break;
        default:
            dest[1] = MP_OBJ_SENTINEL; // go on in the locals
            return;
    }
    dest[0] = self->ended ? mp_obj_new_int_from_uint(value) : mp_const_none;
}

static const mp_rom_map_elem_t workflow_locals[] = {
    { MP_ROM_QSTR(MP_QSTR___enter__), MP_ROM_PTR(&workflow_enter_obj) },
    { MP_ROM_QSTR(MP_QSTR___exit__), MP_ROM_PTR(&workflow_exit_obj) },
    { MP_ROM_QSTR(MP_QSTR___del__), MP_ROM_PTR(&workflow_del_obj) },
};
static MP_DEFINE_CONST_DICT(workflow_locals_dict, workflow_locals);

static MP_DEFINE_CONST_OBJ_TYPE(
    knoll_type_workflow, MP_QSTR_workflow, MP_TYPE_FLAG_NONE,
    attr, workflow_attr,
    locals_dict, &workflow_locals_dict);

static mp_obj_t knoll_workflow(size_t n_args, const mp_obj_t *args, mp_map_t *kw_args) {
    static const mp_arg_t allowed[] = {
        { MP_QSTR_strict, MP_ARG_KW_ONLY | MP_ARG_BOOL, { .u_bool = false } },
    };
    mp_arg_val_t given[MP_ARRAY_SIZE(allowed)];
    mp_arg_parse_all(n_args, args, kw_args, MP_ARRAY_SIZE(allowed), allowed, given);
    knoll_workflow_t *self = mp_obj_malloc_with_finaliser(knoll_workflow_t, &knoll_type_workflow);
    self->strict = given[0].u_bool;
    self->ended = false;
    self->state = CLOSED;
    self->before = NULL;
    self->before_count = 0;
    self->residents = NULL;
    self->resident_count = 0;
    return MP_OBJ_FROM_PTR(self);
}
MP_DEFINE_CONST_FUN_OBJ_KW(knoll_workflow_obj, 0, knoll_workflow);
