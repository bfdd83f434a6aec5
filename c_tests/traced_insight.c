/*
 * What a traced heap tells of itself: numbers, every block and hole in order, who holds a block, a map, and the witness of
 * what pins free memory, as JSON.
 */
#include "traced.h"

#include <stdlib.h>
#include <string.h>

/* ---- Numbers and the walk, on blocks whose places are known ---- */

typedef struct Seen {
    KnBlock blocks[200];
    size_t count, stop_at;
} Seen;

static bool see(void *context, const KnBlock *block) {
    Seen *seen = context;
    if (seen->count < 200) {
        seen->blocks[seen->count] = *block;
    }
    seen->count++;
    return seen->count != seen->stop_at;
}

TRACED_TEST(numbers_and_walk) {
    KnTraced *heap = small_heap();
    uint8_t *blocks[40], *expected;
    static Seen seen;
    KnTracedStats stats;
    size_t i, used = 0, ones = 0, twos = 0, largest = 0, left = 0, finalisers = 0;
    REQUIRE(heap != NULL);
    for (i = 0; i < 40; i++) {
        uint32_t flags = i % 8 == 3 ? KN_FINALISE : 0;
        blocks[i] = kn_traced_alloc(heap, (1 + i % 4) * granule(), flags);
        REQUIRE(blocks[i] != NULL);
    }
    for (i = 0; i < 40; i++) {
        size_t bytes = kn_traced_size(heap, blocks[i]);
        if (i % 5 == 2) {
            kn_traced_free(heap, blocks[i]);
            continue;
        }
        used += bytes;
        left++;
        finalisers += i % 8 == 3;
        ones += bytes == granule();
        twos += bytes == 2 * granule();
        largest = bytes > largest ? bytes : largest;
    }
    stats = numbers(heap);
    (void)CHECK_EQ(stats.used, used);
    (void)CHECK_EQ(stats.free, stats.total - used);
    (void)CHECK_EQ(stats.blocks, left);
    (void)CHECK_EQ(stats.one_granule, ones);
    (void)CHECK_EQ(stats.two_granules, twos);
    (void)CHECK_EQ(stats.largest_block, largest);
    (void)CHECK_EQ(stats.finalisers, finalisers);
    (void)CHECK_EQ(stats.granule, granule());
    (void)CHECK_EQ(stats.areas, 1);
    (void)CHECK_EQ(stats.scopes, 0);
    (void)CHECK_EQ(stats.since_collection + stats.collections + stats.unswept, 0);
    memset(&seen, 0, sizeof seen);
    (void)CHECK_STATUS(kn_traced_walk(heap, see, &seen), KN_OK);
    (void)CHECK_EQ(seen.count, 41);
    expected = blocks[0];
    for (i = 0; i < seen.count && i < 200; i++) {
        (void)CHECK(seen.blocks[i].start == expected);
        (void)CHECK_EQ(seen.blocks[i].state, i < 40 && i % 5 != 2 ? KN_BLOCK_USED : KN_BLOCK_FREE);
        if (seen.blocks[i].state == KN_BLOCK_USED) {
            (void)CHECK_EQ(seen.blocks[i].size, kn_traced_size(heap, seen.blocks[i].start));
        }
        expected += seen.blocks[i].size;
    }
    (void)CHECK(expected == blocks[0] + stats.total);
    (void)CHECK_EQ(stats.largest_free, seen.blocks[40].size);
    /* A visitor that has seen enough. */
    for (i = 1; i < 42; i += 13) {
        memset(&seen, 0, sizeof seen);
        seen.stop_at = i;
        (void)CHECK_STATUS(kn_traced_walk(heap, see, &seen), KN_OK);
        (void)CHECK_EQ(seen.count, i);
    }
    collect_now(heap);
    (void)CHECK_EQ(numbers(heap).freed, left);
    (void)CHECK_EQ(kn_traced_freed(heap), left);
    (void)CHECK_EQ(numbers(heap).collections, 1);
    memset(&seen, 0, sizeof seen);
    (void)CHECK_STATUS(kn_traced_walk(heap, see, &seen), KN_OK);
    (void)CHECK_EQ(seen.count, 1);
    (void)CHECK_EQ(seen.blocks[0].size, stats.total);
}

