#include "heap/region.h"

#include <stddef.h>
#include <string.h>

#include "heap/location.h"
#include "heap/sampling.h"
#include "heap/tags.h"
#include "os/memory.h"
#include "os/random.h"

/* Live bytes per period: so many samples or more make up the peak. */
#define SAMPLES_LOG2 11

/* By so many doublings more may the period grow while a program allocates and frees without end below a
 * peak that it has reached: an eighth of the samples is left of blocks that stay from such a time. When
 * live bytes rise to a new height, the period comes back. */
#define CHURN_LOG2 3

/* And by so many while live bytes are less than half of what is of interest: of a peak that gets there,
 * less than half can be from that time, so that its samples are worth 820 or more of the 2048. */
#define FAR_LOG2 2

/* Stacks that are let stand when nobody needs them any more. Few enough that the sets stay in the
 * cache of a processor core, since a test meets little more than its own; enough that to copy names
 * and line tables again does not matter. */
#define MANY_NODES (1u << 13)

struct cmr_plane cmr_planes[CMR_N_PLANES];

/* Regions that are free, and how many are not. */
static struct cmr_lock regions_lock = CMR_LOCK(CMR_RANK_SESSION);
static struct cmr_region *free_regions; /* protected by regions_lock */
static unsigned n_alive;                /* protected by regions_lock */
/* How many of these have begun: they need the locations. Rises only where opening is serialised. */
static _Atomic unsigned n_started;

/* Frames below which stacks are of no interest, by plane and slot. */
static struct cmr_lock roots_lock = CMR_LOCK(CMR_RANK_LEAF);
static struct {
	bool open;
	uint32_t opener; /* ordinal */
	uint64_t stamp;
	const void *root;
} roots[CMR_N_PLANES][CMR_MAX_REGIONS]; /* protected by roots_lock */

enum cmr_status cmr_plane_init(enum cmr_plane_id id, struct cmr_error *err)
{
	struct cmr_plane *plane = &cmr_planes[id];
	enum cmr_status status = cmr_blocks_init(&plane->blocks, err);

	if (status != CMR_OK || atomic_load_explicit(&plane->config, memory_order_relaxed) != 0)
		return status;
	plane->id = id;
	plane->lock = (struct cmr_biased)CMR_BIASED(CMR_RANK_LEDGER);
	for (unsigned b = 0; b < CMR_N_BASES; b++)
		cmr_ranges_init(&plane->ranges[b]);
	cmr_tags_publish_locked(plane);
	return CMR_OK;
}

/* log2 of a power of two, at most the largest period there is. */
static uint8_t log2_of(uint64_t power)
{
	int log2 = power > 1 ? 63 - __builtin_clzll(power) : 0;

	return (uint8_t)(log2 < CMR_MAX_PERIOD_LOG2 ? log2 : CMR_MAX_PERIOD_LOG2);
}

static uint8_t max_period_log2(const struct cmr_region *region)
{
	return region->options.exact ? 0 : log2_of(region->options.max_period);
}

static uint8_t first_period_log2(const struct cmr_region *region)
{
	uint8_t first = log2_of(region->options.first_period), most = max_period_log2(region);

	return first < most ? first : most;
}

/* Live bytes below which a region that says from where on locations are of interest is far from there:
 * half of it. */
static uint64_t far_mark(const struct cmr_region *region)
{
	uint8_t first = first_period_log2(region);

	return first != 0 ? (uint64_t)1 << (SAMPLES_LOG2 - 1 + first) : 0;
}

/* The period of a region with HIGH live bytes that nothing else asks to be larger. */
static void settle_extra(struct cmr_region *region, uint64_t high)
{
	uint64_t mark = far_mark(region);

	region->extra_log2 = high < mark ? FAR_LOG2 : 0;
	region->extra_mark = high < mark ? mark : UINT64_MAX;
}

/* --- storage -------------------------------------------------------------------------------- */

/* Nobody needs a location any more: begin anew when there are many. */
static void forget_locations(void)
{
	if (cmr_nodes_count() < MANY_NODES && cmr_locations_count() < MANY_NODES)
		return;
	if (cmr_thread_quiesce(CMR_PLANE_OUTER) && cmr_thread_quiesce(CMR_PLANE_SYSTEM))
		cmr_locations_reset();
}

