/*
 * Threads and counted objects: each thread has a collector of its own over the process heap, what it leaves behind is
 * collected when it ends, and only shared cells are counted from any thread.
 *
 * Row 38 of the conformance table. In firmware there is one thread: there only the first test runs.
 */
#if !defined(__arm__)
#define _XOPEN_SOURCE 700
#endif
#include "cells.h"

#include <string.h>

typedef struct Shared {
    uint32_t id, note;
    void *other;
} Shared;

static const uint32_t shared_offsets[] = {offsetof(Shared, other)};
static void destroy_shared(void *object) {
    record_destroyed(((Shared *)object)->id);
}
static const KnType shared_descriptor = {"Shared",       sizeof(Shared), KN_TYPE_SHARED, 1,   shared_offsets,
                                         destroy_shared, NULL,           NULL,           NULL, NULL};

/* A shared cell is counted as any other, is acyclic by its kind, and lets go of what it holds. */
COUNTED_TEST(shared_cells) {
    KnTypeId type = GC_registerType(&shared_descriptor);
    Shared *inner = GC_new(type), *outer = GC_new(type);
    int i;
    REQUIRE(inner != NULL && outer != NULL);
    inner->id = 1;
    outer->id = 2;
    outer->other = inner;
    (void)CHECK_EQ(GC_refcount(outer), 1);
    (void)CHECK(GC_isUnique(outer));
    for (i = 0; i < 5; i++) {
        (void)CHECK(GC_ref(outer) == (void *)outer);
        (void)CHECK(GC_refInline(outer) == (void *)outer);
    }
    (void)CHECK_EQ(GC_refcount(outer), 11);
    (void)CHECK(!GC_isUnique(outer));
    for (i = 0; i < 5; i++) {
        GC_unref(outer);
        GC_unrefInline(outer);
    }
    (void)CHECK_EQ(GC_refcount(outer), 1);
    (void)CHECK_EQ(GC_prepareOrc(), 0);
    (void)CHECK_EQ(GC_typeOf(outer), type);
    (void)CHECK_GE(GC_sizeOf(outer), sizeof(Shared));
    (void)CHECK_EQ(destroyed_total(), 0);
    GC_unref(outer);
    (void)CHECK(destroyed_once(1, 2));
    (void)CHECK_EQ(live_cells(), 0);
}

#if defined(__arm__)

SUITE("counted_threads", EACH_LAYOUT(shared_cells))

#else

#include <pthread.h>

enum { THREADS = 4 };

/* What the types of these tests destroy, counted by all threads. */
static size_t ended;
static void destroy_counted(void *object) {
    (void)object;
    (void)__atomic_add_fetch(&ended, 1, __ATOMIC_RELAXED);
}

static const uint32_t pair_offsets[] = {offsetof(Node, left), offsetof(Node, right)};
static const KnType pair_descriptor = {"Pair",          sizeof(Node), 0,    2,   pair_offsets,
                                       destroy_counted, NULL,         NULL, NULL, NULL};
static const KnType flag_descriptor = {"Flag",          sizeof(Shared), KN_TYPE_SHARED, 0,   NULL,
                                       destroy_counted, NULL,           NULL,           NULL, NULL};

static size_t problems; /* CHECK is for the main thread alone */
#define EXPECT(condition) ((void)((condition) || __atomic_add_fetch(&problems, 1, __ATOMIC_RELAXED)))

/* `count` rings of three Pairs, let go of. */
static void drop_rings(KnTypeId type, size_t count) {
    while (count-- > 0) {
        Node *a = GC_new(type), *b = GC_new(type), *c = GC_new(type);
        EXPECT(a != NULL && b != NULL && c != NULL);
        if (a == NULL || b == NULL || c == NULL) {
            return;
        }
        a->left = b;
        b->left = c;
        c->left = GC_ref(a);
        GC_unref(a);
    }
}

static void run_threads(void *(*work)(void *), void *argument) {
    pthread_t threads[THREADS];
    size_t i;
    for (i = 0; i < THREADS; i++) {
        REQUIRE(pthread_create(&threads[i], NULL, work, argument) == 0);
    }
    for (i = 0; i < THREADS; i++) {
        (void)CHECK(pthread_join(threads[i], NULL) == 0);
    }
}

