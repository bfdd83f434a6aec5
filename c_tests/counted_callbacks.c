/*
 * The program's own code inside the library: destroy and trace callbacks that allocate, let go of other cells, call
 * the collector, bring cells back to life, or jump away. Afterwards everything is consistent and nothing is lost.
 *
 * Row 37 of the conformance table, and what Nim and NimSkull did wrong when the collector was entered again.
 */
#include "cells.h"

#include <setjmp.h>

static void touch(void *object) {
    GC_unref(GC_ref(object));
}

/* ---- Row 37: trace ---- */

/* Row 37: what only a trace callback knows is an edge like any other: for counting, and for the collector. */
COUNTED_TEST(trace_reports_every_slot) {
    Chest *chest = new_chest(1, 5);
    Node *node = new_node(2, NULL, NULL);
    Leaf *leaf = new_leaf(3);
    Node *shared = new_node(4, NULL, NULL);
    REQUIRE(chest != NULL && node != NULL && leaf != NULL && shared != NULL);
    chest->slots[0] = node;
    chest->slots[2] = leaf;
    chest->slots[3] = GC_ref(shared);
    chest->slots[4] = GC_ref(shared);
    node->left = GC_ref(chest);
    node->right = GC_ref(chest);
    touch(shared);
    GC_runOrc();
    (void)CHECK_EQ(destroyed_total(), 0);
    (void)CHECK_EQ(GC_refcount(chest), 3);
    (void)CHECK_EQ(GC_refcount(shared), 3);
    GC_unref(chest);
    (void)CHECK_EQ(destroyed_total(), 0);
    chest_traces = 0;
    GC_runOrc();
    (void)CHECK_GE(chest_traces, 1);
    (void)CHECK(destroyed_once(1, 3));
    (void)CHECK_EQ(GC_refcount(shared), 1);
    (void)CHECK_EQ(live_cells(), 1);
    GC_unref(shared);
}

/* Row 37: containers in containers, in rings, with blocks of the manual heap: the balance is zero, by counting too. */
COUNTED_TEST(custom_containers_balance) {
    size_t blocks = used_blocks(ground_heap());
    size_t turn, i;
    for (turn = 0; turn < 30; turn++) {
        Chest *chests[6];
        for (i = 0; i < 6; i++) {
            chests[i] = new_chest((uint32_t)i, 1 + (uint32_t)random_below(6));
            REQUIRE(chests[i] != NULL);
        }
        for (i = 0; i < 12; i++) {
            Chest *from = chests[random_below(6)];
            GC_assign(&from->slots[random_below(from->count)], chests[random_below(6)]);
        }
        for (i = 0; i < 6; i++) {
            GC_unref(chests[i]);
        }
        GC_runOrc();
        (void)CHECK_EQ(live_cells(), 0);
        (void)CHECK_EQ(destroyed_total(), 6 * (turn + 1));
    }
    /* The collector may keep buffers of its own, but no chest's slots. */
    (void)CHECK_LE(used_blocks(ground_heap()), blocks + 8);
}

/* A container by counting alone, without a destroy callback: at zero the trace callback tells what to let go of. */
static void trace_left(void *object, KnTracer *tracer) {
    Node *node = object;
    GC_visit(tracer, &node->left);
}

COUNTED_TEST(children_known_to_trace_only) {
    static const uint32_t right[] = {offsetof(Node, right)};
    static const KnType type = {"Half", sizeof(Node), 0, 1, right, NULL, trace_left, NULL, NULL, NULL};
    Node *half = GC_new(GC_registerType(&type));
    REQUIRE(half != NULL);
    half->left = new_leaf(1);
    half->right = new_leaf(2);
    GC_unref(half);
    (void)CHECK(destroyed_once(1, 2));
    (void)CHECK_EQ(live_cells(), 0);
}

/* ---- Actors: cells whose callbacks do something ---- */

typedef enum Deed {
    NOTHING,
    ALLOCATE,
    DROP_A_CYCLE,
    CALL_THE_COLLECTOR,
    CONFIGURE,
    COME_BACK,
    JUMP_AWAY,
    FREE_MANUAL,
    ASK,
    DEEDS
} Deed;

