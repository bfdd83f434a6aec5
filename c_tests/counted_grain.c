/*
 * Counted cells as Grain's runtime uses them: its own counting calls, its composite values, and its free.
 *
 * Rows 6 to 10 of the conformance table; the last tests go through the names of knoll/grain.h.
 */
#include "cells.h"
#include "knoll/grain.h"

#include <string.h>

static bool last_error_was(const char *text) {
    return last_error_what() != NULL && strcmp(last_error_what(), text) == 0;
}

/* Row 6: Grain's malloc: the count is 1, the payload is aligned to 8 and lies 8 bytes behind the start. */
COUNTED_TEST(malloc_gives_a_counted_payload) {
    size_t bytes;
    for (bytes = sizeof(Row); bytes <= 512; bytes += 24) {
        uint8_t *payload = GC_newSized(row_type, bytes);
        uint32_t type_word;
        REQUIRE(payload != NULL);
        (void)CHECK_EQ(GC_refcount(payload), 1);
        (void)CHECK(is_aligned(payload, 8));
        (void)CHECK_GE(GC_sizeOf(payload), bytes);
        (void)CHECK(lies_in_memory(payload - 8, bytes + 8));
        /* The second word of the header tells the type; it is there and no part of the payload. */
        memcpy(&type_word, payload - 4, sizeof type_word);
        (void)CHECK(type_word != 0);
        ((Row *)(void *)payload)->id = 1;
        GC_unref(payload);
    }
    (void)CHECK_EQ(destroyed_times(1), 22);
}

/* Row 6: without memory the answer is NULL, nothing else happens, and the next call that fits succeeds. */
COUNTED_TEST(malloc_without_memory) {
    Row *large = GC_newSized(row_type, 4 * GROUND_BYTES);
    Node *list = NULL, *more;
    size_t count = 0;
    (void)CHECK(large == NULL);
    (void)CHECK(GC_newSized(row_type, opaque(SIZE_MAX)) == NULL);
    while ((more = new_node(1, list, NULL)) != NULL) {
        list = more;
        count++;
    }
    (void)CHECK_GE(count, 500);
    (void)CHECK_EQ(live_cells(), count);
    (void)CHECK(GC_new(node_type) == NULL);
    (void)CHECK(all_is_sound());
    /* One goes, one fits again. */
    more = GC_move(&list->left);
    GC_unref(list);
    (void)CHECK_EQ(destroyed_total(), 1);
    list = new_node(2, more, NULL);
    (void)CHECK(list != NULL);
    GC_unref(list != NULL ? list : more);
    (void)CHECK_EQ(destroyed_total(), count + 1);
    (void)CHECK_EQ(live_cells(), 0);
}

/* Row 7: incRef and decRef give back their argument; NULL is ignored by all. */
COUNTED_TEST(counting_returns_its_argument) {
    Node *node = new_node(1, NULL, NULL);
    REQUIRE(node != NULL);
    (void)CHECK(GC_ref(node) == (void *)node);
    (void)CHECK(GC_ref(node) == (void *)node);
    (void)CHECK_EQ(GC_refcount(node), 3);
    (void)CHECK(GC_decRef(node) == (void *)node);
    (void)CHECK(GC_decRefIgnoreZeros(node) == (void *)node);
    (void)CHECK_EQ(GC_refcount(node), 1);
    (void)CHECK(GC_ref(NULL) == NULL);
    (void)CHECK(GC_decRef(NULL) == NULL);
    (void)CHECK(GC_decRefIgnoreZeros(NULL) == NULL);
    GC_freeObject(NULL);
    (void)CHECK(GC_decRef(node) == (void *)node);
    (void)CHECK_EQ(destroyed_times(1), 1);
}

/* The seed's end of a function: incRef of the value, then decRefIgnoreZeros of all locals. */
COUNTED_TEST(leaving_a_function) {
    Node *value = new_node(1, NULL, NULL);
    Node *other = new_node(2, NULL, NULL);
    void *locals[4];
    size_t i;
    REQUIRE(value != NULL && other != NULL);
    locals[0] = value;
    locals[1] = other;
    locals[2] = GC_ref(other);
    locals[3] = NULL;
    (void)GC_ref(value);
    for (i = 0; i < 4; i++) {
        (void)CHECK(GC_decRefIgnoreZeros(locals[i]) == locals[i]);
    }
    (void)CHECK_EQ(GC_refcount(value), 1);
    (void)CHECK_EQ(destroyed_times(2), 1);
    (void)CHECK_EQ(destroyed_times(1), 0);
    (void)GC_decRef(value);
    (void)CHECK_EQ(live_cells(), 0);
}