/* Roots of its own, numbers of its own. */
static void *work_alone(void *argument) {
    KnTypeId type = *(const KnTypeId *)argument;
    KnGcStats stats;
    size_t limit = GC_prepareOrc();
    EXPECT(limit == 0);
    EXPECT(GC_getOccupiedMem() == 0);
    EXPECT(GC_registerType(&pair_descriptor) == type);
    GC_disableOrc();
    drop_rings(type, 500);
    EXPECT(GC_prepareOrc() == 500);
    EXPECT(GC_stats(&stats) == KN_OK && stats.cells == 1500 && stats.roots == 500);
    EXPECT(GC_getTotalMem() == GC_getOccupiedMem() + GC_getFreeMem());
    GC_partialCollect(250);
    EXPECT(GC_prepareOrc() == 250);
    GC_runOrc();
    EXPECT(GC_stats(&stats) == KN_OK && stats.cells == 0 && stats.roots == 0);
    EXPECT(GC_check() == KN_OK);
    return NULL;
}

/* Row 38: each thread collects for itself. */
TEST(each_thread_has_its_own_collector) {
    KnTypeId type = GC_registerType(&pair_descriptor);
    Node *mine = GC_new(type);
    size_t roots;
    REQUIRE(mine != NULL);
    mine->left = GC_ref(mine);
    GC_unref(GC_ref(mine));
    roots = GC_prepareOrc();
    ended = problems = 0;
    run_threads(work_alone, &type);
    (void)CHECK_EQ(problems, 0);
    (void)CHECK_EQ(ended, THREADS * 1500);
    (void)CHECK_EQ(GC_prepareOrc(), roots);
    (void)CHECK_EQ(GC_refcount(mine), 2);
    GC_unref(mine);
    GC_runOrc();
    (void)CHECK_EQ(ended, THREADS * 1500 + 1);
    (void)CHECK_EQ(live_cells(), 0);
    (void)CHECK_STATUS(GC_check(), KN_OK);
}

static void *leave_garbage(void *argument) {
    GC_disableOrc();
    drop_rings(*(const KnTypeId *)argument, 100);
    EXPECT(GC_prepareOrc() == 100);
    return NULL;
}

/* Row 38, nimskull#747: what a thread leaves is collected when it ends, though its collector was disabled. */
TEST(garbage_is_collected_at_the_end_of_a_thread) {
    KnTypeId type = GC_registerType(&pair_descriptor);
    ended = problems = 0;
    run_threads(leave_garbage, &type);
    (void)CHECK_EQ(problems, 0);
    (void)CHECK_EQ(ended, THREADS * 300);
    (void)CHECK_EQ(live_cells(), 0);
    (void)CHECK_STATUS(GC_check(), KN_OK);
}

/* As many threads after each other as would use up memory if each left some. */
TEST(many_short_threads) {
    KnTypeId type = GC_registerType(&pair_descriptor);
    KnHeapStats before, after;
    size_t turn;
    problems = 0;
    for (turn = 0; turn < 60; turn++) {
        if (turn == 10) {
            (void)CHECK_STATUS(kn_heap_stats(kn_heap_default(), &before), KN_OK);
        }
        ended = 0;
        run_threads(leave_garbage, &type);
        (void)CHECK_EQ(ended, THREADS * 300);
    }
    (void)CHECK_EQ(problems, 0);
    (void)CHECK_STATUS(kn_heap_stats(kn_heap_default(), &after), KN_OK);
    (void)CHECK_LE(after.used, before.used + 64 * 1024);
}

typedef struct Board {
    void *flags[8];
} Board;

static void *count_flags(void *argument) {
    Board *board = argument;
    size_t turn;
    for (turn = 0; turn < 20000; turn++) {
        void *flag = board->flags[turn % 8];
        EXPECT(GC_ref(flag) == flag);
        (void)GC_refInline(flag);
        EXPECT(GC_refcount(flag) >= 3);
        GC_unrefInline(flag);
        GC_unref(flag);
    }
    return NULL;
}

