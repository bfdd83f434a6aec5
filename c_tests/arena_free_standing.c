/*
 * Arenas of their own: any number, in any order; three ways to reset; marks, and rewinding that restores the footprint
 * exactly.
 */
#include "arenas.h"

#include <string.h>

enum { MOST = 6, MARKS = 12 };

/* Allocates about this much in pieces of random size; false when it can't. */
static bool fill(KnArena *arena, size_t bytes) {
    size_t taken = 0;
    while (taken < bytes) {
        size_t piece = random_between(1, 300);
        uint8_t *at = kn_arena_alloc(arena, piece);
        if (!CHECK(at != NULL)) {
            return false;
        }
        memset(at, 0x99, piece);
        taken += piece;
    }
    return true;
}

/* ---- Life and death ---- */

/* All 120 orders in which five arenas can go. */
ARENA_TEST(any_order_of_death) {
    uint64_t before = fingerprint();
    size_t order;
    for (order = 0; order < 120; order++) {
        KnArena *arenas[5];
        uint8_t *contents[5];
        uint32_t seeds[5];
        size_t left = 5, i, rest = order;
        for (i = 0; i < 5; i++) {
            arenas[i] = create("one of five");
            REQUIRE(arenas[i] != NULL);
            contents[i] = kn_arena_alloc(arenas[i], 40);
            REQUIRE(contents[i] != NULL);
            seeds[i] = (uint32_t)i;
            fill_pattern(contents[i], 40, seeds[i]);
        }
        for (i = 0; i < 5; i++) {
            REQUIRE(fill(arenas[(i + order) % 5], 200 * i));
        }
        while (left > 0) {
            size_t which = rest % left;
            rest /= left;
            for (i = 0; i < left; i++) {
                (void)CHECK_PATTERN(contents[i], 40, seeds[i]);
            }
            kn_arena_destroy(arenas[which]);
            left--;
            arenas[which] = arenas[left];
            contents[which] = contents[left];
            seeds[which] = seeds[left];
        }
        (void)CHECK_EQ(fingerprint(), before);
    }
    (void)CHECK(is_sound(ground_heap()));
}

/* An arena has nothing to do with the scope in which it was made. */
ARENA_TEST(an_arena_outlives_scopes) {
    uint64_t before = fingerprint();
    KnArena *scope = enter("scope"), *arena, *inner;
    uint8_t *at;
    REQUIRE(scope != NULL);
    arena = create("arena");
    REQUIRE(arena != NULL);
    (void)CHECK_EQ(stats_of(arena).depth, 0);
    (void)CHECK(kn_arena_parent(arena) == NULL);
    (void)CHECK(kn_arena_innermost(ground_heap()) == scope);
    at = kn_arena_alloc(arena, 300);
    REQUIRE(at != NULL);
    fill_pattern(at, 300, 1);
    inner = enter("inner");
    REQUIRE(inner != NULL && fill(inner, 2000) && fill(arena, 2000) && fill(scope, 2000));
    (void)leave(inner);
    (void)leave(scope);
    (void)CHECK_PATTERN(at, 300, 1);
    (void)CHECK(same_text(kn_arena_name(arena), "arena"));
    REQUIRE(fill(arena, 2000));
    (void)CHECK_PATTERN(at, 300, 1);
    kn_arena_destroy(arena);
    (void)CHECK_EQ(fingerprint(), before);
    kn_arena_destroy(NULL);
}