/* While its destructor runs, a cell's count is zero. */
static void destroy_and_count(void *object) {
    Node *node = object;
    record_destroyed(node->id);
    (void)CHECK_EQ(GC_refcount(object), 0);
    (void)CHECK(GC_decRefIgnoreZeros(object) == object);
    (void)CHECK_EQ(GC_refcount(object), 0);
    EXPECT_ERROR(KN_E_DOUBLE_FREE, (void)CHECK(GC_decRef(object) == object));
    (void)CHECK(last_error_where() == object);
    (void)CHECK(last_error_was("DecRefError: Reference count of zero"));
    (void)CHECK_EQ(GC_refcount(object), 0);
}

/* Row 8: decRef of a count of zero is an error with Grain's words; decRefIgnoreZeros is silent; none goes below. */
COUNTED_TEST(decrement_of_zero) {
    static const uint32_t offsets[] = {offsetof(Node, left), offsetof(Node, right)};
    static const KnType type = {"Zero", sizeof(Node), 0, 2, offsets, destroy_and_count, NULL, NULL, NULL, NULL};
    Node *node = GC_new(GC_registerType(&type));
    REQUIRE(node != NULL);
    node->id = 1;
    node->left = new_leaf(2);
    (void)GC_decRef(node);
    (void)CHECK(destroyed_once(1, 2));
    (void)CHECK_EQ(live_cells(), 0);
}

#if defined(KNOLL_WITHOUT_CHECKS)
#define DECREMENT_OF_THE_DEAD
#else
#define DECREMENT_OF_THE_DEAD EACH_LAYOUT(decrement_of_the_dead),

/* Row 8, on a cell that is gone: known by its header, which its memory keeps until it is used again. */
COUNTED_TEST(decrement_of_the_dead) {
    Node *wall = new_node(2, NULL, NULL);
    Node *node = new_node(1, NULL, NULL);
    REQUIRE(node != NULL && wall != NULL);
    (void)GC_decRef(node);
    (void)CHECK_EQ(live_cells(), 1);
    let_knoll_look_anywhere();
    EXPECT_ERROR(KN_E_DOUBLE_FREE, (void)CHECK(GC_decRef(node) == (void *)node));
    (void)CHECK(last_error_was("DecRefError: Reference count of zero"));
    (void)CHECK(GC_decRefIgnoreZeros(node) == (void *)node);
    (void)CHECK_EQ(live_cells(), 1);
    (void)CHECK_EQ(destroyed_total(), 1);
    (void)CHECK(all_is_sound());
    (void)GC_decRef(wall);
}
#endif

/* Grain's heap values, as types: what lies before the references, and how many there are. */
typedef struct Grain {
    uint32_t tag, words;
    void *parts[3];
} Grain;

static void destroy_grain(void *object) {
    record_destroyed(((Grain *)object)->tag);
}

/* Row 9: at zero the cell goes and its children are let go: arrays, tuples, records, ADTs, closures, rationals. */
COUNTED_TEST(children_of_composite_values) {
    static const uint32_t two[] = {offsetof(Grain, parts[0]), offsetof(Grain, parts[1])};
    static const uint32_t three[] = {offsetof(Grain, parts[0]), offsetof(Grain, parts[1]), offsetof(Grain, parts[2])};
    static const KnType types[] = {
        {"array", offsetof(Grain, parts), KN_TYPE_ARRAY, 0, NULL, destroy_grain, NULL, NULL, NULL, NULL},
        {"tuple", sizeof(Grain), 0, 3, three, destroy_grain, NULL, NULL, NULL, NULL},
        {"record", sizeof(Grain), 0, 3, three, destroy_grain, NULL, NULL, NULL, NULL},
        {"ADT", offsetof(Grain, parts[1]), KN_TYPE_ARRAY, 1, two, destroy_grain, NULL, NULL, NULL, NULL},
        {"lambda", offsetof(Grain, parts), KN_TYPE_ARRAY, 0, NULL, destroy_grain, NULL, NULL, NULL, NULL},
        /* Grain itself forgets these two: it compares the wrong number with the tag. */
        {"rational", sizeof(Grain), KN_TYPE_ACYCLIC, 2, two, destroy_grain, NULL, NULL, NULL, NULL},
    };
    size_t kind, part;
    for (kind = 0; kind < sizeof types / sizeof types[0]; kind++) {
        size_t parts = kind == 5 ? 2 : 3;
        Leaf *shared = new_leaf(100);
        Grain *grain = GC_newSized(GC_registerType(&types[kind]), sizeof(Grain));
        REQUIRE(grain != NULL && shared != NULL);
        forget_destroyed();
        grain->tag = 10;
        grain->parts[0] = GC_ref(shared);
        for (part = 1; part < parts; part++) {
            grain->parts[part] = new_node((uint32_t)(10 + part), new_leaf((uint32_t)(20 + part)), NULL);
        }
        (void)CHECK_EQ(live_cells(), 2 + 2 * (parts - 1));
        (void)GC_decRef(grain);
        (void)CHECK_EQ(GC_refcount(shared), 1);
        (void)CHECK(destroyed_once(10, 10 + (uint32_t)parts - 1));
        (void)CHECK(destroyed_once(21, 20 + (uint32_t)parts - 1));
        (void)CHECK_EQ(destroyed_total(), 2 * parts - 1);
        (void)CHECK_EQ(live_cells(), 1);
        (void)GC_decRef(shared);
    }
}

