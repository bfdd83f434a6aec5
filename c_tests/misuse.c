/*
 * Misuse: each mistake is reported to the hook, once, by its name; the heap is left as it was and stays usable.
 *
 * What is done to the heap after each mistake is the same: its check passes, its statistics are those of before, the
 * live blocks hold their bytes, and it serves and takes back another block.
 */
#include "harness.h"
#include "shadow.h"

#include <string.h>

enum { HEAP_BYTES = 16 * 1024, BYSTANDERS = 8 };

static KnHeapStats before;
static uint8_t elsewhere[64];

/* A heap with some live blocks that no mistake may touch. */
static Shadow *start(void) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t i;
    if (!CHECK(heap != NULL)) {
        return NULL;
    }
    let_knoll_look_anywhere();
    for (i = 0; i < BYSTANDERS; i++) {
        if (!CHECK(shadow_malloc(shadow, 20 + i * 30))) {
            return NULL;
        }
    }
    return shadow;
}

static void note(const Shadow *shadow) {
    KnHeapStats now = {0};
    (void)CHECK_STATUS(kn_heap_stats(shadow->heap, &now), KN_OK);
    before = now;
}

/* Nothing changed since note(), but for blocks that a test keeps beside the shadow's. */
static void unchanged(Shadow *shadow) {
    KnHeapStats after;
    size_t i;
    void *block;
    (void)CHECK_STATUS(kn_heap_check(shadow->heap), KN_OK);
    (void)CHECK_STATUS(kn_heap_stats(shadow->heap, &after), KN_OK);
    (void)CHECK_EQ(after.used, before.used);
    (void)CHECK_EQ(after.free, before.free);
    (void)CHECK_EQ(after.blocks, before.blocks);
    for (i = 0; i < shadow->count; i++) {
        (void)CHECK_PATTERN(shadow->blocks[i].at, shadow->blocks[i].bytes, shadow->blocks[i].seed);
    }
    block = kn_heap_malloc(shadow->heap, 48);
    REQUIRE(block != NULL);
    memset(block, 0xEE, 48);
    kn_heap_free(shadow->heap, block);
    (void)CHECK_STATUS(kn_heap_check(shadow->heap), KN_OK);
}

static void finish(Shadow *shadow) {
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 1);
    (void)CHECK(is_empty_and_whole(shadow->heap));
}

TEST(double_free) {
    Shadow *shadow = start();
    size_t bytes;
    REQUIRE(shadow != NULL);
    for (bytes = 0; bytes < 400; bytes += 13) {
        uint8_t *block = kn_heap_malloc(shadow->heap, bytes);
        uint8_t *wall = kn_heap_malloc(shadow->heap, 8);
        REQUIRE(block != NULL && wall != NULL);
        fill_pattern(block, bytes, 77);
        kn_heap_free(shadow->heap, block);
        note(shadow);
        EXPECT_ERROR(KN_E_DOUBLE_FREE, kn_heap_free(shadow->heap, block));
        (void)CHECK(last_error_where() == block);
        unchanged(shadow);
        kn_heap_free(shadow->heap, wall);
    }
    finish(shadow);
}

/* The block is no longer one of its own but part of a larger free one. */
TEST(double_free_after_merging) {
    Shadow *shadow = start();
    uint8_t *row[5];
    size_t i, bytes;
    REQUIRE(shadow != NULL);
    for (bytes = 8; bytes < 300; bytes += 41) {
        for (i = 0; i < 5; i++) {
            row[i] = kn_heap_malloc(shadow->heap, bytes);
            REQUIRE(row[i] != NULL);
            fill_pattern(row[i], bytes, (uint32_t)i);
        }
        kn_heap_free(shadow->heap, row[1]);
        kn_heap_free(shadow->heap, row[3]);
        kn_heap_free(shadow->heap, row[2]);
        note(shadow);
        for (i = 1; i <= 3; i++) {
            EXPECT_ERROR_OF(ERROR_BIT(KN_E_DOUBLE_FREE) | ERROR_BIT(KN_E_FOREIGN),
                            kn_heap_free(shadow->heap, row[i]));
            unchanged(shadow);
        }
        kn_heap_free(shadow->heap, row[0]);
        kn_heap_free(shadow->heap, row[4]);
    }
    finish(shadow);
}

/* A pointer that free has taken serves no resizing either, and tells no size. */
TEST(use_after_free) {
    Shadow *shadow = start();
    uint8_t *block, *wall;
    REQUIRE(shadow != NULL);
    block = kn_heap_malloc(shadow->heap, 100);
    wall = kn_heap_malloc(shadow->heap, 8);
    REQUIRE(block != NULL && wall != NULL);
    kn_heap_free(shadow->heap, block);
    note(shadow);
    EXPECT_ERROR(KN_E_DOUBLE_FREE, (void)CHECK(kn_heap_realloc(shadow->heap, block, 50) == NULL));
    unchanged(shadow);
    EXPECT_ERROR(KN_E_DOUBLE_FREE, (void)CHECK(kn_heap_realloc(shadow->heap, block, 500) == NULL));
    unchanged(shadow);
    (void)CHECK_EQ(kn_heap_usable_size(shadow->heap, block), 0);
    kn_heap_free(shadow->heap, wall);
    finish(shadow);
}

