/* Start and stop: gate, callbacks, what is readable when. Events are told directly; that hooks tell
 * them is test_hooks_*. */
#include "cmr_test.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "os/memory.h"
#include "region_rig.h"
#include "session/session.h"

static char trail[64];
static uintptr_t gate_then;

static void note(char c)
{
	size_t n = strlen(trail);

	if (n + 1 < sizeof trail)
		trail[n] = c;
	gate_then = atomic_load(&cmr_gate);
}

static void first_open(enum cmr_plane_id plane)
{
	note(plane == OUTER ? 'O' : 'S');
}

static void last_closed(enum cmr_plane_id plane)
{
	note(plane == OUTER ? 'o' : 's');
}

static const struct cmr_session_callbacks callbacks = { .first_open = first_open,
							.last_closed = last_closed };

static struct cmr_region *start(struct cmr_region_options options)
{
	struct cmr_region *region = cmr_region_new(&options);
	struct cmr_error err = { .text = "" };

	REQUIRE(region != NULL);
	if (cmr_session_start(region, &err) != CMR_OK) {
		cmr_test_print("%s\n", err.text);
		REQUIRE(false);
	}
	fake_stack_init();
	fake_stack_at(1);
	return region;
}

/* As a wrapper tells it. */
static bool tell_alloc(enum cmr_plane_id plane, unsigned i, size_t size)
{
	uintptr_t planes = cmr_gate_planes() & CMR_GUARD(plane);

	if (planes == 0)
		return false;
	cmr_gate_enter(planes);
	cmr_on_alloc_hot(plane, BASE + i * 1024, size, CMR_KIND_MALLOC);
	cmr_gate_leave(planes);
	return true;
}

CMR_TEST(nothing_is_open_at_first)
{
	struct cmr_session_status status;

	CHECK_EQ_U64(cmr_gate_planes(), 0);
	cmr_session_status(&status);
	CHECK_EQ_U64(status.regions_open, 0);
	CHECK_EQ_U64(status.nodes, 0);
}

CMR_TEST(the_gate_is_open_while_a_region_is)
{
	struct cmr_region *a, *b, *c;

	cmr_session_set_callbacks(&callbacks);
	trail[0] = 0;
	memset(trail, 0, sizeof trail);
	a = start((struct cmr_region_options){ 0 });
	CHECK_EQ_STR(trail, "O");
	CHECK_EQ_U64(gate_then, 0); /* opened last */
	CHECK_EQ_U64(cmr_gate_planes(), CMR_GUARD(OUTER));
	b = start((struct cmr_region_options){ .basis = CMR_BASIS_SYSTEM });
	CHECK_EQ_STR(trail, "OS");
	CHECK_EQ_U64(cmr_gate_planes(), CMR_GUARD_ALL);
	c = start((struct cmr_region_options){ 0 });
	CHECK(tell_alloc(OUTER, 1, 10));
	CHECK(tell_alloc(CMR_PLANE_SYSTEM, 1, 11));
	cmr_session_stop(a);
	CHECK_EQ_STR(trail, "OS");
	CHECK_EQ_U64(cmr_gate_planes(), CMR_GUARD_ALL);
	cmr_session_stop(b);
	CHECK_EQ_STR(trail, "OSs");
	CHECK_EQ_U64(gate_then, CMR_GUARD(OUTER)); /* closed first */
	CHECK(!tell_alloc(CMR_PLANE_SYSTEM, 2, 10));
	cmr_session_stop(c);
	cmr_session_stop(c);
	CHECK_EQ_STR(trail, "OSso");
	CHECK_EQ_U64(cmr_gate_planes(), 0);
	CHECK_EQ_U64(totals(a).total, 10);
	CHECK_EQ_U64(totals(b).total, 11);
	CHECK_EQ_U64(totals(c).total, 10);
	cmr_session_free(a);
	cmr_session_free(b);
	cmr_session_free(c);
	cmr_session_free(NULL);
	cmr_session_set_callbacks(NULL);
}

CMR_TEST(a_region_is_started_once)
{
	struct cmr_region *r = start((struct cmr_region_options){ 0 });
	struct cmr_error err;

	CHECK_EQ_I64(cmr_session_start(r, &err), CMR_STATE);
	CHECK_EQ_U64(cmr_gate_planes(), CMR_GUARD(OUTER));
	cmr_session_stop(r);
	CHECK_EQ_I64(cmr_session_start(r, &err), CMR_STATE);
	CHECK_EQ_U64(cmr_gate_planes(), 0);
	cmr_session_free(r);
}

