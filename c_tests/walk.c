/* The walk: every block once, in order, end to end; what it shows agrees with the statistics and with the shadow. */
#include "harness.h"
#include "shadow.h"

enum { HEAP_BYTES = 24 * 1024, MOST_SEEN = 1024 };

static struct {
    size_t count, used_count, breaks;
    size_t used_bytes, free_bytes;
    size_t stop_after; /* 0: never */
    bool free_touches_free, odd_state;
    KnBlock last;
    KnBlock blocks[MOST_SEEN];
} seen;

static bool see(void *context, const KnBlock *block) {
    const uint8_t *start = block->start;
    if (context != (void *)&seen) {
        seen.odd_state = true;
    }
    if (block->state == KN_BLOCK_USED) {
        seen.used_count++;
        seen.used_bytes += block->size;
    } else if (block->state == KN_BLOCK_FREE) {
        seen.free_bytes += block->size;
    } else {
        seen.odd_state = true;
    }
    if (seen.count > 0) {
        if (start != (const uint8_t *)seen.last.start + seen.last.size) {
            seen.breaks++;
        } else if (block->state == KN_BLOCK_FREE && seen.last.state == KN_BLOCK_FREE) {
            seen.free_touches_free = true;
        }
    }
    seen.last = *block;
    if (seen.count < MOST_SEEN) {
        seen.blocks[seen.count] = *block;
    }
    seen.count++;
    return seen.stop_after == 0 || seen.count < seen.stop_after;
}

static void walk(KnHeap *heap, size_t stop_after) {
    static const KnBlock none;
    seen.count = seen.used_count = seen.breaks = seen.used_bytes = seen.free_bytes = 0;
    seen.stop_after = stop_after;
    seen.free_touches_free = seen.odd_state = false;
    seen.last = none;
    (void)CHECK_STATUS(kn_heap_walk(heap, see, &seen), KN_OK);
}

/* A walk over all, compared with the statistics and with every block of the shadow. */
static void judge(const Shadow *shadow) {
    KnHeapStats stats = {0};
    size_t i, j;
    walk(shadow->heap, 0);
    (void)CHECK_STATUS(kn_heap_stats(shadow->heap, &stats), KN_OK);
    (void)CHECK_EQ(seen.used_count, shadow->count);
    (void)CHECK_EQ(seen.used_count, stats.blocks);
    (void)CHECK_EQ(seen.used_bytes, stats.used);
    (void)CHECK_EQ(seen.free_bytes, stats.free);
    /* Blocks lie end to end: the row breaks only between regions, and freed neighbours have become one. */
    (void)CHECK_EQ(seen.breaks, stats.regions - 1);
    (void)CHECK(!seen.free_touches_free);
    (void)CHECK(!seen.odd_state);
    REQUIRE(seen.count <= MOST_SEEN);
    for (i = 0; i < shadow->count; i++) {
        for (j = 0; j < seen.count && seen.blocks[j].start != shadow->blocks[i].at; j++) {
        }
        if (CHECK(j < seen.count && "each live block is seen")) {
            (void)CHECK_EQ(seen.blocks[j].state, KN_BLOCK_USED);
            (void)CHECK_GE(seen.blocks[j].size, kn_heap_usable_size(shadow->heap, shadow->blocks[i].at));
        }
    }
}

TEST(an_empty_heap_is_one_free_block) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    KnHeapStats stats;
    REQUIRE(heap != NULL);
    walk(heap, 0);
    (void)CHECK_EQ(seen.count, 1);
    (void)CHECK_EQ(seen.last.state, KN_BLOCK_FREE);
    (void)CHECK_STATUS(kn_heap_stats(heap, &stats), KN_OK);
    (void)CHECK_EQ(seen.last.size, stats.total);
    (void)CHECK(lies_in_memory(seen.last.start, 1));
}

TEST(agrees_with_statistics_and_shadow) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t turn;
    REQUIRE(heap != NULL);
    for (turn = 0; turn < 600; turn++) {
        switch (shadow->count == 0 ? 0 : random_below(5)) {
        case 0:
        case 1:
            (void)shadow_malloc(shadow, random_size(500));
            break;
        case 2:
            (void)shadow_aligned_alloc(shadow, (size_t)1 << random_below(9), random_size(100));
            break;
        case 3:
            (void)shadow_realloc(shadow, random_below(shadow->count), random_size(500));
            break;
        default:
            shadow_free(shadow, random_below(shadow->count));
        }
        if (turn % 6 == 0) {
            judge(shadow);
        }
    }
    shadow_free_all(shadow, SHADOW_RANDOM, 0);
    judge(shadow);
    (void)CHECK_EQ(seen.count, 1);
}

TEST(goes_through_every_region) {
    KnHeap *heap = new_heap(2048);
    Shadow *shadow = shadow_of(heap);
    size_t i;
    REQUIRE(heap != NULL);
    for (i = 0; i < 3; i++) {
        uint8_t *memory = take_memory(2048, 0);
        REQUIRE(memory != NULL);
        (void)CHECK_STATUS(kn_heap_add_region_with(heap, memory, 2048, current_config()), KN_OK);
    }
    walk(heap, 0);
    (void)CHECK_EQ(seen.count, 4);
    (void)CHECK_EQ(seen.breaks, 3);
    while (shadow_malloc(shadow, random_size(150))) {
    }
    judge(shadow);
    for (i = 0; shadow->count > 10; i++) {
        shadow_free(shadow, random_below(shadow->count));
        judge(shadow);
    }
}

TEST(stops_when_told_to) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    size_t i;
    REQUIRE(heap != NULL);
    for (i = 0; i < 10; i++) {
        (void)CHECK(kn_heap_malloc(heap, 50) != NULL);
    }
    for (i = 1; i <= 11; i++) {
        walk(heap, i);
        (void)CHECK_EQ(seen.count, i);
    }
}

TEST(a_walk_changes_nothing) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    KnHeapStats before, after;
    size_t turn;
    REQUIRE(heap != NULL);
    for (turn = 0; turn < 50; turn++) {
        (void)shadow_malloc(shadow, random_size(300));
    }
    (void)CHECK_STATUS(kn_heap_stats(heap, &before), KN_OK);
    for (turn = 0; turn < 5; turn++) {
        walk(heap, turn);
    }
    (void)CHECK_STATUS(kn_heap_stats(heap, &after), KN_OK);
    (void)CHECK_EQ(after.used, before.used);
    (void)CHECK_EQ(after.peak, before.peak);
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 1);
    (void)CHECK(is_empty_and_whole(heap));
}

SUITE("walk", EACH_LAYOUT(an_empty_heap_is_one_free_block), EACH_LAYOUT(agrees_with_statistics_and_shadow),
      EACH_LAYOUT(goes_through_every_region), EACH_LAYOUT(stops_when_told_to), EACH_LAYOUT(a_walk_changes_nothing))
