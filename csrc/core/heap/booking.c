#include "heap/booking.h"

#include <stddef.h>

static void book_location(struct cmr_region *region, const struct cmr_block *block, int sign,
			  int64_t blocks)
{
	int64_t variance = 0;

	if (!block->located || block->location == 0)
		return;
	if (block->weight != block->size)
		variance = sign * cmr_sample_variance(block->size, block->weight);
	if (!cmr_usages_book(&region->usages, &region->ledger, block->location,
			     sign * (int64_t)block->weight, blocks, variance))
		cmr_lose(CMR_LOSS_stacks);
}

static uint16_t regions_of(const struct cmr_plane *plane, enum cmr_audience audience, unsigned tag)
{
	uint16_t regions = plane->tags[tag].regions;

	return audience == CMR_FOR_ALL ? regions : regions & plane->bases[audience];
}

/* Calls DO with `region` set for each slot bit of MASK. */
#define EACH_REGION(plane, region, mask)                                                          \
	for (unsigned left_ = (mask), slot_; left_ != 0 && (slot_ = (unsigned)__builtin_ctz(left_), \
	     (region) = (plane)->slots[slot_], true); left_ &= left_ - 1)

/* Notes an allocation by a thread older than REGION. */
static void note_old_thread(struct cmr_region *region, const struct cmr_thread *thread,
			    uint64_t size)
{
	struct cmr_old_thread *row = region->old_threads;
	struct cmr_old_thread *last = row + CMR_MAX_OLD_THREADS - 1;

	while (row != last && row->blocks != 0 && row->native_id != thread->native_id)
		row++;
	row->native_id = row != last ? thread->native_id : 0;
	row->bytes += size;
	row->blocks++;
}

static void add_old(struct cmr_region *region, const struct cmr_thread *thread, uint64_t size)
{
	struct cmr_ledger *l = &region->ledger;

	region->old_current += size;
	region->old_blocks++;
	if (l->sealed)
		return;
	if (!l->old_threads) {
		l->old_threads = true;
		region->own_peak = cmr_ledger_current(l) > l->peak ? cmr_ledger_current(l) : l->peak;
	}
	note_old_thread(region, thread, size);
}

static void add_one(struct cmr_plane *plane, struct cmr_region *region,
		    const struct cmr_block *block, const struct cmr_thread *thread)
{
	struct cmr_ledger *l = &region->ledger;
	uint64_t own;

	if ((plane->tags[block->tag].old >> region->slot & 1) != 0)
		add_old(region, thread, block->size);
	cmr_ledger_add(l, block->size);
	own = cmr_ledger_current(l) - region->old_current;
	if (l->old_threads && !l->sealed && own > region->own_peak)
		region->own_peak = own;
	book_location(region, block, 1, cmr_booking_share(block->size, block->weight));
	if (block->located && !block->exact && !l->sealed)
		cmr_region_sampled_locked(plane, region, block);
	if (cmr_ledger_rises(l))
		cmr_region_rise_locked(plane, region);
}

/* Ends the epoch before live bytes fall. */
static void edge(struct cmr_region *region)
{
	if (cmr_ledger_edge(&region->ledger))
		region->old_at_peak = region->old_current;
}

static void sub_one(struct cmr_plane *plane, struct cmr_region *region,
		    const struct cmr_block *block)
{
	if (block->size != 0)
		edge(region);
	cmr_ledger_sub(&region->ledger, block->size);
	if ((plane->tags[block->tag].old >> region->slot & 1) != 0) {
		region->old_current -= block->size;
		region->old_blocks--;
	}
	book_location(region, block, -1, -cmr_booking_share(block->size, block->weight));
}

static void add_locked(struct cmr_plane *plane, enum cmr_audience audience,
			    const struct cmr_block *block, const struct cmr_thread *thread)
{
	struct cmr_region *region;

	EACH_REGION(plane, region, regions_of(plane, audience, block->tag))
		add_one(plane, region, block, thread);
}

static void sub_locked(struct cmr_plane *plane, const struct cmr_block *block)
{
	struct cmr_region *region;

	EACH_REGION(plane, region, plane->tags[block->tag].regions)
		sub_one(plane, region, block);
}

void cmr_booking_add(struct cmr_plane *plane, enum cmr_audience audience,
		     const struct cmr_block *block, struct cmr_thread *thread)
{
	struct cmr_seat *held = cmr_plane_enter(plane);
	add_locked(plane, audience, block, thread);
	cmr_region_arm_locked(plane, thread);
	cmr_plane_leave(plane, held);
}

