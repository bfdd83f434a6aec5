/*
 * The hooks of a traced heap: when it asks for a collection, what it tells when memory is short, and what becomes of it
 * when a hook jumps away, as a language's exception does. Locks; the threshold; stress.
 */
#include "traced.h"

#include <setjmp.h>
#include <string.h>

static jmp_buf escape;
static size_t jumps;

static bool came_back(void (*call)(KnTraced *heap), KnTraced *heap) {
    if (setjmp(escape) == 0) {
        call(heap);
        return true;
    }
    return false;
}

/* ---- When a collection is asked for ---- */

TRACED_TEST(collections_when_memory_is_short) {
    KnTraced *heap = small_heap();
    size_t round, total;
    REQUIRE(heap != NULL);
    total = numbers(heap).total;
    for (round = 1; round < 6; round++) {
        while (asked() < round) {
            void *block = kn_traced_alloc(heap, 30 + 7 * round, 0);
            REQUIRE(block != NULL);
            memset(block, 0, 30);
            roots[0] = block;
        }
        /* There was no room, and now there is nothing but the two last blocks. */
        (void)CHECK_EQ(numbers(heap).blocks, 2);
        (void)CHECK_EQ(numbers(heap).collections, round);
    }
    (void)CHECK_EQ(told_short(), 0);
    /* A request that even a collection does not help. */
    roots[0] = NULL;
    (void)CHECK(kn_traced_alloc(heap, total + 1, 0) == NULL);
    (void)CHECK_EQ(asked(), 6);
    (void)CHECK_EQ(told_short(), 1);
    (void)CHECK(kn_traced_alloc(heap, total, KN_NO_SCAN) != NULL);
    (void)CHECK_EQ(asked(), 6);
    decline(true);
    (void)CHECK(kn_traced_alloc(heap, 1, 0) == NULL);
    (void)CHECK_EQ(asked(), 7);
    (void)CHECK_EQ(told_short(), 2);
    /* In place or not at all asks nobody. */
    roots[0] = NULL;
    decline(false);
    collect_now(heap);
    roots[0] = kn_traced_alloc(heap, 1, 0);
    (void)CHECK(kn_traced_realloc(heap, roots[0], total + 1, false) == NULL);
    (void)CHECK_EQ(asked(), 7);
    (void)CHECK(kn_traced_realloc(heap, roots[0], total + 1, true) == NULL);
    (void)CHECK_EQ(asked(), 8);
    (void)CHECK_EQ(told_short(), 3);
    (void)CHECK_EQ(kn_traced_size(heap, roots[0]), granule());
}

TRACED_TEST(collections_by_threshold) {
    KnTracedConfig config = usual_config();
    KnTraced *heap;
    size_t bytes = 5 * granule(), i;
    config.threshold = 20 * granule();
    heap = heap_with(config, 2000 * WORD);
    REQUIRE(heap != NULL);
    for (i = 0; i < 40; i++) {
        (void)CHECK_EQ(numbers(heap).since_collection, i % 4 * bytes + (i >= 4 && i % 4 == 0 ? 4 * bytes : 0));
        (void)CHECK(kn_traced_alloc(heap, bytes, i % 2 == 0 ? KN_NO_SCAN : KN_LONG_LIVED) != NULL);
        (void)CHECK_EQ(asked(), i / 4);
    }
    /* Growth counts, a collection of the program's own begins anew, and so does another threshold. */
    roots[0] = kn_traced_alloc(heap, bytes, 0);
    collect_now(heap);
    (void)CHECK_EQ(numbers(heap).since_collection, 0);
    (void)CHECK(kn_traced_realloc(heap, roots[0], 4 * bytes, false) == roots[0]);
    (void)CHECK_EQ(numbers(heap).since_collection, 3 * bytes);
    (void)CHECK_STATUS(kn_traced_set_threshold(heap, 0), KN_OK);
    i = asked();
    while (numbers(heap).largest_free >= bytes) {
        (void)CHECK(kn_traced_alloc(heap, bytes, 0) != NULL);
        (void)CHECK_EQ(asked(), i);
    }
    (void)CHECK_STATUS(kn_traced_set_threshold(heap, 1), KN_OK);
    (void)CHECK(kn_traced_alloc(heap, bytes, 0) != NULL);
    (void)CHECK(kn_traced_alloc(heap, bytes, 0) != NULL);
    (void)CHECK_EQ(asked(), i + 2);
}

