/*
 * Misuse of counted objects: each mistake is reported to the hook by its name, or answered by a status, and nothing is
 * lost. Needs the library's checks, like misuse.c.
 */
#include "cells.h"

#include <string.h>

static uint64_t elsewhere[16]; /* no memory of any heap */

static struct {
    size_t cells, occupied, roots, destroyed, used;
} noted;

static void note(void) {
    KnGcStats stats = gc();
    KnHeapStats heap = {0};
    (void)CHECK_STATUS(kn_heap_stats(ground_heap(), &heap), KN_OK);
    noted.cells = stats.cells;
    noted.occupied = stats.occupied;
    noted.roots = stats.roots;
    noted.destroyed = destroyed_total();
    noted.used = heap.used;
}

/* Nothing has been lost, freed or registered since note(). */
static void unchanged(void) {
    KnGcStats stats = gc();
    KnHeapStats heap = {0};
    (void)CHECK_STATUS(kn_heap_stats(ground_heap(), &heap), KN_OK);
    (void)CHECK_EQ(stats.cells, noted.cells);
    (void)CHECK_EQ(stats.occupied, noted.occupied);
    (void)CHECK_EQ(stats.roots, noted.roots);
    (void)CHECK_EQ(destroyed_total(), noted.destroyed);
    (void)CHECK_LE(heap.used, noted.used); /* an empty page may be given back */
    (void)CHECK(all_is_sound());
}

/* Every call that takes a cell, with a pointer that is none. */
static void each_call(void *object, unsigned mask) {
    void *slot = NULL;
    EXPECT_ERROR_OF(mask, GC_unref(object));
    EXPECT_ERROR_OF(mask, (void)CHECK(GC_ref(object) == object));
    EXPECT_ERROR_OF(mask, GC_assign(&slot, object));
    (void)CHECK(slot == NULL);
    EXPECT_ERROR_OF(mask, (void)CHECK(GC_decRef(object) == object));
    EXPECT_ERROR_OF(mask, GC_freeObject(object));
    EXPECT_ERROR_OF(mask, (void)CHECK(GC_dropReuse(object) == NULL));
    /* Questions are answered, and are no mistake. */
    (void)CHECK_EQ(GC_refcount(object), 0);
    (void)CHECK_EQ(GC_sizeOf(object), 0);
    (void)CHECK_EQ(GC_typeOf(object), 0);
    (void)CHECK(!GC_isUnique(object));
}

#define DEAD ERROR_BIT(KN_E_DOUBLE_FREE)
#define FOREIGN ERROR_BIT(KN_E_FOREIGN)

/* A cell that is gone, while its memory waits to be used again. Its neighbours keep the page. */
COUNTED_TEST(dead_cells) {
    Node *wall = new_node(2, NULL, NULL);
    Node *node = new_node(1, NULL, NULL);
    Leaf *leaf_wall = new_leaf(6);
    Leaf *leaf = new_leaf(3);
    Node *first = ring(2, 4);
    REQUIRE(wall != NULL && node != NULL && leaf_wall != NULL && leaf != NULL && first != NULL);
    GC_unref(node);
    GC_unref(leaf);
    GC_unref(first);
    GC_runOrc();
    let_knoll_look_anywhere();
    note();
    each_call(node, DEAD);
    each_call(leaf, DEAD);
    each_call(first, DEAD);
    (void)CHECK(GC_decRefIgnoreZeros(node) == (void *)node);
    unchanged();
    GC_unref(wall);
    GC_unref(leaf_wall);
}

/* A cell of its own block, too large to share a page. */
COUNTED_TEST(large_dead_cell) {
    Row *row = new_row(1, 1000);
    REQUIRE(row != NULL);
    GC_unref(row);
    let_knoll_look_anywhere();
    note();
    each_call(row, DEAD | FOREIGN);
    unchanged();
}

/* A count that would fall below zero: as many releases as references, and one more. */
COUNTED_TEST(count_underflow) {
    Node *wall = new_node(9, NULL, NULL);
    uint32_t refs, i;
    REQUIRE(wall != NULL);
    let_knoll_look_anywhere();
    for (refs = 0; refs < 5; refs++) {
        Node *node = new_node(refs, NULL, NULL);
        REQUIRE(node != NULL);
        for (i = 0; i < refs; i++) {
            (void)GC_ref(node);
        }
        for (i = 0; i <= refs; i++) {
            GC_unref(node);
        }
        note();
        EXPECT_ERROR(KN_E_DOUBLE_FREE, GC_unref(node));
        EXPECT_ERROR(KN_E_DOUBLE_FREE, GC_unref(node));
        unchanged();
        (void)CHECK_EQ(destroyed_times(refs), 1);
    }
    GC_unref(wall);
}

