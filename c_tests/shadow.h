/*
 * A shadow of a heap: remembers each live block's address, size and contents, and so knows what must be true.
 *
 * Every call goes to Knoll and is judged at once: a new block is aligned, lies in the heap, overlaps no live block and
 * is as large as was asked; contents survive resizing; every byte is as it was left when the block is freed. A call
 * that gets no memory returns false and must have changed nothing.
 */
#ifndef KNOLL_C_TESTS_SHADOW_H
#define KNOLL_C_TESTS_SHADOW_H

#include "harness.h"

#define SHADOW_MOST_BLOCKS 2048

typedef struct ShadowBlock {
    uint8_t *at;
    size_t bytes;
    uint32_t seed; /* of the pattern that fills it */
    size_t alignment; /* that it was asked for; resizing keeps it up to 64 */
} ShadowBlock;

typedef struct Shadow {
    KnHeap *heap;
    size_t count;
    size_t live_bytes; /* as asked for */
    uint32_t next_seed;
    ShadowBlock blocks[SHADOW_MOST_BLOCKS];
} Shadow;

/* There is one; it is large, and a firmware's stack is not. */
Shadow *shadow_of(KnHeap *heap);

bool shadow_malloc(Shadow *shadow, size_t bytes);
bool shadow_malloc_top(Shadow *shadow, size_t bytes);
bool shadow_calloc(Shadow *shadow, size_t count, size_t bytes);
bool shadow_aligned_alloc(Shadow *shadow, size_t alignment, size_t bytes);
bool shadow_realloc(Shadow *shadow, size_t index, size_t bytes);
bool shadow_aligned_realloc(Shadow *shadow, size_t index, size_t alignment, size_t bytes);

/* Verifies and frees one; the last block takes its place. */
void shadow_free(Shadow *shadow, size_t index);

typedef enum ShadowOrder { SHADOW_OLDEST_FIRST, SHADOW_NEWEST_FIRST, SHADOW_RANDOM, SHADOW_EVERY_SECOND } ShadowOrder;

/* Frees all, in an order; verifies each. Checks the heap every `check_every` frees (0: never). */
void shadow_free_all(Shadow *shadow, ShadowOrder order, size_t check_every);

/* Every byte of every live block, the count of blocks, and the heap's own check. */
void shadow_verify(Shadow *shadow);

#endif
