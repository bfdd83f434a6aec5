/*
 * Deep structures let go on a stack of 4 KB: lists, trees and rings whose depth would overflow any stack of a
 * recursive destructor.
 *
 * Row 36 of the conformance table. On a host the work runs on a stack of its own of exactly 4 KB, with painted memory
 * below it, and the structures are those of the promise: 10,000,000 and 1,000,000 cells. In firmware the program's own
 * stack is painted, and the structures fill the memory there is. The depth that was used is measured and printed.
 */
#if !defined(__arm__)
#define _XOPEN_SOURCE 700
#endif
#include "cells.h"

#include <stdio.h>
#include <string.h>

enum { STACK_BYTES = 4096, PAINT = 0x5C };

#if defined(__arm__)
/* 12 bytes and a header in 512 KB of test memory, with room for what else lies there. */
enum { LIST_CELLS = 18000, TREE_CELLS = 9000, RING_CELLS = 9000 };
#elif defined(KNOLL_UNDER_VALGRIND) || defined(__SANITIZE_ADDRESS__) || defined(KNOLL_WITH_FAULTS)
enum { LIST_CELLS = 300000, TREE_CELLS = 100000, RING_CELLS = 100000 };
#else
enum { LIST_CELLS = 10000000, TREE_CELLS = 1000000, RING_CELLS = 1000000 };
#endif

/* ---- A small stack ---- */

static void *dropped; /* what the work lets go of */

static void drop(void) {
    GC_unref(dropped);
}

static void drop_and_collect(void) {
    GC_unref(dropped);
    GC_runOrc();
}

#if defined(__arm__)

extern uint8_t __stack_limit[];

/* Paints what is unused of the stack, runs the work, and returns how deep the paint has gone. */
__attribute__((noinline)) static size_t stack_used_by(void (*work)(void)) {
    enum { OWN_FRAME = 256 };
    volatile uint8_t *here = __builtin_frame_address(0);
    volatile uint8_t *at;
    for (at = here - OWN_FRAME; at >= __stack_limit; at--) {
        *at = PAINT;
    }
    work();
    for (at = __stack_limit; *at == PAINT && at < here; at++) {
    }
    return (size_t)(here - at);
}

#else

#include <ucontext.h>
#if defined(KNOLL_UNDER_VALGRIND)
#include <valgrind/memcheck.h>
#define IS_A_STACK(from, to) ((void)VALGRIND_STACK_REGISTER((from), (to)))
#define WAS_A_STACK(at, bytes) ((void)VALGRIND_MAKE_MEM_DEFINED((at), (bytes)))
#else
#define IS_A_STACK(from, to) ((void)(from), (void)(to))
#define WAS_A_STACK(at, bytes) ((void)(at), (void)(bytes))
#endif

enum { BELOW_BYTES = 128 * 1024 };
static union {
    uint8_t bytes[BELOW_BYTES + STACK_BYTES];
    long double alignment;
} stack;
static ucontext_t main_context, work_context;

static size_t stack_used_by(void (*work)(void)) {
    const uint8_t *top = stack.bytes + sizeof stack.bytes;
    const uint8_t *at = stack.bytes;
    WAS_A_STACK(stack.bytes, sizeof stack.bytes);
    memset(stack.bytes, PAINT, sizeof stack.bytes);
    IS_A_STACK(stack.bytes, stack.bytes + sizeof stack.bytes - 1);
    if (!CHECK(getcontext(&work_context) == 0)) {
        return SIZE_MAX;
    }
    work_context.uc_stack.ss_sp = stack.bytes + BELOW_BYTES;
    work_context.uc_stack.ss_size = STACK_BYTES;
    work_context.uc_link = &main_context;
    makecontext(&work_context, work, 0);
    (void)CHECK(swapcontext(&main_context, &work_context) == 0);
    WAS_A_STACK(stack.bytes, sizeof stack.bytes);
    while (at < top && *at == PAINT) {
        at++;
    }
    return (size_t)(top - at);
}

#endif

/* ---- The structures ---- */

typedef struct Link {
    void *next;
} Link;

typedef struct Fork {
    void *left, *right;
} Fork;

static size_t destroyed;

static void count(void *object) {
    (void)object;
    destroyed++;
}

static const uint32_t link_offsets[] = {offsetof(Link, next)};
static const uint32_t fork_offsets[] = {offsetof(Fork, left), offsetof(Fork, right)};
static const KnType link_descriptor = {"Link", sizeof(Link), 0, 1, link_offsets, count, NULL, NULL, NULL, NULL};
static const KnType fork_descriptor = {"Fork", sizeof(Fork), 0, 2, fork_offsets, count, NULL, NULL, NULL, NULL};
static KnTypeId link_type, fork_type;

static Link *new_link(void *next) {
    Link *link = GC_new(link_type);
    if (link != NULL) {
        link->next = next;
    }
    return link;
}

static Fork *new_fork(void *left, void *right) {
    Fork *fork = GC_new(fork_type);
    if (fork != NULL) {
        fork->left = left;
        fork->right = right;
    }
    return fork;
}

