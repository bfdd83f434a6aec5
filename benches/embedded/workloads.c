/* The workloads whose calls are counted; see workloads.h. */
#include "workloads.h"
#include <string.h>

#define OPERATIONS 20000u

static uint32_t part(uint32_t ram, uint32_t percent) { return (uint32_t)((uint64_t)ram * percent / 100); }

static void work_a(uint32_t ram) { random_work(OPERATIONS, part(ram, 70), size_uniform, false); }
static void work_b(uint32_t ram) { random_work(OPERATIONS, part(ram, 70), size_log_uniform, false); }

static void work_lifo(uint32_t ram) {
    (void)ram;
    while (calls < OPERATIONS) {
        for (uint32_t run = 1 + random_below(40); run; run--) push_block(size_uniform());
        while (block_count) drop_block(block_count - 1);
    }
}

static void work_fifo(uint32_t ram) {
    uint32_t capacity = part(ram, 60) / 64, first = 0, queued = 0;
    while (calls < OPERATIONS) {
        if (queued < capacity && (queued == 0 || random_below(2))) {
            if (block_take(&blocks[(first + queued) % capacity], 64)) queued++;
        } else {
            block_release(&blocks[first]);
            first = (first + 1) % capacity;
            queued--;
        }
    }
}

static void shuffle(Block *list, uint32_t count) {
    for (uint32_t i = count; i > 1; i--) {
        uint32_t j = random_below(i);
        Block other = list[i - 1];
        list[i - 1] = list[j];
        list[j] = other;
    }
}

static void work_comb(uint32_t ram) {
    (void)ram;
    static Block kept[MAX_BLOCKS / 2];
    while (calls < OPERATIONS) {
        while (push_block(24)) {}
        /* Blocks of a fresh or empty heap follow each other in memory: every second one by order of birth. */
        uint32_t all = block_count, keep = 0, go = 0;
        for (uint32_t i = 0; i < all; i++) {
            if (i & 1) blocks[go++] = blocks[i];
            else kept[keep++] = blocks[i];
        }
        shuffle(blocks, go);
        block_count = go;
        drop_all();
        for (int i = 0; i < 16; i++) push_block(64);
        for (uint32_t i = 0; i < go / 2; i++) push_block(24);
        memcpy(&blocks[block_count], kept, keep * sizeof *kept);
        block_count += keep;
        shuffle(blocks, block_count);
        drop_all();
    }
}

/* Small blocks that come and go beside a growing buffer: at most 64. */
static void churn(void) {
    if (block_count > 1 && (block_count > 64 || random_below(2))) drop_block(1 + random_below(block_count - 1));
    else push_block(size_uniform());
}

static void grow_buffers(uint32_t from, uint32_t to, bool doubling) {
    while (calls < OPERATIONS) {
        /* blocks[0] is the buffer; the others are churn. */
        Block buffer;
        if (!block_take(&buffer, from)) return;
        Block moved_out = blocks[0];
        blocks[0] = buffer;
        if (block_count == 0) block_count = 1;
        else blocks[block_count++] = moved_out;
        while (blocks[0].size < to) {
            if (!block_resize(&blocks[0], doubling ? blocks[0].size * 2 : blocks[0].size + 8)) break;
            churn();
        }
        drop_block(0);
    }
}

static void work_double(uint32_t ram) { (void)ram; grow_buffers(16, 4096, true); }
static void work_grow(uint32_t ram) { (void)ram; grow_buffers(8, 2048, false); }

const char *const workload_names[] = { "a", "b", "lifo", "fifo", "comb", "double", "grow", NULL };

void run_workload(const char *name, uint32_t ram) {
    static void (*const work[])(uint32_t ram) = {
        work_a, work_b, work_lifo, work_fifo, work_comb, work_double, work_grow,
    };
    heap_fresh(ram, 1);
    for (size_t i = 0; workload_names[i]; i++) {
        if (!strcmp(workload_names[i], name)) {
            work[i](ram);
            return;
        }
    }
    fail("no such workload");
}
