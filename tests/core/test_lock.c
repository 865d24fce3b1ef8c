/* Spinlocks and, in debug builds, their order. */
#include "cmr_test.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "child.h"
#include "os/lock.h"

#define ROUNDS 20000

static struct cmr_lock shared = CMR_LOCK(CMR_RANK_LEAF);
static uint64_t guarded; /* no atomic: the lock is what keeps it right */

static void *count(void *nothing)
{
	for (int i = 0; i < ROUNDS; i++) {
		cmr_lock_take(&shared);
		guarded++;
		cmr_lock_drop(&shared);
	}
	return nothing;
}

CMR_TEST(one_thread_at_a_time)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		REQUIRE(pthread_create(&threads[i], NULL, count, NULL) == 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ_U64(guarded, 4 * ROUNDS);
	CHECK_EQ_U64(atomic_load(&shared.held), 0);
}

static atomic_bool entered;

static void *enter(void *nothing)
{
	errno = 0;
	cmr_lock_take(&shared);
	atomic_store(&entered, true);
	cmr_lock_drop(&shared);
	CHECK_EQ_I64(errno, 0);
	return nothing;
}

/* A holder that is away for long: those who wait get to sleep, and still get the lock. */
CMR_TEST(waiting_outlasts_a_long_hold)
{
	const struct timespec hold = { .tv_sec = 0, .tv_nsec = 50000000 };
	pthread_t thread;

	cmr_lock_take(&shared);
	CHECK_EQ_U64(atomic_load(&shared.held), 1);
	REQUIRE(pthread_create(&thread, NULL, enter, NULL) == 0);
	nanosleep(&hold, NULL);
	CHECK(!atomic_load(&entered));
	cmr_lock_drop(&shared);
	pthread_join(thread, NULL);
	CHECK(atomic_load(&entered));
}

static atomic_bool got_through;

static void *enter_cancelled(void *nothing)
{
	pthread_cancel(pthread_self()); /* takes effect at the next cancellation point */
	cmr_lock_take(&shared);
	cmr_lock_drop(&shared);
	atomic_store(&got_through, true);
	pthread_testcancel();
	return nothing;
}

/* Who is cancelled while it waits gets the lock and gives it back first. */
CMR_TEST(waiting_is_no_cancellation_point)
{
	pthread_t thread;
	void *result;

	cmr_lock_take(&shared);
	REQUIRE(pthread_create(&thread, NULL, enter_cancelled, NULL) == 0);
	cmr_nap(50000000);
	CHECK(!atomic_load(&got_through));
	cmr_lock_drop(&shared);
	pthread_join(thread, &result);
	CHECK(atomic_load(&got_through));
	CHECK(result == PTHREAD_CANCELED);
	CHECK_EQ_U64(atomic_load(&shared.held), 0);
}

#ifdef CMR_DEBUG_LOCKS

static void (*refused_body)(void);

static void end_at_abort(int number)
{
	(void)number;
	END_CHILD(3);
}

static void run_refused(void)
{
	signal(SIGABRT, end_at_abort);
	close(STDERR_FILENO);
	refused_body();
}

/* Whether BODY, in a process of its own, is stopped by the check of lock order. */
static bool is_refused(void (*body)(void))
{
	refused_body = body;
	return !passes_in_child(run_refused);
}

static struct cmr_lock low = CMR_LOCK(CMR_RANK_RANGES);
static struct cmr_lock pair[2] = { CMR_LOCK(CMR_RANK_LEDGER), CMR_LOCK(CMR_RANK_LEDGER) };

static void in_order(void)
{
	cmr_lock_take(&low);
	cmr_lock_take(&pair[0]);
	cmr_lock_take(&pair[1]);
	cmr_lock_drop(&pair[0]); /* any order of dropping */
	cmr_lock_drop(&pair[1]);
	cmr_lock_take(&pair[0]);
	cmr_lock_drop(&low);
	cmr_lock_drop(&pair[0]);
	cmr_lock_take(&low); /* nothing is held any more */
	cmr_lock_drop(&low);
}

static void falling_rank(void)
{
	cmr_lock_take(&pair[0]);
	cmr_lock_take(&low);
}

static void falling_address(void)
{
	cmr_lock_take(&pair[1]);
	cmr_lock_take(&pair[0]);
}

static void twice(void)
{
	cmr_lock_take(&low);
	cmr_lock_check(&low);
}

static void not_held(void)
{
	cmr_lock_take(&low);
	cmr_lock_drop(&pair[0]);
}

static void too_many(void)
{
	static struct cmr_lock many[161];

	for (int i = 0; i < 161; i++) {
		many[i] = (struct cmr_lock)CMR_LOCK(CMR_RANK_LEAF);
		cmr_lock_take(&many[i]);
	}
}

CMR_TEST(rising_rank_and_address_is_allowed)
{
	CHECK(!is_refused(in_order));
}

CMR_TEST(any_other_order_is_refused)
{
	CHECK(is_refused(falling_rank));
	CHECK(is_refused(falling_address));
	CHECK(is_refused(twice));
	CHECK(is_refused(not_held));
	CHECK(is_refused(too_many));
}

#endif
