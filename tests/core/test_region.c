/* Regions and tags: who counts what, what happens when numbers run out, what stays readable. */
#include "cmr_test.h"

#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

#include "region_rig.h"

CMR_TEST(numbers_stay_readable_after_close)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ .exact = true });
	struct cmr_usage_row row;

	alloc(1, 100);
	alloc(2, 50);
	release(1);
	cmr_region_close(r);
	release(2); /* nobody's business any more */
	alloc(3, 70);
	CHECK_EQ_U64(totals(r).peak, 150);
	CHECK_EQ_U64(totals(r).peak_blocks, 2);
	CHECK_EQ_U64(totals(r).current, 50);
	CHECK_EQ_U64(totals(r).current_blocks, 1);
	CHECK_EQ_U64(totals(r).total, 150);
	CHECK_EQ_U64(totals(r).count, 2);
	CHECK_EQ_U64(totals(r).own_peak, 150);
	CHECK(totals(r).exact);
	CHECK_EQ_U64(cmr_usages_rows(&r->usages, &r->ledger, true, &row, 1), 1);
	CHECK_EQ_I64(row.bytes, 150);
	CHECK_EQ_U64(cmr_usages_rows(&r->usages, &r->ledger, false, &row, 1), 1);
	CHECK_EQ_I64(row.bytes, 50);
	cmr_region_close(r);
	cmr_region_seal(r);
	CHECK_EQ_U64(totals(r).current, 50);
	cmr_region_free(r);
	cmr_region_free(NULL);
}

CMR_TEST(a_region_starts_once)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ 0 });
	struct cmr_error err;

	CHECK_EQ_I64(cmr_region_open(r, &err), CMR_STATE);
	CHECK(strlen(err.text) > 0);
	cmr_region_close(r);
	CHECK_EQ_I64(cmr_region_open(r, &err), CMR_STATE);
	cmr_region_free(r);
}

CMR_TEST(sixteen_may_be_open)
{
	struct cmr_region *r[CMR_MAX_REGIONS + 1];
	struct cmr_region_options options = { 0 };
	struct cmr_error err;

	for (int i = 0; i < CMR_MAX_REGIONS; i++)
		r[i] = open_with(options);
	r[CMR_MAX_REGIONS] = cmr_region_new(&options);
	CHECK_EQ_I64(cmr_region_open(r[CMR_MAX_REGIONS], &err), CMR_TOO_MANY);
	CHECK_EQ_U64(cmr_regions_alive(), CMR_MAX_REGIONS + 1);
	alloc(1, 10);
	for (int i = 0; i < CMR_MAX_REGIONS; i++)
		CHECK_EQ_U64(totals(r[i]).current, 10);
	cmr_region_close(r[3]);
	CHECK_EQ_I64(cmr_region_open(r[CMR_MAX_REGIONS], &err), CMR_OK);
	release(1);
	CHECK_EQ_U64(totals(r[3]).current, 10);
	CHECK_EQ_U64(totals(r[2]).current, 0);
	CHECK_EQ_U64(totals(r[CMR_MAX_REGIONS]).count, 0);
	for (int i = 0; i <= CMR_MAX_REGIONS; i++)
		cmr_region_free(r[i]);
	CHECK_EQ_U64(cmr_regions_alive(), 0);
	CHECK_EQ_U64(cmr_planes[OUTER].open, 0);
}

CMR_TEST(an_inner_region_ignores_what_is_older)
{
	struct cmr_region *outer = open_with((struct cmr_region_options){ .exact = true }), *inner;

	alloc(1, 100);
	inner = open_with((struct cmr_region_options){ .exact = true });
	release(1);
	alloc(2, 30);
	CHECK_EQ_U64(totals(inner).current, 30);
	CHECK_EQ_U64(totals(inner).peak, 30);
	CHECK_EQ_U64(totals(outer).current, 30);
	CHECK_EQ_U64(totals(outer).peak, 100);
	cmr_region_free(inner);
	release(2);
	CHECK_EQ_U64(totals(outer).current, 0);
	cmr_region_free(outer);
}

