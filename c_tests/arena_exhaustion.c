/*
 * Scopes and arenas in a heap that has no room: a workflow is run with a little more of it each time, so that each of
 * its allocations is once the first that fails. Whatever failed, after leave everything is as it was before.
 */
#include "arenas.h"

#include <string.h>

enum { STEP = 48 };

/* How far a workflow came: the number of the step that failed, 0 when none did. */
typedef size_t (*Workflow)(Leaf *outside);

static size_t first_failure;

static bool got(const void *at, size_t step) {
    if (at == NULL && first_failure == 0) {
        first_failure = step;
    }
    return at != NULL;
}

/* Runs it in a heap with 0 bytes and more, until nothing fails; how many different steps failed. */
static size_t in_little_room(Workflow workflow) {
    Leaf *outside = new_leaf(900);
    size_t room, failed = 0, last = SIZE_MAX, answer = 1;
    if (!CHECK(outside != NULL)) {
        return 0;
    }
    for (room = 8; room < GROUND_BYTES / 2 && answer != 0; room += STEP) {
        uint64_t before;
        size_t cells = live_cells();
        if (!squeeze(room)) {
            break;
        }
        before = fingerprint();
        first_failure = 0;
        answer = workflow(outside);
        GC_runOrc();
        (void)CHECK_EQ(live_cells(), cells);
        (void)CHECK_EQ(GC_refcount(outside), 1);
        (void)CHECK(kn_arena_innermost(ground_heap()) == NULL);
        (void)CHECK_STATUS(GC_check(), KN_OK);
        (void)CHECK(is_sound(ground_heap()));
        /* But for a page of cells, which the collector may keep. */
        (void)CHECK(fingerprint() == before || gc().total != 0);
        failed += answer != 0 && answer != last;
        last = answer;
        relax();
    }
    relax();
    (void)CHECK(answer == 0 && "with room enough all of it succeeds");
    GC_unref(outside);
    return failed;
}

/* ---- A scope ---- */

static size_t one_scope(Leaf *outside) {
    KnArenaConfig config = named("presized");
    KnArena *scope = NULL;
    Note notes[2];
    Node *node;
    KnLeaveReport report;
    uint8_t *text, *first;
    KnStatus status;
    size_t cleanups = 0, destroyed = destroyed_total();
    config.presize = 600;
    status = kn_arena_enter(ground_heap(), &config, &scope);
    if (status != KN_OK) {
        (void)CHECK_STATUS(status, KN_E_NO_MEMORY);
        (void)CHECK(scope == NULL);
        return 1;
    }
    cleanups += note_on_leave(scope, &notes[0], 1);
    first = kn_arena_alloc(scope, 300);
    if (got(first, 2)) {
        fill_pattern(first, 300, 1);
    }
    node = node_in(scope, 10, NULL, NULL);
    if (got(node, 3)) {
        GC_assign(&node->left, outside);
    }
    text = kn_arena_alloc(scope, 400);
    if (got(text, 4)) {
        uint8_t *longer;
        fill_pattern(text, 400, 2);
        longer = kn_arena_resize(scope, text, 400, 900);
        (void)CHECK_PATTERN(longer != NULL ? longer : text, 400, 2);
        (void)got(longer, 5);
    }
    (void)got(kn_arena_strdup(scope, "some text"), 6);
    (void)got(kn_arena_aligned_alloc(scope, 128, 200), 7);
    cleanups += note_on_leave(scope, &notes[1], 2);
    (void)got(GC_newSizedIn(scope, list_type, 700), 8);
    if (first != NULL) {
        (void)CHECK_PATTERN(first, 300, 1);
    }
    report = leave(scope);
    (void)CHECK_EQ(report.cleanups, cleanups);
    (void)CHECK_EQ(report.released, node != NULL);
    (void)CHECK_EQ(destroyed_total() - destroyed, cleanups + (node != NULL));
    return first_failure;
}

ARENA_TEST(a_scope_with_little_room) {
    (void)CHECK_GE(in_little_room(one_scope), 3);
}