TRACED_TEST(collections_all_the_time) {
    KnTracedConfig config = usual_config();
    KnTraced *heap;
    size_t i;
    config.flags = KN_TRACED_STRESS;
    heap = heap_with(config, 2000 * WORD);
    REQUIRE(heap != NULL);
    for (i = 0; i < 30; i++) {
        /* What is no root by the next allocation is gone. */
        void *block = kn_traced_alloc(heap, 1 + 40 * i % 300, 0);
        REQUIRE(block != NULL);
        (void)CHECK_EQ(asked(), i + 1);
        (void)CHECK_EQ(numbers(heap).blocks, 1 + (i + 1) / 2);
        roots[i / 2] = i % 2 == 0 ? block : roots[i / 2];
    }
    (void)CHECK_EQ(told_short(), 0);
}

/* ---- Locks ---- */

TRACED_TEST(a_locked_heap_does_nothing) {
    KnTraced *heap = small_heap();
    void *block;
    size_t depth;
    REQUIRE(heap != NULL);
    block = kn_traced_alloc(heap, 100, 0);
    REQUIRE(block != NULL);
    for (depth = 0; depth < 5; depth++) {
        kn_traced_lock(heap);
    }
    for (; depth > 0; depth--) {
        (void)CHECK(kn_traced_is_locked(heap));
        (void)CHECK(kn_traced_alloc(heap, 8, 0) == NULL);
        (void)CHECK(kn_traced_alloc(heap, 8, KN_FINALISE) == NULL);
        (void)CHECK(kn_traced_realloc(heap, NULL, 8, true) == NULL);
        (void)CHECK(kn_traced_realloc(heap, block, 8, true) == NULL);
        (void)CHECK(kn_traced_realloc(heap, block, 800, true) == NULL);
        kn_traced_free(heap, block);
        kn_traced_free(heap, NULL);
        (void)CHECK_EQ(kn_traced_size(heap, block), rounded(100, 0));
        kn_traced_unlock(heap);
    }
    (void)CHECK(!kn_traced_is_locked(heap));
    (void)CHECK_EQ(asked() + told_short(), 0);
    kn_traced_free(heap, block);
    (void)CHECK_EQ(numbers(heap).used, 0);
    (void)CHECK(kn_traced_alloc(heap, 8, 0) != NULL);
}

/* ---- The report of short memory ---- */

typedef struct Hole {
    const uint8_t *start;
    size_t size;
} Hole;

typedef struct Holes {
    Hole all[64];
    size_t count, free, largest;
} Holes;

static bool note_hole(void *context, const KnBlock *block) {
    Holes *holes = context;
    if (block->state == KN_BLOCK_FREE) {
        if (holes->count < 64) {
            holes->all[holes->count].start = block->start;
            holes->all[holes->count].size = block->size;
            holes->count++;
        }
        holes->free += block->size;
        holes->largest = block->size > holes->largest ? block->size : holes->largest;
    }
    return true;
}