/* Every one of these regions takes a new tag for the same set; merging must keep live blocks. */
CMR_TEST(tags_are_merged_when_they_run_out)
{
	struct cmr_region *outer = open_with((struct cmr_region_options){ .exact = true });
	enum { N = 500 };

	for (unsigned i = 0; i < N; i++) {
		struct cmr_region *inner = open_with((struct cmr_region_options){ 0 });

		alloc(2 * i, 100);
		alloc(2 * i + 1, 1000);
		CHECK_EQ_U64(totals(inner).current, 1100);
		cmr_region_free(inner);
		if (i >= 200) {
			release(2 * (i - 200));
			release(2 * (i - 200) + 1);
		}
	}
	CHECK_EQ_U64(totals(outer).current, 200 * 1100);
	CHECK_EQ_U64(totals(outer).total, N * 1100);
	for (unsigned i = N - 200; i < N; i++) {
		release(2 * i);
		release(2 * i + 1);
	}
	CHECK_EQ_U64(totals(outer).current, 0);
	CHECK_EQ_U64(totals(outer).current_blocks, 0);
	CHECK_EQ_U64(totals(outer).losses.blocks, 0);
	cmr_region_free(outer);
}

CMR_TEST(with_nothing_open_tags_and_entries_are_dropped)
{
	enum { N = 300 };

	for (unsigned i = 0; i < N; i++) {
		struct cmr_region *r = open_with((struct cmr_region_options){ 0 });

		/* Blocks of an earlier region, told now: no phantoms. */
		if (i > 0)
			release(i - 1);
		CHECK_EQ_U64(totals(r).current_blocks, 0);
		alloc(i, 100 + 600 * (i % 2));
		CHECK_EQ_U64(totals(r).current_blocks, 1);
		cmr_on_map(OUTER, BASE + (uintptr_t)i * 65536, 4096, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, CMR_KIND_MMAP);
		cmr_region_free(r);
	}
	CHECK(cmr_planes[OUTER].ranges[CMR_BASIS_REQUESTED].n_items < CMR_N_TAGS);
}

/* A large block has more than one granule, of which all but the first outlive its end unseen. What is
 * there then may look like a small block with a location, where no location was ever noted. */
CMR_TEST(the_inside_of_an_earlier_large_block_is_no_block)
{
	for (int exact = 0; exact < 2; exact++) {
		struct cmr_region *r = open_with((struct cmr_region_options){ .exact = true });
		unsigned block = exact == 0 ? 0 : 1u << (CMR_LEAF_LOG2 - 10); /* a leaf of its own */

		alloc(block, 0x10200); /* bit 9, as if located, and no length that says otherwise */
		cmr_region_free(r);
		r = open_with((struct cmr_region_options){ .exact = exact != 0 });
		for (uintptr_t at = 16; at < 512; at += 16)
			cmr_on_free_hot(OUTER, BASE + (uintptr_t)block * 1024 + at);
		CHECK_EQ_U64(totals(r).current_blocks, 0);
		CHECK_EQ_U64(totals(r).current, 0);
		cmr_region_free(r);
	}
}

CMR_TEST(stale_hash_entries_do_not_pile_up)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ 0 });
	size_t entries, leaves;

	for (unsigned i = 0; i < 20000; i++) /* at odd addresses, which have no granule */
		cmr_on_alloc_hot(OUTER, BASE + 8 + (uintptr_t)i * 1024, 1000, CMR_KIND_MALLOC);
	cmr_region_free(r);
	cmr_blocks_measure(&cmr_planes[OUTER].blocks, &entries, &leaves);
	CHECK(entries >= 20000);
	r = open_with((struct cmr_region_options){ 0 });
	cmr_blocks_measure(&cmr_planes[OUTER].blocks, &entries, &leaves);
	CHECK_EQ_U64(entries, 0);
	cmr_region_free(r);
}

