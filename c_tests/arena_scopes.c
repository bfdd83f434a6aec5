/*
 * Scopes: last in, first out at the heap's top end; what was allocated between enter and leave is gone, and the heap is
 * what it was, but for what was allocated outside.
 */
#include "arenas.h"

#include <string.h>

enum { MOST_DEEP = 8, MOST_OUTSIDE = 48, MOST_INSIDE = 24 };

/* ---- One scope ---- */

/* A thousand workflows, each of its own size: each leaves the heap exactly as it was found. */
ARENA_TEST(leave_restores_the_heap) {
    uint64_t before = fingerprint();
    size_t used = heap_used(), blocks = heap_blocks(), largest = largest_allocation(ground_heap()), turn;
    for (turn = 0; turn < 60; turn++) {
        KnArenaConfig config = named("workflow");
        size_t wanted = 0, most = random_below(20000);
        KnArena *scope;
        KnLeaveReport report;
        config.presize = turn % 3 == 0 ? most : 0;
        scope = enter_as(config);
        REQUIRE(scope != NULL);
        (void)CHECK(fingerprint() != before);
        while (wanted < most) {
            size_t bytes = random_size(2000);
            void *at = kn_arena_alloc(scope, bytes);
            REQUIRE(at != NULL && lies_in_memory(at, bytes));
            fill_pattern(at, bytes, (uint32_t)turn);
            wanted += bytes;
        }
        report = leave(scope);
        (void)CHECK_GE(report.used, wanted);
        (void)CHECK_GE(report.peak, report.used);
        (void)CHECK_GE(report.held, report.peak);
        (void)CHECK(same_text(report.name, "workflow"));
        (void)CHECK_EQ(report.children + report.cleanups + report.destroyed + report.released + report.dropped, 0);
        (void)CHECK_EQ(report.escapes + report.nulled + report.promoted + report.weak, 0);
        (void)CHECK_EQ(fingerprint(), before);
    }
    (void)CHECK_EQ(heap_used(), used);
    (void)CHECK_EQ(heap_blocks(), blocks);
    (void)CHECK_EQ(largest_allocation(ground_heap()), largest);
    (void)CHECK(is_sound(ground_heap()));
}

/* Its memory is at the top end: what is allocated beside it lies below, and there is little above. */
ARENA_TEST(a_scope_lies_at_the_top_end) {
    KnArena *scope;
    uint8_t *inside, *outside, *at;
    size_t i, holes;
    KnHeapStats stats;
    (void)CHECK_STATUS(kn_heap_stats(ground_heap(), &stats), KN_OK);
    holes = stats.free - largest_allocation(ground_heap());
    scope = enter("top");
    REQUIRE(scope != NULL);
    inside = kn_arena_alloc(scope, 100);
    outside = kn_heap_malloc(ground_heap(), 100);
    REQUIRE(inside != NULL && outside != NULL);
    (void)CHECK_STATUS(kn_heap_stats(ground_heap(), &stats), KN_OK);
    (void)CHECK_GE((size_t)(inside - outside), stats.total / 2);
    for (i = 0; i < 40; i++) {
        at = kn_arena_alloc(scope, 200);
        REQUIRE(at != NULL);
        (void)CHECK(at > outside);
    }
    /* All that is free, but for the holes of before, is in one piece between the two. */
    (void)CHECK_STATUS(kn_heap_stats(ground_heap(), &stats), KN_OK);
    (void)CHECK_GE(largest_allocation(ground_heap()) + holes + 64, stats.free);
    kn_heap_free(ground_heap(), outside);
    (void)leave(scope);
}

