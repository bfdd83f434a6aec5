/* Memory of an arena: sizes, alignments, zeros, resizing in place, copies of texts; in a scope and in an arena of its own. */
#include "arenas.h"

#include <string.h>

enum { MOST = 160 };

static uint8_t *blocks[MOST];
static size_t sizes[MOST];

/* Each test runs in a scope and in a free-standing arena. */
static void in_both(void (*body)(KnArena *)) {
    uint64_t before = fingerprint();
    KnArena *arena = enter("scope");
    REQUIRE(arena != NULL);
    body(arena);
    (void)leave(arena);
    (void)CHECK_EQ(fingerprint(), before);
    arena = create("free-standing");
    REQUIRE(arena != NULL);
    body(arena);
    kn_arena_destroy(arena);
    (void)CHECK_EQ(fingerprint(), before);
    (void)CHECK(is_sound(ground_heap()));
}

/* ---- Sizes ---- */

static void sizes_in(KnArena *arena) {
    size_t i, at_least = 0;
    for (i = 0; i < MOST; i++) {
        sizes[i] = i < 100 ? i : random_size(400);
        blocks[i] = kn_arena_alloc(arena, sizes[i]);
        REQUIRE(blocks[i] != NULL);
        (void)CHECK(is_aligned(blocks[i], 8));
        (void)CHECK(lies_in_memory(blocks[i], sizes[i]));
        (void)CHECK(sizes[i] == 0 || kn_arena_contains(arena, blocks[i]));
        fill_pattern(blocks[i], sizes[i], (uint32_t)i);
        at_least += sizes[i];
    }
    for (i = 0; i < MOST; i++) {
        (void)CHECK_PATTERN(blocks[i], sizes[i], (uint32_t)i);
    }
    /* No header, and rounding to 8: all of it takes little more than was asked for. */
    (void)CHECK_GE(stats_of(arena).used, at_least);
    (void)CHECK_LE(stats_of(arena).used, at_least + 8 * MOST + 64 * stats_of(arena).blocks);
}

ARENA_TEST(every_size_is_aligned_and_apart) {
    in_both(sizes_in);
}

static void no_bytes_in(KnArena *arena) {
    uint8_t *before = kn_arena_alloc(arena, 16), *empty, *after;
    REQUIRE(before != NULL);
    fill_pattern(before, 16, 1);
    empty = kn_arena_alloc(arena, 0);
    (void)CHECK(empty != NULL && is_aligned(empty, 8));
    (void)CHECK(kn_arena_calloc(arena, 0, 8) != NULL);
    (void)CHECK(kn_arena_calloc(arena, 8, 0) != NULL);
    (void)CHECK(kn_arena_calloc(arena, opaque(SIZE_MAX), 0) != NULL);
    (void)CHECK(kn_arena_aligned_alloc(arena, 32, 0) != NULL);
    (void)CHECK(kn_arena_allocInline(arena, 0) != NULL);
    (void)CHECK(kn_arena_resize(arena, NULL, 0, 0) != NULL);
    (void)CHECK(kn_arena_memdup(arena, before, 0) != NULL);
    after = kn_arena_alloc(arena, 16);
    REQUIRE(after != NULL);
    fill_pattern(after, 16, 2);
    (void)CHECK_PATTERN(before, 16, 1);
    (void)CHECK(after >= before + 16 || after + 16 <= before);
}

ARENA_TEST(no_bytes_are_some_pointer) {
    in_both(no_bytes_in);
}

/* Every size up to SIZE_MAX is answered; what does not fit changes nothing. */
static void too_much_in(KnArena *arena) {
    size_t huge[8], i;
    uint8_t *block = kn_arena_alloc(arena, 40), *next;
    KnArenaStats before;
    uint64_t print;
    huge[0] = opaque(SIZE_MAX);
    huge[1] = huge[0] - 1;
    huge[2] = huge[0] - 7;
    huge[3] = huge[0] - 8;
    huge[4] = huge[0] - 4096;
    huge[5] = huge[0] / 2;
    huge[6] = huge[0] / 2 + 1;
    huge[7] = huge[0] / 4;
    REQUIRE(block != NULL);
    fill_pattern(block, 40, 3);
    before = stats_of(arena);
    print = fingerprint();
    for (i = 0; i < 8; i++) {
        (void)CHECK(kn_arena_alloc(arena, huge[i]) == NULL);
        (void)CHECK(kn_arena_allocInline(arena, huge[i]) == NULL);
        (void)CHECK(kn_arena_aligned_alloc(arena, 64, huge[i]) == NULL);
        (void)CHECK(kn_arena_calloc(arena, huge[i], 1) == NULL);
        (void)CHECK(kn_arena_resize(arena, block, 40, huge[i]) == NULL);
        (void)CHECK(GC_newSizedIn(arena, list_type, huge[i]) == NULL);
    }
    (void)CHECK(kn_arena_calloc(arena, huge[6], 2) == NULL);
    (void)CHECK(kn_arena_calloc(arena, 2, huge[6]) == NULL);
    (void)CHECK(kn_arena_calloc(arena, huge[7], 8) == NULL);
    (void)CHECK(kn_arena_calloc(arena, huge[0] / 16 + 3, 16) == NULL);
    (void)CHECK(kn_arena_aligned_alloc(arena, opaque((size_t)1 << (8 * sizeof(size_t) - 1)), 8) == NULL);
    (void)CHECK_EQ(stats_of(arena).used, before.used);
    (void)CHECK_EQ(fingerprint(), print);
    (void)CHECK_PATTERN(block, 40, 3);
    next = kn_arena_alloc(arena, 40);
    REQUIRE(next != NULL);
    memset(next, 0, 40);
    (void)CHECK_PATTERN(block, 40, 3);
}

