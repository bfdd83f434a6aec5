/*
 * Potential cycle roots: which cells become one and when, what starts a collection, and partial collections.
 *
 * Rows 11 to 15 and 25 to 29 of the conformance table.
 */
#include "cells.h"

#include <string.h>

/* One root: an edge to the cell is removed, and another keeps it. */
static void touch(void *object) {
    GC_unref(GC_ref(object));
}

/* `count` nodes in `nodes`, each of them a root, in this order. */
static bool make_roots(Node **nodes, uint32_t count) {
    uint32_t i;
    for (i = 0; i < count; i++) {
        nodes[i] = new_node(i, NULL, NULL);
        if (!CHECK(nodes[i] != NULL)) {
            return false;
        }
        touch(nodes[i]);
    }
    return true;
}

static void let_go(Node **nodes, uint32_t count) {
    uint32_t i;
    for (i = 0; i < count; i++) {
        GC_unref(nodes[i]);
    }
}

/* ---- Row 11: acyclic types ---- */

static size_t traced;

static void count_traces(void *object, KnTracer *tracer) {
    traced++;
    GC_visit(tracer, &((Node *)object)->left);
}

/* Row 11: a cell of an acyclic type is never a root, whatever made the type acyclic. */
COUNTED_TEST(acyclic_cells_are_no_roots) {
    static const uint32_t offsets[] = {offsetof(Node, left), offsetof(Node, right)};
    static const KnType *const leaves[] = {&leaf_descriptor, &leaf_descriptor};
    static const KnType pair = {"Pair", sizeof(Node), 0, 2, offsets, NULL, NULL, NULL, leaves, NULL};
    static const KnType *const pairs[] = {&pair, &leaf_descriptor};
    static const KnType tree = {"Tree", sizeof(Node), 0, 2, offsets, NULL, NULL, NULL, pairs, NULL};
    static const KnType leaves_only = {"Leaves", 0, KN_TYPE_ARRAY, 0, NULL, NULL, NULL, NULL, NULL, &leaf_descriptor};
    static const KnType open = {"Open", sizeof(Node), 0, 2, offsets, NULL, NULL, NULL, NULL, NULL};
    static const KnType declared = {"Declared", sizeof(Node), KN_TYPE_ACYCLIC, 2, offsets, NULL, NULL,
                                    NULL,       NULL,         NULL};
    static const struct {
        const KnType *type;
        bool acyclic;
    } cases[] = {{&leaf_descriptor, true}, {&tail_descriptor, true}, {&pair, true},     {&tree, true},
                 {&leaves_only, true},     {&declared, true},        {&open, false},    {&node_descriptor, false},
                 {&row_descriptor, false}, {&chest_descriptor, false}};
    size_t i;
    for (i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *object = GC_newSized(GC_registerType(cases[i].type), sizeof(Node));
        REQUIRE(object != NULL);
        touch(object);
        touch(object);
        (void)CHECK_EQ(GC_prepareOrc(), cases[i].acyclic ? 0 : 1);
        (void)CHECK_EQ(GC_refcount(object), 1);
        GC_unref(object);
        (void)CHECK_EQ(GC_prepareOrc(), 0);
    }
    (void)CHECK_EQ(live_cells(), 0);
}

static const KnType ring_of_three, second, third, ring_of_one;

/* Row 11: types that can only refer to each other in a circle are cyclic; one that only looks into it is not. */
COUNTED_TEST(inference_over_types) {
    static const uint32_t offsets[] = {offsetof(Node, left)};
    static const KnType *const to_three[] = {&ring_of_three};
    static const KnType outside = {"Outside", sizeof(Node), 0, 1, offsets, NULL, NULL, NULL, to_three, NULL};
    void *one = GC_new(GC_registerType(&ring_of_one));
    void *three, *out;
    /* What a type that is not registered may refer to is not known, so all of the ring are. */
    (void)CHECK(GC_registerType(&second) != 0 && GC_registerType(&third) != 0);
    three = GC_new(GC_registerType(&ring_of_three));
    out = GC_new(GC_registerType(&outside));
    REQUIRE(one != NULL && three != NULL && out != NULL);
    touch(one);
    (void)CHECK_EQ(GC_prepareOrc(), 1);
    touch(three);
    (void)CHECK_EQ(GC_prepareOrc(), 2);
    touch(out);
    (void)CHECK_EQ(GC_prepareOrc(), 2);
    GC_unref(one);
    GC_unref(three);
    GC_unref(out);
}

