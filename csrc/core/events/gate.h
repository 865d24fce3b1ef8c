/* The gate: is anything measured at all? One word, read first by every hook. */
#ifndef CMR_EVENTS_GATE_H
#define CMR_EVENTS_GATE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/thread.h"

/* CMR_GUARD(plane) bits of the planes that have an open region. Written by start and stop. */
extern _Atomic uintptr_t cmr_gate;

/* Planes for which an event of the calling thread counts now: open, and not inside another event
 * or the tracker itself. 0: call the original and do nothing else. [hot] */
static inline uintptr_t cmr_gate_planes(void)
{
	return atomic_load_explicit(&cmr_gate, memory_order_acquire) &
	       ~atomic_load_explicit(&cmr_tls.guard, memory_order_relaxed);
}

/* An event of PLANES begins / ends on this thread. Between them the thread's own allocator calls,
 * and those of signal handlers, pass through. [hot] */
static inline void cmr_gate_enter(uintptr_t planes)
{
	cmr_guard_raise(planes);
}

static inline void cmr_gate_leave(uintptr_t planes)
{
	uintptr_t word = atomic_load_explicit(&cmr_tls.guard, memory_order_relaxed) & ~planes;

	/* Outside of all events: one more is over, as cmr_thread_quiesce wants to see. */
	if ((word & CMR_GUARD_ALL) == 0)
		word += CMR_GUARD_COUNT;
	cmr_guard_restore(word);
}

/* The short form for an event of the OUTER plane on a thread that is outside of everything and has
 * nothing else to look at. *WORD is its guard word before. False: not so, nothing was done.
 * The gate is not looked at; passes (os/biased.h) are there only while it is open. Such an event does
 * not count for cmr_thread_quiesce, which need not wait for what a pass covers: who takes passes away
 * has waited already. [hot] */
static inline bool cmr_gate_enter_outer(uintptr_t *word)
{
	*word = atomic_load_explicit(&cmr_tls.guard, memory_order_relaxed);
	if (__builtin_expect((uint32_t)*word != 0, 0))
		return false;
	atomic_store_explicit(&cmr_tls.guard, *word | CMR_GUARD(CMR_PLANE_OUTER),
			      memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	return true;
}

/* Its end. COUNT is CMR_GUARD_COUNT for one that did more than a pass covers, else 0. The word is read
 * anew: an allocator that loads an object in the middle leaves the mark of a dlopen in it. [hot] */
static inline void cmr_gate_leave_outer(uintptr_t count)
{
	uintptr_t word = atomic_load_explicit(&cmr_tls.guard, memory_order_relaxed);

	cmr_guard_restore((word & ~CMR_GUARD_ALL) + count);
}

#endif
