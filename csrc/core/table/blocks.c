#include "table/blocks.h"

#include <errno.h>
#include <string.h>

#include "os/memory.h"
#include "table/shards.h"
#include "table/wide.h"

#define LEAF_BYTES (CMR_LEAF_GRANULES * sizeof(uint16_t))
#define LOCATIONS_BYTES (CMR_LEAF_GRANULES * sizeof(uint32_t))
#define SHARDS_BYTES (CMR_N_SHARDS * sizeof(struct cmr_shard))
#define MOST_MADE (2 * CMR_N_LEAVES)
#define MADE_BYTES (MOST_MADE * sizeof(uint32_t))

/* Entries per step of cmr_blocks_retag: nearly all are 0, and looked at together. */
#define STEP 4

typedef uint64_t __attribute__((may_alias)) step_word;

/* An address as the kernel knows it: without the tag that aarch64 allows in the top byte. */
static inline uintptr_t plain_address(uintptr_t address)
{
#ifdef __aarch64__
	return address & (((uintptr_t)1 << 56) - 1);
#else
	return address;
#endif
}

static inline size_t granule_index(uintptr_t address)
{
	return (address >> CMR_GRANULE_LOG2) & (CMR_LEAF_GRANULES - 1);
}

/* --- making and dropping ------------------------------------------------------------------- */

enum cmr_status cmr_blocks_init(struct cmr_blocks *blocks, struct cmr_error *err)
{
	if (blocks->shards != NULL)
		return CMR_OK;
	blocks->leaves = cmr_memory_map(CMR_N_LEAVES * sizeof *blocks->leaves);
	blocks->locations = cmr_memory_map(CMR_N_LEAVES * sizeof *blocks->locations);
	blocks->made = cmr_memory_map(MADE_BYTES);
	blocks->shards = cmr_memory_map(SHARDS_BYTES);
	if (blocks->leaves == NULL || blocks->locations == NULL || blocks->made == NULL ||
	    blocks->shards == NULL) {
		cmr_blocks_fini(blocks);
		return cmr_fail(err, CMR_NO_MEMORY, ENOMEM, "no memory for a table of blocks");
	}
	cmr_memory_small_pages(blocks->leaves, CMR_N_LEAVES * sizeof *blocks->leaves);
	cmr_memory_small_pages(blocks->locations, CMR_N_LEAVES * sizeof *blocks->locations);
	cmr_memory_small_pages(blocks->made, MADE_BYTES);
	cmr_shards_init(blocks->shards);
	return CMR_OK;
}

/* Leaf numbers are pushed to `made` before the leaf is published, so that a fork at any moment leaves
 * no leaf out. Of two threads that make the same leaf, the loser takes its push back. NULL: full. */
static _Atomic uint32_t *note_leaf(struct cmr_blocks *blocks, size_t number)
{
	uint32_t i = atomic_load_explicit(&blocks->n_made, memory_order_relaxed);

	do {
		if (i == MOST_MADE)
			return NULL;
	} while (!atomic_compare_exchange_weak_explicit(
		&blocks->n_made, &i, i + 1, memory_order_relaxed, memory_order_relaxed));
	atomic_store_explicit(&blocks->made[i], (uint32_t)number + 1, memory_order_release);
	return &blocks->made[i];
}

/* The made leaf after *I pushes, which it counts on; NULL at the end. */
static _Atomic uint16_t *next_leaf(const struct cmr_blocks *blocks, uint32_t *i, size_t *number)
{
	while (*i < atomic_load_explicit(&blocks->n_made, memory_order_relaxed)) {
		/* Pairs with the release store of note_leaf. */
		uint32_t pushed = atomic_load_explicit(&blocks->made[(*i)++], memory_order_acquire);
		_Atomic uint16_t *leaf;

		if (pushed == 0)
			continue;
		*number = pushed - 1;
		leaf = atomic_load_explicit(&blocks->leaves[*number], memory_order_acquire);
		if (leaf != NULL)
			return leaf;
	}
	return NULL;
}

static _Atomic uint32_t *locations_of(const struct cmr_blocks *blocks, size_t number)
{
	/* Pairs with the CAS of make_locations. */
	return atomic_load_explicit(&blocks->locations[number], memory_order_acquire);
}

