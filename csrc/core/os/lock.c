#include "os/lock.h"

#include <errno.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Turns in lock_slow. A holder is done within a microsecond unless it was preempted, so: spin for
 * about that long, then give the processor away, and sleep where that does not help (the holder has
 * a lower real-time priority than this thread). */
#define SPINS 200
#define YIELDS 200

static inline void pause_processor(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

void cmr_nap(long nanoseconds)
{
	const struct timespec nap = { .tv_sec = 0, .tv_nsec = nanoseconds };
	int saved = errno;

	(void)syscall(SYS_clock_nanosleep, CLOCK_MONOTONIC, 0, &nap, NULL);
	errno = saved;
}

void cmr_lock_slow(struct cmr_lock *lock)
{
	for (unsigned turn = 0;; turn++) {
		uint32_t free = 0;

		/* Reading first leaves the cache line shared among those who wait. */
		if (atomic_load_explicit(&lock->held, memory_order_relaxed) == 0 &&
		    atomic_compare_exchange_weak_explicit(
			    &lock->held, &free, 1, memory_order_acquire, memory_order_relaxed))
			return;
		if (turn < SPINS)
			pause_processor();
		else if (turn < SPINS + YIELDS)
			sched_yield();
		else
			cmr_nap(20000);
	}
}

#ifdef CMR_DEBUG_LOCKS

#include <stdlib.h>
#include <string.h>

/* All locks of one rank may be held at a fork: 64 shards in each of two planes, and the rest. */
#define MOST_HELD 160

static _Thread_local struct {
	unsigned n;
	const struct cmr_lock *locks[MOST_HELD];
} held;

static void refuse(const char *what)
{
	ssize_t written = write(STDERR_FILENO, what, strlen(what));

	(void)written;
	abort();
}

void cmr_lock_check(const struct cmr_lock *lock)
{
	for (unsigned i = 0; i < held.n; i++) {
		const struct cmr_lock *other = held.locks[i];

		if (other == lock)
			refuse("cmr_lock: taken twice by one thread\n");
		if (other->rank > lock->rank)
			refuse("cmr_lock: taken out of rank order\n");
		if (other->rank == lock->rank && other > lock)
			refuse("cmr_lock: taken out of address order\n");
	}
	if (held.n == MOST_HELD)
		refuse("cmr_lock: too many held\n");
	held.locks[held.n++] = lock;
}

void cmr_lock_forget(const struct cmr_lock *lock)
{
	for (unsigned i = held.n; i-- > 0;) {
		if (held.locks[i] != lock)
			continue;
		held.locks[i] = held.locks[--held.n];
		return;
	}
	refuse("cmr_lock: dropped by a thread that does not hold it\n");
}

#endif
