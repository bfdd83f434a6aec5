/*
 * Cycle collection in random graphs, and with little memory: what lives keeps its exact counts, what does not goes, also
 * where the collector may consider a few cells at a time, or finds no memory for itself.
 *
 * Row 18 of the conformance table.
 */
#include "cells.h"

#include <string.h>

static void touch(void *object) {
    GC_unref(GC_ref(object));
}

#if defined(__arm__)
enum { GRAPH = 50, GRAPHS = 6 };
#else
enum { GRAPH = 120, GRAPHS = 12 };
#endif
static Node *graph[GRAPH];
static bool held[GRAPH], reached[GRAPH];

static size_t index_of(const void *cell) {
    return ((const Node *)cell)->id;
}

/* A random graph of GRAPH nodes, each held from outside. */
static bool make_graph(void) {
    size_t i, edges;
    for (i = 0; i < GRAPH; i++) {
        graph[i] = new_node((uint32_t)i, NULL, NULL);
        if (!CHECK(graph[i] != NULL)) {
            return false;
        }
        held[i] = true;
    }
    edges = random_between(GRAPH / 2, 2 * GRAPH);
    for (i = 0; i < edges; i++) {
        Node *from = graph[random_below(GRAPH)];
        GC_assign(random_below(2) == 0 ? &from->left : &from->right, graph[random_below(GRAPH)]);
    }
    return true;
}

/* What is reached from the held cells, by no means of the library's. */
static void find_reached(void) {
    bool more = true;
    size_t i;
    memcpy(reached, held, sizeof reached);
    while (more) {
        more = false;
        for (i = 0; i < GRAPH; i++) {
            if (reached[i] && destroyed_times((uint32_t)i) == 0) {
                void *const next[] = {graph[i]->left, graph[i]->right};
                size_t side;
                for (side = 0; side < 2; side++) {
                    if (next[side] != NULL && !reached[index_of(next[side])]) {
                        reached[index_of(next[side])] = true;
                        more = true;
                    }
                }
            }
        }
    }
}

/* What is reached is alive with its exact count; all else has been destroyed once. */
static void compare_graph(void) {
    uint32_t expected[GRAPH] = {0};
    size_t i, alive = 0;
    find_reached();
    for (i = 0; i < GRAPH; i++) {
        if (reached[i]) {
            expected[i] += held[i];
            if (graph[i]->left != NULL) {
                expected[index_of(graph[i]->left)]++;
            }
            if (graph[i]->right != NULL) {
                expected[index_of(graph[i]->right)]++;
            }
        }
    }
    for (i = 0; i < GRAPH; i++) {
        (void)CHECK_EQ(destroyed_times((uint32_t)i), !reached[i]);
        if (reached[i]) {
            alive++;
            (void)CHECK_EQ(GC_refcount(graph[i]), expected[i]);
        }
    }
    (void)CHECK_EQ(live_cells(), alive);
    (void)CHECK_EQ(destroyed_total(), GRAPH - alive);
}

/* Row 18: in random graphs every count of what lives is as before, and nothing else lives. */
COUNTED_TEST(counts_of_the_living_are_restored) {
    size_t turn, i;
    for (turn = 0; turn < GRAPHS; turn++) {
        forget_destroyed();
        REQUIRE(make_graph());
        while (live_cells() > 0) {
            size_t drops = random_between(1, GRAPH / 3);
            for (i = 0; i < drops; i++) {
                size_t which = random_below(GRAPH);
                if (held[which]) {
                    held[which] = false;
                    GC_unref(graph[which]);
                } else if (reached[which] && destroyed_times((uint32_t)which) == 0) {
                    touch(graph[which]);
                }
                find_reached();
            }
            GC_runOrc();
            compare_graph();
            if (turn % 4 == 0) {
                (void)CHECK(all_is_sound());
            }
        }
    }
}

/* Drops a random graph bit by bit with so little room for the collector that no graph fits into it at once. */
static void drop_in_a_limited_view(uint32_t limit, bool roots_stay) {
    KnGcConfig config = {.visited_limit = limit, .bytes_floor = SIZE_MAX};
    size_t i;
    configure(config);
    forget_destroyed();
    REQUIRE(make_graph());
    while (live_cells() > 0) {
        for (i = 0; i < GRAPH / 6; i++) {
            size_t which = random_below(GRAPH);
            if (held[which]) {
                held[which] = false;
                GC_unref(graph[which]);
            }
        }
        GC_runOrc();
        compare_graph();
        (void)CHECK(roots_stay || GC_prepareOrc() == 0);
    }
    (void)CHECK_EQ(GC_prepareOrc(), 0);
}

static const uint32_t view_limits[] = {1, 2, 3, 8, 50};

/* Row 18: all garbage is found, though what lives stays undecided where the program's own code must trace. */
COUNTED_TEST(limited_view_finds_everything) {
    size_t i;
    for (i = 0; i < sizeof view_limits / sizeof view_limits[0]; i++) {
        drop_in_a_limited_view(view_limits[i], true);
    }
}

