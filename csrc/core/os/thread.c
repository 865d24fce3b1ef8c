/* How cmr_thread_quiesce knows that no event is under way, with nothing but compiler fences on the
 * hot path.
 *
 * An event does (E1) set the guard bit, (E2) read gate, configuration and tables, (E3) write
 * tables, (E4) clear the bit with release, counting the event. The caller does (Q1) store gate or
 * configuration, (Q2) membarrier(2), (Q3) read guard words with acquire until each was seen clear,
 * or in a later event: a busy thread is hardly ever caught outside.
 * membarrier makes every running thread of the process pass a full barrier between the begin and
 * the end of Q2; a thread that does not run passes one when it is switched. If E1 comes before that
 * barrier on its thread, the bit is visible at Q3, which then waits for E4 and sees E3. If E1 comes
 * after it, so does E2, which then sees Q1.
 * A thread without a struct is not waited for. It enters the list under the lock inside its first
 * event that wants one, and if it does so after Q3 has begun, what follows there sees Q1 through
 * that lock.
 *
 * Without membarrier (old kernels, sandboxes): taking write permission from a page that was just
 * written makes the kernel interrupt every processor that runs a thread of this process, which is a
 * full barrier there. aarch64 broadcasts that in hardware, without an interrupt; so a millisecond of
 * sleep follows, far longer than any store stays in a processor's buffer. */
#include "os/thread.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os/lock.h"
#include "os/losses.h"
#include "os/memory.h"

/* Of <linux/membarrier.h>, which not every C library brings along. */
#define MEMBARRIER_PRIVATE_EXPEDITED (1 << 3)
#define MEMBARRIER_REGISTER_PRIVATE_EXPEDITED (1 << 4)

/* Our round of key destructors in which a thread's struct is returned. Later rounds, of the
 * PTHREAD_DESTRUCTOR_ITERATIONS that there may be, are left to threads whose first event of all
 * came in a destructor. */
#define LAST_EXIT_ROUND 2

#define QUIESCE_NS 100000000 /* longest wait */
#define QUIESCE_YIELDS 50    /* looks before it sleeps between them */

_Thread_local struct cmr_tls cmr_tls;
void (*cmr_thread_on_exit)(struct cmr_thread *);

static struct cmr_lock threads_lock = CMR_LOCK(CMR_RANK_THREADS);
/* Protected by threads_lock: */
static struct cmr_thread *threads;
static uint32_t next_ordinal;
static uint8_t quiescing; /* bit per cmr_thread_quiesce under way */

static struct cmr_pool pool = CMR_POOL(sizeof(struct cmr_thread));
static pthread_key_t exit_key;
static _Atomic bool key_made;
static _Atomic bool no_membarrier;
static _Atomic uint64_t last_stamp;

/* --- one thread ---------------------------------------------------------------------------- */

static void link_thread(struct cmr_thread *thread)
{
	cmr_lock_take(&threads_lock);
	thread->ordinal = next_ordinal++;
	thread->next = threads;
	if (threads != NULL)
		threads->previous = thread;
	atomic_signal_fence(memory_order_release); /* see cmr_thread_after_fork */
	threads = thread;
	cmr_lock_drop(&threads_lock);
}

static void unlink_thread(struct cmr_thread *thread)
{
	cmr_lock_take(&threads_lock);
	if (thread->previous != NULL)
		thread->previous->next = thread->next;
	else
		threads = thread->next;
	if (thread->next != NULL)
		thread->next->previous = thread->previous;
	cmr_lock_drop(&threads_lock);
}

static void give_back(struct cmr_thread *thread)
{
	if (cmr_thread_on_exit != NULL)
		cmr_thread_on_exit(thread);
	cmr_pool_put(&pool, thread);
}

/* Destructor of the key; see the head of thread.h. */
static void on_exit_round(void *value)
{
	struct cmr_thread *thread = value;
	uintptr_t before = cmr_guard_raise(CMR_GUARD_ALL);

	if (++thread->exit_rounds < LAST_EXIT_ROUND && pthread_setspecific(exit_key, thread) == 0) {
		cmr_guard_restore(before);
		return;
	}
	/* A thread that was cancelled in the middle of an event would be waited for without end. */
	for (unsigned p = 0; p < CMR_N_PLANES; p++)
		atomic_store_explicit(&thread->view[p].seat.inside, 0, memory_order_release);
	unlink_thread(thread);
	cmr_tls.self = NULL;
	give_back(thread);
	cmr_guard_restore(before | CMR_GUARD_ALL | CMR_GUARD_GONE);
}

static struct cmr_thread *make_thread(void)
{
	struct cmr_thread *thread;

