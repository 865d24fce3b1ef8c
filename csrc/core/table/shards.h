/* The hash part of a block table: blocks that say more than a granule holds, and those that have no
 * granule. Open addressing with linear probing, deletion by shifting back, one spinlock per shard.
 *
 * An entry is 32 bytes:  address | size | weight | location, tag, flags      (address 0: free slot)
 */
#ifndef CMR_TABLE_SHARDS_H
#define CMR_TABLE_SHARDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/lock.h"
#include "table/blocks.h"

struct cmr_shard_entry {
	uint64_t address, size, weight;
	uint32_t location;
	uint8_t tag;
	bool located, exact;
};

struct cmr_shard {
	struct cmr_lock lock; /* CMR_RANK_SHARD; protects all below */
	struct cmr_shard_entry *entries;
	size_t capacity;   /* a power of two, or 0 */
	size_t n_entries;
} __attribute__((aligned(64)));

/* All functions want an array of CMR_N_SHARDS. */

/* Makes the locks anew and forgets all entries without touching them. */
void cmr_shards_init(struct cmr_shard *shards);

/* Unmaps all. Only when nobody else uses them. */
void cmr_shards_fini(struct cmr_shard *shards);

/* Forgets all entries; gives back what is larger than a page. */
void cmr_shards_reset(struct cmr_shard *shards);

/* Adds or replaces the entry of ADDRESS (not 0). False: memory refused, nothing changed. [hot] */
bool cmr_shards_put(struct cmr_shard *shards, uintptr_t address, const struct cmr_block *block);

/* Removes the entry of ADDRESS and copies it to OUT; false when there is none. [hot] */
bool cmr_shards_take(struct cmr_shard *shards, uintptr_t address, struct cmr_block *out);

/* As cmr_blocks_retag. */
void cmr_shards_retag(struct cmr_shard *shards, const uint8_t map[CMR_N_TAGS]);

/* Number of entries, for the moment. */
size_t cmr_shards_count(struct cmr_shard *shards);

#endif
