/* Resizing: growing and shrinking in place, into a free left neighbour, by moving; contents and failures. */
#include "harness.h"
#include "shadow.h"

enum { HEAP_BYTES = 32 * 1024 };

/* The bytes of which two blocks lie exactly 256 bytes apart, whatever the layout's header; 0: none were found. Then
 * all blocks of a row have the same alignment, and sliding into a neighbour can't spoil it. */
static size_t bytes_of_row_block(KnHeap *heap) {
    size_t bytes;
    for (bytes = 256; bytes > 224; bytes--) {
        uint8_t *one = kn_heap_malloc(heap, bytes);
        uint8_t *next = kn_heap_malloc(heap, bytes);
        size_t distance = (size_t)(next - one);
        kn_heap_free(heap, one);
        kn_heap_free(heap, next);
        if (distance == 256) {
            return bytes;
        }
    }
    return 0;
}

static size_t row_bytes;

/* Four neighbours in a row: growing one depends on which of the others are free. */
static bool make_row(KnHeap *heap, uint8_t *row[4]) {
    size_t i;
    row_bytes = bytes_of_row_block(heap);
    if (!CHECK(row_bytes != 0)) {
        return false;
    }
    for (i = 0; i < 4; i++) {
        row[i] = kn_heap_malloc(heap, row_bytes);
        if (!CHECK(row[i] != NULL)) {
            return false;
        }
        fill_pattern(row[i], row_bytes, (uint32_t)i);
    }
    return CHECK(row[0] < row[1] && row[1] < row[2] && row[2] < row[3]);
}

/* Takes all that is left. */
static void fill_the_rest(KnHeap *heap) {
    size_t count = 0;
    while (count < HEAP_BYTES && kn_heap_malloc(heap, 64) != NULL) {
        count++;
    }
    while (count < HEAP_BYTES && kn_heap_malloc(heap, 0) != NULL) {
        count++;
    }
    (void)CHECK_LE(count, HEAP_BYTES / 8);
}

TEST(null_is_allocated) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    uint8_t *block;
    REQUIRE(heap != NULL);
    block = kn_heap_realloc(heap, NULL, 100);
    REQUIRE(block != NULL);
    (void)CHECK_GE(kn_heap_usable_size(heap, block), 100);
    (void)CHECK_EQ(used_blocks(heap), 1);
    kn_heap_free(heap, block);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(zero_bytes_keeps_a_block) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    uint8_t *block;
    REQUIRE(heap != NULL);
    block = kn_heap_malloc(heap, 100);
    REQUIRE(block != NULL);
    block = kn_heap_realloc(heap, block, 0);
    REQUIRE(block != NULL);
    (void)CHECK_EQ(used_blocks(heap), 1);
    kn_heap_free(heap, block);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(same_size_keeps_the_place) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    size_t bytes;
    REQUIRE(heap != NULL);
    for (bytes = 1; bytes < 300; bytes += 7) {
        uint8_t *block = kn_heap_malloc(heap, bytes);
        REQUIRE(block != NULL);
        (void)CHECK(kn_heap_realloc(heap, block, bytes) == block);
        /* All of the usable size is the caller's already. */
        (void)CHECK(kn_heap_realloc(heap, block, kn_heap_usable_size(heap, block)) == block);
    }
    (void)CHECK(is_sound(heap));
}

TEST(grows_in_place_into_a_free_right_neighbour) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    uint8_t *row[4], *grown;
    REQUIRE(heap != NULL && make_row(heap, row));
    kn_heap_free(heap, row[2]);
    grown = kn_heap_realloc(heap, row[1], 400);
    (void)CHECK(grown == row[1]);
    (void)CHECK_PATTERN(grown, row_bytes, 1);
    fill_pattern(grown, 400, 9);
    (void)CHECK_PATTERN(row[0], row_bytes, 0);
    (void)CHECK_PATTERN(row[3], row_bytes, 3);
    (void)CHECK(is_sound(heap));
    /* Exactly all of the neighbour. */
    grown = kn_heap_realloc(heap, grown, 256 + row_bytes);
    (void)CHECK(grown == row[1]);
    (void)CHECK_PATTERN(grown, 400, 9);
    (void)CHECK(is_sound(heap));
    (void)CHECK_EQ(used_blocks(heap), 3);
}