static void free_leaves(struct cmr_blocks *blocks)
{
	_Atomic uint16_t *leaf;
	size_t number;

	for (uint32_t i = 0; (leaf = next_leaf(blocks, &i, &number)) != NULL;) {
		cmr_memory_unmap(leaf, LEAF_BYTES);
		cmr_memory_unmap(locations_of(blocks, number), LOCATIONS_BYTES);
		atomic_store(&blocks->leaves[number], NULL);
	}
}

void cmr_blocks_fini(struct cmr_blocks *blocks)
{
	if (blocks->made != NULL && blocks->leaves != NULL && blocks->locations != NULL)
		free_leaves(blocks);
	if (blocks->shards != NULL)
		cmr_shards_fini(blocks->shards);
	cmr_memory_unmap(blocks->leaves, CMR_N_LEAVES * sizeof *blocks->leaves);
	cmr_memory_unmap(blocks->locations, CMR_N_LEAVES * sizeof *blocks->locations);
	cmr_memory_unmap(blocks->made, MADE_BYTES);
	cmr_memory_unmap(blocks->shards, SHARDS_BYTES);
	memset(blocks, 0, sizeof *blocks);
}

void cmr_blocks_reset(struct cmr_blocks *blocks)
{
	_Atomic uint16_t *leaf;
	size_t number;

	for (uint32_t i = 0; (leaf = next_leaf(blocks, &i, &number)) != NULL;) {
		cmr_memory_discard(leaf, LEAF_BYTES);
		if (locations_of(blocks, number) != NULL)
			cmr_memory_discard(locations_of(blocks, number), LOCATIONS_BYTES);
	}
	cmr_shards_reset(blocks->shards);
}

void cmr_blocks_after_fork(struct cmr_blocks *blocks)
{
	cmr_shards_init(blocks->shards);
}

void cmr_blocks_measure(const struct cmr_blocks *blocks, size_t *hash_entries, size_t *leaves)
{
	size_t number;

	*hash_entries = 0;
	*leaves = 0;
	if (blocks->shards == NULL)
		return;
	*hash_entries = cmr_shards_count(blocks->shards);
	for (uint32_t i = 0; next_leaf(blocks, &i, &number) != NULL;) {
		*leaves += LEAF_BYTES;
		if (locations_of(blocks, number) != NULL)
			*leaves += LOCATIONS_BYTES;
	}
}

static _Atomic uint16_t *make_leaf(struct cmr_blocks *blocks, size_t number)
{
	_Atomic uint16_t *present = NULL, *leaf;
	_Atomic uint32_t *pushed;

	leaf = cmr_memory_map(LEAF_BYTES);
	if (leaf == NULL)
		return NULL;
	pushed = note_leaf(blocks, number);
	if (pushed == NULL) {
		cmr_memory_unmap(leaf, LEAF_BYTES);
		return NULL;
	}
	cmr_memory_small_pages(leaf, LEAF_BYTES);
	/* Pairs with the acquire loads of the pointer. */
	if (atomic_compare_exchange_strong_explicit(&blocks->leaves[number], &present, leaf,
						    memory_order_acq_rel, memory_order_acquire))
		return leaf;
	atomic_store_explicit(pushed, 0, memory_order_relaxed);
	cmr_memory_unmap(leaf, LEAF_BYTES);
	return present;
}

static _Atomic uint32_t *make_locations(struct cmr_blocks *blocks, size_t number)
{
	_Atomic uint32_t *present = locations_of(blocks, number), *leaf;

	if (present != NULL)
		return present;
	leaf = cmr_memory_map(LOCATIONS_BYTES);
	if (leaf == NULL)
		return NULL;
	cmr_memory_small_pages(leaf, LOCATIONS_BYTES);
	if (atomic_compare_exchange_strong_explicit(&blocks->locations[number], &present, leaf,
						    memory_order_acq_rel, memory_order_acquire))
		return leaf;
	cmr_memory_unmap(leaf, LOCATIONS_BYTES);
	return present;
}

/* --- put and take -------------------------------------------------------------------------- */

#define WEIGHT_BITS (CMR_GROUP_BITS - CMR_LOCATION_LOG2)

