/*
 * Graphs that a recursive or a forgetful collector does not survive: long lists, wide arrays, trees, arrays of lists, all
 * wider and deeper than any stack. The trace hook counts: each block is looked into once, whatever the shape.
 */
#include "traced.h"

#include <string.h>

enum { HEAP_BYTES = 120 * 1024 };

/* A number for each shape that must come out; 0: not counted. */
static size_t trace_calls;
static KnTraced *traced_heap;

/* Every word is a pointer, as without a hook. */
static void count_calls(void *context, void *block, size_t size) {
    (void)context;
    trace_calls++;
    kn_traced_mark(traced_heap, block, size / WORD);
}

static KnTraced *heap_that_counts(bool counts, uint32_t flags) {
    KnTracedConfig config = usual_config();
    config.flags = flags;
    if (counts) {
        config.trace = count_calls;
    }
    traced_heap = heap_with(config, HEAP_BYTES);
    decline(true);
    return traced_heap;
}

/* Collects, and all `blocks` blocks are there and looked into once; then without the root all are gone. */
static void collect_all(KnTraced *heap, size_t blocks, size_t scanned, bool counts) {
    size_t round;
    for (round = 0; round < 2; round++) {
        trace_calls = 0;
        collect_now(heap);
        (void)CHECK_EQ(numbers(heap).blocks, blocks);
        if (counts) {
            (void)CHECK_EQ(trace_calls, scanned);
        }
    }
    memset(roots, 0, sizeof roots);
    trace_calls = 0;
    collect_now(heap);
    (void)CHECK_EQ(trace_calls, 0);
    (void)CHECK_EQ(numbers(heap).used, 0);
    (void)CHECK(numbers(heap).largest_free == numbers(heap).total || numbers(heap).areas > 1);
    (void)CHECK_STATUS(kn_traced_check(heap), KN_OK);
}

/* ---- Shapes: each returns how many blocks there are; `scanned` of them are looked into ---- */

typedef size_t (*Shape)(KnTraced *heap, size_t *scanned);

static size_t list(KnTraced *heap, size_t *scanned) {
    size_t count = fill_with_list(heap, 0, 2 * WORD);
    *scanned = count;
    (void)CHECK_GE(count, HEAP_BYTES / 64);
    return count;
}

/* The other way round: each block is found when all before it have been looked into. */
static size_t list_upwards(KnTraced *heap, size_t *scanned) {
    void *last = roots[0] = kn_traced_alloc(heap, 2 * WORD, 0), *next;
    size_t count = 1;
    while (last != NULL && (next = kn_traced_alloc(heap, 2 * WORD, 0)) != NULL) {
        *slot(last, 1) = next;
        last = next;
        count++;
    }
    *scanned = count;
    return count;
}

/* One array of all; what it refers to is empty, or text. */
static size_t array(KnTraced *heap, size_t *scanned) {
    size_t places = numbers(heap).total / (granule() + WORD) - 1, i, texts = 0;
    void *all = roots[5] = kn_traced_alloc(heap, places * WORD, 0);
    *scanned = 1;
    for (i = 0; all != NULL && i < places; i++) {
        void *item = kn_traced_alloc(heap, 1, i % 2 == 0 ? 0 : KN_NO_SCAN);
        if (item == NULL) {
            break;
        }
        *slot(all, i) = item;
        *scanned += i % 2 == 0;
        texts++;
    }
    (void)CHECK_GE(texts, HEAP_BYTES / 64);
    return texts + 1;
}

/* Arrays in an array, each of which has lists. */
static size_t array_of_lists(KnTraced *heap, size_t *scanned) {
    enum { ARRAYS = 30, LISTS = 12 };
    void *all = roots[0] = kn_traced_alloc(heap, ARRAYS * WORD, 0);
    size_t count = 1, i, k;
    bool room = all != NULL;
    for (i = 0; room && i < ARRAYS; i++) {
        void *row = kn_traced_alloc(heap, LISTS * WORD, 0);
        room = row != NULL;
        if (room) {
            *slot(all, i) = row;
            count++;
        }
    }
    while (room) {
        for (i = 0; room && i < ARRAYS; i++) {
            for (k = 0; room && k < LISTS; k++) {
                void *cell = kn_traced_alloc(heap, WORD + 1, 0);
                room = cell != NULL;
                if (room) {
                    *slot(cell, 0) = *slot(*slot(all, i), k);
                    *slot(*slot(all, i), k) = cell;
                    count++;
                }
            }
        }
    }
    *scanned = count;
    return count;
}