ARENA_TEST(presize_is_taken_at_enter) {
    KnArenaConfig config = named("presized");
    size_t before = heap_used(), inside;
    KnArena *scope;
    KnArenaStats stats;
    size_t taken = 0;
    config.presize = 8192;
    scope = enter_as(config);
    REQUIRE(scope != NULL);
    inside = heap_used();
    (void)CHECK_GE(inside, before + 8192);
    (void)CHECK_LE(inside, before + 8192 + 512);
    stats = stats_of(scope);
    (void)CHECK_EQ(stats.presize, 8192);
    (void)CHECK_GE(stats.held, 8192);
    (void)CHECK_EQ(stats.blocks, 1);
    (void)CHECK_EQ(stats.depth, 1);
    (void)CHECK_EQ(stats.used, 0);
    for (; taken + 64 <= 8192; taken += 64) {
        REQUIRE(kn_arena_alloc(scope, 64) != NULL);
    }
    (void)CHECK_EQ(heap_used(), inside);
    (void)CHECK_EQ(stats_of(scope).blocks, 1);
    (void)leave(scope);
}

/* Want of memory shows at enter, and nothing has changed. */
ARENA_TEST(presize_that_does_not_fit_fails_at_enter) {
    uint64_t before = fingerprint();
    size_t too_much[4], i;
    KnHeapStats stats;
    (void)CHECK_STATUS(kn_heap_stats(ground_heap(), &stats), KN_OK);
    too_much[0] = stats.free;
    too_much[1] = stats.total + 8;
    too_much[2] = opaque(SIZE_MAX) / 2;
    too_much[3] = opaque(SIZE_MAX);
    for (i = 0; i < 4; i++) {
        KnArenaConfig config = named("too much");
        KnArena *scope = NULL;
        config.presize = too_much[i];
        (void)CHECK_STATUS(kn_arena_enter(ground_heap(), &config, &scope), KN_E_NO_MEMORY);
        (void)CHECK(scope == NULL);
        (void)CHECK_EQ(fingerprint(), before);
        (void)CHECK(kn_arena_innermost(ground_heap()) == NULL);
    }
    (void)CHECK(is_sound(ground_heap()));
}

ARENA_TEST(a_fixed_scope_never_grows) {
    KnArenaConfig config = named("fixed");
    KnArena *scope;
    size_t used, taken = 0;
    config.presize = 4096;
    config.flags = KN_ARENA_FIXED;
    scope = enter_as(config);
    REQUIRE(scope != NULL);
    used = heap_used();
    while (taken < 8192 && kn_arena_alloc(scope, 64) != NULL) {
        taken += 64;
    }
    (void)CHECK_GE(taken, 4096);
    (void)CHECK_LE(taken, 4096 + 64);
    (void)CHECK(kn_arena_alloc(scope, 4096) == NULL);
    (void)CHECK(kn_arena_aligned_alloc(scope, 64, 256) == NULL);
    (void)CHECK(GC_newSizedIn(scope, list_type, 512) == NULL);
    (void)CHECK_EQ(heap_used(), used);
    (void)CHECK_EQ(stats_of(scope).blocks, 1);
    (void)leave(scope);
}

/* What a scope gives back is zeros or 0xDB; looked at away from the ends, where the heap keeps its links. */
ARENA_TEST(memory_is_wiped_as_configured) {
    static const uint32_t flags[] = {KN_ARENA_ZERO, KN_ARENA_POISON};
    static const uint8_t value[] = {0, 0xDB};
    size_t i;
    for (i = 0; i < 2; i++) {
        KnArenaConfig config = named("wiped");
        KnArenaMark mark;
        KnArena *scope;
        uint8_t *kept, *at;
        config.flags = flags[i];
        scope = enter_as(config);
        REQUIRE(scope != NULL);
        kept = kn_arena_alloc(scope, 600);
        REQUIRE(kept != NULL);
        fill_pattern(kept, 600, 1);
        mark = kn_arena_mark(scope);
        at = kn_arena_alloc(scope, 1000);
        REQUIRE(at != NULL);
        memset(at, 0x55, 1000);
        (void)CHECK_STATUS(kn_arena_rewind(scope, mark), KN_OK);
        (void)CHECK(holds_byte(at + 100, 800, value[i]));
        (void)CHECK_PATTERN(kept, 600, 1);
        at = kn_arena_alloc(scope, 1000);
        REQUIRE(at != NULL);
        memset(at, 0x55, 1000);
        (void)leave(scope);
        (void)CHECK(holds_byte(at + 100, 800, GIVEN_BACK(value[i])));
        (void)CHECK(holds_byte(kept + 100, 400, GIVEN_BACK(value[i])));
    }
}

