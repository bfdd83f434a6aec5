/* The memory of a device: what its workflows take while they run, and what is always active.
 *
 * One program, several allocators: memory_knoll.c and memory_rival.c each implement this interface, and the
 * program is linked with one of them. A device has one heap of `bytes` bytes at `memory`; both kinds of data
 * live in it. What a workflow allocates is gone when it has ended; what is always active stays.
 *
 *   memory_enter      the workflow begins
 *     workflow_…      its own data
 *     always_…        data that outlives it, made in its middle
 *   memory_leave      the workflow has ended
 *   memory_figures    between two workflows: how much is free, and how much of it in one piece
 *
 * Every function is for one thread. Sizes are bytes. Whoever frees or resizes a block tells its size: some
 * allocators need it, none has to store it twice. */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Room for the heap, and its size unless the program is told another. */
#ifndef MEMORY_CAPACITY
#define MEMORY_CAPACITY (140u * 1024)
#endif
extern unsigned char memory[MEMORY_CAPACITY];

/* "knoll", "newlib", …: the name the report gives. */
extern const char *const memory_name;

/* Does a workflow run in a scope? Then its data need not be freed: memory_leave lets go of all of it. */
extern bool memory_scoped;

typedef struct MemoryFigures {
    size_t free;    /* bytes that no block takes, outside the allocator's own records */
    size_t largest; /* the greatest request that succeeds */
} MemoryFigures;

/* Makes a heap of the first `bytes` of the memory, with or without scopes. False: it cannot be. Once. */
bool memory_open(size_t bytes, bool scopes);

/* A workflow begins and ends. False: there is no memory for it, or it did not leave the heap as it should.
 * Not nested. */
bool memory_enter(const char *name);
bool memory_leave(void);

/* malloc, realloc and free for the data of the workflow that runs. The first two return NULL, with nothing
 * changed, when there is no memory. `at` may be NULL in the last two. */
void *workflow_allocate(size_t bytes);
void *workflow_resize(void *at, size_t old_bytes, size_t bytes);
void workflow_release(void *at, size_t bytes);

/* What always-active blocks are. An allocator that counts references must know where they lie. */
typedef enum AlwaysKind {
    ALWAYS_ARRAY, /* of pointers to entries */
    ALWAYS_ENTRY, /* an Entry of tables.h */
    ALWAYS_TEXT   /* bytes */
} AlwaysKind;

/* malloc and free for what is always active. Its contents are not initialised. */
void *always_allocate(AlwaysKind kind, size_t bytes);
void always_release(AlwaysKind kind, void *at, size_t bytes);

/* Puts an entry or a text, just made, into a field of an entry. What was there is not released. */
void always_set(void **field, void *block);

void memory_figures(MemoryFigures *out);

/* The most that a workflow has held, as far as the allocator can tell; else 0. */
size_t memory_most_held(void);

/* Verifies the heap between two workflows; what is wrong becomes the complaint. `nothing_left`: the workflow has freed
 * all it had, so the heap must be exactly as it was when it began, but for what is always active. */
void memory_verify(bool nothing_left);

/* NULL while all is well, else the first thing that was wrong. */
const char *memory_complaint(void);

#endif
