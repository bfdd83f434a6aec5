/*
 * A whole file without counting: as if the compiler had been called with -DKN_DISABLE_GC, which is this first line.
 */
#define KN_DISABLE_GC 1
#include "knoll/grain.h"
#include "knoll/nim.h"

#include "cells.h"

/* Everything that counts elsewhere, on one cell, changes nothing. */
COUNTED_TEST(a_file_without_counting) {
    Node *node = new_node(1, NULL, NULL);
    void *slot = NULL;
    int round;
    REQUIRE(node != NULL);
    for (round = 0; round < 3; round++) {
        (void)CHECK(GC_ref(node) == (void *)node);
        (void)CHECK(GC_refInline(node) == (void *)node);
        (void)CHECK(grain_incRef(node) == (void *)node);
        GC_assign(&slot, node);
        (void)CHECK(slot == (void *)node);
        GC_assignInline(&slot, NULL);
        grain_set(&slot, node);
        (void)CHECK_EQ(GC_refcount(node), 1);
        GC_unref(node);
        GC_unrefInline(node);
        (void)CHECK(GC_decRef(node) == (void *)node);
        (void)CHECK(GC_decRefIgnoreZeros(node) == (void *)node);
        (void)CHECK(grain_decRef(node) == (void *)node);
        (void)CHECK(grain_decRefIgnoreZeros(node) == (void *)node);
        (void)CHECK(grain_leave(node, &slot, 1) == (void *)node);
        (void)CHECK_EQ(GC_refcount(node), 1);
        (void)CHECK_EQ(destroyed_total(), 0);
    }
    (void)CHECK_EQ(KN_COUNTING, 0);
    /* What the headers' own functions do is not this file's code: they count, and so does a name in parentheses. */
    (grain_set)(&slot, NULL);
    (void)CHECK_EQ(destroyed_times(1), 1);
    (void)CHECK_EQ(live_cells(), 0);
}

/* Objects are made and given back by hand, as Grain's runtime does. */
COUNTED_TEST(counting_by_hand) {
    void **pair = grain_malloc(2 * sizeof *pair);
    REQUIRE(pair != GRAIN_FAILED);
    (void)(GC_ref)(pair);
    (void)CHECK_EQ(GC_refcount(pair), 2);
    (GC_unref)(pair);
    (GC_unref)(pair);
    (void)CHECK_EQ(live_cells(), 0);
}

SUITE("dialect_file", EACH_LAYOUT(a_file_without_counting), EACH_LAYOUT(counting_by_hand))
