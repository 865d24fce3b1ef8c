/* The two events that are nearly all events, inlined into the wrappers: small blocks that are not
 * sampled, with one region open, on the thread that owns the ledger lock. All else is in events.c.
 *
 * What is touched: the thread's view (a cache line), one 16-bit granule next to those of neighbouring
 * blocks, and one line of totals. That the plane's configuration is what the view was computed for,
 * that one region counts and that it wants nothing but its totals, is all in the seat's pass
 * (cmr_region_arm_locked). */
#ifndef CMR_EVENTS_HOT_H
#define CMR_EVENTS_HOT_H

#include "events/events.h"

/* As cmr_on_alloc (events.h), if a pass will do. False: nothing was done. [hot] [nomalloc] */
static inline __attribute__((always_inline)) bool
cmr_on_alloc_passed(enum cmr_plane_id id, uintptr_t address, size_t size)
{
	struct cmr_plane *plane = &cmr_planes[id];
	struct cmr_thread *thread = cmr_tls.self;
	struct cmr_thread_view *view;
	_Atomic uint16_t *granule;
	uint32_t pass;
	int64_t left;

	if (__builtin_expect(thread == 0 || size > CMR_SMALL_MAX, 0))
		return false;
	view = &thread->view[id];
	left = view->countdown - (int64_t)size;
	granule = cmr_blocks_granule(&plane->blocks, address);
	if (__builtin_expect(granule == 0 || left < 0, 0)) /* a sample, always so in exact mode */
		return false;
	pass = cmr_biased_pass_in(&plane->lock, &view->seat);
	if (__builtin_expect(pass == 0, 0))
		return false;
	cmr_blocks_store(granule, pass | (unsigned)size);
	view->countdown = left;
	cmr_ledger_add_open(&view->region->ledger, size);
	cmr_biased_pass_out(&plane->lock, &view->seat);
	return true;
}

/* As cmr_on_alloc (events.h). [hot] [nomalloc] */
static inline void cmr_on_alloc_hot(enum cmr_plane_id id, uintptr_t address, size_t size,
				    enum cmr_kind kind)
{
	if (!cmr_on_alloc_passed(id, address, size))
		cmr_on_alloc(id, address, size, kind);
}

/* As cmr_on_free (events.h), if a pass will do. False: nothing was done. [hot] [nomalloc] */
static inline __attribute__((always_inline)) bool
cmr_on_free_passed(enum cmr_plane_id id, uintptr_t address)
{
	struct cmr_plane *plane = &cmr_planes[id];
	struct cmr_thread *thread = cmr_tls.self;
	struct cmr_thread_view *view;
	_Atomic uint16_t *granule;
	struct cmr_ledger *ledger;
	unsigned entry, pass;
	size_t size;

	granule = cmr_blocks_granule(&plane->blocks, address);
	if (__builtin_expect(granule == 0 || thread == 0, 0))
		return false;
	entry = cmr_blocks_load(granule);
	if (entry == 0)
		return true;
	view = &thread->view[id];
	if (__builtin_expect((entry & CMR_HAS_LOCATION) != 0, 0))
		return false;
	pass = cmr_biased_pass_in(&plane->lock, &view->seat);
	if (__builtin_expect(pass == 0, 0))
		return false;
	/* Its tag is that of the pass, and it is small. A pass of exact mode has one more bit set. */
	size = entry ^ pass;
	if (__builtin_expect(size > CMR_SMALL_MAX, 0)) {
		cmr_biased_pass_out(&plane->lock, &view->seat);
		return false;
	}
	cmr_blocks_store(granule, 0);
	ledger = &view->region->ledger;
	if (__builtin_expect(cmr_ledger_at_peak(ledger), 0) && size != 0)
		(void)cmr_ledger_edge(ledger);
	cmr_ledger_sub(ledger, size);
	cmr_biased_pass_out(&plane->lock, &view->seat);
	return true;
}

/* As cmr_on_free (events.h). [hot] [nomalloc] */
static inline void cmr_on_free_hot(enum cmr_plane_id id, uintptr_t address)
{
	if (!cmr_on_free_passed(id, address))
		cmr_on_free(id, address);
}

#endif