struct cmr_region *cmr_region_new(const struct cmr_region_options *options)
{
	struct cmr_region *region;

	cmr_lock_take(&regions_lock);
	region = free_regions;
	if (region != NULL)
		free_regions = region->next_free;
	else
		region = cmr_memory_map(sizeof *region);
	if (region != NULL && !cmr_usages_init(&region->usages)) {
		region->next_free = free_regions;
		free_regions = region;
		region = NULL;
	}
	if (region != NULL)
		n_alive++;
	cmr_lock_drop(&regions_lock);
	if (region == NULL)
		return NULL;

	*region = (struct cmr_region){ .usages = region->usages,
				       .options = *options,
				       .plane = cmr_region_plane(options),
				       .slot = -1 };
	region->base_log2 = first_period_log2(region);
	settle_extra(region, 0);
	cmr_ledger_clear(&region->ledger);
	cmr_usages_restart(&region->usages);
	return region;
}

void cmr_region_free(struct cmr_region *region)
{
	if (region == NULL)
		return;
	cmr_region_close(region);
	cmr_lock_take(&regions_lock);
	region->next_free = free_regions;
	free_regions = region;
	n_alive--;
	if (region->started)
		atomic_fetch_sub_explicit(&n_started, 1, memory_order_relaxed);
	cmr_lock_drop(&regions_lock);
}

unsigned cmr_regions_alive(void)
{
	unsigned n;

	cmr_lock_take(&regions_lock);
	n = n_alive;
	cmr_lock_drop(&regions_lock);
	return n;
}

/* --- configuration -------------------------------------------------------------------------- */

/* Recomputes what follows from the set of open regions. True when threads must learn of it. */
static bool retune_locked(struct cmr_plane *plane)
{
	uint8_t period = CMR_MAX_PERIOD_LOG2;
	bool exact = false, changed;

	for (unsigned s = 0; s < CMR_MAX_REGIONS; s++) {
		const struct cmr_region *region = plane->slots[s];

		if (region == NULL)
			continue;
		exact |= region->options.exact;
		if (region->period_log2 < period)
			period = region->period_log2;
	}
	changed = exact != plane->exact || period != plane->period_log2;
	plane->exact = exact;
	plane->period_log2 = period;
	for (unsigned s = 0; s < CMR_MAX_REGIONS; s++) {
		struct cmr_region *region = plane->slots[s];

		if (region != NULL && region->sampled_log2 < period)
			region->sampled_log2 = period;
	}
	return changed;
}

/* New countdowns for all threads, drawn from SEED and what was before. */
static void reseed_locked(struct cmr_plane *plane, uint64_t seed)
{
	plane->seed += seed;
	cmr_tags_publish_locked(plane);
}

/* The period follows from its two parts. */
static void add_period(struct cmr_region *region)
{
	region->period_log2 = (uint8_t)(region->base_log2 + region->extra_log2);
	region->ledger.rise_log2 = CMR_NEVER_RISES;
	if (region->base_log2 < max_period_log2(region))
		region->ledger.rise_log2 = (uint8_t)(SAMPLES_LOG2 + region->base_log2);
	region->samples = 0;
}

static void set_period_locked(struct cmr_plane *plane, struct cmr_region *region)
{
	add_period(region);
	if (retune_locked(plane))
		reseed_locked(plane, 0);
}

void cmr_region_rise_locked(struct cmr_plane *plane, struct cmr_region *region)
{
	while (cmr_ledger_current(&region->ledger) >> (SAMPLES_LOG2 + region->base_log2) != 0 &&
	       region->base_log2 < max_period_log2(region))
		region->base_log2++;
	set_period_locked(plane, region);
}

void cmr_region_enough_locked(struct cmr_plane *plane, struct cmr_region *region)
{
	const struct cmr_ledger *l = &region->ledger;
	uint64_t high = cmr_ledger_current(l);

	if (high < l->peak)
		high = l->peak;
	if (region->base_log2 < max_period_log2(region)) {
		region->base_log2++;
	} else if (region->extra_log2 < CHURN_LOG2) {
		region->extra_log2++;
		region->extra_mark = high + high / 8;
	}
	set_period_locked(plane, region);
}