	/* Pairs with the release store in cmr_thread_init. */
	if (!atomic_load_explicit(&key_made, memory_order_acquire))
		return NULL;
	thread = cmr_pool_get(&pool);
	if (thread == NULL)
		return NULL;
	if (pthread_setspecific(exit_key, thread) != 0) {
		cmr_pool_put(&pool, thread);
		return NULL;
	}
	thread->native_id = (int32_t)syscall(SYS_gettid);
	thread->guard = &cmr_tls.guard;
	link_thread(thread);
	cmr_tls.self = thread;
	return thread;
}

struct cmr_thread *cmr_thread_create(void)
{
	uintptr_t before = cmr_guard_raise(CMR_GUARD_ALL);
	struct cmr_thread *thread = NULL;
	int saved = errno;

	if ((before & CMR_GUARD_GONE) == 0) {
		thread = make_thread();
		if (thread == NULL)
			cmr_lose(CMR_LOSS_threads);
	}
	errno = saved;
	cmr_guard_restore(before);
	return thread;
}

uint64_t cmr_thread_stamp(void)
{
	return atomic_fetch_add_explicit(&last_stamp, 1, memory_order_relaxed) + 1;
}

void cmr_thread_born(uint64_t stamp)
{
	uintptr_t before = cmr_guard_raise(CMR_GUARD_ALL);
	struct cmr_thread *thread = cmr_thread_self();

	if (thread != NULL) {
		thread->birth = stamp;
		/* What ran before us in the new thread (a sanitizer) may have allocated: its views took
		 * the thread for an old one. */
		for (int plane = 0; plane < CMR_N_PLANES; plane++)
			thread->view[plane].config = 0;
	}
	cmr_guard_restore(before);
}

enum cmr_status cmr_thread_init(struct cmr_error *err)
{
	uintptr_t before = cmr_guard_raise(CMR_GUARD_ALL);
	enum cmr_status status = CMR_OK;
	int failed = 0;

	cmr_lock_take(&threads_lock);
	if (!atomic_load_explicit(&key_made, memory_order_relaxed)) {
		failed = pthread_key_create(&exit_key, on_exit_round);
		if (failed == 0)
			atomic_store_explicit(&key_made, true, memory_order_release);
	}
	cmr_lock_drop(&threads_lock);
	if (failed != 0)
		status = cmr_fail(err, CMR_SYSTEM, failed, "no pthread key left for the tracker");
	else if (cmr_thread_self() == NULL)
		status = cmr_fail(err, CMR_NO_MEMORY, ENOMEM, "no memory for a thread's state");
	cmr_guard_restore(before);
	return status;
}

/* Whether THREAD, which is still in the list, has one of the guard BITS set. */
static bool inside(const struct cmr_thread *thread, uintptr_t bits)
{
	/* Pairs with the release store of cmr_guard_restore. */
	return (atomic_load_explicit(thread->guard, memory_order_acquire) & bits) != 0;
}

/* --- all threads --------------------------------------------------------------------------- */

void cmr_thread_each(void (*visit)(struct cmr_thread *, void *), void *data)
{
	cmr_lock_take(&threads_lock);
	for (struct cmr_thread *t = threads; t != NULL; t = t->next)
		visit(t, data);
	cmr_lock_drop(&threads_lock);
}

void cmr_thread_after_fork(void)
{
	struct cmr_thread *self = cmr_tls.self, *next;

	threads_lock = (struct cmr_lock)CMR_LOCK(CMR_RANK_THREADS);
	cmr_pools_after_fork();
	quiescing = 0;
	/* The list is whole in this direction at any moment, and the memory of the other threads'
	 * TLS still there: a fork copies everything. */
	for (struct cmr_thread *t = threads; t != NULL; t = next) {
		next = t->next;
		if (t != self && !inside(t, CMR_GUARD_ALL))
			give_back(t);
	}
	threads = self;
	if (self == NULL)
		return;
	self->next = self->previous = NULL;
	self->waited = 0;
	self->native_id = (int32_t)syscall(SYS_gettid);
}

/* --- quiesce ------------------------------------------------------------------------------- */

void cmr_thread_without_membarrier(bool without)
{
	atomic_store(&no_membarrier, without);
}

