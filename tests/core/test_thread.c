/* Per-thread structs: birth, exit, fork. */
#include "cmr_test.h"

#include <sys/syscall.h>

#include "child.h"
#include "os/losses.h"
#include "os/memory.h"
#include "threads_rig.h"

static uint64_t thread_losses(void)
{
	struct cmr_losses losses;

	cmr_losses_read(&losses);
	return losses.threads;
}

static bool refuse(size_t bytes)
{
	(void)bytes;
	return false;
}

/* --- structs --- */

CMR_TEST(without_the_key_no_thread_gets_a_struct)
{
	uint64_t lost = thread_losses();

	errno = 33;
	CHECK(cmr_thread_self() == NULL);
	CHECK_EQ_I64(errno, 33);
	CHECK_EQ_U64(thread_losses() - lost, 1);
	CHECK_EQ_U64(n_threads(), 0);
}

static void take_all_keys(void)
{
	struct cmr_error err = { .status = CMR_OK };
	pthread_key_t key;

	while (pthread_key_create(&key, NULL) == 0)
		continue;
	CHECK_EQ_U64(cmr_thread_init(&err), CMR_SYSTEM);
	CHECK_EQ_U64(err.status, CMR_SYSTEM);
	CHECK_EQ_I64(err.sys_errno, EAGAIN);
	CHECK(cmr_thread_self() == NULL);
	REQUIRE(pthread_key_delete(key) == 0); /* the newest */
	CHECK_EQ_U64(cmr_thread_init(&err), CMR_OK);
}

/* Runs before the key was made. */
CMR_TEST(a_refused_key_is_a_status)
{
	CHECK(passes_in_child(take_all_keys));
}

/* Runs before any struct was made: the pool has nothing in store. */
CMR_TEST(a_refused_struct_is_a_status_and_a_loss)
{
	struct cmr_error err = { .status = CMR_OK };
	uint64_t lost = thread_losses();

	cmr_memory_set_gatekeeper(refuse);
	CHECK_EQ_U64(cmr_thread_init(&err), CMR_NO_MEMORY);
	CHECK_EQ_U64(err.status, CMR_NO_MEMORY);
	CHECK(cmr_thread_self() == NULL);
	cmr_memory_set_gatekeeper(NULL);
	CHECK_EQ_U64(thread_losses() - lost, 2);
	CHECK_EQ_U64(n_threads(), 0);
	CHECK_EQ_U64(guard_word(), 0);
}

CMR_TEST(the_initialising_thread_has_ordinal_0)
{
	struct cmr_thread *self;

	must_init();
	self = cmr_tls.self;
	REQUIRE(self != NULL);
	CHECK_EQ_U64(self->ordinal, 0);
	CHECK_EQ_I64(self->native_id, syscall(SYS_gettid));
	CHECK_EQ_U64(self->birth, 0);
	CHECK_EQ_PTR(cmr_thread_self(), self);
	must_init();
	CHECK_EQ_PTR(cmr_tls.self, self);
	CHECK_EQ_U64(n_threads(), 1);
	CHECK_EQ_U64(guard_word(), 0);
}

static void *look_at_self(void *argument)
{
	struct cmr_thread *self;

	(void)argument;
	CHECK(cmr_tls.self == NULL);
	errno = 44;
	self = cmr_thread_self();
	CHECK_EQ_I64(errno, 44);
	REQUIRE(self != NULL);
	CHECK_EQ_PTR(cmr_tls.self, self);
	CHECK_EQ_I64(self->native_id, syscall(SYS_gettid));
	CHECK_EQ_U64(self->view[0].config, 0);
	CHECK_EQ_U64(n_threads(), 2);
	CHECK_EQ_U64(guard_word(), 0);
	return (void *)(uintptr_t)self->ordinal;
}

