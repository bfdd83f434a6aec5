/*
 * Cycle collection by trial deletion: what is freed, what is kept, and that every count is right afterwards.
 *
 * Rows 16, 17, 19 to 24 and 30 to 34 of the conformance table; row 18 is in counted_graphs.c.
 */
#include "cells.h"

static void touch(void *object) {
    GC_unref(GC_ref(object));
}

/* ---- Rows 30 to 34: shapes ---- */

/* Row 30: a.x = a. The count is 2; when the variable goes it is 1, and the cell a root; a run destroys it once. */
COUNTED_TEST(cell_that_holds_itself) {
    Node *node = new_node(1, NULL, NULL);
    REQUIRE(node != NULL);
    GC_assign(&node->left, node);
    (void)CHECK_EQ(GC_refcount(node), 2);
    GC_unref(node);
    (void)CHECK_EQ(GC_refcount(node), 1);
    (void)CHECK_EQ(GC_prepareOrc(), 1);
    (void)CHECK_EQ(destroyed_total(), 0);
    GC_runOrc();
    (void)CHECK_EQ(destroyed_times(1), 1);
    (void)CHECK_EQ(live_cells(), 0);
    (void)CHECK_EQ(GC_getOccupiedMem(), 0);
    /* a.x = nil breaks the cycle: nothing needs to be collected. */
    node = new_node(2, NULL, NULL);
    REQUIRE(node != NULL);
    GC_assign(&node->left, node);
    GC_assign(&node->left, NULL);
    (void)CHECK_EQ(GC_refcount(node), 1);
    GC_unref(node);
    (void)CHECK_EQ(destroyed_times(2), 1);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
}

/* Row 31: b.c.b = b, rings of three (nimskull#1100) and more: each cell is destroyed once. */
COUNTED_TEST(rings_of_every_size) {
    uint32_t size;
    for (size = 1; size <= 300; size += 1 + size / 3) {
        Node *first = ring(size, 0);
        REQUIRE(first != NULL);
        forget_destroyed();
        (void)CHECK_EQ(live_cells(), size);
        GC_unref(first);
        (void)CHECK_EQ(destroyed_total(), 0);
        GC_runOrc();
        (void)CHECK_EQ(destroyed_total(), size);
        (void)CHECK(destroyed_once(0, size - 1));
        (void)CHECK_EQ(live_cells(), 0);
        (void)CHECK_EQ(GC_prepareOrc(), 0);
    }
}

/* Row 31: with the root at any cell of the ring, and at several of them. */
COUNTED_TEST(roots_anywhere_in_a_ring) {
    enum { SIZE = 9 };
    uint32_t i, mask;
    for (mask = 1; mask < 1u << SIZE; mask = mask * 2 + mask % 5) {
        Node *cells[SIZE];
        Node *next = ring(SIZE, 0);
        REQUIRE(next != NULL);
        forget_destroyed();
        for (i = 0; i < SIZE; i++) {
            cells[i] = next;
            next = next->left;
        }
        for (i = 0; i < SIZE; i++) {
            if ((mask >> i & 1) != 0) {
                touch(cells[i]);
            }
        }
        GC_unref(cells[0]);
        GC_runOrc();
        (void)CHECK(destroyed_once(0, SIZE - 1));
        (void)CHECK_EQ(live_cells(), 0);
    }
}

/* Row 32: a reference from outside to any one cell keeps the whole cycle, with all counts; without it all goes. */
COUNTED_TEST(cycle_held_from_outside) {
    enum { SIZE = 7 };
    uint32_t held, i;
    for (held = 0; held < SIZE; held++) {
        Node *first = ring(SIZE, 0);
        Node *cell = first;
        REQUIRE(first != NULL);
        forget_destroyed();
        for (i = 0; i < held; i++) {
            cell = cell->left;
        }
        (void)GC_ref(cell);
        GC_unref(first);
        for (i = 0; i < 3; i++) {
            GC_runOrc();
            (void)CHECK_EQ(destroyed_total(), 0);
            (void)CHECK_EQ(GC_prepareOrc(), 0);
        }
        for (i = 0; i < SIZE; i++) {
            (void)CHECK_EQ(GC_refcount(cell), i == 0 ? 2 : 1);
            (void)CHECK(cell->left != NULL);
            cell = cell->left;
        }
        GC_unref(cell);
        GC_runOrc();
        (void)CHECK(destroyed_once(0, SIZE - 1));
    }
}