/* Blocks of exact attribution keep their location beside the granules, or in them. */
CMR_TEST(exact_blocks_take_no_hash_entries)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ .exact = true });
	size_t before, after, leaves;

	cmr_blocks_measure(&cmr_planes[OUTER].blocks, &before, &leaves);
	for (unsigned i = 0; i < 1000; i++)
		alloc(i, 1 + i % 1024);
	cmr_blocks_measure(&cmr_planes[OUTER].blocks, &after, &leaves);
	CHECK_EQ_U64(after, before);
	alloc(1001, (size_t)1 << 40);
	cmr_blocks_measure(&cmr_planes[OUTER].blocks, &after, &leaves);
	CHECK_EQ_U64(after, before + 1);
	cmr_region_free(r);
}

/* --- other threads ----------------------------------------------------------------------------- */

struct visitor {
	pthread_t handle;
	_Atomic int turn; /* what to do; set by the test, 0 when done */
	unsigned block;
	size_t size;
	int32_t native_id;
};

static void *visit(void *data)
{
	struct visitor *v = data;

	cmr_thread_born(cmr_thread_stamp());
	fake_stack_at(2);
	v->native_id = cmr_thread_self()->native_id;
	atomic_store(&v->turn, 0);
	for (;;) {
		switch (atomic_load(&v->turn)) {
		case 1:
			alloc(v->block, v->size);
			break;
		case 2:
			release(v->block);
			break;
		case 3: /* an event that does not end */
			cmr_gate_enter(CMR_GUARD_ALL);
			atomic_store(&v->turn, 0);
			while (atomic_load(&v->turn) != 4)
				sched_yield();
			cmr_gate_leave(CMR_GUARD_ALL);
			break;
		case 9:
			return NULL;
		default:
			sched_yield();
			continue;
		}
		atomic_store(&v->turn, 0);
	}
}

static void tell(struct visitor *v, int turn)
{
	atomic_store(&v->turn, turn);
	while (atomic_load(&v->turn) != 0)
		sched_yield();
}

static void come(struct visitor *v)
{
	atomic_store(&v->turn, -1);
	REQUIRE(pthread_create(&v->handle, NULL, visit, v) == 0);
	while (atomic_load(&v->turn) != 0)
		sched_yield();
}

static void go(struct visitor *v)
{
	atomic_store(&v->turn, 9);
	pthread_join(v->handle, NULL);
}

static void visitor_alloc(struct visitor *v, unsigned block, size_t size)
{
	v->block = block;
	v->size = size;
	tell(v, 1);
}

static void *first_event(void *data)
{
	fake_stack_at(3);
	if (data != NULL)
		alloc(1, 77);
	else
		release(1);
	return NULL;
}

/* A thread may come to its first event with nothing made for it. */
CMR_TEST(the_first_event_of_a_thread_counts)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ .exact = true });
	pthread_t thread;

	REQUIRE(pthread_create(&thread, NULL, first_event, r) == 0);
	pthread_join(thread, NULL);
	CHECK_EQ_U64(totals(r).current, 77);
	CHECK_EQ_I64(share(r, false, 3), 77);
	REQUIRE(pthread_create(&thread, NULL, first_event, NULL) == 0);
	pthread_join(thread, NULL);
	CHECK_EQ_U64(totals(r).current_blocks, 0);
	cmr_region_free(r);
}

CMR_TEST(scopes_say_whose_blocks_count)
{
	static const uint64_t expected[3][2] = {
		[CMR_SCOPE_ALL] = { 111, 100 }, [CMR_SCOPE_TEST] = { 101, 0 }, [CMR_SCOPE_CURRENT] = { 1, 0 }
	};

	for (int scope = 0; scope < 3; scope++) {
		struct visitor before = { .size = 0 }, after = { .size = 0 };
		struct cmr_region *r;

		rig_begin();
		come(&before);
		r = open_with((struct cmr_region_options){ .scope = (enum cmr_scope)scope,
							   .exact = true });
		come(&after);
		alloc(1, 1);
		visitor_alloc(&before, 2, 10);
		visitor_alloc(&after, 3, 100);
		CHECK_EQ_U64(totals(r).current, expected[scope][0]);
		/* Who frees makes no difference. */
		before.block = 3;
		tell(&before, 2);
		release(2);
		CHECK_EQ_U64(totals(r).current, 1);
		CHECK_EQ_U64(totals(r).old_at_peak, scope == CMR_SCOPE_ALL ? 10 : 0);
		CHECK_EQ_U64(totals(r).own_peak, scope == CMR_SCOPE_ALL ? 101 : expected[scope][0]);
		go(&before);
		go(&after);
		cmr_region_free(r);
	}
}

