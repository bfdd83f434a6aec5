/* Lua's allocation hook, with a record of what passes through it.
 *
 * recorder_hook is the lua_Alloc of every Lua state in these programs. It counts calls and live bytes; on
 * request it logs each call to a file, and at one chosen call it takes a snapshot of the heap. It allocates
 * nothing itself, so what it watches is not changed by the watching.
 *
 * In firmware each call of the allocator is marked for the harness, which counts its instructions from the
 * first of lua_heap_allocate, lua_heap_resize or lua_heap_release to its return. The marks' numbers are the
 * numbers of the kinds of call. */
#ifndef RECORDER_H
#define RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The kinds of call; also the harness's marks. */
enum { RECORDER_MALLOC = 1, RECORDER_REALLOC = 2, RECORDER_FREE = 3 };

/* What has passed through the hook so far; bytes are as Lua asked for them. */
typedef struct Recorder {
    uint32_t events;                   /* calls, refused ones included: the last one's number */
    uint32_t mallocs, reallocs, frees; /* of these */
    uint32_t refused;                  /* malloc or realloc gave NULL (Lua then collects and asks again) */
    size_t live, blocks;               /* now */
    size_t peak_live, peak_blocks;     /* when live was greatest, */
    uint32_t peak_event;               /* which was after this call */
    size_t snapshot_largest;           /* at the snapshot: what the largest successful malloc gives */
    bool snapshot_walked;              /* at the snapshot: the allocator has a walk */
} Recorder;

extern Recorder recorder;

/* Logs every call from now on to file descriptor `file`: four 32-bit words each, in this machine's order:
 * its kind, the block's offset before and after in lua_heap_memory (0xffffffff: none), the size. */
void recorder_log(int file);

/* After call number `event`, writes each block of lua_heap_walk to `file`: offset, size, used (1) or not (0). */
void recorder_snapshot(uint32_t event, int file);

/* Writes what is still held back. False when something could not be written. */
bool recorder_close(void);

/* The greatest number of bytes that one malloc would give now. Takes and returns blocks to find out. */
size_t recorder_largest(void);

/* lua_Alloc. */
void *recorder_hook(void *context, void *at, size_t old_size, size_t new_size);

#endif