/* Row 33: a cycle with an acyclic tail: the tail is let go after the destructors, and goes with them. */
COUNTED_TEST(cycle_with_an_acyclic_tail) {
    Node *first = ring(3, 1);
    Leaf *shared = new_leaf(20);
    REQUIRE(first != NULL && shared != NULL);
    first->right = new_tail(10, new_tail(11, new_leaf(12)));
    ((Node *)first->left)->right = GC_ref(shared);
    GC_unref(first);
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 3));
    (void)CHECK(destroyed_once(10, 12));
    (void)CHECK_EQ(destroyed_times(20), 0);
    (void)CHECK_EQ(GC_refcount(shared), 1);
    (void)CHECK_EQ(live_cells(), 1);
    GC_unref(shared);
}

/* Row 33, nimskull#1106: a cycle holds an acyclic cell, which holds another cycle: both go in the same full run. */
COUNTED_TEST(cycle_behind_an_acyclic_cell) {
    Node *first = ring(2, 1);
    Node *second = ring(2, 3);
    Node *third = ring(2, 5);
    REQUIRE(first != NULL && second != NULL && third != NULL);
    first->right = new_tail(10, second);
    second->right = new_tail(11, third);
    GC_unref(first);
    (void)CHECK_EQ(live_cells(), 8);
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 6));
    (void)CHECK(destroyed_once(10, 11));
    (void)CHECK_EQ(live_cells(), 0);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
}

/* Row 34: an edge from a dead cycle to a live cell: its count falls by exactly one for each edge. */
COUNTED_TEST(edges_from_garbage_to_live_cells) {
    Node *live = new_node(100, NULL, NULL);
    Node *held = ring(3, 200);
    Node *first;
    Row *row;
    uint32_t i;
    REQUIRE(live != NULL && held != NULL);
    first = ring(5, 1);
    REQUIRE(first != NULL);
    first->right = GC_ref(live);
    ((Node *)first->left)->right = GC_ref(live);
    row = new_row(10, 6);
    REQUIRE(row != NULL);
    for (i = 0; i < 6; i++) {
        row->items[i] = i < 3 ? GC_ref(live) : GC_ref(held);
    }
    ((Node *)((Node *)first->left)->left)->right = row;
    (void)CHECK_EQ(GC_refcount(live), 6);
    (void)CHECK_EQ(GC_refcount(held), 5);
    GC_unref(first);
    (void)CHECK_EQ(GC_refcount(live), 6);
    GC_runOrc();
    (void)CHECK_EQ(GC_refcount(live), 1);
    (void)CHECK_EQ(GC_refcount(held), 2);
    (void)CHECK(destroyed_once(1, 5));
    (void)CHECK_EQ(destroyed_times(10), 1);
    (void)CHECK_EQ(destroyed_total(), 6);
    GC_unref(live);
    (void)CHECK_EQ(destroyed_times(100), 1);
    GC_unref(held);
    GC_runOrc();
    (void)CHECK(destroyed_once(200, 202));
}

/* ---- Rows 16 and 17: the passes ---- */

/* Row 16: each edge is taken off once: to itself, doubled, both ways, and of cells that are reached twice. */
COUNTED_TEST(each_edge_counts_once) {
    Node *a = new_node(1, NULL, NULL);
    Node *b = new_node(2, NULL, NULL);
    Node *c = new_node(3, NULL, NULL);
    REQUIRE(a != NULL && b != NULL && c != NULL);
    a->left = GC_ref(a);
    a->right = GC_ref(b);
    b->left = GC_ref(b);
    b->right = GC_ref(a);
    c->left = GC_ref(a);
    c->right = GC_ref(a);
    touch(a);
    touch(b);
    touch(c);
    GC_runOrc();
    (void)CHECK_EQ(GC_refcount(a), 5);
    (void)CHECK_EQ(GC_refcount(b), 3);
    (void)CHECK_EQ(GC_refcount(c), 1);
    GC_unref(a);
    GC_unref(b);
    GC_runOrc();
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(GC_refcount(a), 4);
    (void)CHECK_EQ(GC_refcount(b), 2);
    GC_unref(c);
    (void)CHECK_EQ(destroyed_times(3), 1);
    (void)CHECK_EQ(GC_refcount(a), 2);
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 3));
}

