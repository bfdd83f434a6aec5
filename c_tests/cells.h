/*
 * What the tests of counted objects share: a ground to stand on, a few types, and a record of what was destroyed.
 *
 *     COUNTED_TEST(a_ring_is_freed) {
 *         Node *first = ring(3, 1);
 *         REQUIRE(first != NULL);
 *         GC_unref(first);
 *         GC_runOrc();
 *         (void)CHECK_EQ(destroyed_total(), 3);
 *     }
 *
 * What it promises:
 *  - A COUNTED_TEST runs on a fresh heap of the current layout, which is the default heap, with the types below
 *    registered there and the collector configured as by default.
 *  - It runs several times over on the same heap. After each time everything must be as at its beginning: GC_check and
 *    kn_heap_check find nothing wrong, no cell is alive, none waits, no root is left, and the heap does not fill up.
 *    So a test lets go of all it made; what it leaves to the collector is collected here.
 *  - Each destroy callback below records the id of what it destroys.
 */
#ifndef KNOLL_C_TESTS_CELLS_H
#define KNOLL_C_TESTS_CELLS_H

#include "harness.h"

/* What small firmware has; pointers of 64 bits need twice as much. */
#define GROUND_BYTES ((size_t)16 * 1024 * sizeof(void *))

#define COUNTED_TEST(name) COUNTED_TEST_IN(name, GROUND_BYTES)
#define COUNTED_TEST_IN(name, bytes)                                                                                   \
    static void name##_body(void);                                                                                     \
    static void name(void) {                                                                                           \
        on_ground(name##_body, (bytes));                                                                               \
    }                                                                                                                  \
    static void name##_body(void)

void on_ground(void (*body)(void), size_t bytes);

/* The heap under the test. */
KnHeap *ground_heap(void);

/* ---- Types ---- */

/* May be part of a cycle: its fields may hold anything. */
typedef struct Node {
    void *left, *right;
    uint32_t id, note;
} Node;

/* Holds no reference, so it is acyclic without being told. */
typedef struct Leaf {
    uint32_t id, note;
} Leaf;

/* Holds a reference and is acyclic by declaration. */
typedef struct Tail {
    void *next;
    uint32_t id, note;
} Tail;

/* A field for anything, and one for a Leaf only; its destructor records what it finds there. */
typedef struct Mixed {
    void *any, *leaf;
    uint32_t id, note;
} Mixed;

/* A variable number of references behind a fixed part. */
typedef struct Row {
    uint32_t id, count;
    void *items[];
} Row;

/* References in a block of the manual heap, which only its trace callback knows. */
typedef struct Chest {
    void **slots;
    uint32_t id, count;
} Chest;

extern const KnType node_descriptor, leaf_descriptor, tail_descriptor, mixed_descriptor, row_descriptor,
    chest_descriptor;
extern KnTypeId node_type, leaf_type, tail_type, mixed_type, row_type, chest_type;

/* NULL when there is no memory. The fields take over the references that are given. */
Node *new_node(uint32_t id, void *left, void *right);
Leaf *new_leaf(uint32_t id);
Tail *new_tail(uint32_t id, void *next);
Mixed *new_mixed(uint32_t id, void *any, void *leaf);
Row *new_row(uint32_t id, uint32_t count);
Chest *new_chest(uint32_t id, uint32_t count);

/* `count` nodes with ids from `id` on, each holding the next by `left`, the last the first. The caller holds the
 * first. NULL, and nothing made, when there is no memory. */
Node *ring(uint32_t count, uint32_t id);

/* `count` nodes, each holding the next by `left` and, but for the first, the one before by `right`. */
Node *double_list(uint32_t count, uint32_t id);

/* What the collector asked Chests for: the number of calls of their trace callback since the test began. */
extern size_t chest_traces;

/* ---- What was destroyed since the test began ---- */

#define MOST_IDS 4096

size_t destroyed_total(void);
unsigned destroyed_times(uint32_t id);      /* how often the cell of this id */
uint32_t destroyed_at(size_t index);        /* whose turn it was, for the first MOST_IDS */
bool destroyed_once(uint32_t first, uint32_t last); /* each of these ids exactly once */
void record_destroyed(uint32_t id);
void forget_destroyed(void);

/* The fields that a Mixed's destructor found, by the `note` of the cell: bit 0 `any`, bit 1 `leaf`. */
unsigned fields_found(uint32_t id);

/* ---- Numbers ---- */

KnGcStats gc(void);       /* GC_stats, which must succeed, with total == occupied + free */
size_t live_cells(void);
bool all_is_sound(void);  /* GC_check, kn_heap_check and the numbers; usable at any moment */

/* GC_configure with this change of the defaults; it must succeed. */
void configure(KnGcConfig config);

/* ---- Text that the library writes ---- */

typedef struct Text {
    char bytes[4096];
    size_t length;
} Text;

size_t take_text(void *text, const char *bytes, size_t length);
bool text_has(const Text *text, const char *part);
size_t text_lines(const Text *text);

#endif
