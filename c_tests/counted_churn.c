/*
 * Churn of a cyclic graph: a table of nodes in groups of 16; seven of eight steps turn an edge to another node of the
 * group, the eighth puts a new node in the table, and the old one stays as long as an edge leads to it. Most garbage is
 * cyclic. After a full collection the live count must be exactly what a walk of the program's own finds.
 *
 * Row 44 of the conformance table: on a host 131,072 nodes and 8,000,000 steps, scaled down in firmware and under tools.
 * A collector that loses a root leaves too many cells; one that counts wrong frees too many.
 */
#include "cells.h"

#include <stdio.h>
#include <string.h>

enum { GROUP = 16 };
#if defined(__arm__)
enum { TABLE = 512, STEPS = 24000 };
#elif defined(KNOLL_UNDER_VALGRIND) || defined(__SANITIZE_ADDRESS__) || defined(KNOLL_WITH_FAULTS)
enum { TABLE = 4096, STEPS = 150000 };
#else
enum { TABLE = 131072, STEPS = 8000000 };
#endif

/* The links for the walk are the program's: the library knows nothing of them. */
typedef struct Churned {
    void *edges[2];
    struct Churned *walk;
    uint32_t found; /* edges to it that the walk has seen */
    uint32_t seal;
} Churned;

enum { SEAL = 0xC4u };

static void *table[TABLE];
static size_t made, gone, broken;

static void destroy_churned(void *object) {
    Churned *node = object;
    gone++;
    broken += node->seal != SEAL;
    node->seal = 0;
}

static const uint32_t offsets[] = {offsetof(Churned, edges[0]), offsetof(Churned, edges[1])};
static const KnType churned = {"Churned", sizeof(Churned), 0, 2, offsets, destroy_churned, NULL, NULL, NULL, NULL};
static KnTypeId churned_type;

static Churned *new_churned(void) {
    Churned *node = GC_new(churned_type);
    if (node != NULL) {
        node->seal = SEAL;
        made++;
    }
    return node;
}

static bool fill_table(void) {
    size_t i;
    for (i = 0; i < TABLE; i++) {
        table[i] = new_churned();
        if (!CHECK(table[i] != NULL)) {
            return false;
        }
    }
    return true;
}

/* One step; 32 random bits say what and where. */
static bool churn(uint32_t bits) {
    size_t place = random_below(TABLE);
    size_t other = place / GROUP * GROUP + (bits >> 4) % GROUP;
    if ((bits & 7) != 0) {
        Churned *node = table[place];
        GC_assign(&node->edges[bits >> 3 & 1], table[other]);
    } else {
        Churned *node = new_churned();
        if (node == NULL) {
            return CHECK(false && "there is memory for a new node");
        }
        node->edges[0] = GC_ref(table[other]);
        node->edges[1] = GC_ref(table[place]);
        GC_unref(GC_move(&table[place]));
        table[place] = node;
    }
    return true;
}

/* Walks from the table; returns how many nodes it reached, and checks the count of each of them: exact when there is no
 * garbage left that refers to it, otherwise not less. */
static size_t walk_and_compare(bool exact) {
    Churned *all = NULL, **last = &all, *node;
    size_t reached = 0, wrong = 0, i;
    Churned *end = (Churned *)(void *)&all; /* marks the last of the row, so that no link is NULL */
    for (i = 0; i < TABLE; i++) {
        node = table[i];
        node->found++;
        if (node->walk == NULL) {
            *last = node;
            node->walk = end;
            last = &node->walk;
        }
    }
    for (node = all; node != end; node = node->walk) {
        reached++;
        for (i = 0; i < 2; i++) {
            Churned *child = node->edges[i];
            if (child == NULL) {
                continue;
            }
            child->found++;
            if (child->walk == NULL) {
                *last = child;
                child->walk = end;
                last = &child->walk;
            }
        }
    }
    for (node = all; node != end;) {
        Churned *next = node->walk;
        wrong += exact ? GC_refcount(node) != node->found : GC_refcount(node) < node->found;
        wrong += node->seal != SEAL;
        node->walk = NULL;
        node->found = 0;
        node = next;
    }
    (void)CHECK_EQ(wrong, 0);
    return reached;
}

