/* The ground, types and helpers behind arenas.h. */
#include "arenas.h"

#include <string.h>

enum { MOST_FILLERS = 512 };

static void (*current_body)(void);
static void *fillers[MOST_FILLERS];
static size_t filler_count;

/* ---- Types ---- */

static const uint32_t pair_offsets[] = {offsetof(Pair, first), offsetof(Pair, second)};
static const char *const pair_names[] = {"first", "second"};

const KnType pair_descriptor = {"Pair", sizeof(Pair), 0, 2, pair_offsets, NULL, NULL, pair_names, NULL, NULL};
const KnType list_descriptor = {"List", sizeof(List), KN_TYPE_ARRAY, 0, NULL, NULL, NULL, NULL, NULL, NULL};
const KnType keeper_descriptor = {"Keeper", sizeof(Pair), KN_TYPE_RESIDENT, 2,    pair_offsets,
                                  NULL,     NULL,         pair_names,       NULL, NULL};

KnTypeId pair_type, list_type, keeper_type;

static bool register_arena_types(void) {
    pair_type = GC_registerType(&pair_descriptor);
    list_type = GC_registerType(&list_descriptor);
    keeper_type = GC_registerType(&keeper_descriptor);
    return CHECK(pair_type != 0 && list_type != 0 && keeper_type != 0);
}

static Pair *filled_pair(Pair *pair, uint32_t id, void *first, void *second) {
    if (pair != NULL) {
        pair->id = id;
        pair->first = first;
        pair->second = second;
    }
    return pair;
}

Pair *new_pair(uint32_t id, void *first, void *second) {
    return filled_pair(GC_new(pair_type), id, first, second);
}

Pair *new_keeper(uint32_t id) {
    return filled_pair(GC_new(keeper_type), id, NULL, NULL);
}

Pair *pair_in(KnArena *arena, uint32_t id, void *first, void *second) {
    return filled_pair(GC_newIn(arena, pair_type), id, first, second);
}

List *list_in(KnArena *arena, uint32_t id, uint32_t count) {
    List *list = GC_newSizedIn(arena, list_type, sizeof(List) + count * sizeof(void *));
    if (list != NULL) {
        list->id = id;
        list->count = count;
    }
    return list;
}

Node *node_in(KnArena *arena, uint32_t id, void *left, void *right) {
    Node *node = GC_newIn(arena, node_type);
    if (node != NULL) {
        node->id = id;
        node->left = left;
        node->right = right;
    }
    return node;
}

Leaf *leaf_in(KnArena *arena, uint32_t id) {
    Leaf *leaf = GC_newIn(arena, leaf_type);
    if (leaf != NULL) {
        leaf->id = id;
    }
    return leaf;
}

/* ---- Scopes ---- */

KnArenaConfig named(const char *name) {
    KnArenaConfig config;
    memset(&config, 0, sizeof config);
    config.name = name;
    return config;
}

KnArena *enter_as(KnArenaConfig config) {
    KnArena *scope = NULL;
    if (!CHECK_STATUS(kn_arena_enter(ground_heap(), &config, &scope), KN_OK)) {
        return NULL;
    }
    (void)CHECK(scope != NULL);
    return scope;
}

KnArena *enter(const char *name) {
    return enter_as(named(name));
}

KnArena *create(const char *name) {
    KnArenaConfig config = named(name);
    KnArena *arena = kn_arena_create(ground_heap(), &config);
    (void)CHECK(arena != NULL);
    return arena;
}

KnLeaveReport leave(KnArena *scope) {
    KnLeaveReport report;
    memset(&report, 0, sizeof report);
    (void)CHECK_STATUS(kn_arena_leave(scope, &report), KN_OK);
    (void)CHECK_STATUS(report.status, KN_OK);
    return report;
}

KnArenaStats stats_of(const KnArena *arena) {
    KnArenaStats stats;
    memset(&stats, 0, sizeof stats);
    (void)CHECK_STATUS(kn_arena_stats(arena, &stats), KN_OK);
    (void)CHECK_LE(stats.used, stats.held);
    (void)CHECK_LE(stats.used, stats.peak);
    return stats;
}

bool same_text(const char *one, const char *other) {
    return one == NULL || other == NULL ? one == other : strcmp(one, other) == 0;
}

/* ---- The heap ---- */

uint64_t fingerprint(void) {
    return kn_heap_fingerprint(ground_heap());
}

uint64_t term(const void *block) {
    return kn_block_fingerprint(ground_heap(), block);
}

static KnHeapStats heap_stats(void) {
    KnHeapStats stats;
    memset(&stats, 0, sizeof stats);
    (void)CHECK_STATUS(kn_heap_stats(ground_heap(), &stats), KN_OK);
    return stats;
}

size_t heap_used(void) {
    return heap_stats().used;
}

size_t heap_blocks(void) {
    return heap_stats().blocks;
}

bool squeeze(size_t room) {
    void *reserved = kn_heap_malloc(ground_heap(), room);
    size_t bytes = heap_stats().free;
    if (reserved == NULL) {
        return false;
    }
    while (bytes > 0 && filler_count < MOST_FILLERS) {
        fillers[filler_count] = kn_heap_malloc(ground_heap(), bytes);
        if (fillers[filler_count] != NULL) {
            filler_count++;
        } else {
            bytes /= 2;
        }
    }
    kn_heap_free(ground_heap(), reserved);
    return true;
}

void relax(void) {
    while (filler_count > 0) {
        kn_heap_free(ground_heap(), fillers[--filler_count]);
    }
}

/* ---- Cleanups ---- */

static void run_note(void *context) {
    record_destroyed(((Note *)context)->id);
}

bool note_on_leave(KnArena *arena, Note *note, uint32_t id) {
    memset(note, 0, sizeof *note);
    note->node.run = run_note;
    note->node.context = note;
    note->id = id;
    return CHECK_STATUS(kn_arena_on_leave(arena, &note->node), KN_OK);
}

/* ---- The ground ---- */

static void around(void) {
    KnGcStats before, after;
    size_t used, blocks;
    KnArena *first;

    if (!register_arena_types() || (first = enter("first")) == NULL) {
        return;
    }
    (void)leave(first);
    before = gc();
    used = heap_used();
    blocks = heap_blocks();
    current_body();
    relax();
    GC_enableOrc();
    GC_runOrc();
    after = gc();
    (void)CHECK(kn_arena_innermost(ground_heap()) == NULL);
    if (before.total == 0 && after.total == 0 && before.buffers == after.buffers) {
        (void)CHECK_EQ(heap_used(), used);
        (void)CHECK_EQ(heap_blocks(), blocks);
    }
}

void on_arena_ground(void (*body)(void), size_t bytes) {
    current_body = body;
    filler_count = 0;
    on_ground(around, bytes);
}
