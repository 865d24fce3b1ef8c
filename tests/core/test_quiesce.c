/* Waiting until no hook is in flight. */
#include "cmr_test.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "child.h"
#include "threads_rig.h"

/* For what a busy machine may make too late: ATTEMPT succeeds at least once. */
static bool succeeds(bool (*attempt)(void))
{
	for (int i = 0; i < 10; i++)
		if (attempt())
			return true;
	return false;
}

/* Runs before any barrier. */
CMR_TEST(membarrier_is_used_where_there_is_one)
{
	long commands = syscall(SYS_membarrier, 0, 0, 0);

	if (commands < 0 || (commands & 1 << 3) == 0)
		CMR_TEST_SKIP("this kernel has no private expedited membarrier");
	errno = 22;
	CHECK(cmr_thread_barrier_is_fast());
	CHECK_EQ_I64(errno, 22);
	cmr_thread_without_membarrier(true);
	CHECK(!cmr_thread_barrier_is_fast());
	cmr_thread_without_membarrier(false);
	CHECK(cmr_thread_barrier_is_fast());
}

static bool makes_fast_barrier(void)
{
	int64_t start = now_us();

	cmr_thread_barrier();
	return now_us() - start < 1000;
}

static void check_slow_barrier(void)
{
	int64_t start = now_us();

	cmr_thread_barrier();
	CHECK(now_us() - start >= 1000);
	start = now_us();
	CHECK(cmr_thread_quiesce(CMR_PLANE_OUTER));
	CHECK(now_us() - start >= 1000);
}

CMR_TEST(without_membarrier_it_takes_a_millisecond)
{
	must_init();
	if (!cmr_thread_barrier_is_fast())
		CMR_TEST_SKIP("this kernel has no private expedited membarrier");
	CHECK(succeeds(makes_fast_barrier));
	cmr_thread_without_membarrier(true);
	check_slow_barrier();
	cmr_thread_without_membarrier(false);
	CHECK(succeeds(makes_fast_barrier));
}

CMR_TEST(alone_it_is_quiet)
{
	must_init();
	errno = 55;
	CHECK(cmr_thread_quiesce(CMR_PLANE_OUTER));
	CHECK(cmr_thread_quiesce(CMR_PLANE_SYSTEM));
	CHECK_EQ_I64(errno, 55);
	CHECK_EQ_U64(guard_word(), 0);
}

CMR_TEST(the_callers_own_guard_does_not_count)
{
	uintptr_t before;

	must_init();
	before = cmr_guard_raise(CMR_GUARD_ALL);
	CHECK(cmr_thread_quiesce(CMR_PLANE_OUTER));
	CHECK_EQ_U64(guard_word(), CMR_GUARD_ALL);
	cmr_guard_restore(before);
}

static bool pass_by_other_plane(void)
{
	struct worker w;
	int64_t start, taken;

	begin(&w, SYSTEM);
	start = now_us();
	CHECK(cmr_thread_quiesce(CMR_PLANE_OUTER));
	taken = now_us() - start;
	end(&w);
	return taken < 90000;
}

CMR_TEST(an_event_of_the_other_plane_is_not_waited_for)
{
	must_init();
	CHECK(succeeds(pass_by_other_plane));
}

static void *end_later(void *argument)
{
	sleep_us(30000);
	sem_post(&((struct worker *)argument)->leave);
	return NULL;
}

static bool wait_for_long_event(void)
{
	struct worker w;
	pthread_t ender;
	int64_t start;
	bool quiet;

	begin(&w, OUTER);
	start = now_us();
	REQUIRE(pthread_create(&ender, NULL, end_later, &w) == 0);
	quiet = cmr_thread_quiesce(CMR_PLANE_OUTER);
	CHECK(now_us() - start >= 25000);
	pthread_join(ender, NULL);
	end(&w);
	return quiet;
}

CMR_TEST(an_event_under_way_is_waited_for)
{
	must_init();
	CHECK(succeeds(wait_for_long_event));
}

CMR_TEST(it_works_without_membarrier)
{
	must_init();
	cmr_thread_without_membarrier(true);
	CHECK(succeeds(wait_for_long_event));
	CHECK(cmr_thread_quiesce(CMR_PLANE_SYSTEM));
	cmr_thread_without_membarrier(false);
}