/* Where a header is expected inside a block, the bytes that lie there decide how it looks: freed, foreign, or broken. */
#define INSIDE (ERROR_BIT(KN_E_FOREIGN) | ERROR_BIT(KN_E_CORRUPT) | ERROR_BIT(KN_E_DOUBLE_FREE))

/* Every address, aligned or not, inside small blocks; every aligned one inside large blocks of many sizes. */
TEST(free_inside_a_block) {
    Shadow *shadow = start();
    size_t bytes, offset;
    REQUIRE(shadow != NULL);
    for (bytes = 16; bytes < 6000; bytes += bytes < 300 ? 24 : bytes / 5) {
        size_t step = bytes < 300 ? 1 : 8;
        uint8_t *block = kn_heap_malloc(shadow->heap, bytes);
        REQUIRE(block != NULL);
        fill_pattern(block, bytes, 5);
        note(shadow);
        for (offset = step; offset < bytes; offset += step) {
            EXPECT_ERROR_OF(INSIDE, kn_heap_free(shadow->heap, block + offset));
        }
        unchanged(shadow);
        (void)CHECK_PATTERN(block, bytes, 5);
        kn_heap_free(shadow->heap, block);
    }
    finish(shadow);
}

/* Bytes inside a block that look like nothing at all: zeros and ones. */
TEST(free_inside_a_block_of_plain_bytes) {
    static const uint8_t values[] = {0x00, 0xFF, 0x01, 0x80};
    Shadow *shadow = start();
    size_t i, offset;
    REQUIRE(shadow != NULL);
    for (i = 0; i < sizeof values; i++) {
        uint8_t *block = kn_heap_malloc(shadow->heap, 600);
        REQUIRE(block != NULL);
        memset(block, values[i], 600);
        note(shadow);
        for (offset = 8; offset < 600; offset += 8) {
            EXPECT_ERROR_OF(INSIDE, kn_heap_free(shadow->heap, block + offset));
        }
        unchanged(shadow);
        (void)CHECK(holds_byte(block, 600, values[i]));
        kn_heap_free(shadow->heap, block);
    }
    finish(shadow);
}

TEST(free_of_foreign_memory) {
    Shadow *shadow = start();
    uint64_t on_the_stack[8] = {0};
    KnHeap *other = new_heap(HEAP_BYTES);
    uint8_t *of_the_other;
    REQUIRE(shadow != NULL && other != NULL);
    of_the_other = kn_heap_malloc(other, 100);
    REQUIRE(of_the_other != NULL);
    note(shadow);
    EXPECT_ERROR(KN_E_FOREIGN, kn_heap_free(shadow->heap, &on_the_stack[2]));
    unchanged(shadow);
    EXPECT_ERROR(KN_E_FOREIGN, kn_heap_free(shadow->heap, elsewhere + 16));
    unchanged(shadow);
    EXPECT_ERROR(KN_E_FOREIGN, kn_heap_free(shadow->heap, of_the_other));
    unchanged(shadow);
    EXPECT_ERROR(KN_E_FOREIGN, (void)CHECK(kn_heap_realloc(shadow->heap, of_the_other, 10) == NULL));
    unchanged(shadow);
    EXPECT_ERROR(KN_E_FOREIGN, kn_heap_free(shadow->heap, (void *)(uintptr_t)16));
    EXPECT_ERROR(KN_E_FOREIGN, kn_heap_free(shadow->heap, (void *)(UINTPTR_MAX - 15)));
    unchanged(shadow);
    (void)CHECK_EQ(kn_heap_usable_size(shadow->heap, of_the_other), 0);
    (void)CHECK_EQ(kn_heap_usable_size(shadow->heap, elsewhere), 0);
    /* The heap's own records are no block. */
    EXPECT_ERROR(KN_E_FOREIGN, kn_heap_free(shadow->heap, shadow->heap));
    unchanged(shadow);
    kn_heap_free(other, of_the_other);
    (void)CHECK(is_empty_and_whole(other));
    finish(shadow);
}

