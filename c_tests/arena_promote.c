/*
 * Promotion: a closed subgraph of an arena copied out, with its cycles and shared parts, counts exact; or nothing at all
 * has changed.
 */
#include "arenas.h"

#include <string.h>

enum { GRAPH = 30, DEEP = 400 };

static Pair *promoted(KnArena *scope, void *root) {
    void *out = NULL;
    (void)CHECK_STATUS(kn_arena_promote(scope, root, &out), KN_OK);
    (void)CHECK(out != NULL && out != root && !kn_arena_contains(scope, out));
    return out;
}

/* ---- What is copied ---- */

ARENA_TEST(a_tree_is_copied) {
    KnArena *scope = enter("tree");
    Pair *nodes[15], *copy, *at;
    uint32_t i;
    REQUIRE(scope != NULL);
    for (i = 15; i > 0; i--) {
        Pair *first = 2 * i < 15 ? nodes[2 * i - 1] : NULL, *second = 2 * i < 15 ? nodes[2 * i] : NULL;
        nodes[i - 1] = pair_in(scope, i, first, second);
        REQUIRE(nodes[i - 1] != NULL);
        nodes[i - 1]->note = 1000 + i;
    }
    copy = promoted(scope, nodes[0]);
    REQUIRE(copy != NULL);
    (void)CHECK_EQ(live_cells(), 15);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    /* The original is as it was, too. */
    (void)CHECK_EQ(nodes[0]->id, 1);
    (void)CHECK(nodes[0]->first == nodes[1]);
    (void)CHECK_EQ(leave(scope).escapes, 0);
    for (i = 1; i < 16; i++) {
        uint32_t bit = i < 2 ? 0 : i < 4 ? 1 : i < 8 ? 2 : 3;
        at = copy;
        while (bit > 0) {
            bit--;
            at = (i >> bit & 1) == 0 ? at->first : at->second;
            REQUIRE(at != NULL);
        }
        (void)CHECK_EQ(at->id, i);
        (void)CHECK_EQ(at->note, 1000 + i);
        (void)CHECK_EQ(GC_refcount(at), 1);
        (void)CHECK_EQ(GC_typeOf(at), pair_type);
        if (i >= 8) {
            (void)CHECK(at->first == NULL && at->second == NULL);
        }
    }
    GC_unref(copy);
    (void)CHECK_EQ(live_cells(), 0);
}

/* What two cells hold is one cell in the copy, held by two. */
ARENA_TEST(shared_parts_stay_shared) {
    KnArena *scope = enter("diamond");
    Pair *bottom, *copy, *left, *right;
    REQUIRE(scope != NULL);
    bottom = pair_in(scope, 4, NULL, NULL);
    copy = promoted(scope, pair_in(scope, 1, pair_in(scope, 2, bottom, bottom), pair_in(scope, 3, bottom, NULL)));
    REQUIRE(copy != NULL);
    (void)leave(scope);
    left = copy->first;
    right = copy->second;
    REQUIRE(left != NULL && right != NULL && left->first != NULL);
    (void)CHECK_EQ(left->id, 2);
    (void)CHECK_EQ(right->id, 3);
    (void)CHECK(left->first == left->second && right->first == left->first);
    (void)CHECK_EQ(((Pair *)left->first)->id, 4);
    (void)CHECK_EQ(GC_refcount(left->first), 3);
    (void)CHECK_EQ(GC_refcount(left), 1);
    (void)CHECK_EQ(live_cells(), 4);
    GC_unref(copy);
    (void)CHECK_EQ(live_cells(), 0);
}

ARENA_TEST(cycles_are_copied) {
    KnArena *scope = enter("ring");
    Pair *ring_of[6], *copy, *at;
    uint32_t i;
    REQUIRE(scope != NULL);
    for (i = 0; i < 6; i++) {
        ring_of[i] = pair_in(scope, i, NULL, NULL);
        REQUIRE(ring_of[i] != NULL);
    }
    for (i = 0; i < 6; i++) {
        GC_assign(&ring_of[i]->first, ring_of[(i + 1) % 6]);
        GC_assign(&ring_of[i]->second, ring_of[i]);
    }
    copy = promoted(scope, ring_of[2]);
    REQUIRE(copy != NULL);
    (void)leave(scope);
    for (i = 0, at = copy; i < 6; i++, at = at->first) {
        REQUIRE(at != NULL);
        (void)CHECK_EQ(at->id, (i + 2) % 6);
        (void)CHECK(at->second == at);
        (void)CHECK_EQ(GC_refcount(at), i == 0 ? 3 : 2);
    }
    (void)CHECK(at == copy);
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 6);
    GC_unref(copy);
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 0);
}

