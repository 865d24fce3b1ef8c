/* One struct per thread, and the 16 bytes of initial-exec TLS that lead to it.
 *
 * TLS is two words because static TLS is scarce in a dlopened object; the rest lives in a block
 * from a pool. A pthread key returns the block at thread exit; no C++-style destructor is on the hot
 * path.
 *
 * Thread exit: destructors of pthread keys run in rounds, and those of others may allocate. The
 * block stays until our second round; then it leaves the list of threads, the guard is set for good
 * and CMR_GUARD_GONE keeps another block from being made, since nobody would be left to unlink it
 * and cmr_thread_quiesce would read the guard word of a thread that is no more. */
#ifndef CMR_OS_THREAD_H
#define CMR_OS_THREAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/seat.h"
#include "os/status.h"

/* Two independent views of the program, each with its own guard bit, block table and ledgers.
 * OUTER  : the outermost allocator call counts (PyMem domains, else malloc, else mmap).
 * SYSTEM : malloc family and mmap count, also when the interpreter's allocator made them. */
enum cmr_plane_id { CMR_PLANE_OUTER = 0, CMR_PLANE_SYSTEM = 1, CMR_N_PLANES = 2 };

#define CMR_GUARD(plane) ((uintptr_t)1 << (plane))
/* Both planes: set by everything of the tracker that is not itself an event. */
#define CMR_GUARD_ALL (CMR_GUARD(CMR_PLANE_OUTER) | CMR_GUARD(CMR_PLANE_SYSTEM))
/* Other bits of the guard word: 8 and 9 are those of a forking thread (session/fork.c), 16 to 20 ask for
 * a look at new objects (hook/hooks.h), and this one says that the thread's block has been returned at
 * its exit: no other is made. */
#define CMR_GUARD_GONE ((uintptr_t)1 << 24)
/* The upper half counts how often this thread came out of all events, so that one which is nearly
 * always inside some event can be seen to be no longer inside the same. It may wrap. */
#define CMR_GUARD_COUNT ((uintptr_t)1 << 32)

struct cmr_chain;  /* stack/chain.h */
struct cmr_region; /* heap/region.h */

/* What the hot path of one plane needs to know about this thread. Written by its owner only, in
 * cmr_region_refresh (heap/region.h), whenever `config` differs from the plane's. */
struct cmr_thread_view {
	uint32_t config;     /* configuration number these fields were computed for; 0 = never */
	uint8_t tag;         /* tag of blocks that this thread allocates now; 0 = not counted */
	bool exact;          /* every block carries its location */
	uint8_t period_log2; /* sampling period P = 1 << this, bytes; 0 = every block */
	int64_t countdown;   /* bytes until the next sampled byte */
	uint64_t random;     /* state of this thread's generator */
	struct cmr_seat seat; /* for the plane's ledger lock */
	struct cmr_region *region; /* that the seat's pass is for */
} __attribute__((aligned(64)));

struct cmr_thread {
	struct cmr_thread_view view[CMR_N_PLANES]; /* owner only */
	struct cmr_chain *chain;                   /* owner only; NULL until the first walk */
	const void *root;                          /* owner only; see cmr_chain_walk */
	/* Owner only; where no Python code runs: its node, and a location of one such node. */
	uint32_t last_node, last_of, last_kind, last_location, last_interning;
	uint64_t birth;      /* stamp of pthread_create, 0 = before the tracker was loaded */
	uint32_t ordinal;    /* order of first appearance, main thread of the import = 0 */
	int32_t native_id;   /* gettid() */
	uint32_t stock;      /* owner only; > 0: what it maps now is the interpreter's own stock */
	uint8_t exit_rounds; /* owner only; of key destructors that were run */

	/* The rest is protected by the threads lock. */
	struct cmr_thread *next, *previous;
	const _Atomic uintptr_t *guard; /* of this thread's TLS */
	uintptr_t seen;  /* guard word when a cmr_thread_quiesce began to wait for this thread */
	uintptr_t stuck; /* guard bits of planes: a whole quiesce was too short for its event */
	uint8_t waited;  /* bit per cmr_thread_quiesce that waits for this thread */
};

