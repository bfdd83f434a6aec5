/* glibc's obstacks over its malloc. A scope in a scope is the same obstack, freed down to where it began; there are no
 * cleanups. */
#include "beneath.h"
#include <obstack.h>

#define obstack_chunk_alloc beneath
#define obstack_chunk_free free
#define PEER_NO_CLEANUPS

typedef struct obstack *Arena;
typedef struct Room { struct obstack stack; void *began; } Room;
typedef void *Mark;

static inline Arena peer_enter(Room *room, size_t presize) {
    if (presize) {
        /* The chunk holds its own head. */
        obstack_begin(&room->stack, presize + 64);
    } else {
        obstack_init(&room->stack);
    }
    obstack_alignment_mask(&room->stack) = 7;
    room->began = NULL;
    return &room->stack;
}

static inline Arena peer_enter_in(Room *room, Arena parent, size_t presize) {
    (void)presize;
    room->began = obstack_alloc(parent, 0);
    return parent;
}

static inline void peer_leave(Room *room, Arena arena) { obstack_free(arena, room->began); }
static inline void *peer_alloc(Arena arena, size_t size) { return obstack_alloc(arena, size); }

/* The object is still growing: obstack_grow is for that. Finished, it is opened again as the last one. */
static inline void *peer_resize(Arena arena, void *at, size_t old, size_t size) {
    arena->object_base = at;
    arena->next_free = (char *)at + old;
    obstack_blank(arena, size - old);
    return obstack_finish(arena);
}

static inline Mark peer_mark(Arena arena) { return obstack_alloc(arena, 0); }
static inline void peer_rewind(Arena arena, Mark mark) { obstack_free(arena, mark); }

/* Frees all that was ever allocated; the first chunk is kept. */
static inline void peer_reset(Arena arena) {
    struct _obstack_chunk *first = arena->chunk;
    while (first->prev) first = first->prev;
    obstack_free(arena, first->contents);
}
