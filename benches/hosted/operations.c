/* The operations whose instructions are counted: `operations NAME COUNT`, run by `step`.
 *
 * Each operation's loop lies in a section of its own, so that `step` can leave it out: what is counted is what a
 * program pays for calling malloc, from its call stub to the return, and nothing of the loop. The loop is entered
 * warm: what it does has been done before. A mark is a signal that `step` receives instead of this program.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Where `step` hears which instructions are the loops' own. */
#define STEP_PIPE 3

#define SLOTS 4096
#define BATCH 1000
/* Blocks of the same size that live meanwhile. */
#define NEIGHBOURS 64

#define LOOP __attribute__((section("loops"), noinline))

/* The linker's names for the section's ends. */
extern const char __start_loops[], __stop_loops[];

static void *slots[SLOTS];
static void *neighbours[NEIGHBOURS];
static uint32_t state = 2463534242u;

static void fail(const char *message) {
    printf("error %s\n", message);
    fflush(stdout);
    _exit(2);
}

/* Xorshift; in the loops' section by being in line. */
static inline __attribute__((always_inline)) uint32_t any(uint32_t below) {
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return (uint32_t)(((uint64_t)state * below) >> 32);
}

/* The compiler may not pair malloc with free and drop both. */
static inline __attribute__((always_inline)) void keep(void *block) { __asm__ volatile("" : : "r"(block) : "memory"); }

LOOP static void nothing(size_t size, size_t count) {
    (void)size;
    (void)count;
}

LOOP static void pair(size_t size, size_t count) {
    for (size_t i = 0; i < count; i++) {
        void *block = malloc(size);
        keep(block);
        free(block);
    }
}

LOOP static void batch(size_t size, size_t count) {
    for (size_t done = 0; done < count; done += BATCH) {
        for (size_t i = 0; i < BATCH; i++) slots[i] = malloc(size);
        for (size_t i = 0; i < BATCH; i++) free(slots[i]);
    }
}

LOOP static void replace(size_t size, size_t count) {
    (void)size;
    for (size_t i = 0; i < count; i++) {
        uint32_t slot = any(SLOTS);
        free(slots[slot]);
        slots[slot] = malloc(8 + any(512));
    }
}

LOOP static void cleared(size_t size, size_t count) {
    for (size_t i = 0; i < count; i++) {
        void *block = calloc(1, size);
        keep(block);
        free(block);
    }
}

/* One block that gets random sizes of 16 to 512 bytes. */
LOOP static void resize(size_t size, size_t count) {
    (void)size;
    void *block = slots[0];
    for (size_t i = 0; i < count; i++) {
        block = realloc(block, 16 + any(497));
        keep(block);
    }
    slots[0] = block;
}

LOOP static void aligned(size_t size, size_t count) {
    for (size_t i = 0; i < count; i++) {
        void *block = NULL;
        if (posix_memalign(&block, 64, size)) fail("no aligned memory");
        keep(block);
        free(block);
    }
}

static const struct {
    const char *name;
    void (*loop)(size_t size, size_t count);
    size_t size;
    size_t neighbours;
    size_t warm;
} OPERATIONS[] = {
    {"nothing", nothing, 0, 0, 0},
    {"pair-alone", pair, 32, 0, 100},
    {"pair", pair, 32, NEIGHBOURS, 100},
    {"batch", batch, 32, NEIGHBOURS, 4 * BATCH},
    {"replace", replace, 0, 0, 20 * SLOTS},
    {"calloc", cleared, 32, NEIGHBOURS, 100},
    {"realloc", resize, 0, 0, 1000},
    {"aligned", aligned, 100, NEIGHBOURS, 100},
    {"pair-4000", pair, 4000, 8, 100},
    {"pair-40000", pair, 40000, 8, 100},
};

int main(int count, char **arguments) {
    if (count != 3) fail("operations NAME COUNT");
    size_t times = strtoull(arguments[2], NULL, 10);
    for (size_t i = 0; i < sizeof OPERATIONS / sizeof *OPERATIONS; i++) {
        if (strcmp(OPERATIONS[i].name, arguments[1])) continue;
        for (size_t n = 0; n < OPERATIONS[i].neighbours; n++) keep(neighbours[n] = malloc(OPERATIONS[i].size));
        OPERATIONS[i].loop(OPERATIONS[i].size, OPERATIONS[i].warm);
        const char *loops[] = {__start_loops, __stop_loops};
        if (write(STEP_PIPE, loops, sizeof loops) != sizeof loops) fail("runs under `step` only");
        raise(SIGUSR1);
        OPERATIONS[i].loop(OPERATIONS[i].size, times);
        raise(SIGUSR1);
        return 0;
    }
    fail("no such operation");
}