static const uint32_t left_only[] = {offsetof(Node, left)};
static const KnType *const to_one[] = {&ring_of_one};
static const KnType ring_of_one = {"One", sizeof(Node), 0, 1, left_only, NULL, NULL, NULL, to_one, NULL};
static const KnType *const to_first[] = {&ring_of_three};
static const KnType third = {"Third", sizeof(Node), 0, 1, left_only, NULL, NULL, NULL, to_first, NULL};
static const KnType *const to_third[] = {&third};
static const KnType second = {"Second", sizeof(Node), 0, 1, left_only, NULL, NULL, NULL, to_third, NULL};
static const KnType *const to_second[] = {&second};
static const KnType ring_of_three = {"First", sizeof(Node), 0, 1, left_only, NULL, NULL, NULL, to_second, NULL};

/* Row 11: nor is an acyclic cell an edge of the collector's, which neither traces nor visits it. */
COUNTED_TEST(acyclic_cells_are_not_touched) {
    static const KnType tracer = {"Tracer", sizeof(Node), KN_TYPE_ACYCLIC, 0, NULL, NULL, count_traces,
                                  NULL,     NULL,         NULL};
    KnTypeId type = GC_registerType(&tracer);
    Node *kept = ring(2, 1);
    Node *dead = ring(2, 3);
    Node *one = GC_new(type), *two = GC_new(type);
    size_t visited;
    REQUIRE(kept != NULL && dead != NULL && one != NULL && two != NULL);
    one->left = new_leaf(10);
    two->left = new_leaf(11);
    kept->right = one;
    dead->right = two;
    touch(kept);
    (void)GC_ref(two);
    GC_unref(dead);
    visited = gc().visited;
    traced = 0;
    GC_runOrc();
    (void)CHECK_EQ(traced, 0);
    (void)CHECK_LE(gc().visited - visited, 4);
    (void)CHECK_EQ(GC_refcount(one), 1);
    (void)CHECK_EQ(GC_refcount(two), 1);
    (void)CHECK_EQ(GC_refcount(one->left), 1);
    (void)CHECK(destroyed_once(3, 4));
    (void)CHECK_EQ(destroyed_total(), 2);
    GC_unref(two);
    (void)CHECK_EQ(destroyed_times(11), 1);
    GC_unref(kept);
}

/* ---- Rows 12 and 13: in and out of the list ---- */

/* Row 12: only the removal of an edge registers, only while the count stays above zero, and once. */
COUNTED_TEST(only_removal_registers) {
    Node *node = new_node(1, NULL, NULL);
    Node *holder;
    void *slot = NULL;
    REQUIRE(node != NULL);
    (void)GC_ref(node);
    (void)GC_ref(node);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    GC_assign(&slot, node);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    (void)CHECK(GC_move(&slot) == (void *)node);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    GC_unref(node);
    (void)CHECK_EQ(GC_prepareOrc(), 1);
    GC_unref(node);
    (void)CHECK_EQ(GC_prepareOrc(), 1);
    GC_runOrc();
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    /* By the death of a holder, and by an assignment. */
    holder = new_node(2, GC_ref(node), NULL);
    REQUIRE(holder != NULL);
    GC_unref(holder);
    (void)CHECK_EQ(GC_prepareOrc(), 1);
    GC_runOrc();
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    slot = GC_ref(node);
    GC_assign(&slot, NULL);
    (void)CHECK_EQ(GC_prepareOrc(), 1);
    GC_runOrc();
    (void)GC_decRef(GC_ref(node));
    (void)CHECK_EQ(GC_prepareOrc(), 1);
    (void)CHECK_EQ(GC_refcount(node), 2);
    GC_unref(node);
    GC_unref(node);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    (void)CHECK_EQ(destroyed_times(1), 1);
}

