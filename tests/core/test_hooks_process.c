/* Threads, children and signals through the hooks. */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "hook_rig.h"
#include "os/memory.h"

static struct rig rig_of(const char *file, enum cmr_basis basis)
{
	struct rig rig = { .c = rig_calls(file), .variant = file, .basis = basis };

	rig.region = rig_start(basis);
	return rig;
}

/* --- threads ------------------------------------------------------------------------------------ */

struct work {
	const struct calls *c;
	pthread_barrier_t *go;
	uint64_t birth;
	size_t bytes;
	void *block;
};

static void *allocate(void *data)
{
	struct work *work = data;

	if (work->go != NULL)
		pthread_barrier_wait(work->go);
	work->block = work->c->malloc(work->bytes);
	work->birth = cmr_tls.self != NULL ? cmr_tls.self->birth : 0;
	return work;
}

/* The first test that starts a thread: nothing of an earlier one can be used again. */
static bool refuse(size_t bytes)
{
	(void)bytes;
	return false;
}

CMR_TEST(a_thread_starts_also_when_the_tracker_gets_no_memory)
{
	struct rig rig = rig_of(FIXTURE("calls_now"), CMR_BASIS_REQUESTED);
	struct work work = { .c = rig.c, .bytes = 10 };
	struct cmr_losses before, after;
	pthread_t thread;

	rig.c->free(rig.c->malloc(1)); /* this thread is known */
	cmr_losses_read(&before);
	cmr_memory_set_gatekeeper(refuse);
	CHECK_EQ_I64(rig.c->pthread_create(&thread, NULL, allocate, &work), 0);
	pthread_join(thread, NULL);
	cmr_memory_set_gatekeeper(NULL);
	cmr_losses_read(&after);
	CHECK(work.block != NULL);
	CHECK(after.threads > before.threads);
	rig.c->free(work.block);
	cmr_session_stop(rig.region);
}

CMR_TEST(a_thread_knows_when_it_was_born)
{
	struct rig rig = rig_of(FIXTURE("calls_now"), CMR_BASIS_REQUESTED);
	uint64_t before = cmr_thread_stamp(), after;
	struct work work = { .c = rig.c, .bytes = 321 };
	pthread_t thread;
	void *result;

	MARK_ERRNO();
	CHECK_EQ_I64(rig.c->pthread_create(&thread, NULL, allocate, &work), 0);
	ERRNO_KEPT();
	after = cmr_thread_stamp();
	CHECK_EQ_I64(pthread_join(thread, &result), 0);
	CHECK_EQ_PTR(result, &work);
	CHECK(work.birth > before && work.birth < after);
	CHECK_EQ_I64(rig_live(&rig, CMR_KIND_MALLOC), 321);
	rig.c->free(work.block); /* by another thread than the one that allocated */
	CHECK_EQ_I64(rig_live(&rig, CMR_KIND_MALLOC), 0);
	rig_end(rig.region);
}

CMR_TEST(a_thread_started_while_nothing_is_measured_is_an_old_one)
{
	const struct calls *c = rig_calls(FIXTURE("calls_now"));
	struct cmr_region_options options = { .basis = CMR_BASIS_REQUESTED,
					      .exact = true,
					      .max_period = 1,
					      .scope = CMR_SCOPE_TEST };
	struct cmr_region *region;
	struct cmr_totals totals;
	struct cmr_error error;
	struct work old = { .c = c, .bytes = 100 }, new = { .c = c, .bytes = 1000 };
	pthread_barrier_t go;
	pthread_t threads[2];

	cmr_session_stop(rig_start(CMR_BASIS_REQUESTED)); /* slots are patched */
	pthread_barrier_init(&go, NULL, 2);
	old.go = &go;
	CHECK_EQ_I64(c->pthread_create(&threads[0], NULL, allocate, &old), 0);
	region = cmr_region_new(&options);
	REQUIRE(cmr_session_start(region, &error) == CMR_OK);
	pthread_barrier_wait(&go);
	CHECK_EQ_I64(c->pthread_create(&threads[1], NULL, allocate, &new), 0);
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
	cmr_region_totals(region, &totals);
	CHECK_EQ_U64(totals.current, 1000);
	CHECK_EQ_U64(old.birth, 0);
	c->free(old.block);
	c->free(new.block);
	rig_end(region);
	pthread_barrier_destroy(&go);
}

/* Asks for more stack than there is address space. */
CMR_TEST(a_thread_that_could_not_be_started_leaves_nothing_behind)
{
	struct rig rig = rig_of(FIXTURE("calls_now"), CMR_BASIS_REQUESTED);
	struct work work = { .c = rig.c };
	pthread_attr_t attributes;
	pthread_t thread;
	size_t mapped = 0;

	pthread_attr_init(&attributes);
	CHECK_EQ_I64(pthread_attr_setstacksize(&attributes, (size_t)1 << 60), 0);
	for (int i = 0; i < 3000; i++) {
		CHECK(rig.c->pthread_create(&thread, &attributes, allocate, &work) != 0);
		if (i == 0)
			mapped = cmr_memory_mapped();
	}
	CHECK_EQ_U64(cmr_memory_mapped(), mapped);
	pthread_attr_destroy(&attributes);
	rig_end(rig.region);
}