/* Presize is one piece of memory, taken at once; without it more comes as it is needed, `step` bytes at least. */
ARENA_TEST(chunks_grow_as_configured) {
    KnArenaConfig config = named("presized");
    KnArena *arena;
    size_t used, taken = 0, blocks;
    config.presize = 4096;
    arena = kn_arena_create(ground_heap(), &config);
    REQUIRE(arena != NULL);
    used = heap_used();
    for (; taken < 4096; taken += 128) {
        REQUIRE(kn_arena_alloc(arena, 128) != NULL);
    }
    (void)CHECK_EQ(heap_used(), used);
    (void)CHECK_EQ(stats_of(arena).blocks, 1);
    REQUIRE(fill(arena, 6000));
    (void)CHECK_GE(stats_of(arena).blocks, 2);
    kn_arena_destroy(arena);

    config = named("stepped");
    config.step = 12288;
    arena = kn_arena_create(ground_heap(), &config);
    REQUIRE(arena != NULL);
    REQUIRE(kn_arena_alloc(arena, 3000) != NULL);
    (void)CHECK_GE(stats_of(arena).held, 12288);
    blocks = stats_of(arena).blocks;
    used = heap_used();
    (void)CHECK(kn_arena_alloc(arena, 4000) != NULL);
    (void)CHECK(kn_arena_alloc(arena, 4000) != NULL);
    (void)CHECK_EQ(heap_used(), used);
    /* What is larger than a step gets memory of its own size. */
    (void)CHECK(kn_arena_alloc(arena, 15000) != NULL);
    (void)CHECK_EQ(stats_of(arena).blocks, blocks + 1);
    kn_arena_destroy(arena);

    config = named("too much");
    config.presize = 10 * GROUND_BYTES;
    (void)CHECK(kn_arena_create(ground_heap(), &config) == NULL);
    config = named("fixed");
    config.presize = 1024;
    config.flags = KN_ARENA_FIXED;
    arena = kn_arena_create(ground_heap(), &config);
    REQUIRE(arena != NULL);
    for (taken = 0; taken < 4096 && kn_arena_alloc(arena, 64) != NULL; taken += 64) {
    }
    (void)CHECK_GE(taken, 1024);
    (void)CHECK_LE(taken, 1024 + 64);
    kn_arena_destroy(arena);
}

/* ---- Reset ---- */

ARENA_TEST(reset_keeps_capacity) {
    uint64_t before = fingerprint(), full;
    KnArena *arena = create("kept");
    KnArenaStats stats;
    size_t round;
    REQUIRE(arena != NULL && fill(arena, 10000));
    stats = stats_of(arena);
    full = fingerprint();
    for (round = 0; round < 5; round++) {
        if (round % 2 == 0) {
            kn_arena_reset(arena);
        } else {
            kn_arena_reset_to(arena, KN_RESET_KEEP, 0);
        }
        (void)CHECK_EQ(stats_of(arena).held, stats.held);
        (void)CHECK_EQ(stats_of(arena).used, 0);
        (void)CHECK_GE(stats_of(arena).peak, stats.used);
        (void)CHECK_EQ(fingerprint(), full);
        /* The capacity is there to be used: the same again needs no more. */
        restart_random();
        REQUIRE(fill(arena, 9000));
        (void)CHECK_EQ(fingerprint(), full);
    }
    kn_arena_destroy(arena);
    (void)CHECK_EQ(fingerprint(), before);
}

ARENA_TEST(reset_gives_everything_back) {
    size_t presize;
    for (presize = 0; presize <= 4096; presize += 2048) {
        uint64_t before = fingerprint(), fresh;
        KnArenaConfig config = named("freed");
        KnArena *arena;
        size_t held, used, round;
        config.presize = presize;
        arena = kn_arena_create(ground_heap(), &config);
        REQUIRE(arena != NULL);
        fresh = fingerprint();
        held = stats_of(arena).held;
        used = heap_used();
        for (round = 0; round < 5; round++) {
            REQUIRE(fill(arena, 500 + 4000 * round));
            kn_arena_reset_to(arena, KN_RESET_FREE, 0);
            (void)CHECK_EQ(stats_of(arena).held, held);
            (void)CHECK_EQ(stats_of(arena).used, 0);
            (void)CHECK_EQ(heap_used(), used);
            (void)CHECK_EQ(fingerprint(), fresh);
        }
        kn_arena_destroy(arena);
        (void)CHECK_EQ(fingerprint(), before);
    }
}

ARENA_TEST(reset_keeps_up_to_a_limit) {
    size_t limit;
    for (limit = 0; limit <= 16384; limit += 1500) {
        uint64_t before = fingerprint();
        KnArena *arena = create("limited");
        size_t full, least;
        REQUIRE(arena != NULL);
        least = stats_of(arena).held;
        REQUIRE(fill(arena, 12000));
        full = stats_of(arena).held;
        kn_arena_reset_to(arena, KN_RESET_LIMIT, limit);
        (void)CHECK_EQ(stats_of(arena).used, 0);
        (void)CHECK_LE(stats_of(arena).held, limit > least ? limit : least);
        if (limit >= full) {
            (void)CHECK_EQ(stats_of(arena).held, full);
        }
        REQUIRE(fill(arena, 8000));
        kn_arena_destroy(arena);
        (void)CHECK_EQ(fingerprint(), before);
    }
}

