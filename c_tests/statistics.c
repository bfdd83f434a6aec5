/* Statistics: what kn_heap_stats says is exact, and its bounds are bounds. */
#include "harness.h"
#include "shadow.h"

enum { HEAP_BYTES = 24 * 1024 };

/* Everything that must hold whatever happened; returns the numbers for more. */
static KnHeapStats judge(const Shadow *shadow, size_t peak_before) {
    KnHeapStats stats = {0};
    (void)CHECK_STATUS(kn_heap_stats(shadow->heap, &stats), KN_OK);
    (void)CHECK_EQ(stats.used + stats.free, stats.total);
    (void)CHECK_EQ(stats.blocks, shadow->count);
    (void)CHECK_GE(stats.used, shadow->live_bytes);
    (void)CHECK_LE(stats.largest_free, stats.free);
    (void)CHECK_GE(stats.peak, stats.used);
    (void)CHECK_GE(stats.peak, peak_before);
    (void)CHECK_LE(stats.peak, stats.total);
    return stats;
}

TEST(each_call_is_counted) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    KnHeapStats stats;
    size_t used;
    REQUIRE(heap != NULL);
    REQUIRE(shadow_malloc(shadow, 100));
    stats = judge(shadow, 100);
    used = stats.used;
    REQUIRE(shadow_calloc(shadow, 10, 30));
    stats = judge(shadow, 400);
    (void)CHECK_GE(stats.used, used + 300);
    used = stats.used;
    REQUIRE(shadow_aligned_alloc(shadow, 256, 500));
    stats = judge(shadow, 900);
    (void)CHECK_GE(stats.used, used + 500);
    used = stats.used;
    REQUIRE(shadow_malloc_top(shadow, 70));
    stats = judge(shadow, 970);
    (void)CHECK_GE(stats.used, used + 70);
    used = stats.used;
    REQUIRE(shadow_realloc(shadow, 0, 3000));
    stats = judge(shadow, 3870);
    (void)CHECK_GE(stats.used, used + 2800);
    used = stats.used;
    REQUIRE(shadow_realloc(shadow, 0, 10));
    stats = judge(shadow, used);
    (void)CHECK_LE(stats.used, used - 2900);
    shadow_free_all(shadow, SHADOW_RANDOM, 1);
    stats = judge(shadow, used);
    (void)CHECK_EQ(stats.used, 0);
}

TEST(refused_calls_are_not_counted) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    KnHeapStats before, after;
    REQUIRE(heap != NULL);
    REQUIRE(shadow_malloc(shadow, 100));
    before = judge(shadow, 0);
    (void)CHECK(!shadow_malloc(shadow, HEAP_BYTES));
    (void)CHECK(!shadow_aligned_alloc(shadow, 16, HEAP_BYTES));
    (void)CHECK(!shadow_malloc_top(shadow, HEAP_BYTES));
    (void)CHECK(!shadow_realloc(shadow, 0, HEAP_BYTES));
    after = judge(shadow, before.peak);
    (void)CHECK_EQ(after.used, before.used);
    (void)CHECK_EQ(after.peak, before.peak);
}

/* A random life: the count of blocks is exact at every step, the peak never falls, used is what blocks hold. */
TEST(exact_at_every_step) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    KnHeapStats first, stats;
    size_t turn, i, peak = 0;
    REQUIRE(heap != NULL);
    first = judge(shadow, 0);
    for (turn = 0; turn < 3000; turn++) {
        switch (shadow->count == 0 ? 0 : random_below(6)) {
        case 0:
        case 1:
            (void)shadow_malloc(shadow, random_size(600));
            break;
        case 2:
            (void)shadow_aligned_alloc(shadow, (size_t)1 << random_below(9), random_size(100));
            break;
        case 3:
            (void)shadow_realloc(shadow, random_below(shadow->count), random_size(800));
            break;
        default:
            shadow_free(shadow, random_below(shadow->count));
        }
        stats = judge(shadow, peak);
        peak = stats.peak;
        (void)CHECK_EQ(stats.total, first.total);
        (void)CHECK_EQ(stats.overhead, first.overhead);
        (void)CHECK_EQ(stats.regions, 1);
        if (turn % 100 == 0) {
            size_t usable = 0;
            for (i = 0; i < shadow->count; i++) {
                usable += kn_heap_usable_size(heap, shadow->blocks[i].at);
            }
            (void)CHECK_GE(stats.used, usable);
            (void)CHECK_LE(stats.used, usable + 16 * stats.blocks);
        }
    }
    (void)CHECK_GE(peak, HEAP_BYTES / 4);
    shadow_free_all(shadow, SHADOW_RANDOM, 16);
    stats = judge(shadow, peak);
    (void)CHECK_EQ(stats.used, 0);
    (void)CHECK_EQ(stats.peak, peak);
}