/* Row 9, with many elements; in a variable array a place may be empty, and the same cell may be there twice. */
COUNTED_TEST(children_of_a_long_array) {
    enum { COUNT = 200 };
    Row *row = new_row(1000, COUNT);
    Node *twice = new_node(1001, NULL, NULL);
    uint32_t i;
    REQUIRE(row != NULL && twice != NULL);
    for (i = 0; i < COUNT; i++) {
        row->items[i] = i % 4 == 0 ? NULL : i % 4 == 1 ? GC_ref(twice) : new_leaf(i);
    }
    (void)CHECK_EQ(GC_refcount(twice), 1 + COUNT / 4);
    (void)GC_decRef(row);
    (void)CHECK_EQ(GC_refcount(twice), 1);
    (void)CHECK_EQ(destroyed_total(), 1 + COUNT / 2);
    for (i = 0; i < COUNT; i++) {
        (void)CHECK_EQ(destroyed_times(i), i % 4 >= 2 ? 1 : 0);
    }
    (void)GC_decRef(twice);
}

/* Row 10: Grain's free ends a cell whatever its count: no destructor, no child let go, and the memory is free again. */
COUNTED_TEST(free_ends_a_cell) {
    Leaf *child = new_leaf(2);
    Node *node = new_node(1, child, NULL);
    size_t occupied;
    REQUIRE(node != NULL && child != NULL);
    occupied = GC_getOccupiedMem();
    (void)GC_ref(node);
    (void)GC_ref(node);
    GC_freeObject(node);
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(live_cells(), 1);
    (void)CHECK_LE(GC_getOccupiedMem(), occupied - sizeof(Node));
    (void)CHECK_EQ(GC_refcount(child), 1);
    (void)CHECK(all_is_sound());
    GC_unref(child);
    (void)CHECK_EQ(GC_getOccupiedMem(), 0);
}

/* Row 10: a cell that is a root is one no longer after its free, and cells that are made after it are not harmed. */
COUNTED_TEST(free_of_a_root) {
    Node *nodes[8];
    uint32_t i;
    for (i = 0; i < 8; i++) {
        nodes[i] = new_node(i, NULL, NULL);
        REQUIRE(nodes[i] != NULL);
        GC_unref(GC_ref(nodes[i]));
    }
    (void)CHECK_EQ(GC_prepareOrc(), 8);
    for (i = 0; i < 8; i += 2) {
        GC_freeObject(nodes[i]);
    }
    (void)CHECK_EQ(GC_prepareOrc(), 4);
    for (i = 0; i < 8; i += 2) {
        nodes[i] = new_node(i + 100, NULL, NULL);
        REQUIRE(nodes[i] != NULL);
    }
    GC_runOrc();
    (void)CHECK_EQ(destroyed_total(), 0);
    for (i = 0; i < 8; i++) {
        (void)CHECK_EQ(GC_refcount(nodes[i]), 1);
        GC_unref(nodes[i]);
    }
    (void)CHECK_EQ(destroyed_total(), 8);
}

/* ---- knoll/grain.h ---- */

/* Row 6: as the row says it: 8-byte aligned, count 1, and all ones when there is no memory. */
COUNTED_TEST(grains_malloc) {
    void **value = grain_malloc(40);
    size_t cells = live_cells();
    REQUIRE(value != GRAIN_FAILED);
    (void)CHECK(is_aligned(value, 8));
    (void)CHECK_EQ(GC_refcount(value), 1);
    (void)CHECK(holds_byte(value, 40, 0));
    (void)CHECK(grain_malloc(4 * GROUND_BYTES) == GRAIN_FAILED);
    (void)CHECK(grain_rawMalloc(4 * GROUND_BYTES) == GRAIN_FAILED);
    (void)CHECK_EQ(live_cells(), cells);
    (void)CHECK(grain_decRef(value) == (void *)value);
    (void)CHECK_EQ(live_cells(), cells - 1);
}