typedef struct Actor {
    void *next, *own;
    uint32_t id;
    Deed when_destroyed, when_traced;
    void *block;
} Actor;

static KnTypeId actor_type;
static jmp_buf away;
static size_t jumps_left;
static void *came_back;
static size_t deeds_done;
static bool calm; /* while the test itself looks on, nothing is done */

static bool calmly_sound(void) {
    bool sound;
    calm = true;
    sound = all_is_sound();
    calm = false;
    return sound;
}

static void act(Actor *actor, Deed deed) {
    Node *node;
    void *block;
    Text text = {{0}, 0};
    if (deed == NOTHING || calm) {
        return;
    }
    deeds_done++;
    switch (deed) {
    case ALLOCATE:
        node = new_node(2000, new_leaf(2001), NULL);
        block = kn_malloc(100);
        GC_unref(node);
        kn_free(block);
        break;
    case DROP_A_CYCLE:
        node = ring(3, 2000);
        GC_unref(node);
        break;
    case CALL_THE_COLLECTOR:
        GC_runOrc();
        GC_partialCollect(0);
        (void)GC_step(1000);
        (void)GC_prepareOrc();
        break;
    case CONFIGURE:
        GC_disableOrc();
        GC_enableOrc();
        break;
    case COME_BACK:
        if (came_back == NULL) {
            came_back = GC_ref(actor);
        }
        break;
    case JUMP_AWAY:
        if (jumps_left > 0) {
            jumps_left--;
            longjmp(away, 1);
        }
        break;
    case FREE_MANUAL:
        kn_free(actor->block);
        actor->block = kn_malloc(24);
        kn_free(actor->block);
        actor->block = NULL;
        break;
    case ASK:
        (void)gc();
        (void)CHECK_LE(GC_getOccupiedMem(), GC_getTotalMem());
        (void)GC_getStatistics(text.bytes, sizeof text.bytes);
        (void)CHECK_STATUS(kn_heap_check(ground_heap()), KN_OK);
        break;
    default:
        break;
    }
}

static void destroy_actor(void *object) {
    Actor *actor = object;
    record_destroyed(actor->id);
    act(actor, actor->when_destroyed);
}

static void trace_actor(void *object, KnTracer *tracer) {
    Actor *actor = object;
    GC_visit(tracer, &actor->own);
    act(actor, actor->when_traced);
}

static bool register_actors(void) {
    static const uint32_t offsets[] = {offsetof(Actor, next)};
    static const KnType type = {"Actor",       sizeof(Actor), 0,    1,   offsets,
                                destroy_actor, trace_actor,   NULL, NULL, NULL};
    actor_type = GC_registerType(&type);
    let_knoll_write(&came_back, sizeof came_back);
    came_back = NULL;
    deeds_done = 0;
    jumps_left = 0;
    return CHECK(actor_type != 0);
}

static Actor *new_actor(uint32_t id, Deed when_destroyed, Deed when_traced, void *next) {
    Actor *actor = GC_new(actor_type);
    if (actor != NULL) {
        actor->id = id;
        actor->when_destroyed = when_destroyed;
        actor->when_traced = when_traced;
        actor->next = next;
        actor->block = when_destroyed == FREE_MANUAL ? kn_malloc(50) : NULL;
    }
    return actor;
}

/* `count` actors in a row, each with a leaf of its own; in a ring if told. */
__attribute__((noinline)) static Actor *actors(uint32_t count, Deed when_destroyed, Deed when_traced, bool in_a_ring) {
    Actor *last = NULL, *first = NULL;
    uint32_t i;
    for (i = 0; i < count; i++) {
        first = new_actor(count - 1 - i, when_destroyed, when_traced, first);
        if (!CHECK(first != NULL)) {
            return NULL;
        }
        first->own = new_leaf(1000 + count - 1 - i);
        last = last == NULL ? first : last;
    }
    if (in_a_ring) {
        last->next = GC_ref(first);
    }
    return first;
}

#if defined(__arm__)
enum { ACTORS = 6 };
#else
enum { ACTORS = 12 };
#endif