/* Every way to reset, and destroy, ends what lives in the arena. */
ARENA_TEST(reset_runs_what_leave_runs) {
    static const uint32_t modes[] = {KN_RESET_KEEP, KN_RESET_FREE, KN_RESET_LIMIT, 99};
    size_t i;
    for (i = 0; i < 4; i++) {
        KnArena *arena = create("emptied");
        Leaf *outside = new_leaf(900);
        Note notes[3];
        Node *node;
        REQUIRE(arena != NULL && outside != NULL);
        forget_destroyed();
        (void)note_on_leave(arena, &notes[0], 1);
        node = node_in(arena, 10, NULL, NULL);
        REQUIRE(node != NULL);
        GC_assign(&node->left, outside);
        (void)CHECK_EQ(GC_refcount(outside), 2);
        REQUIRE(node_in(arena, 11, node, NULL) != NULL);
        (void)note_on_leave(arena, &notes[1], 2);
        (void)note_on_leave(arena, &notes[2], 3);
        if (modes[i] == 99) {
            kn_arena_destroy(arena);
        } else {
            kn_arena_reset_to(arena, modes[i], 700);
        }
        (void)CHECK_EQ(GC_refcount(outside), 1);
        (void)CHECK_EQ(destroyed_total(), 5);
        (void)CHECK_EQ(destroyed_at(0), 3);
        (void)CHECK_EQ(destroyed_at(1), 2);
        (void)CHECK_EQ(destroyed_at(2), 1);
        (void)CHECK_EQ(destroyed_at(3), 11);
        (void)CHECK_EQ(destroyed_at(4), 10);
        if (modes[i] != 99) {
            /* Once is enough. */
            kn_arena_reset(arena);
            (void)CHECK_EQ(destroyed_total(), 5);
            REQUIRE(fill(arena, 500));
            kn_arena_destroy(arena);
            (void)CHECK_EQ(destroyed_total(), 5);
        }
        GC_unref(outside);
    }
}

/* ---- Marks ---- */

/* Used memory, blocks and fingerprint after rewinding are those at the mark; what was there before is untouched. */
static void rewinds(KnArena *arena) {
    KnArenaMark marks[MARKS];
    uint64_t prints[MARKS];
    size_t used[MARKS], held[MARKS], in_use[MARKS], blocks[MARKS], i, round;
    uint8_t *contents[MARKS];
    for (round = 0; round < 6; round++) {
        size_t reached = 0;
        for (i = 0; i < MARKS; i++) {
            contents[i] = kn_arena_alloc(arena, 100);
            REQUIRE(contents[i] != NULL);
            fill_pattern(contents[i], 100, (uint32_t)i);
            marks[i] = kn_arena_mark(arena);
            prints[i] = fingerprint();
            used[i] = heap_used();
            blocks[i] = heap_blocks();
            held[i] = stats_of(arena).held;
            in_use[i] = stats_of(arena).used;
            REQUIRE(fill(arena, random_size(2500)));
        }
        /* Back by one, or over several at once. */
        for (i = MARKS; i > 0; i = reached) {
            reached = i - 1 - (i > 3 ? random_below(3) : 0);
            (void)CHECK_STATUS(kn_arena_rewind(arena, marks[reached]), KN_OK);
            (void)CHECK_EQ(heap_used(), used[reached]);
            (void)CHECK_EQ(heap_blocks(), blocks[reached]);
            (void)CHECK_EQ(fingerprint(), prints[reached]);
            (void)CHECK_EQ(stats_of(arena).held, held[reached]);
            (void)CHECK_EQ(stats_of(arena).used, in_use[reached]);
            (void)CHECK_PATTERN(contents[reached], 100, (uint32_t)reached);
            /* The mark is good for another time. */
            REQUIRE(fill(arena, random_size(3000)));
            (void)CHECK_STATUS(kn_arena_rewind(arena, marks[reached]), KN_OK);
            (void)CHECK_EQ(fingerprint(), prints[reached]);
        }
    }
}