/* A comb: a list whose every block has a tooth, which is found first or last. */
static size_t comb(KnTraced *heap, size_t *scanned) {
    size_t count = 0;
    for (;;) {
        void *tooth = kn_traced_alloc(heap, WORD, 0), *next = kn_traced_alloc(heap, 3 * WORD, 0);
        if (tooth == NULL || next == NULL) {
            kn_traced_free(heap, tooth);
            break;
        }
        *slot(next, count % 4 < 2 ? 0 : 2) = tooth;
        *slot(next, 1) = roots[0];
        *slot(tooth, 0) = next;
        roots[0] = next;
        count += 2;
    }
    *scanned = count;
    return count;
}

/* A heap of the schoolbook: block i leads to 2i + 1 and 2i + 2; filled in a random order of addresses. */
static size_t tree(KnTraced *heap, size_t *scanned) {
    enum { MOST = 1200 };
    static void *all[MOST];
    size_t count = 0, i;
    while (count < MOST && (all[count] = kn_traced_alloc(heap, 2 * WORD, 0)) != NULL) {
        count++;
    }
    for (i = count; i > 1; i--) {
        size_t other = random_below(i);
        void *swapped = all[i - 1];
        all[i - 1] = all[other];
        all[other] = swapped;
    }
    for (i = 0; i < count; i++) {
        *slot(all[i], 0) = 2 * i + 1 < count ? all[2 * i + 1] : NULL;
        *slot(all[i], 1) = 2 * i + 2 < count ? all[2 * i + 2] : all[0];
    }
    roots[63] = all[0];
    *scanned = count;
    return count;
}

/* Everything leads to everything. */
static size_t web(KnTraced *heap, size_t *scanned) {
    enum { MOST = 50 };
    static void *all[MOST];
    size_t i, k;
    for (i = 0; i < MOST; i++) {
        all[i] = kn_traced_alloc(heap, MOST * WORD, 0);
        if (!CHECK(all[i] != NULL)) {
            return i;
        }
    }
    for (i = 0; i < MOST; i++) {
        for (k = 0; k < MOST; k++) {
            *slot(all[i], k) = all[(i + k) % MOST];
        }
    }
    roots[9] = all[MOST / 2];
    *scanned = MOST;
    return MOST;
}

static void each_shape(bool counts, uint32_t flags) {
    static const Shape shapes[] = {list, list_upwards, array, array_of_lists, comb, tree, web};
    KnTraced *heap = heap_that_counts(counts, flags);
    size_t i;
    REQUIRE(heap != NULL);
    for (i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        size_t scanned = 0, blocks = shapes[i](heap, &scanned);
        (void)CHECK_EQ(numbers(heap).blocks, blocks);
        collect_all(heap, blocks, scanned, counts);
    }
}

TRACED_TEST(shapes_are_marked) {
    each_shape(false, 0);
}

TRACED_TEST(shapes_are_marked_from_the_inside) {
    each_shape(false, KN_TRACED_INTERIOR);
}

TRACED_TEST(each_block_is_looked_into_once) {
    each_shape(true, 0);
}

/* The same with areas, whose blocks lead to each other to and fro. */
TRACED_TEST(lists_through_areas) {
    KnTraced *heap = heap_that_counts(true, 0);
    void *memory = take_memory(40000, 9), *cells[2];
    size_t count = 0, i;
    REQUIRE(heap != NULL && memory != NULL);
    (void)CHECK_STATUS(kn_traced_add_area(heap, memory, 40000, 8), KN_OK);
    count = fill_with_list(heap, 0, 2 * WORD);
    (void)CHECK_GE(count, (HEAP_BYTES + 40000) / 64);
    /* Every second one leads far away as well. */
    cells[0] = cells[1] = roots[0];
    for (i = 0; i + 4 < count; i++) {
        cells[i % 2] = *slot(cells[(i + 1) % 2], 0);
        *slot(cells[i % 2], 1) = i % 3 == 0 ? roots[0] : cells[(i + 1) % 2];
    }
    collect_all(heap, count, count, true);
}

SUITE("traced_deep", ONCE(shapes_are_marked), ONCE(shapes_are_marked_from_the_inside),
      ONCE(each_block_is_looked_into_once), ONCE(lists_through_areas))
