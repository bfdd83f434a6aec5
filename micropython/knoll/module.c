/*
 * The Python module `knoll`: what a program does with the heap under it, and what it can learn of it.
 *
 *   workflow() lasting() boot_done() automatic()    sides of the heap           module_workflow.c
 *   presize_module() presize_modules()              tables that do not move     module_presize.c
 *   import_cost(name)                               bytes that an import leaves module_presize.c
 *   keep(object)                                    a copy that lasts           module_keep.c
 *   who_holds(object)                               holders and paths           module_holders.c
 *   Arena(size)  Counted(size)                      memory with other ends      module_arena.c, module_counted.c
 *   info() witness() dump() check()                 numbers, JSON, a map        here
 *   step(granules) threshold(bytes)                 the collector's work        here
 *   buffer(size) no_scan(buffer)                    what it need not look into  here
 *
 * - Wrong arguments: TypeError or ValueError, OverflowError for an int that no machine word holds; no memory: MemoryError;
 *   the heap is as it was before.
 * - info, witness and dump read the heap and change nothing but by the memory of their answer; dump needs none.
 * - After a soft reset the module begins anew: no scope is open, nothing is automatic.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "module.h"
#include "py/gc.h"
#include "py/mphal.h"
#include "py/objarray.h"
#include "py/objstr.h"

#include <string.h>

size_t knoll_size_argument(mp_obj_t from, size_t least) {
    mp_int_t size = mp_obj_get_int(from);
    // Half of what a pointer can tell apart: sums with what the library adds do not overflow.
    if (size < 0 || (size_t)size < least || (size_t)size > SIZE_MAX / 4) {
        mp_raise_ValueError(MP_ERROR_TEXT("size out of range"));
    }
    return size;
}

bool knoll_is_block(mp_const_obj_t object) {
    return mp_obj_is_obj(object) && kn_traced_size(knoll_heap(), MP_OBJ_TO_PTR(object)) != 0;
}

// ---------------------------------------------------------------- numbers

static void store_number(mp_obj_t dict, qstr name, size_t number) {
    mp_obj_dict_store(dict, MP_OBJ_NEW_QSTR(name), mp_obj_new_int_from_uint(number));
}

/* The numbers of the heap as a dict, in bytes where nothing else is said, without the memory of the answer. */
static mp_obj_t knoll_info(void) {
    KnTracedStats stats;
    knoll_enter();
    kn_traced_stats(knoll_heap(), &stats);
    knoll_leave();
    mp_obj_t answer = mp_obj_new_dict(16);
    store_number(answer, MP_QSTR_total, stats.total);
    store_number(answer, MP_QSTR_used, stats.used);
    store_number(answer, MP_QSTR_free, stats.free);
    store_number(answer, MP_QSTR_largest, stats.largest_free);
    store_number(answer, MP_QSTR_largest_block, stats.largest_block);
    store_number(answer, MP_QSTR_blocks, stats.blocks);
    store_number(answer, MP_QSTR_finalisers, stats.finalisers);
    store_number(answer, MP_QSTR_collections, stats.collections);
    store_number(answer, MP_QSTR_unswept, stats.unswept);
    store_number(answer, MP_QSTR_areas, stats.areas);
    store_number(answer, MP_QSTR_granule, stats.granule);
    store_number(answer, MP_QSTR_scopes, stats.scopes);
    store_number(answer, MP_QSTR_workflows, knoll_state.workflows);
    mp_obj_dict_store(answer, MP_OBJ_NEW_QSTR(MP_QSTR_automatic), mp_obj_new_bool(knoll_state.automatic));
    return answer;
}
static MP_DEFINE_CONST_FUN_OBJ_0(knoll_info_obj, knoll_info);

/* True; or RuntimeError when the heap's records contradict each other. */
static mp_obj_t knoll_check(void) {
    knoll_enter();
    KnStatus status = kn_traced_check(knoll_heap());
    knoll_leave();
    if (status != KN_OK) {
        mp_raise_msg_varg(&mp_type_RuntimeError, MP_ERROR_TEXT("knoll: %s"), kn_status_str(status));
    }
    return mp_const_true;
}
static MP_DEFINE_CONST_FUN_OBJ_0(knoll_check_obj, knoll_check);

// ---------------------------------------------------------------- texts

/* Room for a text that the heap writes about itself, which can't grow while it is written. */
struct text {
    char *at;
    size_t room;
    size_t length; /* of the whole text, also of what did not fit */
};

static size_t write_text(void *context, const char *from, size_t length) {
    struct text *text = context;
    if (text->length + length <= text->room) {
        memcpy(text->at + text->length, from, length);
    }
    text->length += length;
    return length;
}