/* ---- Scopes in scopes, marks, objects outside ---- */

static size_t nested(Leaf *outside) {
    KnArena *outer = NULL, *inner = NULL;
    KnArenaMark mark;
    KnTentative tentative;
    Pair *holder, *copy = NULL, *kept = NULL;
    void *out = NULL;
    uint64_t print;
    memset(&tentative, 0, sizeof tentative);
    if (kn_arena_enter(ground_heap(), NULL, &outer) != KN_OK) {
        return 1;
    }
    (void)got(kn_arena_alloc(outer, 500), 2);
    mark = kn_arena_mark(outer);
    print = fingerprint();
    (void)got(kn_arena_alloc(outer, 900), 3);
    (void)CHECK_STATUS(kn_arena_rewind(outer, mark), KN_OK);
    (void)CHECK_EQ(fingerprint(), print);
    holder = pair_in(outer, 1, NULL, NULL);
    (void)got(holder, 4);
    if (kn_arena_enter(ground_heap(), NULL, &inner) == KN_OK) {
        Pair *pair = pair_in(inner, 2, GC_ref(outside), NULL);
        if (!got(pair, 5)) {
            GC_unref(outside);
        } else {
            if (got(pair->second = pair_in(inner, 3, pair, NULL), 6) && holder != NULL) {
                GC_assign(&holder->first, pair->second);
            }
            if (kn_arena_promote(inner, pair, &out) == KN_OK) {
                copy = out;
            } else {
                (void)CHECK(out == NULL);
                (void)CHECK_EQ(GC_refcount(outside), 2);
            }
            (void)got(copy, 7);
        }
        kept = GC_newTentative(inner, pair_type, &tentative);
        if (got(kept, 8) && copy != NULL) {
            (void)CHECK(kn_arena_keep(&tentative) == kept);
        }
        (void)got(kn_arena_alloc(inner, 1200), 9);
        (void)leave(inner);
        (void)CHECK(holder == NULL || holder->first == NULL);
    } else {
        (void)got(NULL, 10);
    }
    (void)got(kn_arena_alloc(outer, 1500), 11);
    (void)leave(outer);
    if (copy != NULL) {
        (void)CHECK(copy->first == outside);
        GC_assign(&((Pair *)copy->second)->first, NULL);
        GC_unref(copy);
        if (kept != NULL) {
            GC_unref(kept);
        }
    }
    return first_failure;
}

ARENA_TEST(nested_scopes_with_little_room) {
    (void)CHECK_GE(in_little_room(nested), 3);
}

/* ---- Free-standing arenas ---- */

static size_t standing(Leaf *outside) {
    KnArena *one = kn_arena_create(ground_heap(), NULL), *other;
    KnArenaMark mark;
    size_t i, held;
    uint64_t print;
    if (one == NULL) {
        return 1;
    }
    other = kn_arena_create(ground_heap(), NULL);
    (void)got(other, 2);
    for (i = 0; i < 6; i++) {
        Node *node = node_in(one, (uint32_t)i, NULL, NULL);
        if (got(node, 3 + i)) {
            GC_assign(&node->right, outside);
        }
        (void)got(kn_arena_alloc(one, 250), 10 + i);
        if (other != NULL) {
            (void)got(kn_arena_alloc(other, 350), 20 + i);
        }
    }
    mark = kn_arena_mark(one);
    print = fingerprint();
    (void)got(kn_arena_alloc(one, 2000), 30);
    (void)CHECK_STATUS(kn_arena_rewind(one, mark), KN_OK);
    (void)CHECK_EQ(fingerprint(), print);
    held = stats_of(one).held;
    kn_arena_reset(one);
    (void)CHECK_EQ(stats_of(one).held, held);
    (void)CHECK_EQ(GC_refcount(outside), 1);
    kn_arena_destroy(other);
    kn_arena_reset_to(one, KN_RESET_FREE, 0);
    (void)got(kn_arena_alloc(one, 500), 31);
    kn_arena_destroy(one);
    return first_failure;
}