CMR_TEST(the_guard_is_left_as_it_was)
{
	struct cmr_region *r;

	cmr_gate_enter(CMR_GUARD(OUTER));
	r = start((struct cmr_region_options){ 0 });
	cmr_session_seal(r);
	cmr_session_free(r);
	CHECK_EQ_U64(atomic_load(&cmr_tls.guard) & CMR_GUARD_ALL, CMR_GUARD(OUTER));
	cmr_gate_leave(CMR_GUARD(OUTER));
	r = start((struct cmr_region_options){ 0 });
	CHECK_EQ_U64(atomic_load(&cmr_tls.guard) & CMR_GUARD_ALL, 0);
	cmr_session_free(r);
	CHECK_EQ_U64(atomic_load(&cmr_tls.guard) & CMR_GUARD_ALL, 0);
}

CMR_TEST(free_stops_what_runs)
{
	struct cmr_region *r = start((struct cmr_region_options){ 0 });

	cmr_session_free(r);
	CHECK_EQ_U64(cmr_gate_planes(), 0);
	CHECK_EQ_U64(cmr_regions_alive(), 0);
}

CMR_TEST(totals_and_rows_while_running_sealed_and_stopped)
{
	struct cmr_region *r = start((struct cmr_region_options){ .exact = true });
	struct cmr_totals t;
	struct cmr_usage_row *rows;
	uint32_t n;
	size_t bytes;

	tell_alloc(OUTER, 1, 100);
	fake_stack_at(2);
	tell_alloc(OUTER, 2, 30);
	for (int phase = 0; phase < 3; phase++) {
		cmr_session_totals(r, &t);
		CHECK_EQ_U64(t.peak, 130);
		CHECK_EQ_U64(t.current, phase == 0 ? 130 : 137);
		CHECK_EQ_U64(t.count, 2);
		REQUIRE(cmr_session_rows(r, true, &rows, &n, &bytes));
		CHECK_EQ_U64(n, 2);
		CHECK_EQ_I64(rows[0].bytes + rows[1].bytes, 130);
		cmr_memory_unmap(rows, bytes);
		REQUIRE(cmr_session_rows(r, false, &rows, &n, &bytes));
		CHECK_EQ_U64(n, 2);
		CHECK_EQ_I64(rows[0].bytes + rows[1].bytes, phase == 0 ? 130 : 137);
		cmr_memory_unmap(rows, bytes);
		if (phase == 0) {
			cmr_session_seal(r);
			tell_alloc(OUTER, 3, 7);
		} else {
			cmr_session_stop(r);
			tell_alloc(OUTER, 4, 1000);
		}
	}
	cmr_session_free(r);
}

static bool refuse(size_t bytes)
{
	(void)bytes;
	return false;
}

CMR_TEST(rows_without_memory_say_so)
{
	struct cmr_region *r = start((struct cmr_region_options){ .exact = true });
	struct cmr_usage_row *rows;
	uint32_t n;
	size_t bytes;

	tell_alloc(OUTER, 1, 100);
	cmr_memory_set_gatekeeper(refuse);
	CHECK(!cmr_session_rows(r, true, &rows, &n, &bytes));
	cmr_memory_set_gatekeeper(NULL);
	cmr_session_free(r);
}

