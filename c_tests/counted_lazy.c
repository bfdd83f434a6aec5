/*
 * Lazy destruction: with a budget, no release and no allocation destroys more than its share; all goes in the end.
 */
#include "cells.h"

static Node *list_of(uint32_t count, uint32_t id) {
    Node *list = NULL;
    uint32_t i;
    for (i = 0; i < count; i++) {
        Node *node = new_node(id + count - 1 - i, list, NULL);
        if (node == NULL) {
            GC_unref(list);
            return NULL;
        }
        list = node;
    }
    return list;
}

/* A release destroys what its budget allows, the rest waits and is still counted. */
COUNTED_TEST(release_is_bounded) {
    static const uint32_t budgets[] = {1, 2, 7, 64};
    size_t i;
    for (i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        KnGcConfig config = {.frees_per_unref = budgets[i]};
        Node *list;
        Node *other;
        size_t destroyed;
        configure(config);
        forget_destroyed();
        list = list_of(300, 0);
        other = new_node(1000, NULL, NULL);
        REQUIRE(list != NULL && other != NULL);
        GC_unref(list);
        (void)CHECK_LE(destroyed_total(), budgets[i]);
        (void)CHECK_GE(destroyed_total(), 1);
        (void)CHECK_GE(gc().pending, 1);
        (void)CHECK(all_is_sound());
        /* Another release goes on with what waits, within its budget. */
        destroyed = destroyed_total();
        GC_unref(other);
        (void)CHECK_LE(destroyed_total(), destroyed + budgets[i]);
        (void)CHECK_GE(destroyed_total(), destroyed + 1);
        GC_runOrc();
        (void)CHECK_EQ(destroyed_total(), 301);
        (void)CHECK(destroyed_once(0, 299) && destroyed_once(1000, 1000));
        (void)CHECK_EQ(gc().pending, 0);
        (void)CHECK_EQ(live_cells(), 0);
    }
}

/* Each allocation destroys its share of what waits, 2 if nothing else is said, so that nothing waits for ever. */
COUNTED_TEST(allocation_goes_on) {
    static const uint32_t shares[] = {0, 1, 5};
    size_t i;
    for (i = 0; i < sizeof shares / sizeof shares[0]; i++) {
        KnGcConfig config = {.frees_per_unref = 4, .frees_per_new = shares[i]};
        uint32_t share = shares[i] == 0 ? 2 : shares[i];
        Node *list, *news = NULL;
        size_t made = 0;
        configure(config);
        forget_destroyed();
        list = list_of(200, 0);
        REQUIRE(list != NULL);
        GC_unref(list);
        while (gc().pending > 0) {
            size_t destroyed = destroyed_total();
            Node *node = new_node(1000, news, NULL);
            REQUIRE(node != NULL);
            news = node;
            made++;
            (void)CHECK_LE(destroyed_total(), destroyed + share);
            REQUIRE(destroyed_total() > destroyed || gc().pending == 0);
        }
        (void)CHECK(destroyed_once(0, 199));
        (void)CHECK_LE(made, 200 / share + 1);
        (void)CHECK_EQ(live_cells(), made);
        configure((KnGcConfig){0});
        GC_unref(news);
        (void)CHECK_EQ(live_cells(), 0);
    }
}

/* A tree: many children of one cell die at the same time, and each release stays in its budget. */
COUNTED_TEST(broad_structures) {
    KnGcConfig config = {.frees_per_unref = 3};
    Row *rows[20];
    uint32_t i, j;
    size_t destroyed;
    for (i = 0; i < 20; i++) {
        rows[i] = new_row(1000 + i, 20);
        REQUIRE(rows[i] != NULL);
        for (j = 0; j < 20; j++) {
            rows[i]->items[j] = new_leaf(20 * i + j);
        }
    }
    configure(config);
    for (i = 0; i < 20; i++) {
        destroyed = destroyed_total();
        GC_unref(rows[i]);
        (void)CHECK_LE(destroyed_total(), destroyed + 3);
    }
    (void)CHECK_LE(destroyed_total(), 60);
    (void)CHECK(all_is_sound());
    configure((KnGcConfig){0});
    GC_runOrc();
    (void)CHECK(destroyed_once(0, 399) && destroyed_once(1000, 1019));
}

/* While cells wait, the memory they take is found when there is no other. */
COUNTED_TEST(waiting_cells_do_not_starve_the_program) {
    KnGcConfig config = {.frees_per_unref = 1};
    Node *list = NULL, *node;
    uint32_t count = 0, again = 0;
    configure(config);
    while (count < MOST_IDS && (node = new_node(count, list, NULL)) != NULL) {
        list = node;
        count++;
    }
    GC_unref(list);
    (void)CHECK_LE(destroyed_total(), 1);
    list = NULL;
    while (again < count && (node = new_node(again, list, NULL)) != NULL) {
        list = node;
        again++;
    }
    /* Where no whole page can be had any more, small cells of 32-bit targets have blocks of their own, and fewer fit. */
    (void)CHECK_GE(again, sizeof(void *) == 8 ? count : count / 3 * 2);
    GC_unref(list);
    configure((KnGcConfig){0});
    GC_runOrc();
    (void)CHECK_EQ(destroyed_total(), (size_t)count + again);
}

/* What a waiting cell holds is alive until its turn, and can be taken over. */
COUNTED_TEST(children_of_waiting_cells_live) {
    KnGcConfig config = {.frees_per_unref = 1};
    Node *kept = new_node(500, NULL, NULL);
    Node *list;
    REQUIRE(kept != NULL);
    list = new_node(1, new_node(2, new_node(3, new_node(4, GC_ref(kept), NULL), NULL), NULL), NULL);
    REQUIRE(list != NULL);
    configure(config);
    GC_unref(list);
    (void)CHECK_EQ(destroyed_total(), 1);
    (void)CHECK_EQ(GC_refcount(kept), 2);
    GC_runOrc();
    (void)CHECK(destroyed_once(1, 4));
    (void)CHECK_EQ(GC_refcount(kept), 1);
    GC_unref(kept);
    GC_runOrc();
    (void)CHECK_EQ(destroyed_times(500), 1);
}

/* Roots that die wait too, and garbage cycles go as before. */
COUNTED_TEST(lazy_and_cyclic) {
    KnGcConfig config = {.frees_per_unref = 2, .threshold = 20, .bytes_floor = SIZE_MAX};
    size_t turn;
    configure(config);
    for (turn = 0; turn < 200; turn++) {
        Node *first = ring(3, 0);
        Node *list = list_of(4, 10);
        REQUIRE(first != NULL && list != NULL);
        list->right = GC_ref(first);
        first->right = new_node(20, NULL, NULL);
        GC_unref(GC_ref(list));
        GC_unref(first);
        GC_unref(list);
        if (turn % 16 == 0) {
            (void)CHECK(all_is_sound());
        }
    }
    GC_runOrc();
    (void)CHECK_EQ(gc().pending, 0);
    (void)CHECK_EQ(live_cells(), 0);
    (void)CHECK_EQ(destroyed_total(), 200 * 8);
}

SUITE("counted_lazy", EACH_LAYOUT(release_is_bounded), EACH_LAYOUT(allocation_goes_on), EACH_LAYOUT(broad_structures),
      EACH_LAYOUT(waiting_cells_do_not_starve_the_program), EACH_LAYOUT(children_of_waiting_cells_live),
      EACH_LAYOUT(lazy_and_cyclic))
