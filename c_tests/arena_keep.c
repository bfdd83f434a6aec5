/*
 * What crosses the end of a scope with the program's will: tentative objects, made outside, that go at leave unless they
 * are kept; and weak slots, which are NULL after it.
 */
#include "arenas.h"

#include <string.h>

enum { MANY = 24 };

/* ---- Tentative objects ---- */

static Node *tentative(KnArena *arena, KnTentative *node, uint32_t id) {
    Node *cell;
    memset(node, 0, sizeof *node);
    cell = GC_newTentative(arena, node_type, node);
    if (cell != NULL) {
        cell->id = id;
    }
    return cell;
}

ARENA_TEST(what_is_not_kept_goes) {
    KnArena *scope = enter("tentative");
    KnTentative node;
    KnLeaveReport report;
    Node *cell;
    REQUIRE(scope != NULL);
    cell = tentative(scope, &node, 1);
    REQUIRE(cell != NULL);
    (void)CHECK(!kn_arena_contains(scope, cell));
    (void)CHECK(node.cell == cell);
    (void)CHECK_EQ(GC_refcount(cell), 1);
    (void)CHECK(cell->left == NULL && cell->right == NULL);
    (void)CHECK_EQ(live_cells(), 1);
    report = leave(scope);
    (void)CHECK_EQ(report.dropped, 1);
    (void)CHECK_EQ(destroyed_times(1), 1);
    (void)CHECK_EQ(live_cells(), 0);
}

ARENA_TEST(what_is_kept_stays) {
    KnArena *scope = enter("tentative");
    KnTentative node;
    Node *cell;
    REQUIRE(scope != NULL);
    cell = tentative(scope, &node, 1);
    REQUIRE(cell != NULL);
    (void)CHECK(kn_arena_keep(&node) == cell);
    (void)CHECK_EQ(GC_refcount(cell), 1);
    (void)CHECK_EQ(leave(scope).dropped, 0);
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(GC_refcount(cell), 1);
    (void)CHECK_EQ(cell->id, 1);
    GC_unref(cell);
    (void)CHECK_EQ(destroyed_times(1), 1);
}

/* The scope's reference goes; another one holds the cell as ever. */
ARENA_TEST(others_may_hold_it) {
    KnArena *scope = enter("tentative");
    KnTentative node;
    Node *cell, *holder = new_node(2, NULL, NULL);
    REQUIRE(scope != NULL && holder != NULL);
    cell = tentative(scope, &node, 1);
    REQUIRE(cell != NULL);
    GC_assign(&holder->left, cell);
    (void)CHECK_EQ(GC_refcount(cell), 2);
    (void)CHECK_EQ(leave(scope).dropped, 1);
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(GC_refcount(cell), 1);
    GC_unref(holder);
    (void)CHECK(destroyed_once(1, 2));
}

/* It is outside: what it holds of the arena is an escape if it is kept, and none if it goes. */
ARENA_TEST(it_refers_from_outside) {
    size_t keep;
    for (keep = 0; keep < 2; keep++) {
        KnArena *scope = enter("tentative");
        KnTentative node;
        Node *cell;
        KnLeaveReport report;
        REQUIRE(scope != NULL);
        cell = tentative(scope, &node, 1);
        REQUIRE(cell != NULL);
        GC_assign(&cell->left, leaf_in(scope, 50));
        (void)CHECK_EQ(stats_of(scope).escapes, 1);
        if (keep != 0) {
            (void)CHECK(kn_arena_keep(&node) == cell);
        }
        report = leave(scope);
        (void)CHECK_EQ(report.escapes, keep);
        (void)CHECK_EQ(report.dropped, 1 - keep);
        if (keep != 0) {
            (void)CHECK(cell->left == NULL);
            GC_unref(cell);
        }
    }
}

