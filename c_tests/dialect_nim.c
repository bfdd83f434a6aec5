/*
 * knoll/nim.h, with the prefix for the short names: memory that is resized, typed, shared; the accounts.
 */
#define KN_NIM_PREFIXED
#include "knoll/nim.h"

#include "cells.h"

/* Nim's realloc: from NULL, to 0, and what it keeps; realloc0 clears what the block gains. */
COUNTED_TEST(realloc_and_realloc0) {
    size_t blocks = used_blocks(ground_heap()), size, old = 0;
    uint8_t *block = NULL, *other;
    for (size = 8; size <= 2000; size += size / 2) {
        block = nim_realloc0(block, old, size);
        REQUIRE(block != NULL);
        (void)CHECK_PATTERN(block, old, 9);
        (void)CHECK(holds_byte(block + old, size - old, 0));
        fill_pattern(block, size, 9);
        old = size;
    }
    block = nimRealloc(block, 10);
    REQUIRE(block != NULL);
    (void)CHECK_PATTERN(block, 10, 9);
    (void)CHECK(nimRealloc(block, 0) == NULL);
    (void)CHECK_EQ(used_blocks(ground_heap()), blocks);
    other = nimRealloc(NULL, 30);
    (void)CHECK(other != NULL);
    nim_dealloc(other);
    (void)CHECK_EQ(used_blocks(ground_heap()), blocks);
}

/* Nim's create and resize, with a type. */
COUNTED_TEST(typed_allocation) {
    uint32_t *numbers = nim_create(uint32_t, 20);
    Leaf *leaf = nim_createU(Leaf, 1);
    REQUIRE(numbers != NULL && leaf != NULL);
    (void)CHECK(holds_byte(numbers, 20 * sizeof *numbers, 0));
    numbers[19] = 77;
    numbers = nim_resize(uint32_t, numbers, 100);
    REQUIRE(numbers != NULL);
    (void)CHECK_EQ(numbers[19], 77);
    (void)CHECK_GE(kn_usable_size(numbers), 400);
    nim_dealloc(numbers);
    nim_dealloc(leaf);
}

/* Shared blocks: on an operating system none of the thread's own heap, which stays the default; elsewhere of the one
 * heap there is. Either way they are zeroed, resized and given back by their own calls. */
COUNTED_TEST(shared_memory) {
    size_t blocks = used_blocks(ground_heap());
    KnHeap *before = kn_heap_default();
    uint8_t *shared = nim_allocShared(300);
    uint8_t *zeros = nim_allocShared0(300);
    uint64_t *typed = nim_createShared(uint64_t, 10);
    REQUIRE(shared != NULL && zeros != NULL && typed != NULL);
    (void)CHECK(kn_heap_default() == before);
    (void)CHECK(holds_byte(zeros, 300, 0));
    (void)CHECK(holds_byte(typed, 80, 0));
#if defined(__unix__)
    (void)CHECK(!lies_in_memory(shared, 1) && !lies_in_memory(zeros, 1) && !lies_in_memory(typed, 1));
    (void)CHECK_EQ(used_blocks(ground_heap()), blocks);
#else
    (void)CHECK(lies_in_memory(shared, 300) && lies_in_memory(zeros, 300));
    (void)CHECK_EQ(used_blocks(ground_heap()), blocks + 3);
#endif
    fill_pattern(shared, 300, 4);
    fill_pattern(zeros, 300, 5);
    shared = nim_reallocShared(shared, 3000);
    zeros = nim_reallocShared0(zeros, 300, 3000);
    typed = nim_resizeShared(uint64_t, typed, 20);
    REQUIRE(shared != NULL && zeros != NULL && typed != NULL);
    (void)CHECK_PATTERN(shared, 300, 4);
    (void)CHECK_PATTERN(zeros, 300, 5);
    (void)CHECK(holds_byte(zeros + 300, 2700, 0));
    (void)CHECK(nim_reallocShared(shared, opaque(SIZE_MAX / 2)) == NULL);
    (void)CHECK_PATTERN(shared, 300, 4);
    (void)CHECK(nim_reallocShared(shared, 0) == NULL);
    nim_deallocShared(zeros);
    nim_deallocShared(typed);
    nim_deallocShared(NULL);
    (void)CHECK(kn_heap_default() == before);
    (void)CHECK_EQ(used_blocks(ground_heap()), blocks);
}

/* The accounts. */
COUNTED_TEST(memory_accounts) {
    size_t before = nim_getOccupiedMem();
    Node *node = new_node(1, NULL, NULL);
    REQUIRE(node != NULL);
    (void)CHECK_GE(nim_getOccupiedMem(), before + sizeof(Node) + 8);
    (void)CHECK_EQ(nim_getTotalMem(), nim_getOccupiedMem() + nim_getFreeMem());
    GC_unref(node);
    (void)CHECK_EQ(nim_getOccupiedMem(), before);
    (void)CHECK_EQ(nim_getTotalMem(), nim_getOccupiedMem() + nim_getFreeMem());
}

SUITE("dialect_nim", EACH_LAYOUT(realloc_and_realloc0), EACH_LAYOUT(typed_allocation), EACH_LAYOUT(shared_memory),
      EACH_LAYOUT(memory_accounts))
