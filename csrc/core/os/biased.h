/* A lock that one thread takes with plain stores, as long as no other thread wants it.
 *
 * Nearly every program allocates from one thread at a time, and an atomic exchange costs as much as
 * all else that the hot path does. So the lock has an owner, who announces itself on its own seat
 * and looks whether it still is the owner:
 *
 *   owner                              another thread
 *   seat.inside = 1                    takes the plain lock
 *   (compiler fence)                   owner = none
 *   owner still me? go on.             membarrier(2): a full barrier on every running thread
 *   no? inside = 0, plain lock.        waits until the old owner's seat says inside == 0
 *
 * The barrier makes up for the missing one of the owner: either its store of `inside` is visible
 * after it, or its second look at `owner` comes after it and sees none. Taken away once, ownership
 * comes back when the next region starts (cmr_biased_own). The scheme is that of biased locking with
 * asymmetric fences (Dice, Moir, Scherer: "Quickly reacquirable locks", 2003). */
#ifndef CMR_OS_BIASED_H
#define CMR_OS_BIASED_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/lock.h"
#include "os/seat.h"

struct cmr_biased {
	struct cmr_lock lock;
	_Atomic(struct cmr_seat *) owner; /* written with `lock` held */
};
#define CMR_BIASED(rank) { .lock = CMR_LOCK(rank) }

/* Takes LOCK with the plain lock; takes ownership away from any thread but the one with SEAT (NULL:
 * the caller has none). Drop with cmr_biased_drop(lock, NULL). */
void cmr_biased_take_slow(struct cmr_biased *lock, struct cmr_seat *seat);

/* Makes the holder, who called cmr_biased_take_slow, the owner, if this kernel can do without. */
void cmr_biased_own(struct cmr_biased *lock, struct cmr_seat *seat);

/* Takes LOCK; SEAT (not NULL) is the calling thread's for this lock. Returns what cmr_biased_drop
 * wants. [hot] */
static inline struct cmr_seat *cmr_biased_take(struct cmr_biased *lock, struct cmr_seat *seat)
{
	if (__builtin_expect(atomic_load_explicit(&lock->owner, memory_order_relaxed) == seat, 1)) {
		atomic_store_explicit(&seat->inside, 1, memory_order_relaxed);
		atomic_signal_fence(memory_order_seq_cst); /* pairs with the membarrier */
		if (__builtin_expect(atomic_load_explicit(&lock->owner, memory_order_relaxed) ==
					     seat,
				     1)) {
			cmr_lock_check(&lock->lock);
			return seat;
		}
		atomic_store_explicit(&seat->inside, 0, memory_order_release);
	}
	cmr_biased_take_slow(lock, seat);
	return 0;
}

/* HELD is what cmr_biased_take returned. [hot] */
static inline void cmr_biased_drop(struct cmr_biased *lock, struct cmr_seat *held)
{
	if (__builtin_expect(held != 0, 1)) {
		cmr_lock_forget(&lock->lock);
		atomic_store_explicit(&held->inside, 0, memory_order_release);
	} else {
		cmr_lock_drop(&lock->lock);
	}
}

#endif
