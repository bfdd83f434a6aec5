/*
 * Counted(n): a buffer that goes with its last reference, at once, not with the next collection.
 *
 *   packet = knoll.Counted(256)     count 1; zeros
 *   packet[0:4] = b'\x3f##\x00'     items and slices are read and written by copy
 *   with packet:                    one reference more, for as long as it is worked with
 *       send(packet[:])
 *   packet.unref()                  count 0: the memory is free again here; what uses packet now gets ValueError
 *
 * - A buffer is a counted cell of the library (GC_newSized, GC_ref, GC_unref) in a KnHeap that the module makes in a block of
 *   MicroPython's heap when the first buffer is made. When it is full it gets another block as a region, up to 16; when the last
 *   buffer goes, all its blocks go. The blocks lie on the side of what lasts, and are never looked into.
 * - The object knows how many references are its own. When Python drops it these are given back; those that C code took
 *   by GC_ref on address() stay.
 * - No view of a buffer is ever handed out, so nobody can write to memory that was given back; indices and values are
 *   converted, which may run the program's __int__, before it is asked whether the buffer still lives. unref() below the
 *   object's own references: ValueError, and nothing has changed.
 *
 * Cost: as GC_newSized, GC_ref, GC_unref; 8 bytes a cell, and the object of four words.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "module.h"
#include "py/gc.h"

#if KNOLL_COUNTED

#include <string.h>

/* Blocks that the KnHeap consists of; each is at least half as large as all before it, so that they do not run out. */
enum { REGIONS = 16 };
/* What the KnHeap, its table of types and the cell's page take, at most; and the least that is taken at once. */
#define RECORDS(length) ((length) / 16 + (sizeof(void *) == 4 ? 1024 : 2560))
#define LEAST (sizeof(void *) == 4 ? 2048 : 6144)

MP_REGISTER_ROOT_POINTER(void *knoll_counted_regions[16]);

/* The heap of all buffers; it lies in the first region. */
static struct {
    KnHeap *heap;
    KnTypeId type;
    size_t regions;
    size_t bytes;
    size_t live; /* cells, whoever holds them */
} pool;

static void cell_goes(void *cell) {
    (void)cell;
    pool.live -= 1;
}

static const KnType counted_type = {
    .name = "knoll.Counted", .size = 1, .flags = KN_TYPE_ACYCLIC, .destroy = cell_goes
};

typedef struct {
    mp_obj_base_t base;
    byte *cell; /* NULL: no references of its own are left */
    size_t length;
    size_t own;
} knoll_counted_t;

void knoll_counted_forget(void) {
    memset(MP_STATE_VM(knoll_counted_regions), 0, sizeof(MP_STATE_VM(knoll_counted_regions)));
    memset(&pool, 0, sizeof(pool));
}

/* Memory for the pool; false: there is none. */
static bool add_region(size_t length) {
    if (pool.regions == REGIONS) {
        return false;
    }
    size_t least = length + RECORDS(length);
    least = least < LEAST ? LEAST : least;
    size_t bytes = least < pool.bytes / 2 ? pool.bytes / 2 : least;
    void *block = gc_alloc(bytes, KN_NO_SCAN | KN_LONG_LIVED);
    if (block == NULL && bytes > least) {
        bytes = least;
        block = gc_alloc(bytes, KN_NO_SCAN | KN_LONG_LIVED);
    }
    if (block == NULL) {
        return false;
    }
    // The allocation may have collected, and a finaliser may have given the last buffer back, or made some.
    if (pool.regions == REGIONS) {
        gc_free(block);
        return false;
    }
    if (pool.heap == NULL) {
        pool.heap = kn_heap_create(block, bytes);
        if (pool.heap == NULL) {
            return false;
        }
        KnHeap *before = kn_heap_use(pool.heap);
        pool.type = GC_registerType(&counted_type);
        kn_heap_use(before);
    } else if (kn_heap_add_region(pool.heap, block, bytes) != KN_OK) {
        gc_free(block);
        return false;
    }
    MP_STATE_VM(knoll_counted_regions)[pool.regions++] = block;
    pool.bytes += bytes;
    return pool.type != 0;
}

