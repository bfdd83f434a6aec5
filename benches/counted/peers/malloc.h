/* malloc and a count: 8 bytes before the payload, nothing for cycles, which therefore leak.
 *
 * PEER_ITERATIVE: a dead node's count word links it to the next, so that no depth overflows the stack. Without it,
 * as most programs do it, the release of a child is a recursive call. Which malloc it is, is decided by the link.
 */
typedef struct Counted {
    union { size_t count; struct Counted *next; } word;
    Node node;
} Counted;

static uint64_t nodes_alive;

static inline Counted *counted(void *node) { return (Counted *)(void *)((char *)node - offsetof(Counted, node)); }

static inline void peer_start(const char *configuration) { (void)configuration; }

static inline Node *node_new(void) {
    Counted *made = malloc(sizeof *made);
    if (!made) measure_fail("no memory");
#ifdef PEER_CHECK
    nodes_alive++;
#endif
    made->word.count = 1;
    made->node = (Node){ NULL, NULL, NODE_VALUE };
    return &made->node;
}

static inline Node *node_ref(Node *node) {
    counted(node)->word.count++;
    return node;
}

static inline void node_free(Counted *dead) {
#ifdef PEER_CHECK
    nodes_alive--;
#endif
    free(dead);
}

#ifdef PEER_ITERATIVE
static inline Counted *bury(Counted *dead, void *child) {
    if (!child || --counted(child)->word.count) return dead;
    counted(child)->word.next = dead;
    return counted(child);
}

static __attribute__((noinline)) void node_destroy(Counted *dead) {
    dead->word.next = NULL;
    while (dead) {
        Counted *gone = dead;
        dead = bury(bury(gone->word.next, gone->node.left), gone->node.right);
        node_free(gone);
    }
}

static inline void node_unref(Node *node) {
    if (--counted(node)->word.count == 0) node_destroy(counted(node));
}
#else
static void node_destroy(Counted *dead);

static inline void node_unref(Node *node) {
    if (--counted(node)->word.count == 0) node_destroy(counted(node));
}

static __attribute__((noinline)) void node_destroy(Counted *dead) {
    if (dead->node.left) node_unref(dead->node.left);
    if (dead->node.right) node_unref(dead->node.right);
    node_free(dead);
}
#endif

static inline void node_assign(void **slot, Node *node) {
    Node *old = *slot;
    if (node) node_ref(node);
    *slot = node;
    if (old) node_unref(old);
}

static inline bool peer_collect(void) { return true; }

static inline void **peer_roots(size_t count) { return calloc(count, sizeof(void *)); }

static inline uint64_t peer_alive(void) { return nodes_alive; }

static inline void peer_report(void) {}
