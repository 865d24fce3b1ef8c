/* Totals of one region, always exact.
 *
 * Epochs: whenever live bytes are about to fall while they stand at (or above) the highest value so
 * far, that value is the new peak and a new epoch begins. A location's share of the peak is then
 * what it held when the epoch it last changed in ended (usage.h); nothing is ever rescanned. The
 * scheme is that of memray's aggregated captures, of equal peaks the last one counts. */
#ifndef CMR_HEAP_LEDGER_H
#define CMR_HEAP_LEDGER_H

#include <stdbool.h>
#include <stdint.h>

/* Protected by the plane's ledger lock. 64 bytes, one cache line. Sizes in bytes. */
struct cmr_ledger {
	uint64_t current, blocks;   /* live now */
	uint64_t total, count;      /* allocated since start, frees ignored */
	uint64_t peak, peak_blocks; /* at the end of the last epoch */
	uint32_t epoch;             /* number of falling edges at the peak */
	bool sealed;                /* peak, total and count no longer change */
	bool old_threads;           /* some block belongs to a thread older than the region */
	uint64_t spare;
} __attribute__((aligned(64)));

/* One allocation. [hot] */
static inline void cmr_ledger_add(struct cmr_ledger *l, uint64_t size)
{
	l->current += size;
	l->blocks++;
	if (__builtin_expect(!l->sealed, 1)) {
		l->total += size;
		l->count++;
	}
}

/* Ends the epoch if live bytes, which are about to fall, are at the peak. [hot] */
static inline void cmr_ledger_edge(struct cmr_ledger *l)
{
	if (l->current >= l->peak && !l->sealed) {
		l->peak = l->current;
		l->peak_blocks = l->blocks;
		l->epoch++;
	}
}

/* One free of a block that was added. [hot] */
static inline void cmr_ledger_sub(struct cmr_ledger *l, uint64_t size)
{
	if (size != 0)
		cmr_ledger_edge(l);
	l->current -= size;
	l->blocks--;
}

#endif