/* JSON of a stable form, as kn_traced_witness writes it (docs/witness.md). */
static mp_obj_t knoll_witness(void) {
    struct text text = { NULL, 0, 0 };
    vstr_t vstr;
    for (;;) {
        knoll_enter();
        kn_traced_witness(knoll_heap(), write_text, &text);
        knoll_leave();
        if (text.room != 0 && text.length <= text.room) {
            break;
        }
        // The block that the text gets is itself a part of what is told: some bytes to spare, and from the start.
        size_t room = text.length + 64;
        vstr_init_len(&vstr, room);
        text = (struct text) { vstr.buf, room, 0 };
    }
    vstr.len = text.length;
    return mp_obj_new_str_from_vstr(&vstr);
}
static MP_DEFINE_CONST_FUN_OBJ_0(knoll_witness_obj, knoll_witness);

/* An exception of the terminal's, as KeyboardInterrupt, waits until the heap is done with its text. */
static size_t print_text(void *context, const char *from, size_t length) {
    nlr_buf_t nlr;
    if (nlr_push(&nlr) != 0) {
        *(void **)context = nlr.ret_val;
        return 0;
    }
    mp_print_strn(&mp_plat_print, from, length, 0, 0, 0);
    nlr_pop();
    return length;
}

/* Prints numbers and a map. */
static mp_obj_t knoll_dump(void) {
    void *raised = NULL;
    knoll_enter();
    kn_traced_dump(knoll_heap(), print_text, &raised);
    knoll_leave();
    if (raised != NULL) {
        nlr_jump(raised);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(knoll_dump_obj, knoll_dump);

// ---------------------------------------------------------------- the collector's work

/* Sweeps so many granules more after a collection; True when nothing is left to sweep. */
static mp_obj_t knoll_step(mp_obj_t granules_in) {
    size_t granules = knoll_size_argument(granules_in, 1);
    knoll_enter();
    bool done = kn_traced_step(knoll_heap(), granules);
    knoll_leave();
    return mp_obj_new_bool(done);
}
static MP_DEFINE_CONST_FUN_OBJ_1(knoll_step_obj, knoll_step);

/*
 * threshold() tells the bytes allocated after which a collection comes by itself, or -1; threshold(bytes) sets it, in
 * whole granules, rounded up; 0 or less: none. It is gc.threshold() under a name that says it in bytes on every port.
 */
static mp_obj_t knoll_threshold(size_t count, const mp_obj_t *args) {
    #if MICROPY_GC_ALLOC_THRESHOLD
    if (count == 1) {
        mp_int_t bytes = mp_obj_get_int(args[0]);
        // 0 granules would be a collection at each allocation.
        MP_STATE_MEM(gc_alloc_threshold) = bytes <= 0 ? (size_t)-1
            : ((size_t)bytes + MICROPY_BYTES_PER_GC_BLOCK - 1) / MICROPY_BYTES_PER_GC_BLOCK;
    }
    if (MP_STATE_MEM(gc_alloc_threshold) != (size_t)-1) {
        return mp_obj_new_int_from_uint(MP_STATE_MEM(gc_alloc_threshold) * MICROPY_BYTES_PER_GC_BLOCK);
    }
    #else
    if (count == 1 && mp_obj_get_int(args[0]) > 0) {
        mp_raise_NotImplementedError(MP_ERROR_TEXT("MICROPY_GC_ALLOC_THRESHOLD is 0"));
    }
    #endif
    return MP_OBJ_NEW_SMALL_INT(-1);
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(knoll_threshold_obj, 0, 1, knoll_threshold);

/* A bytearray of zeros that the collector never looks into, whoever refers to its memory. */
static mp_obj_t knoll_buffer(mp_obj_t size_in) {
    size_t size = knoll_size_argument(size_in, 0);
    mp_obj_array_t *array = MP_OBJ_TO_PTR(mp_obj_new_bytearray(0, NULL));
    if (size != 0) {
        array->items = gc_alloc(size, KN_NO_SCAN);
        if (array->items == NULL) {
            m_malloc_fail(size);
        }
        array->len = size;
    }
    return MP_OBJ_FROM_PTR(array);
}
static MP_DEFINE_CONST_FUN_OBJ_1(knoll_buffer_obj, knoll_buffer);

/*
 * The bytearray, array or bytes, whose memory the collector does not look into any more, also when it grows: for what is
 * there already, or made by something else than buffer(). Of an array whose items are objects or pointers: TypeError;
 * what the program itself packed into the buffer as a pointer is held by it no longer. An empty one has no memory yet.
 */
static mp_obj_t knoll_no_scan(mp_obj_t buffer) {
    const mp_obj_type_t *type = mp_obj_get_type(buffer);
    const void *memory;
    if (type == &mp_type_bytes) {
        memory = ((const mp_obj_str_t *)MP_OBJ_TO_PTR(buffer))->data;
    #if MICROPY_PY_BUILTINS_BYTEARRAY
    } else if (type == &mp_type_bytearray) {
        memory = ((const mp_obj_array_t *)MP_OBJ_TO_PTR(buffer))->items;
    #endif
    #if MICROPY_PY_ARRAY
    } else if (type == &mp_type_array && !knoll_holds_pointers(MP_OBJ_TO_PTR(buffer))) {
        memory = ((const mp_obj_array_t *)MP_OBJ_TO_PTR(buffer))->items;
    #endif
    } else {
        mp_raise_TypeError(MP_ERROR_TEXT("a bytearray, bytes or an array of numbers is needed"));
    }
    knoll_enter();
    kn_traced_no_scan(knoll_heap(), memory);
    knoll_leave();
    return buffer;
}
static MP_DEFINE_CONST_FUN_OBJ_1(knoll_no_scan_obj, knoll_no_scan);

// ---------------------------------------------------------------- the module

/* Called by the swap when the interpreter starts or ends: its heap is empty, and no scope is open. */
void knoll_module_forget(void) {
    memset(&knoll_state, 0, sizeof(knoll_state));
    #if KNOLL_COUNTED
    knoll_counted_forget();
    #endif
}

static const mp_rom_map_elem_t knoll_globals[] = {
    { MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_knoll) },
    { MP_ROM_QSTR(MP_QSTR_workflow), MP_ROM_PTR(&knoll_workflow_obj) },
    { MP_ROM_QSTR(MP_QSTR_lasting), MP_ROM_PTR(&knoll_lasting_obj) },
    { MP_ROM_QSTR(MP_QSTR_boot_done), MP_ROM_PTR(&knoll_boot_done_obj) },
    { MP_ROM_QSTR(MP_QSTR_automatic), MP_ROM_PTR(&knoll_automatic_obj) },
    { MP_ROM_QSTR(MP_QSTR_presize_module), MP_ROM_PTR(&knoll_presize_module_obj) },
    { MP_ROM_QSTR(MP_QSTR_presize_modules), MP_ROM_PTR(&knoll_presize_modules_obj) },
    { MP_ROM_QSTR(MP_QSTR_import_cost), MP_ROM_PTR(&knoll_import_cost_obj) },
    { MP_ROM_QSTR(MP_QSTR_keep), MP_ROM_PTR(&knoll_keep_obj) },
    { MP_ROM_QSTR(MP_QSTR_who_holds), MP_ROM_PTR(&knoll_who_holds_obj) },
    #if KNOLL_ARENA
    { MP_ROM_QSTR(MP_QSTR_Arena), MP_ROM_PTR(&knoll_type_arena) },
    #endif
    #if KNOLL_COUNTED
    { MP_ROM_QSTR(MP_QSTR_Counted), MP_ROM_PTR(&knoll_type_counted) },
    #endif
    { MP_ROM_QSTR(MP_QSTR_info), MP_ROM_PTR(&knoll_info_obj) },
    { MP_ROM_QSTR(MP_QSTR_witness), MP_ROM_PTR(&knoll_witness_obj) },
    { MP_ROM_QSTR(MP_QSTR_dump), MP_ROM_PTR(&knoll_dump_obj) },
    { MP_ROM_QSTR(MP_QSTR_check), MP_ROM_PTR(&knoll_check_obj) },
    { MP_ROM_QSTR(MP_QSTR_step), MP_ROM_PTR(&knoll_step_obj) },
    { MP_ROM_QSTR(MP_QSTR_threshold), MP_ROM_PTR(&knoll_threshold_obj) },
    { MP_ROM_QSTR(MP_QSTR_buffer), MP_ROM_PTR(&knoll_buffer_obj) },
    { MP_ROM_QSTR(MP_QSTR_no_scan), MP_ROM_PTR(&knoll_no_scan_obj) },
};
static MP_DEFINE_CONST_DICT(knoll_globals_dict, knoll_globals);

const mp_obj_module_t knoll_module = {
    .base = { &mp_type_module },
    .globals = (mp_obj_dict_t *)&knoll_globals_dict,
};

MP_REGISTER_MODULE(MP_QSTR_knoll, knoll_module);
