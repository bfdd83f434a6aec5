/* Regions: one heap over several pieces of memory, apart, of odd sizes, at odd addresses. */
#include "harness.h"
#include "shadow.h"

enum { REGIONS = 5, REGION_BYTES = 4096 };

static uint8_t *starts[REGIONS];
static size_t sizes[REGIONS];

/* A heap of REGIONS regions, the first in the heap's own memory. */
static KnHeap *make_heap(void) {
    KnHeap *heap = NULL;
    size_t i;
    for (i = 0; i < REGIONS; i++) {
        sizes[i] = REGION_BYTES + i * 777;
        starts[i] = take_memory(sizes[i], i * 13 % 64);
        if (!CHECK(starts[i] != NULL)) {
            return NULL;
        }
        if (i == 0) {
            heap = kn_heap_create_with(starts[i], sizes[i], current_config());
            if (!CHECK(heap != NULL)) {
                return NULL;
            }
        } else if (!CHECK_STATUS(kn_heap_add_region_with(heap, starts[i], sizes[i], current_config()), KN_OK)) {
            return NULL;
        }
    }
    return heap;
}

static size_t region_of(const uint8_t *block) {
    size_t i;
    for (i = 0; i < REGIONS; i++) {
        if (block >= starts[i] && block < starts[i] + sizes[i]) {
            return i;
        }
    }
    return REGIONS;
}

static bool all_regions_hold_blocks(const Shadow *shadow) {
    bool seen[REGIONS] = {false};
    size_t i;
    for (i = 0; i < shadow->count; i++) {
        size_t region = region_of(shadow->blocks[i].at);
        if (region == REGIONS) {
            return false;
        }
        seen[region] = true;
    }
    for (i = 0; i < REGIONS; i++) {
        if (!seen[i]) {
            return false;
        }
    }
    return true;
}

TEST(each_region_adds_to_the_total) {
    KnHeap *heap = new_heap(REGION_BYTES);
    KnHeapStats before, after;
    size_t i;
    REQUIRE(heap != NULL);
    (void)CHECK_STATUS(kn_heap_stats(heap, &before), KN_OK);
    for (i = 1; i < REGIONS; i++) {
        uint8_t *memory = take_memory(REGION_BYTES, 0);
        REQUIRE(memory != NULL);
        (void)CHECK_STATUS(kn_heap_add_region_with(heap, memory, REGION_BYTES, current_config()), KN_OK);
        (void)CHECK_STATUS(kn_heap_stats(heap, &after), KN_OK);
        (void)CHECK_EQ(after.regions, i + 1);
        (void)CHECK_GE(after.total - before.total, REGION_BYTES * 3 / 4);
        (void)CHECK_LE(after.total - before.total, REGION_BYTES);
        (void)CHECK_LE(after.total + after.overhead, (i + 1) * REGION_BYTES);
        before = after;
        (void)CHECK(is_empty_and_whole(heap));
    }
}

TEST(blocks_come_from_every_region) {
    KnHeap *heap = make_heap();
    Shadow *shadow = shadow_of(heap);
    REQUIRE(heap != NULL);
    while (shadow_malloc(shadow, random_size(300))) {
    }
    while (shadow_malloc(shadow, 8)) {
    }
    (void)CHECK(all_regions_hold_blocks(shadow));
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 8);
    (void)CHECK(is_empty_and_whole(heap));
    /* And again: every region's memory is reused. */
    while (shadow_malloc(shadow, 60)) {
    }
    (void)CHECK(all_regions_hold_blocks(shadow));
    shadow_free_all(shadow, SHADOW_EVERY_SECOND, 8);
    (void)CHECK(is_empty_and_whole(heap));
}

/* A block as large as a later region leaves over is found there, though the first region is too small for it. */
TEST(a_large_block_finds_the_large_region) {
    KnHeap *heap = new_heap(2048);
    uint8_t *memory = take_memory(16 * 1024, 8);
    uint8_t *block;
    REQUIRE(heap != NULL && memory != NULL);
    (void)CHECK(kn_heap_malloc(heap, 10000) == NULL);
    (void)CHECK_STATUS(kn_heap_add_region_with(heap, memory, 16 * 1024, current_config()), KN_OK);
    block = kn_heap_malloc(heap, 10000);
    REQUIRE(block != NULL);
    (void)CHECK(block > memory && block + 10000 <= memory + 16 * 1024);
    fill_pattern(block, 10000, 3);
    (void)CHECK(is_sound(heap));
    kn_heap_free(heap, block);
    (void)CHECK(is_empty_and_whole(heap));
}

