/* A forked child: not measured, not disturbed, free to measure on its own; also when other threads
 * were inside the tracker at that moment. */
#include "cmr_test.h"

#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

#include "os/memory.h"
#include "os/random.h"
#include "region_rig.h"
#include "session/session.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#ifndef UNDER_SANITIZER
#define UNDER_SANITIZER 0
#endif

/* The child of a process with threads goes on here. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

static struct cmr_region *start(bool exact)
{
	struct cmr_region_options options = { .exact = exact, .max_period = 4096 };
	struct cmr_region *region = cmr_region_new(&options);
	struct cmr_error err = { .text = "" };

	REQUIRE(region != NULL);
	if (cmr_session_start(region, &err) != CMR_OK) {
		cmr_test_print("%s\n", err.text);
		REQUIRE(false && "a region starts");
	}
	fake_stack_init();
	fake_stack_at(1);
	return region;
}

static void tell(unsigned i, size_t size)
{
	uintptr_t planes = cmr_gate_planes() & CMR_GUARD(OUTER);

	if (planes == 0)
		return;
	cmr_gate_enter(planes);
	if (size != 0)
		alloc(i, size);
	else
		release(i);
	cmr_gate_leave(planes);
}

/* Runs BODY in a child; true when it came to its end with every check held. A child that hangs is
 * ended by its alarm. */
