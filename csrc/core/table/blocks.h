/* Block table: address -> what is known about the live block there. One per plane.
 *
 *   address bits   46........26 25.........4 3..0
 *                  leaf number  granule      must be 0
 *
 *   granule entry (16 bits)   15......10  9         8.......0
 *                             tag (6)     located   size (9)
 *
 *   tag 0       no entry
 *   size 0..510 the requested size of a small block
 *   size 511    not located: the block is in the hash
 *               located: a wide entry. Granules that follow belong to the same block; from the next
 *               multiple of four on they say more, in groups of four, each with tag 63 and 10 bits,
 *               lowest first, below a stamp of 4 bits (table/wide.h):
 *                  { third group (1) | location (1) | size (34) }
 *                  { weight - size (13) | location (23) }   { weight - size, above }
 *
 * The location of a small block is in a parallel map of 32 bits per granule, { weight - size (9) |
 * location (23) }. It serves exact attribution, and sampling with a small period; blocks that are
 * sampled seldom do not fit and are in the hash, since a page of the map for each would be a waste. So
 * are those that are not 16-byte aligned, lie at 2^47 and above, or are of 16 GiB and more. For
 * example, a block of 24 bytes with tag 3 is 0x0c18; one of 4096 bytes is 0x0fff and then, where its
 * first group is, 0xfc00 0xfc04 0xfc00 0xfc00.
 *
 * A leaf spans 64 MiB of address space and is 8 MiB of sparse, zero-filled mapping; untouched pages of
 * it cost nothing.
 *
 * No lock for the granule map: the allocator hands an address to one thread, and the program's own
 * hand-over orders that thread's store before another thread's free. Hash shards have spinlocks.
 * Order: hash or location first, granule last on put; granule first on take; both before the real
 * free and after the real malloc. */
#ifndef CMR_TABLE_BLOCKS_H
#define CMR_TABLE_BLOCKS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/lock.h"
#include "os/status.h"

#define CMR_N_TAGS 63u    /* tag 0 = none */
#define CMR_TAG_INSIDE 63u /* a granule of a wide entry, nobody's own */

#define CMR_GRANULE_LOG2 4
#define CMR_LEAF_LOG2 26 /* bytes of address space per leaf */
#define CMR_LEAF_GRANULES ((size_t)1 << (CMR_LEAF_LOG2 - CMR_GRANULE_LOG2))
#define CMR_ADDRESS_LOG2 47
#define CMR_N_LEAVES ((size_t)1 << (CMR_ADDRESS_LOG2 - CMR_LEAF_LOG2))
#define CMR_TAG_SHIFT 10
#define CMR_HAS_LOCATION 0x200u
#define CMR_SIZE_MASK 0x1ffu
#define CMR_NOT_SMALL 511u /* in place of the size */
#define CMR_WIDE (CMR_HAS_LOCATION | CMR_NOT_SMALL)
#define CMR_SMALL_MAX 510u
#define CMR_WIDE_MAX (((uint64_t)1 << 34) - 1)
#define CMR_LOCATION_LOG2 23
#define CMR_LOCATION_MASK (((uint32_t)1 << CMR_LOCATION_LOG2) - 1)
#define CMR_SURPLUS_MAX (((uint64_t)1 << (32 - CMR_LOCATION_LOG2)) - 1) /* weight - size, small */

#define CMR_N_SHARDS 64u

/* One live block, as put and taken. */
struct cmr_block {
	uint64_t size;     /* requested bytes */
	uint64_t weight;   /* bytes its location is charged with; 0 = no location */
	uint32_t location; /* heap/location.h; meaningful when weight or exact_location */
	uint8_t tag;       /* 1..62 */
	bool located;      /* has a location */
	bool exact;        /* located, weight == size: every block of this tag has one */
};

struct cmr_shard;

struct cmr_blocks {
	_Atomic(_Atomic uint16_t *) *leaves;    /* CMR_N_LEAVES, sparse; published by CAS */
	_Atomic(_Atomic uint32_t *) *locations; /* parallel leaves, made on first exact block */
	_Atomic uint32_t *made;                 /* 1 + numbers of leaves, in order of making */
	_Atomic uint32_t n_made;
	struct cmr_shard *shards; /* CMR_N_SHARDS; table/shards.h */
};

