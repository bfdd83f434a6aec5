/*
 * Manual memory by Nim's names, through knoll/nim.h.
 *
 * Rows 41 and 42 of the conformance table. On a host the shared blocks lie in the process heap, elsewhere in the default
 * one.
 */
#include "cells.h"
#include "knoll/nim.h"

#include <string.h>

/* Row 41: alloc0 and allocShared0 clear, alloc gives what it says, and each pair leaves nothing behind. */
COUNTED_TEST(alloc_and_dealloc) {
    size_t used = used_blocks(ground_heap());
    size_t bytes;
    for (bytes = 0; bytes < 700; bytes += 1 + bytes / 4) {
        uint8_t *plain = alloc(bytes);
        uint8_t *dirty = alloc(bytes);
        uint8_t *clear;
        REQUIRE(plain != NULL && dirty != NULL);
        (void)CHECK(plain != dirty);
        (void)CHECK_GE(kn_usable_size(plain), bytes);
        (void)CHECK(is_aligned(plain, 8));
        fill_pattern(plain, bytes, 1);
        memset(dirty, 0xFF, bytes);
        dealloc(dirty);
        clear = alloc0(bytes);
        REQUIRE(clear != NULL);
        (void)CHECK(holds_byte(clear, bytes, 0));
        (void)CHECK_PATTERN(plain, bytes, 1);
        dealloc(clear);
        dealloc(plain);
    }
    dealloc(NULL);
    (void)CHECK_EQ(used_blocks(ground_heap()), used);
    (void)CHECK(alloc(opaque(SIZE_MAX)) == NULL);
    (void)CHECK(alloc0(opaque(SIZE_MAX - 20)) == NULL);
    (void)CHECK_EQ(used_blocks(ground_heap()), used);
}

COUNTED_TEST(shared_alloc_and_dealloc) {
    size_t bytes;
    for (bytes = 1; bytes < 700; bytes += 1 + bytes / 4) {
        uint8_t *plain = allocShared(bytes);
        uint8_t *dirty = allocShared(bytes);
        uint8_t *clear;
        REQUIRE(plain != NULL && dirty != NULL);
        fill_pattern(plain, bytes, 1);
        memset(dirty, 0xFF, bytes);
        deallocShared(dirty);
        clear = allocShared0(bytes);
        REQUIRE(clear != NULL);
        (void)CHECK(holds_byte(clear, bytes, 0));
        (void)CHECK_PATTERN(plain, bytes, 1);
        clear = reallocShared0(clear, bytes, 2 * bytes);
        REQUIRE(clear != NULL);
        (void)CHECK(holds_byte(clear, 2 * bytes, 0));
        deallocShared(clear);
        deallocShared(plain);
    }
    deallocShared(NULL);
    (void)CHECK(kn_heap_default() == ground_heap());
}

/* Row 41: nothing of it is ever touched by the collector, whatever lies in it; and references from it do count. */
COUNTED_TEST(collector_leaves_manual_memory_alone) {
    void **block = alloc0(8 * sizeof(void *));
    uint8_t *bytes = alloc(300);
    Node *kept = ring(3, 1);
    Node *dead = ring(3, 4);
    size_t collections = gc().collections;
    REQUIRE(block != NULL && bytes != NULL && kept != NULL && dead != NULL);
    fill_pattern(bytes, 300, 7);
    block[0] = kept;   /* owns the reference */
    block[1] = bytes;  /* not a cell */
    block[2] = &block; /* nor this */
    GC_unref(GC_ref(kept));
    GC_unref(dead);
    GC_fullCollect();
    (void)CHECK_GE(gc().collections, collections + 1);
    (void)CHECK(destroyed_once(4, 6));
    (void)CHECK_EQ(destroyed_total(), 3);
    (void)CHECK_PATTERN(bytes, 300, 7);
    (void)CHECK(block[0] == (void *)kept && block[1] == (void *)bytes && block[2] == (void *)&block);
    (void)CHECK_EQ(GC_refcount(kept), 2);
    (void)CHECK_EQ(live_cells(), 3);
    dealloc(bytes);
    dealloc(block);
    (void)CHECK_EQ(live_cells(), 3);
    GC_unref(kept);
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 6));
    (void)CHECK_EQ(getOccupiedMem(), 0);
    (void)CHECK_EQ(getTotalMem(), getOccupiedMem() + getFreeMem());
}