static atomic_int cleaned;

static void clean_up(void *data)
{
	(void)data;
	atomic_fetch_add(&cleaned, 1);
}

static void *leave_early(void *data)
{
	const struct calls *c = data;

	pthread_cleanup_push(clean_up, NULL);
	c->free(c->malloc(100));
	pthread_exit((void *)7);
	pthread_cleanup_pop(0);
	return NULL;
}

static void *wait_for_cancel(void *data)
{
	const struct calls *c = data;

	pthread_cleanup_push(clean_up, NULL);
	for (;;) {
		c->free(c->malloc(100));
		pthread_testcancel();
	}
	pthread_cleanup_pop(0);
	return NULL;
}

CMR_TEST(threads_end_by_pthread_exit_and_by_cancellation)
{
	struct rig rig = rig_of(FIXTURE("calls_now"), CMR_BASIS_REQUESTED);
	pthread_t thread;
	void *result;

	CHECK_EQ_I64(rig.c->pthread_create(&thread, NULL, leave_early, (void *)(uintptr_t)rig.c), 0);
	CHECK_EQ_I64(pthread_join(thread, &result), 0);
	CHECK_EQ_PTR(result, (void *)7);
	CHECK_EQ_I64(
		rig.c->pthread_create(&thread, NULL, wait_for_cancel, (void *)(uintptr_t)rig.c), 0);
	usleep(2000);
	CHECK_EQ_I64(pthread_cancel(thread), 0);
	CHECK_EQ_I64(pthread_join(thread, &result), 0);
	CHECK_EQ_PTR(result, PTHREAD_CANCELED);
	CHECK_EQ_I64(atomic_load(&cleaned), 2);
	cmr_region_totals(rig.region, &rig.last);
	CHECK_EQ_U64(rig.last.current, 0);
	rig_end(rig.region);
}

/* Blocks travel round robin: each thread frees what its neighbour allocated. */
#define N_THREADS 4
#define N_BLOCKS 4000

static _Atomic(void *) mailbox[N_THREADS][N_BLOCKS];

struct post {
	const struct calls *c;
	int index;
};

static void *exchange(void *data)
{
	struct post *post = data;
	int from = (post->index + 1) % N_THREADS;

	for (int i = 0; i < N_BLOCKS; i++) {
		void *mine = post->c->malloc((size_t)(i % 700));

		mine = post->c->realloc(mine, (size_t)(i % 900 + 1));
		atomic_store(&mailbox[post->index][i], mine);
	}
	for (int i = 0; i < N_BLOCKS; i++) {
		void *theirs;

		while ((theirs = atomic_exchange(&mailbox[from][i], NULL)) == NULL)
			sched_yield();
		post->c->free(theirs);
	}
	return NULL;
}

CMR_TEST(totals_are_exact_with_threads_that_free_each_others_blocks)
{
	struct rig rig = rig_of(FIXTURE("calls_lazy"), CMR_BASIS_REQUESTED);
	struct post posts[N_THREADS];
	pthread_t threads[N_THREADS];
	uint64_t total = 0;

	for (int i = 0; i < N_BLOCKS; i++)
		total += (uint64_t)(i % 700 + i % 900 + 1);
	for (int i = 0; i < N_THREADS; i++) {
		posts[i] = (struct post){ rig.c, i };
		CHECK_EQ_I64(rig.c->pthread_create(&threads[i], NULL, exchange, &posts[i]), 0);
	}
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	cmr_region_totals(rig.region, &rig.last);
	CHECK_EQ_U64(rig.last.current, 0);
	CHECK_EQ_U64(rig.last.current_blocks, 0);
	if (UNDER_SANITIZER) { /* it allocates for each thread through libc's slots */
		CHECK(rig.last.total >= total * N_THREADS);
		CHECK(rig.last.count >= 2 * N_BLOCKS * N_THREADS);
	} else {
		CHECK_EQ_U64(rig.last.total, total * N_THREADS);
		CHECK_EQ_U64(rig.last.count, 2 * N_BLOCKS * N_THREADS);
	}
	rig_end(rig.region);
}

/* --- children ----------------------------------------------------------------------------------- */

static uint64_t children(enum cmr_child child)
{
	return atomic_load(&cmr_children[child]);
}

static int status_of(pid_t pid)
{
	int status = -1;

	CHECK_EQ_I64(waitpid(pid, &status, 0), pid);
	return status;
}

