/* PyMem_SetAllocator replaces four functions and a context field by field, while other threads may
 * be reading them: they can see a new function with an old context. So each domain has one static
 * set of functions for ever, our context is the original's own, and originals lie in statics: any
 * torn mix is valid.
 *
 * On close the originals come back, unless another tool has put its hook over ours meanwhile: then
 * ours stay below it, passing everything through while the gate is closed, and the next open does
 * not put a second copy on top. A tool may also take ours away with its own, since it puts back what
 * it found before us; cmr_pymem_check looks whether that has happened. Ours may come back later, out
 * of what yet another tool kept, with the context of that time: the one that counts is in `original`.
 *
 * Free-threaded builds allocate objects from mimalloc, which takes one large mapping and never calls
 * malloc: there the plane SYSTEM listens here too, else it would see nothing. */
#include "pymem.h"

#include <dlfcn.h>

#include "events/hot.h"
#include "hook/hooks.h"
#include "os/losses.h"

enum { RAW, MEM, OBJ, N_DOMAINS };

static const PyMemAllocatorDomain domain_names[N_DOMAINS] = {
	PYMEM_DOMAIN_RAW,
	PYMEM_DOMAIN_MEM,
	PYMEM_DOMAIN_OBJ,
};

/* Written with the interpreter's lock. */
static PyMemAllocatorEx original[N_DOMAINS];
static PyObjectArenaAllocator original_arena;
static bool left[N_DOMAINS], arena_left; /* ours may lie below another tool's hook */
static uintptr_t open_planes;
static unsigned n_hooked;

/* FUNCTION of what lies below ours in DOMAIN. */
#define BELOW(domain, function, ...)                                                               \
	original[domain].function(original[domain].ctx, __VA_ARGS__)

/* Set while this thread asks whether our functions of a domain are still reached: what a tool's hook of
 * another domain asks for in turn is no answer. Free-threaded builds have several threads that ask at
 * once: each wants its own. */
enum { NOTHING = -1, ARENAS = N_DOMAINS };
static _Thread_local int probing = NOTHING;
static _Thread_local bool probed;

/* Planes that count what DOMAIN hands out. mimalloc serves raw only from 3.15. */
static inline uintptr_t planes_of(int domain)
{
	if (CMR_FREE_THREADED && (domain != RAW || PY_VERSION_HEX >= 0x030F0000))
		return CMR_GUARD_ALL;
	return CMR_GUARD(CMR_PLANE_OUTER);
}

/* In plane SYSTEM a request that pymalloc would have passed on is one of malloc, as in other builds. */
static inline enum cmr_kind system_kind(enum cmr_kind kind, size_t size)
{
	if (size <= 512)
		return kind;
	return kind == CMR_KIND_PYMALLOC_MALLOC	  ? CMR_KIND_MALLOC
	       : kind == CMR_KIND_PYMALLOC_CALLOC ? CMR_KIND_CALLOC
						  : CMR_KIND_REALLOC;
}

static void tell_alloc(uintptr_t planes, void *block, size_t size, enum cmr_kind kind)
{
	uintptr_t before = cmr_guard_raise(CMR_GUARD_ALL); /* see tell_late */

	if (planes & CMR_GUARD(CMR_PLANE_OUTER))
		cmr_on_alloc_hot(CMR_PLANE_OUTER, (uintptr_t)block, size, kind);
	if (planes & CMR_GUARD(CMR_PLANE_SYSTEM))
		cmr_on_alloc(CMR_PLANE_SYSTEM, (uintptr_t)block, size, system_kind(kind, size));
	cmr_guard_restore(before);
}

/* A short event asks the gate only when no pass was enough for it. */
static inline bool is_open(void)
{
	return (atomic_load_explicit(&cmr_gate, memory_order_acquire) &
		CMR_GUARD(CMR_PLANE_OUTER)) != 0;
}

/* A short event that no pass was enough for; its guard is set. What this may lock and change belongs to
 * both planes, so from here on a signal handler's calls concern neither. */
