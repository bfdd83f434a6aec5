/*
 * Jumping away: out of scopes, and then unwinding; out of cleanups, destroy callbacks and hooks in the middle of leave,
 * which a later leave or unwind brings to its end, each of them run once.
 */
#include "arenas.h"

#include <setjmp.h>
#include <string.h>

enum { DEEP = 6 };

static jmp_buf escape_to;
static KnArena *scopes[DEEP];

/* Opens all scopes, with a cleanup and a cell in each, and jumps; the notes lie in the scopes. */
static void go_deep_and_jump(size_t depth) {
    Note *note;
    if (depth == DEEP) {
        longjmp(escape_to, 1);
    }
    scopes[depth] = enter("deep");
    note = scopes[depth] == NULL ? NULL : kn_arena_alloc(scopes[depth], sizeof *note);
    if (CHECK(note != NULL && leaf_in(scopes[depth], (uint32_t)(10 + depth)) != NULL) &&
        note_on_leave(scopes[depth], note, (uint32_t)depth) && CHECK(kn_arena_alloc(scopes[depth], 500) != NULL)) {
        go_deep_and_jump(depth + 1);
    }
}

/* Up to each of the scopes, or out of all of them. */
ARENA_TEST(unwind_leaves_what_is_inside) {
    static size_t upto;
    static uint64_t before;
    before = fingerprint();
    for (upto = 0; upto <= DEEP; upto++) {
        size_t i;
        forget_destroyed();
        if (setjmp(escape_to) == 0) {
            go_deep_and_jump(0);
            return;
        }
        (void)CHECK(kn_arena_innermost(ground_heap()) == scopes[DEEP - 1]);
        (void)CHECK_STATUS(kn_arena_unwind(ground_heap(), upto == DEEP ? NULL : scopes[upto]), KN_OK);
        (void)CHECK(kn_arena_innermost(ground_heap()) == (upto == DEEP ? NULL : scopes[upto]));
        (void)CHECK_EQ(destroyed_total(), 2 * (upto == DEEP ? DEEP : DEEP - 1 - upto));
        /* The innermost first, in each the cleanup before the cell. */
        for (i = 0; i < destroyed_total() / 2; i++) {
            (void)CHECK_EQ(destroyed_at(2 * i), DEEP - 1 - i);
            (void)CHECK_EQ(destroyed_at(2 * i + 1), 10 + DEEP - 1 - i);
        }
        if (upto < DEEP) {
            (void)CHECK(kn_arena_alloc(scopes[upto], 100) != NULL);
            (void)CHECK_STATUS(kn_arena_unwind(ground_heap(), scopes[upto]), KN_OK);
            (void)CHECK(kn_arena_innermost(ground_heap()) == scopes[upto]);
            (void)CHECK_STATUS(kn_arena_unwind(ground_heap(), NULL), KN_OK);
        }
        (void)CHECK_EQ(destroyed_total(), 2 * DEEP);
        (void)CHECK_EQ(fingerprint(), before);
    }
    (void)CHECK_STATUS(kn_arena_unwind(ground_heap(), NULL), KN_OK);
}

/* ---- Out of callbacks ---- */

static uint32_t jump_at; /* the id at which the callback jumps away, once */
static size_t jumps;

static void run_or_jump(void *context) {
    uint32_t id = ((Note *)context)->id;
    record_destroyed(id);
    if (id == jump_at) {
        jump_at = UINT32_MAX;
        jumps++;
        longjmp(escape_to, 1);
    }
}

static void destroy_or_jump(void *object) {
    uint32_t id = ((Leaf *)object)->id;
    record_destroyed(id);
    if (id == jump_at) {
        jump_at = UINT32_MAX;
        jumps++;
        longjmp(escape_to, 1);
    }
}

static const KnType jumpy_descriptor = {"Jumpy", sizeof(Leaf), 0, 0, NULL, destroy_or_jump, NULL, NULL, NULL, NULL};

/* Ids 0 to 4 are cleanups, 10 to 14 cells, from the first to the last. */
static bool lay_mines(KnArena *scope, Leaf *outside) {
    KnTypeId jumpy_type = GC_registerType(&jumpy_descriptor);
    uint32_t i;
    for (i = 0; i < 5; i++) {
        Note *note = kn_arena_alloc(scope, sizeof *note);
        Leaf *cell = GC_newIn(scope, jumpy_type);
        Pair *pair = pair_in(scope, i, NULL, NULL);
        if (!CHECK(note != NULL && cell != NULL && pair != NULL) || !note_on_leave(scope, note, i)) {
            return false;
        }
        note->node.run = run_or_jump;
        cell->id = 10 + i;
        GC_assign(&pair->first, outside);
    }
    return true;
}

