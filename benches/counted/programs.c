/* The six programs, over one peer.
 *
 *   programs PROGRAM COUNT [STEPS-FILE [CONFIGURATION]]
 *
 *   trees   COUNT   beside a living tree of depth 16, COUNT trees of depth 14 built and dropped
 *   list    COUNT   a singly linked list of COUNT nodes built and dropped
 *   ring    COUNT   COUNT times a doubly linked ring of 10^6 nodes built, dropped, collected
 *   rings   COUNT   COUNT doubly linked rings of 100 nodes built and dropped
 *   churn   COUNT   a table of 131072 nodes in groups of 16; COUNT steps: 7 of 8 point a node to another of its group,
 *                   1 of 8 replaces a node of the table; what was replaced may live on, reached from its group
 *   beside  COUNT   beside a living list of 10^6 nodes, COUNT cycles of two nodes built and dropped, each of which points
 *                   into the list
 *   small-stack COUNT  as list, dropped on a stack of 4 KB; prints how much of it was used
 *
 * COUNT 0 does the set-up alone: the difference is the work. nim/programs.nim and rivals/src/programs.rs are the same
 * programs, with the same random numbers.
 */
#define _GNU_SOURCE
#include "peer.h"
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

enum { LIVE_DEPTH = 16, DEPTH = 14, RING = 1000000, SMALL_RING = 100, TABLE = 131072, GROUP = 16, LIVE_LIST = 1000000 };

/* xorshift64*, the upper half. */
static uint64_t random_state = 0x9E3779B97F4A7C15u;

static inline uint32_t random_bits(void) {
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (uint32_t)((random_state * 0x2545F4914F6CDD1Du) >> 32);
}

/* What lives as long as the program, where a collector that scans finds it too. */
static Node *living;

static inline void finish(void) {
    while (!peer_collect()) measure_step();
}

/* With PEER_CHECK: the peer's own count beside an independent one, while the program holds its roots. */
static inline void check(uint64_t expected) {
#ifdef PEER_CHECK
    measure_alive(peer_alive(), expected);
#else
    (void)expected;
#endif
}

/* ---------------------------------------------------------------- acyclic */

static Node *tree(int depth) {
    Node *node = node_new();
    if (depth) {
        node->left = tree(depth - 1);
        node->right = tree(depth - 1);
    }
    return node;
}

static void trees(uint64_t count) {
    living = tree(LIVE_DEPTH);
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        Node *dropped = tree(DEPTH);
        measure_skip();
        node_unref(dropped);
        measure_step();
    }
    peer_report();
    finish();
    measure_end(count * ((2u << DEPTH) - 1));
    check((2u << LIVE_DEPTH) - 1);
    node_unref(living);
}

static Node *list_of(uint64_t count) {
    Node *head = NULL;
    for (uint64_t i = 0; i < count; i++) {
        Node *node = node_new();
        node->left = head;
        head = node;
    }
    return head;
}

static void list(uint64_t count) {
    measure_begin();
    Node *head = list_of(count);
    measure_skip();
    if (head) node_unref(head);
    head = NULL;
    measure_step();
    peer_report();
    finish();
    measure_end(count);
    check(0);
}

/* ---------------------------------------------------------------- cycles */

static Node *ring_of(unsigned count) {
    Node *first = node_new(), *last = node_ref(first);
    for (unsigned i = 1; i < count; i++) {
        Node *node = node_new();
        node->left = last;
        last->right = node_ref(node);
        last = node;
    }
    last->right = node_ref(first);
    first->left = last;
    return first;
}

static void ring(uint64_t count) {
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        Node *dropped = ring_of(RING);
        measure_skip();
        node_unref(dropped);
        dropped = NULL;
        if (i + 1 == count) peer_report();
        finish();
        measure_step();
    }
    measure_end(count * RING);
    check(0);
}

static void rings(uint64_t count) {
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        node_unref(ring_of(SMALL_RING));
        measure_step();
    }
    peer_report();
    finish();
    measure_end(count * SMALL_RING);
    check(0);
}

