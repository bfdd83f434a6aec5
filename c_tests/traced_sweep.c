/*
 * Sweeping in slices: what is dead has size 0 at once, is freed a slice at a time, and nothing that lives or is made
 * meanwhile goes with it.
 */
#include "traced.h"

#include <string.h>

enum { HEAP_BYTES = 40 * 1024 };

static KnTraced *sliced_heap(uint32_t slice) {
    KnTracedConfig config = usual_config();
    config.slice = slice;
    return heap_with(config, HEAP_BYTES);
}

/* Every third block of a full heap lives, as a list from roots[0] on; how many that are. */
static size_t full_heap(KnTraced *heap, size_t *all) {
    size_t kept = 0, i;
    void *block;
    decline(true);
    for (i = 0; (block = kn_traced_alloc(heap, 2 * WORD + random_below(90), i % 5 == 0 ? KN_FINALISE : 0)) != NULL; i++) {
        if (i % 3 == 0) {
            *slot(block, 0) = roots[0];
            *slot(block, 1) = (void *)(uintptr_t)i;
            roots[0] = block;
            kept++;
        }
    }
    *all = i;
    return kept;
}

static void check_list(KnTraced *heap, size_t kept) {
    void *block = roots[0];
    size_t count = 0, last = SIZE_MAX;
    for (; block != NULL && CHECK_GE(kn_traced_size(heap, block), 2 * WORD); block = *slot(block, 0)) {
        (void)CHECK((uintptr_t)*slot(block, 1) < last);
        last = (size_t)(uintptr_t)*slot(block, 1);
        count++;
    }
    (void)CHECK_EQ(count, kept);
}

TRACED_TEST(a_step_sweeps_so_much) {
    static const size_t steps[4] = {1, 64, 100, 1000};
    size_t number;
    for (number = 0; number < 4; number++) {
        KnTraced *heap = sliced_heap(32);
        size_t all, kept, before, freed = 0, rounds = 0;
        REQUIRE(heap != NULL);
        memset(roots, 0, sizeof roots);
        kept = full_heap(heap, &all);
        (void)CHECK(kn_traced_step(heap, 1));
        collect_now(heap);
        before = numbers(heap).unswept;
        (void)CHECK_GE(before, numbers(heap).total / 2);
        (void)CHECK_LE(before, numbers(heap).total + 64 * granule());
        for (;;) {
            bool done = kn_traced_step(heap, steps[number]);
            size_t after = numbers(heap).unswept;
            (void)CHECK_LE(before - after, (steps[number] + 63) / 64 * 64 * granule());
            (void)CHECK(after < before || after == 0);
            (void)CHECK_EQ(done, after == 0);
            (void)CHECK_GE(kn_traced_freed(heap), freed);
            freed = kn_traced_freed(heap);
            (void)CHECK(is_sound_traced(heap));
            check_list(heap, kept);
            before = after;
            rounds++;
            if (done || rounds > 10000) {
                break;
            }
        }
        (void)CHECK_EQ(freed, all - kept);
        (void)CHECK_EQ(numbers(heap).freed, freed);
        (void)CHECK_EQ(numbers(heap).blocks, kept);
    }
}

/* Blocks are made, freed and resized between the slices. */
TRACED_TEST(life_goes_on_between_slices) {
    size_t round;
    KnTraced *heap = sliced_heap(8);
    uint8_t *mine[30];
    size_t sizes[30], i, all, kept;
    REQUIRE(heap != NULL);
    for (round = 0; round < 6; round++) {
        memset(roots, 0, sizeof roots);
        collect_now(heap);
        kept = full_heap(heap, &all);
        collect_now(heap);
        if (round % 2 == 1) {
            kn_traced_scope_begin(heap);
        }
        memset(mine, 0, sizeof mine);
        for (i = 0; i < 400; i++) {
            size_t which = random_below(30);
            if (i % 4 == 3) {
                (void)kn_traced_step(heap, random_below(50));
            }
            if (mine[which] == NULL) {
                sizes[which] = 1 + random_below(i % 20 == 0 ? 900 : 80);
                mine[which] = kn_traced_alloc(heap, sizes[which], random_below(3) == 0 ? KN_NO_SCAN : 0);
                (void)CHECK(mine[which] == NULL || holds_byte(mine[which], sizes[which], 0));
            } else if (random_below(2) == 0) {
                kn_traced_free(heap, mine[which]);
                (void)CHECK_EQ(kn_traced_size(heap, mine[which]), 0);
                mine[which] = NULL;
            } else {
                size_t bytes = 1 + random_below(150);
                uint8_t *moved = kn_traced_realloc(heap, mine[which], bytes, random_below(2) == 0);
                if (moved != NULL) {
                    (void)CHECK_PATTERN(moved, bytes < sizes[which] ? bytes : sizes[which], (uint32_t)which);
                    mine[which] = moved;
                    sizes[which] = bytes;
                }
            }
            if (mine[which] != NULL) {
                fill_pattern(mine[which], sizes[which], (uint32_t)which);
            }
            if (i % 25 == 0) {
                (void)CHECK(is_sound_traced(heap));
            }
        }
        while (!kn_traced_step(heap, 128)) {
        }
        for (i = 0; i < 30; i++) {
            if (mine[i] != NULL) {
                (void)CHECK_EQ(kn_traced_size(heap, mine[i]), rounded(sizes[i], 0));
                (void)CHECK_PATTERN(mine[i], sizes[i], (uint32_t)i);
                kn_traced_free(heap, mine[i]);
            }
        }
        check_list(heap, kept);
        (void)CHECK_EQ(numbers(heap).blocks, kept);
        if (round % 2 == 1) {
            kn_traced_scope_end(heap);
        }
    }
    (void)CHECK_EQ(told_short() > 0, true);
}

