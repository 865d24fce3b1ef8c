#include "events/events.h"

#include <stddef.h>

#include "events/own.h"
#include "heap/booking.h"
#include "heap/location.h"
#include "heap/sampling.h"
#include "table/wide.h"

_Static_assert(CMR_USAGE_CHUNK * CMR_USAGE_CHUNKS - 1 <= CMR_LOCATION_MASK,
	       "what has a usage fits beside a weight");

_Atomic uintptr_t cmr_gate;

struct cmr_thread *cmr_events_thread(struct cmr_plane *plane)
{
	struct cmr_thread *thread = cmr_thread_self();

	if (thread == NULL)
		return NULL;
	if (thread->view[plane->id].config !=
	    atomic_load_explicit(&plane->config, memory_order_acquire))
		cmr_region_refresh(plane, thread);
	return thread->view[plane->id].tag != 0 ? thread : NULL;
}

/* Decides whether a block of SIZE carries a location. That, or 0. */
static uint32_t locate(struct cmr_thread *thread, struct cmr_thread_view *view, enum cmr_kind kind,
		       size_t size)
{
	view->countdown -= (int64_t)size;
	if (view->countdown >= 0)
		return 0;
	if (view->period_log2 != 0) /* else it stays below 0 */
		view->countdown = cmr_sample_draw(&view->random, view->period_log2) - 1;
	return cmr_locations_here(thread, kind);
}

/* Puts a new block of SIZE at ADDRESS into the table, with LOCATION (0: none). False: lost. */
static bool put(struct cmr_plane *plane, const struct cmr_thread_view *view, uintptr_t address,
		size_t size, uint32_t location, struct cmr_block *block)
{
	*block = (struct cmr_block){ .size = size, .tag = view->tag };
	if (location != 0) {
		block->location = location;
		block->located = true;
		block->exact = view->exact;
		block->weight = cmr_sample_weight(size, view->period_log2);
	}
	if (cmr_blocks_put(&plane->blocks, address, block))
		return true;
	cmr_lose(CMR_LOSS_blocks);
	return false;
}

/* --- the short way: see cmr_region_arm_locked -------------------------------------------------- */

/* True when VIEW's seat is inside its lock now, with a pass for blocks of TAG. */
static inline bool pass_in(struct cmr_plane *plane, struct cmr_thread_view *view, unsigned tag)
{
	uint32_t pass = cmr_biased_pass_in(&plane->lock, &view->seat);

	if (__builtin_expect(pass >> CMR_TAG_SHIFT == tag && pass != 0, 1))
		return true;
	if (pass != 0)
		cmr_biased_pass_out(&plane->lock, &view->seat);
	return false;
}

/* Books the end of OLD, which is out of the table, and the beginning of BLOCK, which is in it, if a pass
 * will do. One of them may be NULL; else they have the same tag. */
static inline __attribute__((always_inline)) bool
book_passed(struct cmr_plane *plane, struct cmr_thread *thread,
			const struct cmr_block *old, const struct cmr_block *block)
{
	struct cmr_thread_view *view = &thread->view[plane->id];

	if (!pass_in(plane, view, old != NULL ? old->tag : block->tag))
		return false;
	if (old != NULL)
		cmr_booking_sub_passed(view->region, old);
	if (block != NULL)
		cmr_booking_add_passed(plane, view->region, block);
	cmr_biased_pass_out(&plane->lock, &view->seat);
	return true;
}

/* Table and books in one, for a LOCATION that has a usage already. */
static __attribute__((noinline)) bool put_exact(struct cmr_plane *plane,
						struct cmr_thread_view *view, uintptr_t address,
						size_t size, uint32_t location)
{
	_Atomic uint16_t *granule = cmr_blocks_granule(&plane->blocks, address);
	_Atomic uint32_t *located =
		granule != NULL ? cmr_blocks_location(&plane->blocks, address) : NULL;
	struct cmr_region *region;
	bool done;

	if (located == NULL || !pass_in(plane, view, view->tag))
		return false;
	region = view->region;
	done = cmr_usages_change(&region->usages, &region->ledger, location, (int64_t)size,
				 CMR_BLOCK_UNIT, 0);
	if (done) {
		atomic_store_explicit(located, location, memory_order_relaxed);
		cmr_blocks_store(granule, (unsigned)view->tag << CMR_TAG_SHIFT |
						  CMR_HAS_LOCATION | (unsigned)size);
		cmr_ledger_add_open(&region->ledger, size);
	}
	cmr_biased_pass_out(&plane->lock, &view->seat);
	return done;
}

