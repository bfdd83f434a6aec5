/*
 * Each mistake with scopes and arenas is answered with a status that names the parties, and does no harm: nothing is
 * lost, and the heap is sound.
 */
#include "arenas.h"

#include <string.h>

enum { DEEP = 5 };

/* The status of a leave that must not be all right, told to the hook or not. */
static KnStatus bad_leave(KnArena *scope, KnLeaveReport *report) {
    KnStatus status;
    memset(report, 0, sizeof *report);
    errors_begin();
    status = kn_arena_leave(scope, report);
    errors_ignore();
    return status;
}

/* ---- The wrong order ---- */

/* Inner scopes that are open are left first; the report says how many, and the name of the innermost. */
ARENA_TEST(the_wrong_order_is_told) {
    static const char *const names[DEEP] = {"one", "two", "three", "four", "five"};
    size_t level;
    for (level = 0; level < DEEP; level++) {
        uint64_t before = fingerprint(), at_level = 0;
        KnArena *scopes[DEEP];
        Note notes[DEEP];
        KnLeaveReport report;
        size_t i;
        forget_destroyed();
        for (i = 0; i < DEEP; i++) {
            if (i == level) {
                at_level = fingerprint();
            }
            scopes[i] = enter(names[i]);
            REQUIRE(scopes[i] != NULL && kn_arena_alloc(scopes[i], 300) != NULL && note_on_leave(scopes[i], &notes[i], (uint32_t)i));
        }
        if (level == DEEP - 1) {
            report = leave(scopes[level]);
            (void)CHECK(report.other == NULL);
        } else {
            EXPECT_ERROR(KN_E_ORDER, (void)CHECK_STATUS(kn_arena_leave(scopes[level], &report), KN_E_ORDER));
            (void)CHECK_STATUS(report.status, KN_E_ORDER);
            (void)CHECK(same_text(report.other, names[DEEP - 1]));
        }
        (void)CHECK(same_text(report.name, names[level]));
        (void)CHECK_EQ(report.children, DEEP - 1 - level);
        (void)CHECK_EQ(destroyed_total(), DEEP - level);
        for (i = 0; i < DEEP - level; i++) {
            (void)CHECK_EQ(destroyed_at(i), DEEP - 1 - i);
        }
        (void)CHECK(kn_arena_innermost(ground_heap()) == (level == 0 ? NULL : scopes[level - 1]));
        (void)CHECK_EQ(fingerprint(), at_level);
        (void)CHECK(is_sound(ground_heap()));
        for (i = level; i > 0;) {
            i--;
            (void)leave(scopes[i]);
        }
        (void)CHECK_EQ(fingerprint(), before);
    }
}

/* A scope that was left is left: nothing happens to others, in and out of it. */
ARENA_TEST(leaving_twice_is_told) {
    uint64_t before = fingerprint(), print;
    KnArena *outer = enter("outer"), *inner, *again;
    KnLeaveReport report;
    size_t used;
    REQUIRE(outer != NULL);
    inner = enter("inner");
    REQUIRE(inner != NULL && kn_arena_alloc(inner, 1000) != NULL);
    (void)leave(inner);
    let_knoll_look_anywhere();
    print = fingerprint();
    used = stats_of(outer).used;
    (void)CHECK_STATUS(bad_leave(inner, &report), KN_E_ORDER);
    (void)CHECK_STATUS(bad_leave(inner, &report), KN_E_ORDER);
    (void)CHECK_EQ(fingerprint(), print);
    (void)CHECK_EQ(stats_of(outer).used, used);
    (void)CHECK(kn_arena_innermost(ground_heap()) == outer);
    (void)leave(outer);
    (void)CHECK_STATUS(bad_leave(outer, &report), KN_E_ORDER);
    (void)CHECK_STATUS(bad_leave(inner, &report), KN_E_ORDER);
    (void)CHECK_EQ(fingerprint(), before);
    again = enter("again");
    REQUIRE(again != NULL && kn_arena_alloc(again, 10) != NULL);
    (void)leave(again);
    (void)CHECK(is_sound(ground_heap()));
}

