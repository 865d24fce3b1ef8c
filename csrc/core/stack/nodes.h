/* Call stacks as a trie: a node is (parent node, code number, offset of the instruction).
 *
 * Node 0 is the empty stack: a thread that runs no Python code. All nodes of the process are in one
 * append-only set, so equal stacks have equal numbers in every thread and region. */
#ifndef CMR_STACK_NODES_H
#define CMR_STACK_NODES_H

#include <stdatomic.h>
#include <stdint.h>

#include "os/status.h"

typedef uint32_t cmr_node_id;

struct cmr_node {
	cmr_node_id parent;
	uint32_t code;  /* number from the stack provider */
	int32_t offset; /* code units from the first one, or CMR_NO_OFFSET */
};

/* The highest number there may be. */
#define CMR_MOST_NODES ((uint32_t)1 << 26)
/* In place of the number of a stack that could not be recorded. */
#define CMR_NODE_LOST 0xffffffffu
/* In place of an offset that is not known: the frame has a function, but no line. */
#define CMR_NO_OFFSET INT32_MIN

/* Makes the set, and finds a clock for chains; safe to repeat. */
enum cmr_status cmr_nodes_init(struct cmr_error *err) CMR_CHECKED;

/* The node below PARENT. CMR_NODE_LOST when memory was refused, and below CMR_NODE_LOST; a `stacks`
 * loss is counted then. [hot] [nomalloc] */
cmr_node_id cmr_nodes_child(cmr_node_id parent, uint32_t code, int32_t offset);

/* Key of node ID (not 0, not CMR_NODE_LOST). */
struct cmr_node cmr_nodes_get(cmr_node_id id);

/* How many there are: 1..n. */
uint32_t cmr_nodes_count(void);

/* Forgets all, and the provider's codes, whose numbers they hold; bumps cmr_code_epoch, so that chains
 * forget them too. No hook may be in flight and nobody may hold a number. */
void cmr_nodes_reset(void);

/* Number of the present set of nodes: chains compare it. Changes before cmr_code_epoch does. */
extern _Atomic uint32_t cmr_nodes_serial;

/* In the child of a fork: the lock is made anew; nodes stay. */
void cmr_nodes_after_fork(void);

#endif
