/* Living Python objects of one tracer: address -> (creation stack, serial number). */
#ifndef CMR_BINDING_OBJECTS_H
#define CMR_BINDING_OBJECTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/lock.h"
#include "stack/nodes.h"

struct cmr_object {
	uintptr_t address; /* 0 = empty */
	uint64_t serial;   /* order of creation */
	cmr_node_id node;
};

/* Open addressing, linear probing, deletion by moving back; memory of the tracker's own. */
struct cmr_objects {
	struct cmr_object *items; /* capacity is a power of two */
	size_t capacity, n;
	uint64_t next_serial;
};

/* Adds or replaces; false when memory is refused. */
bool cmr_objects_put(struct cmr_objects *objects, uintptr_t address, cmr_node_id node);

/* Forgets ADDRESS if it is there. */
void cmr_objects_remove(struct cmr_objects *objects, uintptr_t address);

/* Packs all entries to the front of ITEMS, oldest first, and returns their number. Afterwards only
 * cmr_objects_clear may be called. */
size_t cmr_objects_sort(struct cmr_objects *objects);

/* Gives all memory back; empty again. */
void cmr_objects_clear(struct cmr_objects *objects);

#endif