/* References out of the arena are counted for the copy as for the original. */
ARENA_TEST(outside_references_keep_their_counts) {
    KnArena *scope = enter("border");
    Leaf *leaf = new_leaf(1);
    Pair *outside = new_pair(2, NULL, NULL), *inside, *copy;
    List *list;
    uint32_t i;
    REQUIRE(scope != NULL && leaf != NULL && outside != NULL);
    list = list_in(scope, 3, 7);
    inside = pair_in(scope, 4, list, NULL);
    REQUIRE(list != NULL && inside != NULL);
    GC_assign(&inside->second, leaf);
    for (i = 0; i < 7; i++) {
        GC_assign(&list->items[i], i < 3 ? (void *)leaf : i < 5 ? (void *)outside : i < 6 ? NULL : (void *)inside);
    }
    (void)CHECK_EQ(GC_refcount(leaf), 5);
    (void)CHECK_EQ(GC_refcount(outside), 3);
    copy = promoted(scope, inside);
    REQUIRE(copy != NULL);
    (void)CHECK_EQ(GC_refcount(leaf), 9);
    (void)CHECK_EQ(GC_refcount(outside), 5);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    (void)leave(scope);
    (void)CHECK_EQ(GC_refcount(leaf), 5);
    (void)CHECK_EQ(GC_refcount(outside), 3);
    list = copy->first;
    REQUIRE(list != NULL);
    (void)CHECK_EQ(list->count, 7);
    (void)CHECK(copy->second == leaf && list->items[0] == leaf && list->items[4] == outside);
    (void)CHECK(list->items[5] == NULL && list->items[6] == copy);
    (void)CHECK_EQ(GC_refcount(copy), 2);
    GC_assign(&list->items[6], NULL);
    GC_unref(copy);
    (void)CHECK_EQ(GC_refcount(leaf), 1);
    (void)CHECK_EQ(GC_refcount(outside), 1);
    GC_unref(leaf);
    GC_unref(outside);
}

/* Cells of every size; above a page's largest they have blocks of their own. */
ARENA_TEST(large_cells_are_copied) {
    KnArena *scope = enter("large");
    List *list, *copy;
    uint32_t count, i;
    REQUIRE(scope != NULL);
    for (count = 1; count <= 256; count *= 4) {
        void *out = NULL;
        list = list_in(scope, count, count);
        REQUIRE(list != NULL);
        for (i = 0; i < count; i++) {
            list->items[i] = i % 5 == 0 ? pair_in(scope, i, list, NULL) : NULL;
        }
        (void)CHECK_STATUS(kn_arena_promote(scope, list, &out), KN_OK);
        copy = out;
        REQUIRE(copy != NULL);
        /* What a page's cell has more is zero, as at birth. */
        (void)CHECK_GE(GC_sizeOf(copy), GC_sizeOf(list));
        (void)CHECK(holds_byte((uint8_t *)copy + GC_sizeOf(list), GC_sizeOf(copy) - GC_sizeOf(list), 0));
        for (i = 0; i < count; i++) {
            (void)CHECK((copy->items[i] == NULL) == (i % 5 != 0));
            if (i % 5 == 0) {
                (void)CHECK_EQ(((Pair *)copy->items[i])->id, i);
                (void)CHECK(((Pair *)copy->items[i])->first == copy);
            }
        }
        GC_unref(copy);
        GC_runOrc();
        (void)CHECK_EQ(live_cells(), 0);
    }
    (void)leave(scope);
}

/* As deep as it gets, without recursion: the emulator measures the stack. */
ARENA_TEST(a_long_list_is_copied) {
    KnArena *scope = enter("list");
    Pair *list = NULL, *copy, *at;
    uint32_t i;
    REQUIRE(scope != NULL);
    for (i = 0; i < DEEP; i++) {
        list = pair_in(scope, i, list, NULL);
        REQUIRE(list != NULL);
    }
    copy = promoted(scope, list);
    REQUIRE(copy != NULL);
    (void)leave(scope);
    for (i = DEEP, at = copy; i > 0; at = at->first) {
        i--;
        REQUIRE(at != NULL);
        (void)CHECK_EQ(at->id, i);
    }
    (void)CHECK(at == NULL);
    GC_unref(copy);
    (void)CHECK_EQ(live_cells(), 0);
}

/* Out of the inner scope of two: what the copy holds of the outer one escapes from there. */
ARENA_TEST(a_copy_may_refer_to_an_outer_scope) {
    KnArena *outer = enter("outer"), *inner;
    Pair *in_outer, *copy;
    KnLeaveReport report;
    REQUIRE(outer != NULL);
    in_outer = pair_in(outer, 1, NULL, NULL);
    inner = enter("inner");
    REQUIRE(inner != NULL && in_outer != NULL);
    copy = promoted(inner, pair_in(inner, 2, in_outer, NULL));
    REQUIRE(copy != NULL);
    (void)CHECK(!kn_arena_contains(outer, copy));
    (void)CHECK(copy->first == in_outer);
    (void)CHECK_EQ(stats_of(outer).escapes, 1);
    (void)CHECK_EQ(leave(inner).escapes, 0);
    (void)CHECK(copy->first == in_outer);
    report = leave(outer);
    (void)CHECK_EQ(report.escapes, 1);
    (void)CHECK(report.first.holder == copy);
    (void)CHECK(copy->first == NULL);
    GC_unref(copy);
}

