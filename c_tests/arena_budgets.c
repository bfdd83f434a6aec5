/*
 * Budgets: a hard one over a scope and all in it, a soft one that tells once, and the suggestion that makes the next run
 * fit into one piece of memory.
 */
#include "arenas.h"

#include <string.h>

enum { BUDGET = 4096 };

/* Allocates until NULL, or until much more than any budget here; the bytes that were given. */
static size_t take_all(KnArena *arena, size_t piece) {
    size_t taken = 0;
    errors_begin();
    while (taken < 16 * BUDGET) {
        uint8_t *at = kn_arena_alloc(arena, piece);
        if (at == NULL) {
            break;
        }
        memset(at, 0x42, piece);
        taken += piece;
    }
    errors_ignore();
    return taken;
}

/* What must not be given is not. */
static bool is_refused(KnArena *arena, size_t bytes) {
    void *at;
    errors_begin();
    at = kn_arena_alloc(arena, bytes);
    errors_ignore();
    return at == NULL;
}

static KnArenaConfig with_budget(const char *name, size_t budget) {
    KnArenaConfig config = named(name);
    config.budget = budget;
    return config;
}

/* ---- The hard budget ---- */

static void stays_within(KnArena *arena) {
    KnArenaStats stats;
    uint64_t print;
    size_t taken = take_all(arena, 100);
    (void)CHECK_GE(taken, BUDGET / 2);
    (void)CHECK_LE(taken, BUDGET);
    stats = stats_of(arena);
    (void)CHECK_EQ(stats.budget, BUDGET);
    (void)CHECK_LE(stats.held, BUDGET);
    (void)CHECK_EQ(stats.refused, 1);
    (void)CHECK(same_text(stats.refused_by, "budgeted"));
    print = fingerprint();
    (void)CHECK(is_refused(arena, 200));
    (void)CHECK(is_refused(arena, 20000));
    stats = stats_of(arena);
    (void)CHECK_EQ(stats.refused, 3);
    (void)CHECK_EQ(fingerprint(), print);
    /* What is free of the heap is free for others. */
    kn_heap_free(ground_heap(), kn_heap_malloc(ground_heap(), 2 * BUDGET));
}

ARENA_TEST(a_budget_is_never_exceeded) {
    uint64_t before = fingerprint();
    KnArenaConfig config = with_budget("budgeted", BUDGET);
    KnArena *arena = enter_as(config);
    REQUIRE(arena != NULL);
    stays_within(arena);
    (void)leave(arena);
    arena = kn_arena_create(ground_heap(), &config);
    REQUIRE(arena != NULL);
    stays_within(arena);
    kn_arena_destroy(arena);
    (void)CHECK_EQ(fingerprint(), before);
}

/* Pieces of every size end at the same budget. */
ARENA_TEST(a_budget_holds_for_every_size) {
    size_t piece;
    for (piece = 8; piece <= 2048; piece *= 2) {
        KnArena *scope = enter_as(with_budget("budgeted", BUDGET));
        size_t taken;
        REQUIRE(scope != NULL);
        taken = take_all(scope, piece);
        (void)CHECK_LE(stats_of(scope).held, BUDGET);
        (void)CHECK_LE(taken, BUDGET);
        (void)CHECK_GE(taken + piece + 512, BUDGET / 2);
        (void)CHECK(same_text(stats_of(scope).refused_by, "budgeted"));
        (void)leave(scope);
    }
}

/* Without budget there is none. */
ARENA_TEST(no_budget_is_no_limit) {
    KnArena *scope = enter("free");
    size_t taken;
    REQUIRE(scope != NULL);
    taken = take_all(scope, 1000);
    (void)CHECK_GE(taken, GROUND_BYTES / 2 < 16 * BUDGET ? GROUND_BYTES / 2 : 16 * BUDGET);
    (void)CHECK_EQ(stats_of(scope).budget, 0);
    (void)CHECK(stats_of(scope).refused_by == NULL);
    (void)leave(scope);
}

