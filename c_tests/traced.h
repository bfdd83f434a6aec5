/*
 * What the tests of traced memory share: heaps with each granule, a table of roots, and a record of what was told.
 *
 *     TRACED_TEST(a_dead_block_goes) {
 *         KnTraced *heap = small_heap();
 *         void *block = kn_traced_alloc(heap, 40, 0);
 *         collect_now(heap);
 *         (void)CHECK_EQ(kn_traced_size(heap, block), 0);
 *     }
 *     SUITE("traced_example", ONCE(a_dead_block_goes))
 *
 * What it promises:
 *  - A TRACED_TEST runs three times, for granules of 8, 16 and 32 bytes; each time the roots are empty and nothing has
 *    been told. After each time every heap that the test has made must be sound.
 *  - collect_now() collects with the words of `roots` as roots and no others: what the test's own variables hold is no
 *    root.
 *  - The hooks of usual_config() collect in the same way, and record what they are told.
 */
#ifndef KNOLL_C_TESTS_TRACED_H
#define KNOLL_C_TESTS_TRACED_H

#include "harness.h"

enum { ROOTS = 64, WORD = sizeof(void *) };

#define TRACED_TEST(name)                                                                                              \
    static void name##_body(void);                                                                                     \
    static void name(void) {                                                                                           \
        on_each_granule(name##_body);                                                                                  \
    }                                                                                                                  \
    static void name##_body(void)

void on_each_granule(void (*body)(void));

/* The granule of this run. */
size_t granule(void);

/* ---- Heaps ---- */

/* The granule of this run, the hooks below, and nothing else. */
KnTracedConfig usual_config(void);

/* A heap in `bytes` fresh bytes; the test fails if there is none. */
KnTraced *heap_with(KnTracedConfig config, size_t bytes);

/* A heap as usual, of 2,000 words; one of `bytes` bytes. */
KnTraced *small_heap(void);
KnTraced *heap_of(size_t bytes);

/* The same in memory that the test has taken. */
KnTraced *heap_in(void *memory, size_t bytes, KnTracedConfig config);

/* The same in the place of the heap that was made last, which is no more. */
KnTraced *again_in(void *memory, size_t bytes, KnTracedConfig config);

KnTracedStats numbers(KnTraced *heap);

/* Bytes rounded up to granules; with KN_FINALISE there are at least two. */
size_t rounded(size_t bytes, uint32_t flags);

/* The heap's records agree with each other, and used and free make the whole. */
bool is_sound_traced(KnTraced *heap);

/* Fills the heap with blocks of `bytes` bytes that hold each other from roots[root] on; how many there are. */
size_t fill_with_list(KnTraced *heap, size_t root, size_t bytes);

/* Allocates until nothing is left, small things last; nothing is collected meanwhile. */
void fill_up(KnTraced *heap);

/* ---- Collections ---- */

extern void *roots[ROOTS];

void collect_now(KnTraced *heap);

/* The same, and all is swept. */
void collect_fully(KnTraced *heap);

/* Whether the block is there after a collection with `word` as its only root. */
bool is_held_by(KnTraced *heap, const void *block, uintptr_t word);

/* The word at this place of a block: a place for a pointer. */
void **slot(void *block, size_t index);

/* ---- What was told: the hooks of usual_config() ---- */

/* How often a collection was asked for; whether the hook does nothing then. */
size_t asked(void);
void decline(bool declines);

/* How many finalisers have run; how many for this block. */
size_t finalised(void);
size_t finalised_for(const void *block);

/* What the next finalisers do beside that, until it is NULL: `block` is the dead block. */
extern void (*in_finaliser)(KnTraced *heap, void *block);

/* How often memory was told to be short, and the last report. */
size_t told_short(void);
const KnTracedShort *last_short(void);

/* The heap that was made last; that hooks are about. */
KnTraced *last_heap(void);

#endif
