/* Basics: what every caller of an allocator takes for granted, one promise a test. */
#include "harness.h"
#include "shadow.h"

#include <string.h>

enum { HEAP_BYTES = 16 * 1024 };

TEST(new_heap_is_empty) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    KnHeapStats stats;
    REQUIRE(heap != NULL);
    (void)CHECK(is_empty_and_whole(heap));
    (void)CHECK_STATUS(kn_heap_stats(heap, &stats), KN_OK);
    (void)CHECK_EQ(stats.peak, 0);
    (void)CHECK_EQ(stats.regions, 1);
    (void)CHECK_GE(stats.total, HEAP_BYTES * 3 / 4);
    (void)CHECK_LE(stats.total + stats.overhead, HEAP_BYTES);
}

TEST(control_block_lies_in_the_memory) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    REQUIRE(heap != NULL);
    (void)CHECK(lies_in_memory(heap, 1));
}

TEST(create_without_configuration_works) {
    uint8_t *memory = take_memory(HEAP_BYTES, 0);
    KnHeap *heap = kn_heap_create(memory, HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    REQUIRE(heap != NULL);
    (void)CHECK(shadow_malloc(shadow, 100));
    shadow_verify(shadow);
    shadow_free(shadow, 0);
    (void)CHECK(is_empty_and_whole(heap));
}

/* Each size from 0 up, alone in the heap: the block is there, all of it can be written, and it comes back. */
TEST(each_size_alone) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t bytes;
    REQUIRE(heap != NULL);
    for (bytes = 0; bytes <= 1100; bytes++) {
        REQUIRE(shadow_malloc(shadow, bytes));
        shadow_free(shadow, 0);
        if (bytes % 50 == 0) {
            (void)CHECK(is_empty_and_whole(heap));
        }
    }
    (void)CHECK(is_empty_and_whole(heap));
}

/* Many at once: no two share a byte, whatever the order of sizes. */
TEST(many_sizes_together) {
    KnHeap *heap = new_heap(4 * HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t bytes;
    REQUIRE(heap != NULL);
    for (bytes = 0; bytes < 200; bytes++) {
        REQUIRE(shadow_malloc(shadow, bytes * 7 % 200));
    }
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 16);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(zero_bytes_is_a_block_of_its_own) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    void *first, *second;
    REQUIRE(heap != NULL);
    first = kn_heap_malloc(heap, 0);
    second = kn_heap_malloc(heap, 0);
    (void)CHECK(first != NULL);
    (void)CHECK(second != NULL);
    (void)CHECK(first != second);
    (void)CHECK_EQ(used_blocks(heap), 2);
    kn_heap_free(heap, first);
    kn_heap_free(heap, second);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(freed_memory_serves_again) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    size_t turn;
    REQUIRE(heap != NULL);
    /* Many times the heap's size in all: it would run out if anything were lost. */
    for (turn = 0; turn < 1000; turn++) {
        void *small = kn_heap_malloc(heap, 24);
        void *large = kn_heap_malloc(heap, 5000);
        REQUIRE(small != NULL && large != NULL);
        kn_heap_free(heap, turn % 2 == 0 ? small : large);
        kn_heap_free(heap, turn % 2 == 0 ? large : small);
    }
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(free_of_null_does_nothing) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    REQUIRE(heap != NULL);
    kn_heap_free(heap, NULL);
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(calloc_clears_what_was_dirty) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t count;
    REQUIRE(heap != NULL);
    for (count = 0; count < 150; count++) {
        uint8_t *dirty = kn_heap_malloc(heap, count * 9);
        REQUIRE(dirty != NULL);
        memset(dirty, 0xFF, count * 9);
        kn_heap_free(heap, dirty);
        REQUIRE(shadow_calloc(shadow, count, 9));
        shadow_free(shadow, 0);
    }
    REQUIRE(shadow_calloc(shadow, 0, 16));
    REQUIRE(shadow_calloc(shadow, 16, 0));
    shadow_verify(shadow);
}