ARENA_TEST(too_much_is_refused) {
    in_both(too_much_in);
}

static void zeros_in(KnArena *arena) {
    KnArenaMark mark = kn_arena_mark(arena);
    size_t i;
    uint8_t *dirt = kn_arena_alloc(arena, 3000);
    REQUIRE(dirt != NULL);
    memset(dirt, 0xA5, 3000);
    (void)CHECK_STATUS(kn_arena_rewind(arena, mark), KN_OK);
    for (i = 1; i < 40; i++) {
        uint8_t *zeros = kn_arena_calloc(arena, i, 1 + i % 5);
        Pair *pair;
        REQUIRE(zeros != NULL);
        (void)CHECK(holds_byte(zeros, i * (1 + i % 5), 0));
        memset(zeros, 0xFF, i * (1 + i % 5));
        pair = GC_newIn(arena, pair_type);
        REQUIRE(pair != NULL);
        (void)CHECK(holds_byte(pair, sizeof *pair, 0));
    }
}

ARENA_TEST(calloc_clears) {
    in_both(zeros_in);
}

/* ---- Alignment ---- */

static void aligned_in(KnArena *arena) {
    size_t align, i = 0;
    for (align = 1; align <= 2048; align *= 2) {
        size_t round;
        for (round = 0; round < 3; round++, i++) {
            sizes[i] = random_size(100);
            blocks[i] = kn_arena_aligned_alloc(arena, align, sizes[i]);
            REQUIRE(blocks[i] != NULL);
            (void)CHECK(is_aligned(blocks[i], align));
            (void)CHECK(lies_in_memory(blocks[i], sizes[i]));
            fill_pattern(blocks[i], sizes[i], (uint32_t)i);
            /* A plain one behind it is aligned to 8 again. */
            (void)CHECK(is_aligned(kn_arena_alloc(arena, 3), 8));
        }
    }
    while (i > 0) {
        i--;
        (void)CHECK_PATTERN(blocks[i], sizes[i], (uint32_t)i);
    }
    errors_begin();
    (void)CHECK(kn_arena_aligned_alloc(arena, 0, 8) == NULL);
    (void)CHECK(kn_arena_aligned_alloc(arena, 24, 8) == NULL);
    (void)CHECK(kn_arena_aligned_alloc(arena, opaque(SIZE_MAX), 8) == NULL);
    errors_ignore();
}

ARENA_TEST(every_alignment_is_kept) {
    in_both(aligned_in);
}

/* ---- In line ---- */

static void inline_in(KnArena *arena) {
    size_t i;
    for (i = 0; i < MOST; i++) {
        sizes[i] = random_size(200);
        blocks[i] = i % 3 == 0 ? kn_arena_alloc(arena, sizes[i]) : kn_arena_allocInline(arena, sizes[i]);
        REQUIRE(blocks[i] != NULL);
        (void)CHECK(is_aligned(blocks[i], 8));
        (void)CHECK(lies_in_memory(blocks[i], sizes[i]));
        fill_pattern(blocks[i], sizes[i], (uint32_t)i);
    }
    for (i = 0; i < MOST; i++) {
        (void)CHECK_PATTERN(blocks[i], sizes[i], (uint32_t)i);
    }
}

ARENA_TEST(in_line_is_the_same) {
    in_both(inline_in);
}

/* In line, too, a fixed scope gives what it has and no more, to the last byte of it. */
ARENA_TEST(in_line_ends_where_memory_ends) {
    size_t step;
    for (step = 8; step <= 120; step += 16) {
        KnArenaConfig config = named("fixed");
        KnArena *scope;
        size_t taken = 0;
        config.presize = 2048;
        config.flags = KN_ARENA_FIXED;
        scope = enter_as(config);
        REQUIRE(scope != NULL);
        while (taken < 4096) {
            uint8_t *at = kn_arena_allocInline(scope, step);
            if (at == NULL) {
                break;
            }
            memset(at, 0xEE, step);
            taken += step;
        }
        (void)CHECK_GE(taken + step, 2048);
        (void)CHECK_LE(taken, stats_of(scope).held);
        (void)CHECK(is_sound(ground_heap()));
        (void)leave(scope);
    }
}

