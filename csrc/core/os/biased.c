#include "os/biased.h"

#include <sched.h>
#include <stddef.h>

#include "os/thread.h"

/* ThreadSanitizer does not know what membarrier orders. */
#if defined(__SANITIZE_THREAD__)
#define CAN_OWN false
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define CAN_OWN false
#endif
#endif
#ifndef CAN_OWN
#define CAN_OWN true
#endif

#define SPINS 1000 /* the owner is out within a microsecond, unless it was preempted */
#define YIELDS 200

static void wait_until_out(const struct cmr_seat *seat)
{
	for (unsigned turn = 0; atomic_load_explicit(&seat->inside, memory_order_acquire) != 0;
	     turn++) {
		if (turn < SPINS)
			continue;
		if (turn < SPINS + YIELDS)
			sched_yield();
		else
			cmr_nap(20000);
	}
}

/* Nobody owns LOCK: has SEAT waited long enough for it? */
static void note_turn(struct cmr_biased *lock, struct cmr_seat *seat)
{
	uint32_t patience = lock->patience != 0 ? lock->patience : CMR_PATIENCE;

	if (lock->last != seat) {
		lock->last = seat;
		lock->in_a_row = 0;
		return;
	}
	if (++lock->in_a_row < patience)
		return;
	lock->in_a_row = 0;
	cmr_biased_own(lock, seat);
	lock->patience = patience < CMR_MOST_PATIENCE ? patience * 2 : patience;
}

void cmr_biased_take_slow(struct cmr_biased *lock, struct cmr_seat *seat)
{
	struct cmr_seat *owner;

	cmr_lock_take(&lock->lock);
	owner = atomic_load_explicit(&lock->owner, memory_order_relaxed);
	if (owner == NULL) {
		if (seat != NULL)
			note_turn(lock, seat);
		return;
	}
	if (owner == seat)
		return;
	atomic_store_explicit(&lock->owner, NULL, memory_order_seq_cst);
	atomic_store_explicit(&owner->pass, 0, memory_order_seq_cst);
	cmr_thread_barrier();
	if (atomic_load_explicit(&owner->pass, memory_order_relaxed) != 0) { /* cmr_biased_arm */
		atomic_store_explicit(&owner->pass, 0, memory_order_seq_cst);
		cmr_thread_barrier();
	}
	wait_until_out(owner);
	lock->last = seat;
	lock->in_a_row = 0;
}

bool cmr_biased_can_own(void)
{
	return CAN_OWN && cmr_thread_barrier_is_fast();
}

void cmr_biased_own(struct cmr_biased *lock, struct cmr_seat *seat)
{
	lock->patience = CMR_PATIENCE;
	if (!cmr_biased_can_own())
		return;
	atomic_store_explicit(&seat->pass, 0, memory_order_relaxed);
	atomic_store_explicit(&lock->owner, seat, memory_order_relaxed);
}
