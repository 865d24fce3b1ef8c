/* What the tracker could not record. A region is "incomplete" when a counter grew while it was open. */
#ifndef CMR_OS_LOSSES_H
#define CMR_OS_LOSSES_H

#include <stdatomic.h>
#include <stdint.h>

/* X(name): one line per kind of loss. */
#define CMR_LOSS_LIST(X)                                                        \
	X(blocks)     /* blocks that found no room in a block table */          \
	X(stacks)     /* stacks or locations that found no room */              \
	X(threads)    /* events of threads that could not get their state */    \
	X(mappings)   /* mappings that found no room in a range table */        \
	X(hooks)      /* objects whose relocation slots could not be patched */ \
	X(replaced)   /* objects in whose slots another tool put its functions */ \
	X(allocators) /* times that another tool took the interpreter's hooks away */

struct cmr_losses {
#define X(name) uint64_t name;
	CMR_LOSS_LIST(X)
#undef X
};

enum cmr_loss {
#define X(name) CMR_LOSS_##name,
	CMR_LOSS_LIST(X)
#undef X
		CMR_N_LOSSES
};

/* Process-wide counters since load; relaxed atomics, read by cmr_losses_read. */
extern _Atomic uint64_t cmr_loss_counters[CMR_N_LOSSES];

/* Of `replaced`, how many objects the other tool still has: what a region that starts now misses from its
 * beginning. Written when objects are looked at. */
extern _Atomic uint64_t cmr_loss_replaced_now;

/* Counts one loss. [hot] [nomalloc] */
static inline void cmr_lose(enum cmr_loss kind)
{
	atomic_fetch_add_explicit(&cmr_loss_counters[kind], 1, memory_order_relaxed);
}

/* Copies all counters to OUT. [any] */
void cmr_losses_read(struct cmr_losses *out);

#endif
