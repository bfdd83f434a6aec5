/*
 * What `knoll_heap.py` calls: Knoll's heaps and arenas over the memory of a bytearray.
 *
 * All state lies in that memory, behind a head that says where it lies: a bytearray that has moved since (it grew) or that
 * was overwritten is refused with ValueError. Blocks are told by their distance from the start of the memory, -1 is none.
 * Each function takes the bytearray first, and checks every number: a block must be a used one of this heap, an arena
 * must lie in a used block.
 *
 *   | head | KnHeap, its map, blocks ...                        |
 *   0      8 or 16                                  len(memory)
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */
#include "knoll.h"
#include "py/dynruntime.h"

/* What the archive asks of a C library. */
void *memcpy(void *to, const void *from, size_t length) { return mp_fun_table.memmove_(to, from, length); }
void *memmove(void *to, const void *from, size_t length) { return mp_fun_table.memmove_(to, from, length); }
#undef memset
void *memset(void *to, int byte, size_t length) { return mp_fun_table.memset_(to, byte, length); }
#if defined(__arm__)
/* The same by Arm's names, where the byte comes last. */
void __aeabi_memcpy(void *to, const void *from, size_t length) { mp_fun_table.memmove_(to, from, length); }
void __aeabi_memmove(void *to, const void *from, size_t length) { mp_fun_table.memmove_(to, from, length); }
void __aeabi_memset(void *to, size_t length, int byte) { mp_fun_table.memset_(to, byte, length); }
void __aeabi_memclr(void *to, size_t length) { mp_fun_table.memset_(to, 0, length); }
void __aeabi_memclr4(void *to, size_t length) { mp_fun_table.memset_(to, 0, length); }
#endif
#if defined(__ARM_ARCH_6M__)
/* This core cannot divide. Knoll does once, when a heap is made: bit by bit is fast enough. */
unsigned __aeabi_uidiv(unsigned dividend, unsigned divisor) {
    unsigned quotient = 0, remainder = 0;
    for (int bit = 31; bit >= 0; bit--) {
        remainder = remainder << 1 | (dividend >> bit & 1u);
        if (remainder >= divisor) {
            remainder -= divisor;
            quotient |= 1u << bit;
        }
    }
    return quotient;
}
#endif

#define MAGIC ((uintptr_t)0x6C6C4E4Bu) /* "KNll" */

typedef struct {
    uintptr_t magic;
    /* Where the head lies itself. */
    uintptr_t here;
} head_t;

typedef struct {
    char *start;
    size_t length;
    KnHeap *heap;
} memory_t;

static void *at(const memory_t *memory, mp_obj_t distance) {
    mp_int_t n = mp_obj_get_int(distance);
    return n < (mp_int_t)sizeof(head_t) || (size_t)n >= memory->length ? NULL : memory->start + n;
}

static mp_obj_t distance(const memory_t *memory, const void *block) {
    return mp_obj_new_int(block == NULL ? -1 : (mp_int_t)((const char *)block - memory->start));
}

/* The heap starts at the next multiple of 16 behind the head, whatever the bytearray's address. */
static KnHeap *first(char *start) { return (KnHeap *)(((uintptr_t)start + sizeof(head_t) + 15u) & ~(uintptr_t)15u); }

static memory_t memory_of(mp_obj_t object) {
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(object, &buffer, MP_BUFFER_RW);
    const head_t *head = buffer.buf;
    if (buffer.len <= sizeof(head_t) + 16 || ((uintptr_t)head & (sizeof(uintptr_t) - 1)) != 0 || head->magic != MAGIC ||
        head->here != (uintptr_t)head) {
        mp_raise_ValueError("no heap, or it has moved");
    }
    return (memory_t){buffer.buf, buffer.len, first(buffer.buf)};
}

/* create(memory) -> whether it is large enough */
static mp_obj_t create(mp_obj_t object) {
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(object, &buffer, MP_BUFFER_RW);
    if (buffer.len <= sizeof(head_t) + 16 || ((uintptr_t)buffer.buf & (sizeof(uintptr_t) - 1)) != 0) {
        return mp_const_false;
    }
    KnHeap *heap = first(buffer.buf);
    if (kn_heap_create(heap, buffer.len - (size_t)((char *)heap - (char *)buffer.buf)) == NULL) {
        return mp_const_false;
    }
    *(head_t *)buffer.buf = (head_t){MAGIC, (uintptr_t)buffer.buf};
    return mp_const_true;
}
static MP_DEFINE_CONST_FUN_OBJ_1(create_obj, create);