static void row_children(struct rig *rig)
{
	char *const argv[] = { (char[]){ "true" }, NULL };
	uint64_t before[CMR_N_CHILDREN];
	pid_t pid = 0;
	FILE *pipe;

	for (int i = 0; i < CMR_N_CHILDREN; i++)
		before[i] = children((enum cmr_child)i);
	pid = rig->c->vfork_and_exit(3);
	CHECK_EQ_I64(WEXITSTATUS(status_of(pid)), 3);
	CHECK_EQ_U64(children(CMR_CHILD_VFORK) - before[CMR_CHILD_VFORK], 1);
	CHECK_EQ_I64(rig->c->posix_spawn(&pid, "/bin/true", argv), 0);
	CHECK_EQ_I64(status_of(pid), 0);
	CHECK_EQ_I64(rig->c->posix_spawnp(&pid, "true", argv), 0);
	CHECK_EQ_I64(status_of(pid), 0);
	CHECK_EQ_U64(children(CMR_CHILD_SPAWN) - before[CMR_CHILD_SPAWN], 2);
	CHECK_EQ_I64(rig->c->system("exit 5"), 5 << 8);
	CHECK(rig->c->system(NULL) != 0);
	CHECK_EQ_U64(children(CMR_CHILD_SYSTEM) - before[CMR_CHILD_SYSTEM], 1);
	pipe = rig->c->popen("exit 6", "r");
	REQUIRE(pipe != NULL);
	CHECK_EQ_I64(pclose(pipe), 6 << 8);
	CHECK_EQ_U64(children(CMR_CHILD_POPEN) - before[CMR_CHILD_POPEN], 1);
	CHECK_EQ_U64(children(CMR_CHILD_FORK) - before[CMR_CHILD_FORK], 0);
}

CMR_TEST(children_are_counted_by_how_they_are_started)
{
	rig_each(rig_variants, row_children);
}

CMR_TEST(a_forked_child_allocates_undisturbed)
{
	struct rig rig = rig_of(FIXTURE("calls_now"), CMR_BASIS_REQUESTED);
	uint64_t before = children(CMR_CHILD_FORK);
	void *block = rig.c->malloc(100);
	pid_t pid = rig.c->fork();

	REQUIRE(pid >= 0);
	if (pid == 0) {
		block = rig.c->realloc(block, 5000);
		rig.c->free(block);
		rig.c->free(rig.c->calloc(3, 3));
		_exit(cmr_gate_planes() == 0 ? 0 : 1);
	}
	CHECK_EQ_I64(status_of(pid), 0);
	CHECK_EQ_U64(children(CMR_CHILD_FORK) - before, 1);
	CHANGED((&rig), 100, 1, 100, 1);
	rig.c->free(block);
	rig_end(rig.region);
}

CMR_TEST(a_child_in_a_terminal_of_its_own_is_counted_once)
{
	struct rig rig = rig_of(FIXTURE("calls_now"), CMR_BASIS_REQUESTED);
	uint64_t before = children(CMR_CHILD_FORK);
	int master = -1;
	pid_t pid = rig.c->forkpty(&master);

	if (pid == 0)
		_exit(cmr_gate_planes() == 0 ? 7 : 1);
	if (pid < 0) {
		cmr_session_stop(rig.region);
		CMR_TEST_SKIP("no terminal can be made here");
	}
	CHECK_EQ_I64(WEXITSTATUS(status_of(pid)), 7);
	CHECK_EQ_U64(children(CMR_CHILD_FORK) - before, 1);
	close(master);
	rig_end(rig.region);
}

/* --- signals ------------------------------------------------------------------------------------ */

static const struct calls *handler_calls;
static atomic_uint handled;

/* mmap and munmap are what a handler may call: the kernel is all that they need. */
static void on_alarm(int number)
{
	int saved = errno;
	void *start = handler_calls->mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)number;
	if (start != MAP_FAILED)
		handler_calls->munmap(start, 4096);
	atomic_fetch_add(&handled, 1);
	errno = saved;
}

/* As small as the kernel allows, and a little for the handler itself. */
#define ALTERNATE_BYTES ((size_t)MINSIGSTKSZ + 8192)

CMR_TEST(a_signal_handler_may_allocate_in_the_middle_of_an_event)
{
	struct rig rig = rig_of(FIXTURE("calls_now"), CMR_BASIS_REQUESTED);
	struct itimerval every = { { 0, 200 }, { 0, 200 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction action = { .sa_handler = on_alarm };
	char *alternate = mmap(NULL, ALTERNATE_BYTES, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stack_t stack = { .ss_sp = alternate, .ss_size = ALTERNATE_BYTES };

	handler_calls = rig.c;
	CHECK_EQ_I64(sigaltstack(&stack, NULL), 0);
	action.sa_flags = SA_ONSTACK;
	CHECK_EQ_I64(sigaction(SIGALRM, &action, NULL), 0);
	CHECK_EQ_I64(setitimer(ITIMER_REAL, &every, NULL), 0);
	for (int i = 0; atomic_load(&handled) < 300 && i < 200000000; i++) {
		void *block = rig.c->malloc(100);

		rig.c->free(rig.c->realloc(block, 300));
	}
	CHECK_EQ_I64(setitimer(ITIMER_REAL, &never, NULL), 0);
	CHECK(atomic_load(&handled) >= 300);
	cmr_region_totals(rig.region, &rig.last);
	CHECK_EQ_U64(rig.last.current, 0);
	CHECK_EQ_U64(rig.last.current_blocks, 0);
	CHECK_EQ_U64(GUARD(), 0);
	rig_end(rig.region);
}