/* Lets go of `object` on the small stack; that must destroy all `cells`. */
static void drop_on_small_stack(const char *what, void *object, size_t cells, void (*work)(void)) {
    KnGcStats stats;
    size_t depth;
    REQUIRE(object != NULL);
    (void)CHECK_STATUS(GC_stats(&stats), KN_OK);
    (void)CHECK_EQ(stats.cells, cells);
    destroyed = 0;
    dropped = object;
    depth = stack_used_by(work);
    (void)CHECK_EQ(destroyed, cells);
    (void)CHECK_LE(depth, STACK_BYTES);
    (void)CHECK_STATUS(GC_stats(&stats), KN_OK);
    (void)CHECK_EQ(stats.cells, 0);
    (void)CHECK_EQ(stats.occupied, 0);
    printf("\n    %s of %lu cells: %lu bytes of stack ", what, (unsigned long)cells, (unsigned long)depth);
}

/* The default heap of a host, where such structures fit; in firmware one that takes all test memory. */
static KnHeap *found;

static bool begin(void) {
#if defined(__arm__)
    KnHeap *heap = new_heap(TEST_MEMORY_BYTES - 1024);
    if (!CHECK(heap != NULL)) {
        return false;
    }
    found = kn_heap_use(heap);
#endif
    link_type = GC_registerType(&link_descriptor);
    fork_type = GC_registerType(&fork_descriptor);
    /* A shared library's functions are looked up at the first call, which takes a stack of its own kind. */
    dropped = new_link(new_link(NULL));
    drop_and_collect();
    return CHECK(link_type != 0 && fork_type != 0);
}

static void end(void) {
    (void)CHECK_STATUS(GC_check(), KN_OK);
    (void)CHECK_STATUS(kn_heap_check(kn_heap_default()), KN_OK);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
#if defined(__arm__)
    (void)kn_heap_use(found);
#else
    (void)found;
#endif
}

static Link *list_of(size_t cells) {
    Link *list = NULL;
    while (cells-- > 0) {
        Link *link = new_link(list);
        if (link == NULL) {
            GC_unref(list);
            return NULL;
        }
        list = link;
    }
    return list;
}

/* Row 36: a list. */
TEST(deep_list) {
    REQUIRE(begin());
    drop_on_small_stack("a list", list_of(LIST_CELLS), LIST_CELLS, drop);
    end();
}

/* A tree of this depth with a leaf beside each step; which side goes deep, `bits` tell in turn. */
static Fork *tree_of(size_t cells, unsigned bits) {
    Fork *tree = new_fork(NULL, NULL);
    size_t depth;
    for (depth = 1; depth < cells / 2 && tree != NULL; depth++) {
        Fork *leaf = new_fork(NULL, NULL);
        tree = (bits >> depth % 8 & 1) != 0 ? new_fork(tree, leaf) : new_fork(leaf, tree);
    }
    return tree;
}

/* Row 36: trees as deep as they have cells: to the left, to the right, and to and fro. */
TEST(deep_trees) {
    static const unsigned sides[] = {0xFF, 0x00, 0x5A};
    size_t i;
    REQUIRE(begin());
    for (i = 0; i < sizeof sides / sizeof sides[0]; i++) {
        size_t cells = 2 * (TREE_CELLS / 2) - 1;
        drop_on_small_stack("a tree", tree_of(2 * (TREE_CELLS / 2), sides[i]), cells, drop);
    }
    end();
}

static Fork *full_tree(unsigned depth) {
    return depth == 0 ? NULL : new_fork(full_tree(depth - 1), full_tree(depth - 1));
}

/* Row 36: and one that is as broad as can be. */
TEST(broad_tree) {
    unsigned depth = 1;
    REQUIRE(begin());
    while ((size_t)2 << depth <= TREE_CELLS) {
        depth++;
    }
    drop_on_small_stack("a full tree", full_tree(depth), ((size_t)1 << depth) - 1, drop);
    end();
}

/* Row 36, for the collector: a ring, and a list that is linked both ways. */
TEST(deep_cycles) {
    Link *last;
    Link *first;
    Fork *list = NULL;
    size_t i;
    REQUIRE(begin());
    first = list_of(RING_CELLS);
    REQUIRE(first != NULL);
    for (last = first; last->next != NULL; last = last->next) {
    }
    last->next = GC_ref(first);
    drop_on_small_stack("a ring", first, RING_CELLS, drop_and_collect);
    for (i = 0; i < RING_CELLS; i++) {
        Fork *fork = new_fork(list, NULL);
        REQUIRE(fork != NULL);
        if (list != NULL) {
            list->right = GC_ref(fork);
        }
        list = fork;
    }
    drop_on_small_stack("a list linked both ways", list, RING_CELLS, drop_and_collect);
    end();
}

/* Row 36: a deep list behind an acyclic type, and one that hangs from a cycle. */
TEST(deep_list_behind_a_cycle) {
    Fork *fork;
    REQUIRE(begin());
    fork = new_fork(NULL, list_of(RING_CELLS - 1));
    REQUIRE(fork != NULL && fork->right != NULL);
    fork->left = GC_ref(fork);
    drop_on_small_stack("a cycle with a list", fork, RING_CELLS, drop_and_collect);
    end();
}

SUITE("counted_deep", ONCE(deep_list), ONCE(deep_trees), ONCE(broad_tree), ONCE(deep_cycles),
      ONCE(deep_list_behind_a_cycle))