/* What a sandbox does: the system call is not there. */
static void deny_membarrier(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { sizeof filter / sizeof *filter, filter };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
		cmr_test_print("this kernel filters no system calls\n");
		return;
	}
	must_init();
	errno = 66;
	CHECK(cmr_thread_quiesce(CMR_PLANE_OUTER));
	CHECK(!cmr_thread_barrier_is_fast());
	CHECK_EQ_I64(errno, 66);
	check_slow_barrier();
	if (!UNDER_TSAN)
		CHECK(succeeds(wait_for_long_event));
}

CMR_TEST(it_finds_out_that_there_is_no_membarrier)
{
	CHECK(passes_in_child(deny_membarrier));
	CHECK(cmr_thread_barrier_is_fast());
}

static void *leave_and_enter(void *argument)
{
	struct worker *w = argument;

	cmr_thread_self();
	cmr_gate_enter(OUTER);
	sem_post(&w->inside);
	sleep_us(20000);
	cmr_gate_leave(OUTER);
	cmr_gate_enter(OUTER);
	sem_wait(&w->leave);
	cmr_gate_leave(OUTER);
	return NULL;
}

static bool pass_by_later_event(void)
{
	struct worker w;
	bool quiet;

	sem_init(&w.inside, 0, 0);
	sem_init(&w.leave, 0, 0);
	REQUIRE(pthread_create(&w.thread, NULL, leave_and_enter, &w) == 0);
	sem_wait(&w.inside);
	quiet = cmr_thread_quiesce(CMR_PLANE_OUTER);
	end(&w);
	return quiet;
}

/* A busy thread is hardly ever seen outside; a later event will do. */
CMR_TEST(a_later_event_is_not_waited_for)
{
	must_init();
	CHECK(succeeds(pass_by_later_event));
}

static bool is_told_at_once(void)
{
	int64_t start = now_us();

	CHECK(!cmr_thread_quiesce(CMR_PLANE_OUTER));
	return now_us() - start < 50000;
}

CMR_TEST(a_thread_that_never_leaves_costs_the_wait_once)
{
	struct worker w;
	int64_t start;

	must_init();
	begin(&w, CMR_GUARD_ALL);
	start = now_us();
	CHECK(!cmr_thread_quiesce(CMR_PLANE_OUTER));
	CHECK(now_us() - start >= 90000);
	CHECK(succeeds(is_told_at_once));
	/* Each plane has its own memory of that. */
	start = now_us();
	CHECK(!cmr_thread_quiesce(CMR_PLANE_SYSTEM));
	CHECK(now_us() - start >= 90000);
	end(&w);
	CHECK(cmr_thread_quiesce(CMR_PLANE_OUTER));
}

static void *have_many_events(void *argument)
{
	struct worker *w = argument;

	have_event(w); /* the one that is stuck */
	return have_event(w);
}

CMR_TEST(who_came_out_is_waited_for_again)
{
	struct worker w = { .planes = OUTER };
	int64_t start;

	must_init();
	sem_init(&w.inside, 0, 0);
	sem_init(&w.leave, 0, 0);
	REQUIRE(pthread_create(&w.thread, NULL, have_many_events, &w) == 0);
	sem_wait(&w.inside);
	CHECK(!cmr_thread_quiesce(CMR_PLANE_OUTER));
	CHECK(!cmr_thread_quiesce(CMR_PLANE_OUTER));
	w.planes = SYSTEM; /* of the next event */
	sem_post(&w.leave);
	sem_wait(&w.inside);
	CHECK(cmr_thread_quiesce(CMR_PLANE_OUTER)); /* seen outside: no longer stuck */
	end(&w);
	begin(&w, OUTER);
	start = now_us();
	CHECK(!cmr_thread_quiesce(CMR_PLANE_OUTER));
	CHECK(now_us() - start >= 90000);
	end(&w);
}

static void *exit_inside(void *argument)
{
	struct worker *w = argument;

	cmr_thread_self();
	cmr_gate_enter(OUTER);
	sem_post(&w->inside);
	sleep_us(20000);
	return NULL; /* as after a longjmp out of a hook: never left */
}