/* Row 7: values that refer to no object are given back and nothing is counted: 0, and all whose low bits are set. */
COUNTED_TEST(immediate_values_are_ignored) {
    uintptr_t bits;
    for (bits = 0; bits < 64; bits++) {
        void *value = (void *)(bits % 8 == 0 ? 0 : (bits << 7 | bits % 8));
        (void)CHECK(grain_incRef(value) == value);
        (void)CHECK(grain_decRef(value) == value);
        (void)CHECK(grain_decRefIgnoreZeros(value) == value);
    }
    (void)CHECK(grain_incRef(GRAIN_FAILED) == GRAIN_FAILED);
    (void)CHECK(grain_decRef(GRAIN_FAILED) == GRAIN_FAILED);
    (void)CHECK_EQ(live_cells(), 0);
}

/* An object of Grain's: its first words as the compiler writes them, then `parts` new strings. */
static void **grain_object(size_t head, const uintptr_t *words, size_t parts) {
    void **object = grain_malloc((head + parts) * sizeof(void *));
    size_t i;
    if (object == GRAIN_FAILED) {
        return NULL;
    }
    for (i = 0; i < head; i++) {
        object[i] = (void *)words[i];
    }
    for (i = 0; i < parts; i++) {
        void **string = grain_malloc(3 * sizeof(void *));
        if (string == GRAIN_FAILED) {
            return NULL;
        }
        string[0] = (void *)(uintptr_t)1;
        string[1] = (void *)(uintptr_t)8;
        string[2] = (void *)string; /* eight bytes of text that look like a reference */
        object[head + i] = string;
    }
    return object;
}

/* Row 9: Grain's own layouts: at zero the object goes, and each of its parts with it; a rational's numbers too. */
COUNTED_TEST(grains_composite_values) {
    static const struct {
        size_t head;
        uintptr_t words[5];
        size_t parts;
    } kinds[] = {
        {5, {2, 0x1234, 5, 1, 3}, 3}, /* variant */
        {4, {3, 0x1234, 5, 2}, 2},    /* record */
        {2, {4, 4}, 4},               /* array */
        {2, {7, 3}, 3},               /* tuple */
        {2, {5, 3}, 2},               /* rational */
        {4, {6, 2, 0x777, 3}, 3},     /* lambda */
        {2, {4, 0}, 0},               /* array without elements */
    };
    size_t i, part;
    for (i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        void **object = grain_object(kinds[i].head, kinds[i].words, kinds[i].parts);
        REQUIRE(object != NULL);
        (void)CHECK_EQ(live_cells(), 1 + kinds[i].parts);
        for (part = 0; part < kinds[i].parts; part++) {
            (void)CHECK_EQ(GC_refcount(object[kinds[i].head + part]), 1);
        }
        (void)grain_incRef(object);
        (void)grain_decRef(object);
        (void)CHECK_EQ(live_cells(), 1 + kinds[i].parts);
        (void)grain_decRef(object);
        (void)CHECK_EQ(live_cells(), 0);
    }
    (void)CHECK(all_is_sound());
}

/* Row 10: Grain's free: the object goes, its parts do not; the lowest free block is where the next one comes from. */
COUNTED_TEST(grains_free) {
    static const uintptr_t tuple[] = {7, 1};
    void **object = grain_object(2, tuple, 1);
    void *part, *block;
    const void *before;
    REQUIRE(object != NULL);
    part = object[2];
    grain_free(object);
    (void)CHECK_EQ(live_cells(), 1);
    (void)CHECK_EQ(GC_refcount(part), 1);
    (void)grain_decRef(part);
    (void)CHECK_EQ(live_cells(), 0);
    before = grain_getFreePtr();
    (void)CHECK(before != NULL && lies_in_memory(before, 1));
    block = grain_rawMalloc(64);
    REQUIRE(block != GRAIN_FAILED);
    (void)CHECK(is_aligned(block, 8));
    fill_pattern(block, 64, 1);
    grain_rawFree(block);
    (void)CHECK(grain_getFreePtr() == before);
}

SUITE("counted_grain", EACH_LAYOUT(malloc_gives_a_counted_payload), EACH_LAYOUT(malloc_without_memory),
      EACH_LAYOUT(counting_returns_its_argument), EACH_LAYOUT(leaving_a_function),
      DECREMENT_OF_THE_DEAD EACH_LAYOUT(decrement_of_zero), EACH_LAYOUT(children_of_composite_values),
      EACH_LAYOUT(children_of_a_long_array), EACH_LAYOUT(free_ends_a_cell), EACH_LAYOUT(free_of_a_root),
      EACH_LAYOUT(grains_malloc), ONCE(immediate_values_are_ignored), EACH_LAYOUT(grains_composite_values),
      EACH_LAYOUT(grains_free))