/* The report against the walk: every pin is what lies between two holes, and none is more harmful than those told. */
static void check_report(KnTraced *heap, const KnTracedShort *report, size_t request, uint32_t flags) {
    Holes holes;
    size_t i, k, least = SIZE_MAX, told = 0;
    memset(&holes, 0, sizeof holes);
    (void)CHECK_STATUS(kn_traced_walk(heap, note_hole, &holes), KN_OK);
    (void)CHECK_EQ(report->request, request);
    (void)CHECK_EQ(report->flags, flags);
    (void)CHECK_EQ(report->free, holes.free);
    (void)CHECK_EQ(report->largest, holes.largest);
    (void)CHECK_EQ(report->pin_count, holes.count < 2 ? 0 : holes.count - 1 < 4 ? holes.count - 1 : 4);
    for (i = 0; i < report->pin_count; i++) {
        (void)CHECK_LE(report->pins[i].harm, least);
        least = report->pins[i].harm;
    }
    for (i = 1; i < holes.count; i++) {
        const Hole *one = &holes.all[i - 1], *other = &holes.all[i];
        size_t harm = one->size < other->size ? one->size : other->size;
        for (k = 0; k < report->pin_count; k++) {
            if (report->pins[k].start == one->start + one->size) {
                (void)CHECK_EQ(report->pins[k].size, (size_t)(other->start - one->start) - one->size);
                (void)CHECK_EQ(report->pins[k].harm, harm);
                told++;
                break;
            }
        }
        (void)CHECK(k < report->pin_count || harm <= least);
    }
    (void)CHECK_EQ(told, report->pin_count);
}

TRACED_TEST(the_report_is_right) {
    KnTraced *heap = small_heap();
    size_t round, i, count;
    void *blocks[64];
    REQUIRE(heap != NULL);
    decline(true);
    for (round = 0; round < 40; round++) {
        for (count = 0; count < 60; count++) {
            blocks[count] = kn_traced_alloc(heap, 1 + random_below(50 + 10 * round), round % 3 == 0 ? KN_NO_SCAN : 0);
            if (blocks[count] == NULL) {
                break;
            }
        }
        for (i = 0; i < count; i++) {
            if (random_below(3 + round % 5) == 0) {
                kn_traced_free(heap, blocks[i]);
                blocks[i] = NULL;
            }
        }
        i = told_short();
        (void)CHECK(kn_traced_alloc(heap, numbers(heap).free + 1 + round, KN_NO_SCAN) == NULL);
        (void)CHECK_EQ(told_short(), i + 1);
        check_report(heap, last_short(), numbers(heap).free + 1 + round, KN_NO_SCAN);
        for (i = 0; i < count; i++) {
            kn_traced_free(heap, blocks[i]);
        }
        (void)CHECK_EQ(numbers(heap).used, 0);
    }
}

/* ---- Hooks that jump away ---- */

static size_t jump_at; /* 0: before the start; 1: started; 2: half marked; 3: marked; 4: ended; 5: not at all */

static void jumping_collect(void *context) {
    KnTraced *heap = last_heap();
    size_t at = 0;
    (void)context;
    for (; at < 5; at++) {
        if (at == jump_at) {
            jumps++;
            longjmp(escape, 1);
        }
        switch (at) {
        case 0: kn_traced_collect_start(heap); break;
        case 1: kn_traced_mark(heap, roots, ROOTS / 2); break;
        case 2: kn_traced_mark(heap, roots + ROOTS / 2, ROOTS / 2); break;
        default: kn_traced_collect_end(heap); break;
        }
        if (at == 3) {
            at = 4;
            if (at == jump_at) {
                jumps++;
                longjmp(escape, 1);
            }
        }
    }
}

static void allocate_until_full(KnTraced *heap) {
    while (kn_traced_alloc(heap, 60, 0) != NULL) {
    }
}

