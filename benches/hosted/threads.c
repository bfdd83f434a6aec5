/* Programs whose threads allocate and free each other's memory: `threads PROGRAM THREADS ROUNDS`.
 *
 * - server: requests come to threads that hold many blocks and replace one after the other; from time to time a thread
 *   hands all that it holds to a new one and ends. (P. Larson and M. Krishnan, Memory allocation for long-running server
 *   applications, 1998.)
 * - handover: some threads only allocate and others only free, in batches that pass through a queue. (C. Lever and
 *   D. Boreham, malloc() performance in a multithreaded Linux environment, 2000: its asymmetric case.)
 * - generations: threads come and go in rounds; each keeps some of what it allocates for long, frees the rest in random
 *   order, and exchanges blocks with the others through a common table. (D. Leijen and others, Mimalloc: free list
 *   sharding in action, 2019: its stress test.)
 *
 * Written anew from these descriptions. A block's first and last bytes are written and looked at again before it is
 * freed. Each prints `figures PROGRAM operations N nanoseconds N peak_kb N` and `processor N`: an operation is a block
 * allocated and freed, nanoseconds are the clock's, processor those of all threads.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *message) {
    printf("error %s\n", message);
    fflush(stdout);
    _exit(2);
}

/* ---------------------------------------------------------------- what all share */

/* A thread's random numbers: xorshift64*. */
static uint32_t any(uint64_t *state, uint32_t below) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(((*state * 2685821657736338717u >> 32) * below) >> 32);
}

static uint64_t seed(uint64_t number) { return (number + 1) * 0x9e3779b97f4a7c15u; }

/* A block knows its size and its own address, so that one which is given out twice or written by another shows. */
struct block {
    uint32_t size;
    uint32_t mark;
};

static uint32_t mark_of(const void *at, uint32_t size) { return (uint32_t)((uintptr_t)at >> 4) ^ size; }

static void *take(uint32_t size) {
    if (size < sizeof(struct block)) size = sizeof(struct block);
    struct block *block = malloc(size);
    if (!block) fail("no memory");
    block->size = size;
    block->mark = mark_of(block, size);
    if (size > sizeof *block) ((unsigned char *)block)[size - 1] = (unsigned char)size;
    return block;
}

static void give(void *at) {
    struct block *block = at;
    if (!block) return;
    bool intact = block->mark == mark_of(block, block->size);
    if (block->size > sizeof *block) {
        intact = intact && ((unsigned char *)block)[block->size - 1] == (unsigned char)block->size;
    }
    if (!intact) fail("a block has changed");
    block->mark = 0;
    free(block);
}

static pthread_t start(void *(*body)(void *), void *argument) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, body, argument)) fail("no thread");
    return thread;
}

#define MOST_THREADS 64

/* Runs a body in some threads and waits for them. */
static void in_threads(size_t threads, void *(*body)(void *)) {
    pthread_t all[MOST_THREADS];
    for (size_t i = 0; i < threads; i++) all[i] = start(body, (void *)i);
    for (size_t i = 0; i < threads; i++) pthread_join(all[i], NULL);
}

static size_t threads, rounds;

/* ---------------------------------------------------------------- server */

#define HELD 5000
#define LIFE 50000

/* What a line of threads hands on. */
struct line {
    uint64_t random;
    size_t lives;
    void *held[HELD];
};

static pthread_mutex_t ended_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t ended_signal = PTHREAD_COND_INITIALIZER;
static size_t ended;

static uint32_t request(uint64_t *random) { return 8 + any(random, 993); }

static void *serve(void *argument) {
    struct line *line = argument;
    for (size_t i = 0; i < LIFE; i++) {
        uint32_t at = any(&line->random, HELD);
        give(line->held[at]);
        line->held[at] = take(request(&line->random));
    }
    if (--line->lives) {
        pthread_detach(start(serve, line));
        return NULL;
    }
    pthread_mutex_lock(&ended_lock);
    ended++;
    pthread_cond_signal(&ended_signal);
    pthread_mutex_unlock(&ended_lock);
    return NULL;
}

static uint64_t server(void) {
    struct line *lines[MOST_THREADS];
    for (size_t i = 0; i < threads; i++) {
        lines[i] = malloc(sizeof **lines);
        if (!lines[i]) fail("no memory");
        lines[i]->random = seed(i);
        lines[i]->lives = rounds;
        for (size_t at = 0; at < HELD; at++) lines[i]->held[at] = take(request(&lines[i]->random));
    }
    for (size_t i = 0; i < threads; i++) pthread_detach(start(serve, lines[i]));
    pthread_mutex_lock(&ended_lock);
    while (ended < threads) pthread_cond_wait(&ended_signal, &ended_lock);
    pthread_mutex_unlock(&ended_lock);
    for (size_t i = 0; i < threads; i++) {
        for (size_t at = 0; at < HELD; at++) give(lines[i]->held[at]);
        free(lines[i]);
    }
    return (uint64_t)threads * (rounds * LIFE + HELD);
}

/* ---------------------------------------------------------------- handover */

#define BATCH 256
#define QUEUE 64
#define BATCHES 100

/* A batch is memory too, given out by one thread and freed by another. */
struct batch {
    void *blocks[BATCH];
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled, emptied;
    struct batch *waiting[QUEUE];
    size_t count;
    size_t left;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .filled = PTHREAD_COND_INITIALIZER, .emptied = PTHREAD_COND_INITIALIZER};

