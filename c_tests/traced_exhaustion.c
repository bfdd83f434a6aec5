/*
 * Memory ends at every point of a program: in heaps a little larger each time, at every k-th request, and in the middle of
 * a resize. Nothing is lost by it: what the program holds is as it was, and what it does not hold goes.
 */
#include "traced.h"

#include <string.h>

enum { ITEMS = 40 };

static KnTraced *heap;
static size_t countdown; /* requests until one is refused; 0: none is */
static size_t requests, refused;

/* Whether the next request is to fail: a locked heap refuses everything. */
static bool fails_now(void) {
    requests++;
    return countdown > 0 && --countdown == 0;
}

static void *ask(size_t bytes, uint32_t flags) {
    bool fails = fails_now();
    void *block;
    if (fails) {
        kn_traced_lock(heap);
    }
    block = kn_traced_alloc(heap, bytes, flags);
    if (fails) {
        kn_traced_unlock(heap);
        (void)CHECK(block == NULL);
    }
    refused += block == NULL;
    return block;
}

static void *ask_again(void *block, size_t bytes) {
    bool fails = fails_now();
    void *moved;
    if (fails) {
        kn_traced_lock(heap);
    }
    moved = kn_traced_realloc(heap, block, bytes, true);
    if (fails) {
        kn_traced_unlock(heap);
        (void)CHECK(moved == NULL);
    }
    refused += moved == NULL;
    return moved;
}

/*
 * A table in roots[0] that grows as it is filled; each item is a text held by a pair. Where memory is refused the item is
 * left out. How many items there are.
 */
static size_t fill_table(void) {
    size_t count = 0, room = 2, i;
    roots[0] = ask(room * WORD, 0);
    for (i = 0; i < ITEMS && roots[0] != NULL; i++) {
        void *pair;
        uint8_t *text;
        if (count == room) {
            void *more = ask_again(roots[0], 2 * room * WORD);
            if (more == NULL) {
                continue;
            }
            roots[0] = more;
            room *= 2;
        }
        roots[1] = pair = ask(2 * WORD, i % 3 == 0 ? KN_FINALISE : 0);
        text = pair == NULL ? NULL : ask(10 + 3 * i, KN_NO_SCAN);
        if (text == NULL) {
            continue;
        }
        fill_pattern(text, 10 + 3 * i, (uint32_t)i);
        *slot(pair, 0) = text;
        *slot(pair, 1) = (void *)(uintptr_t)i;
        *slot(roots[0], count++) = pair;
        /* A text that is built in steps, and thrown away. */
        roots[2] = ask(8, KN_NO_SCAN);
        if (roots[2] != NULL) {
            void *longer = ask_again(roots[2], 100 + i);
            roots[2] = longer == NULL ? roots[2] : longer;
        }
    }
    return count;
}

/* Everything that is in the table is as it was; without it nothing is left. */
static void check_table(size_t count) {
    size_t i, before;
    for (i = 0; i < count; i++) {
        void *pair = *slot(roots[0], i);
        size_t number = (size_t)(uintptr_t)*slot(pair, 1);
        (void)CHECK_EQ(kn_traced_size(heap, pair), rounded(2 * WORD, number % 3 == 0 ? KN_FINALISE : 0));
        (void)CHECK_EQ(kn_traced_size(heap, *slot(pair, 0)), rounded(10 + 3 * number, 0));
        (void)CHECK_PATTERN(*slot(pair, 0), 10 + 3 * number, (uint32_t)number);
    }
    (void)CHECK(is_sound_traced(heap));
    roots[1] = roots[2] = NULL;
    collect_fully(heap);
    (void)CHECK_EQ(numbers(heap).blocks, roots[0] == NULL ? 0 : 1 + 2 * count);
    before = finalised();
    for (i = 0; i < count; i++) {
        before += (uintptr_t)*slot(*slot(roots[0], i), 1) % 3 == 0;
    }
    roots[0] = NULL;
    collect_fully(heap);
    (void)CHECK_EQ(finalised(), before);
    (void)CHECK_EQ(numbers(heap).used, 0);
    (void)CHECK_EQ(numbers(heap).largest_free, numbers(heap).total);
}

TRACED_TEST(heaps_a_little_larger_each_time) {
    size_t bytes, told, last = SIZE_MAX, different = 0, count = 0;
    uint8_t *memory = take_memory(24 * 1024, 0);
    REQUIRE(memory != NULL);
    for (bytes = 1024 + 512; bytes < 24 * 1024; bytes += granule() + bytes / 256) {
        KnTracedConfig config = usual_config();
        config.slice = bytes % 5 == 0 ? 70 : 0;
        heap = again_in(memory, bytes, config);
        REQUIRE(heap != NULL);
        countdown = refused = 0;
        told = told_short();
        count = fill_table();
        (void)CHECK_EQ(told_short() - told, refused);
        check_table(count);
        different += count != last;
        last = count;
    }
    (void)CHECK_EQ(count, ITEMS);
    (void)CHECK_GE(different, 3);
}

TRACED_TEST(every_request_is_refused_once) {
    size_t k, all;
    heap = heap_of(16 * 1024);
    REQUIRE(heap != NULL);
    countdown = requests = refused = 0;
    (void)CHECK_EQ(fill_table(), ITEMS);
    all = requests;
    (void)CHECK_EQ(refused, 0);
    check_table(ITEMS);
    for (k = 1; k <= all; k++) {
        size_t count;
        countdown = k;
        refused = 0;
        count = fill_table();
        (void)CHECK_GE(refused, 1);
        (void)CHECK(k > 1 || count == 0);
        countdown = 0;
        check_table(count);
    }
    (void)CHECK_EQ(told_short(), 0);
}