/* Cells and copies of texts are charged as everything else is. */
ARENA_TEST(a_budget_is_for_cells_too) {
    KnArena *scope = enter_as(with_budget("budgeted", BUDGET));
    size_t cells = 0, texts = 0;
    REQUIRE(scope != NULL);
    errors_begin();
    while (cells < 1000 && pair_in(scope, 1, NULL, NULL) != NULL) {
        cells++;
    }
    while (texts < 1000 && kn_arena_strdup(scope, "0123456789012345678901234567890123456789") != NULL) {
        texts++;
    }
    errors_ignore();
    (void)CHECK_GE(cells, BUDGET / 2 / (sizeof(Pair) + 8 + 8));
    (void)CHECK_LE(cells * (sizeof(Pair) + 8) + 40 * texts, BUDGET);
    (void)CHECK_LE(stats_of(scope).held, BUDGET);
    (void)leave(scope);
}

/* ---- The subtree ---- */

ARENA_TEST(a_budget_is_for_all_scopes_in_it) {
    KnArena *outer = enter_as(with_budget("outer", 5 * BUDGET)), *middle, *inner;
    size_t taken, round;
    REQUIRE(outer != NULL);
    for (round = 0; round < 20; round++) {
        middle = enter_as(with_budget("middle", 9 * BUDGET));
        REQUIRE(middle != NULL);
        inner = enter("inner");
        REQUIRE(inner != NULL);
        taken = take_all(inner, 64);
        (void)CHECK_GE(taken, 2 * BUDGET);
        (void)CHECK_LE(taken, 5 * BUDGET);
        /* Whose budget it was. */
        (void)CHECK(same_text(stats_of(inner).refused_by, "outer"));
        (void)CHECK_GE(stats_of(inner).refused, 1);
        (void)CHECK_LE(stats_of(outer).held, 5 * BUDGET);
        (void)CHECK(is_refused(middle, BUDGET));
        (void)CHECK(is_refused(outer, BUDGET));
        (void)leave(inner);
        (void)leave(middle);
    }
    /* What the inner ones had is the outer one's again. */
    (void)CHECK(kn_arena_alloc(outer, 2 * BUDGET) != NULL);
    (void)leave(outer);
}

/* An inner budget that is smaller comes first. */
ARENA_TEST(the_smaller_budget_rules) {
    KnArena *outer = enter_as(with_budget("outer", 4 * BUDGET)), *inner;
    REQUIRE(outer != NULL);
    inner = enter_as(with_budget("inner", BUDGET));
    REQUIRE(inner != NULL);
    (void)CHECK_LE(take_all(inner, 64), BUDGET);
    (void)CHECK(same_text(stats_of(inner).refused_by, "inner"));
    (void)CHECK(kn_arena_alloc(outer, BUDGET) != NULL);
    (void)leave(inner);
    (void)leave(outer);
}

/* A scope whose presize is more than an outer one has left is refused at enter; nothing has changed. */
ARENA_TEST(presize_beyond_the_budget_fails_at_enter) {
    KnArena *outer = enter_as(with_budget("outer", BUDGET)), *inner = NULL;
    KnArenaConfig config = named("inner");
    uint64_t print;
    KnArenaStats stats;
    REQUIRE(outer != NULL);
    print = fingerprint();
    stats = stats_of(outer);
    config.presize = BUDGET + 8;
    errors_begin();
    (void)CHECK_STATUS(kn_arena_enter(ground_heap(), &config, &inner), KN_E_BUDGET);
    errors_ignore();
    (void)CHECK(inner == NULL);
    (void)CHECK(kn_arena_innermost(ground_heap()) == outer);
    (void)CHECK_EQ(fingerprint(), print);
    (void)CHECK_EQ(stats_of(outer).held, stats.held);
    (void)CHECK_EQ(stats_of(outer).used, stats.used);
    config.presize = BUDGET / 2;
    inner = enter_as(config);
    REQUIRE(inner != NULL);
    (void)CHECK(kn_arena_alloc(inner, BUDGET / 2) != NULL);
    (void)leave(inner);
    (void)leave(outer);
}

