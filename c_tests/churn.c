/* Churn: long random lives with every call, in heaps of several sizes, against a shadow that knows every byte. */
#include "harness.h"
#include "shadow.h"

#include <string.h>

/* Turns a heap over: each call as likely as in a busy program, sizes up to `most`. */
static void live(Shadow *shadow, size_t turns, size_t most) {
    size_t turn;
    for (turn = 0; turn < turns; turn++) {
        /* Waves: now the heap fills, now it empties. */
        size_t lean = turn / 400 % 2 == 0 ? 7 : 4;
        size_t dice = random_below(14);
        if (shadow->count == 0 || dice < lean - 2) {
            (void)shadow_malloc(shadow, random_size(most));
        } else if (dice < lean - 1) {
            (void)shadow_calloc(shadow, random_below(12), random_size(most / 8));
        } else if (dice < lean) {
            (void)shadow_aligned_alloc(shadow, (size_t)1 << random_below(8), random_size(most / 2));
        } else if (dice < lean + 1) {
            (void)shadow_malloc_top(shadow, random_size(most / 2));
        } else if (dice < lean + 3) {
            (void)shadow_realloc(shadow, random_below(shadow->count), random_size(most));
        } else {
            shadow_free(shadow, random_below(shadow->count));
        }
        if (turn % 250 == 0) {
            shadow_verify(shadow);
        }
    }
}

static void churn(size_t heap_bytes, size_t turns, size_t most) {
    KnHeap *heap = new_heap(heap_bytes);
    Shadow *shadow = shadow_of(heap);
    REQUIRE(heap != NULL);
    live(shadow, turns, most);
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 32);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(in_4_kilobytes) {
    churn(4 * 1024, 6000, 300);
}

TEST(in_32_kilobytes) {
    churn(32 * 1024, 8000, 1000);
}

TEST(in_200_kilobytes) {
    churn(200 * 1024, 8000, 3000);
}

TEST(small_blocks_only) {
    churn(24 * 1024, 8000, 40);
}

TEST(large_blocks_only) {
    churn(128 * 1024, 3000, 30000);
}

/* A heap can be dropped whole, by forgetting it: its memory makes the next one, whatever is left there. */
TEST(memory_of_an_old_heap_makes_a_new_one) {
    enum { BYTES = 8 * 1024 };
    uint8_t *memory = take_memory(BYTES, 8);
    size_t round;
    REQUIRE(memory != NULL);
    for (round = 0; round < 20; round++) {
        KnHeap *heap = kn_heap_create_with(memory, BYTES - round, current_config());
        Shadow *shadow = shadow_of(heap);
        REQUIRE(heap != NULL);
        (void)CHECK(is_empty_and_whole(heap));
        live(shadow, 300, 300);
        shadow_verify(shadow);
    }
}

SUITE("churn", EACH_LAYOUT(in_4_kilobytes), EACH_LAYOUT(in_32_kilobytes), EACH_LAYOUT(in_200_kilobytes),
      EACH_LAYOUT(small_blocks_only), EACH_LAYOUT(large_blocks_only),
      EACH_LAYOUT(memory_of_an_old_heap_makes_a_new_one))