TRACED_TEST(collect_jumps_away) {
    KnTracedConfig config = usual_config();
    KnTraced *heap;
    uint8_t *kept;
    size_t collections;
    config.collect = jumping_collect;
    heap = heap_with(config, 2000 * WORD);
    REQUIRE(heap != NULL);
    kept = roots[40] = kn_traced_alloc(heap, 300, 0);
    REQUIRE(kept != NULL);
    fill_pattern(kept, 300, 3);
    jumps = 0;
    for (jump_at = 0; jump_at < 5; jump_at++) {
        (void)CHECK(!came_back(allocate_until_full, heap));
        (void)CHECK_EQ(jumps, jump_at + 1);
        (void)CHECK_EQ(kn_traced_is_locked(heap), jump_at > 0 && jump_at < 4);
        if (jump_at > 0 && jump_at < 4) {
            (void)CHECK(kn_traced_alloc(heap, 8, 0) == NULL);
        }
        collect_now(heap);
        (void)CHECK(!kn_traced_is_locked(heap));
        (void)CHECK_EQ(numbers(heap).blocks, 1);
        (void)CHECK_PATTERN(kept, 300, 3);
        (void)CHECK(is_sound_traced(heap));
    }
    /* And the heap asks again after that: the hook collects all but one block. */
    collections = numbers(heap).collections;
    while (numbers(heap).collections == collections) {
        REQUIRE(kn_traced_alloc(heap, 60, 0) != NULL);
    }
    (void)CHECK_EQ(jumps, 5);
    (void)CHECK_PATTERN(kept, 300, 3);
}

static size_t traced_until;

static void jumping_trace(void *context, void *block, size_t size) {
    (void)context;
    kn_traced_mark(last_heap(), block, size / WORD / 2);
    if (traced_until > 0 && --traced_until == 0) {
        jumps++;
        longjmp(escape, 1);
    }
    kn_traced_mark(last_heap(), slot(block, size / WORD / 2), size / WORD - size / WORD / 2);
}

TRACED_TEST(trace_jumps_away) {
    KnTracedConfig config = usual_config();
    KnTraced *heap;
    size_t i, blocks, until;
    config.trace = jumping_trace;
    heap = heap_with(config, 800 * WORD);
    REQUIRE(heap != NULL);
    decline(true);
    blocks = fill_with_list(heap, 9, 3 * WORD);
    (void)CHECK_GE(blocks, 10);
    for (until = 1; until <= blocks; until += 1 + until / 8) {
        traced_until = until;
        jumps = 0;
        (void)CHECK(!came_back(collect_now, heap));
        (void)CHECK_EQ(jumps, 1);
        (void)CHECK(kn_traced_is_locked(heap));
        (void)CHECK(kn_traced_alloc(heap, 1, 0) == NULL);
        /* What the block refers to was not looked at, so nothing may end. */
        EXPECT_ERROR(KN_E_ORDER, kn_traced_collect_end(heap));
        if (until % 2 == 0) {
            kn_traced_collect_abandon(heap);
            (void)CHECK(!kn_traced_is_locked(heap));
            (void)CHECK_EQ(numbers(heap).blocks, blocks);
            EXPECT_ERROR(KN_E_ORDER, kn_traced_mark(heap, roots, ROOTS));
        }
        /* Begun anew it finds everything. */
        traced_until = 0;
        collect_now(heap);
        (void)CHECK_EQ(numbers(heap).blocks, blocks);
        (void)CHECK(is_sound_traced(heap));
    }
    for (i = 0; i < blocks / 2; i++) {
        roots[9] = *slot(roots[9], 0);
    }
    collect_now(heap);
    (void)CHECK_EQ(numbers(heap).blocks, blocks - blocks / 2);
}

/* Inside: the collection that called does nothing more. */
static void abandoning_trace(void *context, void *block, size_t size) {
    (void)context, (void)block, (void)size;
    if (traced_until > 0 && --traced_until == 0) {
        kn_traced_collect_abandon(last_heap());
    } else {
        kn_traced_mark(last_heap(), block, size / WORD);
    }
}

TRACED_TEST(trace_gives_up) {
    KnTracedConfig config = usual_config();
    KnTraced *heap;
    size_t blocks;
    config.trace = abandoning_trace;
    heap = heap_with(config, 800 * WORD);
    REQUIRE(heap != NULL);
    decline(true);
    blocks = fill_with_list(heap, 9, 3 * WORD);
    traced_until = blocks / 2;
    kn_traced_collect_start(heap);
    kn_traced_mark(heap, &roots[9], 1);
    (void)CHECK(!kn_traced_is_locked(heap));
    EXPECT_ERROR(KN_E_ORDER, kn_traced_collect_end(heap));
    (void)CHECK_EQ(numbers(heap).blocks, blocks);
    (void)CHECK_EQ(numbers(heap).collections, 0);
    collect_now(heap);
    (void)CHECK_EQ(numbers(heap).blocks, blocks);
}