/* Every call works on blocks of every region. */
TEST(random_life_over_all_regions) {
    KnHeap *heap = make_heap();
    Shadow *shadow = shadow_of(heap);
    size_t turn;
    REQUIRE(heap != NULL);
    for (turn = 0; turn < 4000; turn++) {
        switch (shadow->count == 0 ? 0 : random_below(8)) {
        case 0:
        case 1:
            (void)shadow_malloc(shadow, random_size(400));
            break;
        case 2:
            (void)shadow_calloc(shadow, random_below(10), random_below(40));
            break;
        case 3:
            (void)shadow_aligned_alloc(shadow, (size_t)1 << random_below(8), random_size(200));
            break;
        case 4:
            (void)shadow_malloc_top(shadow, random_size(200));
            break;
        case 5:
            (void)shadow_realloc(shadow, random_below(shadow->count), random_size(500));
            break;
        default:
            shadow_free(shadow, random_below(shadow->count));
        }
        if (turn % 400 == 0) {
            shadow_verify(shadow);
        }
    }
    shadow_free_all(shadow, SHADOW_NEWEST_FIRST, 8);
    (void)CHECK(is_empty_and_whole(heap));
}

/* A block that outgrows its region moves to another, with its contents. */
TEST(resizing_moves_between_regions) {
    KnHeap *heap = new_heap(1024);
    uint8_t *memory = take_memory(8192, 24);
    uint8_t *block;
    REQUIRE(heap != NULL && memory != NULL);
    block = kn_heap_malloc(heap, 300);
    REQUIRE(block != NULL);
    fill_pattern(block, 300, 1);
    (void)CHECK_STATUS(kn_heap_add_region_with(heap, memory, 8192, current_config()), KN_OK);
    block = kn_heap_realloc(heap, block, 6000);
    REQUIRE(block != NULL);
    (void)CHECK(block > memory && block + 6000 <= memory + 8192);
    (void)CHECK_PATTERN(block, 300, 1);
    (void)CHECK_EQ(used_blocks(heap), 1);
    kn_heap_free(heap, block);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(too_small_a_region_is_refused) {
    KnHeap *heap = new_heap(REGION_BYTES);
    uint8_t *memory = take_memory(128, 0);
    KnHeapStats before, after;
    size_t bytes;
    REQUIRE(heap != NULL && memory != NULL);
    (void)CHECK_STATUS(kn_heap_stats(heap, &before), KN_OK);
    for (bytes = 0; bytes <= 128; bytes += 4) {
        /* Refused from 0 up; a region with 64 bytes to give would be no mistake, below that it is. */
        KnStatus status = kn_heap_add_region_with(heap, memory, bytes, current_config());
        if (bytes < 64) {
            (void)CHECK_STATUS(status, KN_E_INVALID);
        }
        if (status == KN_OK) {
            break;
        }
    }
    (void)CHECK_STATUS(kn_heap_stats(heap, &after), KN_OK);
    (void)CHECK_GE(after.total, before.total);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(no_memory_and_no_heap_are_refused) {
    KnHeap *heap = new_heap(REGION_BYTES);
    uint8_t *memory = take_memory(REGION_BYTES, 0);
    REQUIRE(heap != NULL && memory != NULL);
    (void)CHECK_STATUS(kn_heap_add_region_with(heap, NULL, REGION_BYTES, current_config()), KN_E_INVALID);
    (void)CHECK_STATUS(kn_heap_add_region_with(NULL, memory, REGION_BYTES, current_config()), KN_E_INVALID);
    (void)CHECK_STATUS(kn_heap_add_region(NULL, memory, REGION_BYTES), KN_E_INVALID);
    (void)CHECK(kn_heap_create_with(NULL, REGION_BYTES, current_config()) == NULL);
    (void)CHECK(is_empty_and_whole(heap));
}

/* Regions of different layouts make one heap. */
TEST(layouts_can_be_mixed) {
    static const KnLayout layouts[] = {KN_LAYOUT_WIDE, KN_LAYOUT_MAP, KN_LAYOUT_COMPACT, KN_LAYOUT_AUTO};
    KnHeap *heap = new_heap(REGION_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t i;
    REQUIRE(heap != NULL);
    for (i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        KnHeapConfig config = *current_config();
        uint8_t *memory = take_memory(REGION_BYTES, 40);
        REQUIRE(memory != NULL);
        config.layout = layouts[i];
        (void)CHECK_STATUS(kn_heap_add_region_with(heap, memory, REGION_BYTES, &config), KN_OK);
    }
    while (shadow_malloc(shadow, random_size(200))) {
    }
    for (i = 0; i < 500; i++) {
        size_t index = random_below(shadow->count);
        (void)shadow_realloc(shadow, index, random_size(300));
    }
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 8);
    (void)CHECK(is_empty_and_whole(heap));
}

SUITE("regions", EACH_LAYOUT(each_region_adds_to_the_total), EACH_LAYOUT(blocks_come_from_every_region),
      EACH_LAYOUT(a_large_block_finds_the_large_region), EACH_LAYOUT(random_life_over_all_regions),
      EACH_LAYOUT(resizing_moves_between_regions), EACH_LAYOUT(too_small_a_region_is_refused),
      EACH_LAYOUT(no_memory_and_no_heap_are_refused), EACH_LAYOUT(layouts_can_be_mixed))
