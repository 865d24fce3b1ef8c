/* Bookings of one plane: an event on all regions that its tag names, under one lock. */
#ifndef CMR_HEAP_BOOKING_H
#define CMR_HEAP_BOOKING_H

#include "heap/region.h"
#include "heap/sampling.h"

/* Which regions of a tag an event concerns: blocks all of them, mappings those of one basis, because
 * each basis cuts mappings by its own rules. */
enum cmr_audience {
	CMR_FOR_REQUESTED = CMR_BASIS_REQUESTED,
	CMR_FOR_SYSTEM = CMR_BASIS_SYSTEM,
	CMR_FOR_ALL = CMR_N_BASES,
};

/* An allocation of BLOCK by THREAD; `located` blocks also book their weight on their location. Takes
 * the ledger lock once, as all below. [hot] [nomalloc] */
void cmr_booking_add(struct cmr_plane *plane, enum cmr_audience audience,
		     const struct cmr_block *block, struct cmr_thread *thread);

/* The end of BLOCK. [hot] [nomalloc] */
void cmr_booking_sub(struct cmr_plane *plane, const struct cmr_block *block);

/* OLD (NULL: not known, older than every region) was resized and is BLOCK now: the end of one and an
 * allocation of the other. For regions that did not know it, its new size is reported apart.
 * [nomalloc] */
void cmr_booking_resize(struct cmr_plane *plane, const struct cmr_block *old,
			const struct cmr_block *block, const struct cmr_thread *thread);

/* A mapping that was trimmed, split or unmapped: block->size bytes less, BLOCKS (-1, 0, +1) more
 * mappings. [nomalloc] */
void cmr_booking_trim(struct cmr_plane *plane, enum cmr_audience audience,
		      const struct cmr_block *block, int blocks);

/* Mappings apart: DELTA bytes of CLASS for the regions of TAG with basis requested. [nomalloc] */
void cmr_booking_apart(struct cmr_plane *plane, unsigned tag, enum cmr_range_class class,
		       int64_t delta);

/* A mapping that regions of KNOWN had counted (0: none) was resized to BYTES and counts for those of
 * TAG: for the others it is older than they are. [nomalloc] */
void cmr_booking_resized_old(struct cmr_plane *plane, enum cmr_audience audience, unsigned tag,
			     unsigned known, uint64_t bytes);

/* True when some region of AUDIENCE counts what has TAG. */
bool cmr_booking_wanted(struct cmr_plane *plane, enum cmr_audience audience, unsigned tag);

/* True when entries of TAG count for REGION, which must be open. */
bool cmr_booking_concerns(struct cmr_plane *plane, unsigned tag, const struct cmr_region *region);

/* Blocks that one of SIZE and WEIGHT stands for at its location, in CMR_BLOCK_UNIT: the same when it
 * comes and when it goes, so that sums return to zero. [hot] */
static inline int64_t cmr_booking_share(uint64_t size, uint64_t weight)
{
	if (weight == size || size == 0)
		return CMR_BLOCK_UNIT;
	return (int64_t)((weight * CMR_BLOCK_UNIT + size / 2) / size);
}

/* Books that a block of SIZE and WEIGHT came (SIGN 1) or went (-1) at LOCATION, inside the lock. False:
 * nothing was ever booked there, and nothing was now. [hot] [nomalloc] */
static inline bool cmr_booking_change(struct cmr_region *region, uint32_t location, uint64_t size,
				      uint64_t weight, int sign)
{
	return cmr_usages_change(&region->usages, &region->ledger, location,
				 sign * (int64_t)weight, sign * cmr_booking_share(size, weight),
				 sign * cmr_sample_variance(size, weight));
}

/* BLOCK was sampled and booked, inside the lock: the period may change. [hot] [nomalloc] */
static inline void cmr_booking_sampled(struct cmr_plane *plane, struct cmr_region *region,
				       const struct cmr_block *block)
{
	cmr_region_sampled_locked(plane, region, block);
	if (cmr_ledger_rises(&region->ledger))
		cmr_region_rise_locked(plane, region);
}

/* The located part of the two below. */
void cmr_booking_locate_passed(struct cmr_plane *plane, struct cmr_region *region,
			       const struct cmr_block *block);
void cmr_booking_unlocate_passed(struct cmr_region *region, const struct cmr_block *block);

/* As cmr_booking_add and cmr_booking_sub, by a thread that is inside the lock with a pass for BLOCK's
 * tag (cmr_region_arm_locked), which is for REGION. [hot] [nomalloc] */
static inline void cmr_booking_add_passed(struct cmr_plane *plane, struct cmr_region *region,
					  const struct cmr_block *block)
{
	cmr_ledger_add_open(&region->ledger, block->size);
	if (block->located)
		cmr_booking_locate_passed(plane, region, block);
}

static inline void cmr_booking_sub_passed(struct cmr_region *region, const struct cmr_block *block)
{
	if (block->size != 0)
		(void)cmr_ledger_edge(&region->ledger);
	cmr_ledger_sub(&region->ledger, block->size);
	if (block->located)
		cmr_booking_unlocate_passed(region, block);
}

#endif