TEST(misaligned_pointers) {
    Shadow *shadow = start();
    uint8_t *block;
    size_t offset;
    REQUIRE(shadow != NULL);
    block = kn_heap_malloc(shadow->heap, 64);
    REQUIRE(block != NULL);
    fill_pattern(block, 64, 9);
    note(shadow);
    for (offset = 1; offset < 8; offset++) {
        EXPECT_ERROR(KN_E_FOREIGN, kn_heap_free(shadow->heap, block + offset));
        EXPECT_ERROR(KN_E_FOREIGN, kn_heap_free(shadow->heap, block - offset));
        EXPECT_ERROR(KN_E_FOREIGN, (void)CHECK(kn_heap_realloc(shadow->heap, block + offset, 200) == NULL));
        (void)CHECK_EQ(kn_heap_usable_size(shadow->heap, block + offset), 0);
    }
    unchanged(shadow);
    (void)CHECK_PATTERN(block, 64, 9);
    kn_heap_free(shadow->heap, block);
    finish(shadow);
}

/*
 * A word written past the end of a block, over the record that lies there. Only the layouts with headers have a
 * record between blocks; in the map layout the word lands in the neighbour's bytes and no heap could tell.
 */
TEST(one_word_overflow) {
    static const uint8_t values[] = {0x00, 0xFF, 0x5A};
    Shadow *shadow = start();
    size_t i, bytes;
    REQUIRE(shadow != NULL);
    for (bytes = 8; bytes < 200; bytes += 24) {
        for (i = 0; i < sizeof values; i++) {
            uint8_t *block = kn_heap_malloc(shadow->heap, bytes);
            uint8_t *next = kn_heap_malloc(shadow->heap, bytes);
            uint8_t saved[sizeof(uint32_t)];
            size_t usable;
            REQUIRE(block != NULL && next != NULL && block < next);
            note(shadow);
            usable = kn_heap_usable_size(shadow->heap, block);
            memcpy(saved, block + usable, sizeof saved);
            memset(block + usable, values[i], sizeof saved);
            EXPECT_ERROR(KN_E_CORRUPT, kn_heap_free(shadow->heap, block));
            (void)CHECK(kn_heap_check(shadow->heap) != KN_OK);
            memcpy(block + usable, saved, sizeof saved);
            unchanged(shadow);
            kn_heap_free(shadow->heap, block);
            kn_heap_free(shadow->heap, next);
        }
    }
    finish(shadow);
}

/* A free block is overwritten by its former owner: the heap notices when it comes to use it, and goes on. */
TEST(write_after_free) {
    Shadow *shadow = start();
    uint8_t *block, *wall;
    size_t turn;
    REQUIRE(shadow != NULL);
    block = kn_heap_malloc(shadow->heap, 128);
    wall = kn_heap_malloc(shadow->heap, 8);
    REQUIRE(block != NULL && wall != NULL);
    kn_heap_free(shadow->heap, block);
    memset(block, 0xD5, 128);
    (void)CHECK(kn_heap_check(shadow->heap) != KN_OK);
    errors_begin();
    for (turn = 0; turn < 20; turn++) {
        uint8_t *fresh = kn_heap_malloc(shadow->heap, 128);
        if (fresh != NULL) {
            (void)CHECK(lies_in_memory(fresh, 128));
            memset(fresh, 0x11, 128);
        }
    }
    for (turn = 0; turn < shadow->count; turn++) {
        (void)CHECK_PATTERN(shadow->blocks[turn].at, shadow->blocks[turn].bytes, shadow->blocks[turn].seed);
    }
    errors_ignore();
}

TEST(null_arguments) {
    KnHeapStats stats;
    Shadow *shadow = start();
    REQUIRE(shadow != NULL);
    note(shadow);
    (void)CHECK_STATUS(kn_heap_stats(NULL, &stats), KN_E_INVALID);
    (void)CHECK_STATUS(kn_heap_stats(shadow->heap, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_heap_check(NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_heap_walk(shadow->heap, NULL, NULL), KN_E_INVALID);
    (void)CHECK(kn_heap_create(NULL, 4096) == NULL);
    kn_heap_free(shadow->heap, NULL);
    unchanged(shadow);
    finish(shadow);
}

/* Without a hook a mistake is as harmless. */
TEST(no_hook_is_no_crash) {
    Shadow *shadow = start();
    REQUIRE(shadow != NULL);
    note(shadow);
    kn_on_error(NULL);
    kn_heap_free(shadow->heap, elsewhere);
    kn_heap_free(shadow->heap, shadow->blocks[0].at + 3);
    unchanged(shadow);
    finish(shadow);
}

SUITE("misuse", EACH_LAYOUT(double_free), EACH_LAYOUT(double_free_after_merging), EACH_LAYOUT(use_after_free),
      EACH_LAYOUT(free_inside_a_block), EACH_LAYOUT(free_inside_a_block_of_plain_bytes),
      EACH_LAYOUT(free_of_foreign_memory), EACH_LAYOUT(misaligned_pointers), HEADER_LAYOUTS(one_word_overflow),
      EACH_LAYOUT(write_after_free), EACH_LAYOUT(null_arguments), EACH_LAYOUT(no_hook_is_no_crash))