static __attribute__((noinline)) void tell_late(void *block, size_t size, enum cmr_kind kind)
{
	(void)cmr_guard_raise(CMR_GUARD_ALL);
	if (!cmr_on_alloc_by_pass(CMR_PLANE_OUTER, (uintptr_t)block, size, kind) && is_open())
		cmr_on_alloc_other(CMR_PLANE_OUTER, (uintptr_t)block, size, kind);
	cmr_gate_leave_outer(CMR_GUARD_COUNT);
}

/* The same for a free, whose block is large or in the table's slower parts. Its allocator asks others in
 * turn, to whom the guard says that this is one event. */
static __attribute__((noinline)) void free_late(int domain, void *block)
{
	uintptr_t count = 0;

	if (!cmr_on_free_by_pass(CMR_PLANE_OUTER, (uintptr_t)block)) {
		count = CMR_GUARD_COUNT;
		if (block != NULL && is_open())
			cmr_on_free_other(CMR_PLANE_OUTER, (uintptr_t)block);
	}
	BELOW(domain, free, block);
	cmr_gate_leave_outer(count);
}

/* The short form of an event may be tried: nothing but the plane OUTER can want it. */
#define TRY_SHORT(word) (!CMR_FREE_THREADED && cmr_gate_enter_outer(word))

/* It may not: because this is inside another event, and nobody wants to know of it? */
static inline bool is_nested(uintptr_t word)
{
	return !CMR_FREE_THREADED && (word & CMR_GUARD(CMR_PLANE_OUTER)) != 0 &&
	       probing == NOTHING;
}

/* Ends a short event with BLOCK (may be NULL). */
static inline __attribute__((always_inline)) void *got_short(void *block, size_t size,
							     enum cmr_kind kind)
{
	if (__builtin_expect(block == NULL, 0) ||
	    __builtin_expect(cmr_on_alloc_passed(CMR_PLANE_OUTER, (uintptr_t)block, size), 1))
		cmr_gate_leave_outer(0);
	else
		tell_late(block, size, kind);
	return block;
}

static __attribute__((noinline)) void *malloc_general(int domain, size_t size)
{
	uintptr_t planes = cmr_gate_planes() & planes_of(domain);
	void *block;

	if (planes == 0) {
		probed |= probing == domain;
		return BELOW(domain, malloc, size);
	}
	cmr_hooks_catch_up_if_marked();
	cmr_gate_enter(planes);
	block = BELOW(domain, malloc, size);
	if (block != NULL)
		tell_alloc(planes, block, size, CMR_KIND_PYMALLOC_MALLOC);
	cmr_gate_leave(planes);
	return block;
}

static inline __attribute__((always_inline)) void *hook_malloc(int domain, size_t size)
{
	uintptr_t word = 0;

	if (!TRY_SHORT(&word))
		return is_nested(word) ? BELOW(domain, malloc, size)
				       : malloc_general(domain, size);
	return got_short(BELOW(domain, malloc, size), size,
			 CMR_KIND_PYMALLOC_MALLOC);
}

static __attribute__((noinline)) void *calloc_general(int domain, size_t n, size_t size)
{
	uintptr_t planes = cmr_gate_planes() & planes_of(domain);
	void *block;

	if (planes == 0)
		return BELOW(domain, calloc, n, size);
	cmr_hooks_catch_up_if_marked();
	cmr_gate_enter(planes);
	block = BELOW(domain, calloc, n, size);
	if (block != NULL)
		tell_alloc(planes, block, n * size, CMR_KIND_PYMALLOC_CALLOC);
	cmr_gate_leave(planes);
	return block;
}

static inline __attribute__((always_inline)) void *hook_calloc(int domain, size_t n,
							       size_t size)
{
	uintptr_t word = 0;

	if (!TRY_SHORT(&word))
		return is_nested(word) ? BELOW(domain, calloc, n, size)
				       : calloc_general(domain, n, size);
	return got_short(BELOW(domain, calloc, n, size), n * size,
			 CMR_KIND_PYMALLOC_CALLOC);
}