_Static_assert(CMR_WIDE_MAX < CMR_WIDE_LOCATED, "the size ends below the flags");
_Static_assert((CMR_WIDE_REACH + 1) << CMR_GRANULE_LOG2 <= CMR_SMALL_MAX,
	       "groups lie inside their block");

static bool has_granule(uintptr_t address)
{
	return (address & (((uintptr_t)1 << CMR_GRANULE_LOG2) - 1)) == 0 &&
	       (address >> CMR_ADDRESS_LOG2) == 0;
}

/* Bytes that BLOCK stands for beyond its own. */
static uint64_t surplus(const struct cmr_block *block)
{
	return block->weight - block->size;
}

/* Does what is known of a small BLOCK's location fit the parallel map? */
static bool is_compact(const struct cmr_block *block)
{
	return block->location <= CMR_LOCATION_MASK &&
	       surplus(block) <= CMR_SURPLUS_MAX;
}

/* Does BLOCK, at granule INDEX of its leaf, fit a wide entry? */
static bool is_wide(const struct cmr_block *block, size_t index)
{
	return block->size > CMR_SMALL_MAX && block->size <= CMR_WIDE_MAX &&
	       index + CMR_WIDE_REACH < CMR_LEAF_GRANULES &&
	       (!block->located || (block->location <= CMR_LOCATION_MASK &&
				    surplus(block) >> WEIGHT_BITS >> CMR_GROUP_BITS == 0));
}

/* The location of a block, before its granule. False: memory refused. */
static bool put_location(struct cmr_blocks *blocks, uintptr_t address,
			 const struct cmr_block *block)
{
	_Atomic uint32_t *locations = make_locations(blocks, address >> CMR_LEAF_LOG2);

	if (locations == NULL)
		return false;
	atomic_store_explicit(&locations[granule_index(address)],
			      (uint32_t)surplus(block) << CMR_LOCATION_LOG2 | block->location,
			      memory_order_relaxed);
	return true;
}

static bool put_small(struct cmr_blocks *blocks, uintptr_t address, _Atomic uint16_t *granule,
		      const struct cmr_block *block)
{
	unsigned entry = (unsigned)block->tag << CMR_TAG_SHIFT | (unsigned)block->size;

	if (block->located) {
		if (!put_location(blocks, address, block))
			return false;
		entry |= CMR_HAS_LOCATION;
	}
	cmr_blocks_store(granule, entry);
	return true;
}

static void put_wide(_Atomic uint16_t *granule, const struct cmr_block *block)
{
	uint64_t size = block->size, heavy;

	if (block->located) {
		heavy = surplus(block) >> WEIGHT_BITS;
		cmr_group_put(granule, 1,
			      (surplus(block) & (((uint64_t)1 << WEIGHT_BITS) - 1))
					      << CMR_LOCATION_LOG2 |
				      block->location);
		if (heavy != 0)
			cmr_group_put(granule, 2, heavy);
		size |= CMR_WIDE_LOCATED | (heavy != 0 ? CMR_WIDE_HEAVY : 0);
	}
	cmr_group_put(granule, 0, size);
	cmr_blocks_store(granule, (unsigned)block->tag << CMR_TAG_SHIFT | CMR_WIDE);
}

bool cmr_blocks_put(struct cmr_blocks *blocks, uintptr_t address, const struct cmr_block *block)
{
	_Atomic uint16_t *granule;

	address = plain_address(address);
	if (!has_granule(address))
		return cmr_shards_put(blocks->shards, address, block);
	granule = cmr_blocks_granule(blocks, address);
	if (granule == NULL) {
		granule = make_leaf(blocks, address >> CMR_LEAF_LOG2);
		if (granule == NULL)
			return false;
		granule += granule_index(address);
	}
	if (block->size <= CMR_SMALL_MAX && (!block->located || is_compact(block)))
		return put_small(blocks, address, granule, block);
	if (is_wide(block, granule_index(address))) {
		put_wide(granule, block);
		return true;
	}
	if (!cmr_shards_put(blocks->shards, address, block))
		return false;
	cmr_blocks_store(granule, (unsigned)block->tag << CMR_TAG_SHIFT | CMR_NOT_SMALL);
	return true;
}

