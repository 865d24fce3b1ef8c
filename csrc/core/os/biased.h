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
 * after it, or its second look at `owner` comes after it and sees none. The scheme is that of biased
 * locking with asymmetric fences (Dice, Moir, Scherer: "Quickly reacquirable locks", 2003).
 *
 * Ownership goes to whoever asks for it (cmr_biased_own), and to a thread that has taken the lock so
 * many times in a row that nobody else seems to want it: threads that pass an interpreter's lock on
 * own it by turns. How many times doubles with each such turn, so that threads that do compete
 * come to leave it. */
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
	const struct cmr_seat *last;      /* who took it the slow way last; `lock`, and below */
	uint32_t in_a_row;                /* how many times */
	uint32_t patience;                /* how many times make an owner; 0 = CMR_PATIENCE */
};
#define CMR_BIASED(rank) { .lock = CMR_LOCK(rank) }

/* At first, and at most. The barrier costs as much as some hundred slow takes. */
#define CMR_PATIENCE 256
#define CMR_MOST_PATIENCE 16384

/* Takes LOCK with the plain lock; takes ownership away from any thread but the one with SEAT (NULL:
 * the caller has none), and its pass. Drop with cmr_biased_drop(lock, NULL). */
void cmr_biased_take_slow(struct cmr_biased *lock, struct cmr_seat *seat);

/* Whether there are owners at all: not where a barrier on other threads is slow, as on old kernels. */
bool cmr_biased_can_own(void);

/* Makes the holder, who called cmr_biased_take_slow, the owner, if this kernel can do without; a new
 * owner has no pass. Counts as a beginning: patience is what it was at first. */
void cmr_biased_own(struct cmr_biased *lock, struct cmr_seat *seat);

/* --- passes --------------------------------------------------------------------------------------
 * An owner may hold a pass, a word of its own that says what it may do inside the lock without a look
 * at anything else. Whoever takes ownership away, or changes what the pass was given for, takes it
 * away first; so the quick way in reads one word. */

/* Gives SEAT, inside LOCK, the PASS (not 0) if it owns the lock. Looks at `owner` again after that:
 * a thread that takes ownership away clears the pass, waits for a barrier and clears it again if it
 * finds one, which can only be from a look before that barrier. */
static inline void cmr_biased_arm(struct cmr_biased *lock, struct cmr_seat *seat, uint32_t pass)
{
	if (atomic_load_explicit(&lock->owner, memory_order_relaxed) != seat)
		return;
	atomic_store_explicit(&seat->pass, pass, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst); /* pairs with the membarrier */
	if (atomic_load_explicit(&lock->owner, memory_order_relaxed) != seat)
		atomic_store_explicit(&seat->pass, 0, memory_order_relaxed);
}

/* Takes the owner's pass away. LOCK is held, by whomever. */
static inline void cmr_biased_no_pass(struct cmr_biased *lock)
{
	struct cmr_seat *owner = atomic_load_explicit(&lock->owner, memory_order_relaxed);

	if (owner != 0)
		atomic_store_explicit(&owner->pass, 0, memory_order_relaxed);
}

/* The quick way in: the pass of SEAT with its lock taken, or 0 with the lock not taken. Out by
 * cmr_biased_pass_out. [hot] */
static inline uint32_t cmr_biased_pass_in(struct cmr_biased *lock, struct cmr_seat *seat)
{
	uint32_t pass;

	(void)lock;
	atomic_store_explicit(&seat->inside, 1, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst); /* pairs with the membarrier */
	pass = atomic_load_explicit(&seat->pass, memory_order_relaxed);
	if (__builtin_expect(pass != 0, 1))
		cmr_lock_check(&lock->lock);
	else
		atomic_store_explicit(&seat->inside, 0, memory_order_release);
	return pass;
}

static inline void cmr_biased_pass_out(struct cmr_biased *lock, struct cmr_seat *seat)
{
	(void)lock;
	cmr_lock_forget(&lock->lock);
	atomic_store_explicit(&seat->inside, 0, memory_order_release);
}

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