/* A free-standing arena is no scope, and a scope is none of them. */
ARENA_TEST(scopes_and_arenas_are_told_apart) {
    KnArena *arena = create("standing"), *scope = enter("scope");
    KnLeaveReport report;
    uint8_t *in_arena, *in_scope;
    REQUIRE(arena != NULL && scope != NULL);
    in_arena = kn_arena_alloc(arena, 100);
    in_scope = kn_arena_alloc(scope, 100);
    REQUIRE(in_arena != NULL && in_scope != NULL);
    fill_pattern(in_arena, 100, 1);
    fill_pattern(in_scope, 100, 2);
    (void)CHECK_STATUS(bad_leave(arena, &report), KN_E_ORDER);
    (void)CHECK_PATTERN(in_arena, 100, 1);
    errors_begin();
    kn_arena_destroy(scope);
    errors_ignore();
    (void)CHECK(kn_arena_innermost(ground_heap()) == scope);
    (void)CHECK_PATTERN(in_scope, 100, 2);
    errors_begin();
    (void)CHECK(kn_arena_unwind(ground_heap(), arena) != KN_OK);
    errors_ignore();
    (void)CHECK(kn_arena_innermost(ground_heap()) == scope);
    (void)leave(scope);
    kn_arena_destroy(arena);
    (void)CHECK(is_sound(ground_heap()));
}

/* ---- While a scope is being left ---- */

static struct {
    KnArena *scope;
    KnStatus leave, unwind;
    const char *other;
    void *inside, *inside_line, *cell, *outside;
    KnStatus nested, cleanup, rewind;
    KnArenaMark mark;
    size_t calls;
} during;

/* All that must not be done now, and some that may. */
static void misbehave(void) {
    KnLeaveReport report;
    KnArena *inner = NULL;
    Note late;
    during.calls++;
    during.leave = bad_leave(during.scope, &report);
    during.other = report.other;
    errors_begin();
    during.unwind = kn_arena_unwind(ground_heap(), NULL);
    during.inside = kn_arena_alloc(during.scope, 16);
    during.inside_line = kn_arena_allocInline(during.scope, 16);
    during.cell = GC_newIn(during.scope, leaf_type);
    memset(&late, 0, sizeof late);
    during.cleanup = kn_arena_on_leave(during.scope, &late.node);
    during.rewind = kn_arena_rewind(during.scope, during.mark);
    errors_ignore();
    during.outside = kn_heap_malloc(ground_heap(), 40);
    GC_unref(new_pair(1, NULL, NULL));
    during.nested = kn_arena_enter(ground_heap(), NULL, &inner);
    if (during.nested == KN_OK) {
        (void)CHECK(kn_arena_alloc(inner, 100) != NULL);
        (void)leave(inner);
    }
}

static void run_misbehave(void *context) {
    record_destroyed(((Note *)context)->id);
    misbehave();
}

static void destroy_misbehaving(void *object) {
    record_destroyed(((Leaf *)object)->id);
    misbehave();
}

static const KnType bad_descriptor = {"Bad", sizeof(Leaf), 0, 0, NULL, destroy_misbehaving, NULL, NULL, NULL, NULL};

