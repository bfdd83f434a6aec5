/* What a way to let memory go supplies to the programs: a node with two references, and how it is counted.
 *
 * A peer is one header of static inline functions, named by -DPEER='"peers/NAME.h"'. With -DPEER_CHECK it also knows how
 * many nodes are alive; without, it spends nothing on that.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "measure.h"
#include <stdlib.h>

typedef struct Node {
    void *left, *right;     /* counted references to other nodes, or NULL */
    uint64_t value;         /* payload: NODE_VALUE, so that a node which was overwritten is noticed */
} Node;

#define NODE_VALUE 0x5A0DEul

static inline void  peer_start(const char *configuration);
static inline Node *node_new(void);                          /* count 1, references NULL, value NODE_VALUE */
static inline Node *node_ref(Node *node);                    /* one reference more; never NULL here */
static inline void  node_unref(Node *node);                  /* one less; never NULL here */
static inline void  node_assign(void **slot, Node *node);    /* counts node, then releases what was in the slot */
static inline bool  peer_collect(void);                      /* a collection, or a slice of it; true: nothing is left */
static inline void **peer_roots(size_t count);               /* an array of references that the program holds, NULL */
static inline uint64_t peer_alive(void);                     /* nodes alive; 0 without PEER_CHECK */
static inline void  peer_report(void);                       /* what else it knows of the run, by measure_number */

#include PEER

#endif