/* Churns with a configuration, and counts. The heap is the default one of a host, in firmware the test memory. */
static void run(const char *what, KnGcConfig config, size_t steps) {
    KnGcStats stats;
    KnHeap *found = NULL;
    size_t i, reached;
#if defined(__arm__)
    KnHeap *heap = new_heap(TEST_MEMORY_BYTES / 4);
    REQUIRE(heap != NULL);
    found = kn_heap_use(heap);
#endif
    let_knoll_write(table, sizeof table);
    made = gone = broken = 0;
    churned_type = GC_registerType(&churned);
    REQUIRE(churned_type != 0);
    (void)CHECK_STATUS(GC_configure(&config), KN_OK);
    (void)CHECK_STATUS(GC_stats(&stats), KN_OK);
    (void)CHECK_EQ(stats.cells, 0);
    REQUIRE(fill_table());
    for (i = 0; i < steps; i++) {
        if (!churn(random_bits())) {
            break;
        }
        if (i == steps / 2) {
            (void)CHECK_STATUS(GC_check(), KN_OK);
            (void)CHECK_STATUS(GC_stats(&stats), KN_OK);
            (void)CHECK_EQ(stats.cells, made - gone + stats.pending);
        }
    }
    (void)walk_and_compare(false);
    if (config.slice != 0) {
        (void)CHECK_STATUS(GC_stats(&stats), KN_OK);
        (void)CHECK_LE(stats.longest, config.slice);
    }
    GC_runOrc();
    (void)CHECK_STATUS(GC_stats(&stats), KN_OK);
    reached = walk_and_compare(true);
    (void)CHECK_EQ(stats.cells, reached);
    (void)CHECK_EQ(made - gone, reached);
    (void)CHECK_EQ(stats.roots, 0);
    (void)CHECK_GE(stats.collections, 1);
    /* Most of what was made is garbage that only a collector finds. */
    (void)CHECK_GE(made, TABLE + steps / 8 - steps / 64);
    (void)CHECK_GE(reached, TABLE);
    (void)CHECK_LE(reached, 2 * TABLE);
    for (i = 0; i < TABLE; i++) {
        GC_unref(GC_move(&table[i]));
    }
    GC_runOrc();
    (void)CHECK_STATUS(GC_stats(&stats), KN_OK);
    (void)CHECK_EQ(stats.cells, 0);
    (void)CHECK_EQ(stats.occupied, 0);
    (void)CHECK_EQ(stats.pending, 0);
    (void)CHECK_EQ(made, gone);
    (void)CHECK_EQ(broken, 0);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    (void)CHECK_STATUS(kn_heap_check(kn_heap_default()), KN_OK);
    (void)CHECK_STATUS(GC_configure(NULL), KN_OK);
    printf("\n    %s: %lu made, %lu of them live after a full collection ", what, (unsigned long)made,
           (unsigned long)reached);
#if defined(__arm__)
    (void)kn_heap_use(found);
#else
    (void)found;
#endif
}

/* Row 44: as configured by default. */
TEST(exact_live_count) {
    run("defaults", (KnGcConfig){0}, STEPS);
}

/* Row 44: with every other way to collect. */
TEST(exact_live_count_fixed_threshold) {
    run("fixed threshold", (KnGcConfig){.flags = KN_GC_FIXED_THRESHOLD, .threshold = 300}, STEPS / 8);
}

TEST(exact_live_count_in_slices) {
    run("slices of 200", (KnGcConfig){.slice = 200}, STEPS / 8);
}

TEST(exact_live_count_lazily) {
    run("4 frees a call", (KnGcConfig){.frees_per_unref = 4}, STEPS / 8);
}

TEST(exact_live_count_with_a_small_view) {
    run("100 cells in view", (KnGcConfig){.visited_limit = 100}, STEPS / 8);
}

/* The threshold that Nim has under stress: a collection for every tenth root. */
TEST(exact_live_count_under_stress) {
    run("threshold 10", (KnGcConfig){.flags = KN_GC_FIXED_THRESHOLD, .threshold = 10}, STEPS / 16);
}

SUITE("counted_churn", ONCE(exact_live_count), ONCE(exact_live_count_fixed_threshold),
      ONCE(exact_live_count_in_slices), ONCE(exact_live_count_lazily), ONCE(exact_live_count_with_a_small_view),
      ONCE(exact_live_count_under_stress))
