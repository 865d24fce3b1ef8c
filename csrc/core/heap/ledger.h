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

#define CMR_NEVER_RISES 63

/* Protected by the plane's ledger lock. 64 bytes, one cache line. Sizes in bytes. What is live now is
 * not stored: it is the difference of two numbers that only grow, so that an event changes two words
 * and not four. */
struct cmr_ledger {
	uint64_t total, count;      /* allocated since start, frees ignored */
	uint64_t freed, n_freed;    /* of them, or of what was allocated after the seal (may wrap) */
	uint64_t peak, peak_blocks; /* at the end of the last epoch */
	uint64_t largest;           /* block */
	uint32_t epoch;             /* number of falling edges at the peak */
	bool sealed;                /* all but what is live no longer changes */
	bool old_threads;           /* some block belongs to a thread older than the region */
	uint8_t rise_log2;          /* at 1 << this live bytes the sampling period doubles */
	uint8_t spare;
} __attribute__((aligned(64)));

/* An empty one. */
static inline void cmr_ledger_clear(struct cmr_ledger *l)
{
	*l = (struct cmr_ledger){ .rise_log2 = CMR_NEVER_RISES };
}

/* Bytes and blocks that are live now. [hot] */
static inline uint64_t cmr_ledger_current(const struct cmr_ledger *l)
{
	return l->total - l->freed;
}

static inline uint64_t cmr_ledger_blocks(const struct cmr_ledger *l)
{
	return l->count - l->n_freed;
}

/* True when live bytes are at the peak or above. Below zero, where frees were missed, they are not. [hot] */
static inline bool cmr_ledger_at_peak(const struct cmr_ledger *l)
{
	return (int64_t)cmr_ledger_current(l) >= (int64_t)l->peak;
}

/* True when an event books nothing but the plain numbers: the fast case. [hot] */
static inline bool cmr_ledger_plain(const struct cmr_ledger *l)
{
	return !(l->sealed | l->old_threads);
}

/* True when live bytes ask for a larger sampling period. */
static inline bool cmr_ledger_rises(const struct cmr_ledger *l)
{
	return cmr_ledger_current(l) >> l->rise_log2 != 0;
}

/* One allocation, not sealed. [hot] */
static inline void cmr_ledger_add_open(struct cmr_ledger *l, uint64_t size)
{
	l->total += size;
	l->count++;
	if (__builtin_expect(size > l->largest, 0))
		l->largest = size;
}

/* One allocation. [hot] */
static inline void cmr_ledger_add(struct cmr_ledger *l, uint64_t size)
{
	if (__builtin_expect(l->sealed, 0)) {
		l->freed -= size;
		l->n_freed--;
		return;
	}
	cmr_ledger_add_open(l, size);
}

/* Live bytes are about to fall: ends the epoch if they are at the peak. True if they were. [hot] */
static inline bool cmr_ledger_edge(struct cmr_ledger *l)
{
	if (!cmr_ledger_at_peak(l) || l->sealed)
		return false;
	l->peak = cmr_ledger_current(l);
	l->peak_blocks = cmr_ledger_blocks(l);
	l->epoch++;
	return true;
}

/* One free of a block that was added, after cmr_ledger_edge unless SIZE is 0. [hot] */
static inline void cmr_ledger_sub(struct cmr_ledger *l, uint64_t size)
{
	l->freed += size;
	l->n_freed++;
}

#endif