static bool membarrier_everywhere(void)
{
	if (atomic_load_explicit(&no_membarrier, memory_order_relaxed))
		return false;
	if (syscall(SYS_membarrier, MEMBARRIER_PRIVATE_EXPEDITED, 0, 0) == 0)
		return true;
	/* EPERM: this process has not registered yet. */
	if (errno == EPERM &&
	    syscall(SYS_membarrier, MEMBARRIER_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0 &&
	    syscall(SYS_membarrier, MEMBARRIER_PRIVATE_EXPEDITED, 0, 0) == 0)
		return true;
	atomic_store_explicit(&no_membarrier, true, memory_order_relaxed);
	return false;
}

static void protect_everywhere(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	volatile char *memory =
		mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory != MAP_FAILED) {
		*memory = 1;
		mprotect((void *)(uintptr_t)memory, page, PROT_READ);
		munmap((void *)(uintptr_t)memory, page);
	}
	cmr_nap(1000000);
}

/* Q2 in the head of this file. */
void cmr_thread_barrier(void)
{
	int saved = errno;

	/* Both are full barriers on this thread, too. */
	if (!membarrier_everywhere())
		protect_everywhere();
	errno = saved;
}

/* Whether T, whose guard is WORD, has come out of the event in which it was seen. */
static bool is_out(const struct cmr_thread *t, uintptr_t word, uintptr_t bit)
{
	return (word & bit) == 0 || word / CMR_GUARD_COUNT != t->seen / CMR_GUARD_COUNT;
}

bool cmr_thread_barrier_is_fast(void)
{
	static _Atomic bool tried;
	int saved = errno;

	if (!atomic_load_explicit(&tried, memory_order_relaxed)) {
		(void)membarrier_everywhere();
		atomic_store_explicit(&tried, true, memory_order_relaxed);
	}
	errno = saved;
	return !atomic_load_explicit(&no_membarrier, memory_order_relaxed);
}

/* First look: marks with MARK the threads to wait for. False: one of them is stuck. */
static bool mark_locked(uintptr_t bit, uint8_t mark)
{
	bool all = true;

	for (struct cmr_thread *t = threads; t != NULL; t = t->next) {
		uintptr_t word = atomic_load_explicit(t->guard, memory_order_acquire);

		if (t == cmr_tls.self)
			continue;
		if (is_out(t, word, bit))
			t->stuck &= ~bit;
		if ((t->stuck & bit) != 0) {
			all = false;
		} else if ((word & bit) != 0) {
			/* Of two that wait, the one that came first waits for a later event, too. */
			t->seen = word;
			t->waited |= mark;
		}
	}
	return all;
}

/* Later looks: takes MARK from threads that have come out. False: some have not. */
static bool look_locked(uintptr_t bit, uint8_t mark)
{
	bool all = true;

	for (struct cmr_thread *t = threads; t != NULL; t = t->next) {
		if ((t->waited & mark) == 0)
			continue;
		if (is_out(t, atomic_load_explicit(t->guard, memory_order_acquire), bit))
			t->waited &= (uint8_t)~mark;
		else
			all = false;
	}
	return all;
}

static void give_up_locked(uintptr_t bit, uint8_t mark)
{
	for (struct cmr_thread *t = threads; t != NULL; t = t->next) {
		if ((t->waited & mark) == 0)
			continue;
		t->waited &= (uint8_t)~mark;
		t->stuck |= bit;
	}
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Looks again until the marked threads have come out or time is up. The lock is free in between:
 * threads that begin or end inside an event need it. */
static bool wait_for_marked(uintptr_t bit, uint8_t mark)
{
	int64_t deadline = now_ns() + QUIESCE_NS;
	bool quiet;

	for (unsigned turn = 0;; turn++) {
		bool late = now_ns() > deadline;

		cmr_lock_take(&threads_lock);
		quiet = look_locked(bit, mark);
		if (late && !quiet)
			give_up_locked(bit, mark);
		cmr_lock_drop(&threads_lock);
		if (quiet || late)
			return quiet;
		if (turn < QUIESCE_YIELDS)
			sched_yield();
		else
			cmr_nap(50000);
	}
}

bool cmr_thread_quiesce(enum cmr_plane_id plane)
{
	uintptr_t before = cmr_guard_raise(CMR_GUARD_ALL), bit = CMR_GUARD(plane);
	uint8_t mark;
	bool quiet;

	cmr_thread_barrier();
	cmr_lock_take(&threads_lock);
	mark = (uint8_t)(~quiescing & (quiescing + 1)); /* lowest bit that is free */
	quiescing |= mark;
	quiet = mark != 0 && mark_locked(bit, mark);
	cmr_lock_drop(&threads_lock);
	if (mark != 0) {
		quiet = wait_for_marked(bit, mark) && quiet;
		cmr_lock_take(&threads_lock);
		quiescing &= (uint8_t)~mark;
		cmr_lock_drop(&threads_lock);
	}
	cmr_guard_restore(before);
	return quiet;
}