/* malloc(memory, size) -> block, or -1 */
static mp_obj_t heap_malloc(mp_obj_t object, mp_obj_t size) {
    memory_t memory = memory_of(object);
    mp_int_t bytes = mp_obj_get_int(size);
    return distance(&memory, bytes < 0 ? NULL : kn_heap_malloc(memory.heap, (size_t)bytes));
}
static MP_DEFINE_CONST_FUN_OBJ_2(malloc_obj, heap_malloc);

/* usable(memory, block) -> bytes; 0: no used block */
static mp_obj_t heap_usable(mp_obj_t object, mp_obj_t block) {
    memory_t memory = memory_of(object);
    void *place = at(&memory, block);
    return mp_obj_new_int(place == NULL ? 0 : (mp_int_t)kn_heap_usable_size(memory.heap, place));
}
static MP_DEFINE_CONST_FUN_OBJ_2(usable_obj, heap_usable);

/* free(memory, block) -> whether it was a used block */
static mp_obj_t heap_free(mp_obj_t object, mp_obj_t block) {
    memory_t memory = memory_of(object);
    void *place = at(&memory, block);
    if (place == NULL || kn_heap_usable_size(memory.heap, place) == 0) {
        return mp_const_false;
    }
    kn_heap_free(memory.heap, place);
    return mp_const_true;
}
static MP_DEFINE_CONST_FUN_OBJ_2(free_obj, heap_free);

/* realloc(memory, block, size) -> block; -1: there is no room, and it is as it was */
static mp_obj_t heap_realloc(mp_obj_t object, mp_obj_t block, mp_obj_t size) {
    memory_t memory = memory_of(object);
    void *place = at(&memory, block);
    mp_int_t bytes = mp_obj_get_int(size);
    if (place == NULL || bytes < 0 || kn_heap_usable_size(memory.heap, place) == 0) {
        return distance(&memory, NULL);
    }
    return distance(&memory, kn_heap_realloc(memory.heap, place, (size_t)bytes));
}
static MP_DEFINE_CONST_FUN_OBJ_3(realloc_obj, heap_realloc);

static mp_obj_t numbers(const size_t *values, size_t count) {
    mp_obj_t list = mp_obj_new_list(0, NULL);
    for (size_t n = 0; n < count; n++) {
        mp_obj_list_append(list, mp_obj_new_int((mp_int_t)values[n]));
    }
    return list;
}

/* stats(memory) -> [total, used, free, peak, largest_free, blocks, overhead] */
static mp_obj_t heap_stats(mp_obj_t object) {
    memory_t memory = memory_of(object);
    KnHeapStats s;
    kn_heap_stats(memory.heap, &s);
    size_t values[] = {s.total, s.used, s.free, s.peak, s.largest_free, s.blocks, s.overhead};
    return numbers(values, sizeof values / sizeof values[0]);
}
static MP_DEFINE_CONST_FUN_OBJ_1(stats_obj, heap_stats);

/* check(memory) -> 0, or a negative KnStatus */
static mp_obj_t heap_check(mp_obj_t object) {
    memory_t memory = memory_of(object);
    return mp_obj_new_int(kn_heap_check(memory.heap));
}
static MP_DEFINE_CONST_FUN_OBJ_1(check_obj, heap_check);

/* place(memory, view) -> where the view's bytes start; -1: outside of the memory */
static mp_obj_t place(mp_obj_t object, mp_obj_t view) {
    memory_t memory = memory_of(object);
    mp_buffer_info_t buffer;
    mp_get_buffer_raise(view, &buffer, MP_BUFFER_READ);
    const char *start = buffer.buf;
    return distance(&memory, start < memory.start || start >= memory.start + memory.length ? NULL : start);
}
static MP_DEFINE_CONST_FUN_OBJ_2(place_obj, place);

#if !defined(KNOLL_NO_ARENA)
/* An arena's record lies in a block of its own, a little behind its start; kn_arena_stats knows whether it is one. */
static KnArena *arena_at(const memory_t *memory, mp_obj_t where, KnArenaStats *stats) {
    KnArena *arena = at(memory, where);
    size_t room = arena == NULL ? 0 : memory->length - (size_t)((char *)arena - memory->start);
    if (arena == NULL || ((uintptr_t)arena & (sizeof(uintptr_t) - 1)) != 0 || room < 400 ||
        kn_arena_stats(arena, stats) != KN_OK) {
        mp_raise_ValueError("no arena");
    }
    return arena;
}