/* Row 12: with counting alone (ARC) nothing is ever registered, and cycles stay. */
COUNTED_TEST(arc_registers_nothing) {
    KnGcConfig arc = {.flags = KN_GC_ARC};
    Node *first, *node;
    configure(arc);
    first = ring(3, 1);
    node = new_node(4, NULL, NULL);
    REQUIRE(first != NULL && node != NULL);
    touch(node);
    GC_unref(node);
    (void)CHECK_EQ(destroyed_times(4), 1);
    touch(first);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 3);
    /* The program breaks the cycle by hand. */
    GC_assign(&first->left, NULL);
    (void)CHECK_EQ(live_cells(), 1);
    GC_unref(first);
    (void)CHECK_EQ(live_cells(), 0);
}

/* Row 13: a root whose count falls to zero leaves the list and is freed; in every order. */
COUNTED_TEST(dead_roots_leave_the_list) {
    enum { COUNT = 24 };
    static const uint32_t strides[] = {1, 5, 7, 23};
    Node *nodes[COUNT];
    size_t order;
    uint32_t i;
    for (order = 0; order < sizeof strides / sizeof strides[0]; order++) {
        forget_destroyed();
        REQUIRE(make_roots(nodes, COUNT));
        (void)CHECK_EQ(GC_prepareOrc(), COUNT);
        for (i = 0; i < COUNT; i++) {
            uint32_t index = (i * strides[order] + 3) % COUNT;
            GC_unref(nodes[index]);
            (void)CHECK_EQ(GC_prepareOrc(), COUNT - 1 - i);
            (void)CHECK_EQ(destroyed_times(index), 1);
            (void)CHECK_EQ(live_cells(), COUNT - 1 - i);
        }
        (void)CHECK_STATUS(GC_check(), KN_OK);
    }
}

/* Row 13: what lies in the memory of a dead root afterwards is not touched by a collection. */
COUNTED_TEST(memory_of_dead_roots_is_not_touched) {
    enum { COUNT = 16 };
    Node *nodes[COUNT];
    Leaf *leaves[COUNT];
    void *blocks[COUNT];
    uint32_t i;
    REQUIRE(make_roots(nodes, COUNT));
    let_go(nodes, COUNT);
    for (i = 0; i < COUNT; i++) {
        leaves[i] = new_leaf(i + 100);
        blocks[i] = kn_malloc(sizeof(Node));
        REQUIRE(leaves[i] != NULL && blocks[i] != NULL);
        fill_pattern(blocks[i], sizeof(Node), i);
    }
    GC_runOrc();
    for (i = 0; i < COUNT; i++) {
        (void)CHECK_EQ(leaves[i]->id, i + 100);
        (void)CHECK_EQ(GC_refcount(leaves[i]), 1);
        (void)CHECK_PATTERN(blocks[i], sizeof(Node), i);
        GC_unref(leaves[i]);
        kn_free(blocks[i]);
    }
    (void)CHECK_EQ(destroyed_total(), 2 * COUNT);
}

/* ---- Rows 14 and 15: what starts a collection ---- */

/* Row 14: the collection comes with the root that makes the threshold full; 128 by default, or what is configured. */
COUNTED_TEST(roots_reach_the_threshold) {
    static const uint32_t thresholds[] = {0, 1, 2, 10, 60};
    enum { DEFAULT = 128 };
    static Node *nodes[DEFAULT];
    size_t i;
    for (i = 0; i < sizeof thresholds / sizeof thresholds[0]; i++) {
        KnGcConfig config = {.threshold = thresholds[i], .bytes_floor = SIZE_MAX};
        uint32_t limit = thresholds[i] == 0 ? DEFAULT : thresholds[i];
        size_t collections;
        configure(config);
        (void)CHECK_EQ(gc().threshold, limit);
        collections = gc().collections;
        REQUIRE(make_roots(nodes, limit - 1));
        (void)CHECK_EQ(GC_prepareOrc(), limit - 1);
        (void)CHECK_EQ(gc().collections, collections);
        REQUIRE(make_roots(nodes + limit - 1, 1));
        (void)CHECK_EQ(gc().collections, collections + 1);
        (void)CHECK_EQ(GC_prepareOrc(), 0);
        (void)CHECK_EQ(destroyed_total(), 0);
        let_go(nodes, limit);
        forget_destroyed();
        (void)CHECK_EQ(live_cells(), 0);
    }
}

