/* Exhaustion and recovery: fill the heap to the last block, give it back in every order, and find it whole. */
#include "harness.h"
#include "shadow.h"

enum { HEAP_BYTES = 16 * 1024 };

static const ShadowOrder orders[] = {SHADOW_OLDEST_FIRST, SHADOW_NEWEST_FIRST, SHADOW_RANDOM, SHADOW_EVERY_SECOND};

/* Fills with blocks of one size until NULL. */
static void fill(Shadow *shadow, size_t bytes) {
    while (shadow_malloc(shadow, bytes)) {
    }
}

/* One size after the other, freed in one order after the other; each step is checked. */
TEST(each_size_to_the_end_and_back) {
    static const size_t sizes[] = {0, 1, 8, 16, 17, 24, 32, 40, 63, 64, 100, 256, 257, 500, 1000, 1024, 3000, 7000};
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t i, largest;
    REQUIRE(heap != NULL);
    largest = largest_allocation(heap);
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t filled;
        fill(shadow, sizes[i]);
        filled = shadow->count;
        /* Nothing is hidden: with 8-byte headers and 16-byte granules a block costs at most 24 bytes more. */
        (void)CHECK_GE(filled, HEAP_BYTES * 7 / 8 / (sizes[i] + 32));
        (void)CHECK(kn_heap_malloc(heap, sizes[i]) == NULL);
        shadow_verify(shadow);
        shadow_free_all(shadow, orders[i % 4], 16);
        (void)CHECK(is_empty_and_whole(heap));
        (void)CHECK_EQ(largest_allocation(heap), largest);
        /* As many fit the second time. */
        fill(shadow, sizes[i]);
        (void)CHECK_EQ(shadow->count, filled);
        shadow_free_all(shadow, orders[(i + 1) % 4], 0);
        (void)CHECK(is_empty_and_whole(heap));
    }
}

/* Random sizes: small ones still fit when large ones do not; the heap comes back whole from each order. */
TEST(mixed_sizes_to_the_end_and_back) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t i, largest;
    REQUIRE(heap != NULL);
    largest = largest_allocation(heap);
    for (i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        size_t limit = 2000;
        while (limit > 0) {
            if (!shadow_malloc(shadow, random_below(limit))) {
                limit /= 2;
            }
        }
        fill(shadow, 0);
        shadow_verify(shadow);
        shadow_free_all(shadow, orders[i], 8);
        (void)CHECK(is_empty_and_whole(heap));
        (void)CHECK_EQ(largest_allocation(heap), largest);
    }
}

/* The largest block that fits is nearly all of the heap; while it is there nothing else is; then all is free again. */
TEST(the_largest_block) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    KnHeapStats stats;
    size_t largest;
    REQUIRE(heap != NULL);
    largest = largest_allocation(heap);
    (void)CHECK_STATUS(kn_heap_stats(heap, &stats), KN_OK);
    (void)CHECK_GE(largest, stats.total - 32);
    REQUIRE(shadow_malloc(shadow, largest));
    (void)CHECK(kn_heap_malloc(heap, 40) == NULL);
    (void)CHECK(kn_heap_malloc(heap, largest) == NULL);
    (void)CHECK(kn_heap_calloc(heap, 5, 8) == NULL);
    (void)CHECK(kn_heap_aligned_alloc(heap, 64, 8) == NULL);
    (void)CHECK(kn_heap_malloc_top(heap, 40) == NULL);
    shadow_verify(shadow);
    shadow_free(shadow, 0);
    (void)CHECK(is_empty_and_whole(heap));
    (void)CHECK_EQ(largest_allocation(heap), largest);
}

TEST(sizes_beyond_all_memory_get_null) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t bytes, step;
    REQUIRE(heap != NULL);
    REQUIRE(shadow_malloc(shadow, 100));
    for (bytes = HEAP_BYTES; bytes != 0; bytes *= 2) {
        for (step = 0; step < 3; step++) {
            size_t wanted = bytes - 1 + step;
            (void)CHECK(kn_heap_malloc(heap, wanted) == NULL);
            (void)CHECK(kn_heap_malloc_top(heap, wanted) == NULL);
            (void)CHECK(kn_heap_calloc(heap, 1, wanted) == NULL);
            (void)CHECK(kn_heap_aligned_alloc(heap, 64, wanted) == NULL);
        }
    }
    for (step = 0; step < 300; step++) {
        (void)CHECK(kn_heap_malloc(heap, opaque(SIZE_MAX) - step) == NULL);
        (void)CHECK(kn_heap_malloc_top(heap, opaque(SIZE_MAX) - step) == NULL);
        (void)CHECK(kn_heap_aligned_alloc(heap, 4096, opaque(SIZE_MAX) - step) == NULL);
    }
    shadow_verify(shadow);
    shadow_free(shadow, 0);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(products_that_overflow_get_null) {
    static const size_t factors[][2] = {
        {SIZE_MAX, 2},     {2, SIZE_MAX},         {SIZE_MAX / 2 + 1, 2}, {SIZE_MAX / 4 + 1, 4}, {SIZE_MAX, SIZE_MAX},
        {SIZE_MAX / 3, 4}, {SIZE_MAX / 16 + 1, 16}, {SIZE_MAX / 8 + 2, 8}};
    KnHeap *heap = new_heap(HEAP_BYTES);
    size_t i;
    REQUIRE(heap != NULL);
    for (i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        (void)CHECK(kn_heap_calloc(heap, factors[i][0], factors[i][1]) == NULL);
    }
    (void)CHECK(is_empty_and_whole(heap));
}

/* A full heap with one hole after the other: a block of just the hole's size finds it. */
TEST(a_hole_in_a_full_heap_is_found) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t i;
    REQUIRE(heap != NULL);
    fill(shadow, 100);
    fill(shadow, 0);
    for (i = 0; i < 100; i++) {
        size_t index = random_below(shadow->count);
        size_t bytes = shadow->blocks[index].bytes;
        shadow_free(shadow, index);
        (void)CHECK(shadow_malloc(shadow, bytes));
    }
    shadow_verify(shadow);
}

/* Full heaps under load: thousands of refusals do no harm. */
TEST(life_on_the_brink) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t turn, refused = 0;
    REQUIRE(heap != NULL);
    for (turn = 0; turn < 6000; turn++) {
        if (shadow->count > 0 && random_below(16) < 7) {
            shadow_free(shadow, random_below(shadow->count));
        } else {
            refused += !shadow_malloc(shadow, random_size(500));
        }
        if (turn % 500 == 0) {
            shadow_verify(shadow);
        }
    }
    (void)CHECK_GE(refused, 100);
    shadow_free_all(shadow, SHADOW_RANDOM, 16);
    (void)CHECK(is_empty_and_whole(heap));
}

SUITE("exhaustion", EACH_LAYOUT(each_size_to_the_end_and_back), EACH_LAYOUT(mixed_sizes_to_the_end_and_back),
      EACH_LAYOUT(the_largest_block), EACH_LAYOUT(sizes_beyond_all_memory_get_null),
      EACH_LAYOUT(products_that_overflow_get_null), EACH_LAYOUT(a_hole_in_a_full_heap_is_found),
      EACH_LAYOUT(life_on_the_brink))