/* Never frees: these allocators treat size 0 as 1. */
static __attribute__((noinline)) void *realloc_general(int domain, void *old,
						       size_t size)
{
	uintptr_t planes = cmr_gate_planes() & planes_of(domain), address = (uintptr_t)old;
	struct cmr_taken taken[CMR_N_PLANES];
	enum cmr_kind kind;
	void *block;

	if (planes == 0)
		return BELOW(domain, realloc, old, size);
	cmr_hooks_catch_up_if_marked();
	cmr_gate_enter(planes);
	for (unsigned plane = 0; plane < CMR_N_PLANES; plane++)
		if (planes & CMR_GUARD(plane))
			cmr_on_resize_begin(plane, address, &taken[plane]);
	block = BELOW(domain, realloc, old, size);
	for (unsigned plane = 0; plane < CMR_N_PLANES; plane++) {
		if ((planes & CMR_GUARD(plane)) == 0)
			continue;
		kind = plane == CMR_PLANE_SYSTEM ? system_kind(CMR_KIND_PYMALLOC_REALLOC, size)
						 : CMR_KIND_PYMALLOC_REALLOC;
		if (block == NULL)
			cmr_on_resize_failed(plane, address, &taken[plane]);
		else
			cmr_on_resize_done(plane, address, &taken[plane], (uintptr_t)block, size,
					   kind);
	}
	cmr_gate_leave(planes);
	return block;
}

static inline __attribute__((always_inline)) void *hook_realloc(int domain, void *old,
								size_t size)
{
	struct cmr_taken taken;
	uintptr_t word = 0;
	void *block;

	if (!TRY_SHORT(&word))
		return is_nested(word) ? BELOW(domain, realloc, old, size)
				       : realloc_general(domain, old, size);
	cmr_on_resize_begin(CMR_PLANE_OUTER, (uintptr_t)old, &taken);
	block = BELOW(domain, realloc, old, size);
	(void)cmr_guard_raise(CMR_GUARD_ALL); /* see tell_late */
	if (block == NULL)
		cmr_on_resize_failed(CMR_PLANE_OUTER, (uintptr_t)old, &taken);
	else if (is_open())
		cmr_on_resize_done(CMR_PLANE_OUTER, (uintptr_t)old, &taken, (uintptr_t)block, size,
				   CMR_KIND_PYMALLOC_REALLOC);
	else
		cmr_on_resize_freed(CMR_PLANE_OUTER, &taken);
	cmr_gate_leave_outer(CMR_GUARD_COUNT);
	return block;
}

static __attribute__((noinline)) void free_general(int domain, void *block)
{
	uintptr_t planes = cmr_gate_planes() & planes_of(domain), before;

	if (planes == 0 || block == NULL) {
		BELOW(domain, free, block);
		return;
	}
	cmr_hooks_catch_up_if_marked();
	cmr_gate_enter(planes);
	before = cmr_guard_raise(CMR_GUARD_ALL); /* see tell_late */
	if (planes & CMR_GUARD(CMR_PLANE_OUTER))
		cmr_on_free_hot(CMR_PLANE_OUTER, (uintptr_t)block);
	if (planes & CMR_GUARD(CMR_PLANE_SYSTEM))
		cmr_on_free(CMR_PLANE_SYSTEM, (uintptr_t)block);
	cmr_guard_restore(before);
	BELOW(domain, free, block);
	cmr_gate_leave(planes);
}

/* Only over an allocator of the interpreter. Where a pass is enough, the allocator's own work is then no
 * part of the event: such a block is small or not ours, and what the allocator calls in turn are the
 * hooks of its arenas, if anything. Another tool's free may allocate for itself: see domain_free. */
static inline __attribute__((always_inline)) void hook_free(int domain, void *block)
{
	uintptr_t word = 0;

	if (__builtin_expect(!TRY_SHORT(&word), 0)) {
		if (is_nested(word))
			BELOW(domain, free, block);
		else
			free_general(domain, block);
		return;
	}
	if (__builtin_expect(!cmr_on_free_passed(CMR_PLANE_OUTER, (uintptr_t)block), 0)) {
		free_late(domain, block);
		return;
	}
	cmr_gate_leave_outer(0);
	BELOW(domain, free, block);
}