/* ---- Scopes in scopes ---- */

ARENA_TEST(nested_scopes_are_left_in_reverse) {
    static const char *const names[MOST_DEEP] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    KnArena *scopes[MOST_DEEP];
    uint64_t prints[MOST_DEEP];
    uint8_t *contents[MOST_DEEP];
    size_t round, i;
    for (round = 0; round < 8; round++) {
        for (i = 0; i < MOST_DEEP; i++) {
            KnArenaConfig config = named(names[i]);
            size_t bytes = random_between(1, 600);
            config.presize = round % 2 == 0 ? 0 : random_size(1200);
            prints[i] = fingerprint();
            scopes[i] = enter_as(config);
            REQUIRE(scopes[i] != NULL);
            (void)CHECK(kn_arena_innermost(ground_heap()) == scopes[i]);
            (void)CHECK(kn_arena_parent(scopes[i]) == (i == 0 ? NULL : scopes[i - 1]));
            (void)CHECK(same_text(kn_arena_name(scopes[i]), names[i]));
            (void)CHECK_EQ(stats_of(scopes[i]).depth, i + 1);
            (void)CHECK(kn_arena_alloc(scopes[i], bytes) != NULL);
            contents[i] = kn_arena_alloc(scopes[i], 200);
            REQUIRE(contents[i] != NULL);
            fill_pattern(contents[i], 200, (uint32_t)i);
        }
        /* An outer scope can be used while inner ones are open. */
        for (i = 0; i < MOST_DEEP / 2; i++) {
            uint8_t *more = kn_arena_alloc(scopes[i], 300);
            REQUIRE(more != NULL);
            memset(more, 0x11, 300);
            (void)CHECK(kn_arena_contains(scopes[i], more));
        }
        for (i = MOST_DEEP; i > 0;) {
            size_t below = i;
            i--;
            while (below > 0) {
                below--;
                (void)CHECK_PATTERN(contents[below], 200, (uint32_t)below);
            }
            (void)CHECK(same_text(leave(scopes[i]).name, names[i]));
            (void)CHECK(kn_arena_innermost(ground_heap()) == (i == 0 ? NULL : scopes[i - 1]));
        }
        (void)CHECK_EQ(fingerprint(), prints[0]);
    }
}

/* The heap at each leave is the heap at enter, if the outer scopes did not grow in between. */
ARENA_TEST(each_leave_restores_its_own_enter) {
    KnArena *scopes[MOST_DEEP];
    uint64_t prints[MOST_DEEP];
    size_t i;
    for (i = 0; i < MOST_DEEP; i++) {
        prints[i] = fingerprint();
        scopes[i] = enter(NULL);
        REQUIRE(scopes[i] != NULL);
        (void)CHECK(kn_arena_alloc(scopes[i], 500 + 700 * (i % 3)) != NULL);
    }
    while (i > 0) {
        i--;
        (void)leave(scopes[i]);
        (void)CHECK_EQ(fingerprint(), prints[i]);
    }
}