void cmr_region_higher_locked(struct cmr_plane *plane, struct cmr_region *region)
{
	settle_extra(region, cmr_ledger_current(&region->ledger));
	set_period_locked(plane, region);
}

/* --- open and close ------------------------------------------------------------------------- */

static void set_root(const struct cmr_region *region, bool open)
{
	cmr_lock_take(&roots_lock);
	roots[region->plane][region->slot].open = open;
	roots[region->plane][region->slot].opener = region->opener;
	roots[region->plane][region->slot].stamp = region->stamp;
	roots[region->plane][region->slot].root = region->options.root;
	cmr_lock_drop(&roots_lock);
}

/* A root concerns the stacks of both planes. */
static void publish_root(const struct cmr_region *region)
{
	struct cmr_plane *other = &cmr_planes[CMR_N_PLANES - 1 - region->plane];

	if (region->options.root == NULL ||
	    atomic_load_explicit(&other->config, memory_order_relaxed) == 0)
		return;
	struct cmr_seat *held = cmr_plane_enter(other);
	cmr_tags_publish_locked(other);
	cmr_plane_leave(other, held);
}

/* The root that the longest open region of this thread gave: stacks of regions inside it are cut at
 * the same frame, so that one place has one location. */
static const void *root_of(const struct cmr_thread *thread)
{
	const void *root = NULL;
	uint64_t first = UINT64_MAX;

	cmr_lock_take(&roots_lock);
	for (unsigned p = 0; p < CMR_N_PLANES; p++) {
		for (unsigned s = 0; s < CMR_MAX_REGIONS; s++) {
			if (!roots[p][s].open || roots[p][s].opener != thread->ordinal ||
			    roots[p][s].stamp > first)
				continue;
			first = roots[p][s].stamp;
			root = roots[p][s].root;
		}
	}
	cmr_lock_drop(&roots_lock);
	return root;
}

/* Takes the free SLOT; from here on events are booked. */
static void enter(struct cmr_plane *plane, struct cmr_region *region, int slot,
		  struct cmr_thread *self)
{
	uint64_t seed = region->options.seed;

	region->opener = self->ordinal;
	region->stamp = cmr_thread_stamp();
	region->started = true;
	region->slot = slot;
	cmr_losses_read(&region->losses_at_start);
	region->losses_at_start.hooks = 0; /* an object that was not patched then is not now */
	region->losses_at_start.replaced -=
		atomic_load_explicit(&cmr_loss_replaced_now, memory_order_relaxed);
	set_root(region, true);

	cmr_biased_take_slow(&plane->lock, &self->view[plane->id].seat);
	cmr_biased_own(&plane->lock, &self->view[plane->id].seat);
	if (plane->open == 0)
		plane->seed = 0; /* draws depend on nothing that was before */
	plane->slots[slot] = region;
	plane->open |= (uint16_t)(1u << slot);
	plane->bases[region->options.basis] |= (uint16_t)(1u << slot);
	add_period(region);
	(void)retune_locked(plane);
	reseed_locked(plane, seed);
	cmr_biased_drop(&plane->lock, NULL);
	publish_root(region);
}

enum cmr_status cmr_region_open(struct cmr_region *region, struct cmr_error *err)
{
	struct cmr_plane *plane = &cmr_planes[region->plane];
	struct cmr_thread *self = cmr_thread_self();
	enum cmr_status status;
	int slot = 0;

	if (region->started)
		return cmr_fail(err, CMR_STATE, 0, "this measurement was started before");
	if (self == NULL)
		return cmr_fail(err, CMR_NO_MEMORY, 0, "no memory for the calling thread's state");
	status = cmr_plane_init(region->plane, err);
	if (status != CMR_OK)
		return status;
	while (slot < CMR_MAX_REGIONS && plane->slots[slot] != NULL)
		slot++;
	if (slot == CMR_MAX_REGIONS)
		return cmr_fail(err, CMR_TOO_MANY, 0, "16 measurements are running already");
	if (atomic_load_explicit(&n_started, memory_order_relaxed) == 0)
		forget_locations();
	if (!cmr_tags_tidy(plane))
		return cmr_fail(err, CMR_TOO_MANY, 0,
				"too many combinations of measurements have live blocks, or a "
				"thread has been inside an allocator call for very long");
	atomic_fetch_add_explicit(&n_started, 1, memory_order_relaxed);
	enter(plane, region, slot, self);
	return CMR_OK;
}