/* Rows 18 and 23: where all types are data, no root is left either. */
COUNTED_TEST(limited_view_of_data) {
    KnTypeId of_the_ground = node_type;
    KnHeap *plain = new_heap(GROUND_BYTES / 4);
    KnHeap *found = kn_heap_use(plain);
    size_t i;
    REQUIRE(plain != NULL);
    node_type = GC_registerType(&node_descriptor);
    for (i = 0; i < sizeof view_limits / sizeof view_limits[0]; i++) {
        drop_in_a_limited_view(view_limits[i], false);
    }
    (void)CHECK_STATUS(GC_check(), KN_OK);
    (void)CHECK(is_sound(plain));
    (void)kn_heap_use(found);
    node_type = of_the_ground;
}

/* A ring that is far larger than the view, and a doubly linked list. */
COUNTED_TEST(large_cycles_in_a_small_view) {
    KnGcConfig config = {.visited_limit = 16};
    Node *first;
    configure(config);
    first = ring(700, 0);
    REQUIRE(first != NULL);
    GC_unref(first);
    GC_runOrc();
    (void)CHECK(destroyed_once(0, 699));
    first = double_list(700, 1000);
    REQUIRE(first != NULL);
    touch(first->left);
    GC_unref(first);
    GC_runOrc();
    (void)CHECK(destroyed_once(1000, 1699));
    (void)CHECK_EQ(live_cells(), 0);
}

/* And a ring of cells that only their trace callbacks know. */
COUNTED_TEST(large_traced_cycle_in_a_small_view) {
    enum { SIZE = 60 };
    KnGcConfig config = {.visited_limit = 16};
    Chest *first = new_chest(0, 1), *last = first;
    uint32_t i;
    REQUIRE(first != NULL);
    for (i = 1; i < SIZE; i++) {
        last->slots[0] = new_chest(i, 1);
        last = last->slots[0];
        REQUIRE(last != NULL);
    }
    last->slots[0] = GC_ref(first);
    configure(config);
    GC_unref(first);
    GC_runOrc();
    configure((KnGcConfig){0});
    GC_runOrc();
    (void)CHECK(destroyed_once(0, SIZE - 1));
    (void)CHECK_EQ(live_cells(), 0);
}

/* The heap is full to the last block: the collector has no memory but what it has, and finds everything. */
COUNTED_TEST(collection_in_a_full_heap) {
    Node *first = NULL, *last, *node;
    uint32_t count = 1;
    size_t bytes;
    void *walls[200];
    size_t wall_count = 0;
    last = first = new_node(0, NULL, NULL);
    REQUIRE(first != NULL);
    while (count < MOST_IDS && (node = new_node(count, first, NULL)) != NULL) {
        first = node;
        count++;
    }
    for (bytes = 16384; bytes > 0; bytes /= 2) {
        while (wall_count < 200 && (walls[wall_count] = kn_malloc(bytes)) != NULL) {
            wall_count++;
        }
    }
    last->left = GC_ref(first);
    GC_unref(first);
    GC_runOrc();
    (void)CHECK_EQ(destroyed_total(), count);
    (void)CHECK(destroyed_once(0, count - 1));
    (void)CHECK_EQ(live_cells(), 0);
    while (wall_count > 0) {
        kn_free(walls[--wall_count]);
    }
}

/* Told so, GC_new collects before it answers NULL: garbage cycles do not starve the program, though disabled. */
COUNTED_TEST(collection_when_full) {
    KnGcConfig config = {.flags = KN_GC_COLLECT_WHEN_FULL, .threshold = 1000000, .bytes_floor = SIZE_MAX};
    Node *live = new_node(0, NULL, NULL), *last = live, *node;
    size_t made = 0, collections;
    unsigned flags;
    REQUIRE(live != NULL);
    for (flags = 0; flags < 2; flags++) {
        config.flags = flags * KN_GC_COLLECT_WHEN_FULL;
        configure(config);
        GC_disableOrc();
        collections = gc().collections;
        for (made = 0; made < 10000; made++) {
            Node *cycle = ring(1, 1);
            if (cycle == NULL) {
                break;
            }
            GC_unref(cycle);
        }
        (void)CHECK_EQ(made == 10000, flags == 1);
        (void)CHECK_EQ(gc().collections > collections, flags == 1);
        GC_runOrc();
        (void)CHECK_EQ(live_cells(), 1);
    }
    /* When what is there is alive, the answer is NULL all the same, and nothing is lost. */
    while ((node = new_node(1, NULL, NULL)) != NULL) {
        last->left = node;
        last = node;
        made++;
    }
    (void)CHECK(all_is_sound());
    GC_unref(live);
    (void)CHECK_EQ(live_cells(), 0);
}

SUITE("counted_graphs", EACH_LAYOUT(counts_of_the_living_are_restored), ONCE(limited_view_finds_everything),
      ONCE(limited_view_of_data), ONCE(large_cycles_in_a_small_view), ONCE(large_traced_cycle_in_a_small_view),
      EACH_LAYOUT(collection_in_a_full_heap), EACH_LAYOUT(collection_when_full))