#define DOMAIN_HOOKS(name, domain)                                                                 \
	static void *name##_malloc(void *ctx, size_t size)                                         \
	{                                                                                          \
		(void)ctx;                                                                         \
		return hook_malloc(domain, size);                                                  \
	}                                                                                          \
	static void *name##_calloc(void *ctx, size_t n, size_t size)                               \
	{                                                                                          \
		(void)ctx;                                                                         \
		return hook_calloc(domain, n, size);                                               \
	}                                                                                          \
	static void *name##_realloc(void *ctx, void *block, size_t size)                           \
	{                                                                                          \
		(void)ctx;                                                                         \
		return hook_realloc(domain, block, size);                                          \
	}                                                                                          \
	static void name##_free(void *ctx, void *block)                                            \
	{                                                                                          \
		(void)ctx;                                                                         \
		hook_free(domain, block);                                                          \
	}                                                                                          \
	static void name##_free_over_tool(void *ctx, void *block)                                  \
	{                                                                                          \
		(void)ctx;                                                                         \
		free_general(domain, block);                                                       \
	}

DOMAIN_HOOKS(raw, RAW)
DOMAIN_HOOKS(mem, MEM)
DOMAIN_HOOKS(obj, OBJ)

static const PyMemAllocatorEx hooks[N_DOMAINS] = {
	{ NULL, raw_malloc, raw_calloc, raw_realloc, raw_free },
	{ NULL, mem_malloc, mem_calloc, mem_realloc, mem_free },
	{ NULL, obj_malloc, obj_calloc, obj_realloc, obj_free },
};

static void (*const frees_over_tool[N_DOMAINS])(void *, void *) = {
	raw_free_over_tool,
	mem_free_over_tool,
	obj_free_over_tool,
};

/* Whether BELOW is one of the interpreter's plain allocators: those have no context, and the functions
 * are of the object that has its C API. What tracemalloc and PYTHONMALLOC=debug put in between is told
 * by its context. */
static bool is_plain(const PyMemAllocatorEx *below)
{
	Dl_info theirs, interpreters;

	return below->ctx == NULL && dladdr((void *)(uintptr_t)below->free, &theirs) != 0 &&
	       dladdr((void *)(uintptr_t)PyMem_GetAllocator, &interpreters) != 0 &&
	       theirs.dli_fbase == interpreters.dli_fbase;
}

/* What frees of DOMAIN go to, with ours over BELOW: a tool's free is a part of the event, so that what it
 * allocates for itself does not count. Asked once for each function found: dladdr takes a microsecond. */
static void (*domain_free(int domain, const PyMemAllocatorEx *below))(void *, void *)
{
	static struct {
		void (*free)(void *, void *);
		void *ctx;
		bool plain;
	} known[N_DOMAINS];

	if (known[domain].free != below->free || known[domain].ctx != below->ctx) {
		known[domain].free = below->free;
		known[domain].ctx = below->ctx;
		known[domain].plain = is_plain(below);
	}
	return known[domain].plain ? hooks[domain].free : frees_over_tool[domain];
}

/* Arenas and the chunks of frame stacks are the interpreter's stock: in basis requested what is made
 * from them counts, not they themselves. */
static void *arena_alloc(void *ctx, size_t size)
{
	void *arena;

	probed |= probing == ARENAS;
	cmr_stock_begin();
	arena = original_arena.alloc(ctx, size);
	cmr_stock_end();
	return arena;
}

static void arena_free(void *ctx, void *arena, size_t size)
{
	cmr_stock_begin();
	original_arena.free(ctx, arena, size);
	cmr_stock_end();
}

/* Does a request of DOMAIN still come by our functions? The caller has set its guard. */
static bool is_reached(int domain)
{
	void *block;

	probed = false;
	probing = domain;
	block = domain == RAW   ? PyMem_RawMalloc(1)
		: domain == MEM ? PyMem_Malloc(1)
				: PyObject_Malloc(1);
	probing = NOTHING;
	if (domain == RAW)
		PyMem_RawFree(block);
	else if (domain == MEM)
		PyMem_Free(block);
	else
		PyObject_Free(block);
	return probed;
}

