/*
 * Collection in slices: GC_step between the program's own steps, and the automatic mode, in which no call visits more
 * cells than is configured; the program changes the graph in between, and nothing is lost or kept.
 *
 * The cells here are traced by a callback, so the tests see each visit themselves, and do not only believe GC_stats.
 */
#include "cells.h"

#include <string.h>

typedef struct Spy {
    void *left, *right;
    uint32_t id, seal;
} Spy;

/* The emulator is slower than a host. */
#if defined(__arm__)
enum { RANDOM_CHANGES = 400, AUTOMATIC_CHANGES = 800, MOST_STEPS = 2 };
#else
enum { RANDOM_CHANGES = 1500, AUTOMATIC_CHANGES = 3000, MOST_STEPS = 5 };
#endif

enum { SEAL = 0x5EA1ED, DYING = 0xD1ED }; /* a dying cell is traced to release what it refers to */

static KnTypeId spy_type;
static size_t visits; /* calls of the trace callback for cells that are not being destroyed */

static void trace_spy(void *object, KnTracer *tracer) {
    Spy *spy = object;
    visits += spy->seal == SEAL;
    (void)CHECK(spy->seal == SEAL || spy->seal == DYING);
    GC_visit(tracer, &spy->left);
    GC_visit(tracer, &spy->right);
}

static void destroy_spy(void *object) {
    Spy *spy = object;
    (void)CHECK_EQ(spy->seal, SEAL);
    spy->seal = DYING;
    record_destroyed(spy->id);
}

static bool register_spies(void) {
    static const KnType type = {"Spy", sizeof(Spy), 0, 0, NULL, destroy_spy, trace_spy, NULL, NULL, NULL};
    spy_type = GC_registerType(&type);
    return CHECK(spy_type != 0);
}

static Spy *new_spy(uint32_t id) {
    Spy *spy = GC_new(spy_type);
    if (spy != NULL) {
        spy->id = id;
        spy->seal = SEAL;
    }
    return spy;
}

/* A ring of spies; the caller holds the first. */
static Spy *spy_ring(uint32_t count, uint32_t id) {
    Spy *first = new_spy(id), *last = first;
    uint32_t i;
    for (i = 1; i < count && last != NULL; i++) {
        last->left = new_spy(id + i);
        last = last->left;
    }
    if (!CHECK(last != NULL)) {
        return NULL;
    }
    last->left = GC_ref(first);
    return first;
}

static void touch(void *object) {
    GC_unref(GC_ref(object));
}

/* One step; checks its bound, and returns what GC_step did. */
static bool bounded_step(size_t budget) {
    size_t destroyed = destroyed_total();
    bool done;
    visits = 0;
    done = GC_step(budget);
    (void)CHECK_LE(visits, budget);
    (void)CHECK_LE(destroyed_total() - destroyed, budget);
    return done;
}

/* Steps until nothing is left to do; how many it took. */
static size_t step_to_the_end(size_t budget) {
    size_t steps = 1;
    while (!bounded_step(budget)) {
        steps++;
        if (!CHECK(steps < 100000)) {
            break;
        }
    }
    return steps;
}

/* With nothing to do a step says so, whatever its budget; a budget of 0 does nothing, and does not say it is done. */
COUNTED_TEST(steps_with_nothing_to_do) {
    Spy *first;
    REQUIRE(register_spies());
    (void)CHECK(GC_step(1000));
    (void)CHECK(GC_step(1));
    (void)CHECK(GC_step(SIZE_MAX));
    first = spy_ring(3, 0);
    REQUIRE(first != NULL);
    (void)CHECK(GC_step(10));
    (void)CHECK_EQ(destroyed_total(), 0);
    GC_unref(first);
    visits = 0;
    (void)CHECK(!GC_step(0));
    (void)CHECK_EQ(visits, 0);
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK(GC_step(SIZE_MAX) || GC_step(SIZE_MAX));
    (void)CHECK(destroyed_once(0, 2));
}

