/*
 * What holds a block: which words are taken for pointers to it, in roots and in blocks, one address after the other;
 * what has no pointers is not looked into; the trace hook tells instead of all words.
 */
#include "traced.h"

#include <string.h>

enum { SIZES = 5 };

/* Sizes of one granule, two, more than a part of a block that is looked into at a time, more than a word of bits. */
static size_t size_of(size_t number) {
    static const size_t counts[SIZES] = {1, 2, 5, 20, 70};
    return counts[number] * granule();
}

/* A block between two others that are not held; every address near it as a root. */
static void every_address(uint32_t flags, uint32_t block_flags) {
    size_t number;
    for (number = 0; number < SIZES; number++) {
        KnTracedConfig config = usual_config();
        KnTraced *heap;
        size_t bytes = size_of(number), offset;
        config.flags = flags;
        heap = heap_with(config, 2000 * WORD + 400 * granule());
        REQUIRE(heap != NULL);
        for (offset = 0; offset < bytes + 2 * granule(); offset += offset > 40 && offset + 40 < bytes ? 13 : 1) {
            uint8_t *before = kn_traced_alloc(heap, granule(), 0);
            uint8_t *block = kn_traced_alloc(heap, bytes, block_flags);
            uint8_t *after = kn_traced_alloc(heap, 2 * granule(), 0);
            bool inside = offset < bytes;
            bool held = (flags & KN_TRACED_INTERIOR) != 0 ? inside : offset == 0;
            REQUIRE(before != NULL && block == before + granule() && after == block + bytes);
            fill_pattern(block, bytes, (uint32_t)offset);
            (void)CHECK_EQ(is_held_by(heap, block, (uintptr_t)block + offset), held);
            if (held) {
                (void)CHECK_PATTERN(block, bytes, (uint32_t)offset);
                (void)CHECK_EQ(kn_traced_size(heap, block), bytes);
            }
            (void)CHECK_EQ(kn_traced_size(heap, before), 0);
            /* Just past the block the next one begins. */
            (void)CHECK_EQ(kn_traced_size(heap, after) != 0,
                           offset == bytes || (offset > bytes && (flags & KN_TRACED_INTERIOR) != 0));
            (void)CHECK(!is_held_by(heap, block, (uintptr_t)block - 1));
            (void)CHECK_EQ(numbers(heap).blocks, 0);
        }
    }
}

TRACED_TEST(a_start_holds) {
    every_address(0, 0);
}

TRACED_TEST(the_inside_holds_if_asked) {
    every_address(KN_TRACED_INTERIOR, 0);
}

TRACED_TEST(what_is_not_scanned_is_held) {
    every_address(KN_TRACED_INTERIOR, KN_NO_SCAN);
}

/* In a block every aligned word counts, the last one too, and no other place. */
TRACED_TEST(every_word_of_a_block) {
    size_t number;
    for (number = 0; number < SIZES; number++) {
        KnTraced *heap = heap_of(2000 * WORD + 400 * granule());
        size_t bytes = size_of(number), at;
        REQUIRE(heap != NULL);
        for (at = 0; at + WORD <= bytes; at += at % WORD == 0 && bytes > 1000 ? WORD / 2 : 1) {
            uint8_t *holder = kn_traced_alloc(heap, bytes, 0);
            void *held = kn_traced_alloc(heap, 30, 0);
            REQUIRE(holder != NULL && held != NULL);
            memcpy(holder + at, &held, sizeof held);
            (void)CHECK(is_held_by(heap, holder, (uintptr_t)holder));
            (void)CHECK_EQ(kn_traced_size(heap, held) != 0, at % WORD == 0);
            (void)CHECK(!is_held_by(heap, holder, 0));
        }
        (void)CHECK_EQ(numbers(heap).used, 0);
    }
}

