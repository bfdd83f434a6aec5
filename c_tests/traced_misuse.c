/*
 * Mistakes: each is answered, most of them told to the error hook by name, and does no harm. Pointers of every wrong kind,
 * calls in the wrong order, sizes that can't be, memory that is too little for a heap.
 */
#include "traced.h"

#include <string.h>

/* A heap with two blocks, the second of them a root and full of a pattern; and how it must look afterwards. */
static KnTraced *heap;
static uint8_t *freed, *kept;

static bool make_ground(void) {
    heap = small_heap();
    if (heap == NULL) {
        return false;
    }
    kept = roots[0] = kn_traced_alloc(heap, 4 * granule(), 0);
    freed = kn_traced_alloc(heap, 3 * granule(), 0);
    if (!CHECK(freed != NULL && kept != NULL)) {
        return false;
    }
    fill_pattern(kept, 4 * granule(), 1);
    kn_traced_free(heap, freed);
    return true;
}

static void check_ground(void) {
    (void)CHECK_PATTERN(kept, 4 * granule(), 1);
    (void)CHECK_EQ(kn_traced_size(heap, kept), 4 * granule());
    (void)CHECK_EQ(numbers(heap).blocks, 1);
    (void)CHECK(!kn_traced_is_locked(heap));
    (void)CHECK(is_sound_traced(heap));
}

/* ---- Pointers ---- */

TRACED_TEST(freed_twice) {
    REQUIRE(make_ground());
    EXPECT_ERROR(KN_E_DOUBLE_FREE, kn_traced_free(heap, freed));
    (void)CHECK(last_error_where() == freed);
    /* What joined a larger hole is free as well. */
    EXPECT_ERROR(KN_E_DOUBLE_FREE, kn_traced_free(heap, freed + granule()));
    EXPECT_ERROR_OF(ERROR_BIT(KN_E_DOUBLE_FREE) | ERROR_BIT(KN_E_FOREIGN),
                    (void)kn_traced_realloc(heap, freed, 10, true));
    EXPECT_ERROR_OF(ERROR_BIT(KN_E_DOUBLE_FREE) | ERROR_BIT(KN_E_FOREIGN),
                    (void)kn_traced_realloc(heap, freed, 0, true));
    (void)CHECK_EQ(kn_traced_size(heap, freed), 0);
    (void)CHECK_EQ(kn_traced_flags(heap, freed), 0);
    (void)CHECK(!kn_traced_no_scan(heap, freed) && !kn_traced_is_marked(heap, freed));
    check_ground();
}

TRACED_TEST(freed_while_unswept) {
    KnTracedConfig config = usual_config();
    void *blocks[300];
    size_t i;
    config.slice = 8;
    heap = heap_with(config, 30 * 1024);
    REQUIRE(heap != NULL);
    for (i = 0; i < 300; i++) {
        blocks[i] = kn_traced_alloc(heap, 2 * granule(), 0);
        REQUIRE(blocks[i] != NULL);
    }
    collect_now(heap);
    (void)CHECK_GE(numbers(heap).unswept, 1);
    /* Dead is dead, swept or not. */
    for (i = 0; i < 300; i += 7) {
        EXPECT_ERROR_OF(ERROR_BIT(KN_E_DOUBLE_FREE) | ERROR_BIT(KN_E_FOREIGN), kn_traced_free(heap, blocks[i]));
        EXPECT_ERROR_OF(ERROR_BIT(KN_E_DOUBLE_FREE) | ERROR_BIT(KN_E_FOREIGN),
                        (void)kn_traced_realloc(heap, blocks[i], 1, true));
        (void)CHECK(!kn_traced_no_scan(heap, blocks[i]));
    }
    while (!kn_traced_step(heap, 64)) {
    }
    (void)CHECK_EQ(numbers(heap).used, 0);
}