/* Any of many, in any order, their nodes in the arena itself. */
ARENA_TEST(any_of_many_are_kept) {
    size_t round;
    for (round = 0; round < 12; round++) {
        KnArena *scope = enter("many");
        Node *cells[MANY];
        bool kept[MANY];
        size_t i, turn, count = 0;
        KnTentative *nodes;
        REQUIRE(scope != NULL);
        forget_destroyed();
        nodes = kn_arena_calloc(scope, MANY, sizeof *nodes);
        REQUIRE(nodes != NULL);
        for (i = 0; i < MANY; i++) {
            cells[i] = tentative(scope, &nodes[i], (uint32_t)i);
            kept[i] = false;
            REQUIRE(cells[i] != NULL && kn_arena_alloc(scope, random_size(100)) != NULL);
        }
        for (turn = 0; turn < round * 3; turn++) {
            i = random_below(MANY);
            if (!kept[i]) {
                (void)CHECK(kn_arena_keep(&nodes[i]) == cells[i]);
                kept[i] = true;
                count++;
            }
        }
        (void)CHECK_EQ(leave(scope).dropped, MANY - count);
        (void)CHECK_EQ(destroyed_total(), MANY - count);
        for (i = 0; i < MANY; i++) {
            (void)CHECK_EQ(destroyed_times((uint32_t)i), kept[i] ? 0 : 1);
            if (kept[i]) {
                (void)CHECK_EQ(cells[i]->id, i);
                GC_unref(cells[i]);
            }
        }
        (void)CHECK_EQ(live_cells(), 0);
    }
}

/* Reset and destroy of a free-standing arena are an end, too; and rewinding for what came after the mark. */
ARENA_TEST(every_end_drops) {
    KnArena *arena = create("standing");
    KnTentative nodes[4];
    KnArenaMark mark;
    void *kept;
    REQUIRE(arena != NULL);
    REQUIRE(tentative(arena, &nodes[0], 0) != NULL);
    REQUIRE(kn_arena_alloc(arena, 10) != NULL);
    mark = kn_arena_mark(arena);
    REQUIRE(tentative(arena, &nodes[1], 1) != NULL);
    REQUIRE(tentative(arena, &nodes[2], 2) != NULL);
    kept = kn_arena_keep(&nodes[2]);
    (void)CHECK(kept != NULL);
    (void)CHECK_STATUS(kn_arena_rewind(arena, mark), KN_OK);
    (void)CHECK_EQ(destroyed_times(0), 0);
    (void)CHECK_EQ(destroyed_times(1), 1);
    (void)CHECK_EQ(destroyed_times(2), 0);
    kn_arena_reset(arena);
    (void)CHECK_EQ(destroyed_times(0), 1);
    REQUIRE(tentative(arena, &nodes[3], 3) != NULL);
    kn_arena_destroy(arena);
    (void)CHECK_EQ(destroyed_times(3), 1);
    (void)CHECK_EQ(destroyed_times(2), 0);
    GC_unref(kept);
    (void)CHECK_EQ(destroyed_times(2), 1);
}

/* ---- Weak slots ---- */

ARENA_TEST(a_weak_slot_is_null_after_leave) {
    KnArena *scope = enter("weak");
    KnWeakSlot slots[4];
    Pair *pair;
    uint8_t *raw;
    KnLeaveReport report;
    memset(slots, 0, sizeof slots);
    REQUIRE(scope != NULL);
    pair = pair_in(scope, 1, NULL, NULL);
    raw = kn_arena_alloc(scope, 40);
    REQUIRE(pair != NULL && raw != NULL);
    (void)CHECK_STATUS(kn_weak_set(&slots[0], scope, pair), KN_OK);
    (void)CHECK_STATUS(kn_weak_set(&slots[1], scope, pair), KN_OK);
    (void)CHECK_STATUS(kn_weak_set(&slots[2], scope, raw + 8), KN_OK);
    (void)CHECK_STATUS(kn_weak_set(&slots[3], scope, pair), KN_OK);
    (void)CHECK(slots[0].target == pair && slots[1].target == pair && slots[2].target == raw + 8);
    /* It holds nothing. */
    (void)CHECK_EQ(stats_of(scope).escapes, 0);
    (void)CHECK_STATUS(kn_weak_set(&slots[3], NULL, NULL), KN_OK);
    (void)CHECK(slots[3].target == NULL);
    report = leave(scope);
    (void)CHECK_EQ(report.weak, 3);
    (void)CHECK_EQ(report.escapes, 0);
    (void)CHECK(slots[0].target == NULL && slots[1].target == NULL && slots[2].target == NULL);
    /* The slots are fit for another scope. */
    scope = enter("again");
    REQUIRE(scope != NULL);
    pair = pair_in(scope, 1, NULL, NULL);
    (void)CHECK_STATUS(kn_weak_set(&slots[0], scope, pair), KN_OK);
    (void)CHECK(slots[0].target == pair);
    (void)CHECK_EQ(leave(scope).weak, 1);
    (void)CHECK(slots[0].target == NULL);
}

