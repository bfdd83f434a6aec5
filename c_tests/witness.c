/*
 * The witness: fingerprints, the largest free block, how fragmented a heap is, what pins it, as JSON and as lines.
 *
 * What it says is held against a walk; the JSON is read by a parser that accepts nothing but JSON.
 */
#include "cells.h"
#include "shadow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEAP_BYTES = 24 * 1024, MOST_TEXT = 16 * 1024 };

/* ---- Text ---- */

static struct {
    char text[MOST_TEXT];
    size_t length, most;
    unsigned refusals;
} page;

static size_t take(void *context, const char *text, size_t length) {
    size_t room = page.most - page.length;
    size_t taken = length < room ? length : room;
    (void)CHECK(context == &page);
    page.refusals += taken < length;
    memcpy(page.text + page.length, text, taken);
    page.length += taken;
    page.text[page.length] = '\0';
    return taken;
}

static void clear_page(size_t most) {
    page.length = page.refusals = 0;
    page.most = most;
    page.text[0] = '\0';
}

static void dump(KnHeap *heap) {
    clear_page(MOST_TEXT - 1);
    (void)CHECK_STATUS(kn_dump_fragmentation(heap, take, &page), KN_OK);
    (void)CHECK_EQ(page.refusals, 0);
}

/* ---- JSON: each function goes over one thing, and answers what is behind it, or NULL ---- */

static const char *json_value(const char *at);

static const char *json_blank(const char *at) {
    return at == NULL ? NULL : at + strspn(at, " \n");
}

static const char *json_string(const char *at) {
    if (at == NULL || *at != '"') {
        return NULL;
    }
    for (at++; *at != '"'; at++) {
        if ((unsigned char)*at < ' ') {
            return NULL;
        }
        if (*at == '\\') {
            at++;
            if (*at == 'u' && strspn(at + 1, "0123456789abcdef") >= 4) {
                at += 4;
            } else if (strchr("\"\\/bfnrt", *at) == NULL || *at == '\0') {
                return NULL;
            }
        }
    }
    return at + 1;
}

/* A list in brackets; each item of an object has a name. */
static const char *json_list(const char *at, char end, bool named) {
    at = json_blank(at + 1);
    if (*at == end) {
        return at + 1;
    }
    for (;;) {
        if (named) {
            at = json_blank(json_string(at));
            if (at == NULL || *at != ':') {
                return NULL;
            }
            at = json_blank(at + 1);
        }
        at = json_blank(json_value(at));
        if (at == NULL || (*at != ',' && *at != end)) {
            return NULL;
        }
        if (*at == end) {
            return at + 1;
        }
        at = json_blank(at + 1);
    }
}

static const char *json_value(const char *at) {
    size_t digits = strspn(at, "0123456789");
    if (digits > 0) {
        return at[0] == '0' && digits > 1 ? NULL : at + digits;
    }
    switch (*at) {
    case '{':
        return json_list(at, '}', true);
    case '[':
        return json_list(at, ']', false);
    case '"':
        return json_string(at);
    default:
        return strncmp(at, "null", 4) == 0 ? at + 4 : NULL;
    }
}

static bool is_json(const char *text) {
    const char *end = json_blank(json_value(text));
    return end != NULL && *end == '\0';
}

/* What stands behind the `n`th member of that name. */
static const char *member(const char *name, size_t n) {
    const char *at = page.text;
    char key[32];
    (void)sprintf(key, "\"%s\": ", name);
    for (;;) {
        at = strstr(at, key);
        if (at == NULL) {
            return "";
        }
        at += strlen(key);
        if (n-- == 0) {
            return at;
        }
    }
}

static size_t number(const char *name, size_t n) {
    return (size_t)strtoul(member(name, n), NULL, 10);
}

static bool says(const char *name, const char *json) {
    return strncmp(member(name, 0), json, strlen(json)) == 0;
}

static size_t count_of(const char *part) {
    const char *at = page.text;
    size_t count = 0;
    while ((at = strstr(at, part)) != NULL) {
        at += strlen(part);
        count++;
    }
    return count;
}