/* Pages that are touched, in mappings that stand apart. */
CMR_TEST(resident_bytes_of_what_stands_apart)
{
	struct cmr_region *r = start((struct cmr_region_options){ .exact = true });
	uint64_t resident[CMR_N_RANGE_CLASSES];
	const size_t big = (size_t)64 << 20, page = (size_t)sysconf(_SC_PAGESIZE);
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char *area = mmap(NULL, big, PROT_READ | PROT_WRITE, flags, -1, 0), *shared;

	REQUIRE(area != MAP_FAILED);
	REQUIRE(madvise(area, big, MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
	shared = mmap(NULL, 4 * page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	REQUIRE(shared != MAP_FAILED);
	cmr_session_resident(r, resident);
	CHECK_EQ_U64(resident[CMR_RANGE_RESERVED], 0);
	cmr_on_map(OUTER, (uintptr_t)area, big, PROT_READ | PROT_WRITE, flags, -1, CMR_KIND_MMAP);
	cmr_on_map(OUTER, (uintptr_t)shared, 4 * page, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, CMR_KIND_MMAP);
	cmr_on_map(OUTER, BASE, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		   CMR_KIND_MMAP); /* gone meanwhile */
	area[0] = 1;
	area[big - 1] = 1;
	shared[page] = 1;
	cmr_session_resident(r, resident);
	CHECK_EQ_U64(resident[CMR_RANGE_RESERVED], 2 * page);
	CHECK_EQ_U64(resident[CMR_RANGE_SHARED], page);
	CHECK_EQ_U64(resident[CMR_RANGE_UNWRITABLE], 0);
	area[big / 2] = 1;
	cmr_session_stop(r);
	area[big / 4] = 1;
	cmr_session_resident(r, resident); /* as it was at stop */
	CHECK_EQ_U64(resident[CMR_RANGE_RESERVED], 3 * page);
	munmap(area, big);
	munmap(shared, 4 * page);
	cmr_session_free(r);
}

CMR_TEST(status_counts_what_there_is)
{
	struct cmr_region *r = start((struct cmr_region_options){ .exact = true });
	struct cmr_session_status status;

	for (unsigned i = 0; i < 100; i++)
		tell_alloc(OUTER, i, (size_t)1 << 40); /* too large for anything but the hash */
	cmr_session_status(&status);
	CHECK_EQ_U64(status.regions_open, 1);
	CHECK(status.hash_entries >= 100);
	CHECK(status.leaves >= 1);
	CHECK(status.nodes >= 1);
	CHECK(status.locations >= 1);
	CHECK(status.mapped > 0);
	cmr_session_free(r);
}

/* Refusal of the Nth mapping, for every N: an error or a region that works, and never a crash. */
static int refuse_after;

static bool allow_some(size_t bytes)
{
	(void)bytes;
	return refuse_after-- > 0;
}

static void *start_with_little(void *data)
{
	struct cmr_region_options options = { .exact = true, .basis = CMR_BASIS_SYSTEM };

	(void)data;
	for (int n = 0; n < 40; n++) {
		struct cmr_region *r;
		struct cmr_error err;

		refuse_after = n;
		cmr_memory_set_gatekeeper(allow_some);
		r = cmr_region_new(&options);
		if (r != NULL && cmr_session_start(r, &err) == CMR_OK) {
			for (unsigned i = 0; i < 50; i++)
				tell_alloc(CMR_PLANE_SYSTEM, i * 100000, i * 50);
			cmr_session_stop(r);
			CHECK(totals(r).count == 50 || totals(r).losses.blocks > 0);
		}
		cmr_memory_set_gatekeeper(NULL);
		cmr_session_free(r);
	}
	return NULL;
}

CMR_TEST(refusals_are_errors_or_losses)
{
	pthread_t thread; /* with no state yet */

	REQUIRE(pthread_create(&thread, NULL, start_with_little, NULL) == 0);
	pthread_join(thread, NULL);
	CHECK_EQ_U64(cmr_gate_planes(), 0);
}

/* Start and stop cost the same whatever was measured before. */
CMR_TEST(start_and_stop_are_cheap)
{
	struct timespec before, after;
	struct cmr_region *r;
	double micro;

	r = start((struct cmr_region_options){ .exact = true });
	for (unsigned i = 0; i < 10000; i++)
		tell_alloc(OUTER, i, 100);
	cmr_session_free(r);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &before);
	for (int i = 0; i < 1000; i++)
		cmr_session_free(start((struct cmr_region_options){ 0 }));
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &after);
	micro = (double)(after.tv_sec - before.tv_sec) * 1e3 +
		(double)(after.tv_nsec - before.tv_nsec) / 1e6;
	cmr_test_print("%.2f us for a start and a stop\n", micro);
	CHECK(micro < 1000); /* of the processor; generous: sanitizers */
}

/* Last: the process cannot measure any more. */
CMR_TEST(z_shutdown_is_for_good)
{
	struct cmr_region_options options = { 0 };
	struct cmr_region *r = start(options), *next;
	struct cmr_error err;

	cmr_session_shutdown();
	CHECK_EQ_U64(cmr_gate_planes(), 0);
	CHECK(!tell_alloc(OUTER, 1, 10));
	cmr_session_free(r);
	next = cmr_region_new(&options);
	CHECK_EQ_I64(cmr_session_start(next, &err), CMR_STATE);
	cmr_session_free(next);
}
