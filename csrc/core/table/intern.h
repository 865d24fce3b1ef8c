/* Append-only set of keys of 8 to 16 bytes: key -> small number, number -> key.
 *
 * Numbers start at 1 and are dense; 0 means "none". Lookup of a known key takes no lock: the slot is
 * published with release order after its key. Insertion takes the lock, and looks again.
 *
 *   slots ── mask ── { hash (32) | number (32) } ...    0: free; doubled by rehash under the lock
 *     └── older ── older ...                            stay mapped for readers that are still in there, but
 *                                                       have no pages any more: they read as free
 *   chunks ── keys 0..65535 ── keys 65536..131071 ...   mapped as they are needed, never moved
 *
 * Slots are in the order of their hashes, as far as there is room: so rehashing reads and writes from one
 * end to the other, without a look at the keys. Of a million keys it takes some milliseconds. */
#ifndef CMR_TABLE_INTERN_H
#define CMR_TABLE_INTERN_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "os/lock.h"
#include "os/status.h"

struct cmr_key {
	uint64_t a, b;
};

#define CMR_INTERN_CHUNK_LOG2 16
#define CMR_INTERN_CHUNK ((uint32_t)1 << CMR_INTERN_CHUNK_LOG2)

struct cmr_intern_slots;

struct cmr_intern {
	struct cmr_lock lock; /* CMR_RANK_INTERN; insertion and growth */
	_Atomic(struct cmr_intern_slots *) slots;
	uint32_t **chunks; /* of CMR_INTERN_CHUNK keys; written under lock, before the number */
	_Atomic uint32_t n_keys; /* numbers 1..n_keys are valid */
	uint32_t n_used;         /* of them in slots */
	uint32_t capacity;       /* most numbers there may be */
	uint32_t words;          /* of 32 bits in a key as it is stored */
};

/* Makes an empty set of at most CAPACITY keys (below 2^32 - 65536); takes address space as it
 * grows. SET is zero-initialised or was finished. */
enum cmr_status cmr_intern_init(struct cmr_intern *set, uint32_t capacity,
				struct cmr_error *err) CMR_CHECKED;

/* The same of keys that take less room: 3 words of 32 bits if `b` is below 2^32, 2 if it is 0. */
enum cmr_status cmr_intern_init_words(struct cmr_intern *set, uint32_t words, uint32_t capacity,
				      struct cmr_error *err) CMR_CHECKED;

/* Unmaps all. SET may be zero, or have failed to be made. */
void cmr_intern_fini(struct cmr_intern *set);

/* How many numbers there are: 1..n. */
static inline uint32_t cmr_intern_count(const struct cmr_intern *set)
{
	return atomic_load_explicit(&set->n_keys, memory_order_acquire);
}

/* Number of KEY, new or known; 0 when memory was refused or the set is full. [hot] [nomalloc] */
uint32_t cmr_intern_add(struct cmr_intern *set, struct cmr_key key);

/* The same, where PLACE, a word that belongs to some of the keys, this one among them, has room for the
 * number of one: the first that comes is kept there and needs no slot. A key always comes with the
 * same PLACE. [hot] [nomalloc] */
uint32_t cmr_intern_add_at(struct cmr_intern *set, struct cmr_key key, _Atomic uint32_t *place);

/* Key of a number that cmr_intern_add returned. */
static inline struct cmr_key cmr_intern_key(const struct cmr_intern *set, uint32_t number)
{
	const uint32_t *word = &set->chunks[number >> CMR_INTERN_CHUNK_LOG2]
					   [(size_t)(number & (CMR_INTERN_CHUNK - 1)) * set->words];
	struct cmr_key key = { (uint64_t)word[1] << 32 | word[0], 0 };

	if (set->words > 2)
		key.b = word[2];
	if (set->words > 3)
		key.b |= (uint64_t)word[3] << 32;
	return key;
}

/* In the child of a fork: the lock is made anew. What another thread was in the middle of wastes a
 * number or a mapping at most. */
void cmr_intern_after_fork(struct cmr_intern *set);

/* Forgets all and gives the pages back. No reader or writer may be in flight. */
void cmr_intern_reset(struct cmr_intern *set);

#endif