TEST(grows_in_place_at_the_end_of_the_used_part) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    uint8_t *block, *grown;
    size_t bytes;
    REQUIRE(heap != NULL);
    block = kn_heap_malloc(heap, 10);
    REQUIRE(block != NULL);
    fill_pattern(block, 10, 1);
    for (bytes = 10; bytes < HEAP_BYTES / 2; bytes = bytes * 5 / 4 + 1) {
        grown = kn_heap_realloc(heap, block, bytes);
        (void)CHECK(grown == block);
        REQUIRE(grown != NULL);
        (void)CHECK_PATTERN(grown, 10, 1);
    }
    (void)CHECK(is_sound(heap));
}

/* With nothing free but a left neighbour, growing must use it: the contents move down. */
TEST(grows_into_a_free_left_neighbour_when_that_is_all) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    uint8_t *row[4], *grown;
    REQUIRE(heap != NULL && make_row(heap, row));
    fill_the_rest(heap);
    kn_heap_free(heap, row[1]);
    grown = kn_heap_realloc(heap, row[2], 450);
    (void)CHECK(grown == row[1]);
    REQUIRE(grown != NULL);
    (void)CHECK_PATTERN(grown, row_bytes, 2);
    fill_pattern(grown, 450, 9);
    (void)CHECK_PATTERN(row[0], row_bytes, 0);
    (void)CHECK_PATTERN(row[3], row_bytes, 3);
    (void)CHECK(is_sound(heap));
}

/* The same, taking the left and the right neighbour together. */
TEST(grows_into_both_neighbours_when_that_is_all) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    uint8_t *row[4], *more, *grown;
    REQUIRE(heap != NULL && make_row(heap, row));
    more = kn_heap_malloc(heap, row_bytes);
    REQUIRE(more != NULL);
    fill_pattern(more, row_bytes, 4);
    fill_the_rest(heap);
    kn_heap_free(heap, row[1]);
    kn_heap_free(heap, row[3]);
    grown = kn_heap_realloc(heap, row[2], 700);
    (void)CHECK(grown == row[1]);
    REQUIRE(grown != NULL);
    (void)CHECK_PATTERN(grown, row_bytes, 2);
    fill_pattern(grown, 700, 9);
    (void)CHECK_PATTERN(row[0], row_bytes, 0);
    (void)CHECK_PATTERN(more, row_bytes, 4);
    (void)CHECK(is_sound(heap));
}

TEST(moves_when_neighbours_are_in_the_way) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    uint8_t *row[4], *moved;
    REQUIRE(heap != NULL && make_row(heap, row));
    moved = kn_heap_realloc(heap, row[1], 2000);
    REQUIRE(moved != NULL);
    (void)CHECK(moved != row[1]);
    (void)CHECK_PATTERN(moved, row_bytes, 1);
    fill_pattern(moved, 2000, 9);
    (void)CHECK_PATTERN(row[0], row_bytes, 0);
    (void)CHECK_PATTERN(row[2], row_bytes, 2);
    (void)CHECK_EQ(used_blocks(heap), 4);
    /* The old place is free: the same size fits there again. */
#if !defined(KNOLL_WITHOUT_CHECKS)
    (void)CHECK_EQ(kn_heap_usable_size(heap, row[1]), 0);
#endif
    (void)CHECK(kn_heap_malloc(heap, row_bytes) == row[1]);
    (void)CHECK(is_sound(heap));
}

TEST(shrinking_gives_memory_back) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    KnHeapStats before, after;
    uint8_t *block, *behind, *taken;
    REQUIRE(heap != NULL);
    block = kn_heap_malloc(heap, 4000);
    behind = kn_heap_malloc(heap, 100);
    REQUIRE(block != NULL && behind != NULL);
    fill_pattern(block, 4000, 1);
    fill_pattern(behind, 100, 2);
    fill_the_rest(heap);
    (void)CHECK_STATUS(kn_heap_stats(heap, &before), KN_OK);
    (void)CHECK(kn_heap_realloc(heap, block, 1000) == block);
    (void)CHECK_STATUS(kn_heap_stats(heap, &after), KN_OK);
    (void)CHECK_GE(before.used - after.used, 2900);
    (void)CHECK_PATTERN(block, 1000, 1);
    /* And it can be had: there is no other place left. */
    taken = kn_heap_malloc(heap, 2900);
    REQUIRE(taken != NULL);
    (void)CHECK(taken > block && taken < behind);
    fill_pattern(taken, 2900, 3);
    (void)CHECK_PATTERN(block, 1000, 1);
    (void)CHECK_PATTERN(behind, 100, 2);
    (void)CHECK(is_sound(heap));
}

