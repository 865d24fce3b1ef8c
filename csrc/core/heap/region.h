/* Regions, and the tags that say which regions a block belongs to.
 *
 * A tag names a SET of regions (with, for each, whether the allocating thread is older than it), not
 * a region: a block stores one tag, whatever number of regions are open. When a region ends, its bit
 * disappears from all tags; when one starts, threads get new tags for what they allocate from then
 * on. Threads learn of it by comparing a configuration number on their next event.
 *
 *   plane ── config, lock ── tags[64] ── {regions, old, exact}       (heap/tags.h)
 *     ├── slots[16] ── ledger, usages, options of one open region    (heap/booking.h)
 *     ├── blocks
 *     └── ranges, by basis
 *
 * Opening and closing are serialised by the caller (session.h holds its lock). */
#ifndef CMR_HEAP_REGION_H
#define CMR_HEAP_REGION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "heap/ledger.h"
#include "heap/usage.h"
#include "os/biased.h"
#include "os/losses.h"
#include "os/status.h"
#include "os/thread.h"
#include "table/blocks.h"
#include "table/ranges.h"

#define CMR_MAX_REGIONS 16

enum cmr_basis { CMR_BASIS_REQUESTED = 0, CMR_BASIS_SYSTEM = 1, CMR_N_BASES = 2 };
enum cmr_scope { CMR_SCOPE_ALL = 0, CMR_SCOPE_TEST = 1, CMR_SCOPE_CURRENT = 2 };

struct cmr_region_options {
	enum cmr_basis basis;
	bool trace_python;   /* basis system with the interpreter's allocator domains */
	bool exact;          /* every block with its location */
	uint64_t max_period; /* budgeted: largest period that live bytes ask for; a power of two */
	/* Budgeted: the period to begin with, a power of two; at most max_period is used. 0 or 1: every
	 * block has its location until the peak outgrows that. */
	uint64_t first_period;
	enum cmr_scope scope;
	uint64_t seed;
	const void *root; /* frame of the calling thread that outlives the region, or NULL */
};

/* Bytes that stand apart from the peak, by class of mapping (table/ranges.h). */
struct cmr_apart {
	uint64_t mapped[CMR_N_RANGE_CLASSES]; /* largest sum seen */
	uint64_t current[CMR_N_RANGE_CLASSES];
};

/* What one thread older than the region allocated in it (freed or not). */
struct cmr_old_thread {
	int32_t native_id;
	uint64_t bytes, blocks;
};
#define CMR_MAX_OLD_THREADS 8 /* the last entry sums up the rest, native_id 0 */

/* One region. Made by cmr_region_new, its slot in a plane taken by open and left by close; numbers
 * stay readable until cmr_region_free. Fields are protected by the plane's ledger lock; `options`
 * and `plane` never change. */
struct cmr_region {
	struct cmr_ledger ledger;
	struct cmr_usages usages;
	struct cmr_region_options options;
	enum cmr_plane_id plane;
	int slot;             /* index in plane->slots; -1 when not open */
	bool started, stopped;
	uint8_t period_log2;  /* that this region asks for: the sum of the two parts below */
	uint8_t sampled_log2; /* largest that was in use while it was open */
	uint32_t opener;      /* ordinal of the thread that opened it */
	uint32_t samples;     /* taken since the period last changed */
	uint8_t base_log2, extra_log2; /* the period's parts: by need, and while nothing is at stake */
	uint64_t extra_mark;  /* live bytes at which the second part is looked at again */
	uint32_t largest_location; /* of the largest block that was sampled; 0 = none */
	uint64_t largest_located;  /* its size */
	uint64_t stamp;       /* cmr_thread_stamp() of the start */
	uint64_t old_current, old_blocks; /* live blocks of older threads */
	uint64_t old_at_peak;             /* what of the peak they held */
	uint64_t own_peak;                /* high water mark of all other blocks */
	uint64_t resized_old;             /* new bytes of resized blocks older than the region */
	struct cmr_old_thread old_threads[CMR_MAX_OLD_THREADS];
	struct cmr_apart apart;
	uint64_t resident[CMR_N_RANGE_CLASSES]; /* bytes of those in memory (session/resident.h) */
	struct cmr_losses losses_at_start, losses; /* `losses`: from start to stop; hooks: from load */
	struct cmr_region *next_free;              /* protected by the lock of region.c */
};

struct cmr_tag {
	struct cmr_region *only; /* when it is the only one and not older: the fast case */
	uint16_t regions;        /* bit per slot: counted there */
	uint16_t old;            /* bit per slot: by a thread older than that region */
	bool exact;              /* every block carries its location */
	bool used;               /* some entry of the tables may carry it */
	bool retired;            /* no longer given to threads: about to be merged or dropped */
};

struct cmr_plane {
	/* Read on every event, written when a region starts or ends and when the period changes. */
	_Atomic uint32_t config; /* see above; 0 = no tables yet */
	enum cmr_plane_id id;
	struct cmr_blocks blocks;
	struct cmr_tag tags[CMR_N_TAGS]; /* lock */

	/* Written on every event. */
	struct cmr_biased lock __attribute__((aligned(64))); /* CMR_RANK_LEDGER */

	struct cmr_region *slots[CMR_MAX_REGIONS] __attribute__((aligned(64))); /* lock, and below */
	uint16_t open;               /* bit per slot */
	uint16_t bases[CMR_N_BASES]; /* bit per slot: open, of that basis */
	bool exact;                  /* some open region wants exact */
	uint8_t period_log2;         /* in use: the smallest of all open regions */
	uint64_t seed;               /* of the countdowns of the present configuration */
	struct cmr_ranges ranges[CMR_N_BASES]; /* own locks */
};

