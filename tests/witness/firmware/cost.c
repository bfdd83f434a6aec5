/*
 * What the witness costs, on a heap of 140 KB: filled with blocks of LEAST to MOST bytes, and a page of cells now and
 * then, of which then PERCENT in a hundred blocks are freed, here and there. 0: no cells, and every other block is
 * freed. These are its arguments.
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
static KnFragmentation numbers;

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
    if (kn_heap_fingerprint(heap) == 0 || kn_heap_largest_free(heap) == 0 ||
        kn_fragmentation(heap, &numbers) != KN_OK ||
        kn_dump_fragmentation(heap, take, &written) != KN_OK ||
        kn_fragmentation_check(heap, 1000, take, &written) != KN_E_FRAGMENTED) {
        return 0;
    }
    return numbers.holes > 100;
}

static const KnType node_type = {.name = "Node", .size = 24}, leaf_type = {.name = "Leaf", .size = 20};

/* A page or two of cells that stay. */
static void make_cells(KnTypeId node, KnTypeId leaf) {
    int i;
    for (i = 0; i < 32; i++) {
        (void)GC_new(i % 3 == 0 ? leaf : node);
    }
}

static uint32_t argument(int argc, char **argv, int n) {
    return n < argc ? (uint32_t)atoi(argv[n]) : 0;
}

int main(int argc, char **argv) {
    static KnHeapStats stats;
    KnHeap *heap;
    KnTypeId node, leaf;
    uint32_t least = argument(argc, argv, 1), most = argument(argc, argv, 2), percent = argument(argc, argv, 3);
    size_t i, count = 0;
    knoll_watch_allow(memory, sizeof memory);
    knoll_watch_allow(&stats, sizeof stats);
    knoll_watch_allow(&numbers, sizeof numbers);
    heap = kn_heap_create(memory, sizeof memory);
    if (heap == NULL || least < 8 || most < least || percent > 100) {
        return 1;
    }
    (void)kn_heap_use(heap);
    node = GC_registerType(&node_type);
    leaf = GC_registerType(&leaf_type);
    while (count < MOST_BLOCKS) {
        blocks[count] = kn_heap_malloc(heap, least + random_bits() % (most - least + 1));
        if (blocks[count] == NULL) {
            break;
        }
        count++;
        if (percent != 0 && count % 100 == 50) {
            make_cells(node, leaf);
        }
    }
    for (i = 0; i < count; i++) {
        if (percent == 0 ? i % 2 == 0 && i + 1 < count : random_bits() % 100 < percent) {
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