/* Row 14: the fixed threshold is 10,000 by default, stays what it is, and so is one of one's own. */
COUNTED_TEST(fixed_threshold) {
    KnGcConfig config = {.flags = KN_GC_FIXED_THRESHOLD};
    Node *nodes[40];
    size_t turn;
    configure(config);
    (void)CHECK_EQ(gc().threshold, 10000);
    config.threshold = 10;
    config.bytes_floor = SIZE_MAX;
    configure(config);
    for (turn = 0; turn < 6; turn++) {
        size_t collections = gc().collections;
        (void)CHECK_EQ(gc().threshold, 10);
        REQUIRE(make_roots(nodes, 40));
        (void)CHECK_EQ(gc().collections, collections + 4);
        let_go(nodes, 40);
    }
}

/* Row 14: garbage is collected automatically, with no call of the program's. */
COUNTED_TEST(garbage_goes_by_itself) {
    KnGcConfig config = {.threshold = 10, .bytes_floor = SIZE_MAX};
    uint32_t i;
    configure(config);
    for (i = 0; i < 300; i++) {
        Node *first = ring(3, 0);
        REQUIRE(first != NULL);
        GC_unref(first);
        (void)CHECK_LE(GC_prepareOrc(), gc().trigger);
        (void)CHECK_LE(live_cells(), 150);
    }
    (void)CHECK_GE(destroyed_total(), 300 * 3 - 150);
}

/* Growth in bytes starts a collection too: a large ring is one root only. */
COUNTED_TEST(bytes_start_a_collection) {
    KnGcConfig config = {.threshold = 1000, .bytes_floor = 2048};
    size_t collections = gc().collections;
    size_t most = 0, i;
    configure(config);
    for (i = 0; i < 40; i++) {
        Node *first = ring(50, 0);
        size_t live;
        REQUIRE(first != NULL);
        GC_unref(first);
        live = live_cells();
        most = live > most ? live : most;
    }
    (void)CHECK_GE(gc().collections, collections + 5);
    (void)CHECK_LE(most, 500);
    config.bytes_floor = SIZE_MAX;
    configure(config);
    GC_runOrc();
    collections = gc().collections;
    for (i = 0; i < 20; i++) {
        Node *first = ring(20, 0);
        REQUIRE(first != NULL);
        GC_unref(first);
    }
    (void)CHECK_EQ(gc().collections, collections);
    (void)CHECK_EQ(live_cells(), 400);
}

static size_t collections_in_trace;

static void allocate_in_trace(void *object, KnTracer *tracer) {
    Node *node = object;
    Leaf *leaf = new_leaf(1);
    size_t collections = gc().collections;
    collections_in_trace += collections - gc().collections;
    GC_unref(leaf);
    GC_visit(tracer, &node->left);
}