/* ---- What a walk finds ---- */

static struct {
    KnFragmentation numbers;
    size_t pins, most_harm, before, run;
    const uint8_t *end;
} found;

static bool see(void *context, const KnBlock *block) {
    const uint8_t *start = block->start;
    (void)context;
    if (start != found.end) {
        found.before = found.run = 0;
    }
    found.end = start + block->size;
    found.numbers.total += block->size;
    if (block->state == KN_BLOCK_USED) {
        found.numbers.used += block->size;
        found.run++;
    } else {
        size_t harm = found.before < block->size ? found.before : block->size, power = 0;
        while (power < 23 && block->size >> power > 1) {
            power++;
        }
        found.numbers.free += block->size;
        found.numbers.holes++;
        found.numbers.histogram[power]++;
        found.numbers.histogram_bytes[power] += block->size;
        if (found.before != 0 && found.run != 0) {
            found.pins++;
            found.most_harm = harm > found.most_harm ? harm : found.most_harm;
        }
        found.before = block->size;
        found.run = 0;
    }
    return true;
}

static void walk(KnHeap *heap) {
    memset(&found, 0, sizeof found);
    (void)CHECK_STATUS(kn_heap_walk(heap, see, NULL), KN_OK);
}

/* All the witness says of a heap, held against a walk. */
static void judge(KnHeap *heap) {
    KnFragmentation numbers;
    size_t i;
    walk(heap);
    (void)CHECK_STATUS(kn_fragmentation(heap, &numbers), KN_OK);
    (void)CHECK_EQ(numbers.total, found.numbers.total);
    (void)CHECK_EQ(numbers.used, found.numbers.used);
    (void)CHECK_EQ(numbers.free, found.numbers.free);
    (void)CHECK_EQ(numbers.holes, found.numbers.holes);
    for (i = 0; i < 24; i++) {
        (void)CHECK_EQ(numbers.histogram[i], found.numbers.histogram[i]);
        (void)CHECK_EQ(numbers.histogram_bytes[i], found.numbers.histogram_bytes[i]);
    }
    (void)CHECK_LE(numbers.permille, 1000);
    (void)CHECK_EQ(kn_heap_largest_free(heap), numbers.largest_free);
    dump(heap);
    (void)CHECK(is_json(page.text));
    (void)CHECK(says("format", "\"knoll-fragmentation\"") && says("version", "1"));
    (void)CHECK_EQ(number("total", 0), numbers.total);
    (void)CHECK_EQ(number("used", 0), numbers.used);
    (void)CHECK_EQ(number("free", 0), numbers.free);
    (void)CHECK_EQ(number("largest_free", 0), numbers.largest_free);
    (void)CHECK_EQ(number("holes", 0), numbers.holes);
    (void)CHECK_EQ(number("permille", 0), numbers.permille);
    (void)CHECK_EQ(strtoul(member("pinned", 0) + strlen("{\"pins\": "), NULL, 10), found.pins);
    (void)CHECK_EQ(count_of("\"harm\": "), found.pins < 16 ? found.pins : 16);
    (void)CHECK_EQ(number("harm", 0), found.most_harm);
    for (i = 1; i < count_of("\"harm\": "); i++) {
        (void)CHECK_LE(number("harm", i), number("harm", i - 1));
    }
}

/* A call of many. */
static void live(Shadow *shadow) {
    switch (shadow->count == 0 ? 0 : random_below(6)) {
    case 0:
    case 1:
        (void)shadow_malloc(shadow, random_size(500));
        break;
    case 2:
        (void)shadow_malloc_top(shadow, random_size(300));
        break;
    case 3:
        (void)shadow_realloc(shadow, random_below(shadow->count), random_size(500));
        break;
    default:
        shadow_free(shadow, random_below(shadow->count));
    }
}

/* ---- Fingerprints ---- */

