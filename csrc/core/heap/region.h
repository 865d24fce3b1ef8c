/* Regions, and the tags that say which regions a block belongs to.
 *
 * A tag names a SET of regions (with, for each, whether the allocating thread is older than it), not
 * a region: a block stores one tag, whatever number of regions are open. When a region ends, its bit
 * disappears from all tags; when one starts, threads get new tags for what they allocate from then
 * on. Threads learn of it by comparing a configuration number on their next event.
 *
 *   plane ── lock, config ── tags[64] ── {regions, old, exact}
 *     ├── slots[16] ── ledger, usages, options of one open region
 *     ├── blocks, ranges
 *
 * Tag numbers of sets that have become empty are reused only after no entry of the table can carry
 * them any more: with no region open the table is dropped whole, otherwise entries are re-tagged so
 * that equal sets share one number. Both wait until no hook of an older configuration is in flight. */
#ifndef CMR_HEAP_REGION_H
#define CMR_HEAP_REGION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "heap/ledger.h"
#include "heap/usage.h"
#include "os/lock.h"
#include "os/losses.h"
#include "os/status.h"
#include "os/thread.h"
#include "table/blocks.h"
#include "table/ranges.h"

#define CMR_MAX_REGIONS 16

enum cmr_basis { CMR_BASIS_REQUESTED = 0, CMR_BASIS_SYSTEM = 1 };
enum cmr_scope { CMR_SCOPE_ALL = 0, CMR_SCOPE_TEST = 1, CMR_SCOPE_CURRENT = 2 };

struct cmr_region_options {
	enum cmr_basis basis;
	bool trace_python;   /* basis system with the interpreter's allocator domains */
	bool exact;          /* every block with its location */
	uint64_t max_period; /* budgeted: largest sampling period, bytes; a power of two */
	enum cmr_scope scope;
	uint64_t seed;
	const void *root; /* frame of the calling thread that outlives the region, or NULL */
};

/* Bytes that stand apart from the peak, by class of mapping (table/ranges.h). */
struct cmr_apart {
	uint64_t mapped[CMR_N_RANGE_CLASSES];   /* largest sum seen */
	uint64_t current[CMR_N_RANGE_CLASSES];
};

/* What one thread older than the region allocated in it. */
struct cmr_old_thread {
	int32_t native_id;
	uint64_t bytes, blocks;
};
#define CMR_MAX_OLD_THREADS 8 /* the last entry sums up the rest, native_id 0 */

/* One region. Made by cmr_region_new, its slot in a plane taken by start and left by stop; numbers
 * stay readable until cmr_region_free. Fields are protected by the plane's ledger lock. */
struct cmr_region {
	struct cmr_ledger ledger;
	struct cmr_usages usages;
	struct cmr_region_options options;
	enum cmr_plane_id plane;
	int slot;            /* index in plane->slots; -1 when not open */
	bool started, stopped;
	uint64_t stamp;      /* cmr_thread_stamp() of the start */
	struct cmr_thread *opener;
	uint64_t old_current, old_blocks; /* live blocks of older threads */
	uint64_t old_at_peak;             /* what of the peak they held */
	uint64_t own_peak;                /* high water mark of all other blocks */
	uint64_t resized_old;             /* bytes, see cmr_usage totals */
	uint64_t largest;                 /* bytes of the largest block */
	struct cmr_old_thread old_threads[CMR_MAX_OLD_THREADS];
	struct cmr_apart apart;
	struct cmr_losses losses_at_start, losses;
};

struct cmr_tag {
	uint16_t regions; /* bit per slot: counted there */
	uint16_t old;     /* bit per slot: by a thread older than that region */
	bool exact;       /* small blocks keep their location in the parallel map */
	bool used;        /* some entry of the tables may carry it */
};

struct cmr_plane {
	enum cmr_plane_id id;
	struct cmr_lock lock;                       /* CMR_RANK_LEDGER */
	_Atomic uint32_t config;                    /* see above; never 0 */
	struct cmr_tag tags[CMR_N_TAGS];            /* lock */
	_Atomic uint64_t exact_tags;                /* bit per tag: tags[t].exact */
	struct cmr_region *slots[CMR_MAX_REGIONS];  /* lock */
	uint16_t open;                              /* lock; bit per slot */
	bool exact;                                 /* lock; some open region wants exact */
	uint8_t period_log2;                        /* lock; of all open regions */
	uint8_t max_period_log2;                    /* lock; smallest of all open regions */
	struct cmr_blocks blocks;
	struct cmr_ranges ranges;
};

extern struct cmr_plane cmr_planes[CMR_N_PLANES];

/* Makes locks and tables of a plane on first use. */
enum cmr_status cmr_plane_init(enum cmr_plane_id id, struct cmr_error *err) CMR_CHECKED;

/* A region that is not yet started; NULL on memory refusal. Storage is reused. */
struct cmr_region *cmr_region_new(const struct cmr_region_options *options);

/* Frees a region; stops it first if it is open. */
void cmr_region_free(struct cmr_region *region);

/* Takes a slot, begins to count. CMR_TOO_MANY: 16 regions are open, or no tag can be had. */
enum cmr_status cmr_region_open(struct cmr_region *region, struct cmr_error *err) CMR_CHECKED;

/* Fixes peak, total, count and peak shares; live blocks go on to be tracked. Safe to repeat. */
void cmr_region_seal(struct cmr_region *region);

/* Leaves the slot. Seals first. */
void cmr_region_close(struct cmr_region *region);

/* Recomputes VIEW of the calling thread for the plane's present configuration: tag, exact, period,
 * a fresh countdown. Sets thread->root. Slow path of the hot test `view->config != plane->config`. */
void cmr_region_refresh(struct cmr_plane *plane, struct cmr_thread *thread);

/* Bookings. `size` bytes; `located` blocks also book WEIGHT on their location. They take the ledger
 * lock once. [hot] [nomalloc] */
void cmr_region_add(struct cmr_plane *plane, const struct cmr_block *block,
		    const struct cmr_thread *thread);
void cmr_region_sub(struct cmr_plane *plane, const struct cmr_block *block);
/* A mapping that was trimmed, split or unmapped: BYTES less, BLOCKS (-1, 0, +1) more mappings. */
void cmr_region_trim(struct cmr_plane *plane, const struct cmr_block *block, int blocks);
/* Mappings apart: DELTA bytes of CLASS for the regions of TAG. */
void cmr_region_apart(struct cmr_plane *plane, unsigned tag, enum cmr_range_class class,
		      int64_t delta);
/* A block older than the regions of TAG was resized to BYTES. */
void cmr_region_resized_old(struct cmr_plane *plane, unsigned tag, uint64_t bytes);

/* Bytes that a sampled block of SIZE stands for: SIZE / (1 - exp(-SIZE / P)), rounded once. */
uint64_t cmr_sample_weight(uint64_t size, unsigned period_log2);

/* An exponential draw with mean 1 << PERIOD_LOG2 bytes, at least 1. */
int64_t cmr_sample_draw(uint64_t *random, unsigned period_log2);

/* In the child of a fork: nothing is open any more. */
void cmr_regions_after_fork(void);

#endif