static void *produce(void *argument) {
    uint64_t random = seed((uintptr_t)argument);
    for (size_t done = 0; done < rounds * BATCHES; done++) {
        struct batch *batch = malloc(sizeof *batch);
        if (!batch) fail("no memory");
        for (size_t i = 0; i < BATCH; i++) batch->blocks[i] = take(16 + any(&random, 240));
        pthread_mutex_lock(&queue.lock);
        while (queue.count == QUEUE) pthread_cond_wait(&queue.emptied, &queue.lock);
        queue.waiting[queue.count++] = batch;
        pthread_cond_signal(&queue.filled);
        pthread_mutex_unlock(&queue.lock);
    }
    return NULL;
}

/* The next batch; NULL when all have been taken. */
static struct batch *next_batch(void) {
    struct batch *batch = NULL;
    pthread_mutex_lock(&queue.lock);
    while (!queue.count && queue.left) pthread_cond_wait(&queue.filled, &queue.lock);
    if (queue.count) {
        batch = queue.waiting[--queue.count];
        if (!--queue.left) pthread_cond_broadcast(&queue.filled);
        pthread_cond_signal(&queue.emptied);
    }
    pthread_mutex_unlock(&queue.lock);
    return batch;
}

static void *consume(void *argument) {
    (void)argument;
    for (struct batch *batch; (batch = next_batch()) != NULL; free(batch)) {
        for (size_t i = 0; i < BATCH; i++) give(batch->blocks[i]);
    }
    return NULL;
}

static void *either(void *argument) {
    size_t number = (uintptr_t)argument;
    return number < threads ? produce(argument) : consume(argument);
}

static uint64_t handover(void) {
    queue.left = threads * rounds * BATCHES;
    in_threads(2 * threads, either);
    return (uint64_t)threads * rounds * BATCHES * (BATCH + 1);
}

/* ---------------------------------------------------------------- generations */

#define EXCHANGE 1024
#define WORK 40000
#define MOST_KEPT (WORK / 4)

static _Atomic(void *) exchange[EXCHANGE];
static atomic_uint_fast64_t allocated;

/* Mostly small, now and then up to 4 KB, seldom up to 64 KB. */
static uint32_t mixed(uint64_t *random) {
    uint32_t kind = any(random, 1000);
    if (kind < 900) return 8 + any(random, 249);
    if (kind < 995) return 8 + any(random, 4096);
    return 8 + any(random, 65536);
}

static void *live(void *argument) {
    uint64_t random = seed((uintptr_t)argument);
    void **young = calloc(WORK / 8, sizeof *young), **kept = calloc(MOST_KEPT, sizeof *kept);
    if (!young || !kept) fail("no memory");
    size_t keeps = 0;
    for (size_t i = 0; i < WORK; i++) {
        void *block = take(mixed(&random));
        uint32_t fate = any(&random, 100);
        if (fate < 20 && keeps < MOST_KEPT) {
            kept[keeps++] = block;
        } else if (fate < 30) {
            give(atomic_exchange(&exchange[any(&random, EXCHANGE)], block));
        } else {
            uint32_t at = any(&random, WORK / 8);
            give(young[at]);
            young[at] = block;
        }
    }
    for (size_t i = 0; i < WORK / 8; i++) give(young[i]);
    for (; keeps > 0; keeps--) {
        size_t at = any(&random, (uint32_t)keeps);
        give(kept[at]);
        kept[at] = kept[keeps - 1];
    }
    free(young);
    free(kept);
    atomic_fetch_add(&allocated, WORK);
    return NULL;
}

static uint64_t generations(void) {
    for (size_t round = 0; round < rounds; round++) in_threads(threads, live);
    for (size_t i = 0; i < EXCHANGE; i++) give(atomic_load(&exchange[i]));
    return allocated;
}

/* ---------------------------------------------------------------- measuring */

static uint64_t clock_now(clockid_t which) {
    struct timespec now;
    if (clock_gettime(which, &now)) fail("no clock");
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* VmHWM of this process in KB; unlike what getrusage says it begins anew with each program. */
static unsigned long peak_kb(void) {
    char line[128];
    unsigned long peak = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status) && sscanf(line, "VmHWM: %lu", &peak) != 1) continue;
    if (!peak) fail("no VmHWM in /proc/self/status");
    fclose(status);
    return peak;
}

int main(int count, char **arguments) {
    static const struct {
        const char *name;
        uint64_t (*run)(void);
    } PROGRAMS[] = {{"server", server}, {"handover", handover}, {"generations", generations}};
    if (count != 4) fail("usage: threads PROGRAM THREADS ROUNDS");
    threads = strtoul(arguments[2], NULL, 10);
    rounds = strtoul(arguments[3], NULL, 10);
    if (!threads || 2 * threads > MOST_THREADS || !rounds) fail("1 to 32 threads, 1 or more rounds");
    for (size_t i = 0; i < sizeof PROGRAMS / sizeof *PROGRAMS; i++) {
        if (strcmp(PROGRAMS[i].name, arguments[1])) continue;
        uint64_t began = clock_now(CLOCK_MONOTONIC);
        uint64_t operations = PROGRAMS[i].run();
        uint64_t took = clock_now(CLOCK_MONOTONIC) - began;
        uint64_t processor = clock_now(CLOCK_PROCESS_CPUTIME_ID);
        printf("figures %s operations %llu nanoseconds %llu peak_kb %lu\nprocessor %llu\n", arguments[1],
               (unsigned long long)operations, (unsigned long long)took, peak_kb(), (unsigned long long)processor);
        return 0;
    }
    fail("no such program");
}
