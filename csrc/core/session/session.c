#include "session/session.h"

#include <stddef.h>
#include <time.h>

#include "events/gate.h"
#include "os/memory.h"
#include "os/thread.h"
#include "session/resident.h"

/* Start, stop and seal. Taken before the guard is set: a thread that waits for it must not look
 * as if it were inside an event, for which cmr_tags_tidy would wait in vain. Hooks never take it. */
static struct cmr_lock session_lock = CMR_LOCK(CMR_RANK_SESSION);
static const struct cmr_session_callbacks *callbacks; /* protected by session_lock */
static bool made, shut;                               /* protected by session_lock */

/* Returns the guard word, for leave. */
static uintptr_t enter(void)
{
	cmr_lock_take(&session_lock);
	return cmr_guard_raise(CMR_GUARD_ALL);
}

static void leave(uintptr_t guard)
{
	cmr_guard_restore(guard);
	cmr_lock_drop(&session_lock);
}

void cmr_session_set_callbacks(const struct cmr_session_callbacks *functions)
{
	uintptr_t guard = enter();

	callbacks = functions;
	leave(guard);
}

/* What the first start of the process needs. */
static enum cmr_status make_locked(struct cmr_error *err)
{
	enum cmr_status status;

	if (made)
		return CMR_OK;
	status = cmr_thread_init(err);
	if (status == CMR_OK)
		status = cmr_nodes_init(err);
	if (status == CMR_OK)
		status = cmr_locations_init(err);
	if (status == CMR_OK)
		status = cmr_fork_init(err);
	made = status == CMR_OK;
	return status;
}

static enum cmr_status start_locked(struct cmr_region *region, struct cmr_error *err)
{
	enum cmr_status status;

	if (shut)
		return cmr_fail(err, CMR_STATE, 0, "the process is shutting down");
	status = make_locked(err);
	if (status == CMR_OK)
		status = cmr_region_open(region, err);
	if (status != CMR_OK)
		return status;
	if ((atomic_load_explicit(&cmr_gate, memory_order_relaxed) & CMR_GUARD(region->plane)) == 0) {
		if (callbacks != NULL && callbacks->first_open != NULL)
			callbacks->first_open(region->plane);
		/* Pairs with cmr_gate_planes: who sees it open sees the tables. */
		atomic_fetch_or_explicit(&cmr_gate, CMR_GUARD(region->plane), memory_order_release);
	}
	return CMR_OK;
}

/* Threads that are in the loader's locks for us, and whether some thread is about to fork. The C
 * library does not give a forked child all of these locks free: a child that wants to measure would
 * wait for a thread which it does not have. So neither begins while the other is at it. Each says
 * what it is about to do before it looks at the other. The wait has an end, since this is a courtesy
 * that must not hang anybody. */
#define LONGEST_WAIT_MS 200

/* False: time is up. */
static bool wait_for_none(_Atomic unsigned *busy)
{
	struct timespec begin, now;

	if (atomic_load(busy) == 0)
		return true;
	clock_gettime(CLOCK_MONOTONIC, &begin);
	do {
		cmr_nap(20000);
		if (atomic_load(busy) == 0)
			return true;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 <
		 LONGEST_WAIT_MS);
	return false;
}

static enum cmr_status refresh(struct cmr_error *err)
{
	enum cmr_status status;

	atomic_fetch_add(&cmr_hooks_looking, 1);
	while (atomic_load(&cmr_hooks_forking) != 0) {
		bool over;

		atomic_fetch_sub(&cmr_hooks_looking, 1);
		over = wait_for_none(&cmr_hooks_forking);
		atomic_fetch_add(&cmr_hooks_looking, 1);
		if (!over)
			break;
	}
	status = cmr_hooks_refresh(NULL, err);
	atomic_fetch_sub(&cmr_hooks_looking, 1);
	return status;
}

void cmr_session_before_fork(void)
{
	atomic_fetch_add(&cmr_hooks_forking, 1);
	(void)wait_for_none(&cmr_hooks_looking);
	cmr_hooks_await_loader();
}

void cmr_session_fork_over(void)
{
	atomic_fetch_sub(&cmr_hooks_forking, 1);
}

enum cmr_status cmr_session_start(struct cmr_region *region, struct cmr_error *err)
{
	/* Before our own locks; counts what it cannot patch as a loss. */
	enum cmr_status status = refresh(err);
	uintptr_t guard;

