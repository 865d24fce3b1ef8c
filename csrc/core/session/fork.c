/* fork: the parent goes on as if nothing had happened; the child is not measured, but may begin a
 * measurement of its own.
 *
 * The usual recipe, to take every lock before the fork and release it on both sides, would stop the
 * threads of the parent at their next allocation while the handlers of other libraries still run:
 * handlers that may be waiting for a mutex which one of those threads holds. It would also hang when
 * a signal handler forks while this very thread is inside an event. So no lock is taken. The child
 * repairs instead: it makes all locks anew, forgets all threads but its own, ends all regions, and
 * gives up the contents of every table that another thread may have been in the middle of changing.
 * What can be read at any moment stays: nodes, locations and the granule map, which are published
 * entry by entry.
 *
 * Other handlers run before and after ours in the child and may allocate; the guard, set from
 * prepare on, lets that pass by untracked. vfork and posix_spawn run no handlers, and their child
 * shares our memory until it is another program: nothing to do. */
#include "session/session.h"

#include <pthread.h>

#include "events/gate.h"

/* Spare bits of the guard word: what the guard was before, when a signal handler forks. */
#define BEFORE_SHIFT 8

static void prepare(void)
{
	uintptr_t before = cmr_guard_raise(CMR_GUARD_ALL);

	(void)cmr_guard_raise((before & CMR_GUARD_ALL) << BEFORE_SHIFT);
	cmr_session_before_fork();
}

static void lower(void)
{
	uintptr_t word = atomic_load_explicit(&cmr_tls.guard, memory_order_relaxed);
	uintptr_t before = word >> BEFORE_SHIFT & CMR_GUARD_ALL;

	cmr_guard_restore((word & ~(CMR_GUARD_ALL | CMR_GUARD_ALL << BEFORE_SHIFT)) | before);
}

static void parent(void)
{
	cmr_session_fork_over();
	lower();
}

static void child(void)
{
	cmr_session_after_fork();
	lower();
}

enum cmr_status cmr_fork_init(struct cmr_error *err)
{
	int failed = pthread_atfork(prepare, parent, child);

	if (failed != 0)
		return cmr_fail(err, CMR_SYSTEM, failed, "no handler for fork can be installed");
	return CMR_OK;
}