ARENA_TEST(a_free_standing_arena_promotes) {
    KnArena *arena = create("standing");
    Pair *copy;
    REQUIRE(arena != NULL);
    copy = promoted(arena, pair_in(arena, 1, pair_in(arena, 2, NULL, NULL), NULL));
    REQUIRE(copy != NULL && copy->first != NULL);
    kn_arena_reset(arena);
    (void)CHECK_EQ(((Pair *)copy->first)->id, 2);
    kn_arena_destroy(arena);
    (void)CHECK_EQ(copy->id, 1);
    GC_unref(copy);
}

/* ---- What is refused ---- */

/* A type with destroy or trace, wherever in the graph; a root that is none. Nothing has changed. */
ARENA_TEST(what_can_not_be_copied_is_refused) {
    KnArena *scope = enter("mixed"), *other = create("other");
    Pair *root, *deep, *outside = new_pair(9, NULL, NULL), *elsewhere;
    void *out, *raw;
    uint64_t print;
    size_t cells, used;
    int here = 0;
    REQUIRE(scope != NULL && other != NULL && outside != NULL);
    deep = pair_in(scope, 2, NULL, NULL);
    root = pair_in(scope, 1, deep, NULL);
    elsewhere = pair_in(other, 3, NULL, NULL);
    raw = kn_arena_alloc(scope, 64);
    REQUIRE(deep != NULL && root != NULL && elsewhere != NULL && raw != NULL);
    memset(raw, 0, 64);
    GC_assign(&deep->first, outside);
    deep->second = node_in(scope, 4, NULL, NULL);
    cells = live_cells();
    used = stats_of(scope).used;
    print = fingerprint();
    out = &here;
    errors_begin();
    (void)CHECK_STATUS(kn_arena_promote(scope, root, &out), KN_E_UNSUPPORTED);
    deep->second = GC_newIn(scope, chest_type);
    (void)CHECK_STATUS(kn_arena_promote(scope, root, &out), KN_E_UNSUPPORTED);
    deep->second = NULL;
    (void)CHECK_STATUS(kn_arena_promote(scope, outside, &out), KN_E_FOREIGN);
    (void)CHECK_STATUS(kn_arena_promote(scope, elsewhere, &out), KN_E_FOREIGN);
    (void)CHECK_STATUS(kn_arena_promote(other, root, &out), KN_E_FOREIGN);
    (void)CHECK_STATUS(kn_arena_promote(scope, (uint8_t *)raw + 16, &out), KN_E_FOREIGN);
    (void)CHECK(kn_arena_promote(scope, NULL, &out) != KN_OK);
    (void)CHECK(kn_arena_promote(scope, root, NULL) != KN_OK);
    errors_ignore();
    (void)CHECK(out == &here || out == NULL);
    (void)CHECK_EQ(GC_refcount(outside), 2);
    (void)CHECK_EQ(live_cells(), cells);
    (void)CHECK_GE(stats_of(scope).used, used);
    (void)CHECK_EQ(fingerprint(), print);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    (void)leave(scope);
    kn_arena_destroy(other);
    GC_unref(outside);
}

/* ---- Without memory ---- */

static Pair *graph[GRAPH];

static bool make_graph(KnArena *scope, Leaf *leaf) {
    uint32_t i;
    for (i = 0; i < GRAPH; i++) {
        graph[i] = i % 7 == 6 ? (Pair *)(void *)list_in(scope, i, 20) : pair_in(scope, i, NULL, NULL);
        if (!CHECK(graph[i] != NULL)) {
            return false;
        }
    }
    for (i = 0; i < GRAPH; i++) {
        void **slots = i % 7 == 6 ? &((List *)(void *)graph[i])->items[3] : &graph[i]->first;
        GC_assign(&slots[0], graph[(i + 1) % GRAPH]);
        GC_assign(&slots[1], i % 3 == 0 ? (void *)leaf : (void *)graph[random_below(GRAPH)]);
    }
    return true;
}

static bool graph_is_whole(void) {
    uint32_t i;
    for (i = 0; i < GRAPH; i++) {
        List *list = (List *)(void *)graph[i];
        void **slots = i % 7 == 6 ? &list->items[3] : &graph[i]->first;
        if (slots[0] != graph[(i + 1) % GRAPH] || (i % 7 == 6 ? list->id : graph[i]->id) != i) {
            return false;
        }
    }
    return true;
}