/* Row 15: a collection runs where an edge is removed: never in an allocation, never in a trace callback. */
COUNTED_TEST(never_in_an_allocation) {
    static const KnType type = {"Traced", sizeof(Node), 0, 0, NULL, NULL, allocate_in_trace, NULL, NULL, NULL};
    KnGcConfig config = {.threshold = 10, .bytes_floor = 512};
    KnTypeId traced_type = GC_registerType(&type);
    Node *nodes[12];
    Node *list = NULL;
    size_t collections, i;
    configure(config);
    GC_disableOrc();
    REQUIRE(make_roots(nodes, 12));
    GC_enableOrc();
    collections = gc().collections;
    for (i = 0; i < 200; i++) {
        Node *node = new_node(0, list, NULL);
        REQUIRE(node != NULL);
        list = node;
    }
    (void)CHECK_EQ(gc().collections, collections);
    (void)CHECK_EQ(GC_prepareOrc(), 12);
    let_go(nodes, 12);
    GC_unref(list);
    /* Two of these hold each other; their trace callback allocates and lets go. */
    nodes[0] = GC_new(traced_type);
    nodes[1] = GC_new(traced_type);
    REQUIRE(nodes[0] != NULL && nodes[1] != NULL);
    nodes[0]->left = nodes[1];
    nodes[1]->left = GC_ref(nodes[0]);
    collections_in_trace = 0;
    GC_unref(nodes[0]);
    GC_runOrc();
    (void)CHECK_EQ(collections_in_trace, 0);
    (void)CHECK_EQ(live_cells(), 0);
}

/* ---- Rows 25 and 26: partial collections ---- */

/* Rows 25 and 26: a partial collection takes the roots from the limit on, and leaves the others as they are. */
COUNTED_TEST(partial_collection) {
    Node *first;
    uint32_t i;
    for (i = 0; i < 5; i++) {
        first = ring(2, 10 * i);
        REQUIRE(first != NULL);
        (void)CHECK_EQ(GC_prepareOrc(), i);
        GC_unref(first);
        (void)CHECK_EQ(GC_prepareOrc(), i + 1);
    }
    GC_partialCollect(5);
    GC_partialCollect(6);
    GC_partialCollect(SIZE_MAX); /* A negative limit. */
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(GC_prepareOrc(), 5);
    GC_partialCollect(3);
    (void)CHECK_EQ(GC_prepareOrc(), 3);
    (void)CHECK(destroyed_once(30, 31) && destroyed_once(40, 41));
    (void)CHECK_EQ(destroyed_total(), 4);
    (void)CHECK_EQ(live_cells(), 6);
    GC_partialCollect(2);
    (void)CHECK_EQ(GC_prepareOrc(), 2);
    (void)CHECK(destroyed_once(20, 21));
    (void)CHECK_EQ(destroyed_total(), 6);
    GC_partialCollect(0);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    (void)CHECK_EQ(destroyed_total(), 10);
    (void)CHECK_EQ(live_cells(), 0);
}

/* Row 25: prepare, work, collect what the work left: what was registered before is not looked at. */
COUNTED_TEST(partial_collection_of_one_task) {
    Node *before = ring(3, 1);
    Node *kept = ring(3, 11);
    Node *task = ring(3, 21);
    size_t limit;
    REQUIRE(before != NULL && kept != NULL && task != NULL);
    GC_unref(before);
    limit = GC_prepareOrc();
    (void)CHECK_EQ(limit, 1);
    touch(kept);
    GC_unref(task);
    GC_partialCollect(limit);
    (void)CHECK_EQ(GC_prepareOrc(), limit);
    (void)CHECK(destroyed_once(21, 23));
    (void)CHECK_EQ(destroyed_total(), 3);
    (void)CHECK_EQ(GC_refcount(kept), 2);
    GC_unref(kept);
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 3) && destroyed_once(11, 13));
}

/*
 * Rows 13 and 25, a bug of Nim's: its partial collection leaves wrong places in the roots below the limit, so that one
 * of them, freed by counting later, stays in the list, and the next collection reads and writes freed memory.
 */
