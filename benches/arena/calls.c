/* Single calls of Knoll's scopes and arenas, one case at a time: in the emulator each call is counted by itself, on the
 * host a case is repeated COUNT times under callgrind, which adds up the calls of the function that the case's name
 * begins with.
 *
 *   calls CASE COUNT     on the host
 *   calls                in the emulator: every case
 *
 * What is measured stands between BEGIN and END, or is the call after CALL; on the host these are nothing, and a case
 * that is in line, whose name ends so, is measured by programs.c.
 */
#include <knoll.h>
#include "mark.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Leaf { uint64_t values[2]; } Leaf;
typedef struct Node { void *left, *right; } Node;

/* A leaf refers to nothing, so an arena has nothing to do for it when it is left; a node may refer to what is outside;
 * a guarded cell has a hook. */
static KnTypeId leaf_type, node_type, guarded_type;
static KnHeap *heap, *another_heap;
static uint32_t mark;

#define CALL() KNOLL_MARK_CALL(mark)
#define BEGIN() KNOLL_MARK_BEGIN(mark)
#define END() KNOLL_MARK_END(mark)

static void fail(const char *message) {
    puts(message);
    exit(2);
}

static void *held(void *pointer) {
    if (!pointer) fail("no memory");
    return pointer;
}

static void fine(KnStatus status) {
    if (status != KN_OK) fail("a call was refused");
}

/* The program may use the memory, and change any other. */
static void *used(void *pointer) {
    __asm__ volatile("" : "+r"(pointer) : : "memory");
    return pointer;
}

static KnArena *entered(size_t presize) {
    KnArenaConfig config = { .name = "bench", .presize = presize };
    KnArena *made;
    fine(kn_arena_enter(heap, presize ? &config : NULL, &made));
    return made;
}

static void left(KnArena *arena) { fine(kn_arena_leave(arena, NULL)); }

/* ---------------------------------------------------------------- allocating */

static uint32_t random_state = 0x9E3779B9u;

/* A multiple of 8, from 8 to 256, by xorshift32; the compiler does not know that it is one. */
static size_t random_size(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    size_t size = (random_state >> 27) * 8 + 8;
    __asm__ volatile("" : "+r"(size));
    return size;
}

static void alloc_fixed_inline(unsigned count) {
    KnArena *arena = entered(count * 24);
    while (count--) {
        BEGIN();
        void *made = kn_arena_allocInline(arena, 24);
        END();
        used(held(made));
    }
    left(arena);
}

static void alloc_sizes_inline(unsigned count) {
    KnArena *arena = entered(count * 256);
    while (count--) {
        size_t size = random_size();
        BEGIN();
        void *made = kn_arena_allocInline(arena, size);
        END();
        used(held(made));
    }
    left(arena);
}

static void alloc_fixed(unsigned count) {
    KnArena *arena = entered(count * 24);
    while (count--) {
        CALL();
        void *made = kn_arena_alloc(arena, 24);
        used(held(made));
    }
    left(arena);
}

static void alloc_sizes(unsigned count) {
    KnArena *arena = entered(count * 256);
    while (count--) {
        size_t size = random_size();
        CALL();
        void *made = kn_arena_alloc(arena, size);
        used(held(made));
    }
    left(arena);
}

/* As the scope comes, the first allocation in it. */
static void alloc_first(unsigned count) {
    while (count--) {
        KnArena *arena = entered(0);
        CALL();
        void *made = kn_arena_alloc(arena, 64);
        used(held(made));
        left(arena);
    }
}

/* Nothing is left of what was taken at first. */
static void alloc_more(unsigned count) {
    while (count--) {
        KnArena *arena = entered(64);
        used(held(kn_arena_alloc(arena, 64)));
        CALL();
        void *made = kn_arena_alloc(arena, 512);
        used(held(made));
        left(arena);
    }
}

static void new_in(KnTypeId type, unsigned count) {
    KnArena *arena = entered(count * 40);
    while (count--) {
        CALL();
        void *made = GC_newIn(arena, type);
        used(held(made));
    }
    left(arena);
}

