/* What a way to allocate in scopes supplies to the programs: an arena that is entered and left, and what is done in it.
 *
 * A peer is one header of static inline functions, named by -DPEER='"peers/NAME.h"'. It allocates as its users do: by
 * its macro or inline function where it has one, by a call where it has none. It defines
 *
 *   Arena    a handle, passed by value
 *   Room     what the caller keeps of an arena in its own frame from enter to leave
 *   Mark     a place in an arena; or PEER_MARK_IS_A_CHILD: one goes on in an arena within it, and leaves that
 *   Cleanup  what the caller keeps of a cleanup, at the start of memory in the arena; or PEER_NO_CLEANUPS
 *
 *   PEER_HEAD         bytes beside each allocation, if an arena is to be sized for them
 *   PEER_FIXED_SIZE   bytes of every allocation, if they have one size; PEER_FILL: the only byte that may be in them
 *
 *   void   peer_start(const char *configuration)
 *   Arena  peer_enter(Room *, size_t presize)                    presize 0: as the peer comes
 *   Arena  peer_enter_in(Room *, Arena parent, size_t presize)   left before the parent
 *   void   peer_leave(Room *, Arena)
 *   void  *peer_alloc(Arena, size_t)                             aligned to 8
 *   void  *peer_resize(Arena, void *, size_t old, size_t size)   of what was allocated last, to more
 *   Mark   peer_mark(Arena)          void peer_rewind(Arena, Mark)
 *   void   peer_reset(Arena)                                     empties it, keeps capacity
 *   void   cleanup_set(Cleanup *, void (*run)(void *), void *context)
 *   void   peer_on_leave(Arena, Cleanup *)
 *   size_t peer_held(void)                                       bytes that all arenas take from the heap beneath
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "measure.h"
#include <stdlib.h>
#include <string.h>

#include PEER

/* The tail of an arena: what is allocated from tail_begin on, in the arena that it gives, goes at tail_end. */
#ifdef PEER_MARK_IS_A_CHILD
typedef Room Tail;
static inline Arena tail_begin(Tail *tail, Arena arena) { return peer_enter_in(tail, arena, 0); }
static inline void tail_end(Tail *tail, Arena inner) { peer_leave(tail, inner); }
#else
typedef Mark Tail;
static inline Arena tail_begin(Tail *tail, Arena arena) {
    *tail = peer_mark(arena);
    return arena;
}
static inline void tail_end(Tail *tail, Arena inner) { peer_rewind(inner, *tail); }
#endif

#endif
