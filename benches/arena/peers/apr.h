/* APR's pools, Debian's: a scope is a pool or a child pool; memory of a pool that is gone stays with its allocator, with
 * no bound as the allocator comes. A mark is a child pool. An object does not grow: it is copied.
 * Debian's takes its memory from mmap: what it holds are the pages that it has mapped. */
#include <apr_general.h>
#include <apr_pools.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static size_t mapped;

/* In place of the C library's, for libapr too. */
void *mmap(void *at, size_t size, int protection, int flags, int file, off_t offset) {
    mapped += size;
    return (void *)syscall(SYS_mmap, at, size, protection, flags, file, offset);
}

int munmap(void *at, size_t size) {
    mapped -= size;
    return (int)syscall(SYS_munmap, at, size);
}

static inline size_t peer_held(void) { return mapped; }

typedef apr_pool_t *Arena;
typedef char Room;
typedef char Cleanup;

#define PEER_MARK_IS_A_CHILD

static inline void peer_start(const char *configuration) {
    (void)configuration;
    if (apr_initialize() != APR_SUCCESS) measure_fail("apr_initialize fails");
}

static inline Arena peer_enter_in(Room *room, Arena parent, size_t presize) {
    (void)room, (void)presize;
    apr_pool_t *made;
    if (apr_pool_create(&made, parent) != APR_SUCCESS) measure_fail("no memory");
    return made;
}

static inline Arena peer_enter(Room *room, size_t presize) { return peer_enter_in(room, NULL, presize); }

static inline void peer_leave(Room *room, Arena arena) {
    (void)room;
    apr_pool_destroy(arena);
}

static inline void *peer_alloc(Arena arena, size_t size) { return apr_palloc(arena, size); }

static inline void *peer_resize(Arena arena, void *at, size_t old, size_t size) {
    void *made = apr_palloc(arena, size);
    memcpy(made, at, old);
    return made;
}

static void (*cleanup_function)(void *);
static apr_status_t apr_cleanup(void *at) {
    cleanup_function(at);
    return APR_SUCCESS;
}
static inline void peer_on_leave(Arena arena, Cleanup *cleanup) {
    apr_pool_cleanup_register(arena, cleanup, apr_cleanup, apr_pool_cleanup_null);
}
static inline void cleanup_set(Cleanup *cleanup, void (*run)(void *), void *context) {
    (void)cleanup, (void)context;
    cleanup_function = run;
}

static inline void peer_reset(Arena arena) { apr_pool_clear(arena); }