static byte *new_cell(size_t length) {
    KnHeap *before = kn_heap_use(pool.heap);
    byte *cell = GC_newSized(pool.type, length);
    kn_heap_use(before);
    return cell;
}

static mp_obj_t counted_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 1, 1, false);
    size_t length = knoll_size_argument(args[0], 1);
    // The object first: when it gets no memory, no buffer is lost.
    knoll_counted_t *self = mp_obj_malloc_with_finaliser(knoll_counted_t, type);
    self->cell = NULL;
    self->length = length;
    self->own = 0;
    knoll_enter();
    byte *cell = pool.heap == NULL ? NULL : new_cell(length);
    if (cell == NULL && add_region(length)) {
        cell = new_cell(length);
    }
    if (cell != NULL) {
        self->cell = cell;
        self->own = 1;
        pool.live += 1;
    } else if (pool.live == 0) {
        knoll_counted_forget();
    }
    knoll_leave();
    if (cell == NULL) {
        m_malloc_fail(length);
    }
    return MP_OBJ_FROM_PTR(self);
}

static knoll_counted_t *living(mp_obj_t self_in) {
    knoll_counted_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->cell == NULL) {
        mp_raise_ValueError(MP_ERROR_TEXT("knoll.Counted: released"));
    }
    return self;
}

/* Gives one of the object's own references back; with the last buffer of all the pool goes. */
static void release(knoll_counted_t *self) {
    knoll_enter();
    KnHeap *before = kn_heap_use(pool.heap);
    GC_unref(self->cell);
    kn_heap_use(before);
    self->own -= 1;
    if (self->own == 0) {
        self->cell = NULL;
    }
    if (pool.live == 0) {
        knoll_counted_forget();
    }
    knoll_leave();
}

static mp_obj_t counted_ref(mp_obj_t self_in) {
    knoll_counted_t *self = living(self_in);
    knoll_enter();
    KnHeap *before = kn_heap_use(pool.heap);
    GC_ref(self->cell);
    kn_heap_use(before);
    self->own += 1;
    knoll_leave();
    return self_in;
}
static MP_DEFINE_CONST_FUN_OBJ_1(counted_ref_obj, counted_ref);

