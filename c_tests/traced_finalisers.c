/*
 * Finalisers: each runs once, while all that is dead is intact; they free what they like, get no memory, and jump away,
 * and whoever jumps away can go on, or begin anew.
 */
#include "traced.h"

#include <setjmp.h>
#include <string.h>

enum { DEAD = 24 };

static jmp_buf escape;
static uint8_t *dead[DEAD], *live[DEAD];
static bool dead_freed[DEAD], live_freed[DEAD]; /* by a finaliser */
static size_t jumps;

/* Dead and live blocks by turns, each with a pattern; the live ones are roots. Dead ones lead to dead and to live ones. */
static bool make_blocks(KnTraced *heap) {
    size_t i;
    memset(roots, 0, sizeof roots);
    for (i = 0; i < DEAD; i++) {
        size_t bytes = 2 * WORD + 1 + random_below(100);
        dead_freed[i] = live_freed[i] = false;
        dead[i] = kn_traced_alloc(heap, bytes, KN_FINALISE | (i % 4 == 0 ? KN_NO_SCAN : 0));
        live[i] = kn_traced_alloc(heap, bytes, i % 2 == 0 ? KN_FINALISE : 0);
        if (!CHECK(dead[i] != NULL && live[i] != NULL)) {
            return false;
        }
        *slot(dead[i], 0) = i > 0 ? dead[i - 1] : NULL;
        *slot(dead[i], 1) = live[i];
        fill_pattern(dead[i] + 2 * WORD, bytes - 2 * WORD, (uint32_t)i);
        fill_pattern(live[i], bytes, (uint32_t)(100 + i));
        roots[i] = live[i];
    }
    return true;
}

static bool dead_is_intact(size_t i) {
    return *slot(dead[i], 0) == (i > 0 ? (void *)dead[i - 1] : NULL) && *slot(dead[i], 1) == live[i] &&
           holds_pattern(dead[i] + 2 * WORD, 1, (uint32_t)i);
}

/* The dead that no finaliser freed were finalised once, all are gone; what lives is as it was. */
static void check_outcome(KnTraced *heap) {
    size_t i;
    for (i = 0; i < DEAD; i++) {
        (void)CHECK_EQ(finalised_for(dead[i]), !dead_freed[i]);
        (void)CHECK_EQ(kn_traced_size(heap, dead[i]), 0);
        if (!live_freed[i]) {
            (void)CHECK_GE(kn_traced_size(heap, live[i]), 2 * WORD);
            (void)CHECK_EQ(kn_traced_flags(heap, live[i]), i % 2 == 0 ? KN_FINALISE : 0);
            (void)CHECK_PATTERN(live[i], 2 * WORD, (uint32_t)(100 + i));
            (void)CHECK_EQ(finalised_for(live[i]), 0);
        }
    }
    (void)CHECK(!kn_traced_is_locked(heap));
    (void)CHECK(is_sound_traced(heap));
}

/* ---- What finalisers find, and may do ---- */

static void all_are_intact(KnTraced *heap, void *block) {
    size_t i;
    (void)block;
    for (i = 0; i < DEAD; i++) {
        (void)CHECK(dead_is_intact(i));
        (void)CHECK_PATTERN(live[i], 2 * WORD, (uint32_t)(100 + i));
    }
    (void)CHECK(kn_traced_is_locked(heap));
    (void)CHECK(kn_traced_is_marked(heap, live[0]) && !kn_traced_is_marked(heap, dead[0]));
}

TRACED_TEST(all_dead_blocks_are_intact) {
    KnTraced *heap = small_heap();
    REQUIRE(heap != NULL && make_blocks(heap));
    (void)CHECK_EQ(numbers(heap).finalisers, DEAD + DEAD / 2);
    in_finaliser = all_are_intact;
    collect_now(heap);
    in_finaliser = NULL;
    (void)CHECK_EQ(finalised(), DEAD);
    (void)CHECK_EQ(numbers(heap).finalisers, DEAD / 2);
    check_outcome(heap);
    /* Who was finalised once is not told again. */
    collect_now(heap);
    (void)CHECK_EQ(finalised(), DEAD);
    memset(roots, 0, sizeof roots);
    collect_now(heap);
    (void)CHECK_EQ(finalised(), DEAD + DEAD / 2);
    (void)CHECK_EQ(numbers(heap).finalisers, 0);
    (void)CHECK_EQ(numbers(heap).used, 0);
}

