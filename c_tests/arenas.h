/*
 * What the tests of scopes and arenas share: a ground to stand on, types that can be promoted, cleanups that leave a
 * trace, and a heap without room.
 *
 *     ARENA_TEST(a_scope_leaves_nothing) {
 *         uint64_t before = fingerprint();
 *         KnArena *scope = enter("workflow");
 *         REQUIRE(scope != NULL);
 *         (void)CHECK(kn_arena_alloc(scope, 100) != NULL);
 *         (void)leave(scope);
 *         (void)CHECK_EQ(fingerprint(), before);
 *     }
 *
 * What it promises:
 *  - An ARENA_TEST runs as a COUNTED_TEST does (see cells.h), several times over on one heap. After each time no scope
 *    is open, and where no page of cells is left either, the heap has as many bytes and blocks in use as before.
 *  - Whatever Knoll keeps for scopes it has taken before the test begins.
 */
#ifndef KNOLL_C_TESTS_ARENAS_H
#define KNOLL_C_TESTS_ARENAS_H

#include "cells.h"

#define ARENA_TEST(name) ARENA_TEST_IN(name, GROUND_BYTES)
#define ARENA_TEST_IN(name, bytes)                                                                                     \
    static void name##_body(void);                                                                                     \
    static void name(void) {                                                                                           \
        on_arena_ground(name##_body, (bytes));                                                                         \
    }                                                                                                                  \
    static void name##_body(void)

void on_arena_ground(void (*body)(void), size_t bytes);

/* ---- Types without callbacks, so that cells of them can be promoted ---- */

typedef struct Pair {
    void *first, *second; /* by these names */
    uint32_t id, note;
} Pair;

typedef struct List {
    uint32_t id, count;
    void *items[];
} List;

/* Always-active: as a Pair, resident. */
extern const KnType pair_descriptor, list_descriptor, keeper_descriptor;
extern KnTypeId pair_type, list_type, keeper_type;

Pair *new_pair(uint32_t id, void *first, void *second);
Pair *new_keeper(uint32_t id);

/* In an arena; NULL when there is no memory. The fields take over the references that are given. */
Pair *pair_in(KnArena *arena, uint32_t id, void *first, void *second);
List *list_in(KnArena *arena, uint32_t id, uint32_t count);
Node *node_in(KnArena *arena, uint32_t id, void *left, void *right);
Leaf *leaf_in(KnArena *arena, uint32_t id);

/* ---- Scopes ---- */

/* All zero but for the name. */
KnArenaConfig named(const char *name);

/* These must succeed; NULL when they do not. */
KnArena *enter(const char *name);
KnArena *enter_as(KnArenaConfig config);
KnArena *create(const char *name);

/* Leaves a scope, which must be all right; what was told. */
KnLeaveReport leave(KnArena *scope);

KnArenaStats stats_of(const KnArena *arena);
bool same_text(const char *one, const char *other); /* both may be NULL */

/* ---- The ground's heap ---- */

/* What lies in memory that was filled with `value` and went back to the heap: with full checks the heap fills it anew. */
#if defined(KNOLL_WITH_FULL_CHECKS)
#define GIVEN_BACK(value) ((void)(value), (uint8_t)0xDD)
#else
#define GIVEN_BACK(value) (value)
#endif

uint64_t fingerprint(void);
uint64_t term(const void *block); /* what this block adds to the fingerprint */
size_t heap_used(void);
size_t heap_blocks(void);

/* Fills the heap but for one free block of about `room` bytes; false, and nothing filled, when there is not so much.
 * relax() gives everything back. */
bool squeeze(size_t room);
void relax(void);

/* ---- Cleanups: each records its id as destroyed ---- */

typedef struct Note {
    KnCleanup node;
    uint32_t id;
} Note;

/* The note must lie where Knoll may write: on the stack, in an arena. */
bool note_on_leave(KnArena *arena, Note *note, uint32_t id);

#endif