/* The peak is that of the moment when most was used, not of the sum of all. */
TEST(peak_is_the_highest_use) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    KnHeapStats low, high, end;
    void *blocks[10];
    size_t i;
    REQUIRE(heap != NULL);
    for (i = 0; i < 10; i++) {
        blocks[i] = kn_heap_malloc(heap, 1000);
        REQUIRE(blocks[i] != NULL);
    }
    (void)CHECK_STATUS(kn_heap_stats(heap, &high), KN_OK);
    (void)CHECK_EQ(high.peak, high.used);
    for (i = 0; i < 10; i++) {
        kn_heap_free(heap, blocks[i]);
    }
    (void)CHECK_STATUS(kn_heap_stats(heap, &low), KN_OK);
    (void)CHECK_EQ(low.used, 0);
    (void)CHECK_EQ(low.peak, high.peak);
    for (i = 0; i < 20; i++) {
        void *block = kn_heap_malloc(heap, 5000);
        REQUIRE(block != NULL);
        kn_heap_free(heap, block);
    }
    (void)CHECK_STATUS(kn_heap_stats(heap, &end), KN_OK);
    (void)CHECK_EQ(end.peak, high.peak);
}

/* What largest_free promises can be had, at any moment of a life; and it is no poor bound when nothing is used. */
TEST(largest_free_can_be_allocated) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    KnHeapStats stats;
    size_t turn;
    REQUIRE(heap != NULL);
    stats = judge(shadow, 0);
    (void)CHECK_GE(stats.largest_free, stats.total * 3 / 4);
    for (turn = 0; turn < 1500; turn++) {
        if (shadow->count > 0 && random_below(9) < 4) {
            shadow_free(shadow, random_below(shadow->count));
        } else {
            (void)shadow_malloc(shadow, random_size(1500));
        }
        stats = judge(shadow, 0);
        if (stats.largest_free > 0) {
            void *block = kn_heap_malloc(heap, stats.largest_free);
            (void)CHECK(block != NULL && "a block of largest_free bytes");
            kn_heap_free(heap, block);
        }
    }
    shadow_verify(shadow);
}

TEST(several_regions_are_summed) {
    KnHeap *heap = new_heap(4096);
    Shadow *shadow = shadow_of(heap);
    KnHeapStats stats;
    size_t i;
    REQUIRE(heap != NULL);
    for (i = 0; i < 3; i++) {
        uint8_t *memory = take_memory(4096 + i * 100, i);
        REQUIRE(memory != NULL);
        (void)CHECK_STATUS(kn_heap_add_region_with(heap, memory, 4096 + i * 100, current_config()), KN_OK);
    }
    while (shadow_malloc(shadow, random_size(100))) {
        stats = judge(shadow, 0);
        (void)CHECK_EQ(stats.regions, 4);
    }
    (void)CHECK_GE(stats.used, 4 * 4096 * 3 / 5);
    while (shadow->count > 0) {
        shadow_free(shadow, random_below(shadow->count));
        stats = judge(shadow, stats.peak);
    }
    (void)CHECK_EQ(stats.free, stats.total);
}

SUITE("statistics", EACH_LAYOUT(each_call_is_counted), EACH_LAYOUT(refused_calls_are_not_counted),
      EACH_LAYOUT(exact_at_every_step), EACH_LAYOUT(peak_is_the_highest_use),
      EACH_LAYOUT(largest_free_can_be_allocated), EACH_LAYOUT(several_regions_are_summed))
