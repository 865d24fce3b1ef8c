/* What regions make of the configuration of their plane: tags, losses, roots, periods, storage. */
#include "cmr_test.h"

#include "heap/tags.h"
#include "os/memory.h"
#include "region_rig.h"

CMR_TEST(no_tag_left_is_a_loss)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ 0 });
	struct cmr_plane *plane = &cmr_planes[OUTER];

	for (unsigned t = 1; t < CMR_N_TAGS; t++)
		plane->tags[t].used = plane->tags[t].retired = true;
	alloc(1, 10);
	CHECK_EQ_U64(totals(r).current, 0);
	CHECK_EQ_U64(totals(r).losses.blocks, 1);
	cmr_region_close(r);
	CHECK_EQ_U64(totals(r).losses.blocks, 1);
	cmr_region_free(r);
	r = open_with((struct cmr_region_options){ 0 }); /* all are found to be empty */
	alloc(1, 10);
	CHECK_EQ_U64(totals(r).current, 10);
	CHECK_EQ_U64(totals(r).losses.blocks, 0);
	cmr_region_free(r);
}

/* Objects whose calls cannot be seen make every later region incomplete; other losses do not. */
CMR_TEST(losses_of_earlier_regions_are_not_ours)
{
	struct cmr_region *r;

	cmr_lose(CMR_LOSS_blocks);
	cmr_lose(CMR_LOSS_hooks);
	r = open_with((struct cmr_region_options){ 0 });
	CHECK_EQ_U64(totals(r).losses.blocks, 0);
	CHECK_EQ_U64(totals(r).losses.hooks, 1);
	cmr_lose(CMR_LOSS_stacks);
	CHECK_EQ_U64(totals(r).losses.stacks, 1);
	cmr_region_close(r);
	cmr_lose(CMR_LOSS_stacks);
	CHECK_EQ_U64(totals(r).losses.stacks, 1);
	CHECK_EQ_U64(totals(r).losses.hooks, 1);
	cmr_region_free(r);
}

static bool refuse(size_t bytes)
{
	(void)bytes;
	return false;
}

static int allowed;

static bool allow_some(size_t bytes)
{
	(void)bytes;
	return allowed-- > 0;
}

CMR_TEST(storage_is_used_again)
{
	size_t mapped;

	cmr_region_free(open_with((struct cmr_region_options){ 0 }));
	mapped = cmr_memory_mapped();
	for (unsigned i = 0; i < 10; i++)
		cmr_region_free(open_with((struct cmr_region_options){ 0 }));
	CHECK_EQ_U64(cmr_memory_mapped(), mapped);
}

CMR_TEST(refused_memory_is_an_error_of_the_start)
{
	struct cmr_region_options options = { 0 };
	struct cmr_region *have[40];
	unsigned n = 0;

	rig_begin();
	/* Use up what is kept for reuse. */
	cmr_memory_set_gatekeeper(refuse);
	while (n < 40 && (have[n] = cmr_region_new(&options)) != NULL)
		n++;
	CHECK(n < 40);
	CHECK_EQ_U64(cmr_regions_alive(), n);
	allowed = 1; /* the region, but not its table of locations */
	cmr_memory_set_gatekeeper(allow_some);
	CHECK(cmr_region_new(&options) == NULL);
	CHECK_EQ_U64(cmr_regions_alive(), n);
	allowed = 1; /* the first is kept for the next time */
	have[n] = cmr_region_new(&options);
	CHECK(have[n] != NULL);
	n++;
	cmr_memory_set_gatekeeper(NULL);
	while (n > 0)
		cmr_region_free(have[--n]);
	CHECK_EQ_U64(cmr_regions_alive(), 0);
}

CMR_TEST(the_root_is_that_of_the_outermost_region)
{
	static int frame_a, frame_b;
	struct cmr_region *a, *b, *c;
	struct cmr_thread *self;

	a = open_with((struct cmr_region_options){ .root = &frame_a });
	self = cmr_thread_self();
	alloc(1, 1);
	CHECK_EQ_PTR(self->root, &frame_a);
	b = open_with((struct cmr_region_options){ .root = &frame_b, .basis = CMR_BASIS_SYSTEM });
	c = open_with((struct cmr_region_options){ .root = NULL });
	alloc(2, 1);
	CHECK_EQ_PTR(self->root, &frame_a);
	cmr_region_free(a);
	cmr_on_alloc(CMR_PLANE_SYSTEM, BASE, 1, CMR_KIND_MALLOC);
	CHECK_EQ_PTR(self->root, &frame_b);
	cmr_region_free(b);
	alloc(3, 1);
	CHECK_EQ_PTR(self->root, NULL);
	cmr_region_free(c);
}

/* A root is that of the thread that opened the region, in the events of both planes. */
CMR_TEST(a_root_is_one_threads_in_both_planes)
{
	static int frame_a, frame_b;
	struct cmr_region *others, *own;
	struct cmr_thread *self;
	uint32_t ordinal;

	rig_begin();
	self = cmr_thread_self();
	ordinal = self->ordinal;
	self->ordinal = 1000000; /* somebody else */
	others = open_with((struct cmr_region_options){ .root = &frame_a });
	self->ordinal = ordinal;
	alloc(1, 1);
	CHECK_EQ_PTR(self->root, NULL);
	own = open_with((struct cmr_region_options){ .root = &frame_b, .basis = CMR_BASIS_SYSTEM });
	alloc(2, 1);
	CHECK_EQ_PTR(self->root, &frame_b);
	cmr_region_free(own);
	alloc(3, 1);
	CHECK_EQ_PTR(self->root, NULL);
	cmr_region_free(others);
}

