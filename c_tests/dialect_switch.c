/*
 * knoll/disable.h: counting switched off for a function, a part of a file, a file; and what still counts there.
 */
#include "knoll/grain.h"
#include "knoll/nim.h"

#include "cells.h"

/* ---- Code under test: the same calls, three times ---- */

/* Does everything that counts, and gives back how often the node's count differs from what it should be. */
#define WITH_EVERY_CALL(expected)                                                                                      \
    {                                                                                                                  \
        unsigned wrong = 0;                                                                                            \
        void *slot = node;                                                                                             \
        uint32_t count = GC_refcount(node);                                                                            \
        uint32_t one = (expected) ? 1u : 0u;                                                                           \
        wrong += GC_ref(node) != node || GC_refcount(node) != count + one;                                             \
        GC_unref(node);                                                                                                \
        wrong += GC_refcount(node) != count;                                                                           \
        wrong += GC_refInline(node) != node || GC_refcount(node) != count + one;                                       \
        GC_unrefInline(node);                                                                                          \
        wrong += GC_refcount(node) != count;                                                                           \
        (void)GC_ref(node);                                                                                            \
        wrong += GC_decRef(node) != node || GC_refcount(node) != count;                                                \
        (void)GC_ref(node);                                                                                            \
        wrong += GC_decRefIgnoreZeros(node) != node || GC_refcount(node) != count;                                     \
        (void)GC_ref(node);                                                                                            \
        GC_assign(&slot, NULL);                                                                                        \
        wrong += slot != NULL || GC_refcount(node) != count;                                                           \
        GC_assignInline(&slot, node);                                                                                  \
        wrong += slot != node || GC_refcount(node) != count + one;                                                     \
        GC_unref(node);                                                                                                \
        wrong += grain_incRef(node) != node || GC_refcount(node) != count + one;                                       \
        wrong += grain_decRef(node) != node || GC_refcount(node) != count;                                             \
        (void)grain_incRef(node);                                                                                      \
        wrong += grain_decRefIgnoreZeros(node) != node || GC_refcount(node) != count;                                  \
        slot = NULL;                                                                                                   \
        grain_set(&slot, node);                                                                                        \
        wrong += slot != node || GC_refcount(node) != count + one;                                                     \
        wrong += grain_leave(node, &slot, 1) != node || GC_refcount(node) != count + one;                              \
        grain_set(&slot, NULL);                                                                                        \
        wrong += slot != NULL || GC_refcount(node) != count;                                                           \
        wrong += KN_COUNTING != ((expected) ? 1 : 0);                                                                  \
        return wrong;                                                                                                  \
    }

static unsigned counting_before(void *node) WITH_EVERY_CALL(true)

static unsigned in_a_pair(void *node)
KN_DISABLE_GC_BEGIN
    WITH_EVERY_CALL(false)
KN_DISABLE_GC_END

static unsigned counting_between(void *node) WITH_EVERY_CALL(true)

#define KN_DISABLE_GC 1
static unsigned in_a_part(void *node) WITH_EVERY_CALL(false)

/* Both at once. */
static unsigned in_a_pair_in_a_part(void *node)
KN_DISABLE_GC_BEGIN
    WITH_EVERY_CALL(false)
KN_DISABLE_GC_END
#undef KN_DISABLE_GC

#define KN_DISABLE_GC
static unsigned defined_as_nothing(void *node) WITH_EVERY_CALL(false)
#undef KN_DISABLE_GC

#define KN_DISABLE_GC 0
static unsigned defined_as_zero(void *node) WITH_EVERY_CALL(true)
#undef KN_DISABLE_GC

static unsigned counting_behind(void *node) WITH_EVERY_CALL(true)

/* ---- Tests ---- */

COUNTED_TEST(counting_is_off_where_it_should) {
    Node *node = new_node(1, NULL, NULL);
    REQUIRE(node != NULL);
    (void)CHECK_EQ(counting_before(node), 0);
    (void)CHECK_EQ(in_a_pair(node), 0);
    (void)CHECK_EQ(counting_between(node), 0);
    (void)CHECK_EQ(in_a_part(node), 0);
    (void)CHECK_EQ(in_a_pair_in_a_part(node), 0);
    (void)CHECK_EQ(defined_as_nothing(node), 0);
    (void)CHECK_EQ(defined_as_zero(node), 0);
    (void)CHECK_EQ(counting_behind(node), 0);
    (void)CHECK_EQ(GC_refcount(node), 1);
    GC_unref(node);
}

/* The last reference of a dead cell is not looked at, either: nothing is freed. */
static void drop_without_counting(void *object)
KN_DISABLE_GC_BEGIN
    GC_unref(object);
    GC_unref(object);
    (void)GC_decRef(object);
    (void)grain_decRef(object);