/* A scope that fits into what is left of its parent's memory lies there: the heap does not see it. */
ARENA_TEST(a_presized_child_lies_in_its_parent) {
    KnArenaConfig config = named("parent");
    KnArena *parent, *child;
    uint8_t *kept, *at;
    size_t used, round;
    uint64_t print;
    config.presize = 8192;
    parent = enter_as(config);
    REQUIRE(parent != NULL);
    kept = kn_arena_alloc(parent, 1000);
    REQUIRE(kept != NULL);
    fill_pattern(kept, 1000, 1);
    used = heap_used();
    print = fingerprint();
    for (round = 0; round < 20; round++) {
        config = named("child");
        config.presize = 2048;
        child = enter_as(config);
        REQUIRE(child != NULL);
        at = kn_arena_alloc(child, 2000);
        REQUIRE(at != NULL);
        memset(at, 0x77, 2000);
        (void)CHECK_EQ(heap_used(), used);
        (void)leave(child);
    }
    (void)CHECK_EQ(fingerprint(), print);
    (void)CHECK_PATTERN(kept, 1000, 1);
    /* And nothing of the parent was used up. */
    for (round = 0; round < 7; round++) {
        (void)CHECK(kn_arena_alloc(parent, 1000) != NULL);
    }
    (void)CHECK_EQ(heap_used(), used);
    (void)leave(parent);
}

/* ---- What stays outside ---- */

typedef struct Outside {
    uint8_t *at;
    size_t bytes;
    uint64_t term;
} Outside;

static Outside outside[MOST_OUTSIDE];
static size_t outside_count;
static uint64_t outside_sum; /* of the terms of all of them */

static bool add_outside(size_t bytes) {
    Outside *slot = &outside[outside_count];
    if (outside_count == MOST_OUTSIDE) {
        return false;
    }
    slot->at = kn_heap_malloc(ground_heap(), bytes);
    if (slot->at == NULL) {
        return false;
    }
    slot->bytes = bytes;
    slot->term = term(slot->at);
    outside_sum += slot->term;
    fill_pattern(slot->at, bytes, (uint32_t)bytes);
    outside_count++;
    return true;
}

static void drop_outside(size_t index) {
    Outside *slot = &outside[index];
    (void)CHECK_PATTERN(slot->at, slot->bytes, (uint32_t)slot->bytes);
    outside_sum -= slot->term;
    kn_heap_free(ground_heap(), slot->at);
    *slot = outside[--outside_count];
}

static void drop_all_outside(void) {
    while (outside_count > 0) {
        drop_outside(outside_count - 1);
    }
}

/* The fingerprint after leave is that before, plus what was added, minus what went. */
ARENA_TEST(what_is_allocated_outside_stays) {
    size_t i, round;
    uint64_t before;
    outside_count = 0;
    outside_sum = 0;
    before = fingerprint();
    for (i = 0; i < 10; i++) {
        REQUIRE(add_outside(40 + 30 * i));
    }
    (void)CHECK_EQ(fingerprint(), before + outside_sum);
    for (round = 0; round < 10; round++) {
        KnArena *scope = enter("beside");
        REQUIRE(scope != NULL);
        for (i = 0; i < 20; i++) {
            (void)CHECK(kn_arena_alloc(scope, random_size(300)) != NULL);
            if (random_below(2) == 0) {
                (void)add_outside(random_between(1, 300));
            } else if (outside_count > 0) {
                drop_outside(random_below(outside_count));
            }
        }
        (void)leave(scope);
        (void)CHECK_EQ(fingerprint(), before + outside_sum);
        (void)CHECK(is_sound(ground_heap()));
    }
    drop_all_outside();
    (void)CHECK_EQ(fingerprint(), before);
}

/* Counted cells and always-active blocks that are made meanwhile live on. */
ARENA_TEST(cells_and_resident_blocks_stay) {
    uint64_t before = fingerprint();
    Pair *pairs[30];
    uint8_t *resident[10];
    size_t i, round;
    for (round = 0; round < 3; round++) {
        KnArena *scope = enter("cells");
        REQUIRE(scope != NULL);
        for (i = 0; i < 30; i++) {
            (void)CHECK(kn_arena_alloc(scope, 100) != NULL);
            pairs[i] = new_pair((uint32_t)i, NULL, NULL);
            REQUIRE(pairs[i] != NULL);
            if (i % 3 == 0) {
                resident[i / 3] = kn_resident_alloc(ground_heap(), 50 + i);
                REQUIRE(resident[i / 3] != NULL);
                (void)CHECK(!kn_arena_contains(scope, resident[i / 3]));
                fill_pattern(resident[i / 3], 50 + i, (uint32_t)i);
            }
            (void)CHECK(!kn_arena_contains(scope, pairs[i]));
        }
        (void)leave(scope);
        for (i = 0; i < 30; i++) {
            (void)CHECK_EQ(pairs[i]->id, i);
            (void)CHECK_EQ(GC_refcount(pairs[i]), 1);
            GC_unref(pairs[i]);
            if (i % 3 == 0) {
                (void)CHECK_PATTERN(resident[i / 3], 50 + i, (uint32_t)i);
                kn_resident_free(ground_heap(), resident[i / 3]);
            }
        }
    }
    GC_runOrc();
    if (gc().total == 0) {
        (void)CHECK_EQ(fingerprint(), before);
    }
}