/* Memory that holds no cell: on the stack, in the program's data, in blocks of this and another heap. */
COUNTED_TEST(foreign_pointers) {
    uint64_t on_the_stack[16] = {0};
    KnHeap *other = new_heap(8192);
    uint8_t *block = kn_malloc(200);
    uint8_t *other_block;
    size_t fill;
    Node *node = new_node(1, NULL, NULL);
    REQUIRE(other != NULL && block != NULL && node != NULL);
    other_block = kn_heap_malloc(other, 200);
    REQUIRE(other_block != NULL);
    let_knoll_look_anywhere();
    for (fill = 0; fill < 3; fill++) {
        memset(block, fill == 0 ? 0 : fill == 1 ? 0xFF : 0x2A, 200);
        memset(other_block, fill == 0 ? 0 : fill == 1 ? 0xFF : 0x2A, 200);
        memset(elsewhere, fill == 0 ? 0 : fill == 1 ? 0xFF : 0x2A, sizeof elsewhere);
        memset(on_the_stack, fill == 0 ? 0 : fill == 1 ? 0xFF : 0x2A, sizeof on_the_stack);
        note();
#if !defined(KNOLL_UNDER_VALGRIND) /* the page in which it lies may begin below the stack */
        each_call(&on_the_stack[4], FOREIGN);
#endif
        each_call(&elsewhere[4], FOREIGN);
        each_call(block + 64, FOREIGN);
        each_call(other_block + 64, FOREIGN);
        unchanged();
    }
    kn_free(block);
    GC_unref(node);
}

/* Addresses inside a cell, aligned or not, whatever the payload looks like. */
COUNTED_TEST(inside_a_cell) {
    static const KnType plain = {"Plain", 200, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL};
    static const uint8_t values[] = {0x00, 0xFF, 0x01, 0x80};
    uint8_t *cell = GC_new(GC_registerType(&plain));
    size_t i, offset;
    REQUIRE(cell != NULL);
    let_knoll_look_anywhere();
    for (i = 0; i < sizeof values; i++) {
        memset(cell, values[i], 200);
        note();
        for (offset = 1; offset < 192; offset += offset < 24 ? 1 : 8) {
            EXPECT_ERROR_OF(DEAD | FOREIGN, GC_unref(cell + offset));
            EXPECT_ERROR_OF(DEAD | FOREIGN, (void)GC_ref(cell + offset));
            EXPECT_ERROR_OF(DEAD | FOREIGN, GC_freeObject(cell + offset));
            (void)CHECK_EQ(GC_refcount(cell + offset), 0);
        }
        unchanged();
        (void)CHECK(holds_byte(cell, 200, values[i]));
        (void)CHECK_EQ(GC_refcount(cell), 1);
    }
    GC_unref(cell);
}