/* A mark gives its part of the budget back, too. */
ARENA_TEST(rewinding_gives_the_budget_back) {
    KnArena *scope = enter_as(with_budget("again", BUDGET));
    KnArenaMark mark;
    size_t first, round;
    REQUIRE(scope != NULL);
    mark = kn_arena_mark(scope);
    first = take_all(scope, 48);
    for (round = 0; round < 10; round++) {
        (void)CHECK_STATUS(kn_arena_rewind(scope, mark), KN_OK);
        (void)CHECK_EQ(take_all(scope, 48), first);
    }
    (void)leave(scope);
}

/* ---- The soft budget ---- */

static struct {
    size_t calls, held;
    KnArena *arena;
} soft;

static void on_soft(KnArena *arena, size_t held, void *context) {
    soft.calls++;
    soft.arena = arena;
    soft.held = held;
    (*(size_t *)context)++;
}

static KnArenaConfig with_soft(const char *name, size_t limit, size_t *context) {
    KnArenaConfig config = named(name);
    memset(&soft, 0, sizeof soft);
    config.soft = limit;
    config.on_soft = on_soft;
    config.context = context;
    return config;
}

ARENA_TEST(a_soft_budget_tells_once) {
    size_t told = 0, taken = 0;
    KnArena *scope = enter_as(with_soft("soft", 3000, &told));
    REQUIRE(scope != NULL);
    (void)CHECK(kn_arena_alloc(scope, 100) != NULL);
    (void)CHECK_EQ(soft.calls, 0);
    for (; taken < 12000; taken += 200) {
        bool before = soft.calls == 0;
        (void)CHECK(kn_arena_alloc(scope, 200) != NULL);
        if (before && soft.calls == 1) {
            (void)CHECK(soft.arena == scope);
            (void)CHECK_GE(soft.held, 3000);
            (void)CHECK_GE(stats_of(scope).held, soft.held);
        }
        (void)CHECK(soft.calls == 1 || stats_of(scope).held <= 3000);
    }
    (void)CHECK_EQ(soft.calls, 1);
    (void)CHECK_EQ(told, 1);
    (void)leave(scope);
    (void)CHECK_EQ(soft.calls, 1);
}

/* What an inner scope takes is held by the outer one. */
ARENA_TEST(a_soft_budget_sees_inner_scopes) {
    size_t told = 0;
    KnArena *outer = enter_as(with_soft("soft", 8000, &told)), *inner;
    REQUIRE(outer != NULL);
    inner = enter("inner");
    REQUIRE(inner != NULL);
    (void)CHECK_EQ(soft.calls, 0);
    (void)CHECK(kn_arena_alloc(inner, 9000) != NULL);
    (void)CHECK_EQ(soft.calls, 1);
    (void)CHECK(soft.arena == outer);
    (void)leave(inner);
    (void)leave(outer);
    (void)CHECK_EQ(told, 1);
}

static void *from_hook;

static void use_heap(KnArena *arena, size_t held, void *context) {
    (void)arena;
    (void)held;
    (void)context;
    from_hook = kn_heap_malloc(ground_heap(), 60);
    GC_unref(new_pair(1, NULL, NULL));
}

/* The hook may use the heap. */
ARENA_TEST(a_soft_hook_may_allocate) {
    KnArenaConfig config = named("soft");
    KnArena *scope;
    uint8_t *at;
    size_t i;
    from_hook = NULL;
    config.soft = 2000;
    config.on_soft = use_heap;
    scope = enter_as(config);
    REQUIRE(scope != NULL);
    for (i = 0; i < 50; i++) {
        at = kn_arena_alloc(scope, 100);
        REQUIRE(at != NULL);
        fill_pattern(at, 100, 1);
    }
    (void)CHECK(from_hook != NULL);
    (void)CHECK(!kn_arena_contains(scope, from_hook));
    (void)CHECK(is_sound(ground_heap()));
    (void)leave(scope);
    kn_heap_free(ground_heap(), from_hook);
}

