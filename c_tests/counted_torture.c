/*
 * Torture: with KN_GC_TORTURE each allocation first does a full collection and GC_check, and what is freed is
 * overwritten. What a program forgets to count shows at once; a program that counts right notices nothing.
 */
#include "cells.h"

#include <string.h>

static const KnGcConfig torture = {.flags = KN_GC_TORTURE};

/* Garbage does not live to see the next cell. */
COUNTED_TEST(garbage_goes_before_the_next_cell) {
    Node *node, *other;
    configure(torture);
    node = ring(5, 0);
    REQUIRE(node != NULL);
    GC_unref(node);
    other = new_node(10, NULL, NULL);
    REQUIRE(other != NULL);
    (void)CHECK(destroyed_once(0, 4));
    (void)CHECK_EQ(live_cells(), 1);
    GC_unref(other);
    (void)CHECK_EQ(destroyed_times(10), 1);
}

/* Whoever looks at what is gone finds nothing of it. */
COUNTED_TEST(what_is_freed_is_overwritten) {
    enum { NOTE = 0x5EED5EED };
    Node *keeper, *node;
    const volatile Node *gone;
    configure(torture);
    keeper = new_node(1, NULL, NULL); /* its page stays */
    node = new_node(NOTE, NULL, NULL);
    REQUIRE(keeper != NULL && node != NULL);
    node->note = NOTE;
    node->left = GC_ref(keeper);
    gone = node;
    GC_unref(node);
    (void)CHECK(gone->id != NOTE && gone->note != NOTE && gone->left != keeper);
    GC_unref(keeper);
}

/* A reference too little shows at the next cell, not when the damage is done. */
COUNTED_TEST(missing_reference_shows_at_once) {
    Node *first, *second, *shared, *next = NULL;
    configure(torture);
    first = new_node(1, NULL, NULL);
    second = new_node(2, NULL, NULL);
    shared = new_node(3, NULL, NULL);
    REQUIRE(first != NULL && second != NULL && shared != NULL);
    first->left = shared;  /* moved: its count of 1 is this field's */
    second->left = shared; /* a mistake */
    EXPECT_ERROR(KN_E_CORRUPT, next = new_node(4, NULL, NULL));
    REQUIRE(next != NULL);
    GC_ref(shared); /* put right */
    GC_unref(next);
    next = new_node(5, NULL, NULL);
    REQUIRE(next != NULL);
    GC_unref(next);
    GC_unref(first);
    GC_unref(second);
    (void)CHECK(destroyed_once(1, 5));
}

/* ---- A random graph, walked by the program itself at each step ---- */

enum { HELD = 6, MOST = 256 };
#if defined(__arm__) || defined(KNOLL_UNDER_VALGRIND)
enum { STEPS = 80 };
#else
enum { STEPS = 1500 };
#endif

static void *held[HELD];
static Node *pending[MOST];

/* The nodes that can be reached from `held`. No count may be less than the references found, nor more when `exact`:
 * when there is no garbage that refers to them. */
static size_t walk(uint32_t mark, bool exact) {
    static Node *all[MOST];
    static uint32_t found[MOST];
    size_t reached = 0, seen, i;
    memset(found, 0, sizeof found);
    for (i = 0; i < HELD; i++) {
        pending[i] = held[i];
    }
    /* `pending` is what one node, or the table, refers to; `note` is the mark, `id` the place in `all`. */
    for (seen = 0;; seen++) {
        size_t edges = seen == 0 ? HELD : 2;
        for (i = 0; i < edges; i++) {
            Node *node = pending[i];
            if (node == NULL) {
                continue;
            }
            if (node->note != mark && CHECK(reached < MOST)) {
                node->note = mark;
                node->id = (uint32_t)reached;
                all[reached++] = node;
            }
            found[node->id]++;
        }
        if (seen == reached) {
            break;
        }
        pending[0] = all[seen]->left;
        pending[1] = all[seen]->right;
    }
    for (i = 0; i < reached; i++) {
        (void)(exact ? CHECK_EQ(GC_refcount(all[i]), found[i]) : CHECK_GE(GC_refcount(all[i]), found[i]));
    }
    return reached;
}

static Node *any_held(void) {
    return held[random_below(HELD)];
}

static void random_graph(KnGcConfig config) {
    uint32_t step;
    size_t i;
    configure(config);
    let_knoll_write(held, sizeof held);
    for (step = 1; step <= STEPS; step++) {
        Node *from = any_held();
        void **place = &held[random_below(HELD)];
        uint32_t bits = random_bits();
        size_t reached;
        Node *node;
        if (from != NULL && (bits & 3) != 0) {
            GC_assign(bits & 4 ? &from->left : &from->right, bits & 8 ? any_held() : NULL);
        }
        if ((bits & 0x30) == 0) {
            GC_unref(GC_move(place));
        }
        reached = walk(2 * step, false);
        REQUIRE(reached + 8 < MOST);
        node = new_node(0, NULL, NULL);
        REQUIRE(node != NULL);
        /* Everything that the walk did not reach went before the node came. */
        (void)CHECK_EQ(live_cells(), reached + 1);
        (void)CHECK_EQ(walk(2 * step + 1, true), reached);
        GC_assign(&node->left, any_held());
        GC_assign(&node->right, any_held());
        /* Long chains are cut, so that the graph stays small. */
        if (reached > 40) {
            GC_assign(&node->left, NULL);
            GC_assign(&node->right, NULL);
        }
        GC_unref(GC_move(place));
        *place = node;
    }
    for (i = 0; i < HELD; i++) {
        GC_unref(GC_move(&held[i]));
    }
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 0);
}

COUNTED_TEST(every_cell_is_accounted_for) {
    random_graph(torture);
}

/* The same with everything that makes a collection later; torture makes it now. */
COUNTED_TEST(slices_and_laziness_do_not_matter) {
    KnGcConfig config = torture;
    config.slice = 20;
    config.frees_per_unref = 3;
    config.visited_limit = 16;
    random_graph(config);
}

SUITE("counted_torture", ONCE(missing_reference_shows_at_once), EACH_LAYOUT(garbage_goes_before_the_next_cell),
      EACH_LAYOUT(what_is_freed_is_overwritten), EACH_LAYOUT(every_cell_is_accounted_for),
      ONCE(slices_and_laziness_do_not_matter))