CMR_TEST(threads_are_numbered_in_order_of_appearance)
{
	uintptr_t first, second;

	must_init();
	first = (uintptr_t)run(look_at_self, NULL);
	second = (uintptr_t)run(look_at_self, NULL);
	CHECK(first > 0);
	CHECK_EQ_U64(second, first + 1);
	CHECK_EQ_U64(n_threads(), 1);
}

static void *be_born(void *stamp)
{
	uintptr_t before = guard_word();

	/* Whoever ran before in the new thread made it known already, as an old one. */
	for (int plane = 0; plane < CMR_N_PLANES; plane++)
		cmr_thread_self()->view[plane].config = 5;
	cmr_thread_born(*(uint64_t *)stamp);
	CHECK_EQ_U64(guard_word(), before);
	CHECK_EQ_U64(cmr_thread_self()->birth, *(uint64_t *)stamp);
	for (int plane = 0; plane < CMR_N_PLANES; plane++)
		CHECK_EQ_U64(cmr_thread_self()->view[plane].config, 0);
	return NULL;
}

CMR_TEST(stamps_rise_and_births_are_kept)
{
	uint64_t a = cmr_thread_stamp(), b = cmr_thread_stamp();

	must_init();
	CHECK(a > 0);
	CHECK(b > a);
	run(be_born, &b);
}

CMR_TEST(the_guard_is_raised_and_restored)
{
	uintptr_t before = cmr_guard_raise(OUTER), inner;

	CHECK_EQ_U64(before, 0);
	CHECK_EQ_U64(guard_word(), OUTER);
	inner = cmr_guard_raise(SYSTEM | OUTER);
	CHECK_EQ_U64(inner, OUTER);
	CHECK_EQ_U64(guard_word(), CMR_GUARD_ALL);
	cmr_guard_restore(inner);
	CHECK_EQ_U64(guard_word(), OUTER);
	cmr_guard_restore(before);
	CHECK_EQ_U64(guard_word(), 0);
}

/* --- thread exit --- */

static struct {
	unsigned calls;
	uintptr_t guard;
	unsigned threads;
	bool self_gone;
} at_exit;

static void note_exit(struct cmr_thread *thread)
{
	at_exit.calls++;
	at_exit.guard = guard_word();
	at_exit.threads = n_threads();
	at_exit.self_gone = cmr_tls.self == NULL && thread->native_id != 0;
}

CMR_TEST(at_exit_the_struct_is_returned_once_and_guarded)
{
	must_init();
	memset(&at_exit, 0, sizeof at_exit);
	cmr_thread_on_exit = note_exit;
	run(look_at_self, NULL);
	cmr_thread_on_exit = NULL;
	CHECK_EQ_U64(at_exit.calls, 1);
	CHECK_EQ_U64(at_exit.guard, CMR_GUARD_ALL);
	CHECK_EQ_U64(at_exit.threads, 1);
	CHECK(at_exit.self_gone);
}