	if (status != CMR_OK)
		return status;
	guard = enter();
	status = start_locked(region, err);
	leave(guard);
	return status;
}

void cmr_session_check(void)
{
	struct cmr_error err;

	(void)!refresh(&err); /* the start has succeeded: this process has a malloc */
}

void cmr_session_seal(struct cmr_region *region)
{
	uintptr_t guard = enter();

	cmr_region_seal(region);
	leave(guard);
}

static void stop_locked(struct cmr_region *region)
{
	struct cmr_plane *plane = &cmr_planes[region->plane];
	bool last;

	if (region->slot < 0)
		return;
	cmr_region_seal(region);
	cmr_resident_keep(region);
	last = plane->open == 1u << region->slot;
	if (last)
		atomic_fetch_and_explicit(&cmr_gate, ~CMR_GUARD(region->plane),
					  memory_order_release);
	cmr_region_close(region);
	if (last && callbacks != NULL && callbacks->last_closed != NULL)
		callbacks->last_closed(region->plane);
}

void cmr_session_stop(struct cmr_region *region)
{
	uintptr_t guard = enter();

	stop_locked(region);
	leave(guard);
}

void cmr_session_free(struct cmr_region *region)
{
	uintptr_t guard;

	if (region == NULL)
		return;
	guard = enter();
	stop_locked(region);
	leave(guard);
	cmr_region_free(region); /* takes a lock of the session's rank */
}

void cmr_session_totals(const struct cmr_region *region, struct cmr_totals *out)
{
	uintptr_t guard = enter();

	cmr_region_totals(region, out);
	leave(guard);
}

bool cmr_session_rows(struct cmr_region *region, bool peak, struct cmr_usage_row **out,
		      uint32_t *n, size_t *bytes)
{
	struct cmr_plane *plane = &cmr_planes[region->plane];
	struct cmr_seat *held;
	uintptr_t guard = enter();
	uint32_t room;

	held = cmr_plane_enter(plane);
	room = region->usages.n_touched + 1; /* what comes meanwhile is younger than this call */
	cmr_plane_leave(plane, held);
	*n = 0;
	*bytes = room * sizeof **out;
	*out = cmr_memory_map(*bytes);
	if (*out != NULL) {
		held = cmr_plane_enter(plane);
		*n = cmr_usages_rows(&region->usages, &region->ledger, peak, *out, room);
		cmr_plane_leave(plane, held);
	}
	leave(guard);
	return *out != NULL;
}

void cmr_session_resident(struct cmr_region *region, uint64_t resident[CMR_N_RANGE_CLASSES])
{
	uintptr_t guard = enter();

	if (region->slot >= 0)
		cmr_resident_keep(region);
	for (unsigned c = 0; c < CMR_N_RANGE_CLASSES; c++)
		resident[c] = region->resident[c];
	leave(guard);
}

void cmr_session_shutdown(void)
{
	uintptr_t guard = enter();

	shut = true;
	atomic_store_explicit(&cmr_gate, 0, memory_order_release);
	leave(guard);
}

void cmr_session_status(struct cmr_session_status *out)
{
	uintptr_t guard = enter();

	*out = (struct cmr_session_status){ .mapped = cmr_memory_mapped() };
	for (unsigned p = 0; p < CMR_N_PLANES && made; p++) {
		const struct cmr_plane *plane = &cmr_planes[p];
		size_t entries = 0, leaves = 0;

		if (atomic_load_explicit(&plane->config, memory_order_relaxed) == 0)
			continue;
		cmr_blocks_measure(&plane->blocks, &entries, &leaves);
		out->hash_entries += entries;
		out->leaves += leaves;
		out->regions_open += (size_t)__builtin_popcount(plane->open);
	}
	if (made) {
		out->nodes = cmr_nodes_count();
		out->locations = cmr_locations_count();
	}
	leave(guard);
}

void cmr_session_after_fork(void)
{
	session_lock = (struct cmr_lock)CMR_LOCK(CMR_RANK_SESSION);
	atomic_store(&cmr_hooks_looking, 0);
	atomic_store(&cmr_hooks_forking, 0);
	atomic_store_explicit(&cmr_gate, 0, memory_order_relaxed);
	cmr_thread_after_fork();
	cmr_regions_after_fork();
	cmr_locations_after_fork();
	cmr_nodes_after_fork();
	if (callbacks != NULL && callbacks->after_fork != NULL)
		callbacks->after_fork();
}