/* 16 bytes of static TLS. `guard` bit set: events of that plane pass through untracked. Written by
 * its owner only, read by cmr_thread_quiesce of others. */
struct cmr_tls {
	_Atomic uintptr_t guard;
	struct cmr_thread *self;
};
extern _Thread_local struct cmr_tls cmr_tls
#if defined(__GNUC__) && defined(CMR_TLS_MODEL)
	__attribute__((tls_model(CMR_TLS_MODEL)))
#endif
	;

/* Makes this thread's struct; NULL when memory is refused (a `threads` loss is counted), or when the
 * thread is about to end (none is). Call with the plane's guard set. errno is preserved. The C
 * library may allocate for the key, unseen by the hooks. */
struct cmr_thread *cmr_thread_create(void);

/* This thread's struct, made on first use; see cmr_thread_create. [hot] */
static inline struct cmr_thread *cmr_thread_self(void)
{
	struct cmr_thread *self = cmr_tls.self;

	return __builtin_expect(self != 0, 1) ? self : cmr_thread_create();
}

/* Sets guard BITS of this thread; returns the word before, for cmr_guard_restore. The fences keep
 * signal handlers on this thread from seeing half of it. [hot] */
static inline uintptr_t cmr_guard_raise(uintptr_t bits)
{
	uintptr_t before = atomic_load_explicit(&cmr_tls.guard, memory_order_relaxed);

	atomic_store_explicit(&cmr_tls.guard, before | bits, memory_order_relaxed);
	atomic_signal_fence(memory_order_seq_cst);
	return before;
}

/* Release: who reads the word (cmr_thread_quiesce) then sees all that was done under the guard. */
static inline void cmr_guard_restore(uintptr_t before)
{
	atomic_signal_fence(memory_order_seq_cst);
	atomic_store_explicit(&cmr_tls.guard, before, memory_order_release);
}

/* A new stamp, larger than all before it; threads and regions are ordered by it. [any] */
uint64_t cmr_thread_stamp(void);

/* Sets the birth stamp of the calling, new thread. Called by the pthread_create trampoline. */
void cmr_thread_born(uint64_t stamp);

/* Calls VISIT for each known thread, under the threads lock. VISIT must not create threads. */
void cmr_thread_each(void (*visit)(struct cmr_thread *, void *), void *data);

/* Waits until each other thread that was inside an event of PLANE when this was called has been seen
 * outside; gives up after about 100 ms. True when quiet.
 *
 * What that is worth: every event of PLANE on a thread that has a struct either is over, and what it
 * wrote is visible here, or set its guard bit after the caller's earlier stores became visible to
 * it. So close the gate or change the configuration first, and let events read it again after they
 * have set their guard. How: see the head of thread.c.
 *
 * A thread that never comes out (cancelled or longjmp'ed inside a hook) costs the wait once; later
 * calls say false at once while it stays inside that event. At most 8 callers at a time; more get
 * false. */
bool cmr_thread_quiesce(enum cmr_plane_id plane);

/* A full barrier on every thread of the process: at some moment of this call for those that run, at
 * their next switch for the others. errno is preserved. [nomalloc] */
void cmr_thread_barrier(void);

/* Whether that takes microseconds (membarrier) or milliseconds. */
bool cmr_thread_barrier_is_fast(void);

/* Test door: quiesce without membarrier(2), as on kernels that lack it. */
void cmr_thread_without_membarrier(bool without);

/* In the child of a fork, before any other call here: makes the lock anew and forgets all threads but
 * the caller. Their structs are returned, except those of threads that were inside an event: what
 * hangs on these may be half made and is left alone. */
void cmr_thread_after_fork(void);

/* Makes the pthread key and the calling thread's struct; safe to repeat. Without it no thread gets
 * a struct. CMR_SYSTEM: no key left, CMR_NO_MEMORY. */
enum cmr_status cmr_thread_init(struct cmr_error *err) CMR_CHECKED;

/* Called when a thread's struct is returned, so that upper layers free what hangs on it: by its own
 * thread with CMR_GUARD_ALL set and no lock held, or in the child of a fork. May be NULL. */
extern void (*cmr_thread_on_exit)(struct cmr_thread *);

#endif
