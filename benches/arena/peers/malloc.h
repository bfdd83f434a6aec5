/* The base: malloc, and each block freed by itself at the end of its scope, from a list that is threaded through a word
 * before each. PEER_KNOLL: Knoll's kn_malloc and kn_free; without it the malloc of the C library. A mark is a place in the
 * list; there are no cleanups. */
typedef struct Block { struct Block *next; } Block;
typedef struct Room { Block *newest; } Room;
typedef Room *Arena;
typedef Block *Mark;

#define PEER_NO_CLEANUPS

#ifdef PEER_KNOLL
#include <knoll.h>
#define MALLOC kn_malloc
#define FREE kn_free
#define REALLOC kn_realloc

static inline void peer_start(const char *configuration) { (void)configuration; }

static inline size_t peer_held(void) {
    KnHeapStats stats;
    if (kn_heap_stats(kn_heap_default(), &stats) != KN_OK) measure_fail("kn_heap_stats refuses");
    return stats.used;
}
#else
#include "beneath.h"
#define MALLOC malloc
#define FREE free
#define REALLOC realloc
#endif

static inline Arena peer_enter(Room *room, size_t presize) {
    (void)presize;
    room->newest = NULL;
    return room;
}

static inline Arena peer_enter_in(Room *room, Arena parent, size_t presize) {
    (void)parent;
    return peer_enter(room, presize);
}

static inline void peer_rewind(Arena arena, Mark mark) {
    while (arena->newest != mark) {
        Block *gone = arena->newest;
        arena->newest = gone->next;
        FREE(gone);
    }
}

static inline void peer_leave(Room *room, Arena arena) {
    (void)room;
    peer_rewind(arena, NULL);
}

static inline void *peer_alloc(Arena arena, size_t size) {
    Block *made = MALLOC(sizeof *made + size);
    if (!made) measure_fail("no memory");
    made->next = arena->newest;
    arena->newest = made;
    return made + 1;
}

static inline void *peer_resize(Arena arena, void *at, size_t old, size_t size) {
    (void)old;
    Block *made = REALLOC((Block *)at - 1, sizeof *made + size);
    if (!made) measure_fail("no memory");
    arena->newest = made;
    return made + 1;
}

static inline Mark peer_mark(Arena arena) { return arena->newest; }
static inline void peer_reset(Arena arena) { peer_rewind(arena, NULL); }
