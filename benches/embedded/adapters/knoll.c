/* Knoll in the layout that BENCH_LAYOUT names (KN_LAYOUT_MAP, KN_LAYOUT_COMPACT, KN_LAYOUT_WIDE). */
#include "../allocator.h"

const char h_name[8] = "knoll";
KnHeap *h_heap;

void h_init(void *memory, size_t bytes) {
    KnHeapConfig config = { .layout = BENCH_LAYOUT, .flags = 0 };
    h_heap = kn_heap_create_with(memory, bytes, &config);
}

size_t h_control_bytes(void) {
    KnHeapStats stats;
    return kn_heap_stats(h_heap, &stats) == KN_OK ? stats.overhead : 0;
}

/* The map layout keeps two bits for each granule of 8 bytes, those of its own control block and map included. */
size_t h_map_bytes(void) {
    KnHeapStats stats;
    if (BENCH_LAYOUT != KN_LAYOUT_MAP || kn_heap_stats(h_heap, &stats) != KN_OK) return 0;
    return ((stats.total + stats.overhead) / 8 + 1) / 4 + 4;
}