/* ---- Several heaps, several regions ---- */

/* Scopes are last in, first out for each heap, whatever goes on in others. */
TEST(each_heap_has_scopes_of_its_own) {
    KnHeap *heaps[4];
    KnArena *outer[4], *inner[4];
    uint64_t prints[4];
    KnArenaConfig config = named("one of many");
    size_t i, round;
    for (i = 0; i < 4; i++) {
        heaps[i] = new_heap(16 * 1024 + 512 * i);
        REQUIRE(heaps[i] != NULL);
        /* What is made at the first scope is made. */
        REQUIRE(kn_arena_enter(heaps[i], NULL, &outer[i]) == KN_OK);
        (void)leave(outer[i]);
        prints[i] = kn_heap_fingerprint(heaps[i]);
    }
    for (round = 0; round < 5; round++) {
        for (i = 0; i < 8; i++) {
            KnArena **scope = i < 4 ? &outer[i] : &inner[i - 4];
            REQUIRE(kn_arena_enter(heaps[i % 4], &config, scope) == KN_OK);
            (void)CHECK(kn_arena_alloc(*scope, 300 + 100 * i) != NULL);
            (void)CHECK(kn_arena_innermost(heaps[i % 4]) == *scope);
        }
        for (i = 0; i < 4; i++) {
            (void)leave(inner[(i + round) % 4]);
            (void)CHECK(kn_arena_innermost(heaps[(i + round) % 4]) == outer[(i + round) % 4]);
            (void)leave(outer[(i + round) % 4]);
            (void)CHECK(kn_arena_innermost(heaps[(i + round) % 4]) == NULL);
        }
        for (i = 0; i < 4; i++) {
            (void)CHECK_EQ(kn_heap_fingerprint(heaps[i]), prints[i]);
            (void)CHECK(is_sound(heaps[i]));
        }
    }
}

/* Where one region is too small for all of it a scope has memory in several. */
TEST(a_scope_may_span_regions) {
    KnHeap *heap = new_heap(4096);
    KnArena *scope;
    uint8_t *at[MOST_INSIDE];
    uint64_t print;
    size_t i, round;
    REQUIRE(heap != NULL);
    for (i = 0; i < 3; i++) {
        uint8_t *more = take_memory(4096, 8 * i);
        REQUIRE(more != NULL);
        REQUIRE(kn_heap_add_region_with(heap, more, 4096, current_config()) == KN_OK);
    }
    REQUIRE(kn_arena_enter(heap, NULL, &scope) == KN_OK);
    (void)leave(scope);
    print = kn_heap_fingerprint(heap);
    for (round = 0; round < 4; round++) {
        REQUIRE(kn_arena_enter(heap, NULL, &scope) == KN_OK);
        for (i = 0; i < 16; i++) {
            at[i] = kn_arena_alloc(scope, 600);
            REQUIRE(at[i] != NULL && lies_in_memory(at[i], 600));
            fill_pattern(at[i], 600, (uint32_t)i);
        }
        (void)CHECK_GE(stats_of(scope).blocks, 2);
        for (i = 0; i < 16; i++) {
            (void)CHECK_PATTERN(at[i], 600, (uint32_t)i);
            (void)CHECK(kn_arena_contains(scope, at[i]));
        }
        (void)leave(scope);
        (void)CHECK_EQ(kn_heap_fingerprint(heap), print);
        (void)CHECK(is_sound(heap));
    }
}