/* Every old size to every new size: contents, neighbours and heap stay right. */
TEST(each_small_size_to_each_other) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t old_bytes, new_bytes;
    REQUIRE(heap != NULL);
    for (old_bytes = 0; old_bytes <= 136; old_bytes += 3) {
        for (new_bytes = 0; new_bytes <= 136; new_bytes += 3) {
            REQUIRE(shadow_malloc(shadow, 24));
            REQUIRE(shadow_malloc(shadow, old_bytes));
            REQUIRE(shadow_malloc(shadow, 24));
            REQUIRE(shadow_realloc(shadow, 1, new_bytes));
            shadow_free(shadow, 0);
            shadow_free(shadow, 0);
            shadow_free(shadow, 0);
        }
        (void)CHECK(is_empty_and_whole(heap));
    }
}

TEST(failure_leaves_the_block_as_it_was) {
    static const size_t too_large[] = {HEAP_BYTES, 1000000000, SIZE_MAX / 2, SIZE_MAX - 64, SIZE_MAX - 1, SIZE_MAX};
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    KnHeapStats before, after;
    size_t i;
    REQUIRE(heap != NULL);
    REQUIRE(shadow_malloc(shadow, 300));
    REQUIRE(shadow_malloc(shadow, 5000));
    (void)CHECK_STATUS(kn_heap_stats(heap, &before), KN_OK);
    for (i = 0; i < sizeof too_large / sizeof too_large[0]; i++) {
        /* shadow_realloc compares every byte of the block after a failure. */
        (void)CHECK(!shadow_realloc(shadow, 0, too_large[i]));
        (void)CHECK(!shadow_realloc(shadow, 1, too_large[i]));
        (void)CHECK(kn_heap_realloc(heap, NULL, too_large[i]) == NULL);
    }
    (void)CHECK_STATUS(kn_heap_stats(heap, &after), KN_OK);
    (void)CHECK_EQ(after.used, before.used);
    (void)CHECK_EQ(after.blocks, before.blocks);
    (void)CHECK_GE(kn_heap_usable_size(heap, shadow->blocks[0].at), 300);
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_OLDEST_FIRST, 1);
    (void)CHECK(is_empty_and_whole(heap));
}

/* Buffers that grow side by side, as strings and tables do. */
TEST(several_growing_buffers) {
    KnHeap *heap = new_heap(4 * HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t turn, i;
    REQUIRE(heap != NULL);
    for (i = 0; i < 6; i++) {
        REQUIRE(shadow_malloc(shadow, 8));
    }
    for (turn = 0; turn < 40; turn++) {
        for (i = 0; i < 6; i++) {
            size_t bytes = shadow->blocks[i].bytes;
            REQUIRE(shadow_realloc(shadow, i, bytes + bytes / 8 + 8 + i));
        }
    }
    shadow_verify(shadow);
    for (turn = 0; turn < 40; turn++) {
        for (i = 0; i < 6; i++) {
            REQUIRE(shadow_realloc(shadow, i, shadow->blocks[i].bytes * 7 / 8));
        }
    }
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 1);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(random_resizing_in_a_full_heap) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t turn, refused = 0;
    REQUIRE(heap != NULL);
    while (shadow_malloc(shadow, random_size(400))) {
    }
    for (turn = 0; turn < 3000; turn++) {
        refused += !shadow_realloc(shadow, random_below(shadow->count), random_size(600));
        if (turn % 200 == 0) {
            shadow_verify(shadow);
        }
    }
    /* Both happen, or the test shows nothing. */
    (void)CHECK_GE(refused, 10);
    (void)CHECK_LE(refused, 2900);
    shadow_free_all(shadow, SHADOW_RANDOM, 16);
    (void)CHECK(is_empty_and_whole(heap));
}

SUITE("realloc", EACH_LAYOUT(null_is_allocated), EACH_LAYOUT(zero_bytes_keeps_a_block),
      EACH_LAYOUT(same_size_keeps_the_place), EACH_LAYOUT(grows_in_place_into_a_free_right_neighbour),
      EACH_LAYOUT(grows_in_place_at_the_end_of_the_used_part),
      EACH_LAYOUT(grows_into_a_free_left_neighbour_when_that_is_all),
      EACH_LAYOUT(grows_into_both_neighbours_when_that_is_all), EACH_LAYOUT(moves_when_neighbours_are_in_the_way),
      EACH_LAYOUT(shrinking_gives_memory_back), EACH_LAYOUT(each_small_size_to_each_other),
      EACH_LAYOUT(failure_leaves_the_block_as_it_was), EACH_LAYOUT(several_growing_buffers),
      EACH_LAYOUT(random_resizing_in_a_full_heap))
