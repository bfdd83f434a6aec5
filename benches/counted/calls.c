/* Single calls of Knoll's counted part, one case at a time: in the emulator each call is counted by itself, on the host
 * a case is repeated COUNT times under callgrind; the case `nothing` is what the process costs without it.
 *
 *   calls CASE COUNT     on the host
 *   calls                in the emulator: every case
 *
 * What is measured stands between BEGIN and END, or is the call after CALL; on the host these are nothing and an
 * iteration includes what prepares it.
 */
#include <knoll.h>
#include "mark.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Node {
    void *left, *right;
    uint64_t value;
} Node;

/* A leaf refers to nothing, so it is acyclic; a node may be part of a cycle. */
static KnTypeId leaf_type, node_type;
static uint32_t mark;

enum { RING = 1000 };

#define CALL() KNOLL_MARK_CALL(mark)
#define BEGIN() KNOLL_MARK_BEGIN(mark)
#define END() KNOLL_MARK_END(mark)

static void fail(const char *message) {
    puts(message);
    exit(2);
}

static void *made(KnTypeId type) {
    void *object = GC_new(type);
    if (!object) fail("no memory");
    return object;
}

/* The compiler may not know what a pointer points to. */
static void *hidden(void *pointer) {
    __asm__ volatile("" : "+r"(pointer));
    return pointer;
}

/* ---------------------------------------------------------------- making */

static void new_leaf(unsigned count) {
    while (count--) {
        CALL();
        void *leaf = GC_new(leaf_type);
        GC_unref(leaf);
    }
}

static void new_node(unsigned count) {
    while (count--) {
        CALL();
        void *node = GC_new(node_type);
        GC_unref(node);
    }
}

/* ---------------------------------------------------------------- counting */

static void ref_call(unsigned count) {
    void *leaf = hidden(made(leaf_type));
    while (count--) {
        CALL();
        GC_ref(leaf);
    }
}

static void ref_inline(unsigned count) {
    void *leaf = hidden(made(leaf_type));
    while (count--) {
        BEGIN();
        GC_refInline(leaf);
        END();
    }
}

static void many_references(void *object, unsigned count) {
    while (count--) GC_ref(object);
}

/* Acyclic, and not the last reference. */
static void unref_call(unsigned count) {
    void *leaf = hidden(made(leaf_type));
    many_references(leaf, count);
    while (count--) {
        CALL();
        GC_unref(leaf);
    }
}

static void unref_inline(unsigned count) {
    void *leaf = hidden(made(leaf_type));
    many_references(leaf, count);
    while (count--) {
        BEGIN();
        GC_unrefInline(leaf);
        END();
    }
}

/* It might be part of a cycle and is a root from now on. */
static void unref_becomes_root(unsigned count) {
    while (count--) {
        void *node = GC_ref(made(node_type));
        CALL();
        GC_unref(node);
        GC_unref(node);
    }
}

/* It is a root already. */
static void unref_root_call(unsigned count) {
    void *node = hidden(made(node_type));
    GC_ref(node);
    GC_unref(node);
    many_references(node, count);
    while (count--) {
        CALL();
        GC_unref(node);
    }
}

static void unref_root_inline(unsigned count) {
    void *node = hidden(made(node_type));
    GC_ref(node);
    GC_unref(node);
    many_references(node, count);
    while (count--) {
        BEGIN();
        GC_unrefInline(node);
        END();
    }
}

/* The last reference: the cell dies. */
static void unref_last(unsigned count) {
    while (count--) {
        void *leaf = made(leaf_type);
        CALL();
        GC_unref(leaf);
    }
}

static void assign_call(unsigned count) {
    Node *node = made(node_type);
    void *leaves[] = { hidden(made(leaf_type)), hidden(made(leaf_type)) };
    while (count--) {
        void *leaf = leaves[count & 1];
        CALL();
        GC_assign(&node->left, leaf);
    }
}

static void assign_inline(unsigned count) {
    Node *node = made(node_type);
    void *leaves[] = { hidden(made(leaf_type)), hidden(made(leaf_type)) };
    while (count--) {
        void *leaf = leaves[count & 1];
        BEGIN();
        GC_assignInline(&node->left, leaf);
        END();
    }
}

/* ---------------------------------------------------------------- many cells at once */

static void run_orc_ring(unsigned count) {
    while (count--) {
        Node *first = made(node_type), *last = GC_ref(first);
        for (int j = 1; j < RING; j++) {
            Node *node = made(node_type);
            node->left = last;
            last->right = GC_ref(node);
            last = node;
        }
        last->right = GC_ref(first);
        first->left = last;
        GC_unref(first);
        CALL();
        GC_runOrc();
    }
}

static void drop_list(unsigned count) {
    while (count--) {
        Node *head = NULL;
        for (int j = 0; j < RING; j++) {
            Node *node = made(node_type);
            node->left = head;
            head = node;
        }
        CALL();
        GC_unref(head);
    }
}

/* ---------------------------------------------------------------- which */

static const struct { const char *name; void (*run)(unsigned count); unsigned samples; } cases[] = {
    { "GC_new 8 bytes", new_leaf, 64 },
    { "GC_new node", new_node, 64 },
    { "GC_ref call", ref_call, 64 },
    { "GC_ref inline", ref_inline, 64 },
    { "GC_unref call", unref_call, 64 },
    { "GC_unref inline", unref_inline, 64 },
    { "GC_unref becomes root", unref_becomes_root, 64 },
    { "GC_unref root call", unref_root_call, 64 },
    { "GC_unref root inline", unref_root_inline, 64 },
    { "GC_unref last", unref_last, 64 },
    { "GC_assign call", assign_call, 64 },
    { "GC_assign inline", assign_inline, 64 },
    { "GC_runOrc ring of 1000", run_orc_ring, 1 },
    { "GC_unref list of 1000", drop_list, 1 },
};

static void start(void) {
    static const uint32_t references[] = { offsetof(Node, left), offsetof(Node, right) };
    static const KnType leaf = { .name = "Leaf", .size = 8 };
    static const KnType node = { .name = "Node", .size = sizeof(Node), .ref_count = 2, .ref_offsets = references };
#if defined(__arm__)
    static unsigned char memory[192 * 1024] __attribute__((aligned(8)));
    if (kn_init(memory, sizeof memory) != KN_OK) fail("kn_init refuses");
#endif
    leaf_type = GC_registerType(&leaf);
    node_type = GC_registerType(&node);
    if (!leaf_type || !node_type) fail("GC_registerType refuses");
}

int main(int argc, char **argv) {
    start();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (argc < 3) {
            mark = (uint32_t)i + 1;
            knoll_mark_name(mark, cases[i].name);
            cases[i].run(cases[i].samples);
        } else if (!strcmp(argv[1], "nothing")) {
            return 0;
        } else if (!strcmp(argv[1], cases[i].name)) {
            cases[i].run((unsigned)strtoul(argv[2], NULL, 10));
            return 0;
        }
    }
    if (argc >= 3) fail("no such case");
    return GC_check() == KN_OK ? 0 : 1;
}
