/*
 * Counted cells in arenas: made there, destroyed at leave from the last born to the first, what they held outside
 * released; collections, roots and cells that wait for destruction go on beside them undisturbed.
 */
#include "arenas.h"

#include <string.h>

enum { MANY = 40 };

/* ---- Birth ---- */

ARENA_TEST(a_cell_in_an_arena_is_a_cell) {
    KnArena *scope = enter("cells");
    Pair *pair;
    List *list;
    void *slot = NULL;
    uint32_t i;
    REQUIRE(scope != NULL);
    for (i = 0; i < MANY; i++) {
        (void)CHECK(kn_arena_alloc(scope, i) != NULL);
        pair = GC_newIn(scope, pair_type);
        REQUIRE(pair != NULL);
        (void)CHECK(is_aligned(pair, 8));
        (void)CHECK(kn_arena_contains(scope, pair));
        (void)CHECK(holds_byte(pair, sizeof *pair, 0));
        (void)CHECK_EQ(GC_typeOf(pair), pair_type);
        (void)CHECK_GE(GC_sizeOf(pair), sizeof *pair);
        (void)CHECK_EQ(GC_refcount(pair), KN_IMMORTAL);
        (void)CHECK(!GC_isUnique(pair));
        memset(pair, 0x5A, sizeof *pair);
        pair->first = pair->second = NULL;
        list = list_in(scope, i, i);
        REQUIRE(list != NULL);
        (void)CHECK_GE(GC_sizeOf(list), sizeof *list + i * sizeof(void *));
        (void)CHECK(holds_byte(list->items, i * sizeof(void *), 0));
    }
    /* Nothing that counts does anything to it. */
    (void)CHECK(GC_ref(pair) == pair);
    GC_unref(pair);
    GC_unref(pair);
    GC_unref(pair);
    (void)GC_refInline(pair);
    GC_unrefInline(pair);
    GC_unrefInline(pair);
    (void)CHECK(GC_decRef(pair) == pair);
    GC_assign(&slot, pair);
    GC_assign(&slot, NULL);
    (void)CHECK_EQ(GC_refcount(pair), KN_IMMORTAL);
    (void)CHECK_EQ(GC_typeOf(pair), pair_type);
    GC_runOrc();
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    (void)CHECK_EQ(pair->id, 0x5A5A5A5Au);
    (void)leave(scope);
}

/* Types that can't be in an arena, types that are none, sizes that are too large. */
ARENA_TEST(what_can_not_be_made_there_is_refused) {
    static const KnType shared = {"Shared", 16, KN_TYPE_SHARED, 0, NULL, NULL, NULL, NULL, NULL, NULL};
    KnArena *scope = enter("cells");
    KnTypeId shared_type = GC_registerType(&shared);
    size_t used;
    REQUIRE(scope != NULL && shared_type != 0);
    used = stats_of(scope).used;
    EXPECT_ERROR(KN_E_INVALID, (void)CHECK(GC_newIn(scope, shared_type) == NULL));
    EXPECT_ERROR(KN_E_INVALID, (void)CHECK(GC_newIn(scope, keeper_type) == NULL));
    EXPECT_ERROR(KN_E_INVALID, (void)CHECK(GC_newIn(scope, 0) == NULL));
    EXPECT_ERROR(KN_E_INVALID, (void)CHECK(GC_newIn(scope, 9999) == NULL));
    (void)CHECK(GC_newSizedIn(scope, list_type, opaque(SIZE_MAX)) == NULL);
    (void)CHECK(GC_newSizedIn(scope, list_type, opaque(SIZE_MAX) / 2) == NULL);
    (void)CHECK(GC_newSizedIn(scope, list_type, 2 * GROUND_BYTES) == NULL);
    (void)CHECK_EQ(stats_of(scope).used, used);
    (void)CHECK(GC_newSizedIn(scope, pair_type, 0) != NULL);
    (void)leave(scope);
}

