/* Threads that allocate and free each other's blocks while regions come and go. */
#include "cmr_test.h"

#include <pthread.h>
#include <sched.h>

#include "os/random.h"
#include "region_rig.h"

#ifndef STEPS
#define STEPS 40000
#endif

enum { N_WORKERS = 4, N_SHARED = 512, SITES = 8, BURST = 2000 };

/* Blocks in transit: who empties a slot owns the block. 0: empty, 1: being filled. */
static _Atomic uint64_t shared[N_SHARED];
static _Atomic bool stop;
static _Atomic unsigned opened, wanted; /* regions beside */
/* Every second burst of a worker is alone, as with an interpreter's lock: then it comes to own the
 * ledger's lock and gets a pass, and loses both to the next one. */
static pthread_mutex_t baton = PTHREAD_MUTEX_INITIALIZER;

struct worker {
	pthread_t handle;
	unsigned number;
	int64_t total, count, passes;
	int64_t live[SITES + 1];
};

static uintptr_t address(unsigned slot)
{
	return BASE + (uintptr_t)slot * 1024 + (slot % 7 == 0 ? 8 : 0);
}

static void *work(void *data)
{
	struct worker *w = data;
	uint64_t random = w->number + 1;
	bool alone = false;

	cmr_thread_born(cmr_thread_stamp());
	for (unsigned at = 0; at < STEPS || atomic_load(&opened) < atomic_load(&wanted); at++) {
		unsigned slot = (unsigned)(cmr_random_next(&random) % N_SHARED);
		unsigned site = 1 + (unsigned)(cmr_random_next(&random) % SITES);
		size_t size = 2 + cmr_random_next(&random) % (at % 5 == 0 ? 4000 : 500);
		uint64_t held;

		if (at % BURST == 0) {
			if (alone)
				pthread_mutex_unlock(&baton);
			alone = !alone;
			if (alone)
				pthread_mutex_lock(&baton);
		}
		held = atomic_exchange(&shared[slot], 1);
		if (held == 1)
			continue; /* somebody else is at it and will store */
		cmr_gate_enter(CMR_GUARD_ALL);
		if (held != 0) {
			cmr_on_free_hot(OUTER, address(slot));
			w->live[held >> 32] -= (int64_t)(held & 0xffffffff);
			atomic_store(&shared[slot], 0);
		} else {
			fake_stack_at(site);
			cmr_on_alloc_hot(OUTER, address(slot), size, CMR_KIND_MALLOC);
			w->live[site] += (int64_t)size;
			w->total += (int64_t)size;
			w->count++;
			atomic_store(&shared[slot], (uint64_t)site << 32 | size);
		}
		w->passes += atomic_load(&cmr_tls.self->view[OUTER].seat.pass) != 0;
		cmr_gate_leave(CMR_GUARD_ALL);
	}
	if (alone)
		pthread_mutex_unlock(&baton);
	return NULL;
}

static void count_thread(struct cmr_thread *thread, void *n)
{
	(void)thread;
	++*(unsigned *)n;
}

static void *only_free(void *event)
{
	struct cmr_taken taken;
	struct cmr_range_taken ranges;
	unsigned before = 0, after = 0;

	cmr_thread_each(count_thread, &before);
	cmr_gate_enter(CMR_GUARD_ALL);
	switch (*(int *)event) {
	case 0:
		cmr_on_free_hot(OUTER, BASE);
		break;
	case 1:
		cmr_on_free(OUTER, BASE);
		break;
	case 2:
		cmr_on_resize_begin(OUTER, BASE, &taken);
		break;
	default:
		cmr_on_remap_begin(OUTER, BASE, 4096, &ranges);
	}
	cmr_gate_leave(CMR_GUARD_ALL);
	cmr_thread_each(count_thread, &after);
	CHECK_EQ_U64(after, before + 1);
	return NULL;
}

/* A thread that never allocates: cmr_thread_quiesce has to know it before it takes anything out. */
CMR_TEST(a_thread_that_only_frees_is_known)
{
	struct cmr_region *r;

	rig_begin();
	r = open_with((struct cmr_region_options){ .max_period = 1 });
	for (int event = 0; event < 4; event++) {
		pthread_t thread;

		REQUIRE(pthread_create(&thread, NULL, only_free, &event) == 0);
		pthread_join(thread, NULL);
	}
	cmr_region_free(r);
}

