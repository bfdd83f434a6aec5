/*
 * Placement by lifetime: in a scope, transient blocks lie at the top and long-lived ones at the bottom, so that 1000
 * workflows, with tables that grow and values that stay, leave what is free in one piece.
 */
#include "traced.h"

#include <string.h>

enum { DEVICE_BYTES = 140 * 1024, TABLES = 3, VALUES = 150, WORKFLOWS = 1000 };

/* ---- A device ---- */

/* roots[0 .. TABLES-1]: tables that grow; roots[8]: a table of values that are replaced; roots[16 ..]: the workflow's. */

static void grow_table(KnTraced *heap, size_t number) {
    size_t size = kn_traced_size(heap, roots[number]);
    void *more = kn_traced_realloc(heap, roots[number], size + size / 2 + 1, true);
    if (CHECK(more != NULL)) {
        roots[number] = more;
    }
}

static bool start_device(KnTraced *heap) {
    size_t i;
    for (i = 0; i < TABLES; i++) {
        roots[i] = kn_traced_alloc(heap, 4 * WORD, 0);
    }
    roots[8] = kn_traced_alloc(heap, VALUES * WORD, 0);
    for (i = 0; i < 200; i++) {
        void *module = kn_traced_alloc(heap, 20 + random_below(100), i % 3 == 0 ? KN_NO_SCAN : 0);
        if (!CHECK(module != NULL)) {
            return false;
        }
        if (i % 3 != 0) {
            *slot(module, 0) = roots[9];
            roots[9] = module;
        }
    }
    return CHECK(roots[8] != NULL && roots[TABLES - 1] != NULL);
}

/* Messages that lead to each other; in between, values that stay, by either way of saying so. */
static void workflow(KnTraced *heap, size_t number, bool says) {
    /* Every tenth one takes most of the heap. */
    size_t i, messages = number % 10 == 9 ? 250 : 20 + random_below(30);
    for (i = 0; i < messages; i++) {
        size_t bytes = 2 * WORD + random_size(i % 10 == 0 ? 2500 : 200);
        void *message = kn_traced_alloc(heap, bytes, i % 4 == 0 ? KN_NO_SCAN : 0);
        REQUIRE(message != NULL);
        (void)CHECK(!says || kn_traced_is_transient(heap, message));
        if (i % 4 != 0) {
            *slot(message, 0) = roots[16 + i % 8];
            roots[16 + random_below(8)] = message;
        }
        if (i % 12 == 5 || i == 249) {
            /* A cache entry. */
            void *value = kn_traced_alloc(heap, 10 + random_below(60), KN_NO_SCAN | (says ? KN_LONG_LIVED : 0));
            REQUIRE(value != NULL);
            *slot(roots[8], random_below(VALUES)) = value;
        }
        if (i == 11 && number % 8 == 0) {
            if (says) {
                kn_traced_lasting_begin(heap);
            }
            if (kn_traced_size(heap, roots[number / 8 % TABLES]) < 160 * 8) {
                grow_table(heap, number / 8 % TABLES);
            }
            if (says) {
                kn_traced_lasting_end(heap);
            }
        }
    }
}

/* The least part of what is free, in thousandths, that was in one piece behind a workflow. */
static size_t run_device(KnTraced *heap, bool says) {
    size_t number, least = 1000;
    if (!start_device(heap)) {
        return 0;
    }
    collect_now(heap);
    for (number = 0; number < WORKFLOWS; number++) {
        KnTracedStats stats;
        if (says) {
            kn_traced_scope_begin(heap);
        }
        workflow(heap, number, says);
        if (says) {
            kn_traced_scope_end(heap);
        }
        memset(roots + 16, 0, 16 * sizeof roots[0]);
        collect_fully(heap);
        stats = numbers(heap);
        if (stats.largest_free < stats.free * least / 1000) {
            least = stats.largest_free * 1000 / stats.free;
        }
    }
    (void)CHECK_EQ(told_short(), 0);
    return least;
}

TRACED_TEST(a_thousand_workflows) {
    KnTraced *heap = heap_of(DEVICE_BYTES);
    REQUIRE(heap != NULL);
    (void)CHECK_GE(run_device(heap, true), 950);
}

