/* Knoll's scopes and arenas.
 *
 * PEER_CALL: allocation by kn_arena_alloc; PEER_LEAF, PEER_NODE: by GC_newIn, a cell without and with references, whose
 * sizes are fixed; without any of them by the header's kn_arena_allocInline. PEER_FREE_STANDING: kn_arena_create and
 * kn_arena_destroy instead of scopes; an arena within an arena is another one. PEER_OWN_HEAP: on a heap in the program's
 * own memory, under no lock, instead of the process's heap.
 */
#include <knoll.h>
#include <stddef.h>

typedef KnArena *Arena;
typedef char Room;
typedef KnArenaMark Mark;
typedef KnCleanup Cleanup;

static KnHeap *heap;

#if defined(PEER_LEAF) || defined(PEER_NODE)
/* 24 bytes with the cell's header of 8, as the other peers' allocations in the program `fixed`. */
typedef struct Leaf { uint64_t values[2]; } Leaf;
typedef struct Node { void *left, *right; } Node;
static KnTypeId cell_type;

/* What the program may write into: all of a leaf; a node's references stay NULL. */
#define PEER_FIXED_SIZE 16
#ifdef PEER_NODE
#define PEER_FILL 0
#define PEER_HEAD 16
#endif

static inline void peer_register(void) {
    static const uint32_t references[] = { offsetof(Node, left), offsetof(Node, right) };
    static const KnType node = { .name = "Node", .size = sizeof(Node), .ref_count = 2, .ref_offsets = references };
    static const KnType leaf = { .name = "Leaf", .size = sizeof(Leaf) };
#ifdef PEER_LEAF
    (void)node;
    cell_type = GC_registerType(&leaf);
#else
    (void)leaf;
    cell_type = GC_registerType(&node);
#endif
    if (!cell_type) measure_fail("GC_registerType refuses");
}
#endif

static inline void peer_start(const char *configuration) {
    (void)configuration;
#ifdef PEER_OWN_HEAP
    static unsigned char memory[16 << 20] __attribute__((aligned(16)));
    heap = kn_heap_create(memory, sizeof memory);
#else
    heap = kn_heap_default();
#endif
    if (!heap) measure_fail("no heap");
#if defined(PEER_LEAF) || defined(PEER_NODE)
    peer_register();
#endif
}

static inline Arena peer_enter(Room *room, size_t presize) {
    KnArenaConfig config = { .name = "bench", .presize = presize };
    Arena made;
    (void)room;
#ifdef PEER_FREE_STANDING
    made = kn_arena_create(heap, presize ? &config : NULL);
    if (!made) measure_fail("kn_arena_create refuses");
#else
    if (kn_arena_enter(heap, presize ? &config : NULL, &made) != KN_OK) measure_fail("kn_arena_enter refuses");
#endif
    return made;
}

/* A scope lies in the memory of the one around it where that has room. */
static inline Arena peer_enter_in(Room *room, Arena parent, size_t presize) {
    (void)parent;
    return peer_enter(room, presize);
}

static inline void peer_leave(Room *room, Arena arena) {
    (void)room;
#ifdef PEER_FREE_STANDING
    kn_arena_destroy(arena);
#else
    if (kn_arena_leave(arena, NULL) != KN_OK) measure_fail("kn_arena_leave refuses");
#endif
}

static inline void *peer_alloc(Arena arena, size_t size) {
#if defined(PEER_LEAF) || defined(PEER_NODE)
    (void)size;
    return GC_newIn(arena, cell_type);
#elif defined(PEER_CALL)
    return kn_arena_alloc(arena, size);
#else
    return kn_arena_allocInline(arena, size);
#endif
}

static inline void *peer_resize(Arena arena, void *at, size_t old, size_t size) {
    return kn_arena_resize(arena, at, old, size);
}

static inline void peer_on_leave(Arena arena, Cleanup *cleanup) {
    if (kn_arena_on_leave(arena, cleanup) != KN_OK) measure_fail("kn_arena_on_leave refuses");
}

static inline void cleanup_set(Cleanup *cleanup, void (*run)(void *), void *context) {
    cleanup->run = run;
    cleanup->context = context;
}

static inline Mark peer_mark(Arena arena) { return kn_arena_mark(arena); }

static inline void peer_rewind(Arena arena, Mark mark) {
    if (kn_arena_rewind(arena, mark) != KN_OK) measure_fail("kn_arena_rewind refuses");
}

static inline void peer_reset(Arena arena) { kn_arena_reset(arena); }

static inline size_t peer_held(void) {
    KnHeapStats stats;
    if (kn_heap_stats(heap, &stats) != KN_OK) measure_fail("kn_heap_stats refuses");
    return stats.used;
}
