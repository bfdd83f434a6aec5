/* Live blocks with canaries: what every workload is written in.
 *
 * A block's first and last bytes carry a pattern made from its address and size. It is checked when the block is
 * released or resized, so an allocator that hands out overlapping, moved or short memory ends the run at once.
 */
#ifndef BENCH_BLOCKS_H
#define BENCH_BLOCKS_H

#include "allocator.h"
#include <stdbool.h>

#include "mark.h"

#define MAX_BLOCKS 40000u
#define KIB 1024u
#define ARENA_BYTES (640u * KIB)

typedef struct Block {
    unsigned char *at;
    uint32_t size;
} Block;

extern Block    blocks[MAX_BLOCKS];   /* blocks[0 .. block_count) are live in workloads without slots */
extern uint32_t block_count;
extern uint32_t live_bytes;           /* payload asked for and not yet released */
extern uint32_t failures;             /* requests that the allocator refused */
extern uint32_t calls;                /* calls to the allocator: malloc, free and realloc */
extern uint32_t resizes, moved;       /* resizes that succeeded, and how many of them changed the address */

/* Has the harness count the calls from here on, under the marks "NAME malloc", "NAME free" and "NAME realloc";
 * NULL: no longer. */
void count_calls(const char *name);

/* A fresh heap of `ram` bytes, no blocks, and the random stream of `seed`. */
void heap_fresh(uint32_t ram, uint64_t seed);

bool block_take(Block *block, uint32_t size);      /* false: refused, *block unchanged */
void block_release(Block *block);
bool block_resize(Block *block, uint32_t size);    /* false: refused, the block is as it was */

bool push_block(uint32_t size);                    /* takes a block into blocks[block_count] */
void drop_block(uint32_t index);                   /* releases blocks[index]; the last block takes its place */
void drop_all(void);

/* xorshift64*, the stream that heap_fresh seeded. */
uint32_t random_bits(void);
uint32_t random_below(uint32_t bound);
/* Sizes of workload a: uniform over 8..256. Of workload b: log-uniform over 8..4096. */
uint32_t size_uniform(void);
uint32_t size_log_uniform(void);
typedef uint32_t (*SizeOf)(void);

/* Ends the run with a message and a non-zero status. */
void fail(const char *message);
/* Writes a line of printf-like text to the standard output without using the heap. */
void say(const char *format, ...);

#endif