static void new_leaf(unsigned count) { new_in(leaf_type, count); }
static void new_node(unsigned count) { new_in(node_type, count); }

static void resize_in_place(unsigned count) {
    KnArena *arena = entered(16 + count * 16);
    char *text = held(kn_arena_alloc(arena, 16));
    for (size_t length = 16; count--; length += 16) {
        CALL();
        text = kn_arena_resize(arena, text, length, length + 16);
        used(held(text));
    }
    left(arena);
}

/* The base: what the heap itself costs. */
static void base(unsigned count, bool freeing) {
    while (count--) {
        if (!freeing) CALL();
        void *made = kn_malloc(24);
        used(held(made));
        if (freeing) CALL();
        kn_free(made);
    }
}

static void base_malloc(unsigned count) { base(count, false); }
static void base_free(unsigned count) { base(count, true); }

/* ---------------------------------------------------------------- entering and leaving */

/* A pair with one allocation of 64 bytes in it, unless it is empty; which call is counted. Another heap is one that is
 * not the default heap, and so under no lock. */
typedef struct Pair { size_t outer, presize; bool empty, another; } Pair;

static void pair(const Pair *pair, unsigned count, bool leaving) {
    KnArena *outer = pair->outer ? entered(pair->outer) : NULL;
    const KnArenaConfig config = { .name = "bench", .presize = pair->presize };
    const KnArenaConfig *wanted = pair->presize ? &config : NULL;
    KnHeap *where = pair->another ? another_heap : heap;
    if (outer) used(held(kn_arena_alloc(outer, 64)));
    while (count--) {
        KnArena *arena;
        if (!leaving) CALL();
        KnStatus status = kn_arena_enter(where, wanted, &arena);
        fine(status);
        if (!pair->empty) used(held(kn_arena_alloc(arena, 64)));
        if (leaving) CALL();
        status = kn_arena_leave(arena, NULL);
        fine(status);
    }
    if (outer) left(outer);
}

/* In the parent's memory; or the parent has none left. */
static const Pair empty = { 0, 0, true, false }, outermost = { 0, 0, false, false }, another = { 0, 0, false, true },
                  presized = { 0, 1024, false, false }, nested = { 1024, 256, false, false },
                  beyond = { 64, 256, false, false };

static void enter_empty(unsigned count) { pair(&empty, count, false); }
static void leave_empty(unsigned count) { pair(&empty, count, true); }
static void enter_outermost(unsigned count) { pair(&outermost, count, false); }
static void leave_outermost(unsigned count) { pair(&outermost, count, true); }
static void enter_another(unsigned count) { pair(&another, count, false); }
static void leave_another(unsigned count) { pair(&another, count, true); }
static void enter_presized(unsigned count) { pair(&presized, count, false); }
static void leave_presized(unsigned count) { pair(&presized, count, true); }
static void enter_nested(unsigned count) { pair(&nested, count, false); }
static void leave_nested(unsigned count) { pair(&nested, count, true); }
static void enter_beyond(unsigned count) { pair(&beyond, count, false); }
static void leave_beyond(unsigned count) { pair(&beyond, count, true); }

static void create(unsigned count, bool destroying) {
    while (count--) {
        if (!destroying) CALL();
        KnArena *arena = kn_arena_create(heap, NULL);
        used(held(arena));
        used(held(kn_arena_alloc(arena, 64)));
        if (destroying) CALL();
        kn_arena_destroy(arena);
    }
}

static void create_one(unsigned count) { create(count, false); }
static void destroy_one(unsigned count) { create(count, true); }

/* The whole of it, as a program has it. */
static void workflow_inline(unsigned count) {
    while (count--) {
        BEGIN();
        KnArena *arena;
        if (kn_arena_enter(heap, NULL, &arena) == KN_OK) {
            for (int i = 0; i < 1000; i++) used(kn_arena_allocInline(arena, 24));
            (void)kn_arena_leave(arena, NULL);
        }
        END();
    }
}

