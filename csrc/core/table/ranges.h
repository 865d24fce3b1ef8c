/* Mappings of one plane: disjoint [start, end) intervals in address order, under one lock.
 *
 * munmap and MAP_FIXED may cut any part out of any number of intervals; each piece that is cut is
 * reported to a callback so that the ledger learns of it. */
#ifndef CMR_TABLE_RANGES_H
#define CMR_TABLE_RANGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/lock.h"
#include "os/status.h"

/* How a mapping stands to the peak (docs/measuring.md). */
enum cmr_range_class {
	CMR_RANGE_COUNTED,    /* in the peak */
	CMR_RANGE_UNWRITABLE, /* private anonymous, not writable (yet): counts from mprotect on */
	CMR_RANGE_RESERVED,   /* writable MAP_NORESERVE of at least 64 MiB: apart */
	CMR_RANGE_SHARED,     /* shared anonymous: apart */
	CMR_RANGE_FILE,       /* file mapping: apart */
	CMR_RANGE_STOCK,      /* the interpreter's own arenas, frame stacks and code: not counted */
	CMR_N_RANGE_CLASSES
};

struct cmr_range {
	uintptr_t start, end;
	uint32_t location; /* of the call that made it; its weight is the size */
	uint8_t tag;       /* like blocks; 0 = nobody counts it */
	uint8_t class;     /* enum cmr_range_class */
	bool located;
};

struct cmr_ranges {
	struct cmr_lock lock;    /* CMR_RANK_RANGES; protects all below */
	struct cmr_range *items; /* sorted by start */
	size_t n_items, capacity;
};

/* What became of one interval when a part of it was cut out. */
struct cmr_range_cut {
	struct cmr_range range; /* as it was before */
	size_t bytes;           /* cut from it */
	int blocks;             /* change of the number of mappings: -1 gone, 0 trimmed, +1 split */
};

/* Called with the ranges lock held; may take the ledger lock, must not touch the ranges. */
typedef void (*cmr_range_visit)(void *data, const struct cmr_range_cut *cut);

void cmr_ranges_init(struct cmr_ranges *ranges);
void cmr_ranges_fini(struct cmr_ranges *ranges);

/* The functions below with suffix _locked want ranges->lock held by the caller, which thereby makes
 * "cut, then add" or "take, then put back" one step for other threads. */

/* Cuts [START, END) out of all intervals, reporting each. False when a split found no memory: the
 * upper rest of that interval is forgotten and reported as cut (caller counts a loss). */
bool cmr_ranges_cut_locked(struct cmr_ranges *ranges, uintptr_t start, uintptr_t end,
			   cmr_range_visit visit, void *data) CMR_CHECKED;

/* Adds an interval; the caller has cut what it overlaps. An empty one is no interval: nothing is
 * done. False on memory refusal. */
bool cmr_ranges_add_locked(struct cmr_ranges *ranges, const struct cmr_range *range) CMR_CHECKED;

/* First interval that ends after ADDRESS, or NULL. Valid until the next change. */
const struct cmr_range *cmr_ranges_find_locked(const struct cmr_ranges *ranges, uintptr_t address);

/* Forgets all. */
void cmr_ranges_reset(struct cmr_ranges *ranges);

/* As cmr_blocks_retag; intervals of tag 0 stay. */
void cmr_ranges_retag(struct cmr_ranges *ranges, const uint8_t map[63]);

#endif
