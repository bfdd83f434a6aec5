/*
 * What the witness costs, on a heap of 140 KB filled with blocks of 8 to MOST bytes (the first argument), of which some
 * in a hundred (the second argument) are freed again here and there.
 *
 * The harness measures the calls; this program only makes them, and tells what the heap was like.
 */
#include "knoll.h"
#include "mark.h"

#include <stdio.h>
#include <stdlib.h>

enum { HEAP_BYTES = 140 * 1024, MOST_BLOCKS = 8192 };

static uint64_t memory[HEAP_BYTES / 8];
static void *blocks[MOST_BLOCKS];
static size_t written;

static size_t take(void *context, const char *text, size_t length) {
    (void)text;
    *(size_t *)context += length;
    return length;
}

static uint32_t random_bits(void) {
    static uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    return state ^= state << 5;
}

static int shown(KnHeap *heap) {
    static KnFragmentation numbers;
    if (kn_heap_fingerprint(heap) == 0 || kn_heap_largest_free(heap) == 0 || kn_fragmentation(heap, &numbers) != KN_OK ||
        kn_dump_fragmentation(heap, take, &written) != KN_OK ||
        kn_fragmentation_check(heap, 1000, take, &written) != KN_E_FRAGMENTED) {
        return 0;
    }
    return numbers.holes > 100;
}

int main(int argc, char **argv) {
    static KnHeapStats stats;
    static KnFragmentation numbers;
    KnHeap *heap = kn_heap_create(memory, sizeof memory);
    uint32_t most = argc > 1 ? (uint32_t)atoi(argv[1]) : 0, percent = argc > 2 ? (uint32_t)atoi(argv[2]) : 0;
    size_t i, count = 0;
    if (heap == NULL || most < 8 || percent > 100) {
        return 1;
    }
    while (count < MOST_BLOCKS && (blocks[count] = kn_heap_malloc(heap, 8 + random_bits() % (most - 7))) != NULL) {
        count++;
    }
    for (i = 0; i < count; i++) {
        if (random_bits() % 100 < percent) {
            kn_heap_free(heap, blocks[i]);
        }
    }
    if (!shown(heap) || kn_heap_stats(heap, &stats) != KN_OK || kn_fragmentation(heap, &numbers) != KN_OK) {
        return 1;
    }
    knoll_result("blocks", stats.blocks);
    knoll_result("holes", numbers.holes);
    knoll_result("permille", numbers.permille);
    knoll_result("written", written);
    printf("%u used blocks, %u free ones, %u of 1000 free bytes in the largest\n", (unsigned)stats.blocks,
           (unsigned)numbers.holes, (unsigned)numbers.permille);
    return 0;
}