static bool wait_for_thread_that_ends(void)
{
	struct worker w;
	bool quiet;

	sem_init(&w.inside, 0, 0);
	REQUIRE(pthread_create(&w.thread, NULL, exit_inside, &w) == 0);
	sem_wait(&w.inside);
	quiet = cmr_thread_quiesce(CMR_PLANE_OUTER);
	pthread_join(w.thread, NULL);
	sem_destroy(&w.inside);
	return quiet;
}

CMR_TEST(a_thread_that_ends_is_no_longer_waited_for)
{
	must_init();
	CHECK(succeeds(wait_for_thread_that_ends));
}

static atomic_uint n_false;

static void *quiesce_once(void *nothing)
{
	if (!cmr_thread_quiesce(CMR_PLANE_OUTER))
		atomic_fetch_add(&n_false, 1);
	return nothing;
}

/* Eight wait for one event; a ninth is turned away at once. */
static bool turns_ninth_away(void)
{
	pthread_t callers[9];
	struct worker w;
	int64_t start, taken;
	unsigned before;

	atomic_store(&n_false, 0);
	begin(&w, OUTER);
	for (int i = 0; i < 8; i++)
		REQUIRE(pthread_create(&callers[i], NULL, quiesce_once, NULL) == 0);
	sleep_us(30000);
	before = atomic_load(&n_false);
	start = now_us();
	REQUIRE(pthread_create(&callers[8], NULL, quiesce_once, NULL) == 0);
	pthread_join(callers[8], NULL);
	taken = now_us() - start;
	sem_post(&w.leave);
	for (int i = 0; i < 8; i++)
		pthread_join(callers[i], NULL);
	end(&w);
	CHECK(cmr_thread_quiesce(CMR_PLANE_OUTER)); /* all bits were given back */
	return before == 0 && taken < 40000 && atomic_load(&n_false) == 1;
}

CMR_TEST(eight_may_wait_at_a_time)
{
	must_init();
	CHECK(succeeds(turns_ninth_away));
}

static void quiesce_in_child(void)
{
	cmr_thread_after_fork();
	CHECK(cmr_thread_quiesce(CMR_PLANE_OUTER));
}

/* Nobody waits any more in the child of a fork, and who waited does not take a place there. */
CMR_TEST(a_fork_frees_the_places)
{
	pthread_t callers[8];
	struct worker w;

	must_init();
	begin(&w, OUTER);
	for (int i = 0; i < 8; i++)
		REQUIRE(pthread_create(&callers[i], NULL, quiesce_once, NULL) == 0);
	sleep_us(30000);
	CHECK(passes_in_child(quiesce_in_child));
	sem_post(&w.leave);
	for (int i = 0; i < 8; i++)
		pthread_join(callers[i], NULL);
	end(&w);
}

/* The promise in use: after the gate is closed and it is quiet, nothing is written any more. */
static _Atomic uintptr_t open_gate;
static uint64_t table[64]; /* no atomics: events and the owner never meet */
static atomic_bool stop;

static void *have_events(void *argument)
{
	unsigned i = 0, *n = argument;

	cmr_thread_self();
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		if (atomic_load_explicit(&open_gate, memory_order_acquire) == 0)
			continue;
		cmr_gate_enter(OUTER);
		if (atomic_load_explicit(&open_gate, memory_order_acquire) != 0) {
			table[*n * 32 + i % 32] = 1;
			i++;
		}
		cmr_gate_leave(OUTER);
	}
	return NULL;
}

CMR_TEST(after_it_nothing_is_written)
{
	pthread_t threads[2];
	unsigned numbers[2] = { 0, 1 }, quiet = 0, wrote = 0;

	must_init();
	for (int i = 0; i < 2; i++)
		REQUIRE(pthread_create(&threads[i], NULL, have_events, &numbers[i]) == 0);
	for (int round = 0; round < 300; round++) {
		atomic_store(&open_gate, 1);
		sleep_us(100);
		atomic_store(&open_gate, 0);
		if (!cmr_thread_quiesce(CMR_PLANE_OUTER))
			continue;
		quiet++;
		for (int i = 0; i < 64; i++)
			wrote += table[i] != 0;
		memset(table, 0, sizeof table);
		for (int k = 0; k < 50; k++)
			for (int i = 0; i < 64; i++)
				CHECK_EQ_U64(*(volatile uint64_t *)&table[i], 0);
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	CHECK(quiet > 100);
	CHECK(wrote > 0);
}
