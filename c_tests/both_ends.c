/* Both ends: kn_heap_malloc grows from the bottom, kn_heap_malloc_top from the top, and they meet in the middle. */
#include "harness.h"
#include "shadow.h"

enum { HEAP_BYTES = 24 * 1024, MOST = 200 };

static uint8_t *bottoms[MOST], *tops[MOST];

TEST(the_first_top_block_ends_the_heap) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    uint8_t *top, *bottom;
    KnHeapStats stats;
    REQUIRE(heap != NULL);
    (void)CHECK_STATUS(kn_heap_stats(heap, &stats), KN_OK);
    top = kn_heap_malloc_top(heap, 100);
    bottom = kn_heap_malloc(heap, 100);
    REQUIRE(top != NULL && bottom != NULL);
    (void)CHECK(is_aligned(top, BLOCK_ALIGNMENT));
    (void)CHECK(top > bottom);
    (void)CHECK_GE((size_t)(top - bottom), stats.total - 300);
    (void)CHECK_GE(kn_heap_usable_size(heap, top), 100);
    kn_heap_free(heap, bottom);
    kn_heap_free(heap, top);
    (void)CHECK(is_empty_and_whole(heap));
}

/* Interleaved, until nothing is left: each top block lies above every bottom block, each below the top one before. */
TEST(top_blocks_lie_above_bottom_blocks) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    size_t count = 0, i;
    REQUIRE(heap != NULL);
    while (count < MOST) {
        size_t bytes = random_size(300);
        bottoms[count] = kn_heap_malloc(heap, bytes);
        tops[count] = bottoms[count] == NULL ? NULL : kn_heap_malloc_top(heap, bytes);
        if (tops[count] == NULL) {
            break;
        }
        fill_pattern(bottoms[count], bytes, 1);
        fill_pattern(tops[count], bytes, 2);
        count++;
    }
    (void)CHECK_GE(count, HEAP_BYTES / 2 / 350);
    for (i = 1; i < count; i++) {
        (void)CHECK(bottoms[i] > bottoms[i - 1]);
        (void)CHECK(tops[i] < tops[i - 1]);
    }
    (void)CHECK(bottoms[count - 1] < tops[count - 1]);
    (void)CHECK(is_sound(heap));
}

/* Resident data below, transient above, freed in reverse: after each the free memory is in one piece again. */
TEST(freeing_the_top_restores_one_piece) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    KnHeapStats before, after;
    size_t round, i;
    REQUIRE(heap != NULL);
    for (round = 0; round < 20; round++) {
        REQUIRE(kn_heap_malloc(heap, 40 + round) != NULL);
        (void)CHECK_STATUS(kn_heap_stats(heap, &before), KN_OK);
        for (i = 0; i < 30; i++) {
            tops[i] = kn_heap_malloc_top(heap, random_size(400));
            REQUIRE(tops[i] != NULL);
        }
        while (i > 0) {
            i--;
            kn_heap_free(heap, tops[i]);
        }
        (void)CHECK_STATUS(kn_heap_stats(heap, &after), KN_OK);
        (void)CHECK_EQ(after.used, before.used);
        (void)CHECK_EQ(after.largest_free, before.largest_free);
        (void)CHECK(is_sound(heap));
    }
    /* The free memory is one piece: nearly all of it can be had at once. */
    (void)CHECK_GE(largest_allocation(heap), after.free - 32);
}

/* Any order of life and death on both ends: contents stay, and at the end the heap is one block. */
TEST(random_life_on_both_ends) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t turn;
    REQUIRE(heap != NULL);
    for (turn = 0; turn < 4000; turn++) {
        switch (shadow->count == 0 ? 0 : random_below(7)) {
        case 0:
        case 1:
            (void)shadow_malloc(shadow, random_size(300));
            break;
        case 2:
        case 3:
            (void)shadow_malloc_top(shadow, random_size(300));
            break;
        case 4:
            (void)shadow_realloc(shadow, random_below(shadow->count), random_size(300));
            break;
        default:
            shadow_free(shadow, random_below(shadow->count));
        }
        if (turn % 250 == 0) {
            shadow_verify(shadow);
        }
    }
    shadow_free_all(shadow, SHADOW_EVERY_SECOND, 8);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(the_top_can_take_everything) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t bottom_count, top_count;
    REQUIRE(heap != NULL);
    while (shadow_malloc(shadow, 100)) {
    }
    bottom_count = shadow->count;
    shadow_free_all(shadow, SHADOW_RANDOM, 0);
    while (shadow_malloc_top(shadow, 100)) {
    }
    top_count = shadow->count;
    (void)CHECK_EQ(top_count, bottom_count);
    (void)CHECK(kn_heap_malloc(heap, 100) == NULL);
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 4);
    (void)CHECK(is_empty_and_whole(heap));
}

SUITE("both_ends", EACH_LAYOUT(the_first_top_block_ends_the_heap), EACH_LAYOUT(top_blocks_lie_above_bottom_blocks),
      EACH_LAYOUT(freeing_the_top_restores_one_piece), EACH_LAYOUT(random_life_on_both_ends),
      EACH_LAYOUT(the_top_can_take_everything))