/* When nobody holds a region, many stacks are forgotten; else they stay. */
CMR_TEST(locations_are_forgotten_when_nobody_needs_them)
{
	struct cmr_region_options options = { .exact = true };
	struct cmr_region *r = open_with(options);
	cmr_node_id node = 0;

	for (unsigned i = 0; i < (1u << 18) + 10; i++)
		node = cmr_nodes_child(0, 1, (int32_t)(i % FAKE_UNITS + (i / FAKE_UNITS << 12)));
	CHECK(node != 0);
	cmr_region_free(cmr_region_new(&options));
	CHECK(cmr_nodes_count() > 1u << 18);
	cmr_region_free(r);
	r = open_with(options);
	CHECK_EQ_U64(cmr_nodes_count(), 0);
	alloc(1, 10);
	CHECK_EQ_U64(totals(r).current, 10);
	CHECK_EQ_U64(totals(r).losses.stacks, 0);
	cmr_region_free(r);
}

/* Half of what is of interest is 256 KiB here. Below that the period is four times as long. */
CMR_TEST(a_first_period_spares_small_peaks_their_locations)
{
	struct cmr_region *r = open_with(
		(struct cmr_region_options){ .max_period = 1024, .first_period = 256 });
	struct cmr_plane *plane = &cmr_planes[OUTER];

	CHECK_EQ_U64(plane->period_log2, 10);
	CHECK(!totals(r).exact);
	alloc(1, 256 << 10);
	CHECK_EQ_U64(plane->period_log2, 10);
	alloc(2, 64 * 1024); /* certain to be a sample, which is when the period is looked at */
	CHECK_EQ_U64(plane->period_log2, 8);
	alloc(3, 192 << 10);
	CHECK_EQ_U64(plane->period_log2, 9);
	CHECK_EQ_U64(totals(r).period, 1024);
	CHECK_EQ_U64(totals(r).peak, 512 << 10);
	cmr_region_free(r);
	r = open_with((struct cmr_region_options){ .max_period = 64, .first_period = 256 });
	CHECK_EQ_U64(plane->period_log2, 8);
	alloc(1, (64 << 10) + 1);
	alloc(2, 64 * 256);
	CHECK_EQ_U64(plane->period_log2, 6);
	cmr_region_free(r);
	r = open_with((struct cmr_region_options){
		.exact = true, .max_period = 64, .first_period = 64 });
	CHECK_EQ_U64(plane->period_log2, 0);
	CHECK(totals(r).exact);
	cmr_region_free(r);
}

CMR_TEST(periods_follow_live_bytes)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ .max_period = 1024 });
	struct cmr_plane *plane = &cmr_planes[OUTER];
	struct cmr_region *inner;

	alloc(1, 2047);
	CHECK_EQ_U64(plane->period_log2, 0);
	CHECK(totals(r).exact);
	alloc(2, 1);
	CHECK_EQ_U64(plane->period_log2, 1);
	CHECK_EQ_U64(totals(r).period, 2);
	CHECK(!totals(r).exact);
	alloc(3, 100000);
	CHECK_EQ_U64(plane->period_log2, 6);
	inner = open_with((struct cmr_region_options){ .exact = true });
	CHECK_EQ_U64(plane->period_log2, 0);
	CHECK(totals(inner).exact);
	CHECK_EQ_U64(totals(r).period, 64);
	alloc(6, 1);
	CHECK_EQ_U64(cmr_thread_self()->view[OUTER].period_log2, 0);
	cmr_region_free(inner);
	CHECK_EQ_U64(plane->period_log2, 6);
	alloc(5, 1);
	CHECK_EQ_U64(cmr_thread_self()->view[OUTER].period_log2, 6);
	alloc(4, (size_t)1 << 40);
	CHECK_EQ_U64(plane->period_log2, 10);
	release(4); /* it does not come down again */
	CHECK_EQ_U64(plane->period_log2, 10);
	CHECK_EQ_U64(totals(r).largest, (uint64_t)1 << 40);
	cmr_region_free(r);
}

CMR_TEST(in_a_forked_child_nothing_is_open)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ .exact = true }), *next;

	alloc(1, 100);
	cmr_regions_after_fork(); /* as the child's handler calls it */
	CHECK_EQ_U64(cmr_planes[OUTER].open, 0);
	CHECK_EQ_U64(totals(r).peak, 100);
	CHECK(r->stopped);
	next = open_with((struct cmr_region_options){ .exact = true });
	release(1);
	CHECK_EQ_U64(totals(next).current_blocks, 0);
	alloc(2, 30);
	CHECK_EQ_U64(totals(next).current, 30);
	cmr_region_close(r);
	alloc(3, 5);
	CHECK_EQ_U64(totals(next).current, 35);
	cmr_region_free(r);
	alloc(4, 5);
	CHECK_EQ_U64(totals(next).current, 40);
	cmr_region_free(next);
}