COUNTED_TEST(roots_below_the_limit_stay_removable) {
    enum { BELOW = 6, ABOVE = 6 };
    Node *nodes[BELOW + ABOVE];
    Leaf *leaves[BELOW];
    uint32_t i;
    REQUIRE(make_roots(nodes, BELOW + ABOVE));
    GC_partialCollect(BELOW);
    (void)CHECK_EQ(GC_prepareOrc(), BELOW);
    (void)CHECK_EQ(destroyed_total(), 0);
    for (i = 0; i < BELOW; i++) {
        GC_unref(nodes[(i * 5) % BELOW]);
        (void)CHECK_EQ(GC_prepareOrc(), BELOW - 1 - i);
        (void)CHECK_EQ(destroyed_total(), i + 1);
    }
    for (i = 0; i < BELOW; i++) {
        leaves[i] = new_leaf(1000 + i);
        REQUIRE(leaves[i] != NULL);
    }
    GC_runOrc();
    for (i = 0; i < BELOW; i++) {
        (void)CHECK_EQ(leaves[i]->id, 1000 + i);
        (void)CHECK_EQ(GC_refcount(leaves[i]), 1);
        GC_unref(leaves[i]);
    }
    for (i = BELOW; i < BELOW + ABOVE; i++) {
        (void)CHECK_EQ(GC_refcount(nodes[i]), 1);
        touch(nodes[i]);
        (void)CHECK_EQ(GC_prepareOrc(), i - BELOW + 1);
    }
    let_go(nodes + BELOW, ABOVE);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
}

/* Row 25: a cycle that a root below the limit keeps is not freed by a partial collection, and is by a full one. */
COUNTED_TEST(partial_collection_across_the_limit) {
    Node *first = ring(2, 1);
    Node *second = ring(2, 3);
    REQUIRE(first != NULL && second != NULL);
    first->right = GC_ref(second);
    GC_unref(first);
    GC_unref(second);
    (void)CHECK_EQ(GC_prepareOrc(), 2);
    GC_partialCollect(1);
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(GC_refcount(second), 2);
    (void)CHECK_EQ(GC_refcount(first), 1);
    (void)CHECK(all_is_sound());
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 4));
}

/* ---- Rows 27 to 29: disabling ---- */

/* Row 27: while disabled roots add up and nothing runs; twice disabled is disabled. */
COUNTED_TEST(disabled_roots_accumulate) {
    enum { COUNT = 400 };
    KnGcConfig config = {.threshold = 8, .bytes_floor = 256};
    size_t collections;
    uint32_t i;
    configure(config);
    collections = gc().collections;
    GC_disableOrc();
    GC_disableOrc();
    for (i = 0; i < COUNT; i++) {
        Node *first = ring(1, i);
        REQUIRE(first != NULL);
        GC_unref(first);
    }
    (void)CHECK_EQ(GC_prepareOrc(), COUNT);
    (void)CHECK_EQ(gc().collections, collections);
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(live_cells(), COUNT);
    GC_runOrc();
    (void)CHECK_EQ(destroyed_total(), COUNT);
    (void)CHECK_EQ(live_cells(), 0);
}

/* Row 27, a bug of Nim's (22256): disabling sets a threshold so high that adding to it overflows. */
COUNTED_TEST(thresholds_do_not_overflow) {
    static const uint32_t highs[] = {INT32_MAX, UINT32_MAX - 1, UINT32_MAX};
    size_t i, turn;
    for (i = 0; i < sizeof highs / sizeof highs[0]; i++) {
        KnGcConfig config = {.flags = KN_GC_STAY_DISABLED,
                             .threshold = highs[i],
                             .threshold_bound = UINT32_MAX,
                             .bytes_floor = SIZE_MAX};
        Node *nodes[30];
        size_t collections;
        configure(config);
        (void)CHECK_EQ(gc().threshold, highs[i]);
        /* Collections in vain make the threshold grow. */
        for (turn = 0; turn < 4; turn++) {
            REQUIRE(make_roots(nodes, 30));
            GC_runOrc();
            let_go(nodes, 30);
            (void)CHECK_GE(gc().threshold, highs[i]);
        }
        GC_disableOrc();
        for (turn = 0; turn < 4; turn++) {
            REQUIRE(make_roots(nodes, 30));
            GC_runOrc();
            let_go(nodes, 30);
        }
        collections = gc().collections;
        REQUIRE(make_roots(nodes, 30));
        (void)CHECK_EQ(gc().collections, collections);
        GC_enableOrc();
        (void)CHECK_EQ(gc().threshold, highs[i]);
        let_go(nodes, 30);
        REQUIRE(make_roots(nodes, 30));
        (void)CHECK_EQ(gc().collections, collections);
        (void)CHECK_EQ(GC_prepareOrc(), 30);
        let_go(nodes, 30);
    }
}