ARENA_TEST(a_scope_that_is_leaving_can_not_be_left) {
    uint64_t before = fingerprint();
    KnTypeId bad_type = GC_registerType(&bad_descriptor);
    size_t way;
    REQUIRE(bad_type != 0);
    for (way = 0; way < 2; way++) {
        Note note;
        KnLeaveReport report;
        Leaf *cell;
        memset(&during, 0, sizeof during);
        forget_destroyed();
        during.scope = enter("leaving");
        REQUIRE(during.scope != NULL && leaf_in(during.scope, 7) != NULL);
        during.mark = kn_arena_mark(during.scope);
        if (way == 0) {
            REQUIRE(note_on_leave(during.scope, &note, 1));
            note.node.run = run_misbehave;
        } else {
            cell = GC_newIn(during.scope, bad_type);
            REQUIRE(cell != NULL);
            cell->id = 1;
        }
        report = leave(during.scope);
        (void)CHECK_EQ(report.cleanups, 1 - way);
        (void)CHECK_EQ(report.destroyed, 1 + way);
        (void)CHECK_EQ(during.calls, 1);
        (void)CHECK_STATUS(during.leave, KN_E_ORDER);
        (void)CHECK(same_text(during.other, "leaving"));
        (void)CHECK(during.inside == NULL && during.inside_line == NULL && during.cell == NULL);
        (void)CHECK(during.cleanup != KN_OK);
        (void)CHECK(during.rewind != KN_OK);
        (void)CHECK(during.outside != NULL);
        (void)CHECK_STATUS(during.nested, KN_OK);
        (void)CHECK_EQ(destroyed_times(7), 1);
        (void)CHECK_EQ(destroyed_times(1), 1);
        kn_heap_free(ground_heap(), during.outside);
        (void)CHECK_STATUS(GC_check(), KN_OK);
    }
    GC_runOrc();
    if (gc().total == 0) {
        (void)CHECK_EQ(fingerprint(), before);
    }
}

/* ---- After leave ---- */

/* Nothing is given of a scope that was left, and its memory is filled with 0xDB. */
ARENA_TEST(use_after_leave_shows) {
    KnArenaConfig config = named("poisoned");
    uint64_t before = fingerprint();
    KnArena *scope;
    uint8_t *at;
    Pair *pair;
    KnArenaStats stats;
    config.flags = KN_ARENA_POISON;
    scope = enter_as(config);
    REQUIRE(scope != NULL);
    at = kn_arena_alloc(scope, 2000);
    pair = pair_in(scope, 1, NULL, NULL);
    REQUIRE(at != NULL && pair != NULL && kn_arena_alloc(scope, 400) != NULL);
    memset(at, 1, 2000);
    (void)leave(scope);
    (void)CHECK(holds_byte(at + 64, 1800, GIVEN_BACK(0xDB)));
    let_knoll_look_anywhere();
    errors_begin();
    (void)CHECK(kn_arena_alloc(scope, 16) == NULL);
    (void)CHECK(kn_arena_allocInline(scope, 16) == NULL);
    (void)CHECK(GC_newIn(scope, pair_type) == NULL);
    (void)CHECK(kn_arena_on_leave(scope, NULL) != KN_OK);
    (void)CHECK(kn_arena_stats(scope, &stats) != KN_OK);
    (void)CHECK(GC_refcount(pair) == 0);
    errors_ignore();
    (void)CHECK_EQ(fingerprint(), before);
    (void)CHECK(is_sound(ground_heap()));
}

/* Memory of an arena is no block of the heap. */
ARENA_TEST(memory_of_an_arena_is_not_freed) {
    KnArena *scope = enter("scope");
    uint8_t *first, *second;
    uint64_t print;
    REQUIRE(scope != NULL);
    first = kn_arena_alloc(scope, 100);
    second = kn_arena_alloc(scope, 100);
    REQUIRE(first != NULL && second != NULL);
    fill_pattern(first, 100, 1);
    fill_pattern(second, 100, 2);
    let_knoll_look_anywhere();
    print = fingerprint();
    EXPECT_ERROR_OF(ERROR_BIT(KN_E_FOREIGN) | ERROR_BIT(KN_E_CORRUPT) | ERROR_BIT(KN_E_DOUBLE_FREE),
                    kn_heap_free(ground_heap(), second));
    (void)CHECK_EQ(fingerprint(), print);
    (void)CHECK_PATTERN(first, 100, 1);
    (void)CHECK_PATTERN(second, 100, 2);
    (void)leave(scope);
    (void)CHECK(is_sound(ground_heap()));
}

/* ---- Marks ---- */

