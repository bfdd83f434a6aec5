/* Layouts: how a heap is configured, what each layout costs, and where it ends. */
#include "harness.h"
#include "shadow.h"

enum { HEAP_BYTES = 16 * 1024 };

TEST(unknown_layouts_are_refused) {
    static const KnLayout unknown[] = {-1, KN_LAYOUT_WIDE + 1, 99, INT32_MAX, INT32_MIN};
    KnHeap *heap = new_heap(HEAP_BYTES);
    uint8_t *memory = take_memory(HEAP_BYTES, 0);
    KnHeapConfig config = {KN_LAYOUT_AUTO, 0};
    size_t i;
    REQUIRE(heap != NULL && memory != NULL);
    for (i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        config.layout = unknown[i];
        (void)CHECK(kn_heap_create_with(memory, HEAP_BYTES, &config) == NULL);
        (void)CHECK_STATUS(kn_heap_add_region_with(heap, memory, HEAP_BYTES, &config), KN_E_INVALID);
    }
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(no_configuration_is_the_default) {
    uint8_t *memory = take_memory(HEAP_BYTES, 0);
    KnHeapStats plain, with_null;
    KnHeap *heap;
    REQUIRE(memory != NULL);
    heap = kn_heap_create(memory, HEAP_BYTES);
    REQUIRE(heap != NULL);
    (void)CHECK_STATUS(kn_heap_stats(heap, &plain), KN_OK);
    heap = kn_heap_create_with(memory, HEAP_BYTES, NULL);
    REQUIRE(heap != NULL);
    (void)CHECK_STATUS(kn_heap_stats(heap, &with_null), KN_OK);
    (void)CHECK_EQ(with_null.total, plain.total);
    (void)CHECK_EQ(with_null.overhead, plain.overhead);
    (void)CHECK_STATUS(kn_heap_add_region_with(heap, take_memory(HEAP_BYTES, 0), HEAP_BYTES, NULL), KN_OK);
    (void)CHECK(is_empty_and_whole(heap));
}

/* Bytes used by 100 blocks of `bytes` in a heap of a layout. */
static size_t cost_of(KnLayout layout, size_t bytes) {
    KnHeapConfig config = {KN_LAYOUT_AUTO, 0};
    KnHeapStats stats = {0};
    KnHeap *heap;
    size_t i;
    config.layout = layout;
    heap = kn_heap_create_with(take_memory(HEAP_BYTES, 0), HEAP_BYTES, &config);
    if (!CHECK(heap != NULL)) {
        return 0;
    }
    for (i = 0; i < 100; i++) {
        (void)CHECK(kn_heap_malloc(heap, bytes) != NULL);
    }
    (void)CHECK(is_sound(heap));
    (void)CHECK_STATUS(kn_heap_stats(heap, &stats), KN_OK);
    (void)CHECK_GE(stats.used, 100 * bytes);
    return stats.used;
}

/* The map layout has no headers, the compact one small ones, the wide one larger ones. */
TEST(costs_rise_from_map_to_wide) {
    static const size_t sizes[] = {8, 16, 24, 60, 100};
    size_t i;
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t map = cost_of(KN_LAYOUT_MAP, sizes[i]);
        size_t compact = cost_of(KN_LAYOUT_COMPACT, sizes[i]);
        size_t wide = cost_of(KN_LAYOUT_WIDE, sizes[i]);
        (void)CHECK_LE(map, compact);
        (void)CHECK_LE(compact, wide);
        (void)CHECK_LE(wide, 100 * (sizes[i] + 40));
    }
}

/* More memory than a layout can address is no error: what it can't reach stays unused. */
TEST(memory_beyond_a_layouts_reach) {
    size_t bytes = TEST_MEMORY_BYTES;
    KnHeap *heap = new_heap(bytes);
    Shadow *shadow = shadow_of(heap);
    KnHeapStats stats;
    REQUIRE(heap != NULL);
    (void)CHECK_STATUS(kn_heap_stats(heap, &stats), KN_OK);
    (void)CHECK_GE(stats.total, 240 * 1024);
    (void)CHECK_LE(stats.total, bytes);
    while (shadow_malloc(shadow, random_between(1, 6000))) {
    }
    while (shadow_malloc_top(shadow, random_between(1, 400))) {
    }
    (void)CHECK_GE(shadow->live_bytes, stats.total * 7 / 8);
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 64);
    (void)CHECK(is_empty_and_whole(heap));
    REQUIRE(shadow_malloc(shadow, stats.total - 64));
    shadow_verify(shadow);
    shadow_free(shadow, 0);
    (void)CHECK(is_empty_and_whole(heap));
}

SUITE("layouts", ONCE(unknown_layouts_are_refused), ONCE(no_configuration_is_the_default),
      ONCE(costs_rise_from_map_to_wide), EACH_LAYOUT(memory_beyond_a_layouts_reach))