static bool each_ran_once(void) {
    return destroyed_once(0, 4) && destroyed_once(10, 14) && destroyed_total() == 10;
}

/* Leave goes on where it was: by another leave, or by unwinding. */
ARENA_TEST(leave_goes_on_after_a_jump) {
    static uint32_t id;
    static size_t by_unwind;
    static KnArena *scope;
    static Leaf *outside;
    static uint64_t before;
    outside = new_leaf(100);
    REQUIRE(outside != NULL);
    before = fingerprint();
    for (by_unwind = 0; by_unwind < 2; by_unwind++) {
        for (id = 0; id < 15; id = id == 4 ? 10 : id + 1) {
            forget_destroyed();
            jumps = 0;
            jump_at = id;
            scope = enter("mined");
            REQUIRE(scope != NULL && lay_mines(scope, outside));
            (void)CHECK_EQ(GC_refcount(outside), 6);
            if (setjmp(escape_to) == 0) {
                (void)kn_arena_leave(scope, NULL);
                (void)CHECK(!"nobody jumped");
            }
            (void)CHECK_EQ(jumps, 1);
            (void)CHECK(is_sound(ground_heap()));
            (void)CHECK_EQ(destroyed_times(id), 1);
            if (by_unwind != 0) {
                (void)CHECK_STATUS(kn_arena_unwind(ground_heap(), NULL), KN_OK);
            } else {
                (void)CHECK_STATUS(kn_arena_leave(scope, NULL), KN_OK);
            }
            (void)CHECK(each_ran_once());
            (void)CHECK_EQ(GC_refcount(outside), 1);
            (void)CHECK(kn_arena_innermost(ground_heap()) == NULL);
            (void)CHECK_EQ(fingerprint(), before);
        }
    }
    GC_unref(outside);
}

/* The same when the outer of three scopes is unwound: inner ones are gone already, or not yet. */
ARENA_TEST(unwind_goes_on_after_a_jump) {
    static uint32_t id;
    static KnArena *outer, *scope, *inner;
    static Leaf *outside;
    static uint64_t before;
    outside = new_leaf(100);
    REQUIRE(outside != NULL);
    before = fingerprint();
    for (id = 0; id < 15; id = id == 4 ? 10 : id + 1) {
        forget_destroyed();
        jumps = 0;
        jump_at = id;
        outer = enter("outer");
        scope = enter("mined");
        REQUIRE(outer != NULL && scope != NULL && lay_mines(scope, outside));
        inner = enter("inner");
        REQUIRE(inner != NULL && kn_arena_alloc(inner, 700) != NULL);
        if (setjmp(escape_to) == 0) {
            (void)kn_arena_unwind(ground_heap(), outer);
            (void)CHECK(!"nobody jumped");
        }
        (void)CHECK_EQ(jumps, 1);
        (void)CHECK_STATUS(kn_arena_unwind(ground_heap(), outer), KN_OK);
        (void)CHECK(each_ran_once());
        (void)CHECK(kn_arena_innermost(ground_heap()) == outer);
        (void)CHECK_EQ(GC_refcount(outside), 1);
        (void)leave(outer);
        (void)CHECK_EQ(fingerprint(), before);
    }
    GC_unref(outside);
}

/* Rewind, reset and destroy of an arena, likewise. */
ARENA_TEST(an_arena_goes_on_after_a_jump) {
    static uint32_t id;
    static size_t way;
    static KnArena *arena;
    static Leaf *outside;
    static KnArenaMark mark;
    static uint64_t before;
    outside = new_leaf(100);
    REQUIRE(outside != NULL);
    before = fingerprint();
    for (way = 0; way < 3; way++) {
        for (id = 0; id < 15; id = id == 4 ? 10 : id + 1) {
            forget_destroyed();
            jumps = 0;
            jump_at = id;
            arena = create("mined");
            REQUIRE(arena != NULL);
            mark = kn_arena_mark(arena);
            REQUIRE(lay_mines(arena, outside));
            if (setjmp(escape_to) == 0) {
                if (way == 0) {
                    (void)kn_arena_rewind(arena, mark);
                } else if (way == 1) {
                    kn_arena_reset(arena);
                } else {
                    kn_arena_destroy(arena);
                }
                (void)CHECK(!"nobody jumped");
            }
            (void)CHECK_EQ(jumps, 1);
            (void)CHECK(is_sound(ground_heap()));
            kn_arena_destroy(arena);
            (void)CHECK(each_ran_once());
            (void)CHECK_EQ(GC_refcount(outside), 1);
            (void)CHECK_EQ(fingerprint(), before);
        }
    }
    GC_unref(outside);
}