TRACED_TEST(every_seventh_request_is_refused) {
    size_t step;
    heap = heap_of(16 * 1024);
    REQUIRE(heap != NULL);
    for (step = 2; step < 12; step++) {
        size_t count, round;
        refused = 0;
        countdown = step;
        for (round = 0, count = 0; round < 6; round++) {
            count = fill_table();
            countdown = step;
        }
        (void)CHECK_GE(refused, 6);
        countdown = 0;
        check_table(count);
    }
}

/* A resize that finds no room, although it may move: the block stays, with all it holds. */
TRACED_TEST(a_resize_without_room) {
    size_t bytes, refusals = 0;
    uint8_t *block;
    heap = small_heap();
    REQUIRE(heap != NULL);
    roots[0] = block = kn_traced_alloc(heap, 20 * WORD, KN_FINALISE);
    REQUIRE(block != NULL);
    roots[1] = *slot(block, 3) = kn_traced_alloc(heap, 5, 0);
    REQUIRE(roots[1] != NULL);
    roots[1] = NULL;
    (void)fill_with_list(heap, 5, 3 * granule());
    for (bytes = 24 * WORD + granule(); bytes < 4000 * WORD; bytes = 2 * bytes + 1) {
        size_t told = told_short();
        (void)CHECK(kn_traced_realloc(heap, block, bytes, true) == NULL);
        (void)CHECK_EQ(told_short(), told + 1);
        (void)CHECK_EQ(last_short()->request, bytes);
        (void)CHECK_EQ(kn_traced_size(heap, block), rounded(20 * WORD, 0));
        (void)CHECK_EQ(kn_traced_flags(heap, block), KN_FINALISE);
        (void)CHECK_EQ(kn_traced_size(heap, *slot(block, 3)), granule());
        refusals++;
    }
    (void)CHECK_GE(refusals, 5);
    /* When the others go there is room. */
    roots[5] = NULL;
    roots[0] = kn_traced_realloc(heap, block, 600 * WORD, true);
    REQUIRE(roots[0] != NULL);
    (void)CHECK_EQ(kn_traced_size(heap, *slot(roots[0], 3)), granule());
    (void)CHECK_EQ(numbers(heap).blocks, 2);
    (void)CHECK_EQ(finalised(), 0);
}

/* To the last granule with every size, and the whole again. */
TRACED_TEST(to_the_last_granule) {
    size_t bytes;
    heap = small_heap();
    REQUIRE(heap != NULL);
    for (bytes = 1; bytes < 3000; bytes += 1 + bytes / 4) {
        size_t count = fill_with_list(heap, 0, bytes < WORD ? WORD : bytes);
        size_t each = rounded(bytes < WORD ? WORD : bytes, 0);
        (void)CHECK_EQ(count, numbers(heap).total / each);
        (void)CHECK_LE(numbers(heap).free, each - 1);
        (void)CHECK_EQ(numbers(heap).blocks, count);
        roots[0] = NULL;
        collect_now(heap);
        (void)CHECK_EQ(numbers(heap).largest_free, numbers(heap).total);
        (void)CHECK_EQ(kn_traced_freed(heap), count);
    }
}

static bool note_end(void *context, const KnBlock *block) {
    *(const uint8_t **)context = (const uint8_t *)block->start + block->size;
    return true;
}

/* What is behind the records is for blocks. The last bytes may be too few for one more granule with its records. */
TRACED_TEST(to_the_end_of_the_memory) {
    size_t bytes, left, least = SIZE_MAX;
    uint8_t *memory = take_memory(8 * 1024, 0);
    REQUIRE(memory != NULL);
    for (bytes = 2 * 1024; bytes < 8 * 1024; bytes += granule() + bytes / 128) {
        const uint8_t *end = NULL;
        heap = again_in(memory, bytes, usual_config());
        REQUIRE(heap != NULL);
        (void)CHECK_STATUS(kn_traced_walk(heap, note_end, &end), KN_OK);
        REQUIRE(end != NULL && end <= memory + bytes);
        left = (size_t)(memory + bytes - end);
        (void)CHECK_LE(left, 2 * granule() + 3 * WORD - 1);
        least = left < least ? left : least;
    }
    (void)CHECK_LE(least, granule() - 1);
}

/* While there is room a request is served at once, and nothing is collected that nobody holds. */
TRACED_TEST(no_collection_while_there_is_room) {
    size_t i;
    heap = small_heap();
    REQUIRE(heap != NULL);
    for (i = 0; i < 130; i++) {
        REQUIRE(kn_traced_alloc(heap, granule(), 0) != NULL);
    }
    (void)CHECK_EQ(asked(), 0);
    (void)CHECK_EQ(numbers(heap).collections, 0);
    (void)CHECK_EQ(numbers(heap).blocks, 130);
}

SUITE("traced_exhaustion", ONCE(heaps_a_little_larger_each_time), ONCE(every_request_is_refused_once),
      ONCE(every_seventh_request_is_refused), ONCE(a_resize_without_room), ONCE(to_the_last_granule),
      ONCE(to_the_end_of_the_memory), ONCE(no_collection_while_there_is_room))