TEST(a_fingerprint_is_the_sum_of_its_blocks) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    uint64_t empty;
    size_t turn, i;
    REQUIRE(heap != NULL);
    empty = kn_heap_fingerprint(heap);
    (void)CHECK(empty != 0);
    for (turn = 0; turn < 300; turn++) {
        uint64_t sum = empty;
        live(shadow);
        for (i = 0; i < shadow->count; i++) {
            uint64_t term = kn_block_fingerprint(heap, shadow->blocks[i].at);
            (void)CHECK(term != 0);
            sum += term;
        }
        (void)CHECK(kn_heap_fingerprint(heap) == sum);
    }
    shadow_free_all(shadow, SHADOW_RANDOM, 0);
    (void)CHECK(kn_heap_fingerprint(heap) == empty);
}

TEST(different_blocks_have_different_fingerprints) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    uint8_t *memory = take_memory(4096, 0);
    static uint64_t seen[200];
    size_t i, j;
    REQUIRE(heap != NULL && memory != NULL);
    (void)CHECK_STATUS(kn_heap_add_region_with(heap, memory, 4096, current_config()), KN_OK);
    for (i = 0; i < 200; i++) {
        void *block = kn_heap_malloc(heap, 40 + i);
        seen[i] = kn_heap_fingerprint(heap);
        for (j = 0; j < i; j++) {
            (void)CHECK(block == NULL || seen[j] != seen[i]);
        }
    }
}

TEST(what_is_no_block_has_no_term) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    void *block;
    uint64_t term;
    int local = 0;
    REQUIRE(heap != NULL);
    let_knoll_look_anywhere();
    block = kn_heap_malloc(heap, 100);
    REQUIRE(block != NULL);
    term = kn_block_fingerprint(heap, block);
    (void)CHECK(term != 0);
    (void)CHECK(kn_block_fingerprint(heap, NULL) == 0);
    (void)CHECK(kn_block_fingerprint(heap, &local) == 0);
    (void)CHECK(kn_block_fingerprint(NULL, block) == 0);
    (void)CHECK(kn_heap_fingerprint(NULL) == 0);
#ifndef KNOLL_WITHOUT_CHECKS
    (void)CHECK(kn_block_fingerprint(heap, (uint8_t *)block + 16) == 0);
    kn_heap_free(heap, block);
    (void)CHECK(kn_block_fingerprint(heap, block) == 0);
#else
    kn_heap_free(heap, block);
#endif
    (void)CHECK(is_empty_and_whole(heap));
}

/* ---- Numbers and JSON ---- */

TEST(agrees_with_a_walk) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t turn;
    REQUIRE(heap != NULL);
    judge(heap);
    for (turn = 0; turn < 240; turn++) {
        live(shadow);
        if (turn % 12 == 11) {
            judge(heap);
        }
    }
    shadow_verify(shadow);
    shadow_free_all(shadow, SHADOW_RANDOM, 0);
    judge(heap);
    (void)CHECK_EQ(number("permille", 0), 1000);
}

/* Full, then every other block free, with more pins than are told; nothing is allocated or changed by telling. */
TEST(a_full_heap_and_one_in_pieces) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    KnHeapStats before, after;
    uint64_t fingerprint;
    size_t i;
    REQUIRE(heap != NULL);
    while (shadow_malloc(shadow, 100)) {
    }
    while (shadow_malloc(shadow, 1)) {
    }
    judge(heap);
    (void)CHECK_EQ(kn_heap_largest_free(heap), 0);
    (void)CHECK_EQ(number("permille", 0), 1000);
    for (i = shadow->count; i-- > 0;) {
        if (i % 2 == 1) {
            kn_heap_free(heap, shadow->blocks[i].at);
        }
    }
    fingerprint = kn_heap_fingerprint(heap);
    (void)CHECK_STATUS(kn_heap_stats(heap, &before), KN_OK);
    judge(heap);
    (void)CHECK_GE(found.pins, 20);
    (void)CHECK_LE(number("permille", 0), 500);
    (void)CHECK_STATUS(kn_heap_stats(heap, &after), KN_OK);
    (void)CHECK(memcmp(&before, &after, sizeof before) == 0);
    (void)CHECK(kn_heap_fingerprint(heap) == fingerprint);
}