static void allocates(KnTraced *heap, void *block) {
    (void)CHECK(kn_traced_alloc(heap, 1, 0) == NULL);
    (void)CHECK(kn_traced_alloc(heap, 1, KN_LONG_LIVED | KN_FINALISE) == NULL);
    (void)CHECK(kn_traced_realloc(heap, NULL, 10, true) == NULL);
    (void)CHECK(kn_traced_realloc(heap, block, 1000, true) == NULL);
    (void)CHECK(kn_traced_realloc(heap, live[1], 1000, true) == NULL);
    (void)CHECK(!kn_traced_step(heap, 100));
}

TRACED_TEST(finalisers_get_no_memory) {
    KnTraced *heap = small_heap();
    REQUIRE(heap != NULL && make_blocks(heap));
    in_finaliser = allocates;
    collect_now(heap);
    (void)CHECK_EQ(finalised(), DEAD);
    (void)CHECK_EQ(asked(), 0);
    (void)CHECK_EQ(told_short(), 0);
    check_outcome(heap);
}

static size_t which(const void *block) {
    size_t i = 0;
    while (i < DEAD && dead[i] != block) {
        i++;
    }
    return i;
}

/* Its own block; another one that is dead, told already or not; one that lives. */
static void frees(KnTraced *heap, void *block) {
    size_t i = which(block);
    REQUIRE(i < DEAD);
    (void)CHECK(dead_is_intact(i));
    if (i % 3 == 0) {
        kn_traced_free(heap, block);
    } else if (i % 3 == 1 && i + 4 < DEAD && finalised_for(dead[i + 4]) == 0) {
        kn_traced_free(heap, dead[i + 4]);
        dead_freed[i + 4] = true;
    } else {
        kn_traced_free(heap, live[i]);
        (void)CHECK_EQ(kn_traced_size(heap, live[i]), 0);
        live_freed[i] = true;
        roots[i] = NULL;
    }
}

TRACED_TEST(finalisers_free) {
    KnTraced *heap = small_heap();
    size_t i, left = 0;
    REQUIRE(heap != NULL && make_blocks(heap));
    in_finaliser = frees;
    collect_now(heap);
    in_finaliser = NULL;
    check_outcome(heap);
    for (i = 0; i < DEAD; i++) {
        left += !live_freed[i];
    }
    (void)CHECK_EQ(numbers(heap).blocks, left);
    collect_now(heap);
    (void)CHECK_EQ(numbers(heap).blocks, left);
    /* The memory of what was freed is there for others. */
    memset(roots, 0, sizeof roots);
    collect_now(heap);
    (void)CHECK_EQ(numbers(heap).largest_free, numbers(heap).total);
}

/* ---- Finalisers that jump away ---- */

static void jumps_away(KnTraced *heap, void *block) {
    (void)heap;
    (void)CHECK(which(block) == DEAD || dead_is_intact(which(block)));
    jumps++;
    longjmp(escape, 1);
}

/* Calls it, and says whether it came back the ordinary way. */
static bool came_back(void (*call)(KnTraced *heap), KnTraced *heap) {
    if (setjmp(escape) == 0) {
        call(heap);
        return true;
    }
    return false;
}

static void allocate_more(KnTraced *heap) {
    while (asked() == 0 && kn_traced_alloc(heap, 50, KN_NO_SCAN) != NULL) {
    }
}

