/* What a wide entry (table/blocks.h) has beyond its first granule.
 *
 * Further granules come in groups of four, which are aligned and read and written at once: one with
 * the size, one with the location, one with what a weight has above its first bits. Each has a stamp of
 * four bits that says which group it is and which of the four granules before the first group the entry
 * begins at. So no group is ever taken for one of another block, whatever has been left lying. */
#ifndef CMR_TABLE_WIDE_H
#define CMR_TABLE_WIDE_H

#include "table/blocks.h"

#define CMR_GROUP 4
#define CMR_MOST_GROUPS 3
#define CMR_GROUP_BITS 36
#define CMR_GROUP_STAMP 54 /* bit of the word: above the data of the last granule */
#define CMR_GROUP_STAMPS ((uint64_t)15 << CMR_GROUP_STAMP)
#define CMR_GROUP_TAGS (0x0001000100010001u * ((uint64_t)CMR_TAG_INSIDE << CMR_TAG_SHIFT))
/* In the group of the size. */
#define CMR_WIDE_LOCATED ((uint64_t)1 << 34)
#define CMR_WIDE_HEAVY ((uint64_t)1 << 35) /* there is a third group */

/* Granules behind the first of an entry that groups may reach. */
#define CMR_WIDE_REACH (CMR_GROUP - 1 + CMR_MOST_GROUPS * CMR_GROUP)

typedef _Atomic uint64_t __attribute__((may_alias)) cmr_group;

/* Group N of the entry at GRANULE. */
static inline cmr_group *cmr_group_of(_Atomic uint16_t *granule, unsigned n)
{
	uintptr_t next = (uintptr_t)(granule + CMR_GROUP);

	return (cmr_group *)(next & ~(uintptr_t)(CMR_GROUP * sizeof *granule - 1)) + n;
}

/* The tags and the stamp of that group, as they are in its word. */
static inline uint64_t cmr_group_marks(const _Atomic uint16_t *granule, unsigned n)
{
	uint64_t begin = (uintptr_t)granule / sizeof *granule % CMR_GROUP;

	return CMR_GROUP_TAGS | (n * CMR_GROUP + begin) << CMR_GROUP_STAMP;
}

/* BITS into group N of the entry at GRANULE: 10 in each of its granules, lowest first. */
static inline void cmr_group_put(_Atomic uint16_t *granule, unsigned n, uint64_t bits)
{
	bits = (bits & 0xfffff) | (bits & 0xffff00000) << 12;
	bits = (bits & 0x000003ff000003ff) | (bits & 0x000ffc00000ffc00) << 6;
	atomic_store_explicit(cmr_group_of(granule, n), bits | cmr_group_marks(granule, n),
			      memory_order_relaxed);
}

/* Reads them back; false when this is no such group: the entry is of a block that ended unseen, and its
 * place is another's now. They are not cleared: what is left of them says nothing to anybody. */
static inline bool cmr_group_read(_Atomic uint16_t *granule, unsigned n, uint64_t *out)
{
	uint64_t bits = atomic_load_explicit(cmr_group_of(granule, n), memory_order_relaxed);

	if ((bits & (CMR_GROUP_TAGS | CMR_GROUP_STAMPS)) != cmr_group_marks(granule, n))
		return false;
	bits = (bits & 0x000003ff000003ff) | (bits >> 6 & 0x000ffc00000ffc00);
	*out = (bits & 0xfffff) | (bits >> 12 & 0xffff00000);
	return true;
}

/* May the block at ADDRESS, which has a granule, have a wide entry? Groups do not go from leaf to leaf. */
static inline bool cmr_wide_has_room(uintptr_t address)
{
	return (address >> CMR_GRANULE_LOG2 & (CMR_LEAF_GRANULES - 1)) + CMR_WIDE_REACH <
	       CMR_LEAF_GRANULES;
}

#endif
