/* Where a thread says that it is inside a lock that it owns (biased.h); one per thread and lock. */
#ifndef CMR_OS_SEAT_H
#define CMR_OS_SEAT_H

#include <stdatomic.h>
#include <stdint.h>

struct cmr_seat {
	_Atomic uint32_t inside; /* written by the thread only */
	/* What the owner may do without a look at what the lock protects; 0: nothing. Means something
	 * while the thread owns the lock only, and is read and written inside it. */
	uint32_t pass;
};

#endif