/* Reserves the directories. BLOCKS is zero-initialised. Safe to call again. */
enum cmr_status cmr_blocks_init(struct cmr_blocks *blocks, struct cmr_error *err) CMR_CHECKED;

/* Unmaps all of it. Only when no hook can be in flight (tests). */
void cmr_blocks_fini(struct cmr_blocks *blocks);

/* Forgets every entry and gives the pages back. The caller has made sure that no region is open on
 * this plane and that no hook is in flight (cmr_thread_quiesce). */
void cmr_blocks_reset(struct cmr_blocks *blocks);

/* Any block. False: memory refused, nothing recorded
 * (the caller counts the loss). Replaces an older entry at the address. [hot] [nomalloc] */
bool cmr_blocks_put(struct cmr_blocks *blocks, uintptr_t address, const struct cmr_block *block);

/* Removes the entry of ADDRESS and copies it to OUT; false when there is none. [hot] [nomalloc] */
bool cmr_blocks_take(struct cmr_blocks *blocks, uintptr_t address, struct cmr_block *out);

/* Replaces tag FROM by tag MAP[FROM] in all entries (MAP[t] == 0 drops the entry), by compare and
 * swap, so that frees and stores of tags that map to themselves may go on meanwhile. MAP[MAP[t]] is
 * MAP[t]. A thread may still hold an entry that it took out before: quiesce before a tag that is gone
 * gets a new meaning. Not from a hook. Reads the pages of the leaves that were ever written. */
void cmr_blocks_retag(struct cmr_blocks *blocks, const uint8_t map[CMR_N_TAGS]);

/* In the child of a fork, where another thread may have been changing it: shard locks are made anew,
 * hash entries given up without being looked at. Granules stay. O(1). */
void cmr_blocks_after_fork(struct cmr_blocks *blocks);

/* Number of hash entries and bytes of leaves made, for cmr_status reports. */
void cmr_blocks_measure(const struct cmr_blocks *blocks, size_t *hash_entries, size_t *leaves);

/* --- inline hot path ------------------------------------------------------------------------ */

/* The granule of ADDRESS, or NULL when it has none (yet): unaligned, high, or leaf not made. */
static inline _Atomic uint16_t *cmr_blocks_granule(const struct cmr_blocks *blocks,
						   uintptr_t address)
{
	/* Rotated, so that the bits that must be 0 are all at the top. */
	uintptr_t number = address >> CMR_GRANULE_LOG2 | address << (64 - CMR_GRANULE_LOG2);
	_Atomic uint16_t *leaf;

	if (__builtin_expect(number >> (CMR_ADDRESS_LOG2 - CMR_GRANULE_LOG2) != 0, 0))
		return 0;
	leaf = atomic_load_explicit(&blocks->leaves[number >> (CMR_LEAF_LOG2 - CMR_GRANULE_LOG2)],
				    memory_order_acquire); /* pairs with the CAS that made it */
	if (__builtin_expect(leaf == 0, 0))
		return 0;
	return &leaf[number & (CMR_LEAF_GRANULES - 1)];
}

/* Entry of a granule, for cmr_blocks_granule. [hot] */
static inline unsigned cmr_blocks_load(const _Atomic uint16_t *granule)
{
	return atomic_load_explicit(granule, memory_order_relaxed);
}

static inline void cmr_blocks_store(_Atomic uint16_t *granule, unsigned entry)
{
	atomic_store_explicit(granule, (uint16_t)entry, memory_order_relaxed);
}

/* Where the location of the small block at ADDRESS goes; NULL when that leaf is not made. ADDRESS has a
 * granule. [hot] */
static inline _Atomic uint32_t *cmr_blocks_location(const struct cmr_blocks *blocks,
						    uintptr_t address)
{
	/* Pairs with the CAS that made it. */
	_Atomic uint32_t *leaf = atomic_load_explicit(&blocks->locations[address >> CMR_LEAF_LOG2],
						      memory_order_acquire);

	if (__builtin_expect(leaf == 0, 0))
		return 0;
	return &leaf[(address >> CMR_GRANULE_LOG2) & (CMR_LEAF_GRANULES - 1)];
}

#endif