/* Row 28: enabling brings the default threshold back; the next registration collects what has accumulated. */
COUNTED_TEST(enabling_collects_the_backlog) {
    KnGcConfig config = {.threshold = 20, .bytes_floor = SIZE_MAX};
    Node *node = new_node(1000, NULL, NULL);
    size_t collections;
    uint32_t i;
    REQUIRE(node != NULL);
    configure(config);
    GC_disableOrc();
    for (i = 0; i < 100; i++) {
        Node *first = ring(2, 2 * i);
        REQUIRE(first != NULL);
        GC_unref(first);
    }
    collections = gc().collections;
    GC_enableOrc();
    (void)CHECK_EQ(gc().threshold, 20);
    (void)CHECK_EQ(gc().collections, collections);
    (void)CHECK_EQ(GC_prepareOrc(), 100);
    touch(node);
    (void)CHECK_EQ(gc().collections, collections + 1);
    (void)CHECK_EQ(destroyed_total(), 200);
    (void)CHECK(destroyed_once(0, 199));
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    GC_unref(node);
}

/* A full list of roots: does a collection start by itself? */
static bool is_enabled(void) {
    Node *nodes[12];
    size_t collections = gc().collections;
    bool enabled;
    if (!make_roots(nodes, 12)) {
        return false;
    }
    enabled = gc().collections != collections;
    let_go(nodes, 12);
    return enabled;
}

/* Row 29: a manual run while disabled works, and enables again, as the seed says; or does not, if configured so. */
COUNTED_TEST(manual_run_while_disabled) {
    KnGcConfig config = {.threshold = 10, .bytes_floor = SIZE_MAX};
    unsigned policy;
    for (policy = 0; policy < 2; policy++) {
        Node *first;
        config.flags = policy == 0 ? 0 : KN_GC_STAY_DISABLED;
        configure(config);
        (void)CHECK(is_enabled());
        GC_disableOrc();
        (void)CHECK(!is_enabled());
        forget_destroyed();
        first = ring(3, 1);
        REQUIRE(first != NULL);
        GC_unref(first);
        GC_runOrc();
        (void)CHECK(destroyed_once(1, 3));
        (void)CHECK_EQ(is_enabled(), policy == 0);
        GC_disableOrc();
        forget_destroyed();
        first = ring(3, 4);
        REQUIRE(first != NULL);
        GC_unref(first);
        GC_partialCollect(0);
        (void)CHECK(destroyed_once(4, 6));
        GC_enableOrc();
        (void)CHECK(is_enabled());
    }
}

SUITE("counted_roots", EACH_LAYOUT(acyclic_cells_are_no_roots), ONCE(inference_over_types),
      EACH_LAYOUT(acyclic_cells_are_not_touched), EACH_LAYOUT(only_removal_registers), ONCE(arc_registers_nothing),
      EACH_LAYOUT(dead_roots_leave_the_list), EACH_LAYOUT(memory_of_dead_roots_is_not_touched),
      EACH_LAYOUT(roots_reach_the_threshold), ONCE(fixed_threshold), EACH_LAYOUT(garbage_goes_by_itself),
      EACH_LAYOUT(bytes_start_a_collection), ONCE(never_in_an_allocation), EACH_LAYOUT(partial_collection),
      ONCE(partial_collection_of_one_task), EACH_LAYOUT(roots_below_the_limit_stay_removable),
      ONCE(partial_collection_across_the_limit), EACH_LAYOUT(disabled_roots_accumulate),
      ONCE(thresholds_do_not_overflow), EACH_LAYOUT(enabling_collects_the_backlog), ONCE(manual_run_while_disabled))