/* arena(memory, presize, budget) -> arena, or -1 */
static mp_obj_t arena_create(mp_obj_t object, mp_obj_t presize, mp_obj_t budget) {
    memory_t memory = memory_of(object);
    mp_int_t bytes = mp_obj_get_int(presize), most = mp_obj_get_int(budget);
    KnArenaConfig config;
    mp_fun_table.memset_(&config, 0, sizeof config);
    config.presize = (size_t)bytes;
    config.budget = (size_t)most;
    return distance(&memory, bytes < 0 || most < 0 ? NULL : kn_arena_create(memory.heap, &config));
}
static MP_DEFINE_CONST_FUN_OBJ_3(arena_create_obj, arena_create);

/* arena_alloc(memory, arena, size) -> place, or -1 */
static mp_obj_t arena_alloc(mp_obj_t object, mp_obj_t where, mp_obj_t size) {
    memory_t memory = memory_of(object);
    KnArenaStats stats;
    KnArena *arena = arena_at(&memory, where, &stats);
    mp_int_t bytes = mp_obj_get_int(size);
    return distance(&memory, bytes < 0 ? NULL : kn_arena_alloc(arena, (size_t)bytes));
}
static MP_DEFINE_CONST_FUN_OBJ_3(arena_alloc_obj, arena_alloc);

/* arena_reset(memory, arena) */
static mp_obj_t arena_reset(mp_obj_t object, mp_obj_t where) {
    memory_t memory = memory_of(object);
    KnArenaStats stats;
    kn_arena_reset(arena_at(&memory, where, &stats));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(arena_reset_obj, arena_reset);

/* arena_destroy(memory, arena) */
static mp_obj_t arena_destroy(mp_obj_t object, mp_obj_t where) {
    memory_t memory = memory_of(object);
    KnArenaStats stats;
    kn_arena_destroy(arena_at(&memory, where, &stats));
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_2(arena_destroy_obj, arena_destroy);

/* arena_stats(memory, arena) -> [used, peak, held, presize, budget, blocks, refused] */
static mp_obj_t arena_stats(mp_obj_t object, mp_obj_t where) {
    memory_t memory = memory_of(object);
    KnArenaStats s;
    arena_at(&memory, where, &s);
    size_t values[] = {s.used, s.peak, s.held, s.presize, s.budget, s.blocks, s.refused};
    return numbers(values, sizeof values / sizeof values[0]);
}
static MP_DEFINE_CONST_FUN_OBJ_2(arena_stats_obj, arena_stats);
#endif

/* Called when the module is imported. */
mp_obj_t mpy_init(mp_obj_fun_bc_t *self, size_t n_args, size_t n_kw, mp_obj_t *args) {
    MP_DYNRUNTIME_INIT_ENTRY
    mp_store_global(MP_QSTR__create, MP_OBJ_FROM_PTR(&create_obj));
    mp_store_global(MP_QSTR__malloc, MP_OBJ_FROM_PTR(&malloc_obj));
    mp_store_global(MP_QSTR__usable, MP_OBJ_FROM_PTR(&usable_obj));
    mp_store_global(MP_QSTR__free, MP_OBJ_FROM_PTR(&free_obj));
    mp_store_global(MP_QSTR__realloc, MP_OBJ_FROM_PTR(&realloc_obj));
    mp_store_global(MP_QSTR__stats, MP_OBJ_FROM_PTR(&stats_obj));
    mp_store_global(MP_QSTR__check, MP_OBJ_FROM_PTR(&check_obj));
    mp_store_global(MP_QSTR__place, MP_OBJ_FROM_PTR(&place_obj));
#if !defined(KNOLL_NO_ARENA)
    mp_store_global(MP_QSTR__arena, MP_OBJ_FROM_PTR(&arena_create_obj));
    mp_store_global(MP_QSTR__arena_alloc, MP_OBJ_FROM_PTR(&arena_alloc_obj));
    mp_store_global(MP_QSTR__arena_reset, MP_OBJ_FROM_PTR(&arena_reset_obj));
    mp_store_global(MP_QSTR__arena_destroy, MP_OBJ_FROM_PTR(&arena_destroy_obj));
    mp_store_global(MP_QSTR__arena_stats, MP_OBJ_FROM_PTR(&arena_stats_obj));
#endif
    MP_DYNRUNTIME_INIT_EXIT
}
