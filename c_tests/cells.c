/* The ground, types and records behind cells.h. */
#include "cells.h"

#include <string.h>

/* A leak of a byte in each round shows as a heap that is fuller after every one of them. */
#if defined(__arm__)
enum { ROUNDS = 3 };
#else
enum { ROUNDS = 4 };
#endif

static struct {
    KnHeap *heap;
    unsigned fields[MOST_IDS];
    unsigned times[MOST_IDS];
    uint32_t order[MOST_IDS];
    size_t total;
} ground;

size_t chest_traces;

/* ---- What was destroyed ---- */

void forget_destroyed(void) {
    memset(ground.fields, 0, sizeof ground.fields);
    memset(ground.times, 0, sizeof ground.times);
    ground.total = 0;
    chest_traces = 0;
}

void record_destroyed(uint32_t id) {
    if (id < MOST_IDS) {
        ground.times[id]++;
    }
    if (ground.total < MOST_IDS) {
        ground.order[ground.total] = id;
    }
    ground.total++;
}

size_t destroyed_total(void) {
    return ground.total;
}

unsigned destroyed_times(uint32_t id) {
    return id < MOST_IDS ? ground.times[id] : 0;
}

uint32_t destroyed_at(size_t index) {
    return index < ground.total && index < MOST_IDS ? ground.order[index] : UINT32_MAX;
}

bool destroyed_once(uint32_t first, uint32_t last) {
    uint32_t id;
    for (id = first; id <= last; id++) {
        if (destroyed_times(id) != 1) {
            return false;
        }
    }
    return true;
}

unsigned fields_found(uint32_t id) {
    return id < MOST_IDS ? ground.fields[id] : 0;
}

/* ---- Types ---- */

static void destroy_node(void *object) {
    record_destroyed(((Node *)object)->id);
}

static void destroy_leaf(void *object) {
    record_destroyed(((Leaf *)object)->id);
}

static void destroy_tail(void *object) {
    record_destroyed(((Tail *)object)->id);
}

static void destroy_row(void *object) {
    record_destroyed(((Row *)object)->id);
}

static void destroy_mixed(void *object) {
    const Mixed *mixed = object;
    record_destroyed(mixed->id);
    if (mixed->id < MOST_IDS) {
        ground.fields[mixed->id] = (mixed->any != NULL ? 1u : 0u) | (mixed->leaf != NULL ? 2u : 0u);
    }
    /* A leaf is no part of any cycle, so what the field holds is alive. */
    if (mixed->leaf != NULL) {
        (void)CHECK_GE(GC_refcount(mixed->leaf), 1);
    }
}

/* Lets go of what it holds by itself, since the block with the references goes. */
static void destroy_chest(void *object) {
    Chest *chest = object;
    uint32_t i;
    record_destroyed(chest->id);
    for (i = 0; i < chest->count; i++) {
        GC_unref(GC_move(&chest->slots[i]));
    }
    kn_free(chest->slots);
    chest->slots = NULL;
    chest->count = 0;
}

static void trace_chest(void *object, KnTracer *tracer) {
    Chest *chest = object;
    uint32_t i;
    chest_traces++;
    for (i = 0; i < chest->count; i++) {
        GC_visit(tracer, &chest->slots[i]);
    }
}

static const uint32_t node_offsets[] = {offsetof(Node, left), offsetof(Node, right)};
static const char *const node_names[] = {"left", "right"};
static const uint32_t tail_offsets[] = {offsetof(Tail, next)};
static const uint32_t mixed_offsets[] = {offsetof(Mixed, any), offsetof(Mixed, leaf)};
static const KnType *const mixed_types[] = {NULL, &leaf_descriptor};

const KnType node_descriptor = {"Node",       sizeof(Node), 0, 2, node_offsets, destroy_node, NULL,
                                node_names, NULL,         NULL};
const KnType leaf_descriptor = {"Leaf", sizeof(Leaf), 0, 0, NULL, destroy_leaf, NULL, NULL, NULL, NULL};
const KnType tail_descriptor = {
    "Tail", sizeof(Tail), KN_TYPE_ACYCLIC, 1, tail_offsets, destroy_tail, NULL, NULL, NULL, NULL};
const KnType mixed_descriptor = {"Mixed",     sizeof(Mixed), 0, 2, mixed_offsets, destroy_mixed, NULL, NULL,
                                 mixed_types, NULL};
const KnType row_descriptor = {"Row", sizeof(Row), KN_TYPE_ARRAY, 0, NULL, destroy_row, NULL, NULL, NULL, NULL};
const KnType chest_descriptor = {"Chest", sizeof(Chest), 0, 0, NULL, destroy_chest, trace_chest, NULL, NULL, NULL};

KnTypeId node_type, leaf_type, tail_type, mixed_type, row_type, chest_type;

static bool register_types(void) {
    node_type = GC_registerType(&node_descriptor);
    leaf_type = GC_registerType(&leaf_descriptor);
    tail_type = GC_registerType(&tail_descriptor);
    mixed_type = GC_registerType(&mixed_descriptor);
    row_type = GC_registerType(&row_descriptor);
    chest_type = GC_registerType(&chest_descriptor);
    return CHECK(node_type != 0 && leaf_type != 0 && tail_type != 0 && mixed_type != 0 && row_type != 0 &&
                 chest_type != 0);
}