/* Row 17: when no visited cell is held from outside, the threshold is kept as it is. */
COUNTED_TEST(all_garbage_keeps_the_threshold) {
    KnGcConfig config = {.threshold = 40, .bytes_floor = SIZE_MAX};
    Node *live[30];
    size_t threshold, turn;
    uint32_t i;
    configure(config);
    for (i = 0; i < 30; i++) {
        live[i] = ring(1, 1000 + i);
        REQUIRE(live[i] != NULL);
    }
    /* In vain: the threshold grows. */
    for (i = 0; i < 30; i++) {
        touch(live[i]);
    }
    GC_runOrc();
    threshold = gc().threshold;
    (void)CHECK_EQ(threshold, 60);
    for (turn = 0; turn < 3; turn++) {
        for (i = 0; i < 10; i++) {
            Node *first = ring(3, 3 * i);
            REQUIRE(first != NULL);
            GC_unref(first);
        }
        forget_destroyed();
        GC_runOrc();
        (void)CHECK_EQ(destroyed_total(), 30);
        (void)CHECK_EQ(gc().threshold, threshold);
    }
    for (i = 0; i < 30; i++) {
        GC_unref(live[i]);
    }
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 0);
}

/* ---- Rows 19 to 23: disposal ---- */

/* Row 19: a destructor in a cycle sees its cyclic fields empty, the acyclic ones as they were. */
COUNTED_TEST(destructors_see_cleared_fields) {
    Mixed *a = new_mixed(1, NULL, new_leaf(11));
    Mixed *b = new_mixed(2, NULL, new_leaf(12));
    Node *live = new_node(3, NULL, NULL);
    Mixed *c;
    REQUIRE(a != NULL && b != NULL && live != NULL);
    a->any = GC_ref(b);
    b->any = GC_ref(a);
    GC_unref(a);
    GC_unref(b);
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 2) && destroyed_once(11, 12));
    (void)CHECK_EQ(fields_found(1), 2);
    (void)CHECK_EQ(fields_found(2), 2);
    /* One that dies by counting sees all of them. */
    c = new_mixed(4, live, new_leaf(14));
    REQUIRE(c != NULL);
    GC_unref(c);
    (void)CHECK_EQ(fields_found(4), 3);
    (void)CHECK_EQ(destroyed_times(3), 1);
}

/* Row 20: each cell of garbage is destroyed once, and its memory is free when the run is over. */
COUNTED_TEST(garbage_is_disposed_of_once) {
    Node *first = double_list(40, 0);
    size_t occupied, freed = gc().freed;
    REQUIRE(first != NULL);
    occupied = GC_getOccupiedMem();
    (void)CHECK_GE(occupied, 40 * sizeof(Node));
    GC_unref(first);
    (void)CHECK_EQ(GC_getOccupiedMem(), occupied);
    GC_runOrc();
    (void)CHECK(destroyed_once(0, 39));
    (void)CHECK_EQ(destroyed_total(), 40);
    (void)CHECK_EQ(GC_getOccupiedMem(), 0);
    (void)CHECK_GE(gc().freed, freed + 40);
    GC_runOrc();
    (void)CHECK_EQ(destroyed_total(), 40);
}

/* Drops a cycle of its own when it dies, and runs the collector, which must do nothing now. */
typedef struct Bomb {
    void *other;
    uint32_t id, next;
} Bomb;

static KnTypeId bomb_type;
static size_t bombs_open, deepest;

static bool drop_bombs(uint32_t id, uint32_t next) {
    Bomb *a = GC_new(bomb_type);
    Bomb *b = GC_new(bomb_type);
    if (!CHECK(a != NULL && b != NULL)) {
        return false;
    }
    a->id = id;
    a->next = next;
    b->id = id + 1;
    a->other = b;
    b->other = GC_ref(a);
    GC_unref(a);
    return true;
}

static void destroy_bomb(void *object) {
    Bomb *bomb = object;
    size_t destroyed = destroyed_total();
    record_destroyed(bomb->id);
    bombs_open++;
    deepest = bombs_open > deepest ? bombs_open : deepest;
    if (bomb->next > 0) {
        (void)drop_bombs(bomb->id + 2, bomb->next - 1);
    }
    GC_runOrc();
    GC_partialCollect(0);
    (void)CHECK_EQ(destroyed_total(), destroyed + 1);
    bombs_open--;
}

/* Rows 21 and 22: destructors drop cycles and call the collector: no recursion, and one full run gets them all. */
COUNTED_TEST(destructors_that_drop_cycles) {
    static const uint32_t offsets[] = {offsetof(Bomb, other)};
    static const KnType type = {"Bomb", sizeof(Bomb), 0, 1, offsets, destroy_bomb, NULL, NULL, NULL, NULL};
    enum { GENERATIONS = 30 };
    bomb_type = GC_registerType(&type);
    REQUIRE(bomb_type != 0);
    bombs_open = 0;
    deepest = 0;
    REQUIRE(drop_bombs(0, GENERATIONS));
    (void)CHECK_EQ(GC_prepareOrc(), 1);
    GC_runOrc();
    (void)CHECK_EQ(destroyed_total(), 2 * (GENERATIONS + 1));
    (void)CHECK(destroyed_once(0, 2 * GENERATIONS + 1));
    (void)CHECK_EQ(deepest, 1);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    (void)CHECK_EQ(live_cells(), 0);
}