/* Regions that open and close beside: shares of an exact one make up its peak, whatever happened. */
static void *come_and_go(void *data)
{
	static struct cmr_usage_row rows[64];

	(void)data;
	while (!atomic_load(&stop)) {
		unsigned n_th = atomic_load(&opened);
		struct cmr_region_options options = {
			.exact = n_th % 2 == 0,
			.max_period = 4096,
			.scope = n_th % 3 == 0 ? CMR_SCOPE_TEST : CMR_SCOPE_ALL,
		};
		struct cmr_region *r = cmr_region_new(&options);
		int64_t peak = 0, live = 0;
		uint32_t n;

		REQUIRE(r != NULL);
		if (cmr_region_open(r, NULL) != CMR_OK) {
			cmr_region_free(r);
			continue;
		}
		sched_yield();
		cmr_region_close(r);
		n = cmr_usages_rows(&r->usages, &r->ledger, true, rows, 64);
		for (uint32_t i = 0; i < n; i++)
			peak += rows[i].bytes;
		n = cmr_usages_rows(&r->usages, &r->ledger, false, rows, 64);
		for (uint32_t i = 0; i < n; i++)
			live += rows[i].bytes;
		if (options.exact) {
			CHECK_EQ_I64(peak, (int64_t)totals(r).peak);
			CHECK_EQ_I64(live, (int64_t)totals(r).current);
		}
		CHECK(totals(r).peak <= totals(r).total);
		CHECK((int64_t)totals(r).current >= 0);
		cmr_region_free(r);
		atomic_store(&opened, n_th + 1);
	}
	return NULL;
}

/* All blocks are gone: so are the numbers of every location. */
static void check_empty(const struct cmr_region *r)
{
	unsigned n = 0;

	for (uint32_t at = r->usages.first; at != 0;) {
		const struct cmr_usage *e =
			&r->usages.chunks[at / CMR_USAGE_CHUNK][at % CMR_USAGE_CHUNK];

		CHECK_EQ_I64(e->at_peak_bytes + e->since_bytes, 0);
		CHECK_EQ_I64(e->at_peak_blocks + e->since_blocks, 0);
		CHECK_EQ_I64(e->at_peak_variance + e->since_variance, 0);
		at = e->next;
		n++;
	}
	CHECK(n > 0);
}

static void run(bool exact, bool others)
{
	struct cmr_region *r =
		open_with((struct cmr_region_options){ .exact = exact, .max_period = 1024 });
	struct worker workers[N_WORKERS] = { { .number = 0 } };
	int64_t total = 0, count = 0, passes = 0, live[SITES + 1] = { 0 }, current = 0;
	pthread_t other;

	atomic_store(&stop, false);
	atomic_store(&opened, 0);
	atomic_store(&wanted, others ? 200 : 0); /* tags run out three times or more */
	for (unsigned i = 0; i < N_SHARED; i++)
		atomic_store(&shared[i], 0);
	for (unsigned i = 0; i < N_WORKERS; i++) {
		workers[i].number = i;
		REQUIRE(pthread_create(&workers[i].handle, NULL, work, &workers[i]) == 0);
	}
	if (others)
		REQUIRE(pthread_create(&other, NULL, come_and_go, NULL) == 0);
	for (unsigned i = 0; i < N_WORKERS; i++)
		pthread_join(workers[i].handle, NULL);
	atomic_store(&stop, true);
	if (others)
		pthread_join(other, NULL);
	for (unsigned i = 0; i < N_WORKERS; i++) {
		total += workers[i].total;
		count += workers[i].count;
		passes += workers[i].passes;
		for (unsigned s = 0; s <= SITES; s++)
			live[s] += workers[i].live[s];
	}
	for (unsigned s = 0; s <= SITES; s++)
		current += live[s];
	/* ThreadSanitizer's build has none, nor a kernel without the quick barrier. */
	CHECK(passes > 0 || !cmr_biased_can_own());
	CHECK_EQ_I64((int64_t)totals(r).total, total);
	CHECK_EQ_I64((int64_t)totals(r).count, count);
	CHECK_EQ_I64((int64_t)totals(r).current, current);
	CHECK(totals(r).peak >= totals(r).current);
	CHECK_EQ_U64(totals(r).losses.blocks + totals(r).losses.stacks, 0);
	if (exact) {
		int64_t peak = 0;

		for (unsigned s = 1; s <= SITES; s++) {
			CHECK_EQ_I64(share(r, false, s), live[s]);
			peak += share(r, true, s);
		}
		CHECK_EQ_I64(peak, (int64_t)totals(r).peak);
	}
	for (unsigned i = 0; i < N_SHARED; i++)
		if (atomic_load(&shared[i]) != 0)
			cmr_on_free_hot(OUTER, address(i));
	CHECK_EQ_U64(totals(r).current, 0);
	CHECK_EQ_U64(totals(r).current_blocks, 0);
	check_empty(r);
	cmr_region_free(r);
}

CMR_TEST(threads_share_an_exact_region)
{
	run(true, false);
}

CMR_TEST(threads_share_a_budgeted_region)
{
	run(false, false);
}

CMR_TEST(regions_come_and_go_beside_an_exact_one)
{
	run(true, true);
}

CMR_TEST(regions_come_and_go_beside_a_budgeted_one)
{
	run(false, true);
}
