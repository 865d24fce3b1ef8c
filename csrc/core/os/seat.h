/* Where a thread says that it is inside a lock that it owns (biased.h); one per thread and lock. */
#ifndef CMR_OS_SEAT_H
#define CMR_OS_SEAT_H

#include <stdatomic.h>
#include <stdint.h>

struct cmr_seat {
	_Atomic uint32_t inside; /* written by the thread only */
	/* What the thread may do on no more than its own word: see cmr_biased_arm. 0: nothing. */
	_Atomic uint32_t pass;
};

#endif
