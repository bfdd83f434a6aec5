/*
 * knoll/grain.h with the bare names, `malloc` and `free` among them: a file that is Grain's runtime throughout.
 */
#define KN_GRAIN_NAMES
#include "knoll/grain.h"

#include "cells.h"

#include <string.h>

/* First words of heap objects. */
enum { STRING = 1, VARIANT = 2, RECORD = 3, ARRAY = 4, NUMBER = 5, LAMBDA = 6, TUPLE = 7, BYTES = 8 };
enum { RATIONAL = 3, BIG_INTEGER = 4 };

typedef uintptr_t Word;

static Word simple(Word number) {
    return number << 1 | 1;
}

/* An object of these words; GRAIN_FAILED when there is no memory. It takes over the references among them. */
static void *object(size_t count, const Word *words) {
    Word *at = malloc(count * sizeof *words);
    if (at != GRAIN_FAILED) {
        memcpy(at, words, count * sizeof *words);
    }
    return at;
}

#define OBJECT(...) object(sizeof((Word[]){__VA_ARGS__}) / sizeof(Word), (Word[]){__VA_ARGS__})
#define VALUE(reference) ((Word)(reference))

static void *leaf(void) {
    return OBJECT(STRING, 0);
}

/* Row 6: a count of 1, aligned, zeroed, 8 bytes behind the counter; -1 without memory. */
COUNTED_TEST(grain_malloc_row) {
    size_t size;
    for (size = 0; size < 400; size += 13) {
        uint8_t *at = malloc(size);
        uint32_t word, more;
        REQUIRE(at != GRAIN_FAILED);
        (void)CHECK(is_aligned(at, 8));
        (void)CHECK(lies_in_memory(at - 8, size + 8));
        (void)CHECK(holds_byte(at, size, 0));
        (void)CHECK_EQ(GC_refcount(at), 1);
        memcpy(&word, at - 8, sizeof word);
        (void)CHECK(incRef(at) == (void *)at);
        memcpy(&more, at - 8, sizeof more);
        (void)CHECK(more != word);
        (void)CHECK(decRef(at) == (void *)at);
        free(at);
        (void)CHECK_EQ(live_cells(), 0);
    }
    (void)CHECK(malloc(opaque(GROUND_BYTES)) == GRAIN_FAILED);
    (void)CHECK(malloc(opaque(SIZE_MAX)) == GRAIN_FAILED);
    (void)CHECK(rawMalloc(opaque(GROUND_BYTES)) == GRAIN_FAILED);
}

/* Row 7: immediates and 0 are no objects, and neither is the answer of a failed allocation. */
COUNTED_TEST(immediates_are_not_counted) {
    static const Word immediates[] = {0, 1, 2, 3, 4, 5, 6, 7, 0x8001, 0xfffe};
    size_t i;
    for (i = 0; i < sizeof immediates / sizeof *immediates; i++) {
        void *value = (void *)immediates[i];
        (void)CHECK(incRef(value) == value);
        (void)CHECK(decRef(value) == value);
        (void)CHECK(decRefIgnoreZeros(value) == value);
    }
    (void)CHECK(incRef(GRAIN_FAILED) == GRAIN_FAILED);
    (void)CHECK(decRef(GRAIN_FAILED) == GRAIN_FAILED);
    (void)decRef(OBJECT(TUPLE, 4, simple(1), 0, 6, 2));
    (void)CHECK_EQ(live_cells(), 0);
}

#if defined(KNOLL_WITHOUT_CHECKS)
#define DECREMENT_OF_ZERO
#else
#define DECREMENT_OF_ZERO EACH_LAYOUT(decrement_of_zero),

