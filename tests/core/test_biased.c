/* The lock that its owner takes with plain stores: exclusion while ownership comes and goes. */
#include "cmr_test.h"

#include <pthread.h>

#include "os/biased.h"
#include "os/thread.h"

enum { THREADS = 4, ROUNDS = 200000 };

static struct cmr_biased lock = CMR_BIASED(CMR_RANK_LEDGER);
static uint64_t shared[2]; /* both change together, under the lock */
static _Atomic uint64_t torn;

static void add(struct cmr_seat *seat)
{
	struct cmr_seat *held = cmr_biased_take(&lock, seat);

	if (shared[0] != shared[1])
		atomic_fetch_add(&torn, 1);
	shared[0]++;
	atomic_signal_fence(memory_order_seq_cst);
	shared[1]++;
	cmr_biased_drop(&lock, held);
}

/* Takes ownership every so many rounds, as a region that starts does. */
static void *worker(void *every)
{
	struct cmr_seat seat = { 0 };

	for (uintptr_t i = 0; i < ROUNDS; i++) {
		if (i % (uintptr_t)every == 0) {
			cmr_biased_take_slow(&lock, &seat);
			cmr_biased_own(&lock, &seat);
			cmr_biased_drop(&lock, NULL);
		}
		add(&seat);
	}
	/* The seat is about to go: nobody may wait for it. */
	cmr_biased_take_slow(&lock, NULL);
	cmr_biased_drop(&lock, NULL);
	return NULL;
}

CMR_TEST(the_owner_takes_it_without_the_plain_lock)
{
	struct cmr_seat seat = { 0 }, other = { 0 }, *held;

	cmr_biased_take_slow(&lock, &seat);
	cmr_biased_own(&lock, &seat);
	cmr_biased_drop(&lock, NULL);
	held = cmr_biased_take(&lock, &seat);
	if (atomic_load(&lock.owner) != NULL) { /* not under ThreadSanitizer, nor without membarrier */
		CHECK(held == &seat);
		CHECK_EQ_U64(atomic_load(&seat.inside), 1);
		CHECK_EQ_U64(atomic_load(&lock.lock.held), 0);
	}
	cmr_biased_drop(&lock, held);
	CHECK_EQ_U64(atomic_load(&seat.inside), 0);

	held = cmr_biased_take(&lock, &other);
	CHECK(held == NULL);
	CHECK(atomic_load(&lock.owner) == NULL);
	CHECK_EQ_U64(atomic_load(&lock.lock.held), 1);
	cmr_biased_drop(&lock, held);
	CHECK_EQ_U64(atomic_load(&lock.lock.held), 0);
	CHECK(cmr_biased_take(&lock, &seat) == NULL);
	cmr_biased_drop(&lock, NULL);
}

static _Atomic bool got_through;

static void *take_cancelled(void *nothing)
{
	pthread_cancel(pthread_self()); /* takes effect at the next cancellation point */
	cmr_biased_take_slow(&lock, NULL);
	cmr_biased_drop(&lock, NULL);
	atomic_store(&got_through, true);
	pthread_testcancel();
	return nothing;
}

CMR_TEST(waiting_for_the_owner_is_no_cancellation_point)
{
	struct cmr_seat seat = { 0 }, *held;
	pthread_t thread;
	void *result;

	cmr_biased_take_slow(&lock, &seat);
	cmr_biased_own(&lock, &seat);
	cmr_biased_drop(&lock, NULL);
	held = cmr_biased_take(&lock, &seat);
	REQUIRE(pthread_create(&thread, NULL, take_cancelled, NULL) == 0);
	cmr_nap(50000000);
	CHECK(!atomic_load(&got_through));
	cmr_biased_drop(&lock, held);
	pthread_join(thread, &result);
	CHECK(atomic_load(&got_through));
	CHECK(result == PTHREAD_CANCELED);
	CHECK_EQ_U64(atomic_load(&lock.lock.held), 0);
}

CMR_TEST(an_owner_may_take_the_slow_way_and_stay_owner)
{
	struct cmr_seat seat = { 0 };
	struct cmr_seat *owner;

	cmr_biased_take_slow(&lock, &seat);
	cmr_biased_own(&lock, &seat);
	owner = atomic_load(&lock.owner);
	cmr_biased_drop(&lock, NULL);
	cmr_biased_take_slow(&lock, &seat);
	CHECK(atomic_load(&lock.owner) == owner);
	cmr_biased_drop(&lock, NULL);
	cmr_biased_take_slow(&lock, NULL);
	CHECK(atomic_load(&lock.owner) == NULL);
	cmr_biased_drop(&lock, NULL);
}