ARENA_TEST(rewind_restores_the_footprint) {
    uint64_t before = fingerprint();
    KnArena *arena = create("rewound");
    REQUIRE(arena != NULL);
    rewinds(arena);
    kn_arena_destroy(arena);
    (void)CHECK_EQ(fingerprint(), before);
    arena = enter("rewound");
    REQUIRE(arena != NULL);
    rewinds(arena);
    (void)leave(arena);
    (void)CHECK_EQ(fingerprint(), before);
}

/* The case of the study: 2 KB, a mark, 30 KB more, back: not a byte more than at the mark. */
ARENA_TEST(rewind_keeps_no_newest_chunk) {
    KnArena *arena = create("30 KB");
    KnArenaMark mark;
    size_t used, i;
    REQUIRE(arena != NULL && fill(arena, 2000));
    mark = kn_arena_mark(arena);
    used = heap_used();
    for (i = 0; i < 280; i++) {
        REQUIRE(kn_arena_alloc(arena, 100) != NULL);
    }
    (void)CHECK_GE(heap_used(), used + 20000);
    (void)CHECK_STATUS(kn_arena_rewind(arena, mark), KN_OK);
    (void)CHECK_EQ(heap_used(), used);
    kn_arena_destroy(arena);
}

/* The same allocations after rewinding get the same addresses. */
ARENA_TEST(a_rewound_arena_repeats_itself) {
    KnArena *arena = create("again");
    KnArenaMark mark;
    void *first[30];
    size_t round, i;
    REQUIRE(arena != NULL && fill(arena, 700));
    mark = kn_arena_mark(arena);
    for (round = 0; round < 4; round++) {
        restart_random();
        for (i = 0; i < 30; i++) {
            void *at = kn_arena_alloc(arena, random_size(500));
            REQUIRE(at != NULL);
            if (round == 0) {
                first[i] = at;
            }
            (void)CHECK(at == first[i]);
        }
        (void)CHECK_STATUS(kn_arena_rewind(arena, mark), KN_OK);
    }
    kn_arena_destroy(arena);
}

/* Only the tail ends: its cleanups in reverse, its cells from the last born, its references released. */
static void ends_the_tail(KnArena *arena) {
    Leaf *outside = new_leaf(900);
    Note notes[4];
    Node *kept, *gone;
    KnArenaMark mark;
    REQUIRE(outside != NULL);
    forget_destroyed();
    kept = node_in(arena, 20, NULL, NULL);
    REQUIRE(kept != NULL);
    GC_assign(&kept->left, outside);
    (void)note_on_leave(arena, &notes[0], 1);
    (void)note_on_leave(arena, &notes[1], 2);
    mark = kn_arena_mark(arena);
    (void)note_on_leave(arena, &notes[2], 3);
    gone = node_in(arena, 21, kept, NULL);
    REQUIRE(gone != NULL && node_in(arena, 22, gone, gone) != NULL);
    GC_assign(&gone->right, outside);
    (void)note_on_leave(arena, &notes[3], 4);
    (void)CHECK_EQ(GC_refcount(outside), 3);
    (void)CHECK_STATUS(kn_arena_rewind(arena, mark), KN_OK);
    (void)CHECK_EQ(GC_refcount(outside), 2);
    (void)CHECK_EQ(destroyed_total(), 4);
    (void)CHECK_EQ(destroyed_at(0), 4);
    (void)CHECK_EQ(destroyed_at(1), 3);
    (void)CHECK_EQ(destroyed_at(2), 22);
    (void)CHECK_EQ(destroyed_at(3), 21);
    (void)CHECK_EQ(kept->id, 20);
    (void)CHECK(kept->left == outside);
    (void)CHECK_STATUS(kn_arena_rewind(arena, mark), KN_OK);
    (void)CHECK_EQ(destroyed_total(), 4);
    (void)CHECK_STATUS(GC_check(), KN_OK);
    /* The rest goes with the arena: before that the count is the test's own and the cell's. */
    if (stats_of(arena).depth == 0) {
        kn_arena_destroy(arena);
    } else {
        KnLeaveReport report = leave(arena);
        (void)CHECK_EQ(report.cleanups, 2);
        (void)CHECK_EQ(report.destroyed, 1);
        (void)CHECK_EQ(report.released, 1);
    }
    (void)CHECK_EQ(destroyed_total(), 7);
    (void)CHECK_EQ(destroyed_at(4), 2);
    (void)CHECK_EQ(destroyed_at(5), 1);
    (void)CHECK_EQ(destroyed_at(6), 20);
    (void)CHECK_EQ(GC_refcount(outside), 1);
    GC_unref(outside);
}