/* Row 23: after a full run no root is left, whatever became of them. */
COUNTED_TEST(no_root_is_left) {
    Node *dead = ring(3, 1);
    Node *live = ring(3, 4);
    Node *plain = new_node(7, NULL, NULL);
    Node *bystander = new_node(8, plain, NULL);
    REQUIRE(dead != NULL && live != NULL && plain != NULL && bystander != NULL);
    touch(live);
    touch(plain);
    touch(bystander);
    GC_unref(dead);
    (void)CHECK_EQ(GC_prepareOrc(), 4);
    GC_runOrc();
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    (void)CHECK_EQ(gc().roots, 0);
    (void)CHECK(destroyed_once(1, 3));
    (void)CHECK_EQ(destroyed_total(), 3);
    /* They can be registered again. */
    touch(plain);
    touch(live);
    (void)CHECK_EQ(GC_prepareOrc(), 2);
    GC_runOrc();
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    GC_unref(bystander);
    GC_unref(live);
}

/* ---- Row 24: the threshold ---- */

/* Visits `live` cells that are kept and `dead` ones that are not, in a full run. */
static void collect_some(uint32_t live, uint32_t dead) {
    static Node *nodes[64];
    uint32_t i;
    for (i = 0; i < live; i++) {
        nodes[i] = ring(1, 0);
        if (CHECK(nodes[i] != NULL)) {
            touch(nodes[i]);
        }
    }
    for (i = 0; i < dead; i++) {
        GC_unref(ring(1, 0));
    }
    GC_runOrc();
    for (i = 0; i < live; i++) {
        GC_assign(&nodes[i]->left, NULL);
        GC_unref(nodes[i]);
    }
}

/* Row 24: half of the visited freed: back to the default; less: half as much again, up to the bound. */
COUNTED_TEST(threshold_adapts) {
    KnGcConfig config = {.threshold = 100, .threshold_bound = 400, .bytes_floor = SIZE_MAX};
    configure(config);
    (void)CHECK_EQ(gc().threshold, 100);
    collect_some(10, 0);
    (void)CHECK_EQ(gc().threshold, 150);
    collect_some(10, 4);
    (void)CHECK_EQ(gc().threshold, 225);
    /* A partial collection changes nothing. */
    {
        Node *node = ring(1, 0);
        REQUIRE(node != NULL);
        touch(node);
        GC_partialCollect(0);
        (void)CHECK_EQ(gc().threshold, 225);
        GC_unref(node);
        GC_partialCollect(0);
        (void)CHECK_EQ(gc().threshold, 225);
    }
    collect_some(10, 30);
    (void)CHECK_EQ(gc().threshold, 100);
    collect_some(10, 0);
    collect_some(10, 0);
    collect_some(10, 0);
    (void)CHECK_EQ(gc().threshold, 337);
    collect_some(10, 0);
    (void)CHECK_EQ(gc().threshold, 400);
    collect_some(10, 0);
    (void)CHECK_EQ(gc().threshold, 400);
    collect_some(10, 10);
    (void)CHECK_EQ(gc().threshold, 100);
    collect_some(10, 9);
    (void)CHECK_EQ(gc().threshold, 150);
    /* An empty run counts as one that paid. */
    GC_runOrc();
    (void)CHECK_EQ(gc().threshold, 100);
}

SUITE("counted_cycles", EACH_LAYOUT(cell_that_holds_itself), EACH_LAYOUT(rings_of_every_size),
      ONCE(roots_anywhere_in_a_ring), EACH_LAYOUT(cycle_held_from_outside), EACH_LAYOUT(cycle_with_an_acyclic_tail),
      EACH_LAYOUT(cycle_behind_an_acyclic_cell), EACH_LAYOUT(edges_from_garbage_to_live_cells),
      EACH_LAYOUT(each_edge_counts_once), ONCE(all_garbage_keeps_the_threshold),
      EACH_LAYOUT(destructors_see_cleared_fields), EACH_LAYOUT(garbage_is_disposed_of_once),
      EACH_LAYOUT(destructors_that_drop_cycles), EACH_LAYOUT(no_root_is_left), ONCE(threshold_adapts))