Node *new_node(uint32_t id, void *left, void *right) {
    Node *node = GC_new(node_type);
    if (node != NULL) {
        node->id = id;
        node->left = left;
        node->right = right;
    }
    return node;
}

Leaf *new_leaf(uint32_t id) {
    Leaf *leaf = GC_new(leaf_type);
    if (leaf != NULL) {
        leaf->id = id;
    }
    return leaf;
}

Tail *new_tail(uint32_t id, void *next) {
    Tail *tail = GC_new(tail_type);
    if (tail != NULL) {
        tail->id = id;
        tail->next = next;
    }
    return tail;
}

Mixed *new_mixed(uint32_t id, void *any, void *leaf) {
    Mixed *mixed = GC_new(mixed_type);
    if (mixed != NULL) {
        mixed->id = id;
        mixed->any = any;
        mixed->leaf = leaf;
    }
    return mixed;
}

Row *new_row(uint32_t id, uint32_t count) {
    Row *row = GC_newSized(row_type, sizeof(Row) + count * sizeof(void *));
    if (row != NULL) {
        row->id = id;
        row->count = count;
    }
    return row;
}

Chest *new_chest(uint32_t id, uint32_t count) {
    void **slots = kn_calloc(count, sizeof(void *));
    Chest *chest = slots == NULL ? NULL : GC_new(chest_type);
    if (chest == NULL) {
        kn_free(slots);
        return NULL;
    }
    chest->id = id;
    chest->slots = slots;
    chest->count = count;
    return chest;
}

Node *ring(uint32_t count, uint32_t id) {
    Node *last = new_node(id + count - 1, NULL, NULL);
    Node *first = last;
    uint32_t i;
    for (i = 1; i < count && first != NULL; i++) {
        Node *before = new_node(id + count - 1 - i, first, NULL);
        if (before == NULL) {
            GC_unref(first);
        }
        first = before;
    }
    if (first != NULL) {
        last->left = GC_ref(first);
    }
    return first;
}

Node *double_list(uint32_t count, uint32_t id) {
    Node *first = new_node(id + count - 1, NULL, NULL);
    uint32_t i;
    for (i = 1; i < count && first != NULL; i++) {
        Node *before = new_node(id + count - 1 - i, first, NULL);
        if (before != NULL) {
            first->right = GC_ref(before);
        }
        first = before;
    }
    return first;
}

/* ---- Numbers ---- */

KnGcStats gc(void) {
    KnGcStats stats;
    memset(&stats, 0, sizeof stats);
    (void)CHECK_STATUS(GC_stats(&stats), KN_OK);
    (void)CHECK_EQ(stats.total, stats.occupied + stats.free);
    return stats;
}

size_t live_cells(void) {
    return gc().cells;
}

bool all_is_sound(void) {
    KnGcStats stats = gc();
    return CHECK_STATUS(GC_check(), KN_OK) && CHECK(is_sound(ground.heap)) &&
           CHECK_EQ(GC_getTotalMem(), GC_getOccupiedMem() + GC_getFreeMem()) &&
           CHECK_EQ(GC_prepareOrc(), stats.roots);
}

void configure(KnGcConfig config) {
    (void)CHECK_STATUS(GC_configure(&config), KN_OK);
}

/* ---- The ground ---- */

KnHeap *ground_heap(void) {
    return ground.heap;
}

/* Collects, and checks that nothing is left; SIZE_MAX if something is, else the bytes used of the heap. */
static size_t settled(void) {
    KnGcStats stats;
    KnHeapStats heap;
    bool whole = CHECK_STATUS(GC_configure(NULL), KN_OK);
    GC_enableOrc();
    GC_runOrc();
    whole = all_is_sound() && whole;
    stats = gc();
    whole = CHECK_EQ(stats.cells, 0) && whole;
    whole = CHECK_EQ(stats.occupied, 0) && whole;
    whole = CHECK_EQ(stats.pending, 0) && whole;
    whole = CHECK_EQ(stats.roots, 0) && whole;
    whole = CHECK_STATUS(kn_heap_stats(ground.heap, &heap), KN_OK) && whole;
    return whole ? heap.used : SIZE_MAX;
}

void on_ground(void (*body)(void), size_t bytes) {
    KnHeap *found;
    size_t used = 0, last = 0, round, grown = 0;

    ground.heap = new_heap(bytes);
    REQUIRE(ground.heap != NULL);
    found = kn_heap_use(ground.heap);
    if (register_types()) {
        for (round = 0; round < ROUNDS && used != SIZE_MAX; round++) {
            forget_destroyed();
            restart_random();
            body();
            used = settled();
            grown += used > last;
            last = used;
        }
        (void)CHECK(grown < ROUNDS && "the heap is not fuller after each round");
    }
    (void)kn_heap_use(found);
    ground.heap = NULL;
}

/* ---- Text ---- */

size_t take_text(void *context, const char *bytes, size_t length) {
    Text *text = context;
    size_t room = sizeof text->bytes - 1 - text->length;
    size_t taken = length < room ? length : room;
    memcpy(text->bytes + text->length, bytes, taken);
    text->length += taken;
    text->bytes[text->length] = '\0';
    return taken;
}

bool text_has(const Text *text, const char *part) {
    return strstr(text->bytes, part) != NULL;
}

size_t text_lines(const Text *text) {
    size_t lines = 0, i;
    for (i = 0; i < text->length; i++) {
        lines += text->bytes[i] == '\n';
    }
    return lines;
}