TRACED_TEST(pointers_that_are_none) {
    static uint8_t elsewhere[64];
    KnTraced *other;
    void *theirs;
    uint8_t local = 0;
    const void *wrong[16];
    size_t count = 0, i;
    other = small_heap();
    REQUIRE(other != NULL);
    theirs = kn_traced_alloc(other, 10, 0);
    REQUIRE(theirs != NULL && make_ground());
    wrong[count++] = kept + granule();
    wrong[count++] = kept + 1;
    wrong[count++] = kept + granule() - 1;
    wrong[count++] = kept + 3 * granule();
    wrong[count++] = freed + 1;
    wrong[count++] = elsewhere;
    wrong[count++] = &local;
    wrong[count++] = theirs;
    wrong[count++] = heap;
    wrong[count++] = (uint8_t *)heap + granule();
    wrong[count++] = (void *)(uintptr_t)granule();
    wrong[count++] = (void *)(UINTPTR_MAX - granule() + 1);
    wrong[count++] = kept - 1;
    wrong[count++] = kept + numbers(heap).total;
    for (i = 0; i < count; i++) {
        void *at = (void *)(uintptr_t)wrong[i];
        EXPECT_ERROR(KN_E_FOREIGN, kn_traced_free(heap, at));
        (void)CHECK(last_error_where() == at);
        EXPECT_ERROR(KN_E_FOREIGN, (void)kn_traced_realloc(heap, at, 10, true));
        (void)CHECK_EQ(kn_traced_size(heap, at), 0);
        (void)CHECK_EQ(kn_traced_flags(heap, at), 0);
        (void)CHECK(!kn_traced_no_scan(heap, at) && !kn_traced_is_marked(heap, at));
        (void)CHECK(!kn_traced_is_transient(heap, at));
        (void)CHECK_EQ(kn_traced_holders(heap, at, NULL, NULL), 0);
    }
    (void)CHECK_EQ(kn_traced_size(other, theirs), rounded(10, 0));
    check_ground();
}

/* ---- Nothing at all ---- */

static size_t take_text(void *context, const char *text, size_t length) {
    *(size_t *)context += text != NULL ? length : 0;
    return length;
}

static bool see_block(void *context, const KnBlock *block) {
    *(size_t *)context += block != NULL;
    return true;
}