static void set_location(struct cmr_block *block, uint64_t bits)
{
	block->location = (uint32_t)bits & CMR_LOCATION_MASK;
	block->weight = block->size + (bits >> CMR_LOCATION_LOG2);
	block->located = true;
	block->exact = bits >> CMR_LOCATION_LOG2 == 0;
}

/* False for what is left of a block that ended unseen: its other granules belong to others now. */
static bool take_wide(_Atomic uint16_t *granule, struct cmr_block *out)
{
	uint64_t size, bits, heavy = 0;

	if (!cmr_group_read(granule, 0, &size))
		return false;
	out->size = size & CMR_WIDE_MAX;
	if ((size & CMR_WIDE_LOCATED) == 0)
		return true;
	if (!cmr_group_read(granule, 1, &bits) ||
	    ((size & CMR_WIDE_HEAVY) != 0 && !cmr_group_read(granule, 2, &heavy)))
		return false;
	set_location(out, bits);
	out->weight += heavy << WEIGHT_BITS;
	out->exact &= heavy == 0;
	return true;
}

bool cmr_blocks_take(struct cmr_blocks *blocks, uintptr_t address, struct cmr_block *out)
{
	_Atomic uint16_t *granule;
	unsigned entry;

	address = plain_address(address);
	if (!has_granule(address))
		return cmr_shards_take(blocks->shards, address, out);
	granule = cmr_blocks_granule(blocks, address);
	if (granule == NULL)
		return false;
	entry = cmr_blocks_load(granule);
	if (entry == 0 || entry >> CMR_TAG_SHIFT == CMR_TAG_INSIDE)
		return false;
	cmr_blocks_store(granule, 0);
	if ((entry & CMR_WIDE) == CMR_NOT_SMALL)
		return cmr_shards_take(blocks->shards, address, out);
	*out = (struct cmr_block){ .size = entry & CMR_SIZE_MASK,
				   .tag = (uint8_t)(entry >> CMR_TAG_SHIFT) };
	if ((entry & CMR_WIDE) == CMR_WIDE)
		return take_wide(granule, out);
	if ((entry & CMR_HAS_LOCATION) != 0)
		set_location(out, atomic_load_explicit(cmr_blocks_location(blocks, address),
						       memory_order_relaxed));
	return true;
}

/* --- retag --------------------------------------------------------------------------------- */

static void retag_granule(_Atomic uint16_t *granule, const uint8_t map[CMR_N_TAGS])
{
	uint16_t entry = atomic_load_explicit(granule, memory_order_relaxed);

	for (;;) {
		unsigned tag = (unsigned)entry >> CMR_TAG_SHIFT, next;
		uint16_t changed = 0;

		if (tag == CMR_TAG_INSIDE)
			return;
		next = map[tag];
		if (next == tag)
			return;
		if (next != 0)
			changed = (uint16_t)(next << CMR_TAG_SHIFT |
					     (entry & ((1u << CMR_TAG_SHIFT) - 1)));
		if (atomic_compare_exchange_weak_explicit(
			    granule, &entry, changed, memory_order_relaxed, memory_order_relaxed))
			return;
	}
}

struct retag {
	const uint8_t *map;
};

static void retag_granules(void *data, void *start, size_t bytes)
{
	const struct retag *retag = data;
	_Atomic uint16_t *granules = start;

	for (size_t g = 0; g < bytes / sizeof *granules; g += STEP) {
		const step_word *word = (const step_word *)(uintptr_t)&granules[g];

		if (__builtin_expect(__atomic_load_n(word, __ATOMIC_RELAXED) == 0, 1))
			continue;
		for (size_t k = g; k < g + STEP; k++)
			retag_granule(&granules[k], retag->map);
	}
}

void cmr_blocks_retag(struct cmr_blocks *blocks, const uint8_t map[CMR_N_TAGS])
{
	_Atomic uint16_t *leaf;
	size_t number;

	for (uint32_t i = 0; (leaf = next_leaf(blocks, &i, &number)) != NULL;) {
		struct retag retag = { map };

		cmr_memory_each_used(leaf, LEAF_BYTES, retag_granules, &retag);
	}
	cmr_shards_retag(blocks->shards, map);
}