/* Every budget, down to a single cell, comes to the end, and needs so many steps as it must. */
COUNTED_TEST(every_budget_comes_to_the_end) {
    static const size_t budgets[] = {1, 2, 3, 10, 64, 100000};
    enum { SIZE = 150 };
    size_t i;
    REQUIRE(register_spies());
    for (i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        Spy *first = spy_ring(SIZE, 0);
        Spy *live = spy_ring(SIZE, 1000);
        size_t steps;
        REQUIRE(first != NULL && live != NULL);
        forget_destroyed();
        touch(live);
        GC_unref(first);
        steps = step_to_the_end(budgets[i]);
        (void)CHECK_GE(steps * budgets[i], 2 * SIZE);
        (void)CHECK(destroyed_once(0, SIZE - 1));
        (void)CHECK_EQ(destroyed_total(), SIZE);
        (void)CHECK_EQ(GC_refcount(live), 1 + 1);
        (void)CHECK_EQ(live_cells(), SIZE);
        (void)CHECK(all_is_sound());
        GC_unref(live);
        (void)step_to_the_end(budgets[i]);
        (void)CHECK(destroyed_once(1000, 1000 + SIZE - 1));
        (void)CHECK_EQ(live_cells(), 0);
    }
}

/* At any moment between two steps counts and records are right. */
COUNTED_TEST(sound_after_each_step) {
    enum { SIZE = 12 };
    Spy *dead, *live, *spy;
    uint32_t i;
    REQUIRE(register_spies());
    dead = spy_ring(SIZE, 0);
    live = spy_ring(SIZE, 100);
    REQUIRE(dead != NULL && live != NULL);
    dead->right = GC_ref(live);
    touch(live);
    GC_unref(dead);
    while (!bounded_step(3)) {
        (void)CHECK(all_is_sound());
        for (spy = live, i = 0; i < SIZE; i++, spy = spy->left) {
            (void)CHECK_EQ(spy->seal, SEAL);
            if (i > 0) {
                (void)CHECK_EQ(GC_refcount(spy), 1);
            }
        }
    }
    (void)CHECK(destroyed_once(0, SIZE - 1));
    (void)CHECK_EQ(destroyed_total(), SIZE);
    (void)CHECK_EQ(GC_refcount(live), 2);
    GC_unref(live);
    (void)step_to_the_end(5);
    (void)CHECK_EQ(live_cells(), 0);
}

/* After any number of steps the program takes the only reference to a part out of a ring, and lets the ring go. */
COUNTED_TEST(reference_moved_away_between_steps) {
    enum { SIZE = 6 };
    size_t steps, i, where;
    REQUIRE(register_spies());
    for (steps = 0; steps < MOST_STEPS * SIZE; steps++) {
        for (where = 0; where < SIZE; where++) {
            Spy *first = spy_ring(SIZE, 0);
            Spy *spy = first;
            Spy *part;
            REQUIRE(first != NULL);
            forget_destroyed();
            for (i = 0; i < where; i++) {
                spy = spy->left;
            }
            spy->right = spy_ring(3, 100);
            touch(spy->right);
            touch(first);
            for (i = 0; i < steps; i++) {
                (void)bounded_step(1);
            }
            part = GC_move(&spy->right);
            GC_unref(first);
            (void)step_to_the_end(2);
            (void)CHECK(destroyed_once(0, SIZE - 1));
            (void)CHECK_EQ(destroyed_total(), SIZE);
            (void)CHECK_EQ(GC_refcount(part), 2);
            (void)CHECK_EQ(part->seal, SEAL);
            (void)CHECK_EQ(((Spy *)part->left)->seal, SEAL);
            GC_unref(part);
            (void)step_to_the_end(1);
            (void)CHECK_EQ(live_cells(), 0);
        }
    }
}

/* The same with an assignment: the part is hung up at a live cell, and its old place cleared. */
COUNTED_TEST(reference_assigned_away_between_steps) {
    enum { SIZE = 6 };
    size_t steps, i;
    unsigned behind;
    REQUIRE(register_spies());
    for (steps = 0; steps < MOST_STEPS * SIZE; steps++) {
        for (behind = 0; behind < 2; behind++) {
            Spy *first = spy_ring(SIZE, 0);
            Spy *live = spy_ring(2, 200);
            REQUIRE(first != NULL && live != NULL);
            forget_destroyed();
            first->right = spy_ring(3, 100);
            touch(first->right);
            touch(live);
            touch(first);
            for (i = 0; i < steps; i++) {
                (void)bounded_step(1);
            }
            GC_assign(behind != 0 ? &((Spy *)live->left)->right : &live->right, first->right);
            GC_assign(&first->right, NULL);
            GC_unref(first);
            (void)step_to_the_end(3);
            (void)CHECK(destroyed_once(0, SIZE - 1));
            (void)CHECK_EQ(destroyed_total(), SIZE);
            (void)CHECK_EQ(live_cells(), 5);
            (void)CHECK(all_is_sound());
            GC_unref(live);
            (void)step_to_the_end(2);
            (void)CHECK_EQ(live_cells(), 0);
        }
    }
}

