/*
 * Arena(size): scoped memory for a piece of work, handed out as views that end with it.
 *
 *   arena = knoll.Arena(2048)
 *   with arena:
 *       head = arena.alloc(64)      a writable memoryview of 64 zero bytes
 *       body = arena.alloc(1024)    no header between them, nothing is freed alone
 *                                   here head and body, and all slices and views made of them, have length 0
 *
 * - One block of the heap holds a KnHeap with one scope in it (kn_heap_create, kn_arena_enter); an allocation is a step of
 *   a pointer and a view of four words.
 * - What is handed out never refers to memory of somebody else. At the end every memoryview that lies in the block, however
 *   it was derived, is found in the heap and made empty. It still keeps the block, and a new one is taken the next time:
 *   what remembers an address on its own (a FrameBuffer) keeps its view, that keeps the block, and writes to nobody's
 *   memory. The block is garbage when the last of its views is.
 * - The block is never looked into by the collector. An arena that Python drops goes with its block.
 * - MemoryError when the arena is full: `size` bytes are promised, each allocation rounded up to 8. An arena has at most
 *   what a memoryview can tell of places: just below 16 MB on 32 bits.
 * - leave() of an arena that is not entered is a ValueError; the end of a `with` whose arena has left already is not, so
 *   that it never replaces an exception on its way.
 *
 * Cost: enter: the block is cleared; alloc: O(size); leave: a walk over the blocks of the heap, if anything was allocated.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "module.h"
#include "py/gc.h"
#include "py/objarray.h"

#if KNOLL_ARENA

/* What the KnHeap and the scope's records take of the block, at most; a map of 1/32 is the largest that a layout has. */
#define RECORDS(size) ((size) / 32 + (sizeof(void *) == 4 ? 768 : 1280))

/* The farthest place from the block's start that a memoryview has room for. */
#define FARTHEST (((size_t)1 << MP_OBJ_ARRAY_FREE_SIZE_BITS) - 1)

typedef struct {
    mp_obj_base_t base;
    size_t size;
    byte *block; /* NULL: not entered */
    KnArena *scope;
    size_t issued; /* views */
} knoll_arena_t;

static mp_obj_t arena_make_new(const mp_obj_type_t *type, size_t n_args, size_t n_kw, const mp_obj_t *args) {
    mp_arg_check_num(n_args, n_kw, 1, 1, false);
    size_t size = (knoll_size_argument(args[0], 1) + 7) & ~(size_t)7;
    if (size + RECORDS(size) > FARTHEST) {
        mp_raise_ValueError(MP_ERROR_TEXT("size out of range"));
    }
    knoll_arena_t *self = mp_obj_malloc(knoll_arena_t, type);
    self->size = size;
    self->block = NULL;
    self->scope = NULL;
    self->issued = 0;
    return MP_OBJ_FROM_PTR(self);
}

static knoll_arena_t *entered(mp_obj_t self_in) {
    knoll_arena_t *self = MP_OBJ_TO_PTR(self_in);
    if (self->block == NULL) {
        mp_raise_ValueError(MP_ERROR_TEXT("knoll.Arena: not entered"));
    }
    return self;
}

static mp_obj_t arena_enter(mp_obj_t self_in) {
    knoll_arena_t *self = MP_OBJ_TO_PTR(self_in);
    size_t bytes = self->size + RECORDS(self->size);
    byte *block = self->block == NULL ? gc_alloc(bytes, KN_NO_SCAN) : NULL;
    // The allocation may have collected, and a finaliser may have entered this arena.
    if (self->block != NULL) {
        gc_free(block);
        mp_raise_msg(&mp_type_RuntimeError, MP_ERROR_TEXT("knoll.Arena: already entered"));
    }
    KnHeap *heap = block == NULL ? NULL : kn_heap_create(block, bytes);
    const KnArenaConfig config = { .name = "knoll.Arena", .presize = self->size, .flags = KN_ARENA_FIXED | KN_ARENA_ZERO };
    if (heap == NULL || kn_arena_enter(heap, &config, &self->scope) != KN_OK) {
        gc_free(block);
        m_malloc_fail(bytes);
    }
    self->block = block;
    self->issued = 0;
    return self_in;
}
static MP_DEFINE_CONST_FUN_OBJ_1(arena_enter_obj, arena_enter);