/* How many nodes a walk from the table reaches. It marks them by their value, which it puts back. */
static uint64_t reached(void **table) {
    uint64_t found = 0, capacity = TABLE * 16u, pending = 0;
    Node **nodes = malloc(capacity * sizeof *nodes);
    if (!nodes) measure_fail("no memory for the walk");
    for (size_t i = 0; i < TABLE; i++) {
        Node *node = table[i];
        if (node->value != NODE_VALUE + 1) node->value = NODE_VALUE + 1, nodes[found++] = node;
    }
    while (pending < found) {
        void *next[] = { nodes[pending]->left, nodes[pending]->right };
        pending++;
        for (int i = 0; i < 2; i++) {
            Node *node = next[i];
            if (!node || node->value == NODE_VALUE + 1) continue;
            if (node->value != NODE_VALUE) measure_fail("a node that can be reached was overwritten");
            if (found == capacity) measure_fail("more nodes than the walk holds");
            node->value = NODE_VALUE + 1;
            nodes[found++] = node;
        }
    }
    for (uint64_t i = 0; i < found; i++) nodes[i]->value = NODE_VALUE;
    free(nodes);
    return found;
}

static void churn(uint64_t count) {
    void **table = peer_roots(TABLE);
    for (size_t i = 0; i < TABLE; i++) table[i] = node_new();
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        uint32_t bits = random_bits(), at = bits & (TABLE - 1);
        if (bits >> 29) {
            Node *from = table[at], *to = table[(at & ~(GROUP - 1u)) | (bits >> 17 & (GROUP - 1u))];
            node_assign(bits >> 21 & 1 ? &from->left : &from->right, to);
        } else {
            Node *old = table[at];
            table[at] = node_new();
            node_unref(old);
        }
        measure_step();
    }
    peer_report();
    finish();
    measure_end(count);
    check(reached(table));
}

static void beside(uint64_t count) {
    living = list_of(LIVE_LIST);
    /* Where its nodes are; these are not references. */
    void **places = malloc(LIVE_LIST * sizeof *places);
    if (!places) measure_fail("no memory");
    Node *node = living;
    for (size_t i = 0; i < LIVE_LIST; i++, node = node->left) places[i] = node;
    measure_begin();
    for (uint64_t i = 0; i < count; i++) {
        Node *one = node_new(), *other = node_new();
        one->left = node_ref(other);
        other->left = node_ref(one);
        one->right = node_ref(places[(uint64_t)random_bits() * LIVE_LIST >> 32]);
        node_unref(one);
        node_unref(other);
        measure_step();
    }
    peer_report();
    finish();
    measure_end(count);
    uint64_t expected = 0;
    for (node = living; node; node = node->left) expected++;
    check(expected);
}

/* ---------------------------------------------------------------- a stack of 4 KB */

enum { STACK_BYTES = 4096, STACK_PATTERN = 0x5C };
static Node *dropped_there;

static void drop_there(void) {
    node_unref(dropped_there);
    dropped_there = NULL;
}

/* The page below the stack is not mapped: an overflow ends the process. */
static void small_stack(uint64_t count) {
    unsigned char *pages = mmap(NULL, 2 * STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static ucontext_t here, there;
    if (pages == MAP_FAILED || mprotect(pages, STACK_BYTES, PROT_NONE) || getcontext(&there))
        measure_fail("no stack");
    memset(pages + STACK_BYTES, STACK_PATTERN, STACK_BYTES);
    there.uc_stack.ss_sp = pages + STACK_BYTES;
    there.uc_stack.ss_size = STACK_BYTES;
    there.uc_link = &here;
    makecontext(&there, drop_there, 0);
    dropped_there = list_of(count);
    measure_begin();
    if (dropped_there && swapcontext(&here, &there)) measure_fail("no other stack");
    finish();
    measure_end(count);
    size_t untouched = 0;
    while (untouched < STACK_BYTES && pages[STACK_BYTES + untouched] == STACK_PATTERN) untouched++;
    measure_number("stack", STACK_BYTES - untouched);
}

/* ---------------------------------------------------------------- which */

int main(int argc, char **argv) {
    static const struct { const char *name; void (*run)(uint64_t count); } programs[] = {
        { "trees", trees }, { "list", list }, { "ring", ring }, { "rings", rings },
        { "churn", churn }, { "beside", beside }, { "small-stack", small_stack },
    };
    if (argc < 3) measure_fail("programs PROGRAM COUNT [STEPS-FILE [CONFIGURATION]]");
    peer_start(argc > 4 ? argv[4] : "");
    measure_start(argv[1], argc > 3 ? argv[3] : NULL);
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
        if (strcmp(argv[1], programs[i].name)) continue;
        programs[i].run(strtoull(argv[2], NULL, 10));
        return 0;
    }
    measure_fail("no such program");
    return 2;
}
