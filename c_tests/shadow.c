/*
 * The shadow behind shadow.h.
 *
 * A new block is compared with the live ones one by one, up to a limit: with more of them an overlap still shows, when
 * the bytes of the block that was overwritten are compared.
 */
#include "shadow.h"

enum { MOST_COMPARED = 128 };

static Shadow the_shadow;

Shadow *shadow_of(KnHeap *heap) {
    the_shadow.heap = heap;
    the_shadow.count = 0;
    the_shadow.live_bytes = 0;
    the_shadow.next_seed = 1;
    return &the_shadow;
}

static bool overlaps_none(const Shadow *shadow, const uint8_t *at, size_t bytes, size_t except) {
    size_t i = shadow->count > MOST_COMPARED ? shadow->count - MOST_COMPARED : 0;
    for (; i < shadow->count; i++) {
        const ShadowBlock *other = &shadow->blocks[i];
        /* A block of no bytes has an address of its own too. */
        size_t other_bytes = other->bytes == 0 ? 1 : other->bytes;
        if (i != except && at < other->at + other_bytes && other->at < at + (bytes == 0 ? 1 : bytes)) {
            return false;
        }
    }
    return true;
}

static void judge(const Shadow *shadow, const uint8_t *at, size_t bytes, size_t alignment, size_t except) {
    (void)CHECK(is_aligned(at, alignment));
    (void)CHECK(lies_in_memory(at, bytes));
    (void)CHECK(overlaps_none(shadow, at, bytes, except));
    (void)CHECK_GE(kn_heap_usable_size(shadow->heap, at), bytes);
}

static bool add(Shadow *shadow, uint8_t *at, size_t bytes, size_t alignment) {
    ShadowBlock *block = &shadow->blocks[shadow->count];
    if (at == NULL) {
        return false;
    }
    judge(shadow, at, bytes, alignment, SIZE_MAX);
    block->at = at;
    block->bytes = bytes;
    block->alignment = alignment;
    block->seed = shadow->next_seed++;
    fill_pattern(at, bytes, block->seed);
    shadow->count++;
    shadow->live_bytes += bytes;
    return true;
}

static bool has_room(const Shadow *shadow) {
    return shadow->count < SHADOW_MOST_BLOCKS;
}

bool shadow_malloc(Shadow *shadow, size_t bytes) {
    return has_room(shadow) && add(shadow, kn_heap_malloc(shadow->heap, bytes), bytes, BLOCK_ALIGNMENT);
}

bool shadow_malloc_top(Shadow *shadow, size_t bytes) {
    return has_room(shadow) && add(shadow, kn_heap_malloc_top(shadow->heap, bytes), bytes, BLOCK_ALIGNMENT);
}

bool shadow_calloc(Shadow *shadow, size_t count, size_t bytes) {
    uint8_t *at;
    if (!has_room(shadow)) {
        return false;
    }
    at = kn_heap_calloc(shadow->heap, count, bytes);
    if (at != NULL) {
        (void)CHECK(holds_byte(at, count * bytes, 0));
    }
    return add(shadow, at, count * bytes, BLOCK_ALIGNMENT);
}

bool shadow_aligned_alloc(Shadow *shadow, size_t alignment, size_t bytes) {
    size_t least = alignment > BLOCK_ALIGNMENT ? alignment : BLOCK_ALIGNMENT;
    return has_room(shadow) && add(shadow, kn_heap_aligned_alloc(shadow->heap, alignment, bytes), bytes, least);
}

static void resized(Shadow *shadow, ShadowBlock *block, uint8_t *at, size_t bytes) {
    shadow->live_bytes = shadow->live_bytes - block->bytes + bytes;
    block->at = at;
    block->bytes = bytes;
    block->seed = shadow->next_seed++;
    fill_pattern(at, bytes, block->seed);
}

bool shadow_realloc(Shadow *shadow, size_t index, size_t bytes) {
    ShadowBlock *block = &shadow->blocks[index];
    size_t kept = bytes < block->bytes ? bytes : block->bytes;
    uint8_t *at = kn_heap_realloc(shadow->heap, block->at, bytes);
    if (at == NULL) {
        (void)CHECK_PATTERN(block->at, block->bytes, block->seed);
        return false;
    }
    judge(shadow, at, bytes, block->alignment < 64 ? block->alignment : 64, index);
    (void)CHECK_PATTERN(at, kept, block->seed);
    resized(shadow, block, at, bytes);
    return true;
}

void shadow_free(Shadow *shadow, size_t index) {
    ShadowBlock *block = &shadow->blocks[index];
    (void)CHECK_PATTERN(block->at, block->bytes, block->seed);
    kn_heap_free(shadow->heap, block->at);
    shadow->live_bytes -= block->bytes;
    shadow->count--;
    *block = shadow->blocks[shadow->count];
}

bool shadow_aligned_realloc(Shadow *shadow, size_t index, size_t alignment, size_t bytes) {
    ShadowBlock *block = &shadow->blocks[index];
    size_t kept = bytes < block->bytes ? bytes : block->bytes;
    uint8_t *at = kn_heap_aligned_realloc(shadow->heap, block->at, alignment, bytes);
    if (at == NULL) {
        (void)CHECK_PATTERN(block->at, block->bytes, block->seed);
        return false;
    }
    judge(shadow, at, bytes, alignment > BLOCK_ALIGNMENT ? alignment : BLOCK_ALIGNMENT, index);
    (void)CHECK_PATTERN(at, kept, block->seed);
    block->alignment = alignment > BLOCK_ALIGNMENT ? alignment : BLOCK_ALIGNMENT;
    resized(shadow, block, at, bytes);
    return true;
}

/* The index of the block to free next; `turn` counts the frees so far. Blocks stand in the table as they came. */
static size_t next_to_free(const Shadow *shadow, ShadowOrder order, size_t turn) {
    if (order == SHADOW_RANDOM) {
        return random_below(shadow->count);
    }
    if (order == SHADOW_EVERY_SECOND && turn % 2 == 0) {
        /* shadow_free moves the last block into the hole, so this leaves gaps all over before it fills them. */
        return (turn / 2) % shadow->count;
    }
    return shadow->count - 1;
}

static void turn_round(Shadow *shadow) {
    size_t low = 0, high = shadow->count;
    while (low + 1 < high) {
        ShadowBlock block = shadow->blocks[--high];
        shadow->blocks[high] = shadow->blocks[low];
        shadow->blocks[low++] = block;
    }
}

void shadow_free_all(Shadow *shadow, ShadowOrder order, size_t check_every) {
    size_t turn;
    if (order == SHADOW_OLDEST_FIRST) {
        turn_round(shadow);
    }
    for (turn = 0; shadow->count > 0; turn++) {
        shadow_free(shadow, next_to_free(shadow, order, turn));
        if (check_every != 0 && turn % check_every == 0) {
            (void)CHECK(is_sound(shadow->heap));
            (void)CHECK_EQ(used_blocks(shadow->heap), shadow->count);
        }
    }
}

void shadow_verify(Shadow *shadow) {
    size_t i;
    for (i = 0; i < shadow->count; i++) {
        (void)CHECK_PATTERN(shadow->blocks[i].at, shadow->blocks[i].bytes, shadow->blocks[i].seed);
    }
    (void)CHECK(is_sound(shadow->heap));
    (void)CHECK_EQ(used_blocks(shadow->heap), shadow->count);
}