/* ---------------------------------------------------------------- what leaving has to do */

static unsigned cleanups_run;

static void cleanup(void *context) {
    (void)context;
    cleanups_run++;
}

static void destroy(void *object) {
    (void)object;
    cleanups_run++;
}

static void add_cleanup(KnArena *arena) {
    KnCleanup *made = held(kn_arena_alloc(arena, sizeof *made));
    made->run = cleanup;
    made->context = NULL;
    fine(kn_arena_on_leave(arena, made));
}

static void add_guarded(KnArena *arena) { used(held(GC_newIn(arena, guarded_type))); }
static void add_node(KnArena *arena) { used(held(GC_newIn(arena, node_type))); }
static void add_raw(KnArena *arena) { used(held(kn_arena_alloc(arena, 24))); }

static void *outside;

static void add_reference(KnArena *arena) {
    Node *node = held(GC_newIn(arena, node_type));
    GC_assign(&node->left, outside);
}

static void leave_with(void (*add)(KnArena *), unsigned each, unsigned count) {
    while (count--) {
        KnArena *arena = entered(each ? each * 32 : 64);
        for (unsigned i = 0; i < each; i++) add(arena);
        unsigned before = cleanups_run;
        CALL();
        KnStatus status = kn_arena_leave(arena, NULL);
        fine(status);
        bool runs = add == add_cleanup || add == add_guarded;
        if (cleanups_run != before + (runs ? each : 0)) fail("cleanups were not run");
    }
}

#define LEAVE_WITH(what, each) static void leave_##what##_##each(unsigned count) { leave_with(add_##what, each, count); }
LEAVE_WITH(cleanup, 0)
LEAVE_WITH(cleanup, 1)
LEAVE_WITH(cleanup, 10)
LEAVE_WITH(cleanup, 100)
LEAVE_WITH(cleanup, 1000)
LEAVE_WITH(guarded, 1)
LEAVE_WITH(guarded, 10)
LEAVE_WITH(guarded, 100)
LEAVE_WITH(guarded, 1000)
LEAVE_WITH(node, 1000)
LEAVE_WITH(reference, 1000)
LEAVE_WITH(raw, 1000)

static void on_leave(unsigned count) {
    KnArena *arena = entered(count * sizeof(KnCleanup));
    while (count--) {
        KnCleanup *made = held(kn_arena_alloc(arena, sizeof *made));
        made->run = cleanup;
        made->context = NULL;
        CALL();
        KnStatus status = kn_arena_on_leave(arena, made);
        fine(status);
    }
    left(arena);
}

/* ---------------------------------------------------------------- a part of an arena */

static void rewind_by(unsigned count, size_t presize, size_t size, bool rewinding) {
    KnArena *arena = entered(presize);
    used(held(kn_arena_alloc(arena, 64)));
    while (count--) {
        if (!rewinding) CALL();
        KnArenaMark place = kn_arena_mark(arena);
        for (int i = 0; i < 10; i++) used(held(kn_arena_alloc(arena, size)));
        if (rewinding) CALL();
        KnStatus status = kn_arena_rewind(arena, place);
        fine(status);
    }
    left(arena);
}

static void mark_place(unsigned count) { rewind_by(count, 1024, 64, false); }
static void rewind_within(unsigned count) { rewind_by(count, 1024, 64, true); }
static void rewind_beyond(unsigned count) { rewind_by(count, 128, 1024, true); }

static void reset(unsigned count) {
    KnArenaConfig config = { .name = "bench", .presize = 1024 };
    KnArena *arena = held(kn_arena_create(heap, &config));
    while (count--) {
        for (int i = 0; i < 10; i++) used(held(kn_arena_alloc(arena, 64)));
        CALL();
        kn_arena_reset(arena);
    }
    kn_arena_destroy(arena);
}

/* ---------------------------------------------------------------- references across the border */