/* Destroy callbacks that do each of these, in a row and in a ring: each runs once, everything is gone in the end. */
COUNTED_TEST(destroy_does_what_it_likes) {
    static const Deed deeds[] = {NOTHING, ALLOCATE, DROP_A_CYCLE, CALL_THE_COLLECTOR, CONFIGURE, FREE_MANUAL, ASK};
    size_t i;
    unsigned in_a_ring;
    REQUIRE(register_actors());
    for (i = 0; i < sizeof deeds / sizeof deeds[0]; i++) {
        for (in_a_ring = 0; in_a_ring < 2; in_a_ring++) {
            Actor *first;
            forget_destroyed();
            deeds_done = 0;
            first = actors(ACTORS, deeds[i], NOTHING, in_a_ring != 0);
            REQUIRE(first != NULL);
            GC_unref(first);
            if (in_a_ring != 0) {
                (void)CHECK_EQ(destroyed_times(0), 0);
            }
            GC_runOrc();
            (void)CHECK(destroyed_once(0, ACTORS - 1));
            (void)CHECK(destroyed_once(1000, 1000 + ACTORS - 1));
            (void)CHECK_EQ(deeds_done, deeds[i] == NOTHING ? 0 : ACTORS);
            (void)CHECK_EQ(destroyed_times(2000), deeds[i] == ALLOCATE || deeds[i] == DROP_A_CYCLE ? ACTORS : 0);
            (void)CHECK(calmly_sound());
            (void)CHECK_EQ(live_cells(), 0);
            (void)CHECK_EQ(GC_prepareOrc(), 0);
        }
    }
}

/* The same in the trace callback, on a ring that lives, and when it dies. */
COUNTED_TEST(trace_does_what_it_likes) {
    static const Deed deeds[] = {NOTHING, ALLOCATE, DROP_A_CYCLE, CALL_THE_COLLECTOR, CONFIGURE, ASK};
    size_t i;
    uint32_t j;
    REQUIRE(register_actors());
    for (i = 0; i < sizeof deeds / sizeof deeds[0]; i++) {
        Actor *first, *actor;
        forget_destroyed();
        deeds_done = 0;
        first = actors(ACTORS, NOTHING, deeds[i], true);
        REQUIRE(first != NULL);
        touch(first);
        GC_runOrc();
        (void)CHECK_EQ(destroyed_times(0), 0);
        (void)CHECK_EQ(deeds_done > 0, deeds[i] != NOTHING);
        for (actor = first, j = 0; j < ACTORS; j++, actor = actor->next) {
            (void)CHECK_EQ(GC_refcount(actor), j == 0 ? 2 : 1);
            (void)CHECK_EQ(GC_refcount(actor->own), 1);
        }
        (void)CHECK(calmly_sound());
        GC_unref(first);
        GC_runOrc();
        GC_runOrc();
        (void)CHECK(destroyed_once(0, ACTORS - 1));
        (void)CHECK(destroyed_once(1000, 1000 + ACTORS - 1));
        (void)CHECK(calmly_sound());
        GC_runOrc();
        (void)CHECK_EQ(live_cells(), 0);
    }
}

/* A cell that its destructor gives a new reference lives on with all it holds; the destructor does not run again. */
COUNTED_TEST(back_to_life) {
    Actor *first;
    Leaf *own;
    REQUIRE(register_actors());
    first = actors(3, NOTHING, NOTHING, false);
    REQUIRE(first != NULL);
    first->when_destroyed = COME_BACK;
    own = first->own;
    GC_unref(first);
    (void)CHECK(came_back == (void *)first);
    (void)CHECK_EQ(GC_refcount(first), 1);
    (void)CHECK_EQ(destroyed_times(0), 1);
    (void)CHECK_EQ(destroyed_total(), 1);
    (void)CHECK_EQ(live_cells(), 6);
    (void)CHECK(first->own == (void *)own);
    (void)CHECK_EQ(GC_refcount(own), 1);
    (void)CHECK(calmly_sound());
    GC_runOrc();
    (void)CHECK_EQ(live_cells(), 6);
    GC_unref(GC_move(&came_back));
    (void)CHECK(destroyed_once(0, 2) && destroyed_once(1000, 1002));
    (void)CHECK_EQ(live_cells(), 0);
}