/* ---- Death ---- */

ARENA_TEST(destroyed_once_from_the_last_born) {
    KnArena *scope = enter("cells");
    KnLeaveReport report;
    uint32_t i;
    void *last = NULL;
    REQUIRE(scope != NULL);
    for (i = 0; i < MANY; i++) {
        last = i % 2 == 0 ? (void *)node_in(scope, i, last, last) : (void *)leaf_in(scope, i);
        REQUIRE(last != NULL && kn_arena_alloc(scope, random_size(100)) != NULL);
        /* Without a callback: no trace of them. */
        REQUIRE(pair_in(scope, i, last, NULL) != NULL);
    }
    (void)CHECK_EQ(destroyed_total(), 0);
    report = leave(scope);
    (void)CHECK_EQ(report.destroyed, MANY);
    (void)CHECK_EQ(report.released, 0);
    (void)CHECK_EQ(destroyed_total(), MANY);
    for (i = 0; i < MANY; i++) {
        (void)CHECK_EQ(destroyed_at(i), MANY - 1 - i);
    }
}

/* Cleanups come before all of them, each in reverse. */
ARENA_TEST(cleanups_run_in_reverse_before_destroy) {
    KnArena *scope = enter("cells");
    KnLeaveReport report;
    Note notes[10];
    uint32_t i;
    REQUIRE(scope != NULL);
    for (i = 0; i < 10; i++) {
        (void)note_on_leave(scope, &notes[i], 100 + i);
        REQUIRE(leaf_in(scope, i) != NULL);
    }
    report = leave(scope);
    (void)CHECK_EQ(report.cleanups, 10);
    (void)CHECK_EQ(report.destroyed, 10);
    for (i = 0; i < 10; i++) {
        (void)CHECK_EQ(destroyed_at(i), 109 - i);
        (void)CHECK_EQ(destroyed_at(10 + i), 9 - i);
    }
}

/* ---- From inside to outside ---- */

/* Counted on the target, by GC_assign or as a field that took a reference over, and released at leave. */
ARENA_TEST(references_to_outside_are_released) {
    KnArena *scope = enter("cells");
    Leaf *kept = new_leaf(1), *given = new_leaf(2);
    Node *node;
    Pair *pair;
    List *list;
    Row *row;
    KnLeaveReport report;
    uint32_t i;
    REQUIRE(scope != NULL && kept != NULL && given != NULL);
    node = node_in(scope, 10, NULL, NULL);
    pair = pair_in(scope, 11, NULL, given);
    list = list_in(scope, 12, 6);
    row = GC_newSizedIn(scope, row_type, sizeof(Row) + 3 * sizeof(void *));
    REQUIRE(node != NULL && pair != NULL && list != NULL && row != NULL);
    GC_assign(&node->left, kept);
    GC_assign(&pair->first, kept);
    for (i = 0; i < 6; i++) {
        GC_assign(&list->items[i], i % 2 == 0 ? (void *)kept : (void *)node);
    }
    GC_assign(&row->items[1], kept);
    GC_assign(&row->items[2], kept);
    GC_assign(&row->items[2], NULL);
    (void)CHECK_EQ(GC_refcount(kept), 7);
    (void)CHECK_EQ(GC_refcount(given), 1);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    report = leave(scope);
    (void)CHECK_EQ(report.released, 7);
    (void)CHECK_EQ(GC_refcount(kept), 1);
    /* Nobody else held this one. */
    (void)CHECK_EQ(destroyed_times(2), 1);
    (void)CHECK_EQ(destroyed_times(1), 0);
    GC_unref(kept);
}

