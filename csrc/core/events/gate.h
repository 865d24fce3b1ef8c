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
	return atomic_load_explicit(&cmr_gate, memory_order_acquire) & ~cmr_tls.guard;
}

/* An event of PLANES begins / ends on this thread. Between them the thread's own allocator calls,
 * and those of signal handlers, pass through. The fences keep a signal handler on this thread from
 * seeing half of it. [hot] */
static inline void cmr_gate_enter(uintptr_t planes)
{
	cmr_tls.guard |= planes;
	atomic_signal_fence(memory_order_seq_cst);
}

static inline void cmr_gate_leave(uintptr_t planes)
{
	atomic_signal_fence(memory_order_seq_cst);
	cmr_tls.guard &= ~planes;
}

#endif