static void assign(void **slot, void *first, void *second, unsigned count) {
    void *objects[] = { used(first), used(second) };
    while (count--) {
        void *object = objects[count & 1];
        CALL();
        GC_assign(slot, object);
    }
    GC_assign(slot, NULL);
}

static void assign_within(unsigned count) {
    KnArena *arena = entered(256);
    Node *node = held(GC_newIn(arena, node_type));
    assign(&node->left, held(GC_newIn(arena, leaf_type)), held(GC_newIn(arena, leaf_type)), count);
    left(arena);
}

static void assign_escaping(unsigned count) {
    KnArena *arena = entered(256);
    Node *node = held(GC_new(node_type));
    assign(&node->left, held(GC_newIn(arena, leaf_type)), held(GC_newIn(arena, leaf_type)), count);
    GC_unref(node);
    left(arena);
}

static void assign_outwards(unsigned count) {
    KnArena *arena = entered(256);
    Node *node = held(GC_newIn(arena, node_type));
    void *one = held(GC_new(leaf_type)), *other = held(GC_new(leaf_type));
    assign(&node->left, one, other, count);
    left(arena);
    GC_unref(one);
    GC_unref(other);
}

/* ---------------------------------------------------------------- memory */

#if defined(__arm__)
static size_t in_use(void) {
    KnHeapStats stats;
    fine(kn_heap_stats(heap, &stats));
    return stats.used;
}

/* 64 bytes, a mark, 200 times 128 bytes, back to the mark, leave: as programs.c does it. */
static void footprint(void) {
    size_t start = in_use();
    uint64_t fresh = kn_heap_fingerprint(heap);
    KnArena *arena = entered(1024);
    used(held(kn_arena_alloc(arena, 64)));
    size_t at_mark = in_use();
    uint64_t marked = kn_heap_fingerprint(heap);
    KnArenaMark place = kn_arena_mark(arena);
    for (int i = 0; i < 200; i++) used(held(kn_arena_alloc(arena, 128)));
    size_t most = in_use();
    fine(kn_arena_rewind(arena, place));
    size_t after = in_use();
    bool same = kn_heap_fingerprint(heap) == marked;
    left(arena);
    knoll_result("mark", (int64_t)(at_mark - start));
    knoll_result("most", (int64_t)(most - start));
    knoll_result("after", (int64_t)(after - start));
    knoll_result("left", (int64_t)(in_use() - start));
    knoll_result("same at the mark", same);
    knoll_result("same when left", kn_heap_fingerprint(heap) == fresh);
}
#endif

/* ---------------------------------------------------------------- which */

