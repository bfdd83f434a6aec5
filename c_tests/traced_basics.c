/*
 * What every caller of a traced heap takes for granted: blocks are zero, aligned, apart, as large as asked; they are
 * resized in place or moved with their contents; what is freed is free; areas and heaps do not mix.
 */
#include "traced.h"

#include <string.h>

enum { BLOCKS = 40 };

TRACED_TEST(blocks_are_zero_aligned_and_apart) {
    KnTraced *heap = small_heap();
    uint8_t *blocks[BLOCKS];
    size_t sizes[BLOCKS], i, round;
    REQUIRE(heap != NULL);
    for (round = 0; round < 3; round++) {
        for (i = 0; i < BLOCKS; i++) {
            size_t bytes = 1 + random_below(i % 5 == 0 ? 600 : 70);
            blocks[i] = kn_traced_alloc(heap, bytes, i % 3 == 0 ? KN_NO_SCAN : 0);
            REQUIRE(blocks[i] != NULL);
            sizes[i] = kn_traced_size(heap, blocks[i]);
            (void)CHECK_EQ(sizes[i], rounded(bytes, 0));
            (void)CHECK(is_aligned(blocks[i], granule()));
            (void)CHECK(lies_in_memory(blocks[i], sizes[i]));
            (void)CHECK(holds_byte(blocks[i], sizes[i], 0));
            fill_pattern(blocks[i], sizes[i], (uint32_t)i);
        }
        for (i = 0; i < BLOCKS; i++) {
            (void)CHECK_PATTERN(blocks[i], sizes[i], (uint32_t)i);
            kn_traced_free(heap, blocks[i]);
            (void)CHECK_EQ(kn_traced_size(heap, blocks[i]), 0);
        }
        (void)CHECK_EQ(numbers(heap).used, 0);
        (void)CHECK_EQ(numbers(heap).largest_free, numbers(heap).total);
    }
}

TRACED_TEST(flags_are_kept) {
    KnTraced *heap = small_heap();
    uint32_t flags;
    REQUIRE(heap != NULL);
    for (flags = 0; flags < 8; flags++) {
        size_t bytes;
        for (bytes = 1; bytes < 5 * granule(); bytes += 3) {
            void *block = kn_traced_alloc(heap, bytes, flags);
            REQUIRE(block != NULL);
            (void)CHECK_EQ(kn_traced_flags(heap, block), flags & (KN_FINALISE | KN_NO_SCAN));
            (void)CHECK_EQ(kn_traced_size(heap, block), rounded(bytes, flags));
            block = kn_traced_realloc(heap, block, bytes + 50, true);
            REQUIRE(block != NULL);
            (void)CHECK_EQ(kn_traced_flags(heap, block), flags & (KN_FINALISE | KN_NO_SCAN));
            block = kn_traced_realloc(heap, block, 1, false);
            (void)CHECK_EQ(kn_traced_flags(heap, block), flags & (KN_FINALISE | KN_NO_SCAN));
            (void)CHECK_EQ(kn_traced_size(heap, block), rounded(1, flags));
            (void)CHECK(kn_traced_no_scan(heap, block));
            (void)CHECK_EQ(kn_traced_flags(heap, block), (flags & KN_FINALISE) | KN_NO_SCAN);
            kn_traced_free(heap, block);
            (void)CHECK_EQ(kn_traced_flags(heap, block), 0);
            (void)CHECK(!kn_traced_no_scan(heap, block));
        }
    }
    /* Freed by hand, a block is not finalised. */
    collect_now(heap);
    (void)CHECK_EQ(finalised(), 0);
    (void)CHECK_EQ(numbers(heap).finalisers, 0);
}