/* The same for a member of a dead ring: it lives, its cyclic fields stay empty, the others of the ring are gone. */
COUNTED_TEST(back_to_life_from_a_cycle) {
    Actor *first, *survivor;
    REQUIRE(register_actors());
    first = actors(4, NOTHING, NOTHING, true);
    REQUIRE(first != NULL);
    ((Actor *)first->next)->when_destroyed = COME_BACK;
    GC_unref(first);
    GC_runOrc();
    survivor = came_back;
    REQUIRE(survivor != NULL);
    (void)CHECK_EQ(GC_refcount(survivor), 1);
    (void)CHECK(survivor->next == NULL);
    (void)CHECK(destroyed_once(0, 3));
    (void)CHECK_LE(live_cells(), 2);
    (void)CHECK_GE(live_cells(), 1);
    (void)CHECK(calmly_sound());
    GC_unref(GC_move(&came_back));
    GC_runOrc();
    (void)CHECK(destroyed_once(0, 3));
    (void)CHECK(destroyed_once(1000, 1003));
    (void)CHECK_EQ(live_cells(), 0);
}

/*
 * Whether a call comes from within a callback that has jumped away, the library tells by a mark on the stack of the call
 * that ran it, where nobody may have written since. Valgrind takes that look for a mistake: there no test jumps.
 */
#if defined(KNOLL_UNDER_VALGRIND)
#define JUMPS
#else

/* Gives the collector and the counting work until nothing is left; every jump lands here. */
static void work_until_done(Actor *volatile first) {
    volatile size_t turns = 0;
    if (setjmp(away) == 0) {
        GC_unref(first);
    }
    (void)setjmp(away);
    if (turns++ < 100) {
        (void)CHECK(calmly_sound());
        GC_runOrc();
    }
    /* Nobody jumps to where this function was. */
    (void)CHECK_EQ(jumps_left, 0);
    jumps_left = 0;
}

/* Destructors that jump away, the first one, some, all of them: what is left is done later, nothing twice. */
COUNTED_TEST(destroy_jumps_away) {
    static const size_t jumps[] = {1, 2, 5, ACTORS};
    size_t i;
    unsigned in_a_ring;
    REQUIRE(register_actors());
    for (i = 0; i < sizeof jumps / sizeof jumps[0]; i++) {
        for (in_a_ring = 0; in_a_ring < 2; in_a_ring++) {
            Actor *first;
            forget_destroyed();
            first = actors(ACTORS, JUMP_AWAY, NOTHING, in_a_ring != 0);
            REQUIRE(first != NULL);
            jumps_left = jumps[i];
            work_until_done(first);
            (void)CHECK(destroyed_once(0, ACTORS - 1));
            (void)CHECK(destroyed_once(1000, 1000 + ACTORS - 1));
            (void)CHECK(calmly_sound());
            (void)CHECK_EQ(live_cells(), 0);
        }
    }
}

/* Trace callbacks that jump out of the collector: no count has changed, and the next run does the whole work. */
COUNTED_TEST(trace_jumps_away) {
#if defined(__arm__)
    static const size_t jumps[] = {1, 5};
#else
    static const size_t jumps[] = {1, 2, 5, 30};
#endif
    size_t i;
    uint32_t j;
    REQUIRE(register_actors());
    for (i = 0; i < sizeof jumps / sizeof jumps[0]; i++) {
        Actor *volatile first;
        Actor *actor;
        forget_destroyed();
        first = actors(ACTORS, NOTHING, JUMP_AWAY, true);
        REQUIRE(first != NULL);
        jumps_left = jumps[i];
        touch(first);
        /* While it lives: each run is left by a jump until none is left. */
        (void)setjmp(away);
        if (jumps_left > 0) {
            for (actor = first, j = 0; j < ACTORS; j++, actor = actor->next) {
                (void)CHECK_EQ(GC_refcount(actor), j == 0 ? 2 : 1);
            }
            touch(first);
            GC_runOrc();
        }
        (void)CHECK_EQ(jumps_left, 0);
        (void)CHECK_EQ(destroyed_total(), 0);
        jumps_left = jumps[i];
        work_until_done(first);
        (void)CHECK(destroyed_once(0, ACTORS - 1));
        (void)CHECK(destroyed_once(1000, 1000 + ACTORS - 1));
        (void)CHECK_EQ(live_cells(), 0);
    }
}