/* Row 41: growing keeps what there was, clears what is new, and a size of 0 frees. */
COUNTED_TEST(reallocation) {
    size_t used = used_blocks(ground_heap());
    uint8_t *block = alloc(40);
    REQUIRE(block != NULL);
    fill_pattern(block, 40, 3);
    block = realloc0(block, 40, 400);
    REQUIRE(block != NULL);
    (void)CHECK_PATTERN(block, 40, 3);
    (void)CHECK(holds_byte(block + 40, 360, 0));
    block = nimRealloc(block, 20);
    REQUIRE(block != NULL);
    (void)CHECK_PATTERN(block, 20, 3);
    (void)CHECK(nimRealloc(block, 4 * GROUND_BYTES) == NULL);
    (void)CHECK_PATTERN(block, 20, 3);
    (void)CHECK(nimRealloc(block, 0) == NULL);
    (void)CHECK_EQ(used_blocks(ground_heap()), used);
    block = realloc0(NULL, 0, 64);
    REQUIRE(block != NULL);
    (void)CHECK(holds_byte(block, 64, 0));
    dealloc(block);
    {
        uint32_t *numbers = nim_create(uint32_t, 10);
        REQUIRE(numbers != NULL);
        (void)CHECK(holds_byte(numbers, 40, 0));
        numbers[9] = 5;
        numbers = nim_resize(uint32_t, numbers, 100);
        REQUIRE(numbers != NULL);
        (void)CHECK_EQ(numbers[9], 5);
        dealloc(numbers);
        (void)CHECK(nim_create(uint32_t, opaque(SIZE_MAX / 2)) == NULL);
    }
    (void)CHECK_EQ(used_blocks(ground_heap()), used);
}

/* Row 42: copies that end with NUL, in an array that ends with NULL; one call frees all. */
COUNTED_TEST(c_string_arrays) {
    static const char *const strings[] = {"one", "", "a longer text, longer than a small block", "\x01\xFF", "five"};
    enum { COUNT = sizeof strings / sizeof strings[0] };
    size_t used = used_blocks(ground_heap());
    size_t count, i;
    for (count = 0; count <= COUNT; count++) {
        char **array = allocCStringArray(strings, count);
        REQUIRE(array != NULL);
        (void)CHECK_EQ(used_blocks(ground_heap()), used + 1 + count);
        for (i = 0; i < count; i++) {
            REQUIRE(array[i] != NULL);
            (void)CHECK(array[i] != strings[i]);
            (void)CHECK(strcmp(array[i], strings[i]) == 0);
            (void)CHECK_GE(kn_usable_size(array[i]), strlen(strings[i]) + 1);
        }
        (void)CHECK(array[count] == NULL);
        deallocCStringArray(array);
        (void)CHECK_EQ(used_blocks(ground_heap()), used);
    }
    deallocCStringArray(NULL);
    (void)CHECK_EQ(used_blocks(ground_heap()), used);
}

/* Row 42: without memory for the last of them there is none of them. */
COUNTED_TEST(c_string_array_without_memory) {
    static char text[GROUND_BYTES / 4];
    const char *strings[8];
    size_t used = used_blocks(ground_heap()), i;
    memset(text, 'x', sizeof text - 1);
    for (i = 0; i < 8; i++) {
        strings[i] = text;
    }
    (void)CHECK(allocCStringArray(strings, 8) == NULL);
    (void)CHECK(allocCStringArray(strings, opaque(SIZE_MAX)) == NULL);
    (void)CHECK_EQ(used_blocks(ground_heap()), used);
    (void)CHECK(is_sound(ground_heap()));
}

/* The dump by Nim's name. */
COUNTED_TEST(instances_by_nims_name) {
    static Text text;
    Node *node = new_node(1, NULL, NULL);
    REQUIRE(node != NULL);
    memset(&text, 0, sizeof text);
    (void)CHECK_STATUS(dumpNumberOfInstancesTo(take_text, &text), KN_OK);
    (void)CHECK(text_has(&text, "[Heap] Node: #1; bytes: "));
    GC_unref(node);
}

SUITE("counted_nim", EACH_LAYOUT(alloc_and_dealloc), ONCE(shared_alloc_and_dealloc),
      EACH_LAYOUT(collector_leaves_manual_memory_alone), EACH_LAYOUT(reallocation), EACH_LAYOUT(c_string_arrays),
      EACH_LAYOUT(c_string_array_without_memory), ONCE(instances_by_nims_name))