TRACED_TEST(every_size) {
    KnTraced *heap = heap_of(1500 * WORD + 8192);
    size_t bytes;
    REQUIRE(heap != NULL);
    for (bytes = 1; bytes <= 4100; bytes += bytes < 300 ? 1 : 97) {
        uint8_t *low = kn_traced_alloc(heap, bytes, 0), *high;
        REQUIRE(low != NULL);
        high = kn_traced_alloc(heap, bytes, KN_NO_SCAN);
        REQUIRE(high != NULL);
        (void)CHECK(holds_byte(low, bytes, 0) && holds_byte(high, bytes, 0));
        memset(low, 0xEE, kn_traced_size(heap, low));
        memset(high, 0xDD, kn_traced_size(heap, high));
        (void)CHECK(holds_byte(low, bytes, 0xEE));
        (void)CHECK(is_sound_traced(heap));
        kn_traced_free(heap, low);
        kn_traced_free(heap, high);
    }
}

/* In place while there is room behind; then by moving; back again. */
TRACED_TEST(resizes_keep_what_is_there) {
    KnTraced *heap = small_heap();
    uint8_t *block, *wall, *moved;
    size_t bytes = granule(), step, room;
    REQUIRE(heap != NULL);
    block = kn_traced_alloc(heap, bytes, 0);
    REQUIRE(block != NULL);
    fill_pattern(block, bytes, 7);
    for (step = 0; step < 20; step++) {
        size_t old = kn_traced_size(heap, block);
        bytes = old + 1 + random_below(60);
        (void)CHECK(kn_traced_realloc(heap, block, bytes, step % 2 == 0) == block);
        (void)CHECK_EQ(kn_traced_size(heap, block), rounded(bytes, 0));
        (void)CHECK_PATTERN(block, old, 7);
        (void)CHECK(holds_byte(block + old, rounded(bytes, 0) - old, 0));
        fill_pattern(block, rounded(bytes, 0), 7);
    }
    bytes = kn_traced_size(heap, block);
    wall = kn_traced_alloc(heap, 1, 0);
    REQUIRE(wall == block + bytes);
    (void)CHECK(kn_traced_realloc(heap, block, bytes + 1, false) == NULL);
    (void)CHECK_PATTERN(block, bytes, 7);
    moved = kn_traced_realloc(heap, block, bytes + 100, true);
    REQUIRE(moved != NULL && moved != block);
    (void)CHECK_PATTERN(moved, bytes, 7);
    (void)CHECK(holds_byte(moved + bytes, kn_traced_size(heap, moved) - bytes, 0));
    (void)CHECK_EQ(kn_traced_size(heap, block), 0);
    /* Down to a granule, whose remainder is free at once. */
    room = numbers(heap).free;
    bytes = kn_traced_size(heap, moved);
    (void)CHECK(kn_traced_realloc(heap, moved, 1, false) == moved);
    (void)CHECK_EQ(numbers(heap).free, room + bytes - granule());
    (void)CHECK_PATTERN(moved, granule(), 7);
    (void)CHECK(kn_traced_realloc(heap, moved, 0, true) == NULL);
    (void)CHECK_EQ(kn_traced_size(heap, moved), 0);
    block = kn_traced_realloc(heap, NULL, 30, true);
    (void)CHECK_EQ(kn_traced_size(heap, block), rounded(30, 0));
    (void)CHECK_EQ(asked(), 0);
}

/* To the last granule exactly, and not one further. */
TRACED_TEST(growth_to_the_end) {
    KnTraced *heap = small_heap();
    uint8_t *block = kn_traced_alloc(heap, 1, 0);
    size_t total;
    REQUIRE(heap != NULL && block != NULL);
    total = numbers(heap).total;
    (void)CHECK(kn_traced_realloc(heap, block, total + 1, false) == NULL);
    (void)CHECK(kn_traced_realloc(heap, block, total, false) == block);
    (void)CHECK(holds_byte(block, total, 0));
    memset(block, 0x77, total);
    roots[0] = block;
    (void)CHECK_EQ(numbers(heap).free, 0);
    (void)CHECK(kn_traced_alloc(heap, 1, 0) == NULL);
    (void)CHECK(kn_traced_realloc(heap, block, total - granule(), false) == block);
    (void)CHECK(kn_traced_alloc(heap, 1, 0) == block + total - granule());
}

