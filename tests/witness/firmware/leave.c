/*
 * What a scope writes, seen by the harness's write watch: to its own range and to the heap's records, nowhere else.
 *
 *     | control block, map | used … used | first granule …       | tag | the scopes' range | end |
 *       \____ records ___/                \ of the free block they are taken from __________/
 *
 * For each layout, with raw memory and with cells:
 *  1. A workflow runs once as it likes: the range that its scopes take at most is noted.
 *  2. It runs again, and Knoll may store only to the control block and the map, to the links and tags of that one free
 *     block, and to the scopes' range. With cells also to the collector's own blocks, and to the count of the one cell
 *     outside that cells in the scopes refer to. Anything else ends the run.
 *  3. After it, all of the heap but the inside of that free block is bit for bit what it was before: the map, the
 *     bins, every used block, that count. (The collector's own blocks count what was freed.) The fingerprint is the
 *     same too.
 *
 * With the argument "malloc", "store" or "outside" the workflow does what it may not: allocates beside its scope,
 * has Knoll write into a block outside, or has more of it than the range noted. Then the run must not succeed.
 */
#include "knoll.h"
#include "mark.h"

#include <stdio.h>
#include <string.h>

enum { HEAP_BYTES = 140 * 1024, OUTSIDE = 60, MOST_RANGES = 128 };

static union {
    uint64_t align;
    uint8_t bytes[HEAP_BYTES];
} memory;
static uint8_t before[HEAP_BYTES];

static KnHeap *heap;
static void *outside[OUTSIDE];
static const char *fault;

/* The free block that scopes are taken from, as in a walk: the last one. */
static uint8_t *pool, *pool_end;
/* The lowest address that a scope's block had. */
static uint8_t *lowest;
/* Used blocks of the heap before there was any cell: the collector's own. */
static KnBlock own[MOST_RANGES];
static size_t own_count;

static void fail(const char *what) {
    printf("FAILED: %s\n", what);
}

/* ---- Looking ---- */

static bool see_pool(void *context, const KnBlock *block) {
    (void)context;
    if (block->state == KN_BLOCK_FREE) {
        pool = (uint8_t *)(uintptr_t)block->start;
        pool_end = pool + block->size;
    }
    return true;
}

static bool see_scope(void *context, const KnBlock *block) {
    uint8_t *start = (uint8_t *)(uintptr_t)block->start;
    (void)context;
    if (block->state == KN_BLOCK_USED && start >= pool && start < lowest) {
        lowest = start;
        return false;
    }
    return true;
}

static bool see_own(void *context, const KnBlock *block) {
    (void)context;
    if (block->state == KN_BLOCK_USED && own_count < MOST_RANGES) {
        own[own_count++] = *block;
    }
    return true;
}

/* ---- The workflow ---- */

static int destroyed;

typedef struct Node {
    void *next; /* another, or the title */
    uint32_t value;
} Node;

static void bye(void *node) {
    (void)node;
    destroyed++;
}

static const uint32_t links[] = {offsetof(Node, next)};
static const KnType node_type = {
    .name = "Node", .size = sizeof(Node), .ref_count = 1, .ref_offsets = links, .destroy = bye};
static const KnType text_type = {.name = "Text", .size = 24};
static KnTypeId node, text;
/* A cell outside. */
static void *title;

static void cleaned(void *context) {
    ++*(int *)context;
}

/* Fills a scope; false iff memory was refused. */
static bool fill(KnArena *scope, bool cells, int turns) {
    static char pattern[300];
    void *last = title;
    int i;
    memset(pattern, 'x', sizeof pattern);
    for (i = 0; i < turns; i++) {
        char *raw = kn_arena_alloc(scope, (size_t)(i * 7 % 200));
        void *aligned = kn_arena_aligned_alloc(scope, 64, 40);
        char *copy = kn_arena_strndup(scope, "a text that is copied", (size_t)(i % 20));
        if (raw == NULL || aligned == NULL || copy == NULL) {
            return false;
        }
        memcpy(raw, pattern, (size_t)(i * 7 % 200));
        raw = kn_arena_resize(scope, copy, (size_t)(i % 20) + 1, 120);
        if (raw == NULL) {
            return false;
        }
        if (cells) {
            Node *fresh = GC_newIn(scope, node);
            if (fresh == NULL || GC_newIn(scope, text) == NULL) {
                return false;
            }
            GC_assign(&fresh->next, last);
            last = fresh;
        }
    }
    return true;
}