extern struct cmr_plane cmr_planes[CMR_N_PLANES];

/* Takes the ledger lock; the return value is for cmr_plane_leave. Who opened the region that came
 * last owns it. [hot] */
static inline struct cmr_seat *cmr_plane_enter(struct cmr_plane *plane)
{
	struct cmr_thread *self = cmr_tls.self;

	if (__builtin_expect(self == 0, 0)) {
		cmr_biased_take_slow(&plane->lock, 0);
		return 0;
	}
	return cmr_biased_take(&plane->lock, &self->view[plane->id].seat);
}

static inline void cmr_plane_leave(struct cmr_plane *plane, struct cmr_seat *held)
{
	cmr_biased_drop(&plane->lock, held);
}

/* Plane that a region with OPTIONS belongs to. */
static inline enum cmr_plane_id cmr_region_plane(const struct cmr_region_options *options)
{
	return options->basis == CMR_BASIS_SYSTEM && !options->trace_python ? CMR_PLANE_SYSTEM
									    : CMR_PLANE_OUTER;
}

/* Makes locks and tables of a plane on first use. Serialised by the caller. */
enum cmr_status cmr_plane_init(enum cmr_plane_id id, struct cmr_error *err) CMR_CHECKED;

/* A region that is not yet started; NULL on memory refusal. Storage is reused. */
struct cmr_region *cmr_region_new(const struct cmr_region_options *options);

/* Frees a region (NULL: nothing); closes it first if it is open. */
void cmr_region_free(struct cmr_region *region);

/* Takes a slot, begins to count. Forgets all locations first when there are many and no region that has
 * begun is left that needs them. CMR_TOO_MANY: 16 regions are open, or no tag can be had because
 * some thread has been inside an allocator call for long. CMR_STATE: opened before. */
enum cmr_status cmr_region_open(struct cmr_region *region, struct cmr_error *err) CMR_CHECKED;

/* Fixes peak, total, count, peak shares and all else but what is live, which goes on. O(1). Safe to
 * repeat. */
void cmr_region_seal(struct cmr_region *region);

/* Leaves the slot. Seals first. Does not wait for events in flight: they find that their tag names
 * this region no more. Safe to repeat. */
void cmr_region_close(struct cmr_region *region);

/* Recomputes VIEW of the calling thread for the plane's present configuration: tag, exact, period,
 * a fresh countdown. Sets thread->root. Slow path of the hot test `view->config != plane->config`.
 * No tag left: the thread's blocks are not counted, a `blocks` loss says so. [nomalloc] */
void cmr_region_refresh(struct cmr_plane *plane, struct cmr_thread *thread);

/* Live bytes of REGION have grown past what its sampling period is good for. Lock held. */
void cmr_region_rise_locked(struct cmr_plane *plane, struct cmr_region *region);

/* BLOCK is one more sample of REGION: so many of one period are enough, else a program that allocates
 * and frees without end under a small peak would pay for each block. Keeps the largest one's location,
 * for a peak that no sample is left of. Lock held. [hot] */
#define CMR_SAMPLES_PER_PERIOD 2048
void cmr_region_enough_locked(struct cmr_plane *plane, struct cmr_region *region);
void cmr_region_higher_locked(struct cmr_plane *plane, struct cmr_region *region);
static inline void cmr_region_sampled_locked(struct cmr_plane *plane, struct cmr_region *region,
					     const struct cmr_block *block)
{
	if (__builtin_expect(block->size > region->largest_located, 0)) {
		region->largest_located = block->size;
		region->largest_location = block->location;
	}
	if (__builtin_expect(cmr_ledger_current(&region->ledger) > region->extra_mark, 0))
		cmr_region_higher_locked(plane, region);
	if (__builtin_expect(++region->samples >= CMR_SAMPLES_PER_PERIOD, 0))
		cmr_region_enough_locked(plane, region);
}

/* Gives THREAD, if it owns the ledger lock and what it allocates counts for one region and nothing
 * else, a pass for events that change its plain numbers only (and in exact mode those of a location):
 * the tag of its blocks, as in a granule. Every change of configuration takes it away. Lock held. */
void cmr_region_arm_locked(struct cmr_plane *plane, struct cmr_thread *thread);

/* Exact numbers of a region, for the moment or final. Sizes in bytes. */
struct cmr_totals {
	uint64_t current, current_blocks, peak, peak_blocks, total, count;
	uint64_t period; /* largest sampling period in use while open; 1 = every block located */
	uint64_t own_peak, old_at_peak, resized_old, largest;
	uint64_t old_current, old_blocks;
	uint64_t largest_located; /* largest of the blocks that were sampled, and where: 0 = none */
	uint32_t largest_location;
	struct cmr_losses losses; /* from the start (hooks: from load) until now or the stop */
	bool exact;               /* no share of a location is an estimate */
};
void cmr_region_totals(const struct cmr_region *region, struct cmr_totals *out);

/* Copies of the other numbers, taken under the lock. OUT_THREADS has CMR_MAX_OLD_THREADS entries;
 * returns how many are used. */
unsigned cmr_region_old_threads(const struct cmr_region *region,
				struct cmr_old_thread *out_threads);
void cmr_region_apart(const struct cmr_region *region, struct cmr_apart *out);

/* Region objects that are not freed. */
unsigned cmr_regions_alive(void);

/* In the child of a fork: nothing is open any more; locks are new; entries of the tables that other
 * threads were changing at that moment are given up. */
void cmr_regions_after_fork(void);

#endif
