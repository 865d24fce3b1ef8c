/* Spinlocks for sections of well under a microsecond, with a rank table that rules out deadlock.
 *
 * A thread takes locks in rising rank only, and several of one rank in rising address. While one is
 * held: no allocation, no dl_* call, no interpreter call, no system call but madvise/mmap of the
 * tracker's own memory. Every holder has set its guard first, so a signal handler on the same thread
 * passes through without locking. */
#ifndef CMR_OS_LOCK_H
#define CMR_OS_LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Lowest rank is taken first. */
enum cmr_rank {
	CMR_RANK_SESSION = 1, /* start, stop, seal */
	CMR_RANK_HOOKS,       /* list of patched objects */
	CMR_RANK_THREADS,     /* list of threads */
	CMR_RANK_RANGES,      /* mappings of one plane */
	CMR_RANK_SHARD,       /* one shard of a block table */
	CMR_RANK_LEDGER,      /* totals and location usage of one plane */
	CMR_RANK_CODES,       /* code registry of the binding */
	CMR_RANK_INTERN,      /* append-only sets */
	CMR_RANK_LEAF,        /* pools: nothing is taken below */
};

struct cmr_lock {
	_Atomic uint32_t held; /* 0 free, 1 held */
	uint32_t rank;         /* enum cmr_rank */
};
#define CMR_LOCK(r) { 0, (r) }

/* Sleeps so many nanoseconds, below a second, or less. Unlike the C library's functions it is no
 * cancellation point: pthread_cancel must not unwind a thread out of an event. errno is preserved.
 * [nomalloc] */
void cmr_nap(long nanoseconds);

/* Spins, then yields, then sleeps, until LOCK is taken. [nomalloc] */
void cmr_lock_slow(struct cmr_lock *lock);

/* With CMR_DEBUG_LOCKS: a lock taken out of order, or dropped by a thread that does not hold it, is
 * named on stderr and aborts the process. For test builds only. */
#ifdef CMR_DEBUG_LOCKS
void cmr_lock_check(const struct cmr_lock *lock);
void cmr_lock_forget(const struct cmr_lock *lock);
#else
static inline void cmr_lock_check(const struct cmr_lock *lock) { (void)lock; }
static inline void cmr_lock_forget(const struct cmr_lock *lock) { (void)lock; }
#endif

/* Takes LOCK, waiting as long as it needs. [hot] [nomalloc] */
static inline void cmr_lock_take(struct cmr_lock *lock)
{
	uint32_t free = 0;

	cmr_lock_check(lock);
	if (__builtin_expect(!atomic_compare_exchange_strong_explicit(&lock->held, &free, 1,
								      memory_order_acquire,
								      memory_order_relaxed),
			     0))
		cmr_lock_slow(lock);
}

/* Drops LOCK, which this thread holds. [hot] [nomalloc] */
static inline void cmr_lock_drop(struct cmr_lock *lock)
{
	cmr_lock_forget(lock);
	atomic_store_explicit(&lock->held, 0, memory_order_release); /* pairs with take */
}

#endif