/* What leave releases may hold more, and its destroy may find its own fields. */
ARENA_TEST(released_cells_take_theirs_with_them) {
    KnArena *scope = enter("cells");
    Node *node;
    uint32_t i;
    REQUIRE(scope != NULL);
    for (i = 0; i < 10; i++) {
        node = node_in(scope, 200 + i, new_node(2 * i, new_leaf(2 * i + 1), NULL), NULL);
        REQUIRE(node != NULL && node->left != NULL);
    }
    node->right = new_mixed(50, NULL, new_leaf(51));
    REQUIRE(node->right != NULL);
    (void)leave(scope);
    (void)CHECK(destroyed_once(0, 19));
    (void)CHECK(destroyed_once(50, 51));
    (void)CHECK(destroyed_once(200, 209));
    (void)CHECK_EQ(fields_found(50), 2);
    (void)CHECK_EQ(live_cells(), 0);
}

/* A cycle that only the arena held becomes garbage at leave: the next collection finds it. */
ARENA_TEST(a_cycle_that_was_held_is_collected) {
    KnArena *scope = enter("cells");
    Node *held;
    REQUIRE(scope != NULL);
    held = node_in(scope, 100, ring(5, 1), NULL);
    REQUIRE(held != NULL && held->left != NULL);
    GC_runOrc();
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)leave(scope);
    (void)CHECK_EQ(live_cells(), 5);
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 0);
    (void)CHECK(destroyed_once(1, 5));
}

/* A cell with a trace callback and memory of its own. */
ARENA_TEST(a_traced_cell_in_an_arena) {
    KnArena *scope = enter("cells");
    Leaf *leaf = new_leaf(1);
    Chest *chest;
    REQUIRE(scope != NULL && leaf != NULL);
    chest = GC_newIn(scope, chest_type);
    REQUIRE(chest != NULL);
    chest->slots = kn_calloc(4, sizeof(void *));
    REQUIRE(chest->slots != NULL);
    chest->count = 4;
    chest->id = 2;
    chest->slots[1] = GC_ref(leaf);
    chest->slots[3] = GC_ref(leaf);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    (void)leave(scope);
    (void)CHECK_EQ(destroyed_times(2), 1);
    (void)CHECK_EQ(GC_refcount(leaf), 1);
    GC_unref(leaf);
}

/* ---- Beside the collector ---- */

/* Collections see cells in arenas as they see the program's variables: what these hold lives. */
ARENA_TEST(collections_run_while_scopes_are_open) {
    KnArena *outer = enter("outer"), *inner;
    Node *holder, *member, *free_ring;
    size_t round;
    REQUIRE(outer != NULL);
    holder = node_in(outer, 100, NULL, NULL);
    REQUIRE(holder != NULL);
    for (round = 0; round < 4; round++) {
        Node *first = ring(6, 1);
        inner = enter("inner");
        REQUIRE(inner != NULL && first != NULL);
        member = node_in(inner, 200, NULL, NULL);
        REQUIRE(member != NULL);
        forget_destroyed();
        /* A ring that both scopes hold, with a way into the inner scope and back. */
        GC_assign(&holder->left, first);
        GC_assign(&member->left, first->left);
        GC_assign(&first->right, member);
        GC_unref(first);
        free_ring = ring(4, 20);
        REQUIRE(free_ring != NULL);
        GC_assign(&free_ring->right, member);
        GC_unref(free_ring);
        if (round % 2 == 0) {
            GC_runOrc();
        } else {
            size_t steps = 0;
            while (!GC_step(3) && steps < 1000) {
                (void)CHECK_STATUS(GC_check(), KN_OK);
                steps++;
            }
        }
        (void)CHECK(destroyed_once(20, 23));
        (void)CHECK_EQ(destroyed_total(), 4);
        (void)CHECK_EQ(stats_of(inner).escapes, 1);
        (void)CHECK_EQ(GC_refcount(first), 2);
        (void)CHECK(first->right == member);
        (void)CHECK_STATUS(GC_check(), KN_OK);
        (void)CHECK_EQ(leave(inner).escapes, 1);
        (void)CHECK(first->right == NULL);
        GC_runOrc();
        (void)CHECK_EQ(destroyed_total(), 5);
        GC_assign(&holder->left, NULL);
        GC_runOrc();
        (void)CHECK(destroyed_once(1, 6));
        (void)CHECK_EQ(live_cells(), 0);
    }
    (void)leave(outer);
}