/* After any number of steps the garbage dies by counting, and its memory is used for something else. */
COUNTED_TEST(cells_die_between_steps) {
    enum { SIZE = 7 };
    size_t steps, i;
    REQUIRE(register_spies());
    for (steps = 0; steps < MOST_STEPS * SIZE; steps++) {
        Spy *first = spy_ring(SIZE, 0);
        Spy *others[SIZE];
        REQUIRE(first != NULL);
        forget_destroyed();
        touch(first);
        touch(first->left);
        for (i = 0; i < steps; i++) {
            (void)bounded_step(1);
        }
        GC_assign(&first->left, NULL);
        GC_unref(first);
        for (i = 0; i < SIZE; i++) {
            others[i] = new_spy((uint32_t)(100 + i));
            REQUIRE(others[i] != NULL);
        }
        (void)step_to_the_end(2);
        (void)CHECK(destroyed_once(0, SIZE - 1));
        for (i = 0; i < SIZE; i++) {
            (void)CHECK_EQ(GC_refcount(others[i]), 1);
            (void)CHECK_EQ(others[i]->seal, SEAL);
            GC_unref(others[i]);
        }
        (void)CHECK_EQ(live_cells(), 0);
    }
}

/* A full run and a partial one in the middle of a sliced one finish the work. */
COUNTED_TEST(full_run_between_steps) {
    enum { SIZE = 10 };
    size_t steps, i;
    REQUIRE(register_spies());
    for (steps = 0; steps < MOST_STEPS * SIZE; steps++) {
        Spy *first = spy_ring(SIZE, 0);
        REQUIRE(first != NULL);
        forget_destroyed();
        GC_unref(first);
        for (i = 0; i < steps; i++) {
            (void)bounded_step(1);
        }
        if (steps % 2 == 0) {
            GC_partialCollect(0);
        }
        GC_runOrc();
        (void)CHECK(destroyed_once(0, SIZE - 1));
        (void)CHECK_EQ(live_cells(), 0);
        (void)CHECK_EQ(GC_prepareOrc(), 0);
        (void)CHECK(GC_step(1));
    }
}

/* ---- A random program beside the collector ---- */

enum { TABLE = 24, IDS = 2000 };
static void *table[TABLE];
static uint32_t next_id;
static bool marked[IDS];
static Spy *worklist[IDS];

/* How many cells are reached from the table, by a walk of the test's own. */
static size_t count_reached(void) {
    size_t waiting = 0, reached = 0, i;
    memset(marked, 0, sizeof marked);
    for (i = 0; i < TABLE; i++) {
        Spy *spy = table[i];
        if (spy != NULL && !marked[spy->id]) {
            marked[spy->id] = true;
            worklist[waiting++] = spy;
        }
    }
    while (waiting > 0) {
        Spy *spy = worklist[--waiting];
        void *const next[] = {spy->left, spy->right};
        (void)CHECK_EQ(spy->seal, SEAL);
        reached++;
        for (i = 0; i < 2; i++) {
            Spy *child = next[i];
            if (child != NULL && !marked[child->id]) {
                marked[child->id] = true;
                worklist[waiting++] = child;
            }
        }
    }
    return reached;
}

/* One random change of the graph, through the barrier. */
static void change_something(void) {
    size_t a = random_below(TABLE), b = random_below(TABLE);
    Spy *spy = table[a], *other = table[b];
    switch (random_below(8)) {
    case 0:
    case 1:
        if (next_id < IDS) {
            Spy *fresh = new_spy(next_id);
            if (fresh != NULL) {
                next_id++;
                fresh->left = other == NULL ? NULL : GC_ref(other);
                fresh->right = spy == NULL ? NULL : GC_ref(spy);
                GC_unref(GC_move(&table[a]));
                table[a] = fresh;
            }
        }
        break;
    case 2:
        GC_assign(&table[a], NULL);
        break;
    case 3:
        if (spy != NULL && spy->left != NULL) {
            GC_assign(&table[b], spy->left);
        }
        break;
    case 4:
        if (spy != NULL && other != NULL) {
            void *taken = GC_move(&spy->right);
            GC_unref(GC_move(&other->left));
            other->left = taken;
        }
        break;
    default:
        if (spy != NULL) {
            GC_assign(random_below(2) == 0 ? &spy->left : &spy->right, other);
        }
    }
}

static void begin_random(void) {
    let_knoll_write(table, sizeof table);
    memset(table, 0, sizeof table);
    next_id = 0;
}

static void end_random(void) {
    size_t i;
    for (i = 0; i < TABLE; i++) {
        GC_unref(GC_move(&table[i]));
    }
}