/* ---- Resizing ---- */

static void resize_in(KnArena *arena) {
    uint8_t *first, *last, *moved;
    KnArenaMark mark;
    size_t bytes, used;

    first = kn_arena_resize(arena, NULL, 0, 24);
    REQUIRE(first != NULL);
    fill_pattern(first, 24, 1);
    last = kn_arena_alloc(arena, 24);
    REQUIRE(last != NULL);
    fill_pattern(last, 24, 2);
    /* The last one grows where it is, byte for byte. */
    for (bytes = 25; bytes <= 300; bytes += 25) {
        (void)CHECK(kn_arena_resize(arena, last, bytes - (bytes == 25 ? 1 : 25), bytes) == last);
        (void)CHECK_PATTERN(last, 24, 2);
    }
    fill_pattern(last, 300, 2);
    used = stats_of(arena).used;
    /* It shrinks there, and what it gave back is used again. */
    (void)CHECK(kn_arena_resize(arena, last, 300, 100) == last);
    (void)CHECK_PATTERN(last, 24, 2);
    (void)CHECK_LE(stats_of(arena).used + 190, used);
    fill_pattern(last, 100, 2);
    moved = kn_arena_alloc(arena, 50);
    REQUIRE(moved != NULL);
    fill_pattern(moved, 50, 3);
    /* Now it is not the last: it shrinks in place and grows by a copy; the old bytes stay as they are. */
    (void)CHECK(kn_arena_resize(arena, last, 100, 60) == last);
    fill_pattern(last, 60, 2);
    moved = kn_arena_resize(arena, last, 60, 200);
    REQUIRE(moved != NULL);
    (void)CHECK(moved != last);
    (void)CHECK_PATTERN(moved, 60, 2);
    (void)CHECK_PATTERN(last, 60, 2);
    (void)CHECK_PATTERN(first, 24, 1);
    /* What was allocated before the newest mark is copied, though it is the last. */
    fill_pattern(moved, 200, 4);
    mark = kn_arena_mark(arena);
    last = kn_arena_resize(arena, moved, 200, 240);
    REQUIRE(last != NULL);
    (void)CHECK(last != moved);
    (void)CHECK_PATTERN(last, 200, 4);
    memset(last, 0, 240);
    (void)CHECK_STATUS(kn_arena_rewind(arena, mark), KN_OK);
    (void)CHECK_PATTERN(moved, 200, 4);
    (void)CHECK_PATTERN(first, 24, 1);
}

/* Room enough that no end of a block comes between. */
ARENA_TEST(resize_in_place_where_it_can) {
    KnArenaConfig config = named("roomy");
    KnArena *arena;
    config.presize = 4096;
    arena = enter_as(config);
    REQUIRE(arena != NULL);
    resize_in(arena);
    (void)leave(arena);
    arena = kn_arena_create(ground_heap(), &config);
    REQUIRE(arena != NULL);
    resize_in(arena);
    kn_arena_destroy(arena);
}

/* A text that grows by a byte at a time, in an arena that has to get more memory for it. */
static void growing_in(KnArena *arena) {
    uint8_t *text = NULL;
    size_t length;
    for (length = 0; length < 3000; length++) {
        uint8_t *longer = kn_arena_resize(arena, text, length, length + 1);
        REQUIRE(longer != NULL);
        longer[length] = (uint8_t)(length * 7);
        text = longer;
    }
    for (length = 0; length < 3000; length++) {
        if (text[length] != (uint8_t)(length * 7)) {
            (void)CHECK(text[length] == (uint8_t)(length * 7));
            return;
        }
    }
    /* Most steps were in place: what is used is far below the sum of all sizes. */
    (void)CHECK_LE(stats_of(arena).used, 6 * 3000);
}

ARENA_TEST(a_text_grows_byte_by_byte) {
    in_both(growing_in);
}

/* ---- Texts ---- */