/* Bad descriptors: no number, the hook is told, and nothing is registered. */
COUNTED_TEST(bad_descriptors) {
    enum { WORD = sizeof(void *) };
    static const uint32_t at_end[] = {0, 2 * WORD};
    static const uint32_t half_outside[] = {2 * WORD - WORD / 2};
    static const uint32_t crooked[] = {1};
    static const uint32_t huge[] = {UINT32_MAX - WORD + 1};
    static const uint32_t twice[] = {WORD, WORD};
    static const uint32_t good[] = {0, WORD};
    static const KnType bad[] = {
        {"outside", 2 * WORD, 0, 2, at_end, NULL, NULL, NULL, NULL, NULL},
        {"half outside", 2 * WORD, 0, 1, half_outside, NULL, NULL, NULL, NULL, NULL},
        {"not aligned", 2 * WORD, 0, 1, crooked, NULL, NULL, NULL, NULL, NULL},
        {"wrapping offset", 2 * WORD, 0, 1, huge, NULL, NULL, NULL, NULL, NULL},
        {"twice the same", 2 * WORD, 0, 2, twice, NULL, NULL, NULL, NULL, NULL},
        {"no offsets", 2 * WORD, 0, 2, NULL, NULL, NULL, NULL, NULL, NULL},
        {"too many", 2 * WORD, 0, 3, good, NULL, NULL, NULL, NULL, NULL},
        {"far too many", 2 * WORD, 0, UINT32_MAX, good, NULL, NULL, NULL, NULL, NULL},
        {"reference without payload", 0, 0, 1, good, NULL, NULL, NULL, NULL, NULL},
        {"unknown flag", 2 * WORD, 1u << 30, 2, good, NULL, NULL, NULL, NULL, NULL},
        {"size too large", UINT32_MAX, 0, 2, good, NULL, NULL, NULL, NULL, NULL},
        {"crooked array", WORD + 1, KN_TYPE_ARRAY, 1, good, NULL, NULL, NULL, NULL, NULL},
    };
    static const KnType right = {NULL, 2 * WORD, KN_TYPE_RESIDENT, 2, good, NULL, NULL, NULL, NULL, NULL};
    size_t i;
    KnTypeId id;
    void *object;
    note();
    for (i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        EXPECT_ERROR(KN_E_INVALID, id = GC_registerType(&bad[i]));
        (void)CHECK_EQ(id, 0);
    }
    EXPECT_ERROR(KN_E_INVALID, id = GC_registerType(NULL));
    (void)CHECK_EQ(id, 0);
    unchanged();
    /* A good one is registered, a second time under the same number. */
    id = GC_registerType(&right);
    (void)CHECK(id != 0);
    (void)CHECK_EQ(GC_registerType(&right), id);
    (void)CHECK_EQ(GC_registerType(&node_descriptor), node_type);
    object = GC_new(id);
    (void)CHECK(object != NULL);
    GC_unref(object);
}

/* Numbers of types that there are not, and sizes that no heap has or that overflow. */
COUNTED_TEST(bad_types_and_sizes) {
    static const uint32_t ids[] = {0, 9999, 0x3FFF, 0x4000, 0xFFFF, 0x10000, UINT32_MAX};
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 7,      SIZE_MAX - 8,          SIZE_MAX - 64,
                            SIZE_MAX / 2, SIZE_MAX / 2 + 1, (size_t)PTRDIFF_MAX - 8, (size_t)1 << (sizeof(size_t) * 8 - 1),
                            4 * GROUND_BYTES};
    size_t i;
    note();
    for (i = 0; i < sizeof ids / sizeof ids[0]; i++) {
        void *object = NULL;
        errors_begin();
        object = GC_new(ids[i]);
        (void)CHECK(object == NULL);
        object = GC_newSized(ids[i], 100);
        (void)CHECK(object == NULL);
        errors_ignore();
    }
    for (i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        (void)CHECK(GC_newSized(row_type, opaque(sizes[i])) == NULL);
        (void)CHECK(GC_newSized(leaf_type, opaque(sizes[i])) == NULL);
    }
    unchanged();
    /* Less than the type's least is the least. */
    for (i = 0; i < sizeof(Node); i++) {
        Node *node = GC_newSized(node_type, i);
        if (node != NULL) {
            (void)CHECK_GE(GC_sizeOf(node), sizeof(Node));
            node->id = 1;
            GC_unref(node);
        }
    }
    (void)CHECK_EQ(live_cells(), 0);
}

/* A collection that was configured with unknown flags, and limits that are negative or too large. */
COUNTED_TEST(bad_limits) {
    KnGcConfig config = {.threshold = 50};
    Node *first;
    configure(config);
    config.threshold = 20;
    config.flags = 1u << 31;
    (void)CHECK_STATUS(GC_configure(&config), KN_E_INVALID);
    config.flags = 1u << 12 | KN_GC_ARC;
    (void)CHECK_STATUS(GC_configure(&config), KN_E_INVALID);
    (void)CHECK_EQ(gc().threshold, 50);
    first = ring(3, 1);
    REQUIRE(first != NULL);
    GC_unref(first);
    note();
    GC_partialCollect((size_t)-1);
    GC_partialCollect(SIZE_MAX / 2 + 1);
    GC_partialCollect(2);
    unchanged();
    /* Extreme values of all else are taken and do no harm. */
    memset(&config, 0xFF, sizeof config);
    config.flags = 0;
    configure(config);
    GC_unref(ring(3, 4));
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 6));
    memset(&config, 0, sizeof config);
    config.threshold = config.threshold_bound = config.slice = config.visited_limit = 1;
    config.frees_per_unref = config.frees_per_new = 1;
    config.bytes_floor = 1;
    configure(config);
    GC_unref(ring(3, 7));
    GC_unref(ring(3, 10));
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 12));
    (void)CHECK_EQ(live_cells(), 0);
}