/* Scopes come and go in the middle of a search. */
ARENA_TEST(leave_in_the_middle_of_a_search) {
    Node *lists[4];
    size_t i, steps = 0;
    KnGcConfig config = {0};
    config.slice = 5;
    config.threshold = 4;
    configure(config);
    for (i = 0; i < 4; i++) {
        lists[i] = double_list(20, (uint32_t)(30 * i));
        REQUIRE(lists[i] != NULL);
        GC_unref(GC_ref(lists[i]));
    }
    while (!GC_step(4) && steps < 2000) {
        KnArena *scope = enter("between");
        Node *inside;
        REQUIRE(scope != NULL);
        inside = node_in(scope, 500, NULL, NULL);
        REQUIRE(inside != NULL);
        GC_assign(&inside->left, lists[steps % 4]);
        if (steps % 3 == 0) {
            GC_assign(&lists[steps % 4]->right, inside);
        }
        (void)GC_step(3);
        (void)CHECK_STATUS(GC_check(), KN_OK);
        (void)CHECK_EQ(leave(scope).escapes, steps % 3 == 0 ? 1 : 0);
        (void)CHECK(lists[steps % 4]->right == NULL);
        (void)CHECK_STATUS(GC_check(), KN_OK);
        steps++;
        if (steps == 40) {
            break;
        }
    }
    (void)CHECK_GE(steps, 2);
    for (i = 0; i < 4; i++) {
        (void)CHECK_EQ(destroyed_times((uint32_t)(30 * i)), 0);
        GC_unref(lists[i]);
    }
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 0);
    for (i = 0; i < 4; i++) {
        (void)CHECK(destroyed_once((uint32_t)(30 * i), (uint32_t)(30 * i + 19)));
    }
}

/* Cells that wait for destruction, and roots, are there after leave as before. */
ARENA_TEST(what_waits_goes_on_waiting) {
    KnGcConfig config = {0};
    KnArena *scope;
    Node *chain = NULL, *first;
    Leaf *inside;
    uint32_t i;
    size_t pending, roots;
    config.frees_per_unref = 1;
    config.frees_per_new = 1;
    configure(config);
    for (i = 0; i < 30; i++) {
        chain = new_node(i, chain, NULL);
        REQUIRE(chain != NULL);
    }
    first = ring(3, 100);
    scope = enter("cells");
    REQUIRE(scope != NULL && first != NULL);
    inside = leaf_in(scope, 400);
    REQUIRE(inside != NULL);
    GC_assign(&chain->right, inside);
    GC_unref(first);
    GC_unref(chain);
    pending = gc().pending;
    roots = gc().roots;
    (void)CHECK_GE(pending, 1);
    (void)CHECK_GE(roots, 1);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    (void)leave(scope);
    (void)CHECK_EQ(gc().roots, roots);
    (void)CHECK_LE(gc().pending, pending);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    GC_runOrc();
    (void)CHECK(destroyed_once(0, 29));
    (void)CHECK(destroyed_once(100, 102));
    (void)CHECK_EQ(destroyed_times(400), 1);
}

