/* What each allocator under test supplies to the driver.
 *
 * One binary holds one allocator. Its adapter is one file in adapters/ (C) or one module of rivals/ (Rust).
 *
 * - h_init starts a fresh heap on `bytes` bytes of RAM at `memory`, 64-byte aligned. The budget includes
 *   everything the allocator keeps: an allocator with static state uses that many bytes less of the memory.
 * - h_free and h_realloc are told the block's present size. Allocators that store the size themselves ignore it;
 *   those that need it (talc, linked-list) get it for nothing, which a C `free` could not give them.
 * - h_control_bytes: all metadata of the fresh heap that is not in front of a block: control block, tables, maps;
 *   h_map_bytes: the part of it that grows with the heap.
 */
#ifndef BENCH_ALLOCATOR_H
#define BENCH_ALLOCATOR_H

#include <stddef.h>
#include <stdint.h>

extern const char h_name[];

void   h_init(void *memory, size_t bytes);
size_t h_control_bytes(void);
size_t h_map_bytes(void);

#ifdef BENCH_KNOLL
/* Knoll's own public functions are the measured ones: no wrapper stands between. */
#include "knoll.h"
extern KnHeap *h_heap;
#define h_malloc(size)            kn_heap_malloc(h_heap, (size))
#define h_free(at, size)          kn_heap_free(h_heap, (at))
#define h_realloc(at, old, size)  kn_heap_realloc(h_heap, (at), (size))
#elif defined(BENCH_LIBC)
/* The C library's own functions are the measured ones. */
#include <stdlib.h>
#define h_malloc(size)            malloc(size)
#define h_free(at, size)          free(at)
#define h_realloc(at, old, size)  realloc((at), (size))
#else
void  *h_malloc(size_t size);
void   h_free(void *at, size_t size);
void  *h_realloc(void *at, size_t old_size, size_t size);
#endif

#endif