TEST(usable_size_can_be_used) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    size_t bytes;
    REQUIRE(heap != NULL);
    for (bytes = 0; bytes < 300; bytes++) {
        uint8_t *left = kn_heap_malloc(heap, bytes);
        uint8_t *middle = kn_heap_malloc(heap, bytes);
        uint8_t *right = kn_heap_malloc(heap, bytes);
        size_t usable;
        REQUIRE(left != NULL && middle != NULL && right != NULL);
        usable = kn_heap_usable_size(heap, middle);
        (void)CHECK_GE(usable, bytes);
        (void)CHECK_LE(usable, bytes + 64);
        fill_pattern(left, bytes, 1);
        fill_pattern(right, bytes, 2);
        fill_pattern(middle, usable, 3);
        (void)CHECK_PATTERN(left, bytes, 1);
        (void)CHECK_PATTERN(right, bytes, 2);
        (void)CHECK_PATTERN(middle, usable, 3);
        (void)CHECK_STATUS(kn_heap_check(heap), KN_OK);
        kn_heap_free(heap, left);
        kn_heap_free(heap, middle);
        kn_heap_free(heap, right);
    }
    (void)CHECK(is_empty_and_whole(heap));
}

TEST(usable_size_of_null_is_zero) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    REQUIRE(heap != NULL);
    (void)CHECK_EQ(kn_heap_usable_size(heap, NULL), 0);
}

TEST(two_heaps_do_not_meet) {
    KnHeap *one = new_heap(HEAP_BYTES);
    KnHeap *other = new_heap(HEAP_BYTES);
    uint8_t *kept;
    size_t count = 0;
    REQUIRE(one != NULL && other != NULL);
    kept = kn_heap_malloc(other, 1000);
    REQUIRE(kept != NULL);
    fill_pattern(kept, 1000, 7);
    while (count < HEAP_BYTES && kn_heap_malloc(one, 100) != NULL) {
        count++;
    }
    (void)CHECK_GE(count, HEAP_BYTES / 200);
    (void)CHECK_LE(count, HEAP_BYTES / 100);
    (void)CHECK_PATTERN(kept, 1000, 7);
    (void)CHECK(is_sound(one));
    (void)CHECK(is_sound(other));
    (void)CHECK_EQ(used_blocks(other), 1);
    kn_heap_free(other, kept);
    (void)CHECK(is_empty_and_whole(other));
    (void)CHECK(!is_empty_and_whole(one));
}

TEST(each_status_has_a_name_of_its_own) {
    KnStatus status, other;
    for (status = KN_E_UNSUPPORTED; status <= KN_OK; status++) {
        const char *name = kn_status_str(status);
        REQUIRE(name != NULL);
        (void)CHECK(name[0] != '\0');
        for (other = KN_E_UNSUPPORTED; other < status; other++) {
            (void)CHECK(strcmp(name, kn_status_str(other)) != 0);
        }
    }
    (void)CHECK(kn_status_str(12345) != NULL);
    (void)CHECK(kn_version() != NULL && kn_version()[0] != '\0');
}

SUITE("basics", EACH_LAYOUT(new_heap_is_empty), EACH_LAYOUT(control_block_lies_in_the_memory),
      ONCE(create_without_configuration_works), EACH_LAYOUT(each_size_alone), EACH_LAYOUT(many_sizes_together),
      EACH_LAYOUT(zero_bytes_is_a_block_of_its_own), EACH_LAYOUT(freed_memory_serves_again),
      EACH_LAYOUT(free_of_null_does_nothing), EACH_LAYOUT(calloc_clears_what_was_dirty),
      EACH_LAYOUT(usable_size_can_be_used), EACH_LAYOUT(usable_size_of_null_is_zero),
      EACH_LAYOUT(two_heaps_do_not_meet), ONCE(each_status_has_a_name_of_its_own))