/* The workload is one that needs it: without a word about lifetimes free memory falls to pieces. */
TRACED_TEST(the_same_without_a_word) {
    KnTraced *heap = heap_of(DEVICE_BYTES);
    REQUIRE(heap != NULL);
    (void)CHECK_LE(run_device(heap, false), 900);
}

/* The same with a sweep in slices. */
TRACED_TEST(workflows_swept_in_slices) {
    KnTracedConfig config = usual_config();
    KnTraced *heap;
    config.slice = 64;
    heap = heap_with(config, DEVICE_BYTES);
    REQUIRE(heap != NULL);
    (void)CHECK_GE(run_device(heap, true), 950);
}

/* ---- Sides ---- */

TRACED_TEST(sides) {
    KnTraced *heap = small_heap();
    uint8_t *first, *low, *high, *other, *end;
    REQUIRE(heap != NULL);
    first = kn_traced_alloc(heap, 50, 0);
    end = first + numbers(heap).total;
    (void)CHECK(!kn_traced_in_scope(heap));
    kn_traced_scope_begin(heap);
    (void)CHECK(kn_traced_in_scope(heap));
    high = kn_traced_alloc(heap, 50, 0);
    (void)CHECK(high + rounded(50, 0) == end);
    low = kn_traced_alloc(heap, 50, KN_LONG_LIVED | KN_FINALISE);
    (void)CHECK(low == first + rounded(50, 0));
    (void)CHECK(kn_traced_is_transient(heap, high));
    (void)CHECK(!kn_traced_is_transient(heap, low) && !kn_traced_is_transient(heap, first));
    (void)CHECK(!kn_traced_is_transient(heap, NULL) && !kn_traced_is_transient(heap, &heap));
    other = kn_traced_alloc(heap, 3 * granule(), KN_NO_SCAN);
    (void)CHECK(other + 3 * granule() == high);
    kn_traced_lasting_begin(heap);
    kn_traced_lasting_begin(heap);
    (void)CHECK(!kn_traced_in_scope(heap));
    kn_traced_lasting_end(heap);
    (void)CHECK(!kn_traced_in_scope(heap));
    low = kn_traced_alloc(heap, 50, 0);
    (void)CHECK(low == first + 2 * rounded(50, 0));
    kn_traced_lasting_end(heap);
    /* Scopes nest, and what is long-lived is resized at the bottom. */
    kn_traced_scope_begin(heap);
    (void)CHECK_EQ(numbers(heap).scopes, 2);
    kn_traced_scope_end(heap);
    first = kn_traced_realloc(heap, first, 200, true);
    (void)CHECK(first != NULL && first == low + rounded(50, 0));
    other = kn_traced_realloc(heap, other, 300, true);
    (void)CHECK(other != NULL && other + rounded(300, 0) == high - 3 * granule());
    kn_traced_scope_end(heap);
    (void)CHECK(!kn_traced_in_scope(heap) && !kn_traced_is_transient(heap, high));
    (void)CHECK_EQ(numbers(heap).scopes, 0);
    (void)CHECK(kn_traced_size(heap, high) != 0);
    other = kn_traced_alloc(heap, 50, 0);
    (void)CHECK(other + rounded(50, 0) <= first);
}

/* When one side is full, the other's memory serves. */
TRACED_TEST(no_side_refuses) {
    KnTraced *heap = small_heap();
    size_t count, again;
    REQUIRE(heap != NULL);
    decline(true);
    kn_traced_scope_begin(heap);
    for (count = 0; kn_traced_alloc(heap, 60, 0) != NULL; count++) {
    }
    (void)CHECK_EQ(count, numbers(heap).total / rounded(60, 0));
    collect_now(heap);
    for (again = 0; kn_traced_alloc(heap, 60, again % 2 == 0 ? KN_LONG_LIVED : 0) != NULL; again++) {
    }
    (void)CHECK_EQ(again, count);
    kn_traced_scope_end(heap);
    collect_now(heap);
    (void)CHECK_EQ(numbers(heap).largest_free, numbers(heap).total);
}

SUITE("traced_placement", ONCE(sides), ONCE(no_side_refuses), ONCE(a_thousand_workflows),
      ONCE(the_same_without_a_word), ONCE(workflows_swept_in_slices))
