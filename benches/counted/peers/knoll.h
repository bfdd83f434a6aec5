/* Knoll's counted cells. PEER_CALL: every count by a call; without it by the header's inline functions.
 *
 * Configurations: "" as it comes; "arc" no cycles; "sliced" no call visits more than SLICE cells; "lazy" no call destroys
 * more than a few; "bounded" both.
 */
#include <knoll.h>
#include <string.h>

#ifdef PEER_CALL
#define COUNT(function) GC_##function
#else
#define COUNT(function) GC_##function##Inline
#endif

enum { SLICE = 2048, FREES_PER_UNREF = 64, FREES_PER_NEW = 4 };

static KnTypeId node_type;
static bool in_slices;

static inline void peer_start(const char *configuration) {
    static const uint32_t references[] = { offsetof(Node, left), offsetof(Node, right) };
    static const char *const names[] = { "left", "right" };
    static const KnType type = { .name = "Node", .size = sizeof(Node), .ref_count = 2, .ref_offsets = references,
                                 .ref_names = names };
    KnGcConfig wanted = { 0 };
    if (!strcmp(configuration, "arc")) wanted.flags = KN_GC_ARC;
    if (!strcmp(configuration, "sliced") || !strcmp(configuration, "bounded")) wanted.slice = SLICE;
    if (!strcmp(configuration, "lazy") || !strcmp(configuration, "bounded")) {
        wanted.frees_per_unref = FREES_PER_UNREF;
        wanted.frees_per_new = FREES_PER_NEW;
    }
    in_slices = wanted.slice != 0;
    if (GC_configure(&wanted) != KN_OK) measure_fail("GC_configure refuses");
    node_type = GC_registerType(&type);
    if (!node_type) measure_fail("GC_registerType refuses");
}

static inline Node *node_new(void) {
    Node *made = GC_new(node_type);
    if (!made) measure_fail("no memory");
    made->value = NODE_VALUE;
    return made;
}

static inline Node *node_ref(Node *node) {
    COUNT(ref)(node);
    return node;
}

static inline void node_unref(Node *node) { COUNT(unref)(node); }
static inline void node_assign(void **slot, Node *node) { COUNT(assign)(slot, node); }

static inline bool peer_collect(void) {
    if (in_slices) return GC_step(SLICE);
    GC_runOrc();
    return true;
}

static inline void **peer_roots(size_t count) { return calloc(count, sizeof(void *)); }

static inline uint64_t peer_alive(void) {
    KnGcStats stats;
    if (GC_check() != KN_OK || GC_stats(&stats) != KN_OK) measure_fail("GC_check finds a fault");
    return stats.cells;
}

static inline void peer_report(void) {
    KnGcStats stats;
    if (GC_stats(&stats) != KN_OK) measure_fail("GC_stats refuses");
    measure_number("longest_cells", stats.longest);
    measure_number("collections", stats.collections);
}
