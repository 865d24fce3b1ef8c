/* The two events that are nearly all events, inlined into the wrappers: small blocks that are not
 * sampled, with one region open. All else is in events.c.
 *
 * What is touched: the thread's view (own cache line), the plane's configuration (read only while
 * nothing starts or ends), one 16-bit granule next to those of neighbouring blocks, and under the
 * lock one line of totals. */
#ifndef CMR_EVENTS_HOT_H
#define CMR_EVENTS_HOT_H

#include "events/events.h"
#include "heap/booking.h"

/* As cmr_on_alloc (events.h). [hot] [nomalloc] */
static inline void cmr_on_alloc_hot(enum cmr_plane_id id, uintptr_t address, size_t size,
				    enum cmr_kind kind)
{
	struct cmr_plane *plane = &cmr_planes[id];
	struct cmr_thread *thread = cmr_tls.self;
	struct cmr_thread_view *view;
	int64_t left;

	if (__builtin_expect(thread == 0, 0)) {
		cmr_on_alloc(id, address, size, kind);
		return;
	}
	view = &thread->view[id];
	left = view->countdown - (int64_t)size;
	/* Pairs with the release store of cmr_tags_publish_locked. */
	if (__builtin_expect(view->config != atomic_load_explicit(&plane->config,
								  memory_order_acquire) ||
				     left < 0 || view->tag == 0 ||
				     !cmr_blocks_put_small(&plane->blocks, address, size,
							   view->tag),
			     0)) {
		cmr_on_alloc(id, address, size, kind);
		return;
	}
	view->countdown = left;
	cmr_booking_add_plain(plane, view->tag, size, thread);
}

/* As cmr_on_free (events.h). [hot] [nomalloc] */
static inline void cmr_on_free_hot(enum cmr_plane_id id, uintptr_t address)
{
	struct cmr_plane *plane = &cmr_planes[id];
	size_t size;
	unsigned tag;

	if (__builtin_expect(cmr_tls.self == 0, 0)) {
		cmr_on_free(id, address);
		return;
	}
	tag = cmr_blocks_take_small(&plane->blocks, address, &size);
	if (tag == 0)
		return;
	if (__builtin_expect(tag == CMR_N_TAGS, 0))
		cmr_on_free(id, address);
	else
		cmr_booking_sub_plain(plane, tag, size);
}

#endif