/* Every cleanup and every destroy jumps away: it takes many attempts, and each of them runs once. */
static void always_jump(void *context) {
    record_destroyed(((Note *)context)->id);
    longjmp(escape_to, 1);
}

ARENA_TEST(all_of_them_jump) {
    static size_t attempts;
    static uint64_t before;
    static KnArena *scope;
    uint32_t i;
    before = fingerprint();
    attempts = 0;
    scope = enter("jumping");
    REQUIRE(scope != NULL);
    for (i = 0; i < 8; i++) {
        Note *note = kn_arena_alloc(scope, sizeof *note);
        REQUIRE(note != NULL && note_on_leave(scope, note, i));
        note->node.run = always_jump;
    }
    (void)setjmp(escape_to);
    if (attempts < 20 && kn_arena_innermost(ground_heap()) != NULL) {
        attempts++;
        (void)kn_arena_unwind(ground_heap(), NULL);
    }
    (void)CHECK_EQ(attempts, 9);
    (void)CHECK(destroyed_once(0, 7));
    (void)CHECK_EQ(destroyed_total(), 8);
    (void)CHECK(kn_arena_innermost(ground_heap()) == NULL);
    (void)CHECK_EQ(fingerprint(), before);
}

/* ---- Out of hooks ---- */

static void jump_from_soft(KnArena *arena, size_t held, void *context) {
    (void)arena;
    (void)held;
    (void)context;
    jumps++;
    longjmp(escape_to, 1);
}

ARENA_TEST(jump_out_of_a_soft_hook) {
    static uint64_t before;
    static KnArena *scope;
    KnArenaConfig config = named("soft");
    size_t i;
    before = fingerprint();
    jumps = 0;
    config.soft = 2000;
    config.on_soft = jump_from_soft;
    scope = enter_as(config);
    REQUIRE(scope != NULL);
    if (setjmp(escape_to) == 0) {
        for (i = 0; i < 100; i++) {
            (void)CHECK(kn_arena_alloc(scope, 100) != NULL);
        }
        (void)CHECK(!"the hook was not called");
    }
    (void)CHECK_EQ(jumps, 1);
    (void)CHECK(is_sound(ground_heap()));
    (void)CHECK(kn_arena_alloc(scope, 100) != NULL);
    (void)leave(scope);
    (void)CHECK_EQ(fingerprint(), before);
}

static void jump_from_escape(const KnEscape *escape, void *context) {
    (void)escape;
    (void)context;
    if (jumps++ == 0) {
        longjmp(escape_to, 1);
    }
}

ARENA_TEST(jump_out_of_an_escape_hook) {
    static KnArena *scope;
    static Pair *holder;
    KnArenaConfig config = named("escaping");
    jumps = 0;
    config.on_escape = jump_from_escape;
    scope = enter_as(config);
    holder = new_pair(1, NULL, NULL);
    REQUIRE(scope != NULL && holder != NULL);
    GC_assign(&holder->first, pair_in(scope, 2, NULL, NULL));
    GC_assign(&holder->second, pair_in(scope, 3, NULL, NULL));
    if (setjmp(escape_to) == 0) {
        (void)kn_arena_leave(scope, NULL);
        (void)CHECK(!"the hook was not called");
    }
    (void)CHECK_STATUS(kn_arena_leave(scope, NULL), KN_OK);
    (void)CHECK(holder->first == NULL && holder->second == NULL);
    (void)CHECK_GE(jumps, 2);
    (void)CHECK(kn_arena_innermost(ground_heap()) == NULL);
    GC_unref(holder);
}

SUITE("arena_unwind", EACH_LAYOUT(unwind_leaves_what_is_inside), EACH_LAYOUT(leave_goes_on_after_a_jump),
      EACH_LAYOUT(unwind_goes_on_after_a_jump), EACH_LAYOUT(an_arena_goes_on_after_a_jump),
      EACH_LAYOUT(all_of_them_jump), EACH_LAYOUT(jump_out_of_a_soft_hook), EACH_LAYOUT(jump_out_of_an_escape_hook))