static void hook_domain(int domain)
{
	PyMemAllocatorEx now, ours = hooks[domain];

	PyMem_GetAllocator(domain_names[domain], &now);
	if (now.malloc == ours.malloc)
		return;
	if ((left[domain] || now.malloc != original[domain].malloc) && is_reached(domain))
		return;
	original[domain] = now;
	ours.ctx = now.ctx;
	ours.free = domain_free(domain, &now);
	PyMem_SetAllocator(domain_names[domain], &ours);
}

static void check_domain(int domain)
{
	PyMemAllocatorEx now;

	PyMem_GetAllocator(domain_names[domain], &now);
	if (now.malloc == hooks[domain].malloc || is_reached(domain))
		return;
	cmr_lose(CMR_LOSS_allocators);
	hook_domain(domain);
}

static void unhook_domain(int domain)
{
	PyMemAllocatorEx now;

	PyMem_GetAllocator(domain_names[domain], &now);
	n_hooked--;
	left[domain] = now.malloc != hooks[domain].malloc;
	if (!left[domain])
		PyMem_SetAllocator(domain_names[domain], &original[domain]);
}

/* Does a request for an arena from NOW, which the interpreter uses, come by ours? The caller has set its
 * guard. Of the size that the interpreter asks for: a tool may count on that. */
static bool are_arenas_reached(const PyObjectArenaAllocator *now)
{
	const size_t arena_bytes = (size_t)1 << 20;
	void *arena;

	probed = false;
	probing = ARENAS;
	arena = now->alloc(now->ctx, arena_bytes);
	probing = NOTHING;
	if (arena != NULL)
		now->free(now->ctx, arena, arena_bytes);
	return probed;
}

static void hook_arenas(void)
{
	PyObjectArenaAllocator now, ours = { NULL, arena_alloc, arena_free };

	PyObject_GetArenaAllocator(&now);
	if (now.alloc == arena_alloc)
		return;
	if ((arena_left || now.alloc != original_arena.alloc) && are_arenas_reached(&now))
		return;
	original_arena = now;
	ours.ctx = now.ctx;
	PyObject_SetArenaAllocator(&ours);
}

static void unhook_arenas(void)
{
	PyObjectArenaAllocator now;

	PyObject_GetArenaAllocator(&now);
	arena_left = now.alloc != arena_alloc;
	if (!arena_left)
		PyObject_SetArenaAllocator(&original_arena);
}

/* Pieces of frame stacks that do not come by ours count as mappings in basis requested. */
static void check_arenas(void)
{
	PyObjectArenaAllocator now;

	PyObject_GetArenaAllocator(&now);
	if (now.alloc == arena_alloc || are_arenas_reached(&now))
		return;
	cmr_lose(CMR_LOSS_allocators);
	hook_arenas();
}

void cmr_pymem_check(void)
{
	for (int domain = 0; domain < N_DOMAINS; domain++)
		if ((planes_of(domain) & open_planes) != 0)
			check_domain(domain);
	if ((open_planes & CMR_GUARD(CMR_PLANE_OUTER)) != 0)
		check_arenas();
}

void cmr_pymem_first_open(enum cmr_plane_id plane)
{
	uintptr_t before = open_planes;

	open_planes |= CMR_GUARD(plane);
	for (int domain = 0; domain < N_DOMAINS; domain++)
		if ((planes_of(domain) & open_planes) != 0 && (planes_of(domain) & before) == 0) {
			n_hooked++;
			hook_domain(domain);
		}
	if (plane == CMR_PLANE_OUTER)
		hook_arenas();
}

void cmr_pymem_last_closed(enum cmr_plane_id plane)
{
	uintptr_t before = open_planes;

	open_planes &= ~CMR_GUARD(plane);
	for (int domain = 0; domain < N_DOMAINS; domain++)
		if ((planes_of(domain) & before) != 0 && (planes_of(domain) & open_planes) == 0)
			unhook_domain(domain);
	if (plane == CMR_PLANE_OUTER && (before & CMR_GUARD(plane)) != 0)
		unhook_arenas();
}

unsigned cmr_pymem_n_hooked(void)
{
	return n_hooked;
}