/* The next collection comes before the sweep of the last one is done; what was found dead stays dead. */
TRACED_TEST(collections_before_the_sweep_is_done) {
    KnTraced *heap = sliced_heap(16);
    size_t all, kept, round;
    uint8_t *before, *gone;
    REQUIRE(heap != NULL);
    before = kn_traced_alloc(heap, 50, 0);
    gone = kn_traced_alloc(heap, 50, 0);
    REQUIRE(gone == before + rounded(50, 0));
    /* Away from the ends, which are swept first. */
    roots[1] = before;
    kept = full_heap(heap, &all);
    for (round = 0; round < 8; round++) {
        collect_now(heap);
        (void)CHECK_EQ(numbers(heap).collections, round + 1);
        (void)CHECK_EQ(kn_traced_size(heap, gone), 0);
        (void)CHECK_EQ(numbers(heap).finalisers <= kept, true);
        check_list(heap, kept);
        (void)kn_traced_step(heap, 64 * round);
        (void)CHECK(is_sound_traced(heap));
    }
    collect_fully(heap);
    (void)CHECK_EQ(numbers(heap).blocks, kept + 1);
    (void)CHECK_EQ(kn_traced_size(heap, before), rounded(50, 0));
}

/* A block that was found dead, and to which a word has come to point that need not: the end of the one before. */
TRACED_TEST(the_dead_do_not_come_back) {
    KnTraced *heap = sliced_heap(16);
    void *wall[100];
    size_t i, checked = 0;
    REQUIRE(heap != NULL);
    for (i = 0; i < 100; i++) {
        wall[i] = kn_traced_alloc(heap, 5 * granule(), 0);
        REQUIRE(wall[i] != NULL);
        roots[i / 2] = i % 2 == 0 ? wall[i] : roots[i / 2];
    }
    collect_now(heap);
    (void)CHECK_GE(numbers(heap).unswept, 1);
    for (i = 1; i < 100; i += 2) {
        (void)CHECK_EQ(kn_traced_size(heap, wall[i]), 0);
        *slot(wall[i - 1], 0) = wall[i];
    }
    collect_now(heap);
    for (i = 1; i < 100; i += 2) {
        checked++;
        (void)CHECK_EQ(kn_traced_size(heap, wall[i]), 0);
        (void)CHECK_EQ(kn_traced_size(heap, wall[i - 1]), 5 * granule());
    }
    (void)CHECK_EQ(checked, 50);
    while (!kn_traced_step(heap, 64)) {
    }
    (void)CHECK_EQ(numbers(heap).blocks, 50);
}

/* A request that needs all of the memory sweeps all of it, and needs no collection for that. */
TRACED_TEST(a_large_request_sweeps_on) {
    KnTraced *heap = sliced_heap(4);
    size_t all, total;
    REQUIRE(heap != NULL);
    total = numbers(heap).total;
    (void)full_heap(heap, &all);
    memset(roots, 0, sizeof roots);
    collect_now(heap);
    decline(true);
    all = asked();
    (void)CHECK(kn_traced_alloc(heap, total, KN_NO_SCAN) != NULL);
    (void)CHECK_EQ(asked(), all);
    (void)CHECK_EQ(numbers(heap).unswept, 0);
}

SUITE("traced_sweep", ONCE(a_step_sweeps_so_much), ONCE(life_goes_on_between_slices),
      ONCE(collections_before_the_sweep_is_done), ONCE(the_dead_do_not_come_back), ONCE(a_large_request_sweeps_on))