/* With a collection and a check at each allocation. */
ARENA_TEST(under_torture) {
    KnGcConfig config = {0};
    KnArena *scope;
    Node *kept[8];
    uint32_t i;
    config.flags = KN_GC_TORTURE;
    configure(config);
    scope = enter("cells");
    REQUIRE(scope != NULL);
    for (i = 0; i < 8; i++) {
        kept[i] = node_in(scope, 100 + i, new_node(i, NULL, NULL), i > 0 ? kept[i - 1] : NULL);
        REQUIRE(kept[i] != NULL && kept[i]->left != NULL);
        GC_assign(&((Node *)kept[i]->left)->left, kept[i]->left);
        GC_assign(&((Node *)kept[i]->left)->right, kept[i]);
        GC_unref(new_leaf(50));
        (void)CHECK_STATUS(GC_check(), KN_OK);
    }
    (void)CHECK_EQ(stats_of(scope).escapes, 8);
    for (i = 0; i < 8; i++) {
        (void)CHECK_EQ(destroyed_times(i), 0);
        (void)CHECK_EQ(GC_refcount(kept[i]->left), 2);
    }
    (void)CHECK_EQ(leave(scope).escapes, 8);
    GC_runOrc();
    (void)CHECK(destroyed_once(0, 7));
    (void)CHECK(destroyed_once(100, 107));
    (void)CHECK_EQ(live_cells(), 0);
}

/* ---- Random graphs over the border ---- */

ARENA_TEST(random_graphs_over_the_border) {
    size_t round;
    for (round = 0; round < 10; round++) {
        KnArena *scope = enter("graph");
        Node *outside[12], *inside[12];
        size_t i, turn;
        uint32_t before[12];
        REQUIRE(scope != NULL);
        forget_destroyed();
        for (i = 0; i < 12; i++) {
            outside[i] = new_node((uint32_t)i, NULL, NULL);
            inside[i] = node_in(scope, (uint32_t)(100 + i), NULL, NULL);
            REQUIRE(outside[i] != NULL && inside[i] != NULL);
        }
        for (turn = 0; turn < 80; turn++) {
            Node *from = random_below(2) == 0 ? outside[random_below(12)] : inside[random_below(12)];
            Node *to = random_below(2) == 0 ? outside[random_below(12)] : inside[random_below(12)];
            GC_assign(random_below(2) == 0 ? &from->left : &from->right, random_below(6) == 0 ? NULL : to);
            if (turn % 10 == 0) {
                GC_runOrc();
                (void)CHECK_STATUS(GC_check(), KN_OK);
            }
        }
        (void)CHECK_EQ(destroyed_total(), 0);
        for (i = 0; i < 12; i++) {
            size_t from;
            before[i] = GC_refcount(outside[i]);
            for (from = 0; from < 12; from++) {
                before[i] -= (inside[from]->left == outside[i]) + (inside[from]->right == outside[i]);
            }
        }
        (void)leave(scope);
        (void)CHECK_EQ(destroyed_total(), 12);
        for (i = 0; i < 12; i++) {
            (void)CHECK_EQ(GC_refcount(outside[i]), before[i]);
            (void)CHECK(outside[i]->left == NULL || ((Node *)outside[i]->left)->id < 12);
            (void)CHECK(outside[i]->right == NULL || ((Node *)outside[i]->right)->id < 12);
        }
        (void)CHECK_STATUS(GC_check(), KN_OK);
        for (i = 0; i < 12; i++) {
            GC_unref(outside[i]);
        }
        GC_runOrc();
        (void)CHECK_EQ(live_cells(), 0);
        (void)CHECK(destroyed_once(0, 11));
    }
}

SUITE("arena_cells", EACH_LAYOUT(a_cell_in_an_arena_is_a_cell), EACH_LAYOUT(what_can_not_be_made_there_is_refused),
      EACH_LAYOUT(destroyed_once_from_the_last_born), EACH_LAYOUT(cleanups_run_in_reverse_before_destroy),
      EACH_LAYOUT(references_to_outside_are_released), EACH_LAYOUT(released_cells_take_theirs_with_them),
      EACH_LAYOUT(a_cycle_that_was_held_is_collected), EACH_LAYOUT(a_traced_cell_in_an_arena),
      EACH_LAYOUT(collections_run_while_scopes_are_open), EACH_LAYOUT(leave_in_the_middle_of_a_search),
      EACH_LAYOUT(what_waits_goes_on_waiting), EACH_LAYOUT(under_torture), EACH_LAYOUT(random_graphs_over_the_border))
