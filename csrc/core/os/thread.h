/* One struct per thread, and the 16 bytes of initial-exec TLS that lead to it.
 *
 * TLS is two words because static TLS is scarce in a dlopened object; the rest lives in a block
 * from a pool. A pthread key (set NULL first, re-creatable) returns the block at thread exit; no
 * C++-style destructor is on the hot path. */
#ifndef CMR_OS_THREAD_H
#define CMR_OS_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "os/status.h"

/* Two independent views of the program, each with its own guard bit, block table and ledgers.
 * OUTER  : the outermost allocator call counts (PyMem domains, else malloc, else mmap).
 * SYSTEM : malloc family and mmap count, also when the interpreter's allocator made them. */
enum cmr_plane_id { CMR_PLANE_OUTER = 0, CMR_PLANE_SYSTEM = 1, CMR_N_PLANES = 2 };

#define CMR_GUARD(plane) ((uintptr_t)1 << (plane))
/* Both planes: set by everything of the tracker that is not itself an event. */
#define CMR_GUARD_ALL (CMR_GUARD(CMR_PLANE_OUTER) | CMR_GUARD(CMR_PLANE_SYSTEM))

struct cmr_chain; /* stack/chain.h */

/* What the hot path of one plane needs to know about this thread. Written by its owner only, in
 * cmr_region_refresh (heap/region.h), whenever `config` differs from the plane's. */
struct cmr_thread_view {
	uint32_t config;     /* configuration number these fields were computed for; 0 = never */
	uint8_t tag;         /* tag of blocks that this thread allocates now; 0 = not counted */
	bool exact;          /* every block carries its location */
	uint8_t period_log2; /* sampling period P = 1 << this, bytes; 0 = every block */
	int64_t countdown;   /* bytes until the next sampled byte */
	uint64_t random;     /* state of this thread's generator */
};

struct cmr_thread {
	struct cmr_thread_view view[CMR_N_PLANES]; /* owner only */
	struct cmr_chain *chain;                   /* owner only; NULL until the first walk */
	const void *root;                          /* owner only; see cmr_chain_walk */
	uint32_t last_node, last_kind, last_location, last_interning; /* owner only; cache */
	uint64_t birth;      /* stamp of pthread_create, 0 = before the tracker was loaded */
	uint32_t ordinal;    /* order of first appearance, main thread of the import = 0 */
	int32_t native_id;   /* gettid() */
	uint32_t stock;      /* owner only; > 0: what it maps now is the interpreter's own stock */
	struct cmr_thread *next, *previous; /* protected by the threads lock */
};

/* 16 bytes of static TLS. `guard` bit set: events of that plane pass through untracked. */
struct cmr_tls {
	uintptr_t guard;
	struct cmr_thread *self;
};
extern _Thread_local struct cmr_tls cmr_tls
#if defined(__GNUC__) && defined(CMR_TLS_MODEL)
	__attribute__((tls_model(CMR_TLS_MODEL)))
#endif
	;

/* This thread's struct, created on first use; NULL when memory is refused (a `threads` loss is
 * counted). Call with CMR_GUARD_ALL or the plane's guard set. [nomalloc] */
struct cmr_thread *cmr_thread_create(void);

static inline struct cmr_thread *cmr_thread_self(void)
{
	struct cmr_thread *self = cmr_tls.self;

	return __builtin_expect(self != 0, 1) ? self : cmr_thread_create();
}

/* A new stamp, larger than all before it; threads and regions are ordered by it. [any] */
uint64_t cmr_thread_stamp(void);

/* Sets the birth stamp of the calling, new thread. Called by the pthread_create trampoline. */
void cmr_thread_born(uint64_t stamp);

/* Calls VISIT for each known thread, under the threads lock. VISIT must not create threads. */
void cmr_thread_each(void (*visit)(struct cmr_thread *, void *), void *data);

/* Waits until no other thread that was inside a hook of PLANE when this was called is still inside
 * the same event (each hook event toggles); gives up after about 100 ms. True when quiet. The guard
 * words of other threads are read through their TLS pointers kept in cmr_thread. */
bool cmr_thread_quiesce(enum cmr_plane_id plane);

/* Called in the child of a fork, with locks reset: forgets all threads but the caller. */
void cmr_thread_after_fork(void);

/* Makes the pthread key; called once from the session's set-up. */
enum cmr_status cmr_thread_init(struct cmr_error *err);

/* Called when a thread's struct is returned, so that upper layers free what hangs on it. */
extern void (*cmr_thread_on_exit)(struct cmr_thread *);

#endif