/* ---- Random nests against a shadow ---- */

typedef struct Level {
    KnArena *scope;
    size_t count;
    struct {
        uint8_t *at;
        size_t bytes;
    } inside[MOST_INSIDE];
} Level;

static Level levels[MOST_DEEP];

static void verify_level(size_t depth) {
    size_t i;
    for (i = 0; i < levels[depth].count; i++) {
        (void)CHECK_PATTERN(levels[depth].inside[i].at, levels[depth].inside[i].bytes, (uint32_t)(depth + i));
        (void)CHECK(kn_arena_contains(levels[depth].scope, levels[depth].inside[i].at));
    }
}

ARENA_TEST(random_nests) {
    uint64_t before = fingerprint();
    size_t depth = 0, turn, bytes;
    outside_count = 0;
    outside_sum = 0;
    for (turn = 0; turn < 1500; turn++) {
        Level *top = &levels[depth == 0 ? 0 : depth - 1];
        KnArenaConfig config = named("random");
        KnArena *scope = NULL;
        switch (random_below(12)) {
        case 0:
        case 1:
            config.presize = random_below(3) == 0 ? random_size(2000) : 0;
            if (depth < MOST_DEEP && kn_arena_enter(ground_heap(), &config, &scope) == KN_OK) {
                levels[depth].scope = scope;
                levels[depth++].count = 0;
            }
            break;
        case 2:
            if (depth > 0) {
                verify_level(--depth);
                (void)leave(levels[depth].scope);
                if (depth == 0) {
                    (void)CHECK_EQ(fingerprint(), before + outside_sum);
                }
            }
            break;
        case 3:
        case 4:
            (void)add_outside(random_size(400));
            break;
        case 5:
        case 6:
            if (outside_count > 0) {
                drop_outside(random_below(outside_count));
            }
            break;
        default: /* mostly in the innermost, sometimes in an outer one */
            if (depth > 1 && random_below(5) == 0) {
                top = &levels[random_below(depth)];
            }
            bytes = random_size(400);
            if (depth > 0 && top->count < MOST_INSIDE) {
                uint8_t *at = kn_arena_alloc(top->scope, bytes);
                if (at != NULL) {
                    (void)CHECK(is_aligned(at, 8));
                    fill_pattern(at, bytes, (uint32_t)((size_t)(top - levels) + top->count));
                    top->inside[top->count].at = at;
                    top->inside[top->count++].bytes = bytes;
                }
            }
        }
        if (turn % 100 == 0) {
            (void)CHECK(is_sound(ground_heap()));
        }
    }
    while (depth > 0) {
        verify_level(--depth);
        (void)leave(levels[depth].scope);
    }
    (void)CHECK_EQ(fingerprint(), before + outside_sum);
    drop_all_outside();
    (void)CHECK_EQ(fingerprint(), before);
}

SUITE("arena_scopes", EACH_LAYOUT(leave_restores_the_heap), EACH_LAYOUT(a_scope_lies_at_the_top_end),
      EACH_LAYOUT(presize_is_taken_at_enter), EACH_LAYOUT(presize_that_does_not_fit_fails_at_enter),
      EACH_LAYOUT(a_fixed_scope_never_grows), EACH_LAYOUT(memory_is_wiped_as_configured),
      EACH_LAYOUT(nested_scopes_are_left_in_reverse), EACH_LAYOUT(each_leave_restores_its_own_enter),
      EACH_LAYOUT(a_presized_child_lies_in_its_parent), EACH_LAYOUT(what_is_allocated_outside_stays),
      EACH_LAYOUT(cells_and_resident_blocks_stay), EACH_LAYOUT(each_heap_has_scopes_of_its_own),
      EACH_LAYOUT(a_scope_may_span_regions), EACH_LAYOUT(random_nests))