ARENA_TEST(arenas_with_little_room) {
    (void)CHECK_GE(in_little_room(standing), 3);
}

/* ---- To the last byte ---- */

/* A scope takes the whole heap, whatever the sizes, and gives it back whole. */
ARENA_TEST(a_scope_takes_everything) {
    uint64_t before = fingerprint();
    size_t sizes;
    for (sizes = 16; sizes <= 1024; sizes *= 4) {
        KnArena *scope = enter("greedy");
        KnHeapStats stats;
        size_t taken = 0, bytes = sizes;
        REQUIRE(scope != NULL);
        (void)CHECK_STATUS(kn_heap_stats(ground_heap(), &stats), KN_OK);
        while (bytes >= 8) {
            uint8_t *at = kn_arena_alloc(scope, bytes);
            if (at != NULL) {
                memset(at, 0xAB, bytes);
                taken += bytes;
            } else {
                bytes /= 2;
            }
        }
        /* All of it but a few records: one block at the top end, downwards to the first used one. Of what is left at the
         * end of a segment large pieces can't make use. */
        (void)CHECK_GE(taken + 1024, stats.free / 100 * (sizes <= 64 ? 97 : 93));
        (void)CHECK(kn_heap_malloc(ground_heap(), 2048) == NULL);
        (void)CHECK(is_sound(ground_heap()));
        (void)leave(scope);
        (void)CHECK_EQ(fingerprint(), before);
    }
}

/* Presize: there is a largest one, it can be used to its end, and a little more is refused. */
ARENA_TEST(the_largest_presize) {
    uint64_t before = fingerprint();
    size_t works = 0, fails = GROUND_BYTES;
    KnArenaConfig config = named("largest");
    KnArena *scope;
    config.flags = KN_ARENA_FIXED;
    while (fails - works > 8) {
        config.presize = works + (fails - works) / 2;
        if (kn_arena_enter(ground_heap(), &config, &scope) == KN_OK) {
            (void)leave(scope);
            works = config.presize;
        } else {
            fails = config.presize;
        }
        (void)CHECK_EQ(fingerprint(), before);
    }
    (void)CHECK_GE(works + 1024, largest_allocation(ground_heap()));
    config.presize = works;
    scope = enter_as(config);
    REQUIRE(scope != NULL);
    (void)CHECK(kn_arena_alloc(scope, works - works % 8) != NULL);
    (void)leave(scope);
    (void)CHECK_EQ(fingerprint(), before);
}

/* In heaps of some hundred bytes a scope is refused or works, and the heap is whole afterwards. */
TEST(small_heaps) {
    size_t bytes, entered = 0, refused = 0;
    for (bytes = 512; bytes <= 2560; bytes += 128) {
        KnHeap *heap = new_heap(bytes);
        KnArena *scope = NULL;
        uint64_t before;
        size_t round;
        REQUIRE(heap != NULL);
        before = kn_heap_fingerprint(heap);
        for (round = 0; round < 3; round++) {
            if (kn_arena_enter(heap, NULL, &scope) == KN_OK) {
                if (round == 0) {
                    /* What is made at the first scope stays. */
                    (void)leave(scope);
                    before = kn_heap_fingerprint(heap);
                    REQUIRE(kn_arena_enter(heap, NULL, &scope) == KN_OK);
                }
                entered++;
                while (kn_arena_alloc(scope, 24) != NULL) {
                }
                (void)leave(scope);
            } else {
                refused++;
                (void)CHECK(scope == NULL);
            }
            (void)CHECK_EQ(kn_heap_fingerprint(heap), before);
            (void)CHECK(is_sound(heap));
        }
    }
    (void)CHECK_GE(entered, 3);
    (void)CHECK_GE(entered + refused, 51);
}

SUITE("arena_exhaustion", EACH_LAYOUT(a_scope_with_little_room), EACH_LAYOUT(nested_scopes_with_little_room),
      EACH_LAYOUT(arenas_with_little_room), EACH_LAYOUT(a_scope_takes_everything), EACH_LAYOUT(the_largest_presize),
      EACH_LAYOUT(small_heaps))