/* Words that are no addresses of blocks: of every kind, as roots and in a block. */
TRACED_TEST(other_words_hold_nothing) {
    KnTraced *heap = small_heap();
    uint8_t *area = take_memory(2000, 0);
    uintptr_t words[ROOTS];
    size_t i, count = 0;
    uint8_t *block, *holder;
    REQUIRE(heap != NULL && area != NULL);
    (void)CHECK_STATUS(kn_traced_add_area(heap, area, 2000, 0), KN_OK);
    block = kn_traced_alloc(heap, 50, 0);
    REQUIRE(block != NULL);
    words[count++] = 0;
    words[count++] = 1;
    words[count++] = UINTPTR_MAX;
    words[count++] = UINTPTR_MAX - granule() + 1;
    words[count++] = (uintptr_t)heap;
    words[count++] = (uintptr_t)heap + WORD;
    words[count++] = (uintptr_t)block - granule();
    words[count++] = (uintptr_t)block + kn_traced_size(heap, block);
    words[count++] = (uintptr_t)block + numbers(heap).total;
    words[count++] = (uintptr_t)area;
    words[count++] = (uintptr_t)area + 2000;
    words[count++] = (uintptr_t)area + 2000 - granule();
    words[count++] = ~(uintptr_t)block;
    words[count++] = (uintptr_t)block ^ ((uintptr_t)1 << (8 * sizeof(uintptr_t) - 1));
    for (i = 0; i < 8 * sizeof(uintptr_t); i++) {
        if (count < ROOTS) {
            words[count++] = (uintptr_t)block ^ ((uintptr_t)1 << i);
        }
    }
    for (i = 0; i < count; i++) {
        (void)CHECK(!is_held_by(heap, block, words[i]));
        (void)CHECK_EQ(numbers(heap).blocks, 0);
        block = kn_traced_alloc(heap, 50, 0);
        REQUIRE(block != NULL);
    }
    holder = kn_traced_alloc(heap, sizeof words, 0);
    REQUIRE(holder != NULL);
    memcpy(holder, words, count * sizeof words[0]);
    /* What lies there is not initialised by the program, and need not be. */
    (void)CHECK(is_held_by(heap, holder, (uintptr_t)holder));
    (void)CHECK_EQ(numbers(heap).blocks, 1);
}

TRACED_TEST(what_has_no_pointers_holds_nothing) {
    KnTraced *heap = small_heap();
    void *text, *later, *held[2];
    REQUIRE(heap != NULL);
    text = kn_traced_alloc(heap, 100, KN_NO_SCAN);
    later = kn_traced_alloc(heap, 100, 0);
    held[0] = kn_traced_alloc(heap, 10, 0);
    held[1] = kn_traced_alloc(heap, 10, 0);
    REQUIRE(text != NULL && later != NULL && held[0] != NULL && held[1] != NULL);
    *slot(text, 1) = held[0];
    *slot(later, 1) = held[1];
    roots[0] = text;
    roots[ROOTS - 1] = later;
    collect_now(heap);
    (void)CHECK_EQ(kn_traced_size(heap, held[0]), 0);
    (void)CHECK_EQ(kn_traced_size(heap, held[1]), rounded(10, 0));
    (void)CHECK(kn_traced_no_scan(heap, later));
    collect_now(heap);
    (void)CHECK_EQ(kn_traced_size(heap, held[1]), 0);
    (void)CHECK(*slot(later, 1) == held[1]);
    /* It stays so when the block moves. */
    later = kn_traced_realloc(heap, later, 900, true);
    held[0] = kn_traced_alloc(heap, 10, 0);
    REQUIRE(later != NULL && held[0] != NULL);
    roots[1] = later;
    *slot(later, 2) = held[0];
    collect_now(heap);
    (void)CHECK_EQ(kn_traced_size(heap, held[0]), 0);
    (void)CHECK_EQ(kn_traced_size(heap, later), rounded(900, 0));
}

/* ---- The trace hook ---- */

static size_t trace_calls, traced_bytes;

/* Every second word is a pointer; each is told by itself. */
static void trace_even(void *context, void *block, size_t size) {
    size_t i;
    trace_calls++;
    traced_bytes += size;
    for (i = 0; i * WORD < size; i += 2) {
        kn_traced_mark(*(KnTraced **)context, slot(block, i), 1);
    }
}