/* Three runs are free, the largest between the others. */
TRACED_TEST(the_largest_run_is_not_the_last) {
    static const size_t sizes[] = {20, 1, 60, 1, 40, 1};
    KnTraced *heap = small_heap();
    void *blocks[6];
    size_t i;
    REQUIRE(heap != NULL);
    for (i = 0; i < 6; i++) {
        blocks[i] = kn_traced_alloc(heap, sizes[i] * granule(), 0);
        REQUIRE(blocks[i] != NULL);
    }
    REQUIRE(kn_traced_alloc(heap, numbers(heap).largest_free, 0) != NULL);
    (void)CHECK_EQ(numbers(heap).free, 0);
    for (i = 0; i < 6; i += 2) {
        kn_traced_free(heap, blocks[i]);
    }
    (void)CHECK_EQ(numbers(heap).free, 120 * granule());
    (void)CHECK_EQ(numbers(heap).largest_free, 60 * granule());
}

/* ---- Who holds a block ---- */

typedef struct Found {
    const void *holders[20];
    const void *slots[20];
    size_t count, stop_at;
} Found;

static bool find(void *context, const void *holder, const void *where) {
    Found *found = context;
    if (found->count < 20) {
        found->holders[found->count] = holder;
        found->slots[found->count] = where;
    }
    found->count++;
    return found->count != found->stop_at;
}

TRACED_TEST(holders) {
    KnTraced *heap = small_heap();
    void *held, *one, *two, *text;
    Found found;
    REQUIRE(heap != NULL);
    held = kn_traced_alloc(heap, 40, 0);
    one = kn_traced_alloc(heap, 20 * WORD, 0);
    two = kn_traced_alloc(heap, 300 * WORD, 0);
    text = kn_traced_alloc(heap, 10 * WORD, KN_NO_SCAN);
    REQUIRE(held != NULL && one != NULL && two != NULL && text != NULL);
    memset(&found, 0, sizeof found);
    (void)CHECK_EQ(kn_traced_holders(heap, held, find, &found), 0);
    *slot(one, 0) = held;
    *slot(one, 19) = held;
    *slot(two, 299) = held;
    *slot(two, 5) = (uint8_t *)held + 1;
    *slot(text, 2) = held;
    *slot(held, 1) = held;
    (void)CHECK_EQ(kn_traced_holders(heap, held, find, &found), 4);
    (void)CHECK_EQ(found.count, 4);
    (void)CHECK(found.holders[0] == held && found.slots[0] == (void *)slot(held, 1));
    (void)CHECK(found.holders[1] == one && found.slots[1] == (void *)slot(one, 0));
    (void)CHECK(found.holders[2] == one && found.slots[2] == (void *)slot(one, 19));
    (void)CHECK(found.holders[3] == two && found.slots[3] == (void *)slot(two, 299));
    memset(&found, 0, sizeof found);
    found.stop_at = 2;
    (void)CHECK_EQ(kn_traced_holders(heap, held, find, &found), 2);
    (void)CHECK_EQ(found.count, 2);
    (void)CHECK_EQ(kn_traced_holders(heap, one, NULL, NULL), 0);
    /* The dead hold nothing. */
    roots[0] = one;
    collect_now(heap);
    memset(&found, 0, sizeof found);
    (void)CHECK_EQ(kn_traced_holders(heap, held, find, &found), 3);
}

/* ---- Texts ---- */

static struct {
    char bytes[6000];
    size_t length, calls, stop_at;
} told;

static size_t take(void *context, const char *text, size_t length) {
    (void)context;
    told.calls++;
    if (told.calls == told.stop_at) {
        return 0;
    }
    if (length < sizeof told.bytes - told.length) {
        memcpy(told.bytes + told.length, text, length);
        told.length += length;
        told.bytes[told.length] = '\0';
    }
    return length;
}

