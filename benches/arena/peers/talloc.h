/* talloc, Debian's: a scope is a context, with a pool where a presize is wanted, and all in it are its children. A mark
 * is a child context in which one goes on; what lies in it goes with it. */
#include "beneath.h"
#include <talloc.h>

typedef TALLOC_CTX *Arena;
typedef char Room;
typedef char Cleanup;

#define PEER_MARK_IS_A_CHILD
/* Each allocation has a head of 96 bytes and is rounded up to 16: what a pool has to be larger. */
#define PEER_HEAD 112

static inline Arena peer_enter_in(Room *room, Arena parent, size_t presize) {
    (void)room;
    Arena made = presize ? talloc_pool(parent, presize) : talloc_new(parent);
    if (!made) measure_fail("no memory");
    return made;
}

static inline Arena peer_enter(Room *room, size_t presize) { return peer_enter_in(room, NULL, presize); }

static inline void peer_leave(Room *room, Arena arena) {
    (void)room;
    if (talloc_free(arena)) measure_fail("talloc_free refuses");
}

static inline void *peer_alloc(Arena arena, size_t size) {
    void *made = talloc_size(arena, size);
    return made;
}

static inline void *peer_resize(Arena arena, void *at, size_t old, size_t size) {
    (void)old;
    return talloc_realloc_size(arena, at, size);
}

/* A destructor is a function of the allocation that it is for. */
static inline int talloc_cleanup(void *at);
static inline void peer_on_leave(Arena arena, Cleanup *cleanup) {
    (void)arena;
    _talloc_set_destructor(cleanup, talloc_cleanup);
}
static void (*cleanup_function)(void *);
static inline int talloc_cleanup(void *at) {
    cleanup_function(at);
    return 0;
}
static inline void cleanup_set(Cleanup *cleanup, void (*run)(void *), void *context) {
    (void)cleanup, (void)context;
    cleanup_function = run;
}

static inline void peer_reset(Arena arena) { talloc_free_children(arena); }