/* It can be set anew, to another target and another arena; only the last one counts. */
ARENA_TEST(a_weak_slot_moves_between_arenas) {
    KnArena *outer = enter("outer"), *inner, *standing = create("standing");
    KnWeakSlot slot;
    Pair *in_outer, *in_inner, *in_standing;
    memset(&slot, 0, sizeof slot);
    REQUIRE(outer != NULL && standing != NULL);
    in_outer = pair_in(outer, 1, NULL, NULL);
    in_standing = pair_in(standing, 2, NULL, NULL);
    inner = enter("inner");
    REQUIRE(inner != NULL && in_outer != NULL && in_standing != NULL);
    in_inner = pair_in(inner, 3, NULL, NULL);
    REQUIRE(in_inner != NULL);
    (void)CHECK_STATUS(kn_weak_set(&slot, inner, in_inner), KN_OK);
    (void)CHECK_STATUS(kn_weak_set(&slot, outer, in_outer), KN_OK);
    (void)CHECK_EQ(leave(inner).weak, 0);
    (void)CHECK(slot.target == in_outer);
    (void)CHECK_STATUS(kn_weak_set(&slot, standing, in_standing), KN_OK);
    (void)CHECK_EQ(leave(outer).weak, 0);
    (void)CHECK(slot.target == in_standing);
    kn_arena_reset(standing);
    (void)CHECK(slot.target == NULL);
    in_standing = pair_in(standing, 4, NULL, NULL);
    (void)CHECK_STATUS(kn_weak_set(&slot, standing, in_standing), KN_OK);
    kn_arena_destroy(standing);
    (void)CHECK(slot.target == NULL);
}

/* Rewinding clears those whose target went, and no others. */
ARENA_TEST(rewind_clears_the_tail) {
    KnArena *scope = enter("weak");
    KnWeakSlot slots[MANY];
    void *targets[MANY];
    KnArenaMark mark;
    size_t i;
    memset(slots, 0, sizeof slots);
    REQUIRE(scope != NULL);
    for (i = 0; i < MANY; i++) {
        if (i == MANY / 2) {
            mark = kn_arena_mark(scope);
        }
        targets[i] = kn_arena_alloc(scope, random_between(8, 300));
        REQUIRE(targets[i] != NULL);
    }
    for (i = 0; i < MANY; i++) {
        size_t other = i * 7 % MANY;
        (void)CHECK_STATUS(kn_weak_set(&slots[other], scope, targets[other]), KN_OK);
    }
    (void)CHECK_STATUS(kn_arena_rewind(scope, mark), KN_OK);
    for (i = 0; i < MANY; i++) {
        (void)CHECK(slots[i].target == (i < MANY / 2 ? targets[i] : NULL));
    }
    (void)CHECK_EQ(leave(scope).weak, MANY / 2);
    for (i = 0; i < MANY; i++) {
        (void)CHECK(slots[i].target == NULL);
    }
}

/* A target that is not in the arena is refused, the slot as it was. */
ARENA_TEST(a_weak_slot_wants_a_target_of_the_arena) {
    KnArena *scope = enter("weak");
    KnWeakSlot slot;
    Pair *inside, *outside = new_pair(1, NULL, NULL);
    memset(&slot, 0, sizeof slot);
    REQUIRE(scope != NULL && outside != NULL);
    inside = pair_in(scope, 2, NULL, NULL);
    REQUIRE(inside != NULL);
    (void)CHECK_STATUS(kn_weak_set(&slot, scope, inside), KN_OK);
    errors_begin();
    (void)CHECK(kn_weak_set(&slot, scope, outside) != KN_OK);
    errors_ignore();
    (void)CHECK(slot.target == inside);
    errors_begin();
    (void)CHECK(kn_weak_set(NULL, scope, inside) != KN_OK);
    errors_ignore();
    (void)CHECK_EQ(leave(scope).weak, 1);
    GC_unref(outside);
}

SUITE("arena_keep", EACH_LAYOUT(what_is_not_kept_goes), EACH_LAYOUT(what_is_kept_stays),
      EACH_LAYOUT(others_may_hold_it), EACH_LAYOUT(it_refers_from_outside), EACH_LAYOUT(any_of_many_are_kept),
      EACH_LAYOUT(every_end_drops), EACH_LAYOUT(a_weak_slot_is_null_after_leave),
      EACH_LAYOUT(a_weak_slot_moves_between_arenas), EACH_LAYOUT(rewind_clears_the_tail),
      EACH_LAYOUT(a_weak_slot_wants_a_target_of_the_arena))