ARENA_TEST(marks_that_are_none_are_refused) {
    KnArena *one = create("one"), *other = create("other"), *scope = enter("scope");
    KnArenaMark in_one, stale, zero, in_scope;
    uint8_t *at;
    uint64_t print;
    REQUIRE(one != NULL && other != NULL && scope != NULL);
    REQUIRE(kn_arena_alloc(one, 50) != NULL && kn_arena_alloc(other, 50) != NULL && kn_arena_alloc(scope, 50) != NULL);
    memset(&zero, 0, sizeof zero);
    in_scope = kn_arena_mark(scope);
    in_one = kn_arena_mark(one);
    REQUIRE(kn_arena_alloc(one, 5000) != NULL);
    stale = kn_arena_mark(one);
    REQUIRE(kn_arena_alloc(one, 3000) != NULL);
    (void)CHECK_STATUS(kn_arena_rewind(one, in_one), KN_OK);
    at = kn_arena_alloc(one, 300);
    REQUIRE(at != NULL);
    fill_pattern(at, 300, 1);
    print = fingerprint();
    errors_begin();
    /* Of what was rewound, of another arena, of another's kind, of nothing. */
    (void)CHECK_STATUS(kn_arena_rewind(one, stale), KN_E_ORDER);
    (void)CHECK_STATUS(kn_arena_rewind(other, in_one), KN_E_ORDER);
    (void)CHECK_STATUS(kn_arena_rewind(scope, in_one), KN_E_ORDER);
    (void)CHECK_STATUS(kn_arena_rewind(one, in_scope), KN_E_ORDER);
    (void)CHECK_STATUS(kn_arena_rewind(one, zero), KN_E_ORDER);
    errors_ignore();
    (void)CHECK_EQ(fingerprint(), print);
    (void)CHECK_PATTERN(at, 300, 1);
    (void)CHECK_STATUS(kn_arena_rewind(one, in_one), KN_OK);
    /* Of before a reset. */
    (void)CHECK(kn_arena_alloc(one, 500) != NULL);
    in_one = kn_arena_mark(one);
    (void)CHECK(kn_arena_alloc(one, 500) != NULL);
    kn_arena_reset(one);
    errors_begin();
    (void)CHECK_STATUS(kn_arena_rewind(one, in_one), KN_E_ORDER);
    errors_ignore();
    kn_arena_destroy(one);
    kn_arena_destroy(other);
    (void)leave(scope);
    (void)CHECK(is_sound(ground_heap()));
}

/* ---- Arguments ---- */