/* Row 38: shared cells are counted by several threads at a time, and no count is lost. */
TEST(shared_cells_are_counted_atomically) {
    KnTypeId type = GC_registerType(&flag_descriptor);
    Board board;
    size_t i;
    ended = problems = 0;
    for (i = 0; i < 8; i++) {
        board.flags[i] = GC_new(type);
        REQUIRE(board.flags[i] != NULL);
    }
    run_threads(count_flags, &board);
    (void)CHECK_EQ(problems, 0);
    for (i = 0; i < 8; i++) {
        (void)CHECK_EQ(GC_refcount(board.flags[i]), 1);
    }
    (void)CHECK_EQ(ended, 0);
    for (i = 0; i < 8; i++) {
        GC_unref(board.flags[i]);
    }
    (void)CHECK_EQ(ended, 8);
}

static void *let_go(void *argument) {
    GC_unref(argument);
    return NULL;
}

/* Row 38: the last reference may go in any thread, also in one after its maker has ended. */
static void *make_flag(void *argument) {
    *(void **)argument = GC_new(GC_registerType(&flag_descriptor));
    return NULL;
}

TEST(shared_cells_outlive_their_thread) {
    void *flag = NULL;
    pthread_t thread;
    size_t i;
    ended = problems = 0;
    for (i = 0; i < 50; i++) {
        REQUIRE(pthread_create(&thread, NULL, make_flag, &flag) == 0);
        REQUIRE(pthread_join(thread, NULL) == 0);
        REQUIRE(flag != NULL);
        (void)CHECK_EQ(GC_refcount(flag), 1);
        (void)CHECK(holds_byte(flag, sizeof(Shared), 0));
        (void)GC_ref(flag);
        GC_unref(flag);
        (void)CHECK_EQ(ended, i);
        if (i % 2 == 0) {
            GC_unref(flag);
        } else {
            REQUIRE(pthread_create(&thread, NULL, let_go, flag) == 0);
            REQUIRE(pthread_join(thread, NULL) == 0);
        }
        (void)CHECK_EQ(ended, i + 1);
    }
}

/* Row 43: the dump tells of the heaps of all threads. */
static void *dump_from_another_thread(void *argument) {
    EXPECT(kn_dump_instances(take_text, argument) == KN_OK);
    return NULL;
}

TEST(instances_of_all_threads) {
    static Text text;
    KnTypeId type = GC_registerType(&pair_descriptor);
    Node *mine[3];
    pthread_t thread;
    size_t i;
    problems = 0;
    for (i = 0; i < 3; i++) {
        mine[i] = GC_new(type);
        REQUIRE(mine[i] != NULL);
    }
    memset(&text, 0, sizeof text);
    REQUIRE(pthread_create(&thread, NULL, dump_from_another_thread, &text) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
    (void)CHECK_EQ(problems, 0);
    (void)CHECK(text_has(&text, "[Heap] Pair: #3; bytes: "));
    for (i = 0; i < 3; i++) {
        GC_unref(mine[i]);
    }
}

#if defined(KNOLL_WITH_FULL_CHECKS)

static void *use_a_foreign_cell(void *argument) {
    (void)GC_ref(argument);
    return NULL;
}

/* Row 38: with all checks the library says so when a cell is counted in a thread that it does not belong to. */
TEST(cells_of_another_thread_are_refused) {
    Node *node = GC_new(GC_registerType(&pair_descriptor));
    pthread_t thread;
    REQUIRE(node != NULL);
    EXPECT_ERROR(KN_E_ORDER, (void)CHECK(pthread_create(&thread, NULL, use_a_foreign_cell, node) == 0);
                 (void)CHECK(pthread_join(thread, NULL) == 0));
    (void)CHECK_EQ(GC_refcount(node), 1);
    GC_unref(node);
}
#define WITH_FULL_CHECKS , ONCE(cells_of_another_thread_are_refused)
#else
#define WITH_FULL_CHECKS
#endif

SUITE("counted_threads", EACH_LAYOUT(shared_cells), ONCE(each_thread_has_its_own_collector),
      ONCE(garbage_is_collected_at_the_end_of_a_thread), ONCE(many_short_threads),
      ONCE(shared_cells_are_counted_atomically), ONCE(shared_cells_outlive_their_thread),
      ONCE(instances_of_all_threads) WITH_FULL_CHECKS)

#endif