static mp_obj_t counted_unref(mp_obj_t self_in) {
    release(living(self_in));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(counted_unref_obj, counted_unref);

/* A buffer that was released inside the `with` has nothing left to give back. */
static mp_obj_t counted_exit(size_t count, const mp_obj_t *args) {
    (void)count;
    knoll_counted_t *self = MP_OBJ_TO_PTR(args[0]);
    if (self->cell != NULL) {
        release(self);
    }
    return mp_const_false;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(counted_exit_obj, 1, 4, counted_exit);

/* Called by the collector when Python has dropped the object. */
static mp_obj_t counted_del(mp_obj_t self_in) {
    knoll_counted_t *self = MP_OBJ_TO_PTR(self_in);
    while (self->cell != NULL) {
        release(self);
    }
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(counted_del_obj, counted_del);

static mp_obj_t counted_count(mp_obj_t self_in) {
    knoll_counted_t *self = MP_OBJ_TO_PTR(self_in);
    return mp_obj_new_int_from_uint(self->cell == NULL ? 0 : GC_refcount(self->cell));
}
static MP_DEFINE_CONST_FUN_OBJ_1(counted_count_obj, counted_count);

/* For C code, which takes a reference of its own by GC_ref. */
static mp_obj_t counted_address(mp_obj_t self_in) {
    return mp_obj_new_int_from_uint((uintptr_t)living(self_in)->cell);
}
static MP_DEFINE_CONST_FUN_OBJ_1(counted_address_obj, counted_address);

static mp_obj_t counted_unary_op(mp_unary_op_t op, mp_obj_t self_in) {
    knoll_counted_t *self = MP_OBJ_TO_PTR(self_in);
    switch (op) {
        case MP_UNARY_OP_BOOL:
            return mp_obj_new_bool(self->cell != NULL);
        case MP_UNARY_OP_LEN:
            return mp_obj_new_int_from_uint(self->cell == NULL ? 0 : self->length);
        default:
            return MP_OBJ_NULL;
    }
}

static mp_obj_t load_slice(mp_obj_t self_in, size_t start, size_t length) {
    // The copy's memory first: it may take a collection, and a finaliser may release the buffer.
    vstr_t copy;
    vstr_init_len(&copy, length);
    memcpy(copy.buf, living(self_in)->cell + start, length);
    return mp_obj_new_bytes_from_vstr(&copy);
}

static void store_slice(mp_obj_t self_in, size_t start, size_t length, mp_obj_t value) {
    mp_buffer_info_t from;
    mp_get_buffer_raise(value, &from, MP_BUFFER_READ);
    if (from.len != length) {
        mp_raise_ValueError(MP_ERROR_TEXT("knoll.Counted: a slice keeps its length"));
    }
    // Whoever has address() may have made `value` of it.
    memmove(living(self_in)->cell + start, from.buf, length);
}

static mp_obj_t counted_subscr(mp_obj_t self_in, mp_obj_t index, mp_obj_t value) {
    if (value == MP_OBJ_NULL) {
        return MP_OBJ_NULL; // nothing can be deleted
    }
    // The length never changes; the cell is looked at when nothing of the program runs any more.
    const knoll_counted_t *self = living(self_in);
    if (mp_obj_is_type(index, &mp_type_slice)) {
        mp_bound_slice_t slice;
        if (!mp_seq_get_fast_slice_indexes(self->length, index, &slice)) {
            mp_raise_NotImplementedError(MP_ERROR_TEXT("only slices with step=1 (aka None) are supported"));
        }
        size_t length = slice.stop > slice.start ? slice.stop - slice.start : 0;
        if (value == MP_OBJ_SENTINEL) {
            return load_slice(self_in, slice.start, length);
        }
        store_slice(self_in, slice.start, length, value);
        return mp_const_none;
    }
    size_t at = mp_get_index(self->base.type, self->length, index, false);
    if (value == MP_OBJ_SENTINEL) {
        return MP_OBJ_NEW_SMALL_INT(living(self_in)->cell[at]);
    }
    mp_int_t byte_value = mp_obj_get_int(value);
    if (byte_value < 0 || byte_value > 255) {
        mp_raise_ValueError(MP_ERROR_TEXT("a byte is 0 to 255"));
    }
    living(self_in)->cell[at] = byte_value;
    return mp_const_none;
}

static const mp_rom_map_elem_t counted_locals[] = {
    { MP_ROM_QSTR(MP_QSTR___enter__), MP_ROM_PTR(&counted_ref_obj) },
    { MP_ROM_QSTR(MP_QSTR___exit__), MP_ROM_PTR(&counted_exit_obj) },
    { MP_ROM_QSTR(MP_QSTR___del__), MP_ROM_PTR(&counted_del_obj) },
    { MP_ROM_QSTR(MP_QSTR_ref), MP_ROM_PTR(&counted_ref_obj) },
    { MP_ROM_QSTR(MP_QSTR_unref), MP_ROM_PTR(&counted_unref_obj) },
    { MP_ROM_QSTR(MP_QSTR_count), MP_ROM_PTR(&counted_count_obj) },
    { MP_ROM_QSTR(MP_QSTR_address), MP_ROM_PTR(&counted_address_obj) },
};
static MP_DEFINE_CONST_DICT(counted_locals_dict, counted_locals);

MP_DEFINE_CONST_OBJ_TYPE(
    knoll_type_counted, MP_QSTR_Counted, MP_TYPE_FLAG_NONE,
    make_new, counted_make_new,
    unary_op, counted_unary_op,
    subscr, counted_subscr,
    locals_dict, &counted_locals_dict);

#endif // KNOLL_COUNTED
