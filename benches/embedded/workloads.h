/* The workloads whose calls are counted. RAM and seed fixed, each runs about 20 000 calls of the allocator.
 *
 *   a        random malloc and free, 8..256 bytes uniform, around 70 % payload
 *   b        the same, 8 bytes..4 KB log-uniform
 *   lifo     runs of up to 40 blocks of workload a's sizes, freed in reverse order
 *   fifo     a queue of 64-byte blocks, up to 60 % payload
 *   comb     adversarial: the heap filled with 24-byte blocks, every second freed in random order of address; then
 *            64 bytes (nothing fits), 24 bytes (exact hits), and the rest freed in random order
 *   double   realloc: a buffer doubles from 16 to 4096 bytes, a malloc or free of a small block between two steps
 *   grow     realloc: a buffer grows by 8 from 8 to 2048 bytes, small blocks coming and going between
 */
#ifndef BENCH_WORKLOADS_H
#define BENCH_WORKLOADS_H

#include "occupancy.h"

extern const char *const workload_names[];    /* ended by NULL */
void run_workload(const char *name, uint32_t ram);

#endif