TEST(a_full_writer_ends_it) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    Shadow *shadow = shadow_of(heap);
    size_t most, whole;
    REQUIRE(heap != NULL);
    for (most = 0; most < 60; most++) {
        live(shadow);
    }
    dump(heap);
    whole = page.length;
    for (most = 0; most < whole; most += 41) {
        clear_page(most);
        (void)CHECK_STATUS(kn_dump_fragmentation(heap, take, &page), KN_OK);
        (void)CHECK_EQ(page.length, most);
        (void)CHECK_EQ(page.refusals, 1);
    }
    shadow_free_all(shadow, SHADOW_RANDOM, 0);
}

TEST(the_gate_of_a_test_suite) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    void *low, *pin, *high;
    size_t permille;
    char expected[128];
    REQUIRE(heap != NULL);
    clear_page(MOST_TEXT - 1);
    (void)CHECK_STATUS(kn_fragmentation_check(heap, 1000, take, &page), KN_OK);
    low = kn_heap_malloc(heap, HEAP_BYTES / 4);
    pin = kn_heap_malloc(heap, 40);
    high = kn_heap_malloc(heap, 40);
    REQUIRE(low != NULL && pin != NULL && high != NULL);
    kn_heap_free(heap, low);
    dump(heap);
    permille = number("permille", 0);
    (void)CHECK_LE(permille, 800);
    (void)CHECK_GE(permille, 600);
    (void)sprintf(expected, "\"address\": \"0x%lx\"", (unsigned long)(uintptr_t)pin);
    (void)CHECK(strstr(page.text, expected) != NULL);
    clear_page(MOST_TEXT - 1);
    (void)CHECK_STATUS(kn_fragmentation_check(heap, (uint32_t)permille, take, &page), KN_OK);
    (void)CHECK_EQ(page.length, 0);
    (void)CHECK_STATUS(kn_fragmentation_check(heap, (uint32_t)permille + 1, NULL, NULL), KN_E_FRAGMENTED);
    (void)CHECK_STATUS(kn_fragmentation_check(heap, (uint32_t)permille + 1, take, &page), KN_E_FRAGMENTED);
    (void)sprintf(expected,
                  "[Heap] fragmentation: %lu of 1000 free bytes lie in the largest free block, %lu are asked for\n",
                  (unsigned long)permille, (unsigned long)permille + 1);
    (void)CHECK(strncmp(page.text, expected, strlen(expected)) == 0);
    (void)CHECK(strstr(page.text, " by 2 blocks, ") != NULL && strstr(page.text, ": raw, raw\n") != NULL);
    kn_heap_free(heap, pin);
    kn_heap_free(heap, high);
    (void)CHECK_STATUS(kn_fragmentation_check(heap, 1000, NULL, NULL), KN_OK);
}