ARENA_TEST(rewind_ends_the_tail_alone) {
    KnArena *arena = create("tail");
    REQUIRE(arena != NULL);
    ends_the_tail(arena);
    arena = enter("tail");
    REQUIRE(arena != NULL);
    ends_the_tail(arena);
}

/* ---- Random lives of several arenas, with marks, beside the heap's own blocks ---- */

ARENA_TEST(random_arenas) {
    uint64_t before = fingerprint();
    KnArena *arenas[MOST];
    KnArenaMark marks[MOST];
    uint8_t *contents[MOST], *blocks[MOST];
    bool marked[MOST];
    size_t turn, i;
    memset(arenas, 0, sizeof arenas);
    memset(blocks, 0, sizeof blocks);
    for (turn = 0; turn < 800; turn++) {
        i = random_below(MOST);
        if (arenas[i] == NULL) {
            arenas[i] = create("random");
            REQUIRE(arenas[i] != NULL);
            contents[i] = kn_arena_alloc(arenas[i], 64);
            REQUIRE(contents[i] != NULL);
            fill_pattern(contents[i], 64, (uint32_t)i);
            marked[i] = false;
        }
        switch (random_below(8)) {
        case 0:
            (void)CHECK_PATTERN(contents[i], 64, (uint32_t)i);
            kn_arena_destroy(arenas[i]);
            arenas[i] = NULL;
            break;
        case 1:
            marks[i] = kn_arena_mark(arenas[i]);
            marked[i] = true;
            break;
        case 2:
            if (marked[i]) {
                (void)CHECK_STATUS(kn_arena_rewind(arenas[i], marks[i]), KN_OK);
                (void)CHECK_PATTERN(contents[i], 64, (uint32_t)i);
            }
            break;
        case 3:
            kn_arena_reset_to(arenas[i], (uint32_t)random_below(3), 1000);
            contents[i] = kn_arena_alloc(arenas[i], 64);
            REQUIRE(contents[i] != NULL);
            fill_pattern(contents[i], 64, (uint32_t)i);
            marked[i] = false;
            break;
        case 4:
            kn_heap_free(ground_heap(), blocks[i]);
            blocks[i] = kn_heap_malloc(ground_heap(), random_size(500));
            break;
        default:
            if (stats_of(arenas[i]).used < 3000) {
                REQUIRE(fill(arenas[i], random_size(600)));
            }
        }
        if (turn % 50 == 0) {
            (void)CHECK(is_sound(ground_heap()));
        }
    }
    for (i = 0; i < MOST; i++) {
        kn_arena_destroy(arenas[i]);
        kn_heap_free(ground_heap(), blocks[i]);
    }
    (void)CHECK_EQ(fingerprint(), before);
}

SUITE("arena_free_standing", EACH_LAYOUT(any_order_of_death), EACH_LAYOUT(an_arena_outlives_scopes),
      EACH_LAYOUT(chunks_grow_as_configured), EACH_LAYOUT(reset_keeps_capacity),
      EACH_LAYOUT(reset_gives_everything_back), EACH_LAYOUT(reset_keeps_up_to_a_limit),
      EACH_LAYOUT(reset_runs_what_leave_runs), EACH_LAYOUT(rewind_restores_the_footprint),
      EACH_LAYOUT(rewind_keeps_no_newest_chunk), EACH_LAYOUT(a_rewound_arena_repeats_itself),
      EACH_LAYOUT(rewind_ends_the_tail_alone), EACH_LAYOUT(random_arenas))