/* Frames of the program's that lie deeper than the call that was jumped away from, on stack that was used since. */
__attribute__((noinline)) static void work_deeper(unsigned levels) {
    volatile uint8_t room[600];
    size_t i;
    for (i = 0; i < sizeof room; i++) {
        room[i] = (uint8_t)(levels + i);
    }
    if (levels > 0) {
        work_deeper(levels - 1);
    } else {
        Node *node = new_node(3000, NULL, NULL);
        Node *cycle = ring(2, 3001);
        GC_unref(node);
        GC_unref(cycle);
        GC_runOrc();
    }
    room[0]++;
}

/* After a jump the program goes on in deeper calls than the one that it left: its cells are destroyed all the same. */
COUNTED_TEST(work_goes_on_deeper_after_a_jump) {
    Actor *first;
    REQUIRE(register_actors());
    first = actors(3, JUMP_AWAY, NOTHING, false);
    REQUIRE(first != NULL);
    jumps_left = 1;
    if (setjmp(away) == 0) {
        GC_unref(first);
    }
    (void)CHECK_EQ(jumps_left, 0);
    work_deeper(2);
    (void)CHECK(destroyed_once(0, 2));
    (void)CHECK(destroyed_once(3000, 3002));
    (void)CHECK_EQ(live_cells(), 0);
    (void)CHECK(calmly_sound());
}

/* Jumps, returns to life and drops at once, in random graphs, with and without a budget: the end is always nothing. */
COUNTED_TEST(all_of_it_at_random) {
#if defined(__arm__)
    enum { COUNT = 30, TURNS = 6 };
#else
    enum { COUNT = 30, TURNS = 24 };
#endif
    static Actor *all[COUNT];
    static volatile size_t turn;
    REQUIRE(register_actors());
    for (turn = 0; turn < TURNS; turn++) {
        KnGcConfig config = {.frees_per_unref = turn % 3 == 1 ? 3 : 0, .slice = turn % 3 == 2 ? 10 : 0};
        volatile uint32_t i;
        configure(config);
        forget_destroyed();
        jumps_left = 8;
        for (i = 0; i < COUNT; i++) {
            Deed destroyed = (Deed)random_below(DEEDS), traced = (Deed)random_below(DEEDS);
            traced = traced == COME_BACK || traced == FREE_MANUAL ? NOTHING : traced;
            all[i] = new_actor(i, destroyed, traced, NULL);
            REQUIRE(all[i] != NULL);
        }
        for (i = 0; i < 2 * COUNT; i++) {
            Actor *from = all[random_below(COUNT)];
            (void)setjmp(away);
            GC_assign(i % 2 == 0 ? &from->next : &from->own, all[random_below(COUNT)]);
        }
        i = 0;
        (void)setjmp(away);
        while (i < COUNT) {
            GC_unref(all[i++]);
        }
        i = 0;
        (void)setjmp(away);
        while (i++ < 20) {
            GC_unref(GC_move(&came_back));
            GC_runOrc();
        }
        (void)CHECK(destroyed_once(0, COUNT - 1));
        (void)CHECK(calmly_sound());
        configure((KnGcConfig){0});
        jumps_left = 0;
        GC_runOrc();
        (void)CHECK_EQ(live_cells(), 0);
    }
}

#define JUMPS                                                                                                          \
    EACH_LAYOUT(destroy_jumps_away), EACH_LAYOUT(trace_jumps_away), ONCE(work_goes_on_deeper_after_a_jump),            \
        EACH_LAYOUT(all_of_it_at_random),
#endif

SUITE("counted_callbacks", JUMPS EACH_LAYOUT(trace_reports_every_slot), EACH_LAYOUT(custom_containers_balance),
      ONCE(children_known_to_trace_only), EACH_LAYOUT(destroy_does_what_it_likes),
      EACH_LAYOUT(trace_does_what_it_likes), EACH_LAYOUT(back_to_life), EACH_LAYOUT(back_to_life_from_a_cycle))