/* The same for a small block that was sampled, not in exact mode. */
static __attribute__((noinline)) bool put_sampled(struct cmr_plane *plane,
						  struct cmr_thread_view *view, uintptr_t address,
						  size_t size, uint32_t location)
{
	_Atomic uint16_t *granule = cmr_blocks_granule(&plane->blocks, address);
	_Atomic uint32_t *located =
		granule != NULL ? cmr_blocks_location(&plane->blocks, address) : NULL;
	struct cmr_block block = { .size = size, .location = location };
	uint64_t surplus;
	bool done;

	if (located == NULL)
		return false;
	block.weight = cmr_sample_weight(size, view->period_log2);
	surplus = block.weight - size;
	if (surplus > CMR_SURPLUS_MAX || !pass_in(plane, view, view->tag))
		return false;
	done = cmr_booking_change(view->region, location, size, block.weight, 1);
	if (done) {
		atomic_store_explicit(located,
				      (uint32_t)surplus << CMR_LOCATION_LOG2 | location,
				      memory_order_relaxed);
		cmr_blocks_store(granule, (unsigned)view->tag << CMR_TAG_SHIFT |
						  CMR_HAS_LOCATION | (unsigned)size);
		cmr_ledger_add_open(&view->region->ledger, size);
		cmr_booking_sampled(plane, view->region, &block);
	}
	cmr_biased_pass_out(&plane->lock, &view->seat);
	return done;
}

/* A block above CMR_SMALL_MAX that is not sampled: table and books in one. */
static __attribute__((noinline)) bool put_wide(struct cmr_plane *plane,
					       struct cmr_thread_view *view, uintptr_t address,
					       size_t size)
{
	_Atomic uint16_t *granule = cmr_blocks_granule(&plane->blocks, address);
	int64_t left = view->countdown - (int64_t)size;

	if (size > CMR_WIDE_MAX || left < 0 /* a sample, always so in exact mode */ ||
	    granule == NULL || !cmr_wide_has_room(address) || !pass_in(plane, view, view->tag))
		return false;
	cmr_group_put(granule, 0, size);
	cmr_blocks_store(granule, (unsigned)view->tag << CMR_TAG_SHIFT | CMR_WIDE);
	view->countdown = left;
	cmr_ledger_add_open(&view->region->ledger, size);
	cmr_biased_pass_out(&plane->lock, &view->seat);
	return true;
}

/* The end of such a block, whose ENTRY is at GRANULE. */
static __attribute__((noinline)) bool take_wide(struct cmr_plane *plane,
						struct cmr_thread_view *view,
						_Atomic uint16_t *granule, unsigned entry)
{
	struct cmr_ledger *ledger;
	uint64_t size;

	if (!cmr_group_read(granule, 0, &size) || size > CMR_WIDE_MAX /* located */ ||
	    !pass_in(plane, view, entry >> CMR_TAG_SHIFT))
		return false;
	cmr_blocks_store(granule, 0);
	ledger = &view->region->ledger;
	(void)cmr_ledger_edge(ledger);
	cmr_ledger_sub(ledger, size);
	cmr_biased_pass_out(&plane->lock, &view->seat);
	return true;
}

/* Does little itself, for its need of stack while the stack is walked. */
bool cmr_on_alloc_by_pass(enum cmr_plane_id id, uintptr_t address, size_t size, enum cmr_kind kind)
{
	struct cmr_plane *plane = &cmr_planes[id];
	struct cmr_thread *thread = cmr_tls.self;
	uint32_t location;

	if (thread == NULL)
		return false;
	if (size > CMR_SMALL_MAX)
		return put_wide(plane, &thread->view[id], address, size);
	/* A pass that is there now says that the view is as it should be; the one that put_exact asks
	 * for is another look. */
	if ((atomic_load_explicit(&thread->view[id].seat.pass, memory_order_relaxed) &
	     CMR_HAS_LOCATION) == 0)
		return false;
	location = cmr_locations_here(thread, kind);
	return location != 0 && put_exact(plane, &thread->view[id], address, size, location);
}

bool cmr_on_free_by_pass(enum cmr_plane_id id, uintptr_t address)
{
	struct cmr_plane *plane = &cmr_planes[id];
	_Atomic uint16_t *granule = cmr_blocks_granule(&plane->blocks, address);
	struct cmr_thread *thread = cmr_tls.self;
	_Atomic uint32_t *located;
	struct cmr_thread_view *view;
	struct cmr_region *region;
	unsigned entry, size;
	uint32_t location;
	bool done;

	entry = granule != NULL ? cmr_blocks_load(granule) : 0;
	size = entry & CMR_SIZE_MASK;
	if ((entry & CMR_HAS_LOCATION) == 0 || thread == NULL)
		return false;
	if (size > CMR_SMALL_MAX)
		return take_wide(plane, &thread->view[id], granule, entry);
	located = cmr_blocks_location(&plane->blocks, address);
	if (located == NULL) /* not an entry, but what is left inside one that was large */
		return false;
	view = &thread->view[id];
	location = atomic_load_explicit(located, memory_order_relaxed);
	if (!pass_in(plane, view, entry >> CMR_TAG_SHIFT))
		return false;
	region = view->region;
	if (size != 0)
		(void)cmr_ledger_edge(&region->ledger);
	if (location <= CMR_LOCATION_MASK)
		done = cmr_usages_change(&region->usages, &region->ledger, location,
					 -(int64_t)size, -CMR_BLOCK_UNIT, 0);
	else
		done = cmr_booking_change(region, location & CMR_LOCATION_MASK, size,
					  size + (location >> CMR_LOCATION_LOG2), -1);
	if (done) {
		cmr_blocks_store(granule, 0);
		cmr_ledger_sub(&region->ledger, size);
	}
	cmr_biased_pass_out(&plane->lock, &view->seat);
	return done;
}