/* With more and more room each allocation fails once, until none does; each failure leaves everything as it was. */
ARENA_TEST(want_of_memory_changes_nothing) {
    Leaf *leaf = new_leaf(1);
    KnArena *scope = enter("squeezed");
    size_t room, failed = 0;
    bool done = false;
    REQUIRE(leaf != NULL && scope != NULL && make_graph(scope, leaf));
    for (room = 0; room < GROUND_BYTES / 2 && !done; room += 64) {
        uint64_t print;
        void *out = NULL;
        uint32_t count;
        KnStatus status;
        size_t cells = live_cells();
        REQUIRE(squeeze(room));
        print = fingerprint();
        count = GC_refcount(leaf);
        status = kn_arena_promote(scope, graph[0], &out);
        (void)CHECK(graph_is_whole());
        if (status == KN_OK) {
            done = true;
            (void)CHECK_EQ(GC_refcount(leaf), 2 * count - 1);
            (void)CHECK_EQ(live_cells(), cells + GRAPH);
            GC_unref(out);
            GC_runOrc();
        } else {
            failed++;
            (void)CHECK_STATUS(status, KN_E_NO_MEMORY);
            (void)CHECK_EQ(GC_refcount(leaf), count);
            (void)CHECK_EQ(live_cells(), cells);
            (void)CHECK_EQ(fingerprint(), print);
        }
        (void)CHECK_STATUS(GC_check(), KN_OK);
        (void)CHECK(is_sound(ground_heap()));
        relax();
    }
    (void)CHECK(done);
    (void)CHECK_GE(failed, 4);
    (void)leave(scope);
    (void)CHECK_EQ(GC_refcount(leaf), 1);
    GC_unref(leaf);
}

/* ---- Random graphs ---- */

static bool same_graph(Pair *original[], Pair *copies[], size_t count, void *one, void *other) {
    size_t i;
    if (one == NULL || other == NULL) {
        return one == other;
    }
    for (i = 0; i < count; i++) {
        if (original[i] == one) {
            if (copies[i] == NULL) {
                copies[i] = other;
                return ((Pair *)one)->id == ((Pair *)other)->id &&
                       same_graph(original, copies, count, ((Pair *)one)->first, ((Pair *)other)->first) &&
                       same_graph(original, copies, count, ((Pair *)one)->second, ((Pair *)other)->second);
            }
            return copies[i] == other;
        }
    }
    return one == other; /* outside */
}

ARENA_TEST(random_graphs_are_copied) {
    Pair *outside = new_pair(99, NULL, NULL);
    size_t round;
    REQUIRE(outside != NULL);
    for (round = 0; round < 25; round++) {
        KnArena *scope = enter("random");
        Pair *cells[12], *copies[12], *copy;
        uint32_t i, before, expected = 0;
        REQUIRE(scope != NULL);
        memset(copies, 0, sizeof copies);
        for (i = 0; i < 12; i++) {
            cells[i] = pair_in(scope, i, NULL, NULL);
            REQUIRE(cells[i] != NULL);
        }
        for (i = 0; i < 12; i++) {
            GC_assign(&cells[i]->first, random_below(4) == 0 ? NULL : cells[random_below(12)]);
            GC_assign(&cells[i]->second, random_below(3) == 0 ? outside : cells[random_below(12)]);
        }
        before = GC_refcount(outside);
        copy = promoted(scope, cells[0]);
        REQUIRE(copy != NULL);
        (void)CHECK(same_graph(cells, copies, 12, cells[0], copy));
        for (i = 0; i < 12; i++) {
            expected += copies[i] != NULL && copies[i]->second == outside;
        }
        (void)CHECK_EQ(GC_refcount(outside), before + expected);
        (void)CHECK_STATUS(GC_check(), KN_OK);
        (void)CHECK_EQ(leave(scope).escapes, 0);
        (void)CHECK_EQ(GC_refcount(outside), 1 + expected);
        GC_unref(copy);
        GC_runOrc();
        (void)CHECK_EQ(live_cells(), 1);
    }
    GC_unref(outside);
}

SUITE("arena_promote", EACH_LAYOUT(a_tree_is_copied), EACH_LAYOUT(shared_parts_stay_shared),
      EACH_LAYOUT(cycles_are_copied), EACH_LAYOUT(outside_references_keep_their_counts),
      EACH_LAYOUT(large_cells_are_copied), EACH_LAYOUT(a_long_list_is_copied),
      EACH_LAYOUT(a_copy_may_refer_to_an_outer_scope), EACH_LAYOUT(a_free_standing_arena_promotes),
      EACH_LAYOUT(what_can_not_be_copied_is_refused), EACH_LAYOUT(want_of_memory_changes_nothing),
      EACH_LAYOUT(random_graphs_are_copied))