static void seal_locked(struct cmr_region *region)
{
	struct cmr_ledger *l = &region->ledger;

	if (l->sealed)
		return;
	cmr_biased_no_pass(&cmr_planes[region->plane].lock);
	/* The peak may be now: then its epoch ends here. */
	if (cmr_ledger_edge(l))
		region->old_at_peak = region->old_current;
	if (!l->old_threads)
		region->own_peak = l->peak;
	l->sealed = true;
}

void cmr_region_seal(struct cmr_region *region)
{
	struct cmr_plane *plane = &cmr_planes[region->plane];

	if (!region->started || region->stopped)
		return;
	struct cmr_seat *held = cmr_plane_enter(plane);
	seal_locked(region);
	cmr_plane_leave(plane, held);
}

static void losses_since(const struct cmr_losses *before, struct cmr_losses *out)
{
	cmr_losses_read(out);
#define X(name) out->name -= before->name;
	CMR_LOSS_LIST(X)
#undef X
}

void cmr_region_close(struct cmr_region *region)
{
	struct cmr_plane *plane = &cmr_planes[region->plane];
	uint16_t bit;

	if (region->slot < 0)
		return;
	bit = (uint16_t)(1u << region->slot);
	set_root(region, false);
	struct cmr_seat *held = cmr_plane_enter(plane);
	seal_locked(region);
	cmr_tags_leave_locked(plane, bit);
	plane->slots[region->slot] = NULL;
	plane->open &= (uint16_t)~bit;
	plane->bases[region->options.basis] &= (uint16_t)~bit;
	(void)retune_locked(plane);
	reseed_locked(plane, 0);
	losses_since(&region->losses_at_start, &region->losses);
	region->slot = -1;
	region->stopped = true;
	cmr_plane_leave(plane, held);
	publish_root(region);
}

/* --- threads -------------------------------------------------------------------------------- */

static bool sees(const struct cmr_region *region, const struct cmr_thread *thread)
{
	if (thread->ordinal == region->opener || region->options.scope == CMR_SCOPE_ALL)
		return true;
	return region->options.scope == CMR_SCOPE_TEST && thread->birth > region->stamp;
}

static bool older(const struct cmr_region *region, const struct cmr_thread *thread)
{
	return thread->ordinal != region->opener && thread->birth < region->stamp;
}

void cmr_region_refresh(struct cmr_plane *plane, struct cmr_thread *thread)
{
	struct cmr_thread_view *view = &thread->view[plane->id];
	uint16_t regions = 0, old = 0;

	thread->root = root_of(thread);
	struct cmr_seat *held = cmr_plane_enter(plane);
	for (unsigned s = 0; s < CMR_MAX_REGIONS; s++) {
		const struct cmr_region *region = plane->slots[s];

		if (region == NULL || !sees(region, thread))
			continue;
		regions |= (uint16_t)(1u << s);
		if (older(region, thread))
			old |= (uint16_t)(1u << s);
	}
	view->config = atomic_load_explicit(&plane->config, memory_order_relaxed);
	view->exact = plane->exact;
	view->period_log2 = plane->exact ? 0 : plane->period_log2;
	view->random = cmr_mix(plane->seed ^ ((uint64_t)thread->ordinal + 1));
	view->tag = 0;
	if (regions != 0) {
		view->tag = (uint8_t)cmr_tags_find_locked(plane, regions, old, plane->exact);
		if (view->tag == 0)
			cmr_lose(CMR_LOSS_blocks);
	}
	cmr_plane_leave(plane, held);
	view->countdown = -1;
	if (view->period_log2 != 0)
		view->countdown = cmr_sample_draw(&view->random, view->period_log2) - 1;
}

void cmr_region_arm_locked(struct cmr_plane *plane, struct cmr_thread *thread)
{
	struct cmr_thread_view *view = &thread->view[plane->id];
	struct cmr_region *region = plane->tags[view->tag].only;

	if (view->config != atomic_load_explicit(&plane->config, memory_order_relaxed) ||
	    region == NULL || !cmr_ledger_plain(&region->ledger))
		return;
	view->region = region;
	cmr_biased_arm(&plane->lock, &view->seat,
		       (uint32_t)view->tag << CMR_TAG_SHIFT |
			       (view->exact ? CMR_HAS_LOCATION : 0));
}

