/* The ground of the tests of traced memory: see traced.h. */
#include "traced.h"

#include <string.h>

enum { MOST_HEAPS = 16, MOST_RECORDED = 512 };

void *roots[ROOTS];
void (*in_finaliser)(KnTraced *heap, void *block);

static struct {
    size_t granule;
    KnTraced *heaps[MOST_HEAPS];
    size_t heap_count;
    size_t asked, told, finalised;
    bool declines;
    const void *recorded[MOST_RECORDED];
    KnTracedShort report;
} run;

size_t granule(void) {
    return run.granule;
}

static void begin(size_t bytes) {
    memset(&run, 0, sizeof run);
    memset(roots, 0, sizeof roots);
    in_finaliser = NULL;
    run.granule = bytes;
}

void on_each_granule(void (*body)(void)) {
    size_t bytes, i;
    for (bytes = 8; bytes <= 32; bytes *= 2) {
        restart_random();
        begin(bytes);
        body();
        for (i = 0; i < run.heap_count; i++) {
            (void)CHECK(is_sound_traced(run.heaps[i]));
        }
        begin(0);
    }
}

/* ---- Hooks ---- */

static void mark_roots(KnTraced *heap) {
    kn_traced_mark(heap, roots, ROOTS / 2);
    kn_traced_mark(heap, roots + ROOTS / 2, ROOTS / 2);
}

static void on_collect(void *context) {
    (void)context;
    run.asked++;
    if (!run.declines) {
        collect_now(last_heap());
    }
}

static void on_finalise(void *context, void *block) {
    (void)context;
    if (run.finalised < MOST_RECORDED) {
        run.recorded[run.finalised] = block;
    }
    run.finalised++;
    if (in_finaliser != NULL) {
        in_finaliser(last_heap(), block);
    }
}

static void on_short(void *context, const KnTracedShort *report) {
    (void)context;
    run.told++;
    run.report = *report;
}

size_t asked(void) {
    return run.asked;
}

void decline(bool declines) {
    run.declines = declines;
}

size_t finalised(void) {
    return run.finalised;
}

size_t finalised_for(const void *block) {
    size_t i, count = 0;
    for (i = 0; i < run.finalised && i < MOST_RECORDED; i++) {
        count += run.recorded[i] == block;
    }
    return count;
}

size_t told_short(void) {
    return run.told;
}

const KnTracedShort *last_short(void) {
    return &run.report;
}

KnTraced *last_heap(void) {
    return run.heap_count == 0 ? NULL : run.heaps[run.heap_count - 1];
}

/* ---- Heaps ---- */

KnTracedConfig usual_config(void) {
    KnTracedConfig config;
    memset(&config, 0, sizeof config);
    config.granule = (uint32_t)run.granule;
    config.collect = on_collect;
    config.finalise = on_finalise;
    config.on_short = on_short;
    return config;
}

KnTraced *heap_in(void *memory, size_t bytes, KnTracedConfig config) {
    KnTraced *heap = kn_traced_create(memory, bytes, &config);
    if (CHECK(heap != NULL) && run.heap_count < MOST_HEAPS) {
        run.heaps[run.heap_count++] = heap;
    }
    return heap;
}

KnTraced *again_in(void *memory, size_t bytes, KnTracedConfig config) {
    if (run.heap_count > 0) {
        run.heap_count--;
    }
    return heap_in(memory, bytes, config);
}

KnTraced *heap_with(KnTracedConfig config, size_t bytes) {
    void *memory = take_memory(bytes, 0);
    return memory == NULL ? NULL : heap_in(memory, bytes, config);
}

KnTraced *heap_of(size_t bytes) {
    return heap_with(usual_config(), bytes);
}

KnTraced *small_heap(void) {
    return heap_of(2000 * WORD);
}

KnTracedStats numbers(KnTraced *heap) {
    KnTracedStats stats;
    memset(&stats, 0, sizeof stats);
    (void)CHECK_STATUS(kn_traced_stats(heap, &stats), KN_OK);
    return stats;
}

size_t rounded(size_t bytes, uint32_t flags) {
    size_t least = (flags & KN_FINALISE) != 0 ? 2 * run.granule : run.granule;
    size_t whole = (bytes + run.granule - 1) / run.granule * run.granule;
    return whole < least ? least : whole;
}

bool is_sound_traced(KnTraced *heap) {
    KnTracedStats stats;
    return kn_traced_check(heap) == KN_OK && kn_traced_stats(heap, &stats) == KN_OK &&
           stats.used + stats.free == stats.total && stats.largest_free <= stats.free &&
           stats.largest_block <= stats.used && stats.areas >= 1;
}

size_t fill_with_list(KnTraced *heap, size_t root, size_t bytes) {
    size_t count = 0;
    void *block;
    while ((block = kn_traced_alloc(heap, bytes, 0)) != NULL) {
        *slot(block, 0) = roots[root];
        roots[root] = block;
        count++;
    }
    return count;
}

void fill_up(KnTraced *heap) {
    size_t bytes;
    bool before = run.declines;
    run.declines = true;
    for (bytes = (size_t)1 << 16; bytes > 0; bytes /= 2) {
        while (kn_traced_alloc(heap, bytes, 0) != NULL) {
        }
    }
    run.declines = before;
}

/* ---- Collections ---- */

void collect_now(KnTraced *heap) {
    kn_traced_collect_start(heap);
    mark_roots(heap);
    kn_traced_collect_end(heap);
}

void collect_fully(KnTraced *heap) {
    collect_now(heap);
    while (!kn_traced_step(heap, 1024)) {
    }
}

bool is_held_by(KnTraced *heap, const void *block, uintptr_t word) {
    void *only = (void *)word;
    kn_traced_collect_start(heap);
    kn_traced_mark(heap, &only, 1);
    kn_traced_collect_end(heap);
    return kn_traced_size(heap, block) != 0;
}

void **slot(void *block, size_t index) {
    return (void **)block + index;
}