ARENA_TEST(bad_arguments_are_refused) {
    KnArena *scope = NULL, *out = NULL;
    KnArenaConfig config = named("bad");
    KnArenaStats stats;
    uint64_t before = fingerprint();
    KnArenaMark mark;
    errors_begin();
    (void)CHECK_STATUS(kn_arena_enter(NULL, NULL, &out), KN_E_INVALID);
    (void)CHECK(out == NULL);
    (void)CHECK_STATUS(kn_arena_enter(ground_heap(), NULL, NULL), KN_E_INVALID);
    (void)CHECK(kn_arena_create(NULL, NULL) == NULL);
    config.flags = 1u << 20;
    (void)CHECK_STATUS(kn_arena_enter(ground_heap(), &config, &out), KN_E_INVALID);
    (void)CHECK(kn_arena_create(ground_heap(), &config) == NULL);
    config.flags = 0;
    config.policy = 17;
    (void)CHECK_STATUS(kn_arena_enter(ground_heap(), &config, &out), KN_E_INVALID);
    (void)CHECK(out == NULL);
    (void)CHECK_STATUS(kn_arena_leave(NULL, NULL), KN_E_ORDER);
    (void)CHECK_STATUS(kn_arena_unwind(NULL, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_arena_stats(NULL, &stats), KN_E_ORDER);
    (void)CHECK(kn_arena_alloc(NULL, 8) == NULL && kn_arena_calloc(NULL, 1, 8) == NULL);
    (void)CHECK(kn_arena_aligned_alloc(NULL, 8, 8) == NULL && kn_arena_resize(NULL, NULL, 0, 8) == NULL);
    (void)CHECK(kn_arena_strdup(NULL, "a") == NULL && kn_arena_memdup(NULL, "a", 1) == NULL);
    (void)CHECK(GC_newIn(NULL, pair_type) == NULL);
    (void)CHECK(!kn_arena_contains(NULL, &stats));
    (void)CHECK(kn_arena_innermost(NULL) == NULL && kn_arena_parent(NULL) == NULL && kn_arena_name(NULL) == NULL);
    (void)CHECK(kn_roots_add(ground_heap(), NULL) != KN_OK);
    kn_arena_reset(NULL);
    kn_arena_destroy(NULL);
    errors_ignore();
    (void)CHECK_EQ(fingerprint(), before);
    scope = enter("good");
    REQUIRE(scope != NULL);
    mark = kn_arena_mark(scope);
    errors_begin();
    (void)CHECK_STATUS(kn_arena_stats(scope, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_arena_on_leave(scope, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_arena_on_leave(NULL, NULL), KN_E_ORDER);
    (void)CHECK_STATUS(kn_arena_rewind(NULL, mark), KN_E_ORDER);
    (void)CHECK(kn_arena_strdup(scope, NULL) == NULL);
    errors_ignore();
    (void)CHECK_EQ(leave(scope).cleanups, 0);
    (void)CHECK_EQ(fingerprint(), before);
}

/* Without a name and without a report all is as with them. */
ARENA_TEST(names_and_reports_are_optional) {
    KnArena *outer = NULL, *inner = NULL;
    REQUIRE(kn_arena_enter(ground_heap(), NULL, &outer) == KN_OK && kn_arena_enter(ground_heap(), NULL, &inner) == KN_OK);
    EXPECT_ERROR(KN_E_ORDER, (void)CHECK_STATUS(kn_arena_leave(outer, NULL), KN_E_ORDER));
    (void)CHECK(kn_arena_innermost(ground_heap()) == NULL);
    REQUIRE(kn_arena_enter(ground_heap(), NULL, &outer) == KN_OK);
    (void)CHECK_STATUS(kn_arena_leave(outer, NULL), KN_OK);
}

/* A budget that is exceeded names who asked and whose it was, and costs nothing but the allocation. */
ARENA_TEST(a_budget_names_both) {
    KnArenaConfig config = named("the one with a budget");
    KnArena *outer, *inner;
    KnArenaStats stats;
    uint8_t *at;
    config.budget = 4096;
    outer = enter_as(config);
    inner = enter("the one that asks");
    REQUIRE(outer != NULL && inner != NULL);
    at = kn_arena_alloc(inner, 200);
    REQUIRE(at != NULL);
    fill_pattern(at, 200, 1);
    errors_begin();
    (void)CHECK(kn_arena_alloc(inner, 5000) == NULL);
    errors_ignore();
    stats = stats_of(inner);
    (void)CHECK(same_text(stats.name, "the one that asks"));
    (void)CHECK(same_text(stats.refused_by, "the one with a budget"));
    (void)CHECK_EQ(stats.refused, 1);
    (void)CHECK_PATTERN(at, 200, 1);
    (void)CHECK(kn_arena_alloc(inner, 200) != NULL);
    (void)leave(inner);
    (void)leave(outer);
    (void)CHECK(is_sound(ground_heap()));
}

SUITE("arena_misuse", EACH_LAYOUT(the_wrong_order_is_told), EACH_LAYOUT(leaving_twice_is_told),
      EACH_LAYOUT(scopes_and_arenas_are_told_apart), EACH_LAYOUT(a_scope_that_is_leaving_can_not_be_left),
      EACH_LAYOUT(use_after_leave_shows), EACH_LAYOUT(memory_of_an_arena_is_not_freed),
      EACH_LAYOUT(marks_that_are_none_are_refused), EACH_LAYOUT(bad_arguments_are_refused),
      EACH_LAYOUT(names_and_reports_are_optional), EACH_LAYOUT(a_budget_names_both))