CMR_TEST(threads_exclude_each_other_while_ownership_wanders)
{
	static const uintptr_t every[THREADS] = { 1000, 1700, 50, ROUNDS };
	pthread_t threads[THREADS];
	uint64_t before = shared[0];

	for (unsigned t = 0; t < THREADS; t++)
		CHECK(pthread_create(&threads[t], NULL, worker, (void *)every[t]) == 0);
	for (unsigned t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	CHECK_EQ_U64(shared[0] - before, (uint64_t)THREADS * ROUNDS);
	CHECK_EQ_U64(shared[0], shared[1]);
	CHECK_EQ_U64(atomic_load(&torn), 0);
}

/* Makes SEAT, inside the lock, its owner with a pass. False under ThreadSanitizer and without
 * membarrier, where nobody owns a lock. */
static bool own_with_pass(struct cmr_seat *seat)
{
	cmr_biased_take_slow(&lock, seat);
	cmr_biased_own(&lock, seat);
	cmr_biased_arm(&lock, seat, 77);
	cmr_biased_drop(&lock, NULL);
	return atomic_load(&lock.owner) == seat;
}

CMR_TEST(a_pass_opens_the_lock_of_its_owner_only)
{
	struct cmr_seat seat = { 0 }, other = { 0 };

	if (!own_with_pass(&seat))
		CMR_TEST_SKIP("nobody can own a lock here");
	CHECK_EQ_U64(cmr_biased_pass_in(&lock, &seat), 77);
	CHECK_EQ_U64(atomic_load(&seat.inside), 1);
	cmr_biased_pass_out(&lock, &seat);
	CHECK_EQ_U64(atomic_load(&seat.inside), 0);
	cmr_biased_take_slow(&lock, &other); /* takes ownership away, and the pass with it */
	cmr_biased_arm(&lock, &other, 5); /* not the owner: none */
	CHECK_EQ_U64(atomic_load(&seat.pass), 0);
	CHECK_EQ_U64(atomic_load(&other.pass), 0);
	cmr_biased_drop(&lock, NULL);
	CHECK_EQ_U64(cmr_biased_pass_in(&lock, &seat), 0);
	CHECK_EQ_U64(atomic_load(&seat.inside), 0);
}

CMR_TEST(who_holds_the_lock_may_take_the_pass_away)
{
	struct cmr_seat seat = { 0 };

	if (!own_with_pass(&seat))
		CMR_TEST_SKIP("nobody can own a lock here");
	cmr_biased_no_pass(&lock);
	CHECK_EQ_U64(cmr_biased_pass_in(&lock, &seat), 0);
	CHECK(own_with_pass(&seat));
	cmr_biased_take_slow(&lock, &seat);
	cmr_biased_own(&lock, &seat); /* to own it anew is a new beginning */
	cmr_biased_drop(&lock, NULL);
	CHECK_EQ_U64(cmr_biased_pass_in(&lock, &seat), 0);
	cmr_biased_take_slow(&lock, NULL);
	cmr_biased_no_pass(&lock); /* no owner: nothing to do */
	cmr_biased_drop(&lock, NULL);
}

static void take_in_a_row(struct cmr_seat *seat, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		cmr_biased_drop(&lock, cmr_biased_take(&lock, seat));
}

CMR_TEST(who_takes_it_often_enough_owns_it)
{
	struct cmr_seat seat = { 0 }, other = { 0 };

	if (!own_with_pass(&seat))
		CMR_TEST_SKIP("nobody can own a lock here");
	take_in_a_row(&other, 1);
	CHECK(atomic_load(&lock.owner) == NULL);
	take_in_a_row(&other, CMR_PATIENCE - 1);
	CHECK(atomic_load(&lock.owner) == NULL);
	take_in_a_row(&other, 1);
	CHECK(atomic_load(&lock.owner) == &other);
	/* From now on it takes twice as many. */
	take_in_a_row(&seat, 2 * CMR_PATIENCE);
	CHECK(atomic_load(&lock.owner) == NULL);
	take_in_a_row(&seat, 1);
	CHECK(atomic_load(&lock.owner) == &seat);
	/* Turn and turn about, nobody does. */
	cmr_biased_take_slow(&lock, NULL);
	cmr_biased_drop(&lock, NULL);
	for (unsigned i = 0; i < 8 * CMR_PATIENCE; i++)
		take_in_a_row(i % 2 != 0 ? &seat : &other, 3);
	CHECK(atomic_load(&lock.owner) == NULL);
}

/* The quick way in and the slow one exclude each other while passes come and go. */
static void *passer(void *data)
{
	struct cmr_seat seat = { 0 };

	(void)data;
	for (unsigned i = 0; i < ROUNDS; i++) {
		if (cmr_biased_pass_in(&lock, &seat) == 0) {
			struct cmr_seat *held = cmr_biased_take(&lock, &seat);

			cmr_biased_arm(&lock, &seat, 1);
			cmr_biased_drop(&lock, held);
			if (i % 64 == 0) {
				cmr_biased_take_slow(&lock, &seat);
				cmr_biased_own(&lock, &seat);
				cmr_biased_arm(&lock, &seat, 1);
				cmr_biased_drop(&lock, NULL);
			}
			add(&seat);
			continue;
		}
		if (shared[0] != shared[1])
			atomic_fetch_add(&torn, 1);
		shared[0]++;
		atomic_signal_fence(memory_order_seq_cst);
		shared[1]++;
		cmr_biased_pass_out(&lock, &seat);
	}
	cmr_biased_take_slow(&lock, NULL);
	cmr_biased_drop(&lock, NULL);
	return NULL;
}

CMR_TEST(passes_exclude_other_threads)
{
	pthread_t threads[THREADS];
	uint64_t before = shared[0];

	for (unsigned t = 0; t < THREADS; t++)
		CHECK(pthread_create(&threads[t], NULL, passer, NULL) == 0);
	for (unsigned t = 0; t < THREADS; t++)
		pthread_join(threads[t], NULL);
	CHECK_EQ_U64(shared[0] - before, (uint64_t)THREADS * ROUNDS);
	CHECK_EQ_U64(shared[0], shared[1]);
	CHECK_EQ_U64(atomic_load(&torn), 0);
}