KN_DISABLE_GC_END

COUNTED_TEST(nothing_is_freed_without_counting) {
    Node *node = new_node(1, NULL, NULL);
    REQUIRE(node != NULL);
    drop_without_counting(node);
    drop_without_counting(NULL);
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(GC_refcount(node), 1);
    GC_unref(node);
    (void)CHECK_EQ(destroyed_times(1), 1);
}

/* A part of a function, and what it calls counts as ever. */
COUNTED_TEST(a_block_of_a_function) {
    Node *node = new_node(1, NULL, NULL);
    REQUIRE(node != NULL);
    (void)GC_ref(node);
    KN_DISABLE_GC_BEGIN
        unsigned wrong;
        (void)GC_ref(node);
        wrong = counting_behind(node);
        (void)CHECK_EQ(wrong, 0);
    KN_DISABLE_GC_END
    (void)CHECK_EQ(GC_refcount(node), 2);
    GC_unref(node);
    (void)CHECK_EQ(GC_refcount(node), 1);
    GC_unref(node);
}

/* In parentheses the name is the function: it counts where counting is off. */
COUNTED_TEST(parentheses_count) {
    Node *node = new_node(1, NULL, NULL);
    void *slot = NULL;
    void *(*counts)(void *) = GC_ref;
    REQUIRE(node != NULL);
    KN_DISABLE_GC_BEGIN
        (void)(GC_ref)(node);
        (void)(grain_incRef)(node);
        (void)counts(node);
        (GC_assign)(&slot, node);
        (void)CHECK_EQ(GC_refcount(node), 5);
        (GC_unref)(slot);
        (void)(GC_decRef)(node);
        (void)(grain_decRef)(node);
        (void)(GC_decRefIgnoreZeros)(node);
    KN_DISABLE_GC_END
    (void)CHECK_EQ(GC_refcount(node), 1);
    GC_unref(node);
}

/* Arguments are evaluated once, with counting and without. */
COUNTED_TEST(arguments_are_evaluated_once) {
    Node *nodes[4];
    void *slots[4] = {NULL, NULL, NULL, NULL};
    size_t i, at = 0, on = 0;
    for (i = 0; i < 4; i++) {
        nodes[i] = new_node((uint32_t)i, NULL, NULL);
        REQUIRE(nodes[i] != NULL);
    }
    (void)GC_ref(nodes[at++]);
    GC_assign(&slots[on++], nodes[at++]);
    (void)grain_incRef(nodes[at++]);
    (void)CHECK_EQ(at, 3);
    KN_DISABLE_GC_BEGIN
        (void)GC_ref(nodes[at++]);
        GC_assign(&slots[on++], nodes[0]);
        (void)CHECK_EQ(at, 4);
        (void)CHECK_EQ(on, 2);
    KN_DISABLE_GC_END
    for (i = 0; i < 4; i++) {
        (void)CHECK_EQ(GC_refcount(nodes[i]), i < 3 ? 2 : 1);
        if (i < 3) {
            GC_unref(nodes[i]);
        }
        GC_unref(nodes[i]);
    }
    (void)CHECK_EQ(live_cells(), 0);
}

/* A graph whose counts a function without counting keeps right by moving references: as the runtime itself must. */
static void swap(void **a, void **b)
KN_DISABLE_GC_BEGIN
    void *kept = *a;
    GC_assign(a, *b);
    GC_assign(b, kept);
KN_DISABLE_GC_END

COUNTED_TEST(moves_without_counting) {
    Node *node = new_node(1, new_leaf(2), new_leaf(3));
    void *left, *moved;
    REQUIRE(node != NULL && node->left != NULL && node->right != NULL);
    left = node->left;
    swap(&node->left, &node->right);
    (void)CHECK(node->right == left);
    (void)CHECK_EQ(GC_refcount(node->left), 1);
    (void)CHECK_EQ(GC_refcount(node->right), 1);
    moved = GC_move(&node->left);
    swap(&node->left, &node->right);
    (void)CHECK(moved != NULL && node->left == left && node->right == NULL);
    GC_unref(node);
    (void)CHECK(destroyed_once(1, 2));
    (void)CHECK_EQ(live_cells(), 1);
    GC_unref(moved);
}

SUITE("dialect_switch", EACH_LAYOUT(counting_is_off_where_it_should), EACH_LAYOUT(nothing_is_freed_without_counting),
      EACH_LAYOUT(a_block_of_a_function), EACH_LAYOUT(parentheses_count), EACH_LAYOUT(arguments_are_evaluated_once),
      EACH_LAYOUT(moves_without_counting))