TEST(null_is_refused) {
    KnHeap *heap = new_heap(HEAP_BYTES);
    KnFragmentation numbers;
    REQUIRE(heap != NULL);
    clear_page(MOST_TEXT - 1);
    (void)CHECK_STATUS(kn_fragmentation(NULL, &numbers), KN_E_INVALID);
    (void)CHECK_STATUS(kn_fragmentation(heap, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_dump_fragmentation(NULL, take, &page), KN_E_INVALID);
    (void)CHECK_STATUS(kn_dump_fragmentation(heap, NULL, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_fragmentation_check(NULL, 0, take, &page), KN_E_INVALID);
    (void)CHECK_STATUS(kn_fragmentation_check(heap, 1001, take, &page), KN_E_INVALID);
    (void)CHECK_EQ(kn_heap_largest_free(NULL), 0);
    (void)CHECK_EQ(page.length, 0);
}

/* ---- Whose a pin is ---- */

/* Frees what the pin is to be between: a block before and one behind, then everything is told. */
static void tell_between(void *before, void *behind) {
    kn_heap_free(ground_heap(), before);
    kn_heap_free(ground_heap(), behind);
    dump(ground_heap());
    (void)CHECK(is_json(page.text));
}

COUNTED_TEST(a_cell_is_told_with_its_type) {
    void *before = kn_heap_malloc(ground_heap(), 3000);
    Row *row = new_row(1, 300);
    void *behind = kn_heap_malloc(ground_heap(), 3000);
    REQUIRE(before != NULL && row != NULL && behind != NULL);
    tell_between(before, behind);
    (void)CHECK(strstr(page.text, "\"kind\": \"cell\", \"name\": null, \"type\": \"Row\", \"site\": null") != NULL);
    GC_unref(row);
}

COUNTED_TEST(a_page_is_told_with_its_cells) {
    void *before = kn_heap_malloc(ground_heap(), 3000);
    Leaf *leaf = new_leaf(1);
    Leaf *second = new_leaf(2);
    void *behind = kn_heap_malloc(ground_heap(), 3000);
    REQUIRE(before != NULL && leaf != NULL && second != NULL && behind != NULL);
    tell_between(before, behind);
    (void)CHECK(strstr(page.text, "\"kind\": \"page\", \"name\": null, \"type\": null") != NULL);
    (void)CHECK(strstr(page.text, "\"cells\": [{\"type\": \"Leaf\", \"cells\": 2}]") != NULL);
    GC_unref(leaf);
    GC_unref(second);
}

COUNTED_TEST(resident_blocks_and_arenas_are_told_by_name) {
    KnArenaConfig config = {0};
    void *before = kn_heap_malloc(ground_heap(), 3000);
    void *storage = kn_resident_alloc_named(ground_heap(), 100, "storage \"A\"\n");
    KnArena *arena;
    void *behind;
    config.name = "caches\\all";
    config.presize = 500;
    arena = kn_arena_create(ground_heap(), &config);
    behind = kn_heap_malloc(ground_heap(), 3000);
    REQUIRE(before != NULL && storage != NULL && arena != NULL && behind != NULL);
    tell_between(before, behind);
    (void)CHECK(strstr(page.text, "\"kind\": \"resident\", \"name\": \"storage \\\"A\\\"\\u000a\"") != NULL);
    (void)CHECK(strstr(page.text, "\"kind\": \"arena\", \"name\": \"caches\\\\all\"") != NULL);
    clear_page(MOST_TEXT - 1);
    (void)CHECK_STATUS(kn_fragmentation_check(ground_heap(), 1000, take, &page), KN_E_FRAGMENTED);
    (void)CHECK(strstr(page.text, "resident storage \"A\"\n, arena caches\\all") != NULL);
    kn_arena_destroy(arena);
    kn_resident_free(ground_heap(), storage);
}

COUNTED_TEST(a_scope_is_told_by_name) {
    KnArenaConfig config = {0};
    KnArena *scope = NULL;
    void *top = kn_heap_malloc_top(ground_heap(), 2000);
    config.name = "sign";
    config.presize = 1000;
    REQUIRE(top != NULL);
    (void)CHECK_STATUS(kn_arena_enter(ground_heap(), &config, &scope), KN_OK);
    (void)CHECK(kn_arena_alloc(scope, 300) != NULL);
    tell_between(NULL, top);
    (void)CHECK(strstr(page.text, "\"kind\": \"scope\", \"name\": \"sign\"") != NULL);
    (void)CHECK_STATUS(kn_arena_leave(scope, NULL), KN_OK);
}

SUITE("witness", EACH_LAYOUT(a_fingerprint_is_the_sum_of_its_blocks),
      EACH_LAYOUT(different_blocks_have_different_fingerprints), EACH_LAYOUT(what_is_no_block_has_no_term),
      EACH_LAYOUT(agrees_with_a_walk), EACH_LAYOUT(a_full_heap_and_one_in_pieces), EACH_LAYOUT(a_full_writer_ends_it),
      EACH_LAYOUT(the_gate_of_a_test_suite), EACH_LAYOUT(null_is_refused), EACH_LAYOUT(a_cell_is_told_with_its_type),
      EACH_LAYOUT(a_page_is_told_with_its_cells), EACH_LAYOUT(resident_blocks_and_arenas_are_told_by_name),
      EACH_LAYOUT(a_scope_is_told_by_name))
