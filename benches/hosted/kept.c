/* How much memory a process keeps after it has freed 300 MB: `kept own`: freed by the thread that allocated; `kept
 * other`: by another, while the first waits; `kept gone`: by another when the first has ended.
 *
 * 400,000 blocks of 16 to 1515 bytes, all of their bytes written, freed in random order. Printed as pairs `NAME KB`, the
 * resident set of the whole process: `empty` before, `peak` with all blocks, `tenth` when nine of ten have been freed,
 * `freed` when all have, at once, `later` after a second in which nothing is called, `trimmed` after malloc_trim(0).
 * The table of blocks is no part of it: it lies in a mapping of its own that is gone when `freed` is read.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define BLOCKS 400000

static void **blocks;
static uint64_t state = 88172645463325252u;

static void fail(const char *message) {
    printf("error %s\n", message);
    fflush(stdout);
    _exit(2);
}

static uint32_t any(uint32_t below) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(((state >> 32) * below) >> 32);
}

/* The resident set, in KB; read without malloc. */
static long resident(void) {
    char text[128];
    int file = open("/proc/self/statm", O_RDONLY);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (length <= 0) fail("no /proc/self/statm");
    close(file);
    text[length] = 0;
    char *second = strchr(text, ' ');
    return second ? strtol(second, NULL, 10) * (sysconf(_SC_PAGESIZE) / 1024) : 0;
}

static void fill(void) {
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size = 16 + any(1500);
        blocks[i] = malloc(size);
        if (!blocks[i]) fail("no memory");
        memset(blocks[i], (int)i, size);
    }
    for (size_t i = BLOCKS - 1; i > 0; i--) {
        size_t other = any((uint32_t)i + 1);
        void *block = blocks[i];
        blocks[i] = blocks[other];
        blocks[other] = block;
    }
}

static pthread_barrier_t filled, measured;

static void *fill_and_wait(void *unused) {
    fill();
    pthread_barrier_wait(&filled);
    pthread_barrier_wait(&measured);
    return unused;
}

static void *fill_and_end(void *unused) {
    fill();
    return unused;
}

int main(int count, char **arguments) {
    if (count != 2) fail("usage: kept own|other|gone");
    size_t bytes = BLOCKS * sizeof *blocks;
    long empty = resident();
    blocks = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (blocks == MAP_FAILED) fail("no memory");
    const char *who = arguments[1];
    pthread_t thread;
    if (!strcmp(who, "other")) {
        pthread_barrier_init(&filled, NULL, 2);
        pthread_barrier_init(&measured, NULL, 2);
        if (pthread_create(&thread, NULL, fill_and_wait, NULL)) fail("no thread");
        pthread_barrier_wait(&filled);
    } else if (!strcmp(who, "gone")) {
        if (pthread_create(&thread, NULL, fill_and_end, NULL) || pthread_join(thread, NULL)) fail("no thread");
    } else {
        fill();
    }
    long peak = resident();
    for (size_t i = 0; i < BLOCKS / 10 * 9; i++) free(blocks[i]);
    long tenth = resident();
    for (size_t i = BLOCKS / 10 * 9; i < BLOCKS; i++) free(blocks[i]);
    munmap(blocks, bytes);
    long freed = resident();
    sleep(1);
    long later = resident();
    malloc_trim(0);
    printf("empty %ld peak %ld tenth %ld freed %ld later %ld trimmed %ld\n", empty, peak, tenth, freed, later, resident());
    if (!strcmp(who, "other")) {
        pthread_barrier_wait(&measured);
        pthread_join(thread, NULL);
    }
    return 0;
}