CMR_TEST(threads_end_in_any_order)
{
	const int orders[6][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
				   { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
	struct worker workers[3];

	must_init();
	for (int o = 0; o < 6; o++) {
		for (int i = 0; i < 3; i++)
			begin(&workers[i], 0);
		CHECK_EQ_U64(n_threads(), 4);
		for (unsigned i = 0; i < 3; i++) {
			end(&workers[orders[o][i]]);
			CHECK_EQ_U64(n_threads(), 3 - i);
		}
	}
}

CMR_TEST(structs_are_used_again)
{
	size_t before;

	must_init();
	run(look_at_self, NULL);
	before = cmr_memory_mapped();
	for (int i = 0; i < 2000; i++)
		run(look_at_self, NULL);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
}

/* A key of the program whose destructor has an event in every round. */
static pthread_key_t busy_key;
static struct {
	unsigned round;
	const struct cmr_thread *self[8];
	uintptr_t guard[8];
	unsigned threads[8];
} rounds;

/* ThreadSanitizer takes a thread for ended before its last round of destructors. */
__attribute__((no_sanitize("thread"))) static void busy_destructor(void *value)
{
	unsigned r = rounds.round++;

	rounds.guard[r] = guard_word();
	rounds.self[r] = (guard_word() & OUTER) == 0 ? cmr_thread_self() : cmr_tls.self;
	rounds.threads[r] = n_threads();
	pthread_setspecific(busy_key, value);
}

static void *exit_busily(void *with_event)
{
	if (with_event != NULL)
		cmr_thread_self();
	pthread_setspecific(busy_key, &rounds);
	return cmr_tls.self;
}

/* The destructor of the program runs after ours in each round (its key is younger). The struct
 * stays for the first round, is gone after the second, and none is made after that. */
CMR_TEST(events_in_destructors_count_until_the_struct_is_gone)
{
	const struct cmr_thread *self;

	must_init();
	REQUIRE(pthread_key_create(&busy_key, busy_destructor) == 0);
	memset(&rounds, 0, sizeof rounds);
	self = run(exit_busily, &rounds);
	CHECK_EQ_U64(rounds.round, 4);
	CHECK_EQ_PTR(rounds.self[0], self);
	CHECK_EQ_U64(rounds.guard[0], 0);
	for (int r = 1; r < 4; r++) {
		CHECK(rounds.self[r] == NULL);
		CHECK_EQ_U64(rounds.guard[r], CMR_GUARD_ALL | CMR_GUARD_GONE);
		CHECK_EQ_U64(rounds.threads[r], 1);
	}
	CHECK_EQ_U64(n_threads(), 1);
	pthread_key_delete(busy_key);
}

/* The first event of all comes in a destructor. */
CMR_TEST(a_thread_that_appears_at_its_exit_is_forgotten_too)
{
	must_init();
	REQUIRE(pthread_key_create(&busy_key, busy_destructor) == 0);
	memset(&rounds, 0, sizeof rounds);
	CHECK(run(exit_busily, NULL) == NULL);
	CHECK(rounds.self[0] != NULL);
	CHECK_EQ_U64(rounds.threads[0], 2);
	CHECK_EQ_U64(rounds.guard[0], 0);
	CHECK_EQ_U64(rounds.guard[3], CMR_GUARD_ALL | CMR_GUARD_GONE);
	CHECK_EQ_U64(n_threads(), 1);
	pthread_key_delete(busy_key);
}

__attribute__((no_sanitize("thread"))) static void gone_destructor(void *value)
{
	uint64_t lost = thread_losses();

	(void)value;
	if ((guard_word() & CMR_GUARD_GONE) == 0) {
		pthread_setspecific(busy_key, value);
		return;
	}
	CHECK(cmr_thread_create() == NULL);
	cmr_thread_born(5);
	CHECK_EQ_U64(guard_word(), CMR_GUARD_ALL | CMR_GUARD_GONE);
	CHECK_EQ_U64(thread_losses(), lost);
	rounds.round++;
}

CMR_TEST(a_thread_that_is_gone_gets_no_other_struct)
{
	must_init();
	REQUIRE(pthread_key_create(&busy_key, gone_destructor) == 0);
	memset(&rounds, 0, sizeof rounds);
	run(exit_busily, &rounds);
	CHECK_EQ_U64(rounds.round, 1);
	pthread_key_delete(busy_key);
}

/* --- fork --- */

static atomic_bool stop;
static unsigned returned;

static void count_returned(struct cmr_thread *thread)
{
	(void)thread;
	returned++;
}

static void in_child(void)
{
	struct cmr_thread *self = cmr_tls.self;
	uint32_t ordinal = self->ordinal;

	cmr_thread_on_exit = count_returned;
	cmr_thread_after_fork();
	CHECK_EQ_U64(returned, 2); /* the idle ones; the one inside an event is left alone */
	CHECK_EQ_U64(n_threads(), 1);
	CHECK_EQ_PTR(cmr_tls.self, self);
	CHECK_EQ_U64(self->ordinal, ordinal);
	CHECK_EQ_I64(self->native_id, getpid());
	cmr_thread_on_exit = NULL;
	CHECK(cmr_thread_quiesce(CMR_PLANE_OUTER));
	if (!UNDER_TSAN)
		run(look_at_self, NULL);
}

static void in_strange_child(void)
{
	cmr_tls.self = NULL; /* as when a thread forks that has no struct */
	cmr_thread_after_fork();
	CHECK_EQ_U64(n_threads(), 0);
}

CMR_TEST(only_the_forking_thread_survives)
{
	struct worker idle, other, busy;

	must_init();
	begin(&idle, 0);
	begin(&busy, OUTER);
	begin(&other, 0);
	CHECK_EQ_U64(n_threads(), 4);
	CHECK(passes_in_child(in_child));
	CHECK(passes_in_child(in_strange_child));
	CHECK_EQ_U64(n_threads(), 4);
	end(&idle);
	end(&other);
	end(&busy);
	CHECK_EQ_U64(n_threads(), 1);
}

static void *appear(void *nothing)
{
	cmr_thread_self();
	return nothing;
}

static void *come_and_go(void *nothing)
{
	while (!atomic_load(&stop))
		run(appear, NULL);
	return nothing;
}

static void alone_in_child(void)
{
	cmr_thread_after_fork();
	CHECK_EQ_U64(n_threads(), 1);
	CHECK(cmr_thread_quiesce(CMR_PLANE_OUTER));
}

static void *fork_here(void *nothing)
{
	cmr_thread_self();
	CHECK(passes_in_child(alone_in_child));
	return nothing;
}

CMR_TEST(any_thread_may_fork)
{
	must_init();
	run(fork_here, NULL);
	CHECK_EQ_U64(n_threads(), 1);
}

/* A thread that holds a lock for as long as a test wants. */
static sem_t held, go_on;

static void stay(struct cmr_thread *thread, void *data)
{
	(void)thread;
	(void)data;
	sem_post(&held);
	sem_wait(&go_on);
}

static void *hold_list(void *nothing)
{
	cmr_thread_each(stay, NULL);
	return nothing;
}

static bool stay_in_pool(size_t bytes)
{
	(void)bytes;
	sem_post(&held);
	sem_wait(&go_on);
	return true;
}

static void *hold_pools(void *nothing)
{
	static struct cmr_pool pool = CMR_POOL(32);

	CHECK(cmr_pool_get(&pool) != NULL);
	return nothing;
}

static void use_both(void)
{
	struct cmr_pool pool = CMR_POOL(32);

	cmr_memory_set_gatekeeper(NULL);
	alone_in_child();
	CHECK(cmr_pool_get(&pool) != NULL);
}

CMR_TEST(a_fork_frees_locks_that_others_hold)
{
	pthread_t holder;

	must_init();
	sem_init(&held, 0, 0);
	sem_init(&go_on, 0, 0);
	REQUIRE(pthread_create(&holder, NULL, hold_list, NULL) == 0);
	sem_wait(&held);
	CHECK(passes_in_child(use_both));
	sem_post(&go_on);
	pthread_join(holder, NULL);
	cmr_memory_set_gatekeeper(stay_in_pool);
	REQUIRE(pthread_create(&holder, NULL, hold_pools, NULL) == 0);
	sem_wait(&held);
	cmr_memory_set_gatekeeper(NULL);
	CHECK(passes_in_child(use_both));
	sem_post(&go_on);
	pthread_join(holder, NULL);
}

/* The lock may be held by a thread that the child does not have. */
CMR_TEST(a_fork_may_come_at_any_moment)
{
	pthread_t threads[2];

	must_init();
	atomic_store(&stop, false);
	for (int i = 0; i < 2; i++)
		REQUIRE(pthread_create(&threads[i], NULL, come_and_go, NULL) == 0);
	for (int round = 0; round < 50; round++)
		CHECK(passes_in_child(alone_in_child));
	atomic_store(&stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ_U64(n_threads(), 1);
}
