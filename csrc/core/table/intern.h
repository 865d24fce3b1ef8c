/* Append-only set of 16-byte keys: key -> small number, number -> key.
 *
 * Numbers start at 1 and are dense; 0 means "none". Lookup of a known key takes no lock (the slot
 * is published with release order after its key); insertion takes the lock. Storage is one array
 * of keys and one of hash slots, in reserved mappings that become resident as they fill; the slot
 * array doubles by rehash under the lock, and readers retry on the new one. */
#ifndef CMR_TABLE_INTERN_H
#define CMR_TABLE_INTERN_H

#include <stdatomic.h>
#include <stdint.h>

#include "os/lock.h"
#include "os/status.h"

struct cmr_key {
	uint64_t a, b;
};

struct cmr_intern {
	struct cmr_lock lock;                /* CMR_RANK_INTERN; insertion and growth */
	_Atomic(struct cmr_intern_slots *) slots;
	struct cmr_key *keys;                /* reserved address space; index = number */
	_Atomic uint32_t n_keys;             /* numbers 1..n_keys are valid */
	uint32_t capacity;                   /* most numbers there may be */
};

/* Reserves room for CAPACITY keys (16 bytes each, sparse). */
enum cmr_status cmr_intern_init(struct cmr_intern *set, uint32_t capacity,
				struct cmr_error *err) CMR_CHECKED;
void cmr_intern_fini(struct cmr_intern *set);

/* Number of KEY, new or known; 0 when memory was refused or the set is full. [hot] [nomalloc] */
uint32_t cmr_intern_add(struct cmr_intern *set, struct cmr_key key);

/* Key of a number that cmr_intern_add returned. */
static inline struct cmr_key cmr_intern_key(const struct cmr_intern *set, uint32_t number)
{
	return set->keys[number];
}

/* In the child of a fork: the lock is made anew. An insertion that another thread was in the middle of
 * wastes a number at most. */
void cmr_intern_after_fork(struct cmr_intern *set);

/* Forgets all and gives the pages back. No reader or writer may be in flight. */
void cmr_intern_reset(struct cmr_intern *set);

#endif