/* What a program does: a scope with another in it, more than they were presized for, a mark and a way back. */
static bool workflow(bool cells, int turns) {
    KnArenaConfig config = {.name = "outer", .presize = 2000};
    KnArena *outer, *inner;
    KnArenaMark mark;
    KnCleanup cleanup = {0};
    int runs = 0;
    cleanup.run = cleaned;
    cleanup.context = &runs;
    if (kn_arena_enter(heap, &config, &outer) != KN_OK || !fill(outer, cells, turns) ||
        kn_arena_on_leave(outer, &cleanup) != KN_OK) {
        return false;
    }
    mark = kn_arena_mark(outer);
    if (!fill(outer, cells, turns) || kn_heap_walk(heap, see_scope, NULL) != KN_OK ||
        kn_arena_rewind(outer, mark) != KN_OK) {
        return false;
    }
    config.name = "inner";
    if (kn_arena_enter(heap, &config, &inner) != KN_OK || !fill(inner, cells, turns / 2)) {
        return false;
    }
    if (strcmp(fault, "malloc") == 0) {
        kn_heap_free(heap, kn_heap_malloc(heap, 100));
    }
    if (strcmp(fault, "store") == 0) {
        GC_assign((void **)outside[0], NULL);
    }
    (void)kn_heap_walk(heap, see_scope, NULL);
    return kn_arena_leave(inner, NULL) == KN_OK && fill(outer, cells, turns / 2) &&
           kn_heap_walk(heap, see_scope, NULL) == KN_OK && kn_arena_leave(outer, NULL) == KN_OK && runs == 1;
}

/* ---- The test ---- */

/* Bytes before a payload that are its header, in any layout, and those of a free block's links and sizes. */
enum { HEADER = 8, GRANULE = 16 };

static bool run(KnLayout layout, bool cells, int turns) {
    KnHeapConfig config = {.layout = layout};
    KnHeapStats stats;
    uint64_t fingerprint;
    size_t i, inside;
    memset(memory.bytes, 0x5A, sizeof memory.bytes);
    knoll_watch_allow(memory.bytes, sizeof memory.bytes);
    heap = kn_heap_create_with(memory.bytes, sizeof memory.bytes, &config);
    if (heap == NULL) {
        return false;
    }
    (void)kn_heap_use(heap);
    own_count = 0;
    if (cells) {
        node = GC_registerType(&node_type);
        text = GC_registerType(&text_type);
        if (node == 0 || text == 0) {
            return false;
        }
        (void)kn_heap_walk(heap, see_own, NULL);
    }
    title = cells ? GC_new(text) : NULL;
    if (cells && title == NULL) {
        return false;
    }
    /* Always-active blocks, with holes between them. */
    for (i = 0; i < OUTSIDE; i++) {
        outside[i] = kn_heap_malloc(heap, 20 + i * 37 % 300);
        if (outside[i] == NULL) {
            return false;
        }
        memset(outside[i], 0, 20);
    }
    for (i = 1; i < OUTSIDE; i += 3) {
        kn_heap_free(heap, outside[i]);
    }
    (void)kn_heap_walk(heap, see_pool, NULL);
    lowest = pool_end;
    if (!workflow(cells, turns) || kn_heap_stats(heap, &stats) != KN_OK) {
        return false;
    }

    memcpy(before, memory.bytes, sizeof before);
    fingerprint = kn_heap_fingerprint(heap);
    knoll_watch_forbid(memory.bytes, sizeof memory.bytes);
    knoll_watch_allow(heap, stats.overhead);
    knoll_watch_allow(pool - HEADER, HEADER + GRANULE);
    knoll_watch_allow(lowest - GRANULE, (size_t)(pool_end - lowest) + GRANULE);
    for (i = 0; i < own_count; i++) {
        knoll_watch_allow((const uint8_t *)own[i].start - HEADER, own[i].size);
    }
    if (cells) {
        knoll_watch_allow((uint8_t *)title - HEADER, HEADER);
    }
    if (!workflow(cells, strcmp(fault, "outside") == 0 ? turns + 8 : turns)) {
        return false;
    }
    knoll_watch_allow(memory.bytes, sizeof memory.bytes);

    inside = (size_t)(pool + GRANULE - memory.bytes);
    if (fingerprint == 0 || kn_heap_fingerprint(heap) != fingerprint) {
        fail("the fingerprint has changed");
        return false;
    }
    for (i = 0; i < own_count; i++) {
        memcpy(before + ((const uint8_t *)own[i].start - memory.bytes), own[i].start, own[i].size - HEADER);
    }
    if (memcmp(before, memory.bytes, inside) != 0) {
        fail("the heap below the scopes has changed");
        return false;
    }
    if (memcmp(before, memory.bytes, stats.overhead) != 0) {
        fail("the heap's records have changed");
        return false;
    }
    if (memcmp(before + (pool_end - memory.bytes) - HEADER, pool_end - HEADER,
               sizeof before - (size_t)(pool_end - HEADER - memory.bytes)) != 0) {
        fail("the heap above the scopes has changed");
        return false;
    }
    printf("ok: %s layout, %s: %u bytes of scopes, %u of 140 KB in use outside\n",
           layout == KN_LAYOUT_MAP       ? "map"
           : layout == KN_LAYOUT_COMPACT ? "compact"
                                         : "wide",
           cells ? "cells and raw memory" : "raw memory", (unsigned)(pool_end - lowest), (unsigned)stats.used);
    return kn_heap_check(heap) == KN_OK;
}

int main(int argc, char **argv) {
    int layout;
    fault = argc > 1 ? argv[1] : "";
    for (layout = KN_LAYOUT_MAP; layout <= KN_LAYOUT_WIDE; layout++) {
        if (!run((KnLayout)layout, false, 40) || !run((KnLayout)layout, true, 40)) {
            fail("a run did not end as it should");
            return 1;
        }
    }
    printf("%d cells were destroyed\n", destroyed);
    return destroyed == 0;
}