/* --- events -------------------------------------------------------------------------------------- */

/* These two are apart for their need of stack: little is live while the stack is walked. */
static __attribute__((noinline)) void keep_alloc(struct cmr_plane *plane,
						 struct cmr_thread *thread, uintptr_t address,
						 size_t size, uint32_t location)
{
	struct cmr_thread_view *view = &thread->view[plane->id];
	struct cmr_block block;

	if (location != 0 && size <= CMR_SMALL_MAX && !view->exact &&
	    put_sampled(plane, view, address, size, location))
		return;
	if (put(plane, view, address, size, location, &block) &&
	    !book_passed(plane, thread, NULL, &block))
		cmr_booking_add(plane, CMR_FOR_ALL, &block, thread);
}

static __attribute__((noinline)) void alloc_general(struct cmr_plane *plane,
						    struct cmr_thread *thread, uintptr_t address,
						    size_t size, enum cmr_kind kind)
{
	uint32_t location = locate(thread, &thread->view[plane->id], kind, size);

	keep_alloc(plane, thread, address, size, location);
}

void cmr_on_alloc_other(enum cmr_plane_id id, uintptr_t address, size_t size, enum cmr_kind kind)
{
	struct cmr_thread *thread = cmr_events_thread(&cmr_planes[id]);

	if (thread != NULL)
		alloc_general(&cmr_planes[id], thread, address, size, kind);
}

void cmr_on_alloc(enum cmr_plane_id id, uintptr_t address, size_t size, enum cmr_kind kind)
{
	if (!cmr_on_alloc_by_pass(id, address, size, kind))
		cmr_on_alloc_other(id, address, size, kind);
}

/* Who takes entries out has a struct first: cmr_thread_quiesce waits only for threads that it knows,
 * and a tag must not get a new meaning between the taking and the booking. */
void cmr_on_free_other(enum cmr_plane_id id, uintptr_t address)
{
	struct cmr_plane *plane = &cmr_planes[id];
	struct cmr_thread *thread = cmr_thread_self();
	struct cmr_block block;

	if (cmr_blocks_take(&plane->blocks, address, &block) &&
	    (thread == NULL || !book_passed(plane, thread, &block, NULL)))
		cmr_booking_sub(plane, &block);
}

void cmr_on_free(enum cmr_plane_id id, uintptr_t address)
{
	if (!cmr_on_free_by_pass(id, address))
		cmr_on_free_other(id, address);
}

void cmr_on_resize_begin(enum cmr_plane_id id, uintptr_t address, struct cmr_taken *taken)
{
	(void)cmr_thread_self();
	taken->found = address != 0 &&
		       cmr_blocks_take(&cmr_planes[id].blocks, address, &taken->block);
}

void cmr_on_resize_failed(enum cmr_plane_id id, uintptr_t address, const struct cmr_taken *taken)
{
	struct cmr_plane *plane = &cmr_planes[id];

	if (!taken->found || cmr_blocks_put(&plane->blocks, address, &taken->block))
		return;
	cmr_lose(CMR_LOSS_blocks);
	cmr_booking_sub(plane, &taken->block);
}

void cmr_on_resize_done(enum cmr_plane_id id, uintptr_t old, const struct cmr_taken *taken,
			uintptr_t address, size_t size, enum cmr_kind kind)
{
	struct cmr_plane *plane = &cmr_planes[id];
	struct cmr_thread *thread = cmr_events_thread(plane);
	const struct cmr_block *before = taken->found ? &taken->block : NULL;
	struct cmr_block block;
	uint32_t location = 0;

	if (thread != NULL)
		location = locate(thread, &thread->view[id], kind, size);
	if (thread == NULL ||
	    !put(plane, &thread->view[id], address, size, location, &block)) {
		cmr_on_resize_freed(id, taken);
		return;
	}
	if (old == 0)
		cmr_booking_add(plane, CMR_FOR_ALL, &block, thread);
	else if (before == NULL || before->tag != block.tag ||
		 !book_passed(plane, thread, before, &block))
		cmr_booking_resize(plane, before, &block, thread);
}

void cmr_on_resize_freed(enum cmr_plane_id id, const struct cmr_taken *taken)
{
	if (taken->found)
		cmr_booking_sub(&cmr_planes[id], &taken->block);
}