/* Statuses of calls without what they need. */
COUNTED_TEST(null_arguments) {
    void *null = NULL;
    note();
    (void)CHECK_STATUS(GC_stats(NULL), KN_E_INVALID);
    (void)CHECK_STATUS(kn_dump_instances(NULL, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(GC_reportCycles(NULL, NULL), KN_E_INVALID);
    (void)CHECK_STATUS(GC_whoHolds(NULL, NULL, NULL), KN_E_INVALID);
    (void)CHECK(GC_move(&null) == NULL);
    GC_unref(NULL);
    GC_freeObject(NULL);
    (void)CHECK_EQ(GC_sizeOf(NULL), 0);
    (void)CHECK_EQ(GC_typeOf(NULL), 0);
    unchanged();
}

/* GC_check sees a count that is less than the references found, in a cell that lives. */
COUNTED_TEST(check_sees_a_count_too_small) {
    Node *child = new_node(1, NULL, NULL);
    Node *one = new_node(2, NULL, NULL), *other = new_node(3, NULL, NULL);
    REQUIRE(child != NULL && one != NULL && other != NULL);
    one->left = child;
    (void)CHECK_STATUS(GC_check(), KN_OK);
    other->left = child; /* not counted */
    (void)CHECK_STATUS(GC_check(), KN_E_CORRUPT);
    (void)GC_ref(child);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    GC_unref(one);
    GC_unref(other);
    (void)CHECK(destroyed_once(1, 3));
}

/* And a reference to a cell that is gone, or to what is no cell. */
COUNTED_TEST(check_sees_a_stale_reference) {
    Node *gone = new_node(1, NULL, NULL);
    Node *wall = new_node(4, NULL, NULL);
    Node *holder = new_node(2, NULL, NULL);
    REQUIRE(gone != NULL && holder != NULL && wall != NULL);
    GC_unref(gone);
    let_knoll_look_anywhere();
    holder->left = gone;
    (void)CHECK_STATUS(GC_check(), KN_E_CORRUPT);
    holder->left = &elsewhere[4];
    (void)CHECK_STATUS(GC_check(), KN_E_CORRUPT);
    holder->left = NULL;
    (void)CHECK_STATUS(GC_check(), KN_OK);
    GC_unref(holder);
    GC_unref(wall);
}

/* And a header that was written over by the cell before it. */
COUNTED_TEST(check_sees_an_overwritten_header) {
    Node *nodes[6];
    uint8_t saved[8];
    size_t i;
    for (i = 0; i < 6; i++) {
        nodes[i] = new_node((uint32_t)i, NULL, NULL);
        REQUIRE(nodes[i] != NULL);
    }
    for (i = 0; i < 6; i++) {
        uint8_t *header = (uint8_t *)nodes[i] - 8;
        memcpy(saved, header, sizeof saved);
        memset(header, 0x6D, sizeof saved);
        let_knoll_look_anywhere();
        (void)CHECK_STATUS(GC_check(), KN_E_CORRUPT);
        memcpy(header, saved, sizeof saved);
        (void)CHECK_STATUS(GC_check(), KN_OK);
    }
    for (i = 0; i < 6; i++) {
        GC_unref(nodes[i]);
    }
}

/* Without a hook a mistake is as harmless. */
COUNTED_TEST(no_hook_is_no_crash) {
    Node *wall = new_node(2, NULL, NULL);
    Node *node = new_node(1, NULL, NULL);
    REQUIRE(node != NULL && wall != NULL);
    GC_unref(node);
    let_knoll_look_anywhere();
    note();
    kn_on_error(NULL);
    GC_unref(node);
    GC_unref(&elsewhere[4]);
    (void)GC_decRef(node);
    (void)GC_registerType(NULL);
    unchanged();
    GC_unref(wall);
}

SUITE("counted_misuse", EACH_LAYOUT(dead_cells), EACH_LAYOUT(large_dead_cell), EACH_LAYOUT(count_underflow),
      EACH_LAYOUT(foreign_pointers), EACH_LAYOUT(inside_a_cell), ONCE(bad_descriptors),
      EACH_LAYOUT(bad_types_and_sizes), ONCE(bad_limits), ONCE(null_arguments),
      EACH_LAYOUT(check_sees_a_count_too_small), EACH_LAYOUT(check_sees_a_stale_reference),
      EACH_LAYOUT(check_sees_an_overwritten_header), ONCE(no_hook_is_no_crash))