/* A collection meanwhile that does not know the block: it is the heap's to know. */
TRACED_TEST(what_is_moved_survives) {
    KnTraced *heap = small_heap();
    uint8_t *block, *moved;
    size_t before;
    REQUIRE(heap != NULL);
    roots[0] = kn_traced_alloc(heap, 40, 0);
    block = kn_traced_alloc(heap, 40, 0);
    REQUIRE(roots[0] != NULL && block != NULL);
    *slot(block, 0) = kn_traced_alloc(heap, 90, 0);
    fill_pattern(block + WORD, 40 - WORD, 5);
    decline(true);
    fill_up(heap);
    decline(false);
    before = asked();
    moved = kn_traced_realloc(heap, block, 50 * WORD, true);
    REQUIRE(moved != NULL && moved != block);
    (void)CHECK_EQ(asked(), 1 + before);
    (void)CHECK_EQ(kn_traced_size(heap, block), 0);
    (void)CHECK_EQ(kn_traced_size(heap, moved), rounded(50 * WORD, 0));
    (void)CHECK_PATTERN(moved + WORD, 40 - WORD, 5);
    (void)CHECK_EQ(kn_traced_size(heap, *slot(moved, 0)), rounded(90, 0));
    (void)CHECK_EQ(numbers(heap).blocks, 3);
    /* And after that it is a block as others are. */
    collect_now(heap);
    (void)CHECK_EQ(numbers(heap).blocks, 1);
}

static void jumping_short(void *context, const KnTracedShort *report) {
    (void)context;
    jumps += report->request == 60;
    longjmp(escape, 1);
}

/* As a language raises its MemoryError. */
TRACED_TEST(short_memory_jumps_away) {
    KnTracedConfig config = usual_config();
    KnTraced *heap;
    size_t round;
    config.on_short = jumping_short;
    heap = heap_with(config, 800 * WORD);
    REQUIRE(heap != NULL);
    decline(true);
    jumps = 0;
    for (round = 1; round < 4; round++) {
        (void)CHECK(!came_back(allocate_until_full, heap));
        (void)CHECK_EQ(jumps, round);
        (void)CHECK_EQ(asked(), round);
        (void)CHECK(!kn_traced_is_locked(heap));
        (void)CHECK(is_sound_traced(heap));
        collect_now(heap);
        (void)CHECK_EQ(numbers(heap).used, 0);
    }
}

/* Without hooks nothing is asked and nothing told. */
TRACED_TEST(no_hooks) {
    KnTracedConfig config;
    KnTraced *heap;
    memset(&config, 0, sizeof config);
    config.granule = (uint32_t)granule();
    config.flags = KN_TRACED_STRESS;
    config.threshold = 1;
    heap = heap_with(config, 800 * WORD);
    REQUIRE(heap != NULL);
    while (kn_traced_alloc(heap, 60, KN_FINALISE) != NULL) {
    }
    (void)CHECK_LE(numbers(heap).largest_free, rounded(60, 0) - 1);
    collect_now(heap);
    (void)CHECK_EQ(numbers(heap).used, 0);
    (void)CHECK_EQ(numbers(heap).finalisers, 0);
    (void)CHECK_EQ(asked() + told_short() + finalised(), 0);
}

SUITE("traced_hooks", ONCE(collections_when_memory_is_short), ONCE(collections_by_threshold),
      ONCE(collections_all_the_time), ONCE(a_locked_heap_does_nothing), ONCE(the_report_is_right),
      ONCE(collect_jumps_away), ONCE(trace_jumps_away), ONCE(trace_gives_up), ONCE(what_is_moved_survives), ONCE(short_memory_jumps_away), ONCE(no_hooks))
