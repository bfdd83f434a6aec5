/* Small heaps: from 512 bytes up each works; below that a heap is refused or works, and nothing else. */
#include "harness.h"
#include "shadow.h"

/* A quarter of a small heap can be used. */
enum { LEAST_HEAP = 512, MOST_HEAP = 2560, LEAST_SHARE = 4 };

/* But for one small block on 64 bit, where each of the control block's pointers is twice as long. */
static size_t one_small_block(size_t bytes_each) {
    return sizeof(void *) == 8 ? bytes_each : 0;
}

/* Fills a heap, checks it, empties it; answers the bytes that it held. */
static size_t use(KnHeap *heap, size_t bytes_each) {
    Shadow *shadow = shadow_of(heap);
    size_t held;
    while (shadow_malloc(shadow, bytes_each)) {
    }
    held = shadow->live_bytes;
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_EVERY_SECOND, 1);
    (void)CHECK(is_empty_and_whole(heap));
    return held;
}

TEST(heaps_from_512_bytes_up) {
    uint8_t *memory = take_memory(MOST_HEAP, 0);
    size_t bytes;
    REQUIRE(memory != NULL);
    /* Every eighth byte to 1 KB; beyond that little changes, and steps of all remainders do. */
    for (bytes = LEAST_HEAP; bytes <= MOST_HEAP; bytes += bytes < 1024 ? 8 : 61) {
        KnHeap *heap = kn_heap_create_with(memory, bytes, current_config());
        REQUIRE(heap != NULL);
        (void)CHECK(is_empty_and_whole(heap));
        (void)CHECK_GE(use(heap, 16) + one_small_block(16), bytes / LEAST_SHARE);
        (void)CHECK_GE(use(heap, 50), bytes / LEAST_SHARE);
    }
}

/* Every size up to that limit: NULL up to some size, a sound heap from there on; never a byte outside. */
TEST(tiny_memory_is_refused_or_works) {
    uint8_t *memory = take_memory(LEAST_HEAP, 0);
    size_t bytes;
    bool works = false;
    REQUIRE(memory != NULL);
    for (bytes = 0; bytes < LEAST_HEAP; bytes++) {
        KnHeap *heap;
        /* The bytes behind stay as they are. */
        fill_pattern(memory, LEAST_HEAP, 3);
        heap = kn_heap_create_with(memory, bytes, current_config());
        if (heap == NULL) {
            (void)CHECK(!works && "once large enough, every larger size is");
            (void)CHECK_PATTERN(memory, bytes, 3);
        } else {
            works = true;
            (void)CHECK(bytes >= 64 && "no heap fits in less");
            (void)CHECK(is_empty_and_whole(heap));
            (void)use(heap, 8);
        }
        {
            uint8_t expected[LEAST_HEAP];
            size_t i;
            fill_pattern(expected, LEAST_HEAP, 3);
            for (i = bytes; i < LEAST_HEAP && memory[i] == expected[i]; i++) {
            }
            (void)CHECK_EQ(i, LEAST_HEAP);
        }
    }
}

/* Odd addresses and odd sizes of small memory, guarded on both sides. */
TEST(small_heaps_at_odd_addresses) {
    size_t skew;
    for (skew = 1; skew < 32; skew += 3) {
        size_t bytes = LEAST_HEAP + 32 + skew * 5;
        uint8_t *memory = take_memory(bytes, skew);
        KnHeap *heap;
        REQUIRE(memory != NULL);
        heap = kn_heap_create_with(memory, bytes, current_config());
        REQUIRE(heap != NULL);
        (void)use(heap, skew);
        (void)CHECK_GE(use(heap, 24) + one_small_block(24), bytes / LEAST_SHARE);
    }
}

/* A life on 640 bytes. */
TEST(random_life_in_a_small_heap) {
    KnHeap *heap = new_heap(640);
    Shadow *shadow = shadow_of(heap);
    size_t turn, served = 0;
    REQUIRE(heap != NULL);
    for (turn = 0; turn < 5000; turn++) {
        switch (shadow->count == 0 ? 0 : random_below(6)) {
        case 0:
        case 1:
            served += shadow_malloc(shadow, random_size(100));
            break;
        case 2:
            served += shadow_malloc_top(shadow, random_size(50));
            break;
        case 3:
            (void)shadow_realloc(shadow, random_below(shadow->count), random_size(100));
            break;
        default:
            shadow_free(shadow, random_below(shadow->count));
        }
        if (turn % 50 == 0) {
            shadow_verify(shadow);
        }
    }
    (void)CHECK_GE(served, 500);
    shadow_free_all(shadow, SHADOW_RANDOM, 1);
    (void)CHECK(is_empty_and_whole(heap));
}

SUITE("small_heaps", EACH_LAYOUT(heaps_from_512_bytes_up), EACH_LAYOUT(tiny_memory_is_refused_or_works),
      EACH_LAYOUT(small_heaps_at_odd_addresses), EACH_LAYOUT(random_life_in_a_small_heap))