/* Areas have granules of their own, and are filled in their order. */
TRACED_TEST(areas_in_their_order) {
    static const uint32_t granules[3] = {8, 16, 32};
    KnTraced *heap = small_heap();
    uint8_t *memory[3];
    size_t i, total = 0;
    REQUIRE(heap != NULL);
    for (i = 0; i < 3; i++) {
        size_t before = numbers(heap).total;
        memory[i] = take_memory(4000, 1 + 8 * i);
        REQUIRE(memory[i] != NULL);
        (void)CHECK_STATUS(kn_traced_add_area(heap, memory[i], 4000, granules[i]), KN_OK);
        total = numbers(heap).total;
        (void)CHECK_GE(total, before + 4000 - 200 - 60 * WORD);
        (void)CHECK_EQ(numbers(heap).areas, i + 2);
    }
    decline(true);
    for (i = 0; i < 3; i++) {
        uint8_t *block;
        do {
            block = kn_traced_alloc(heap, 700, 0);
            REQUIRE(block != NULL);
        } while (block < memory[i] || block >= memory[i] + 4000);
        (void)CHECK_EQ(kn_traced_size(heap, block), (700 + granules[i] - 1) / granules[i] * granules[i]);
        (void)CHECK(is_aligned(block, granules[i]));
        roots[i] = block;
        fill_pattern(block, 700, (uint32_t)i);
    }
    decline(false);
    collect_now(heap);
    (void)CHECK_EQ(numbers(heap).blocks, 3);
    for (i = 0; i < 3; i++) {
        (void)CHECK_PATTERN(roots[i], 700, (uint32_t)i);
    }
    /* Across areas a block moves with its contents. */
    roots[0] = kn_traced_realloc(heap, roots[0], 2600, true);
    REQUIRE(roots[0] != NULL);
    (void)CHECK_PATTERN(roots[0], 700, 0);
    (void)CHECK(holds_byte((uint8_t *)roots[0] + 720, 1800, 0));
}

/* Two heaps know nothing of each other. */
TRACED_TEST(heaps_do_not_mix) {
    KnTraced *one = small_heap(), *other = small_heap();
    void *mine, *yours;
    REQUIRE(one != NULL && other != NULL);
    mine = kn_traced_alloc(one, 50, 0);
    yours = kn_traced_alloc(other, 60, 0);
    REQUIRE(mine != NULL && yours != NULL);
    (void)CHECK_EQ(kn_traced_size(one, yours), 0);
    (void)CHECK_EQ(kn_traced_size(other, mine), 0);
    *slot(mine, 0) = yours;
    roots[0] = mine;
    collect_now(other);
    (void)CHECK_EQ(kn_traced_size(other, yours), 0);
    (void)CHECK_EQ(kn_traced_size(one, mine), rounded(50, 0));
    collect_now(one);
    (void)CHECK_EQ(kn_traced_size(one, mine), rounded(50, 0));
}

/* Without a configuration: granules of 16 bytes, no hooks. */
TRACED_TEST(no_configuration) {
    uint8_t *memory = take_memory(6000, 4);
    KnTraced *heap = memory == NULL ? NULL : kn_traced_create(memory, 6000, NULL);
    void *block;
    REQUIRE(heap != NULL);
    (void)CHECK_EQ(numbers(heap).granule, 16);
    block = kn_traced_alloc(heap, 17, KN_FINALISE);
    (void)CHECK_EQ(kn_traced_size(heap, block), 32);
    fill_up(heap);
    (void)CHECK_EQ(numbers(heap).free, 0);
    (void)CHECK(kn_traced_alloc(heap, 1, 0) == NULL);
    (void)CHECK(kn_traced_realloc(heap, block, 100, true) == NULL);
    kn_traced_collect_start(heap);
    kn_traced_collect_end(heap);
    (void)CHECK_EQ(numbers(heap).used, 0);
    (void)CHECK_STATUS(kn_traced_check(heap), KN_OK);
}

SUITE("traced_basics", ONCE(blocks_are_zero_aligned_and_apart), ONCE(flags_are_kept), ONCE(every_size),
      ONCE(resizes_keep_what_is_there), ONCE(growth_to_the_end), ONCE(areas_in_their_order), ONCE(heaps_do_not_mix),
      ONCE(no_configuration))
