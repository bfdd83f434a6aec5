/* For peers over glibc's malloc: what they hold of it. Its caches for each thread count as in use: the bench sets
 * GLIBC_TUNABLES so that there are none where memory is measured. */
#include <malloc.h>

static inline size_t peer_held(void) {
    struct mallinfo2 now = mallinfo2();
    return now.uordblks + now.hblkhd;
}

static inline void *beneath(size_t size) {
    void *made = malloc(size);
    if (!made) measure_fail("no memory");
    return made;
}

/* The first use of malloc makes what it needs itself. */
static inline void peer_start(const char *configuration) {
    (void)configuration;
    free(beneath(1));
}