TRACED_TEST(who_jumps_away_goes_on) {
    KnTraced *heap = small_heap();
    size_t ends = 1;
    REQUIRE(heap != NULL && make_blocks(heap));
    jumps = 0;
    in_finaliser = jumps_away;
    (void)CHECK(!came_back(collect_now, heap));
    for (; !came_back(kn_traced_collect_end, heap) && ends < 2 * DEAD; ends++) {
        (void)CHECK(kn_traced_is_locked(heap));
        (void)CHECK(kn_traced_alloc(heap, 8, 0) == NULL);
    }
    (void)CHECK_EQ(jumps, DEAD);
    (void)CHECK_EQ(ends, DEAD);
    (void)CHECK_EQ(finalised(), DEAD);
    in_finaliser = NULL;
    check_outcome(heap);
    (void)CHECK_EQ(numbers(heap).blocks, DEAD);
    (void)CHECK_EQ(numbers(heap).collections, 1);
}

TRACED_TEST(who_jumps_away_begins_anew) {
    KnTraced *heap = small_heap();
    size_t starts = 0;
    REQUIRE(heap != NULL && make_blocks(heap));
    jumps = 0;
    in_finaliser = jumps_away;
    while (!came_back(collect_now, heap) && starts < 2 * DEAD) {
        starts++;
    }
    (void)CHECK_EQ(starts, DEAD);
    (void)CHECK_EQ(finalised(), DEAD);
    in_finaliser = NULL;
    check_outcome(heap);
    (void)CHECK_EQ(numbers(heap).collections, 1);
}

/* From a function whose frame has an array where the callback's was, and nothing has been written there since. */
static void give_up_far_down(KnTraced *heap) {
    volatile uint8_t frame[600];
    (void)sizeof frame;
    kn_traced_collect_abandon(heap);
}

TRACED_TEST(who_jumps_away_gives_it_up) {
    KnTraced *heap = small_heap();
    size_t times = 0;
    REQUIRE(heap != NULL && make_blocks(heap));
    jumps = 0;
    in_finaliser = jumps_away;
    while (!came_back(collect_now, heap) && times < 2 * DEAD) {
        (void)CHECK(kn_traced_is_locked(heap));
        give_up_far_down(heap);
        times++;
        (void)CHECK(!kn_traced_is_locked(heap));
        (void)CHECK_EQ(numbers(heap).blocks, 2 * DEAD);
        (void)CHECK_EQ(numbers(heap).collections, 0);
        EXPECT_ERROR(KN_E_ORDER, kn_traced_collect_end(heap));
        (void)CHECK(kn_traced_realloc(heap, live[0], 1, false) == live[0]);
    }
    (void)CHECK_EQ(times, DEAD);
    (void)CHECK_EQ(finalised(), DEAD);
    in_finaliser = NULL;
    check_outcome(heap);
    (void)CHECK_EQ(numbers(heap).collections, 1);
}

static void gives_up(KnTraced *heap, void *block) {
    (void)CHECK(dead_is_intact(which(block)));
    kn_traced_collect_abandon(heap);
    (void)CHECK(!kn_traced_is_locked(heap));
}

/* In a finaliser: the collection that called it does nothing more. */
TRACED_TEST(finalisers_give_up) {
    KnTraced *heap = small_heap();
    size_t i;
    REQUIRE(heap != NULL && make_blocks(heap));
    in_finaliser = gives_up;
    for (i = 1; i < DEAD; i++) {
        collect_now(heap);
        (void)CHECK_EQ(finalised(), i);
        (void)CHECK_EQ(numbers(heap).blocks, 2 * DEAD);
    }
    in_finaliser = NULL;
    collect_now(heap);
    check_outcome(heap);
}

