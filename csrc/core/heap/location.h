/* Location: call stack + allocator, as one small number. */
#ifndef CMR_HEAP_LOCATION_H
#define CMR_HEAP_LOCATION_H

#include <stdatomic.h>
#include <stdint.h>

#include "os/status.h"
#include "stack/nodes.h"

struct cmr_thread;

struct cmr_location {
	cmr_node_id node; /* CMR_NODE_LOST: the stack could not be recorded */
	uint32_t kind;    /* enum cmr_kind */
};

/* Makes the set of locations, and has threads give their chains back when they end. Safe to call
 * again. */
enum cmr_status cmr_locations_init(struct cmr_error *err) CMR_CHECKED;

/* Number of (NODE, KIND); 0 = lost (a `stacks` loss is counted). Dense from 1. [hot] [nomalloc] */
uint32_t cmr_locations_add(cmr_node_id node, uint32_t kind);

/* Number of THREAD's present stack and KIND; 0 as above. THREAD is the caller, after a successful
 * allocation (stack/chain.h). [hot] [nomalloc] */
uint32_t cmr_locations_here(struct cmr_thread *thread, uint32_t kind);

/* Key of a number that cmr_locations_add returned. */
struct cmr_location cmr_locations_get(uint32_t number);
uint32_t cmr_locations_count(void);

/* Forgets locations, nodes and the provider's codes; bumps cmr_interning and cmr_code_epoch. No hook
 * may be in flight and no region may exist that still needs its locations. */
void cmr_locations_reset(void);

/* In the child of a fork: the lock may have been held by a thread that is no more. */
void cmr_locations_after_fork(void);

/* Number of the present interning, never 0; caches of numbers compare it. */
extern _Atomic uint32_t cmr_interning;

#endif
