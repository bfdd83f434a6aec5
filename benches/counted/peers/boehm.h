/* The conservative collector of Boehm, Demers and Weiser: nothing is counted, references are found by scanning.
 *
 * Configuration "incremental": GC_enable_incremental.
 */
#include <gc.h>
#include <gc/gc_mark.h>
#include <string.h>

static inline void peer_start(const char *configuration) {
    GC_INIT();
    if (!strcmp(configuration, "incremental")) GC_enable_incremental();
}

static inline Node *node_new(void) {
    Node *made = GC_MALLOC(sizeof *made);
    if (!made) measure_fail("no memory");
    made->value = NODE_VALUE;
    return made;
}

static inline Node *node_ref(Node *node) { return node; }
static inline void  node_unref(Node *node) { (void)node; }
static inline void  node_assign(void **slot, Node *node) { *slot = node; }

static inline bool peer_collect(void) {
    GC_gcollect();
    return true;
}

/* Scanned for references, never collected. */
static inline void **peer_roots(size_t count) { return GC_MALLOC_UNCOLLECTABLE(count * sizeof(void *)); }

#ifdef PEER_CHECK
/* Nothing but a node carries the value there. */
static void GC_CALLBACK count_node(void *object, size_t bytes, void *found) {
    if (bytes >= sizeof(Node) && ((Node *)object)->value == NODE_VALUE) ++*(uint64_t *)found;
}

static void *count_all(void *found) {
    GC_enumerate_reachable_objects_inner(count_node, found);
    return NULL;
}

static inline uint64_t peer_alive(void) {
    uint64_t found = 0;
    GC_gcollect();
    GC_call_with_alloc_lock(count_all, &found);
    return found;
}
#else
static inline uint64_t peer_alive(void) { return 0; }
#endif

static inline void peer_report(void) {}