/* Row 8: decRef of zero is told in Grain's words; decRefIgnoreZeros is silent. */
COUNTED_TEST(decrement_of_zero) {
    void *wall = leaf();
    void *at = leaf();
    REQUIRE(at != GRAIN_FAILED && wall != GRAIN_FAILED);
    (void)decRef(at);
    let_knoll_look_anywhere();
    EXPECT_ERROR(KN_E_DOUBLE_FREE, (void)decRef(at));
    (void)CHECK(strcmp(last_error_what(), "DecRefError: Reference count of zero") == 0);
    (void)CHECK(decRefIgnoreZeros(at) == at);
    (void)CHECK_EQ(live_cells(), 1);
    (void)decRef(wall);
}
#endif

/* Row 9: each kind of object gives up its children, and nothing that only looks like one. */
COUNTED_TEST(children_by_tag) {
    void *shared = leaf();
    REQUIRE(shared != GRAIN_FAILED);
#define SHARED VALUE(incRef(shared))
#define FRESH VALUE(leaf())
    (void)decRef(OBJECT(ARRAY, 3, FRESH, SHARED, FRESH));
    (void)decRef(OBJECT(TUPLE, 2, FRESH, SHARED));
    (void)decRef(OBJECT(RECORD, simple(9), simple(1), 2, SHARED, FRESH));
    (void)decRef(OBJECT(VARIANT, simple(9), simple(1), simple(0), 2, SHARED, FRESH));
    (void)decRef(OBJECT(LAMBDA, 2, 40, 2, SHARED, FRESH));
    (void)decRef(OBJECT(NUMBER, RATIONAL, VALUE(OBJECT(NUMBER, BIG_INTEGER, 0)), SHARED));
    (void)CHECK_EQ(live_cells(), 1);
    (void)CHECK_EQ(GC_refcount(shared), 1);
    (void)decRef(OBJECT(STRING, 2 * sizeof(Word), VALUE(shared), VALUE(shared)));
    (void)decRef(OBJECT(BYTES, 2 * sizeof(Word), VALUE(shared), VALUE(shared)));
    (void)decRef(OBJECT(NUMBER, BIG_INTEGER, VALUE(shared), VALUE(shared)));
    (void)decRef(OBJECT(LAMBDA, VALUE(shared), VALUE(shared), 0));
    (void)decRef(OBJECT(13, 1, VALUE(shared)));
    (void)CHECK_EQ(GC_refcount(shared), 1);
    /* A length that claims too much is cut off at the object's end. */
    (void)decRef(OBJECT(TUPLE, opaque(SIZE_MAX / 8), SHARED));
    (void)CHECK_EQ(GC_refcount(shared), 1);
    (void)decRef(shared);
    (void)CHECK_EQ(live_cells(), 0);
}

/* Row 10: free ends an object whatever its count; its children stay. */
COUNTED_TEST(free_leaves_children) {
    void *child = leaf();
    void *at = OBJECT(TUPLE, 1, VALUE(child));
    REQUIRE(at != GRAIN_FAILED && child != GRAIN_FAILED);
    (void)incRef(at);
    free(at);
    free(NULL);
    (void)CHECK_EQ(live_cells(), 1);
    (void)CHECK_EQ(GC_refcount(child), 1);
    (void)decRef(child);
}

/* Row 10: raw memory, and the free list's head. */
COUNTED_TEST(raw_memory) {
    uint8_t *at = rawMalloc(100);
    const uint8_t *first = getFreePtr();
    REQUIRE(at != GRAIN_FAILED && first != NULL);
    fill_pattern(at, 100, 7);
    (void)CHECK(is_aligned(at, 8) && lies_in_memory(at, 100));
    (void)CHECK(lies_in_memory(first, 8) && (first >= at + 100 || first < at));
    (void)CHECK_PATTERN(at, 100, 7);
    rawFree(at);
    (void)CHECK(getFreePtr() != NULL);
}