static void texts_in(KnArena *arena) {
    static const char *const texts[] = {"", "a", "1234567", "12345678", "a longer text, that is not aligned to anything"};
    size_t i, most;
    /* Without a NUL, at the end of guarded memory: nothing behind it may be looked at. */
    char *open_ended = (char *)take_memory(5, 3);
    REQUIRE(open_ended != NULL);
    memcpy(open_ended, "hello", 5);
    for (i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        size_t length = strlen(texts[i]);
        char *copy = kn_arena_strdup(arena, texts[i]);
        REQUIRE(copy != NULL);
        (void)CHECK(copy != texts[i] && strcmp(copy, texts[i]) == 0);
        for (most = 0; most < length + 3; most++) {
            size_t expected = most < length ? most : length;
            copy = kn_arena_strndup(arena, texts[i], most);
            REQUIRE(copy != NULL);
            (void)CHECK(strlen(copy) == expected && memcmp(copy, texts[i], expected) == 0);
        }
        (void)CHECK(same_text(kn_arena_strndup(arena, texts[i], opaque(SIZE_MAX)), texts[i]));
        copy = kn_arena_memdup(arena, texts[i], length + 1);
        REQUIRE(copy != NULL);
        (void)CHECK(memcmp(copy, texts[i], length + 1) == 0);
    }
    (void)CHECK(same_text(kn_arena_strndup(arena, open_ended, 5), "hello"));
    (void)CHECK(same_text(kn_arena_strndup(arena, open_ended, 2), "he"));
}

ARENA_TEST(texts_are_copied) {
    in_both(texts_in);
}

/* ---- Where memory lies ---- */

ARENA_TEST(contains_is_exact) {
    KnArena *one = enter("one"), *other = create("other"), *inner;
    uint8_t *in_one, *in_other, *in_inner, *outside = kn_heap_malloc(ground_heap(), 50);
    size_t i;
    int here = 0;
    REQUIRE(one != NULL && other != NULL && outside != NULL);
    in_one = kn_arena_alloc(one, 500);
    in_other = kn_arena_alloc(other, 500);
    inner = enter("inner");
    REQUIRE(inner != NULL && in_one != NULL && in_other != NULL);
    in_inner = kn_arena_alloc(inner, 500);
    REQUIRE(in_inner != NULL);
    for (i = 0; i < 500; i += 7) {
        (void)CHECK(kn_arena_contains(one, in_one + i));
        (void)CHECK(!kn_arena_contains(other, in_one + i));
        (void)CHECK(!kn_arena_contains(inner, in_one + i));
        (void)CHECK(kn_arena_contains(other, in_other + i));
        (void)CHECK(!kn_arena_contains(one, in_other + i));
        (void)CHECK(kn_arena_contains(inner, in_inner + i));
        (void)CHECK(!kn_arena_contains(one, outside + i % 50));
    }
    (void)CHECK(!kn_arena_contains(one, NULL));
    (void)CHECK(!kn_arena_contains(one, &here));
    (void)CHECK(!kn_arena_contains(one, ground_heap()));
    (void)leave(inner);
    kn_arena_destroy(other);
    (void)leave(one);
    kn_heap_free(ground_heap(), outside);
}

/* ---- Random lives ---- */

static void random_in(KnArena *arena) {
    size_t count = 0, turn, index, bytes;
    for (turn = 0; turn < 600; turn++) {
        uint8_t *at;
        switch (count == 0 ? 0 : random_below(4)) {
        case 0:
        case 1:
            if (count == MOST) {
                break;
            }
            bytes = random_size(120);
            at = random_below(2) == 0 ? kn_arena_allocInline(arena, bytes) : kn_arena_aligned_alloc(arena, 16, bytes);
            if (at != NULL) {
                fill_pattern(at, bytes, (uint32_t)count);
                blocks[count] = at;
                sizes[count++] = bytes;
            }
            break;
        default:
            index = random_below(4) == 0 ? random_below(count) : count - 1;
            bytes = random_size(200);
            at = kn_arena_resize(arena, blocks[index], sizes[index], bytes);
            if (at != NULL) {
                (void)CHECK(bytes > sizes[index] || at == blocks[index]);
                blocks[index] = at;
                if (bytes < sizes[index]) {
                    sizes[index] = bytes;
                }
                (void)CHECK_PATTERN(at, sizes[index], (uint32_t)index);
                sizes[index] = bytes;
                fill_pattern(at, bytes, (uint32_t)index);
            }
        }
    }
    for (index = 0; index < count; index++) {
        (void)CHECK_PATTERN(blocks[index], sizes[index], (uint32_t)index);
    }
    (void)CHECK_GE(count, 50);
}

ARENA_TEST(random_lives) {
    in_both(random_in);
}

SUITE("arena_memory", EACH_LAYOUT(every_size_is_aligned_and_apart), EACH_LAYOUT(no_bytes_are_some_pointer),
      EACH_LAYOUT(too_much_is_refused), EACH_LAYOUT(calloc_clears), EACH_LAYOUT(every_alignment_is_kept),
      EACH_LAYOUT(in_line_is_the_same), EACH_LAYOUT(in_line_ends_where_memory_ends),
      EACH_LAYOUT(resize_in_place_where_it_can), EACH_LAYOUT(a_text_grows_byte_by_byte), EACH_LAYOUT(texts_are_copied),
      EACH_LAYOUT(contains_is_exact), EACH_LAYOUT(random_lives))