/* Out of a collection that the heap has asked for: out of an allocation. */
TRACED_TEST(out_of_an_allocation) {
    KnTraced *heap = small_heap();
    REQUIRE(heap != NULL && make_blocks(heap));
    jumps = 0;
    in_finaliser = jumps_away;
    (void)CHECK(!came_back(allocate_more, heap));
    (void)CHECK_EQ(asked(), 1);
    (void)CHECK(kn_traced_is_locked(heap));
    in_finaliser = NULL;
    kn_traced_collect_end(heap);
    (void)CHECK_EQ(finalised(), DEAD);
    check_outcome(heap);
    /* And the heap asks again when it is full. */
    while (asked() < 2) {
        REQUIRE(kn_traced_alloc(heap, 50, 0) != NULL);
    }
}

/* A dead block whose finaliser has jumped away may be held by then: it stays, and is not told again. */
TRACED_TEST(what_is_held_again_stays) {
    KnTraced *heap = small_heap();
    size_t held;
    REQUIRE(heap != NULL && make_blocks(heap));
    jumps = 0;
    in_finaliser = jumps_away;
    (void)CHECK(!came_back(collect_now, heap));
    in_finaliser = NULL;
    (void)CHECK_EQ(finalised(), 1);
    for (held = 0; held < DEAD && finalised_for(dead[held]) == 0; held++) {
    }
    REQUIRE(held < DEAD);
    roots[ROOTS - 1] = dead[held];
    collect_now(heap);
    (void)CHECK_EQ(finalised_for(dead[held]), 1);
    (void)CHECK_GE(kn_traced_size(heap, dead[held]), 2 * WORD);
    (void)CHECK_EQ(kn_traced_flags(heap, dead[held]) & KN_FINALISE, 0);
    (void)CHECK(dead_is_intact(held));
    roots[ROOTS - 1] = NULL;
    collect_now(heap);
    check_outcome(heap);
}

/* ---- Calls that make no sense there ---- */

static void calls_in_wrong_order(KnTraced *heap, void *block) {
    EXPECT_ERROR(KN_E_ORDER, kn_traced_collect_start(heap));
    EXPECT_ERROR(KN_E_ORDER, kn_traced_mark(heap, &block, 1));
    EXPECT_ERROR(KN_E_ORDER, kn_traced_collect_end(heap));
    (void)CHECK(dead_is_intact(which(block)));
}

TRACED_TEST(finalisers_do_not_collect) {
    KnTraced *heap = small_heap();
    REQUIRE(heap != NULL && make_blocks(heap));
    in_finaliser = calls_in_wrong_order;
    collect_now(heap);
    (void)CHECK_EQ(finalised(), DEAD);
    check_outcome(heap);
}

/* Blocks of two granules, side by side over a word's end, in areas: each is found. */
TRACED_TEST(every_place) {
    KnTraced *heap = small_heap();
    void *memory = take_memory(1500, 7);
    size_t count = 0, shift;
    REQUIRE(heap != NULL && memory != NULL);
    (void)CHECK_STATUS(kn_traced_add_area(heap, memory, 1500, 0), KN_OK);
    decline(true);
    for (shift = 0; shift < 3; shift++) {
        size_t before = finalised();
        void *gap = NULL;
        count = 0;
        if (shift > 0) {
            gap = kn_traced_alloc(heap, shift * granule(), 0);
        }
        while (kn_traced_alloc(heap, 1, KN_FINALISE) != NULL) {
            count++;
        }
        (void)CHECK_EQ(numbers(heap).finalisers, count);
        (void)CHECK(shift == 0 || gap != NULL);
        collect_now(heap);
        (void)CHECK_EQ(finalised() - before, count);
        (void)CHECK_EQ(numbers(heap).used, 0);
    }
    (void)CHECK_GE(count, 50);
}

SUITE("traced_finalisers", ONCE(all_dead_blocks_are_intact), ONCE(finalisers_get_no_memory), ONCE(finalisers_free),
      ONCE(who_jumps_away_goes_on), ONCE(who_jumps_away_begins_anew), ONCE(who_jumps_away_gives_it_up), ONCE(finalisers_give_up), ONCE(out_of_an_allocation),
      ONCE(what_is_held_again_stays), ONCE(finalisers_do_not_collect), ONCE(every_place))