static bool in_child(void (*body)(struct cmr_region *), struct cmr_region *region)
{
	int status = -1;
	pid_t pid = fork();

	REQUIRE(pid >= 0);
	if (pid == 0) {
		alarm(240);
		atomic_store(&cmr_test_failures, 0);
		body(region);
		_exit(atomic_load(&cmr_test_failures) == 0 ? 0 : 1);
	}
	REQUIRE(waitpid(pid, &status, 0) == pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void stop_the_parents(struct cmr_region *region)
{
	CHECK_EQ_U64(cmr_gate_planes(), 0);
	CHECK_EQ_U64((uint32_t)atomic_load(&cmr_tls.guard), 0);
	CHECK_EQ_U64(totals(region).peak, 100);
	CHECK_EQ_U64(totals(region).current, 100);
	cmr_session_seal(region);
	cmr_session_stop(region);
	cmr_session_free(region);
}

static void measure_anew(struct cmr_region *region)
{
	struct cmr_region *own;
	struct cmr_usage_row *rows;
	uint32_t n;
	size_t bytes;

	tell(2, 500); /* nobody listens */
	own = start(true);
	tell(1, 0); /* a block of the parent's region */
	CHECK_EQ_U64(totals(own).current_blocks, 0);
	tell(3, 70);
	tell(4, 7000);
	tell(4, 0);
	CHECK_EQ_U64(totals(own).peak, 7070);
	CHECK_EQ_U64(totals(own).current, 70);
	cmr_session_stop(own);
	REQUIRE(cmr_session_rows(own, true, &rows, &n, &bytes));
	CHECK_EQ_U64(n, 1);
	CHECK_EQ_I64(rows[0].bytes, 7070);
	cmr_session_free(own);
	CHECK_EQ_U64(totals(region).current, 100);
	cmr_session_stop(region);
	/* Many more: tags of the parent's time are swept in time. */
	for (int i = 0; i < 200; i++) {
		own = start(i % 2 == 0);
		tell(5, 64);
		CHECK_EQ_U64(totals(own).current, 64);
		cmr_session_free(own);
	}
}

CMR_TEST(a_child_stops_the_parents_region_harmlessly)
{
	struct cmr_region *r = start(true);

	tell(1, 100);
	CHECK(in_child(stop_the_parents, r));
	CHECK_EQ_U64(cmr_gate_planes(), CMR_GUARD(OUTER));
	CHECK_EQ_U64((uint32_t)atomic_load(&cmr_tls.guard), 0);
	tell(2, 50);
	CHECK_EQ_U64(totals(r).current, 150);
	cmr_session_free(r);
}

CMR_TEST(a_child_measures_on_its_own)
{
	struct cmr_region *r = start(true);

	tell(1, 100);
	CHECK(in_child(measure_anew, r));
	tell(1, 0);
	CHECK_EQ_U64(totals(r).current, 0);
	CHECK_EQ_U64(totals(r).peak, 100);
	cmr_session_free(r);
}

static void grandchild(struct cmr_region *region)
{
	struct cmr_region *own = start(true);

	tell(1, 100);
	CHECK(in_child(measure_anew, own));
	CHECK_EQ_U64(totals(own).current, 100);
	cmr_session_free(own);
	cmr_session_free(region);
}

CMR_TEST(a_childs_child_too)
{
	struct cmr_region *r = start(false);

	CHECK(in_child(grandchild, r));
	cmr_session_free(r);
}

/* --- callbacks --------------------------------------------------------------------------------- */

static unsigned forks, opens;

static void note_fork(void)
{
	forks++;
}

static void note_open(enum cmr_plane_id plane)
{
	(void)plane;
	opens++;
}

static const struct cmr_session_callbacks callbacks = { .first_open = note_open,
							.after_fork = note_fork };

static void check_callbacks(struct cmr_region *region)
{
	CHECK_EQ_U64(forks, 1);
	CHECK_EQ_U64(opens, 1);
	cmr_session_free(start(true));
	CHECK_EQ_U64(opens, 2);
	cmr_session_free(region);
}

CMR_TEST(callers_learn_of_a_fork)
{
	struct cmr_region *r;

	cmr_session_set_callbacks(&callbacks);
	r = start(true);
	CHECK(in_child(check_callbacks, r));
	CHECK_EQ_U64(forks, 0);
	cmr_session_free(r);
	cmr_session_set_callbacks(NULL);
}

/* --- other threads inside the tracker ---------------------------------------------------------- */

static _Atomic bool stop;

static void *churn(void *data)
{
	uint64_t random = (uint64_t)(uintptr_t)data;
	unsigned base = 10000 * (unsigned)random;

	cmr_thread_born(cmr_thread_stamp());
	while (!atomic_load(&stop)) {
		unsigned i = base + (unsigned)(cmr_random_next(&random) % 2000);

		fake_stack_at(1 + (unsigned)(cmr_random_next(&random) % 3000));
		tell(i, cmr_random_next(&random) % 3 == 0 ? 0 : 1 + cmr_random_next(&random) % 5000);
	}
	return NULL;
}

static void *starts_and_stops(void *data)
{
	(void)data;
	while (!atomic_load(&stop))
		cmr_session_free(start(true));
	return NULL;
}

static void child_amid(struct cmr_region *region)
{
	pthread_t thread;
	struct cmr_region *own;

	(void)totals(region);
	own = start(true);
	for (unsigned i = 0; i < 3000; i++) {
		fake_stack_at(1 + i % 3000);
		tell(20000 + i, 100 + i);
		tell(i, 0);
	}
	CHECK_EQ_U64(totals(own).total, 3000 * 100 + 2999 * 3000 / 2);
	CHECK_EQ_U64(totals(own).current, totals(own).total);
#if !UNDER_SANITIZER /* they know no threads of such a child */
	atomic_store(&stop, true);
	REQUIRE(pthread_create(&thread, NULL, churn, (void *)3) == 0);
	pthread_join(thread, NULL);
#else
	(void)thread;
#endif
	cmr_session_free(own);
	cmr_session_free(region);
}

CMR_TEST(forks_amid_events_of_other_threads)
{
	struct cmr_region *r;
	pthread_t threads[3];

	cmr_session_free(start(true)); /* what the threads need is made */
	atomic_store(&stop, false);
	REQUIRE(pthread_create(&threads[0], NULL, churn, (void *)1) == 0);
	REQUIRE(pthread_create(&threads[1], NULL, churn, (void *)2) == 0);
	REQUIRE(pthread_create(&threads[2], NULL, starts_and_stops, NULL) == 0);
	r = start(true);
	for (int i = 0; i < 60; i++)
		if (!CHECK(in_child(child_amid, r)))
			break;
	atomic_store(&stop, true);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	cmr_session_free(r);
}

/* --- a signal handler that forks inside an event ----------------------------------------------- */

static volatile sig_atomic_t handled;

static void fork_in_handler(int number)
{
	int status = -1;
	pid_t pid;

	(void)number;
	/* The guard of the interrupted event is what both sides find afterwards. */
	CHECK_EQ_U64((uint32_t)atomic_load(&cmr_tls.guard), CMR_GUARD(OUTER));
	pid = fork();
	if (pid == 0)
		_exit((uint32_t)atomic_load(&cmr_tls.guard) == CMR_GUARD(OUTER) &&
				      atomic_load(&cmr_gate) == 0
			      ? 0
			      : 1);
	CHECK_EQ_U64((uint32_t)atomic_load(&cmr_tls.guard), CMR_GUARD(OUTER));
	waitpid(pid, &status, 0);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	handled = 1;
}

CMR_TEST(a_signal_handler_may_fork_in_mid_event)
{
	struct cmr_region *r = start(true);
	struct cmr_plane *plane = &cmr_planes[OUTER];
	struct cmr_seat *held;

	signal(SIGUSR1, fork_in_handler);
	cmr_gate_enter(CMR_GUARD(OUTER));
	held = cmr_plane_enter(plane); /* the handler comes while this very thread holds it */
	raise(SIGUSR1);
	cmr_plane_leave(plane, held);
	cmr_gate_leave(CMR_GUARD(OUTER));
	CHECK(handled);
	cmr_session_free(r);
	signal(SIGUSR1, SIG_DFL);
}