/* ---- The suggestion ---- */

/* A workflow whose size depends on `size`: raw memory, cells, texts, a scope in it, a mark. */
static bool workflow(KnArena *scope, size_t size) {
    KnArenaMark mark;
    size_t i;
    restart_random();
    for (i = 0; i < size; i++) {
        if (kn_arena_alloc(scope, random_size(200)) == NULL || pair_in(scope, 1, NULL, NULL) == NULL ||
            kn_arena_strdup(scope, "a text") == NULL || kn_arena_aligned_alloc(scope, 32, 40) == NULL) {
            return false;
        }
    }
    mark = kn_arena_mark(scope);
    if (kn_arena_alloc(scope, 50 * size) == NULL || kn_arena_rewind(scope, mark) != KN_OK) {
        return false;
    }
    return kn_arena_alloc(scope, 10 * size) != NULL;
}

/* With the suggested presize the same workflow fits into what enter took, even if nothing else may be had. */
ARENA_TEST(the_suggestion_fits_the_next_run) {
    size_t size;
    for (size = 1; size < 30; size += 4) {
        KnArenaConfig config = named("learning");
        KnArena *scope = enter_as(config);
        KnLeaveReport report;
        size_t held, suggested;
        REQUIRE(scope != NULL && CHECK(workflow(scope, size)));
        suggested = stats_of(scope).suggested;
        report = leave(scope);
        (void)CHECK_EQ(report.suggested, suggested);
        (void)CHECK_GE(report.suggested, report.peak);
        (void)CHECK_LE(report.suggested, report.peak + report.peak / 4 + 128);
        config.presize = report.suggested;
        config.flags = KN_ARENA_FIXED;
        scope = enter_as(config);
        REQUIRE(scope != NULL);
        held = stats_of(scope).held;
        (void)CHECK(workflow(scope, size));
        (void)CHECK_EQ(stats_of(scope).held, held);
        (void)CHECK_EQ(stats_of(scope).blocks, 1);
        report = leave(scope);
        /* It does not grow with each run, but for what alignment wastes at another address. */
        (void)CHECK_LE(report.suggested, config.presize + 64);
    }
}

/* It is learned from the most that was used, not from what is used at leave. */
ARENA_TEST(the_peak_counts) {
    KnArena *scope = enter("peak");
    KnArenaMark mark;
    KnLeaveReport report;
    REQUIRE(scope != NULL);
    mark = kn_arena_mark(scope);
    (void)CHECK(kn_arena_alloc(scope, 5000) != NULL);
    (void)CHECK_STATUS(kn_arena_rewind(scope, mark), KN_OK);
    (void)CHECK(kn_arena_alloc(scope, 100) != NULL);
    (void)CHECK_GE(stats_of(scope).peak, 5000);
    (void)CHECK_LE(stats_of(scope).used, 600);
    report = leave(scope);
    (void)CHECK_GE(report.peak, 5000);
    (void)CHECK_LE(report.used, 600);
    (void)CHECK_GE(report.suggested, 5000);
}

SUITE("arena_budgets", EACH_LAYOUT(a_budget_is_never_exceeded), EACH_LAYOUT(a_budget_holds_for_every_size),
      EACH_LAYOUT(no_budget_is_no_limit), EACH_LAYOUT(a_budget_is_for_cells_too),
      EACH_LAYOUT(a_budget_is_for_all_scopes_in_it), EACH_LAYOUT(the_smaller_budget_rules),
      EACH_LAYOUT(presize_beyond_the_budget_fails_at_enter), EACH_LAYOUT(rewinding_gives_the_budget_back),
      EACH_LAYOUT(a_soft_budget_tells_once), EACH_LAYOUT(a_soft_budget_sees_inner_scopes),
      EACH_LAYOUT(a_soft_hook_may_allocate), EACH_LAYOUT(the_suggestion_fits_the_next_run),
      EACH_LAYOUT(the_peak_counts))
