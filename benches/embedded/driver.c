/* The benchmark's program: one allocator linked in, one measurement a command.
 *
 *   driver facts RAM              control bytes, overhead a block, largest single block
 *   driver occupancy RAM          workloads a and b: first failure, saturated, highest without failure
 *   driver shift RAM              the shifting size mixes
 *   driver smallest TRACE|all     the smallest heap for the trace, and its multiple of the trace's peak
 *   driver count RAM WORKLOAD     one workload, its calls counted by the harness (workloads.h names them); all: each
 *   driver count RAM trace:NAME   the same for a trace
 *
 * Several commands may follow each other. Each result is a line of words: the command, its arguments, values.
 */
#include "workloads.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void facts(uint32_t ram) {
    heap_fresh(ram, 1);
    unsigned long control = h_control_bytes(), map = h_map_bytes();
    uint32_t overhead = overhead_per_block(ram);
    say("facts %lu control %lu map %lu overhead %lu largest %lu\n", (unsigned long)ram, control, map,
        (unsigned long)overhead, (unsigned long)largest_block(ram));
}

static void occupancy(uint32_t ram) {
    static const struct { char name; SizeOf size; } work[] = { { 'a', size_uniform }, { 'b', size_log_uniform } };
    for (int i = 0; i < 2; i++)
        say("occupancy %lu %c first %lu saturated %lu highest %lu\n", (unsigned long)ram, work[i].name,
            (unsigned long)first_failure(ram, work[i].size), (unsigned long)saturated(ram, work[i].size),
            (unsigned long)highest_without_failure(ram, work[i].size));
}

static void shifts(uint32_t ram) {
    static const uint16_t pairs[][2] = { { 16, 40 }, { 16, 200 }, { 8, 200 }, { 24, 64 }, { 40, 24 }, { 32, 256 }, { 16, 1000 } };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++)
        say("shift %lu %d %d placed %lu\n", (unsigned long)ram, pairs[i][0], pairs[i][1],
            (unsigned long)shift(ram, pairs[i][0], pairs[i][1]));
}

static void smallest(const char *only) {
    for (const Trace *const *trace = traces; *trace; trace++) {
        if (strcmp(only, "all") && strcmp(only, (*trace)->name)) continue;
        uint32_t bytes = smallest_heap(*trace);
        say("smallest %s bytes %lu peak %lu ratio %lu\n", (*trace)->name, (unsigned long)bytes,
            (unsigned long)(*trace)->peak, (unsigned long)((uint64_t)bytes * 10000 / (*trace)->peak));
    }
}

static void count(uint32_t ram, const char *name) {
    if (!strcmp(name, "all")) {
        for (const char *const *workload = workload_names; *workload; workload++) count(ram, *workload);
        return;
    }
    char title[48];
    snprintf(title, sizeof title, "%lu %s", (unsigned long)ram, name);
    count_calls(title);
    if (!strncmp(name, "trace:", 6)) {
        if (!replay(find_trace(name + 6), ram)) fail("the trace does not complete in this heap");
    } else {
        run_workload(name, ram);
    }
    count_calls(NULL);
    say("count %lu %s calls %lu failures %lu resizes %lu moved %lu\n", (unsigned long)ram, name, (unsigned long)calls,
        (unsigned long)failures, (unsigned long)resizes, (unsigned long)moved);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        const char *command = argv[i];
        if (++i >= argc) fail("the command wants an argument");
        if (!strcmp(command, "smallest")) {
            smallest(argv[i]);
            continue;
        }
        uint32_t ram = (uint32_t)strtoul(argv[i], NULL, 0);
        if (!strcmp(command, "facts")) facts(ram);
        else if (!strcmp(command, "occupancy")) occupancy(ram);
        else if (!strcmp(command, "shift")) shifts(ram);
        else if (!strcmp(command, "count") && ++i < argc) count(ram, argv[i]);
        else fail("no such command");
    }
    return 0;
}