CMR_TEST(older_threads_are_told_apart)
{
	struct visitor old[CMR_MAX_OLD_THREADS + 1];
	struct cmr_old_thread rows[CMR_MAX_OLD_THREADS];
	struct cmr_region *r;

	rig_begin();
	for (int i = 0; i <= CMR_MAX_OLD_THREADS; i++)
		come(&old[i]);
	r = open_with((struct cmr_region_options){ 0 });
	CHECK_EQ_U64(cmr_region_old_threads(r, rows), 0);
	alloc(100, 5);
	for (unsigned i = 0; i <= CMR_MAX_OLD_THREADS; i++) {
		visitor_alloc(&old[i], i, 10 + i);
		visitor_alloc(&old[i], 50 + i, 1);
	}
	CHECK_EQ_U64(cmr_region_old_threads(r, rows), CMR_MAX_OLD_THREADS);
	for (unsigned i = 0; i < CMR_MAX_OLD_THREADS - 1; i++) {
		CHECK_EQ_I64(rows[i].native_id, old[i].native_id);
		CHECK_EQ_U64(rows[i].bytes, 11 + i);
		CHECK_EQ_U64(rows[i].blocks, 2);
	}
	CHECK_EQ_I64(rows[CMR_MAX_OLD_THREADS - 1].native_id, 0);
	CHECK_EQ_U64(rows[CMR_MAX_OLD_THREADS - 1].bytes, 18 + 19);
	CHECK_EQ_U64(rows[CMR_MAX_OLD_THREADS - 1].blocks, 4);
	CHECK_EQ_U64(totals(r).old_current, 9 * 10 + 36 + 9);
	CHECK_EQ_U64(totals(r).old_blocks, 18);
	/* After the seal: live numbers go on, the others do not. */
	cmr_region_seal(r);
	CHECK_EQ_U64(totals(r).own_peak, 5);
	visitor_alloc(&old[0], 200, 1000);
	alloc(201, 2000);
	CHECK_EQ_U64(totals(r).own_peak, 5);
	CHECK_EQ_U64(totals(r).old_current, 9 * 10 + 36 + 9 + 1000);
	CHECK_EQ_U64(totals(r).old_at_peak, 9 * 10 + 36 + 9);
	(void)cmr_region_old_threads(r, rows);
	CHECK_EQ_U64(rows[0].bytes, 11);
	for (int i = 0; i <= CMR_MAX_OLD_THREADS; i++)
		go(&old[i]);
	cmr_region_free(r);
}

/* A thread that never comes out of an event keeps tags from being reused: a clear error, then, when
 * it has come out, tags again. */
CMR_TEST(a_stuck_thread_costs_an_error_not_a_phantom)
{
	struct visitor stuck;
	struct cmr_region_options options = { 0 };
	struct cmr_error err = { .status = CMR_OK };
	enum cmr_status status = CMR_OK;
	int n = 0;

	rig_begin();
	come(&stuck);
	tell(&stuck, 3);
	while (n < 200 && status == CMR_OK) {
		struct cmr_region *r = cmr_region_new(&options);

		status = cmr_region_open(r, &err);
		if (status == CMR_OK) {
			alloc(1, 10);
			CHECK_EQ_U64(totals(r).current, 10);
			release(1);
		}
		cmr_region_free(r);
		n++;
	}
	CHECK_EQ_I64(status, CMR_TOO_MANY);
	CHECK(n > 30);
	tell(&stuck, 4);
	for (int i = 0; i < 200; i++)
		cmr_region_free(open_with(options));
	go(&stuck);
}
