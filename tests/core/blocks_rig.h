/* A block table and blocks to put into it. Addresses are made up: the table never looks at what is
 * there. */
#ifndef CMR_TEST_BLOCKS_RIG_H
#define CMR_TEST_BLOCKS_RIG_H

#include "table/blocks.h"

#define BASE ((uintptr_t)0x7f0000000000)
#define LEAF ((uintptr_t)1 << CMR_LEAF_LOG2)
#define HIGH ((uintptr_t)1 << CMR_ADDRESS_LOG2)

static struct cmr_blocks table;

/* An empty table for each test. */
static inline struct cmr_blocks *fresh(void)
{
	struct cmr_error err;

	cmr_blocks_fini(&table);
	REQUIRE(cmr_blocks_init(&table, &err) == CMR_OK);
	return &table;
}

static inline struct cmr_block plain(uint64_t size, unsigned tag)
{
	return (struct cmr_block){ .size = size, .tag = (uint8_t)tag };
}

static inline struct cmr_block exact(uint64_t size, unsigned tag, uint32_t location)
{
	return (struct cmr_block){ .size = size,
				   .weight = size,
				   .location = location,
				   .tag = (uint8_t)tag,
				   .located = true,
				   .exact = true };
}

static inline struct cmr_block sampled(uint64_t size, unsigned tag, uint32_t location,
				       uint64_t weight)
{
	return (struct cmr_block){ .size = size,
				   .weight = weight,
				   .location = location,
				   .tag = (uint8_t)tag,
				   .located = true };
}

static inline bool same(const struct cmr_block *a, const struct cmr_block *b)
{
	return a->size == b->size && a->weight == b->weight && a->location == b->location &&
	       a->tag == b->tag && a->located == b->located && a->exact == b->exact;
}

static inline unsigned entry_at(const struct cmr_blocks *blocks, uintptr_t address)
{
	_Atomic uint16_t *granule = cmr_blocks_granule(blocks, address);

	return granule != NULL ? atomic_load(granule) : 0xdead;
}

static inline size_t hash_entries(const struct cmr_blocks *blocks)
{
	size_t entries, leaves;

	cmr_blocks_measure(blocks, &entries, &leaves);
	return entries;
}

#endif