/* Makes the memoryviews that lie in a block empty. They go on to refer to it, for what has its address from them. */
static bool end_view(void *context, const KnBlock *block) {
    if (block->state == KN_BLOCK_USED && block->size >= sizeof(mp_obj_array_t)) {
        mp_obj_array_t *view = (mp_obj_array_t *)block->start;
        if (view->base.type == &mp_type_memoryview && view->items == context) {
            view->free = 0;
            view->len = 0;
        }
    }
    return true;
}

static mp_obj_t arena_leave(mp_obj_t self_in) {
    knoll_arena_t *self = entered(self_in);
    if (self->issued != 0) {
        knoll_enter();
        kn_traced_walk(knoll_heap(), end_view, self->block);
        knoll_leave();
    }
    kn_arena_leave(self->scope, NULL);
    self->block = NULL;
    self->scope = NULL;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(arena_leave_obj, arena_leave);

static mp_obj_t arena_exit(size_t count, const mp_obj_t *args) {
    (void)count;
    const knoll_arena_t *self = MP_OBJ_TO_PTR(args[0]);
    if (self->block != NULL) {
        arena_leave(args[0]);
    }
    return mp_const_false;
}
static MP_DEFINE_CONST_FUN_OBJ_VAR_BETWEEN(arena_exit_obj, 1, 4, arena_exit);

static mp_obj_t arena_alloc(mp_obj_t self_in, mp_obj_t size_in) {
    size_t size = knoll_size_argument(size_in, 0);
    // The view first: when it gets no memory, the arena has not lost any.
    mp_obj_array_t *view = m_new_obj(mp_obj_array_t);
    // The size's __int__ and finalisers of a collection are behind us, whatever they did to the arena.
    knoll_arena_t *self = entered(self_in);
    byte *at = size == 0 ? self->block : kn_arena_alloc(self->scope, size);
    if (at == NULL) {
        mp_raise_msg_varg(&mp_type_MemoryError, MP_ERROR_TEXT("knoll.Arena: no room for %u bytes"), (unsigned)size);
    }
    // A view of a part refers to the whole block, so that the collector sees the reference.
    mp_obj_memoryview_init(view, 'B' | MP_OBJ_ARRAY_TYPECODE_FLAG_RW, at - self->block, size, self->block);
    self->issued += 1;
    return MP_OBJ_FROM_PTR(view);
}
static MP_DEFINE_CONST_FUN_OBJ_2(arena_alloc_obj, arena_alloc);

static void arena_attr(mp_obj_t self_in, qstr attr, mp_obj_t *dest) {
    knoll_arena_t *self = MP_OBJ_TO_PTR(self_in);
    if (dest[0] != MP_OBJ_NULL) {
        return; // read only
    }
    if (attr == MP_QSTR_size) {
        dest[0] = mp_obj_new_int_from_uint(self->size);
    } else if (attr == MP_QSTR_used) {
        KnArenaStats stats;
        size_t used = self->block != NULL && kn_arena_stats(self->scope, &stats) == KN_OK ? stats.used : 0;
        dest[0] = mp_obj_new_int_from_uint(used);
    } else {
        dest[1] = MP_OBJ_SENTINEL; // go on in the locals
    }
}

static const mp_rom_map_elem_t arena_locals[] = {
    { MP_ROM_QSTR(MP_QSTR___enter__), MP_ROM_PTR(&arena_enter_obj) },
    { MP_ROM_QSTR(MP_QSTR___exit__), MP_ROM_PTR(&arena_exit_obj) },
    { MP_ROM_QSTR(MP_QSTR_enter), MP_ROM_PTR(&arena_enter_obj) },
    { MP_ROM_QSTR(MP_QSTR_leave), MP_ROM_PTR(&arena_leave_obj) },
    { MP_ROM_QSTR(MP_QSTR_alloc), MP_ROM_PTR(&arena_alloc_obj) },
};
static MP_DEFINE_CONST_DICT(arena_locals_dict, arena_locals);

MP_DEFINE_CONST_OBJ_TYPE(
    knoll_type_arena, MP_QSTR_Arena, MP_TYPE_FLAG_NONE,
    make_new, arena_make_new,
    attr, arena_attr,
    locals_dict, &arena_locals_dict);

#endif // KNOLL_ARENA