void cmr_booking_sub(struct cmr_plane *plane, const struct cmr_block *block)
{
	struct cmr_seat *held = cmr_plane_enter(plane);
	sub_locked(plane, block);
	cmr_plane_leave(plane, held);
}

void cmr_booking_locate_passed(struct cmr_plane *plane, struct cmr_region *region,
			       const struct cmr_block *block)
{
	book_location(region, block, 1, cmr_booking_share(block->size, block->weight));
	if (!block->exact)
		cmr_booking_sampled(plane, region, block);
}

void cmr_booking_unlocate_passed(struct cmr_region *region, const struct cmr_block *block)
{
	book_location(region, block, -1, -cmr_booking_share(block->size, block->weight));
}

static void resized_old_locked(struct cmr_plane *plane, uint16_t regions, uint64_t bytes)
{
	struct cmr_region *region;

	EACH_REGION(plane, region, regions)
		if (!region->ledger.sealed)
			region->resized_old += bytes;
}

void cmr_booking_resize(struct cmr_plane *plane, const struct cmr_block *old,
			const struct cmr_block *block, const struct cmr_thread *thread)
{
	uint16_t knew = 0;

	struct cmr_seat *held = cmr_plane_enter(plane);
	if (old != NULL) {
		knew = plane->tags[old->tag].regions;
		sub_locked(plane, old);
	}
	add_locked(plane, CMR_FOR_ALL, block, thread);
	resized_old_locked(plane, plane->tags[block->tag].regions & (uint16_t)~knew, block->size);
	cmr_plane_leave(plane, held);
}

static void trim_one(struct cmr_plane *plane, struct cmr_region *region,
		     const struct cmr_block *block, int blocks)
{
	struct cmr_ledger *l = &region->ledger;

	if (block->size != 0)
		edge(region);
	l->freed += block->size;
	l->n_freed -= (uint64_t)(int64_t)blocks;
	if ((plane->tags[block->tag].old >> region->slot & 1) != 0) {
		region->old_current -= block->size;
		region->old_blocks += (uint64_t)(int64_t)blocks;
	}
	book_location(region, block, -1, (int64_t)blocks * CMR_BLOCK_UNIT);
}

void cmr_booking_trim(struct cmr_plane *plane, enum cmr_audience audience,
		      const struct cmr_block *block, int blocks)
{
	struct cmr_region *region;

	struct cmr_seat *held = cmr_plane_enter(plane);
	EACH_REGION(plane, region, regions_of(plane, audience, block->tag))
		trim_one(plane, region, block, blocks);
	cmr_plane_leave(plane, held);
}

void cmr_booking_apart(struct cmr_plane *plane, unsigned tag, enum cmr_range_class class,
		       int64_t delta)
{
	struct cmr_region *region;

	struct cmr_seat *held = cmr_plane_enter(plane);
	EACH_REGION(plane, region, regions_of(plane, CMR_FOR_REQUESTED, tag)) {
		struct cmr_apart *apart = &region->apart;

		apart->current[class] += (uint64_t)delta;
		if (apart->current[class] > apart->mapped[class] && !region->ledger.sealed)
			apart->mapped[class] = apart->current[class];
	}
	cmr_plane_leave(plane, held);
}

void cmr_booking_resized_old(struct cmr_plane *plane, enum cmr_audience audience, unsigned tag,
			     unsigned known, uint64_t bytes)
{
	uint16_t regions;

	struct cmr_seat *held = cmr_plane_enter(plane);
	regions = regions_of(plane, audience, tag) & (uint16_t)~plane->tags[known].regions;
	resized_old_locked(plane, regions, bytes);
	cmr_plane_leave(plane, held);
}

bool cmr_booking_wanted(struct cmr_plane *plane, enum cmr_audience audience, unsigned tag)
{
	bool wanted;

	struct cmr_seat *held = cmr_plane_enter(plane);
	wanted = regions_of(plane, audience, tag) != 0;
	cmr_plane_leave(plane, held);
	return wanted;
}

bool cmr_booking_concerns(struct cmr_plane *plane, unsigned tag, const struct cmr_region *region)
{
	bool concerns;

	struct cmr_seat *held = cmr_plane_enter(plane);
	concerns = (plane->tags[tag].regions >> region->slot & 1) != 0;
	cmr_plane_leave(plane, held);
	return concerns;
}