/* Steps of every size between random changes: what is reached lives, and in the end nothing else does. */
COUNTED_TEST(random_changes_between_steps) {
    static const size_t budgets[] = {1, 3, 10, 40};
    size_t i, turn;
    REQUIRE(register_spies());
    for (i = 0; i < sizeof budgets / sizeof budgets[0]; i++) {
        begin_random();
        forget_destroyed();
        for (turn = 0; turn < RANDOM_CHANGES; turn++) {
            change_something();
            if (turn % 3 != 0) {
                (void)bounded_step(budgets[i]);
            }
            if (turn % 50 == 0) {
                (void)CHECK_GE(live_cells(), count_reached());
                (void)CHECK_STATUS(GC_check(), KN_OK);
            }
        }
        (void)step_to_the_end(budgets[i]);
        (void)CHECK_EQ(live_cells(), count_reached());
        (void)CHECK_EQ(destroyed_total() + live_cells(), next_id);
        end_random();
        (void)step_to_the_end(budgets[i]);
        (void)CHECK_EQ(live_cells(), 0);
    }
}

/* The automatic mode: no call of any kind visits more than the slice, and garbage does not pile up. */
COUNTED_TEST(automatic_slices) {
    static const uint32_t slices[] = {4, 16, 64};
    size_t i, turn;
    REQUIRE(register_spies());
    for (i = 0; i < sizeof slices / sizeof slices[0]; i++) {
        KnGcConfig config = {.slice = slices[i], .threshold = 10};
        size_t most_garbage = 0;
        configure(config);
        begin_random();
        forget_destroyed();
        for (turn = 0; turn < AUTOMATIC_CHANGES && next_id < IDS; turn++) {
            visits = 0;
            change_something();
            /* At most four calls that may each take a slice. */
            (void)CHECK_LE(visits, 4 * slices[i]);
            if (turn % 64 == 0) {
                size_t live = live_cells(), reached = count_reached();
                (void)CHECK_GE(live, reached);
                most_garbage = live - reached > most_garbage ? live - reached : most_garbage;
            }
        }
        (void)CHECK_LE(gc().longest, slices[i]);
        (void)CHECK_GE(gc().longest, 1);
        (void)CHECK_LE(most_garbage, 200);
        GC_runOrc();
        (void)CHECK_EQ(live_cells(), count_reached());
        end_random();
        configure((KnGcConfig){0});
        GC_runOrc();
        (void)CHECK_EQ(live_cells(), 0);
    }
}

/*
 * One call after the other, each judged by itself, while the garbage refers to a large live structure, which the
 * collector comes to see again and again. A slice has room for the three cells that each call adds, and for some more:
 * so garbage does not pile up.
 */
COUNTED_TEST(each_call_is_bounded) {
    enum { SLICE = 40, LIVE = 300, TURNS = 400 };
    KnGcConfig config = {.slice = SLICE, .threshold = 4, .frees_per_unref = SLICE};
    Spy *live, *first;
    size_t turn, most = 0, longest;
    configure(config);
    REQUIRE(register_spies());
    live = spy_ring(LIVE, 1000);
    REQUIRE(live != NULL);
    for (turn = 0; turn < TURNS; turn++) {
        first = spy_ring(3, 0);
        REQUIRE(first != NULL);
        visits = 0;
        GC_assign(&first->right, live);
        (void)CHECK_LE(visits, SLICE);
        most = visits > most ? visits : most;
        visits = 0;
        GC_unref(first);
        (void)CHECK_LE(visits, SLICE);
        most = visits > most ? visits : most;
    }
    longest = gc().longest;
    (void)CHECK_LE(longest, SLICE);
    (void)CHECK_GE(longest, most > 0 ? 1 : 0);
    (void)CHECK_GE(most, 1);
    (void)CHECK_GE(destroyed_total(), TURNS * 3 / 2);
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), LIVE);
    (void)CHECK_EQ(GC_refcount(live), 2);
    GC_unref(live);
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 0);
}

SUITE("counted_slices", EACH_LAYOUT(steps_with_nothing_to_do), ONCE(every_budget_comes_to_the_end),
      EACH_LAYOUT(sound_after_each_step), ONCE(reference_moved_away_between_steps),
      ONCE(reference_assigned_away_between_steps), EACH_LAYOUT(cells_die_between_steps), ONCE(full_run_between_steps),
      EACH_LAYOUT(random_changes_between_steps), EACH_LAYOUT(automatic_slices), ONCE(each_call_is_bounded))
