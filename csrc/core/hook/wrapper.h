/* What the wrappers share. Only for hook/wrappers_*.c.
 *
 * A wrapper is a gate and a tail call: with nothing to measure it jumps to the original and leaves
 * no trace on the stack. The measured case is a function of its own, so that the compiler need not
 * set up a frame for the other one. */
#ifndef CMR_HOOK_WRAPPER_H
#define CMR_HOOK_WRAPPER_H

#include <errno.h>

#include "events/events.h"
#include "events/gate.h"
#include "events/hot.h"
#include "hook/hooks.h"
#include "hook/table.h"

/* Called by the unwinder for each of our frames that an exception, pthread_exit or pthread_cancel
 * passes through on its way: leaves the guard as the wrapper would have. */
extern int cmr_hook_personality(int version, int actions, uint64_t kind, void *exception,
				void *context);

/* Makes cmr_hook_personality that of the function it stands in: encoded as a 32-bit distance from
 * here. It costs no instruction. */
#define CMR_UNWIND_LEAVES_GATE() __asm__ volatile(".cfi_personality 0x1b, cmr_hook_personality")

#define CMR_TRACKED __attribute__((noinline, flatten))

/* Without static thread-local storage the first look at the guard in a thread makes the loader ask for
 * memory. Where a program's PLT stands for malloc it comes here for that, and must not be asked again. */
#ifdef CMR_DYNAMIC_TLS
#define CMR_FROM_LOADER()                                                                         \
	((uintptr_t)__builtin_return_address(0) - cmr_loader_start < cmr_loader_bytes)
#else
#define CMR_FROM_LOADER() false
#endif

/* The planes for which the calling thread's event counts now; 0 in the common case. */
#define CMR_CLOSED(planes) __builtin_expect((planes) == 0, 1)

#define CMR_EACH_PLANE(plane, planes)                                                             \
	for (enum cmr_plane_id plane = CMR_PLANE_OUTER; plane < CMR_N_PLANES; plane++)            \
		if (((planes) & CMR_GUARD(plane)) != 0)

/* One event: what it concerns, and the guard bits that it has set. */
struct cmr_event {
	uintptr_t planes, raised;
};

/* Sets all guard bits, also those of planes that are closed: one that another thread opens meanwhile
 * must not be told of a signal handler's calls while this event holds locks. The gate is read again
 * under the guard, as cmr_thread_quiesce asks; the planes may be none by now. */
static inline struct cmr_event cmr_event_begin(void)
{
	struct cmr_event event;

	cmr_hooks_catch_up_if_marked();
	event.raised = CMR_GUARD_ALL &
		       ~atomic_load_explicit(&cmr_tls.guard, memory_order_relaxed);
	cmr_gate_enter(event.raised);
	event.planes = atomic_load_explicit(&cmr_gate, memory_order_acquire) & event.raised;
	return event;
}

static inline void cmr_event_end(struct cmr_event event)
{
	cmr_gate_leave(event.raised);
}

/* Tell PLANES of a block that is there, or about to be released; errno stays. */
void cmr_wrapper_tell(uintptr_t planes, uintptr_t block, size_t bytes, enum cmr_kind kind);
void cmr_wrapper_tell_free(uintptr_t planes, uintptr_t block);

/* A block of BYTES is at BLOCK, unless that is NULL; ends the event. One plane is the common case: with
 * its number known, the compiler turns the inline form of the event into loads and stores at fixed
 * addresses. */
static inline void *cmr_wrapper_got(struct cmr_event event, void *block, size_t bytes,
				    enum cmr_kind kind)
{
	if (block != NULL &&
	    !(event.planes == CMR_GUARD(CMR_PLANE_OUTER) &&
	      cmr_on_alloc_passed(CMR_PLANE_OUTER, (uintptr_t)block, bytes)))
		cmr_wrapper_tell(event.planes, (uintptr_t)block, bytes, kind);
	cmr_event_end(event);
	return block;
}

/* BLOCK is about to be released. */
static inline void cmr_wrapper_gone(struct cmr_event event, const void *block)
{
	if (!(event.planes == CMR_GUARD(CMR_PLANE_OUTER) &&
	      cmr_on_free_passed(CMR_PLANE_OUTER, (uintptr_t)block)))
		cmr_wrapper_tell_free(event.planes, (uintptr_t)block);
}

#endif
