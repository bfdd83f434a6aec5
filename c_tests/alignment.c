/* Alignment: of plain blocks, of aligned ones, through resizing, and of heaps at odd addresses. */
#include "harness.h"
#include "shadow.h"

enum { MOST_BYTES = 300, MOST_ALIGNMENT = 4096, HEAP_BYTES = 32 * 1024 };

/* Every size with every alignment, each beside a plain block that must stay as it is. */
TEST(each_size_at_each_alignment) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t alignment, bytes;
    REQUIRE(heap != NULL);
    for (alignment = 1; alignment <= MOST_ALIGNMENT; alignment *= 2) {
        for (bytes = 0; bytes <= MOST_BYTES; bytes++) {
            REQUIRE(shadow_malloc(shadow, bytes % 40));
            REQUIRE(shadow_aligned_alloc(shadow, alignment, bytes));
            shadow_free(shadow, bytes % 2);
            shadow_free(shadow, 0);
        }
        (void)CHECK(is_empty_and_whole(heap));
    }
}

/* What is cut off before an aligned block is memory that can be used. */
TEST(the_gap_before_an_aligned_block_is_free) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    KnHeapStats before, after;
    REQUIRE(heap != NULL);
    REQUIRE(shadow_malloc(shadow, 8));
    (void)CHECK_STATUS(kn_heap_stats(heap, &before), KN_OK);
    REQUIRE(shadow_aligned_alloc(shadow, MOST_ALIGNMENT, 64));
    (void)CHECK_STATUS(kn_heap_stats(heap, &after), KN_OK);
    (void)CHECK_LE(after.used - before.used, 64 + 64);
    (void)CHECK_EQ(after.blocks, 2);
    /* Several blocks before and several behind it. */
    while (shadow_malloc(shadow, 500)) {
    }
    (void)CHECK_GE(shadow->count, 2 + (HEAP_BYTES - 4096) / 600);
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 4);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(many_alignments_together) {
    KnHeap *heap = new_heap(4 * HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t turn;
    REQUIRE(heap != NULL);
    for (turn = 0; turn < 600; turn++) {
        if (shadow->count > 0 && random_below(5) < 2) {
            shadow_free(shadow, random_below(shadow->count));
        } else {
            (void)shadow_aligned_alloc(shadow, (size_t)1 << random_below(11), random_size(MOST_BYTES));
        }
        if (turn % 50 == 0) {
            shadow_verify(shadow);
        }
    }
    (void)CHECK_GE(shadow->count, 20);
    shadow_free_all(shadow, SHADOW_EVERY_SECOND, 16);
    (void)CHECK(is_empty_and_whole(heap));
}

/* An aligned block that is resized keeps its contents and, up to 64 bytes, its alignment: the shadow checks both. */
TEST(aligned_blocks_can_be_resized) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t alignment, step;
    REQUIRE(heap != NULL);
    for (alignment = 1; alignment <= 1024; alignment *= 2) {
        static const size_t sizes[] = {1, 60, 61, 200, 40, 1000, 999, 8, 0, 300};
        REQUIRE(shadow_aligned_alloc(shadow, alignment, 30));
        for (step = 0; step < sizeof sizes / sizeof sizes[0]; step++) {
            /* Now and then a plain block lands behind it and is in the way. */
            if (step % 3 == 0) {
                REQUIRE(shadow_malloc(shadow, 16));
            }
            REQUIRE(shadow_realloc(shadow, 0, sizes[step]));
        }
        shadow_verify(shadow);
        shadow_free_all(shadow, SHADOW_OLDEST_FIRST, 1);
        (void)CHECK(is_empty_and_whole(heap));
    }
}

