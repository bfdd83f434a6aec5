/* How much payload a heap holds. All results are exact and repeatable: fixed seeds, no clock. */
#ifndef BENCH_OCCUPANCY_H
#define BENCH_OCCUPANCY_H

#include "blocks.h"

/* Payload over RAM, in 1/1000, means over three seeds. */
uint32_t first_failure(uint32_t ram, SizeOf size);   /* at the first refusal while growing with churn */
uint32_t saturated(uint32_t ram, SizeOf size);       /* at refusals, once the heap has been full for long */
/* The highest payload target, in 1/1000 of RAM, at which 3 x 15 000 calls meet no refusal, to 4/1000; the
 * mean of four searches with other seeds, because one lucky or unlucky stream moves a search by 20/1000. */
uint32_t highest_without_failure(uint32_t ram, SizeOf size);

/* Fills with blocks of `from` bytes, frees 90 % of them at random, fills with blocks of `to` bytes: payload of the
 * second fill over RAM not held by survivors, in 1/1000, mean over three seeds. */
uint32_t shift(uint32_t ram, uint32_t from, uint32_t to);

/* A fresh heap's mean distance between neighbouring blocks of workload a's sizes, less the payload, in 1/100 byte. */
uint32_t overhead_per_block(uint32_t ram);
/* The largest single block a fresh heap gives. */
uint32_t largest_block(uint32_t ram);

/* Live blocks around `target` bytes of payload: the core of workloads a and b. A drawn size that would exceed the
 * target frees random blocks until it fits. Stops at the first refusal if told to. */
void random_work(uint32_t operations, uint32_t target, SizeOf size, bool stop_at_failure);

/* Recorded programs, linked in by traces.S (made by the build). */
typedef struct Trace {
    const char *name;
    uint32_t operations, slots, peak;    /* peak: largest sum of live sizes */
    uint32_t code[];                     /* kind << 30 | slot << 16 | size; kind: 0 malloc, 1 realloc, 2 free */
} Trace;
extern const Trace *const traces[];      /* ended by NULL */
const Trace *find_trace(const char *name);

/* Replays in a heap of `ram` bytes; false: a request was refused. */
bool replay(const Trace *trace, uint32_t ram);
/* The smallest heap, in steps of 16 bytes, in which the trace completes; 0: not even the arena suffices. */
uint32_t smallest_heap(const Trace *trace);

#endif