/* Row 5: local0 := val, in the order that is right for the same object too. */
COUNTED_TEST(assignment_to_a_local) {
    void *local = NULL;
    void *one = leaf();
    void *other = leaf();
    grain_set(&local, one);
    (void)CHECK_EQ(GC_refcount(one), 2);
    (void)decRef(one);
    grain_set(&local, local);
    (void)CHECK(local == one);
    (void)CHECK_EQ(GC_refcount(one), 1);
    grain_set(&local, other);
    (void)CHECK_EQ(live_cells(), 1);
    grain_set(&local, (void *)simple(5));
    (void)CHECK_EQ(GC_refcount(other), 1);
    grain_set(&local, NULL);
    (void)decRef(other);
    (void)CHECK_EQ(live_cells(), 0);
}

/* The example of grain.h: a function that takes the second element of a pair. */
static void *second_of(void *pair) {
    void *locals[1] = {NULL};
    grain_set(&locals[0], ((void **)pair)[3]);
    return grain_leave(locals[0], locals, 1);
}

COUNTED_TEST(references_are_caller_owned) {
    void *second = leaf();
    void *pair = OBJECT(TUPLE, 2, VALUE(leaf()), VALUE(second));
    void *value;
    REQUIRE(pair != GRAIN_FAILED);
    value = second_of(pair);
    (void)CHECK(value == second);
    (void)CHECK_EQ(GC_refcount(pair), 1);
    (void)CHECK_EQ(GC_refcount(second), 2);
    (void)decRef(pair);
    (void)CHECK_EQ(live_cells(), 1);
    (void)decRef(value);
    (void)CHECK_EQ(live_cells(), 0);
}

/* A list as long as the heap goes without recursion, and a closure over itself goes by the collector. */
COUNTED_TEST(long_lists_and_cycles) {
    void *list = OBJECT(VARIANT, simple(9), simple(1), simple(1), 0);
    void *next;
    Word *lambda;
    size_t length = 0;
    REQUIRE(list != GRAIN_FAILED);
    while ((next = OBJECT(VARIANT, simple(9), simple(1), simple(0), 2, simple(length), VALUE(list))) != GRAIN_FAILED) {
        list = next;
        length++;
    }
    (void)CHECK_GE(length, 200);
    (void)decRef(list);
    (void)CHECK_EQ(live_cells(), 0);
    lambda = OBJECT(LAMBDA, 1, 40, 2, VALUE(leaf()), 0);
    REQUIRE(lambda != GRAIN_FAILED);
    lambda[5] = VALUE(incRef(lambda));
    (void)decRef(lambda);
    (void)CHECK_EQ(live_cells(), 2);
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 0);
}

/* A closure over itself that nobody holds; false when there is no memory. */
static bool knot(void) {
    Word *lambda = OBJECT(LAMBDA, 1, 40, 1, 0);
    if (lambda == GRAIN_FAILED) {
        return false;
    }
    lambda[4] = VALUE(incRef(lambda));
    (void)decRef(lambda);
    return true;
}

/*
 * A heap full of cycles to its last byte, so that not even the collector finds memory, is collected all the same; in a
 * time that grows with the square of the heap, hence in a small one.
 */
COUNTED_TEST_IN(cycles_in_a_full_heap, GROUND_BYTES / 2) {
    size_t count = 0;
    KnGcConfig config = {0};
    GC_disableOrc();
    while (knot()) {
        count++;
    }
    (void)CHECK_GE(count, 500);
    (void)CHECK_EQ(live_cells(), count);
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 0);
    config.flags = KN_GC_COLLECT_WHEN_FULL;
    configure(config);
    GC_disableOrc();
    for (count *= 3; count > 0; count--) {
        REQUIRE(knot());
    }
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 0);
}

SUITE("dialect_grain", EACH_LAYOUT(grain_malloc_row), EACH_LAYOUT(immediates_are_not_counted),
      DECREMENT_OF_ZERO EACH_LAYOUT(children_by_tag), EACH_LAYOUT(free_leaves_children), EACH_LAYOUT(raw_memory),
      EACH_LAYOUT(assignment_to_a_local), EACH_LAYOUT(references_are_caller_owned), EACH_LAYOUT(long_lists_and_cycles),
      EACH_LAYOUT(cycles_in_a_full_heap))