/* --- numbers -------------------------------------------------------------------------------- */

void cmr_region_totals(const struct cmr_region *region, struct cmr_totals *out)
{
	const struct cmr_ledger *l = &region->ledger;
	struct cmr_plane *plane = &cmr_planes[region->plane];

	struct cmr_seat *held = cmr_plane_enter(plane);
	*out = (struct cmr_totals){
		.current = (int64_t)cmr_ledger_current(l) > 0 ? cmr_ledger_current(l) : 0,
		.current_blocks = cmr_ledger_blocks(l),
		.peak = l->peak,
		.peak_blocks = l->peak_blocks,
		.total = l->total,
		.count = l->count,
		.period = (uint64_t)1 << region->sampled_log2,
		.own_peak = region->own_peak,
		.old_at_peak = region->old_at_peak,
		.resized_old = region->resized_old,
		.largest = l->largest,
		.largest_located = region->largest_located,
		.largest_location = region->largest_location,
		.old_current = region->old_current,
		.old_blocks = region->old_blocks,
		.losses = region->losses,
		.exact = region->sampled_log2 == 0,
	};
	if (!l->sealed && cmr_ledger_at_peak(l)) {
		out->peak = cmr_ledger_current(l);
		out->peak_blocks = cmr_ledger_blocks(l);
		out->old_at_peak = region->old_current;
	}
	if (!l->sealed && !l->old_threads)
		out->own_peak = out->peak;
	if (region->started && !region->stopped)
		losses_since(&region->losses_at_start, &out->losses);
	cmr_plane_leave(plane, held);
}

unsigned cmr_region_old_threads(const struct cmr_region *region,
				struct cmr_old_thread *out_threads)
{
	struct cmr_plane *plane = &cmr_planes[region->plane];
	unsigned n = 0;

	struct cmr_seat *held = cmr_plane_enter(plane);
	while (n < CMR_MAX_OLD_THREADS && region->old_threads[n].blocks != 0) {
		out_threads[n] = region->old_threads[n];
		n++;
	}
	cmr_plane_leave(plane, held);
	return n;
}

void cmr_region_apart(const struct cmr_region *region, struct cmr_apart *out)
{
	struct cmr_plane *plane = &cmr_planes[region->plane];

	struct cmr_seat *held = cmr_plane_enter(plane);
	*out = region->apart;
	cmr_plane_leave(plane, held);
}

/* --- fork ----------------------------------------------------------------------------------- */

void cmr_regions_after_fork(void)
{
	regions_lock = (struct cmr_lock)CMR_LOCK(CMR_RANK_SESSION);
	roots_lock = (struct cmr_lock)CMR_LOCK(CMR_RANK_LEAF);
	memset(roots, 0, sizeof roots);
	for (unsigned p = 0; p < CMR_N_PLANES; p++) {
		struct cmr_plane *plane = &cmr_planes[p];

		if (atomic_load_explicit(&plane->config, memory_order_relaxed) == 0)
			continue;
		/* Of this thread, whether or not another was about to take the lock from it. */
		if (cmr_tls.self != NULL)
			atomic_store_explicit(&cmr_tls.self->view[p].seat.pass, 0,
					      memory_order_relaxed);
		plane->lock = (struct cmr_biased)CMR_BIASED(CMR_RANK_LEDGER);
		cmr_blocks_after_fork(&plane->blocks);
		for (unsigned b = 0; b < CMR_N_BASES; b++) {
			cmr_ranges_init(&plane->ranges[b]);
			plane->bases[b] = 0;
		}
		cmr_tags_leave_locked(plane, UINT16_MAX);
		for (unsigned s = 0; s < CMR_MAX_REGIONS; s++) {
			struct cmr_region *region = plane->slots[s];

			plane->slots[s] = NULL;
			if (region == NULL)
				continue;
			seal_locked(region);
			losses_since(&region->losses_at_start, &region->losses);
			region->slot = -1;
			region->stopped = true;
		}
		plane->open = 0;
		plane->exact = false;
		cmr_tags_publish_locked(plane);
	}
}
