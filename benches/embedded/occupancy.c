/* How much payload a heap holds; see occupancy.h. */
#include "occupancy.h"
#include <string.h>

#define SEEDS 3u
#define SEARCHES 4u

void random_work(uint32_t operations, uint32_t target, SizeOf size, bool stop_at_failure) {
    uint32_t before = calls, wanted = size();
    while (calls - before < operations) {
        if (live_bytes + wanted > target && block_count) {
            drop_block(random_below(block_count));
            continue;
        }
        if (!push_block(wanted)) {
            if (stop_at_failure) return;
            if (block_count) drop_block(random_below(block_count));
        }
        wanted = size();
    }
}

uint32_t first_failure(uint32_t ram, SizeOf size) {
    uint64_t sum = 0;
    for (uint32_t seed = 1; seed <= SEEDS; seed++) {
        heap_fresh(ram, seed);
        while (!failures) {
            if (block_count && random_below(3) == 0) drop_block(random_below(block_count));
            else push_block(size());
        }
        sum += live_bytes;
    }
    return (uint32_t)(sum * 1000 / SEEDS / ram);
}

uint32_t saturated(uint32_t ram, SizeOf size) {
    uint64_t sum = 0, samples = 0;
    for (uint32_t seed = 1; seed <= SEEDS; seed++) {
        heap_fresh(ram, seed);
        while (calls < 20000) {
            if (push_block(size())) continue;
            if (calls >= 10000) sum += live_bytes, samples++;
            drop_block(random_below(block_count));
        }
    }
    return samples ? (uint32_t)(sum * 1000 / samples / ram) : 0;
}

static bool holds(uint32_t ram, uint32_t permille, SizeOf size, uint32_t first_seed) {
    for (uint32_t seed = 0; seed < SEEDS; seed++) {
        heap_fresh(ram, first_seed + seed);
        random_work(15000, (uint32_t)((uint64_t)ram * permille / 1000), size, true);
        if (failures) return false;
    }
    return true;
}

uint32_t highest_without_failure(uint32_t ram, SizeOf size) {
    uint32_t sum = 0;
    for (uint32_t search = 0; search < SEARCHES; search++) {
        /* Every allocator here holds a third of its heap, and none all of it. */
        uint32_t good = 333, bad = 1000;
        while (bad - good > 4) {
            uint32_t middle = (good + bad) / 2;
            if (holds(ram, middle, size, 1 + search * SEEDS)) good = middle;
            else bad = middle;
        }
        sum += good;
    }
    return sum / SEARCHES;
}

uint32_t shift(uint32_t ram, uint32_t from, uint32_t to) {
    /* As many blocks as an allocator with an 8-byte header and 16-byte granules can hold: the same for all. */
    uint32_t count = (uint32_t)((uint64_t)ram * 7 / 8 / ((from + 8 + 15) / 16 * 16));
    uint64_t sum = 0;
    for (uint32_t seed = 1; seed <= SEEDS; seed++) {
        heap_fresh(ram, seed);
        for (uint32_t i = 0; i < count; i++)
            if (!push_block(from)) fail("the first fill of a shift was refused");
        uint32_t survivors = count / 10;
        while (block_count > survivors) drop_block(random_below(block_count));
        while (push_block(to)) {}
        sum += (uint64_t)(block_count - survivors) * to * 1000 / (ram - survivors * from);
    }
    return (uint32_t)(sum / SEEDS);
}

uint32_t overhead_per_block(uint32_t ram) {
    heap_fresh(ram, 1);
    while (push_block(size_uniform())) {}
    const Block *low = blocks, *high = blocks;
    for (uint32_t i = 1; i < block_count; i++) {
        if (blocks[i].at < low->at) low = &blocks[i];
        if (blocks[i].at > high->at) high = &blocks[i];
    }
    uint32_t span = (uint32_t)(high->at - low->at), payload = live_bytes - high->size;
    return (uint32_t)((uint64_t)(span - payload) * 100 / (block_count - 1));
}

uint32_t largest_block(uint32_t ram) {
    uint32_t good = 0, bad = ram;
    while (bad - good > 1) {
        uint32_t middle = (good + bad) / 2;
        heap_fresh(ram, 1);
        if (push_block(middle)) good = middle;
        else bad = middle;
    }
    return good;
}

const Trace *find_trace(const char *name) {
    for (const Trace *const *trace = traces; *trace; trace++)
        if (!strcmp((*trace)->name, name)) return *trace;
    fail("no such trace");
    return NULL;
}

bool replay(const Trace *trace, uint32_t ram) {
    if (trace->slots > MAX_BLOCKS) fail("the driver's block table is too small for the trace");
    heap_fresh(ram, 1);
    for (uint32_t i = 0; i < trace->operations; i++) {
        uint32_t code = trace->code[i], size = code & 0xffff;
        Block *block = &blocks[code >> 16 & 0x3fff];
        switch (code >> 30) {
        case 0: if (!block_take(block, size)) return false; break;
        case 1: if (!block_resize(block, size)) return false; break;
        default: block_release(block);
        }
    }
    return true;
}

uint32_t smallest_heap(const Trace *trace) {
    uint32_t bad = trace->peak / 16 * 16, good = ARENA_BYTES;
    /* Up from the peak in growing steps: most heaps are near it, and small trials are quick to fail. */
    for (uint32_t step = trace->peak / 32; bad + step < ARENA_BYTES; step += step / 2) {
        uint32_t ram = (bad + step) / 16 * 16;
        if (replay(trace, ram)) {
            good = ram;
            break;
        }
        bad = ram;
    }
    if (good == ARENA_BYTES && !replay(trace, good)) return 0;
    while (bad + 16 < good) {
        uint32_t middle = (bad + good) / 2 / 16 * 16;
        if (replay(trace, middle)) good = middle;
        else bad = middle;
    }
    return good;
}
