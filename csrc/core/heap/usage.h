/* What each location holds in one region: its share of the peak, and what is live.
 *
 * Indexed by location number in chunks made on demand. Entries carry the region's serial, so a new
 * region starts empty without clearing anything; touched entries form a list for the reader. */
#ifndef CMR_HEAP_USAGE_H
#define CMR_HEAP_USAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "heap/ledger.h"

/* Counts of blocks are in 1/65536 block: a sampled block stands for weight / size blocks. */
#define CMR_BLOCK_UNIT 65536

/* Live = at_peak + since. `since` belongs to the peak too once the ledger's epoch has moved past
 * `epoch`. Protected by the plane's ledger lock. 64 bytes, one cache line. */
struct cmr_usage {
	int64_t at_peak_bytes, since_bytes;
	int64_t at_peak_blocks, since_blocks;     /* in CMR_BLOCK_UNIT */
	int64_t at_peak_variance, since_variance; /* of the bytes: cmr_sample_variance */
	uint32_t epoch;  /* of the ledger when this last changed */
	uint32_t serial; /* of the region whose numbers these are */
	uint32_t next;   /* touched list: location number, 0 = end */
	uint32_t spare;
};

#define CMR_USAGE_CHUNK 4096u
#define CMR_USAGE_CHUNKS 2048u

struct cmr_usages {
	struct cmr_usage **chunks; /* CMR_USAGE_CHUNKS pointers, sparse */
	uint32_t serial;           /* never 0 while in use */
	uint32_t first, n_touched;
};

/* Makes the directory; nothing to do when it has one. False: memory refused. */
bool cmr_usages_init(struct cmr_usages *usages) __attribute__((warn_unused_result));
void cmr_usages_fini(struct cmr_usages *usages);

/* Begins a new region: all entries read as empty. O(1). */
void cmr_usages_restart(struct cmr_usages *usages);

/* Books BYTES, BLOCKS and VARIANCE (either sign) on LOCATION (not 0), in the ledger's present epoch:
 * call it after cmr_ledger_edge. Nothing is taken from a location that was never given anything.
 * False: no memory for what was to be added (the caller counts a `stacks` loss). [hot] [nomalloc] */
bool cmr_usages_book(struct cmr_usages *usages, const struct cmr_ledger *ledger, uint32_t location,
		     int64_t bytes, int64_t blocks, int64_t variance)
	__attribute__((warn_unused_result));

/* ENTRY enters the ledger's present epoch: what it held when its own one ended belongs to the peak.
 * [hot] */
static inline void cmr_usage_settle(struct cmr_usage *entry, uint32_t epoch)
{
	if (entry->epoch == epoch)
		return;
	entry->at_peak_bytes += entry->since_bytes;
	entry->at_peak_blocks += entry->since_blocks;
	entry->since_bytes = 0;
	entry->since_blocks = 0;
	if (entry->since_variance != 0) {
		entry->at_peak_variance += entry->since_variance;
		entry->since_variance = 0;
	}
	entry->epoch = epoch;
}

/* The entry of LOCATION, or NULL when this region has none yet. [hot] */
static inline struct cmr_usage *cmr_usages_known(const struct cmr_usages *usages,
						 uint32_t location)
{
	uint32_t at = location / CMR_USAGE_CHUNK;
	struct cmr_usage *entry;

	if (__builtin_expect(at >= CMR_USAGE_CHUNKS || usages->chunks[at] == 0, 0))
		return 0;
	entry = &usages->chunks[at][location % CMR_USAGE_CHUNK];
	return __builtin_expect(entry->serial == usages->serial, 1) ? entry : 0;
}

/* As cmr_usages_book, for a LOCATION that has an entry. False: it has none, nothing was done. [hot]
 * [nomalloc] */
static inline bool cmr_usages_change(struct cmr_usages *usages, const struct cmr_ledger *ledger,
				     uint32_t location, int64_t bytes, int64_t blocks,
				     int64_t variance)
{
	struct cmr_usage *entry = cmr_usages_known(usages, location);

	if (__builtin_expect(entry == 0, 0))
		return false;
	cmr_usage_settle(entry, ledger->epoch);
	entry->since_bytes += bytes;
	entry->since_blocks += blocks;
	if (variance != 0)
		entry->since_variance += variance;
	return true;
}

/* One row for a reader. */
struct cmr_usage_row {
	uint32_t location;
	int64_t bytes;    /* Horvitz-Thompson sum of weights; exact in exact mode */
	int64_t blocks;   /* in CMR_BLOCK_UNIT */
	int64_t variance; /* of `bytes`, an unbiased estimate in bytes squared; 0 in exact mode */
};

/* Copies the non-empty rows (peak share or live) to OUT, at most N_OUT (see n_touched). Returns how
 * many. Unsorted. The peak is the last closed epoch, or now when live bytes are at the peak and the
 * ledger is not sealed. */
uint32_t cmr_usages_rows(const struct cmr_usages *usages, const struct cmr_ledger *ledger, bool peak,
			 struct cmr_usage_row *out, uint32_t n_out);

#endif