static const struct { const char *name; void (*run)(unsigned count); unsigned samples; } cases[] = {
    { "kn_arena_allocInline 24 bytes inline", alloc_fixed_inline, 64 },
    { "kn_arena_allocInline 8 to 256 bytes inline", alloc_sizes_inline, 64 },
    { "kn_arena_alloc 24 bytes", alloc_fixed, 64 },
    { "kn_arena_alloc 8 to 256 bytes", alloc_sizes, 64 },
    { "kn_arena_alloc the first", alloc_first, 16 },
    { "kn_arena_alloc more memory", alloc_more, 16 },
    { "kn_arena_resize in place", resize_in_place, 64 },
    { "GC_newIn leaf", new_leaf, 64 },
    { "GC_newIn node", new_node, 64 },
    { "kn_malloc 24 bytes", base_malloc, 64 },
    { "kn_free 24 bytes", base_free, 64 },
    { "kn_arena_enter empty", enter_empty, 16 },
    { "kn_arena_leave empty", leave_empty, 16 },
    { "kn_arena_enter outermost", enter_outermost, 16 },
    { "kn_arena_leave outermost", leave_outermost, 16 },
    { "kn_arena_enter outermost of another heap", enter_another, 16 },
    { "kn_arena_leave outermost of another heap", leave_another, 16 },
    { "kn_arena_enter presized", enter_presized, 16 },
    { "kn_arena_leave presized", leave_presized, 16 },
    { "kn_arena_enter nested in the parent", enter_nested, 16 },
    { "kn_arena_leave nested in the parent", leave_nested, 16 },
    { "kn_arena_enter nested beside the parent", enter_beyond, 16 },
    { "kn_arena_leave nested beside the parent", leave_beyond, 16 },
    { "kn_arena_create", create_one, 16 },
    { "kn_arena_destroy", destroy_one, 16 },
    { "kn_arena_leave 0 cleanups", leave_cleanup_0, 4 },
    { "kn_arena_leave 1 cleanup", leave_cleanup_1, 4 },
    { "kn_arena_leave 10 cleanups", leave_cleanup_10, 4 },
    { "kn_arena_leave 100 cleanups", leave_cleanup_100, 4 },
    { "kn_arena_leave 1000 cleanups", leave_cleanup_1000, 1 },
    { "kn_arena_leave 1 destroy hook", leave_guarded_1, 4 },
    { "kn_arena_leave 10 destroy hooks", leave_guarded_10, 4 },
    { "kn_arena_leave 100 destroy hooks", leave_guarded_100, 4 },
    { "kn_arena_leave 1000 destroy hooks", leave_guarded_1000, 1 },
    { "kn_arena_leave 1000 allocations", leave_raw_1000, 1 },
    { "kn_arena_leave 1000 nodes", leave_node_1000, 1 },
    { "kn_arena_leave 1000 references to outside", leave_reference_1000, 1 },
    { "kn_arena_on_leave", on_leave, 16 },
    { "kn_arena_mark", mark_place, 16 },
    { "kn_arena_rewind 640 bytes", rewind_within, 16 },
    { "kn_arena_rewind 10 KB of more memory", rewind_beyond, 16 },
    { "kn_arena_reset 640 bytes", reset, 16 },
    { "GC_assign within an arena", assign_within, 64 },
    { "GC_assign into an arena from outside", assign_escaping, 64 },
    { "GC_assign out of an arena", assign_outwards, 64 },
    { "workflow of 1000 allocations inline", workflow_inline, 4 },
};

static void start(void) {
    static const uint32_t references[] = { offsetof(Node, left), offsetof(Node, right) };
    static const KnType leaf = { .name = "Leaf", .size = sizeof(Leaf) };
    static const KnType node = { .name = "Node", .size = sizeof(Node), .ref_count = 2, .ref_offsets = references };
    static const KnType guarded = { .name = "Guarded", .size = sizeof(Leaf), .destroy = destroy };
#if defined(__arm__)
    static unsigned char memory[192 * 1024] __attribute__((aligned(8)));
#else
    static unsigned char memory[16 * 1024 * 1024] __attribute__((aligned(8)));
#endif
    /* A heap of the program's own, on every machine. */
    fine(kn_init(memory, sizeof memory));
    heap = kn_heap_default();
    leaf_type = GC_registerType(&leaf);
    node_type = GC_registerType(&node);
    guarded_type = GC_registerType(&guarded);
    if (!heap || !leaf_type || !node_type || !guarded_type) fail("GC_registerType refuses");
    outside = held(GC_new(leaf_type));
    static unsigned char another_memory[192 * 1024] __attribute__((aligned(8)));
    another_heap = kn_heap_create(another_memory, sizeof another_memory);
    if (!another_heap) fail("kn_heap_create refuses");
}

int main(int argc, char **argv) {
    start();
#if defined(__arm__)
    footprint();
#endif
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (argc < 3) {
            mark = (uint32_t)i + 1;
            knoll_mark_name(mark, cases[i].name);
            cases[i].run(cases[i].samples);
        } else if (!strcmp(argv[1], cases[i].name)) {
            cases[i].run((unsigned)strtoul(argv[2], NULL, 10));
            return 0;
        }
    }
    if (argc >= 3) fail("no such case");
    return GC_check() == KN_OK ? 0 : 1;
}