/* The number behind `"key": `; SIZE_MAX if there is none. */
static size_t number_of(const char *key) {
    const char *at = strstr(told.bytes, key);
    return at == NULL ? SIZE_MAX : (size_t)strtoul(at + strlen(key), NULL, 10);
}

/* Ten blocks of three granules with a hole of one, two, three … granules behind each. */
static bool make_holes(KnTraced *heap) {
    size_t i;
    for (i = 0; i < 10; i++) {
        void *block = kn_traced_alloc(heap, 3 * granule(), 0);
        roots[i] = block;
        roots[20 + i] = kn_traced_alloc(heap, (i + 1) * granule(), 0);
        if (!CHECK(block != NULL && roots[20 + i] != NULL)) {
            return false;
        }
    }
    memset(roots + 20, 0, 10 * sizeof roots[0]);
    collect_now(heap);
    return CHECK_EQ(numbers(heap).blocks, 10);
}

TRACED_TEST(the_witness) {
    KnTraced *heap = small_heap();
    KnTracedStats stats;
    size_t calls, depth = 0, i;
    REQUIRE(heap != NULL && make_holes(heap));
    stats = numbers(heap);
    memset(&told, 0, sizeof told);
    (void)CHECK_STATUS(kn_traced_witness(heap, take, NULL), KN_OK);
    (void)CHECK(strstr(told.bytes, "\"format\": \"knoll-traced\"") != NULL);
    (void)CHECK_EQ(number_of("\"version\": "), 1);
    (void)CHECK_EQ(number_of("\"granule\": "), granule());
    (void)CHECK_EQ(number_of("\"total\": "), stats.total);
    (void)CHECK_EQ(number_of("\"used\": "), stats.used);
    (void)CHECK_EQ(number_of("\"free\": "), stats.free);
    (void)CHECK_EQ(number_of("\"largest_free\": "), stats.largest_free);
    (void)CHECK_EQ(number_of("\"permille\": "), stats.largest_free * 1000 / stats.free);
    (void)CHECK_EQ(number_of("\"blocks\": "), 10);
    (void)CHECK_EQ(number_of("\"holes\": "), 10);
    /* What pins most lies before the end: between the holes of nine granules and all that is free. */
    (void)CHECK_EQ(number_of("\"harm\": "), 9 * granule());
    for (i = 0; i < told.length; i++) {
        depth += told.bytes[i] == '{' || told.bytes[i] == '[';
        depth -= told.bytes[i] == '}' || told.bytes[i] == ']';
        (void)CHECK(depth > 0 || i + 3 > told.length);
    }
    (void)CHECK_EQ(depth, 0);
    /* Who does not take more is not given more. */
    calls = told.calls;
    for (i = 1; i < calls; i += 1 + calls / 7) {
        memset(&told, 0, sizeof told);
        told.stop_at = i;
        (void)CHECK_STATUS(kn_traced_witness(heap, take, NULL), KN_OK);
        (void)CHECK_EQ(told.calls, i);
    }
    (void)CHECK(is_sound_traced(heap));
}

TRACED_TEST(the_map) {
    KnTraced *heap = small_heap();
    size_t lines = 0, i;
    REQUIRE(heap != NULL && make_holes(heap));
    memset(&told, 0, sizeof told);
    (void)CHECK_STATUS(kn_traced_dump(heap, take, NULL), KN_OK);
    (void)CHECK(strncmp(told.bytes, "traced: ", 8) == 0);
    (void)CHECK_EQ(number_of("traced: "), numbers(heap).total);
    (void)CHECK_EQ(number_of(" bytes, "), numbers(heap).used);
    (void)CHECK_EQ(number_of("used in "), 10);
    (void)CHECK_EQ(number_of("largest "), numbers(heap).largest_free);
    for (i = 0; i < told.length; i++) {
        lines += told.bytes[i] == '\n';
    }
    (void)CHECK_GE(lines, 2);
    (void)CHECK(is_sound_traced(heap));
}

SUITE("traced_insight", ONCE(numbers_and_walk), ONCE(the_largest_run_is_not_the_last), ONCE(holders), ONCE(the_witness), ONCE(the_map))