TRACED_TEST(the_hook_tells_pointers) {
    static KnTraced *heap;
    KnTracedConfig config = usual_config();
    void *table, *even, *odd, *text;
    size_t bytes;
    config.trace = trace_even;
    config.context = &heap;
    heap = heap_with(config, 2000 * WORD);
    REQUIRE(heap != NULL);
    for (bytes = 4 * WORD; bytes < 100 * WORD; bytes += 7 * WORD) {
        size_t words = bytes / WORD;
        table = kn_traced_alloc(heap, bytes, 0);
        even = kn_traced_alloc(heap, 2 * WORD, 0);
        odd = kn_traced_alloc(heap, 2 * WORD, 0);
        text = kn_traced_alloc(heap, 3 * WORD, KN_NO_SCAN);
        REQUIRE(table != NULL && even != NULL && odd != NULL && text != NULL);
        *slot(table, 2 * ((words - 1) / 2)) = even;
        *slot(table, 1) = odd;
        *slot(even, 0) = text;
        *slot(text, 0) = odd;
        roots[0] = table;
        trace_calls = traced_bytes = 0;
        collect_now(heap);
        (void)CHECK_EQ(trace_calls, 2);
        (void)CHECK_EQ(traced_bytes, rounded(bytes, 0) + rounded(2 * WORD, 0));
        (void)CHECK_EQ(kn_traced_size(heap, even), rounded(2 * WORD, 0));
        (void)CHECK_EQ(kn_traced_size(heap, text), rounded(3 * WORD, 0));
        (void)CHECK_EQ(kn_traced_size(heap, odd), 0);
        (void)CHECK_EQ(numbers(heap).blocks, 3);
        roots[0] = NULL;
        collect_now(heap);
        (void)CHECK_EQ(numbers(heap).blocks, 0);
    }
}

/* ---- Marks, for weak references ---- */

TRACED_TEST(marks_tell_what_is_reachable) {
    KnTraced *heap = small_heap();
    void *held, *inner, *dead;
    REQUIRE(heap != NULL);
    held = kn_traced_alloc(heap, 5 * granule(), 0);
    inner = kn_traced_alloc(heap, 10, KN_NO_SCAN);
    dead = kn_traced_alloc(heap, 50, KN_FINALISE);
    REQUIRE(held != NULL && inner != NULL && dead != NULL);
    *slot(held, 3) = inner;
    (void)CHECK(kn_traced_is_marked(heap, held) && kn_traced_is_marked(heap, dead));
    (void)CHECK(!kn_traced_is_locked(heap));
    kn_traced_collect_start(heap);
    (void)CHECK(kn_traced_is_locked(heap));
    (void)CHECK(!kn_traced_is_marked(heap, held) && !kn_traced_is_marked(heap, inner));
    kn_traced_mark(heap, NULL, 0);
    kn_traced_mark(heap, &inner, 1);
    (void)CHECK(!kn_traced_is_marked(heap, held) && kn_traced_is_marked(heap, inner));
    kn_traced_mark(heap, &held, 1);
    (void)CHECK(kn_traced_is_marked(heap, held) && kn_traced_is_marked(heap, inner));
    (void)CHECK(!kn_traced_is_marked(heap, dead));
    (void)CHECK(!kn_traced_is_marked(heap, (uint8_t *)held + granule()));
    (void)CHECK(!kn_traced_is_marked(heap, (uint8_t *)dead + granule()));
    (void)CHECK(!kn_traced_is_marked(heap, (uint8_t *)held + 1));
    (void)CHECK(!kn_traced_is_marked(heap, &held));
    (void)CHECK(kn_traced_alloc(heap, 1, 0) == NULL);
    kn_traced_collect_end(heap);
    (void)CHECK(kn_traced_is_marked(heap, held) && kn_traced_is_marked(heap, inner));
    (void)CHECK(!kn_traced_is_marked(heap, dead));
    (void)CHECK_EQ(finalised_for(dead), 1);
}

SUITE("traced_marking", ONCE(a_start_holds), ONCE(the_inside_holds_if_asked), ONCE(what_is_not_scanned_is_held),
      ONCE(every_word_of_a_block), ONCE(other_words_hold_nothing), ONCE(what_has_no_pointers_holds_nothing),
      ONCE(the_hook_tells_pointers), ONCE(marks_tell_what_is_reachable))