TRACED_TEST(nothing) {
    KnTracedStats stats;
    size_t seen = 0;
    void *word = &seen;
    (void)CHECK(kn_traced_alloc(NULL, 8, 0) == NULL);
    (void)CHECK(kn_traced_realloc(NULL, word, 8, true) == NULL);
    kn_traced_free(NULL, word);
    (void)CHECK_EQ(kn_traced_size(NULL, word), 0);
    (void)CHECK_EQ(kn_traced_flags(NULL, word), 0);
    (void)CHECK(!kn_traced_no_scan(NULL, word) && !kn_traced_is_marked(NULL, word));
    (void)CHECK(!kn_traced_is_transient(NULL, word) && !kn_traced_in_scope(NULL) && !kn_traced_is_locked(NULL));
    kn_traced_collect_start(NULL);
    kn_traced_mark(NULL, &word, 1);
    kn_traced_collect_end(NULL);
    (void)CHECK(kn_traced_step(NULL, 5));
    kn_traced_lock(NULL);
    kn_traced_unlock(NULL);
    kn_traced_scope_begin(NULL);
    kn_traced_scope_end(NULL);
    kn_traced_lasting_begin(NULL);
    kn_traced_lasting_end(NULL);
    (void)CHECK_EQ(kn_traced_freed(NULL), 0);
    (void)CHECK_EQ(kn_traced_holders(NULL, word, NULL, NULL), 0);
    (void)CHECK_STATUS(kn_traced_set_threshold(NULL, 1), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_stats(NULL, &stats), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_check(NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_walk(NULL, see_block, &seen), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_dump(NULL, take_text, &seen), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_witness(NULL, take_text, &seen), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_add_area(NULL, &seen, 8, 0), KN_E_INVALID);
    (void)CHECK(kn_traced_create(NULL, 10000, NULL) == NULL);
    (void)CHECK_EQ(seen, 0);
    REQUIRE(make_ground());
    kn_traced_free(heap, NULL);
    (void)CHECK_EQ(kn_traced_size(heap, NULL), 0);
    (void)CHECK_EQ(kn_traced_holders(heap, NULL, NULL, NULL), 0);
    kn_traced_collect_start(heap);
    kn_traced_mark(heap, NULL, 0);
    kn_traced_mark(heap, roots, 1);
    kn_traced_collect_end(heap);
    (void)CHECK_STATUS(kn_traced_stats(heap, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_walk(heap, NULL, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_dump(heap, NULL, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_witness(heap, NULL, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_add_area(heap, NULL, 1000, 0), KN_E_INVALID);
    check_ground();
}

/* ---- The wrong order ---- */

TRACED_TEST(the_wrong_order) {
    void *word;
    REQUIRE(make_ground());
    word = kept;
    EXPECT_ERROR(KN_E_ORDER, kn_traced_mark(heap, &word, 1));
    EXPECT_ERROR(KN_E_ORDER, kn_traced_collect_end(heap));
    EXPECT_ERROR(KN_E_ORDER, kn_traced_unlock(heap));
    EXPECT_ERROR(KN_E_ORDER, kn_traced_scope_end(heap));
    EXPECT_ERROR(KN_E_ORDER, kn_traced_lasting_end(heap));
    (void)CHECK_EQ(numbers(heap).collections, 0);
    check_ground();
    kn_traced_lock(heap);
    kn_traced_unlock(heap);
    EXPECT_ERROR(KN_E_ORDER, kn_traced_unlock(heap));
    kn_traced_scope_begin(heap);
    kn_traced_scope_end(heap);
    EXPECT_ERROR(KN_E_ORDER, kn_traced_scope_end(heap));
    collect_now(heap);
    EXPECT_ERROR(KN_E_ORDER, kn_traced_collect_end(heap));
    check_ground();
}

/* While a collection marks nothing can be had, and nothing be told. */
TRACED_TEST(in_the_middle_of_a_collection) {
    KnTracedStats stats;
    uint8_t *area = take_memory(2000, 0);
    size_t seen = 0;
    REQUIRE(area != NULL && make_ground());
    kn_traced_collect_start(heap);
    kn_traced_mark(heap, roots, 1);
    (void)CHECK(kn_traced_alloc(heap, 1, 0) == NULL);
    (void)CHECK(kn_traced_realloc(heap, kept, 1, false) == NULL);
    (void)CHECK(kn_traced_realloc(heap, NULL, 1, false) == NULL);
    kn_traced_free(heap, kept);
    kn_traced_free(heap, freed);
    (void)CHECK(!kn_traced_step(heap, 1000));
    (void)CHECK_STATUS(kn_traced_add_area(heap, area, 2000, 0), KN_E_ORDER);
    (void)CHECK_STATUS(kn_traced_stats(heap, &stats), KN_E_ORDER);
    (void)CHECK_STATUS(kn_traced_check(heap), KN_E_ORDER);
    (void)CHECK_STATUS(kn_traced_walk(heap, see_block, &seen), KN_E_ORDER);
    (void)CHECK_STATUS(kn_traced_dump(heap, take_text, &seen), KN_E_ORDER);
    (void)CHECK_STATUS(kn_traced_witness(heap, take_text, &seen), KN_E_ORDER);
    (void)CHECK_EQ(seen, 0);
    (void)CHECK_EQ(asked() + told_short(), 0);
    kn_traced_collect_end(heap);
    check_ground();
}

/* ---- Sizes ---- */

TRACED_TEST(sizes_that_can_not_be) {
    size_t i, total;
    REQUIRE(make_ground());
    total = numbers(heap).total;
    for (i = 0; i < 70; i++) {
        size_t huge = i < 40 ? opaque(SIZE_MAX) - i : opaque(SIZE_MAX) / 2 + i - 55;
        (void)CHECK(kn_traced_alloc(heap, huge, i % 8) == NULL);
        (void)CHECK(kn_traced_realloc(heap, kept, huge, true) == NULL);
        (void)CHECK(kn_traced_realloc(heap, kept, huge, false) == NULL);
        (void)CHECK_EQ(last_short()->request, huge);
    }
    for (i = 0; i < 8 * sizeof(size_t); i++) {
        size_t power = (size_t)1 << i;
        if (power > total) {
            (void)CHECK(kn_traced_alloc(heap, power, 0) == NULL);
            (void)CHECK(kn_traced_alloc(heap, power - 1, KN_FINALISE) == NULL || power - 1 <= total);
            (void)CHECK(kn_traced_realloc(heap, kept, power + 1, true) == NULL);
        }
    }
    (void)CHECK(kn_traced_alloc(heap, 0, 0) == NULL);
    (void)CHECK(kn_traced_alloc(heap, 0, KN_FINALISE) == NULL);
    collect_now(heap);
    check_ground();
}

/* Memory for an area that the heap has already, as a whole or in part. */
TRACED_TEST(memory_that_the_heap_has) {
    uint8_t *memory = take_memory(9000, 0);
    KnTraced *mine;
    REQUIRE(memory != NULL);
    mine = heap_in(memory, 4000, usual_config());
    REQUIRE(mine != NULL);
    (void)CHECK_STATUS(kn_traced_add_area(mine, memory, 4000, 0), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_add_area(mine, memory, 9000, 0), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_add_area(mine, memory + 3900, 5000, 0), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_add_area(mine, memory + 4000, 3000, 0), KN_OK);
    (void)CHECK_STATUS(kn_traced_add_area(mine, memory + 4000, 3000, 0), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_add_area(mine, memory + 6500, 2500, 0), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_add_area(mine, memory + 7000, SIZE_MAX, 0), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_add_area(mine, memory + 7000, 2000, 0), KN_OK);
    (void)CHECK_EQ(numbers(mine).areas, 3);
    (void)CHECK(is_sound_traced(mine));
}

/* Flags that there are not, in a configuration and in a request. */
TRACED_TEST(flags_that_there_are_not) {
    KnTracedConfig config = usual_config();
    uint8_t *memory = take_memory(6000, 0);
    uint32_t bad;
    void *block;
    REQUIRE(memory != NULL);
    for (bad = 4; bad != 0; bad <<= 1) {
        config.flags = bad;
        (void)CHECK(kn_traced_create(memory, 6000, &config) == NULL);
    }
    config.flags = 0;
    for (bad = 0; bad < 70; bad++) {
        config.granule = bad;
        (void)CHECK_EQ(kn_traced_create(memory, 6000, &config) != NULL, bad == 0 || bad == 8 || bad == 16 || bad == 32);
    }
    REQUIRE(make_ground());
    (void)CHECK_STATUS(kn_traced_add_area(heap, memory, 6000, 24), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_add_area(heap, memory, 6000, 1), KN_E_INVALID);
    (void)CHECK_STATUS(kn_traced_add_area(heap, memory, 6000, UINT32_MAX), KN_E_INVALID);
    block = kn_traced_alloc(heap, 5, 0xFFFFFFF8u);
    if (block != NULL) {
        (void)CHECK_EQ(kn_traced_flags(heap, block), 0);
        kn_traced_free(heap, block);
    }
    check_ground();
}

/* ---- Little memory ---- */

enum { EDGE = 16, LITTLE = 2000 };

/* What is beside the memory is as it was. */
static bool edges_are_whole(const uint8_t *start, size_t bytes) {
    return holds_byte(start - EDGE, EDGE, 0xB7) && holds_byte(start + bytes, EDGE, 0xB7);
}

/* Each size at each place: no heap, or one that keeps to its memory and gives all its granules. */
TRACED_TEST(little_memory_for_a_heap) {
    uint8_t *memory = take_memory(LITTLE + 64 + 2 * EDGE, 0);
    size_t bytes, skew, heaps = 0, last = 0;
    KnTracedConfig config = usual_config();
    REQUIRE(memory != NULL);
    for (bytes = 0; bytes <= LITTLE; bytes++) {
        for (skew = 0; skew < 32; skew += 1 + bytes % 3) {
            uint8_t *start = memory + EDGE + skew;
            KnTraced *little;
            memset(start - EDGE, 0xB7, EDGE);
            memset(start + bytes, 0xB7, EDGE);
            little = kn_traced_create(start, bytes, &config);
            if (little != NULL) {
                size_t total = numbers(little).total, blocks = 0;
                uint8_t *block;
                (void)CHECK_GE(total, granule());
                (void)CHECK_LE(total, bytes);
                while (blocks < 3 && (block = kn_traced_alloc(little, 1, KN_NO_SCAN)) != NULL) {
                    (void)CHECK(block >= start && block + granule() <= start + bytes);
                    (void)CHECK(is_aligned(block, granule()));
                    memset(block, 0xFF, granule());
                    blocks++;
                }
                (void)CHECK_EQ(blocks, total / granule() < 3 ? total / granule() : 3);
                (void)CHECK_STATUS(kn_traced_check(little), KN_OK);
                heaps++;
                last = bytes;
            } else {
                /* There is no size beyond which it is refused again. */
                (void)CHECK(last == 0 || bytes < last + 64 || heaps == 0);
            }
            if (!edges_are_whole(start, bytes)) {
                (void)CHECK(false && "what is beside the memory has changed");
                return;
            }
        }
    }
    (void)CHECK_GE(heaps, 1000);
}

TRACED_TEST(little_memory_for_an_area) {
    uint8_t *memory = take_memory(LITTLE + 64 + 2 * EDGE, 0), *ground = take_memory(2000 * WORD, 0);
    size_t bytes, skew, areas = 0;
    REQUIRE(memory != NULL && ground != NULL);
    for (bytes = 0; bytes <= LITTLE / 2; bytes += 1 + bytes / 300) {
        for (skew = 0; skew < 32; skew += 3) {
            uint8_t *start = memory + EDGE + skew;
            size_t before;
            KnStatus status;
            heap = again_in(ground, 2000 * WORD, usual_config());
            REQUIRE(heap != NULL);
            before = numbers(heap).total;
            memset(start - EDGE, 0xB7, EDGE);
            memset(start + bytes, 0xB7, EDGE);
            status = kn_traced_add_area(heap, start, bytes, (uint32_t)(8 << bytes % 3));
            if (status == KN_OK) {
                areas++;
                (void)CHECK_GE(numbers(heap).total, before + 8);
                fill_up(heap);
                (void)CHECK_EQ(numbers(heap).free, 0);
            } else {
                (void)CHECK_STATUS(status, KN_E_NO_MEMORY);
                (void)CHECK_EQ(numbers(heap).total, before);
                (void)CHECK_EQ(numbers(heap).areas, 1);
            }
            (void)CHECK(edges_are_whole(start, bytes));
            (void)CHECK_STATUS(kn_traced_check(heap), KN_OK);
        }
    }
    (void)CHECK_GE(areas, 100);
}

SUITE("traced_misuse", ONCE(freed_twice), ONCE(freed_while_unswept), ONCE(pointers_that_are_none), ONCE(nothing),
      ONCE(the_wrong_order), ONCE(in_the_middle_of_a_collection), ONCE(sizes_that_can_not_be),
      ONCE(memory_that_the_heap_has), ONCE(flags_that_there_are_not), ONCE(little_memory_for_a_heap), ONCE(little_memory_for_an_area))