/* The same with an alignment of its own for each resizing, of any size: the block is moved where it must. */
TEST(resizing_to_another_alignment) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t turn;
    REQUIRE(heap != NULL);
    for (turn = 0; turn < 8; turn++) {
        REQUIRE(shadow_malloc(shadow, turn * 20));
    }
    for (turn = 0; turn < 600; turn++) {
        (void)CHECK(shadow_aligned_realloc(shadow, random_below(8), (size_t)1 << random_below(10), random_size(600)));
    }
    shadow_verify(shadow);
    (void)CHECK(kn_heap_aligned_realloc(heap, shadow->blocks[0].at, opaque(48), 10) == NULL);
    (void)CHECK(kn_heap_aligned_realloc(heap, shadow->blocks[0].at, opaque(0), 10) == NULL);
    (void)CHECK(!shadow_aligned_realloc(shadow, 0, 64, HEAP_BYTES));
    (void)CHECK(!shadow_aligned_realloc(shadow, 0, 64, opaque(SIZE_MAX)));
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 1);
    (void)CHECK(is_empty_and_whole(heap));
    shadow->blocks[0].at = kn_heap_aligned_realloc(heap, NULL, 128, 100);
    (void)CHECK(shadow->blocks[0].at != NULL && is_aligned(shadow->blocks[0].at, 128));
}

TEST(shrinking_in_place_keeps_the_alignment) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    size_t bytes;
    uint8_t *block;
    REQUIRE(heap != NULL);
    block = kn_heap_aligned_alloc(heap, 1024, 900);
    REQUIRE(block != NULL);
    fill_pattern(block, 900, 5);
    for (bytes = 900; bytes > 0; bytes -= 30) {
        block = kn_heap_realloc(heap, block, bytes);
        REQUIRE(block != NULL);
        (void)CHECK(is_aligned(block, 1024));
        (void)CHECK_PATTERN(block, bytes, 5);
    }
    (void)CHECK(is_sound(heap));
}

/* The memory may start and end anywhere: blocks are aligned all the same and stay inside. */
TEST(heaps_at_any_address_and_of_any_size) {
    size_t skew;
    for (skew = 0; skew < 24; skew++) {
        size_t bytes = 2000 + skew * 3;
        uint8_t *memory = take_memory(bytes, skew);
        KnHeap *heap = memory == NULL ? NULL : kn_heap_create_with(memory, bytes, current_config());
        Shadow *shadow = shadow_of(heap);
        REQUIRE(heap != NULL);
        while (shadow_malloc(shadow, 1 + shadow->count * 5)) {
        }
        (void)CHECK_GE(shadow->count, 8);
        while (shadow_malloc(shadow, 1)) {
        }
        shadow_verify(shadow);
        shadow_free_all(shadow, SHADOW_NEWEST_FIRST, 4);
        (void)CHECK(is_empty_and_whole(heap));
    }
}

TEST(bad_alignments_get_null) {
    static const size_t bad[] = {0, 3, 5, 6, 7, 12, 24, 4095, 4097, SIZE_MAX, SIZE_MAX - 1};
    KnHeap *heap = new_heap(HEAP_BYTES);
    size_t i;
    REQUIRE(heap != NULL);
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)CHECK(kn_heap_aligned_alloc(heap, opaque(bad[i]), 16) == NULL);
    }
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(alignments_beyond_the_heap_get_null) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    size_t alignment = opaque((size_t)1 << 24);
    REQUIRE(heap != NULL);
    for (; alignment != 0; alignment = opaque(alignment * 2)) {
        void *block = kn_heap_aligned_alloc(heap, alignment, 16);
        /* The test memory may happen to hold such an address; then the answer must be right. */
        if (block != NULL) {
            (void)CHECK(is_aligned(block, alignment));
            (void)CHECK(lies_in_memory(block, 16));
            kn_heap_free(heap, block);
        }
        (void)CHECK(kn_heap_aligned_alloc(heap, alignment, opaque(SIZE_MAX)) == NULL);
        (void)CHECK(kn_heap_aligned_alloc(heap, alignment, opaque(SIZE_MAX) - alignment + 1) == NULL);
    }
    (void)CHECK(is_empty_and_whole(heap));
}

SUITE("alignment", EACH_LAYOUT(each_size_at_each_alignment), EACH_LAYOUT(the_gap_before_an_aligned_block_is_free),
      EACH_LAYOUT(many_alignments_together), EACH_LAYOUT(aligned_blocks_can_be_resized),
      EACH_LAYOUT(resizing_to_another_alignment), EACH_LAYOUT(shrinking_in_place_keeps_the_alignment), EACH_LAYOUT(heaps_at_any_address_and_of_any_size),
      EACH_LAYOUT(bad_alignments_get_null), EACH_LAYOUT(alignments_beyond_the_heap_get_null))
