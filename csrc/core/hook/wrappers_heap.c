/* Wrappers of the malloc family, and of new and delete. The order rule of events/events.h: un-track before the original
 * releases a block, track after it has made one. */
#include "hook/wrapper.h"

__attribute__((noinline)) void cmr_wrapper_tell(uintptr_t planes, uintptr_t block, size_t bytes,
						enum cmr_kind kind)
{
	int saved = errno;

	CMR_EACH_PLANE(plane, planes)
		cmr_on_alloc(plane, block, bytes, kind);
	errno = saved;
}

__attribute__((noinline)) void cmr_wrapper_tell_free(uintptr_t planes, uintptr_t block)
{
	int saved = errno;

	CMR_EACH_PLANE(plane, planes)
		cmr_on_free(plane, block);
	errno = saved;
}

/* One function that returns a new block: the gate, and the measured case. */
#define ALLOCATOR(name, kind, parameters, arguments, bytes)                                       \
	static CMR_TRACKED void *tracked_##name parameters                                        \
	{                                                                                         \
		struct cmr_event event = cmr_event_begin();                                       \
                                                                                                  \
		CMR_UNWIND_LEAVES_GATE();                                                         \
		return cmr_wrapper_got(event, cmr_original.name arguments, bytes, kind);          \
	}                                                                                         \
                                                                                                  \
	void *cmr_hook_##name parameters                                                          \
	{                                                                                         \
		if (CMR_FROM_LOADER() || CMR_CLOSED(cmr_gate_planes()))                           \
			return cmr_original.name arguments;                                       \
		return tracked_##name arguments;                                                  \
	}

ALLOCATOR(malloc, CMR_KIND_MALLOC, (size_t size), (size), size)
/* A product that overflows makes calloc fail, and then BYTES is not looked at. */
ALLOCATOR(calloc, CMR_KIND_CALLOC, (size_t n, size_t size), (n, size), n * size)
ALLOCATOR(aligned_alloc, CMR_KIND_ALIGNED_ALLOC, (size_t alignment, size_t size),
	  (alignment, size), size)
ALLOCATOR(memalign, CMR_KIND_MEMALIGN, (size_t alignment, size_t size), (alignment, size), size)
ALLOCATOR(valloc, CMR_KIND_VALLOC, (size_t size), (size), size)
ALLOCATOR(pvalloc, CMR_KIND_PVALLOC, (size_t size), (size), size)

static CMR_TRACKED int tracked_posix_memalign(void **out, size_t alignment, size_t size)
{
	struct cmr_event event = cmr_event_begin();
	int result;

	CMR_UNWIND_LEAVES_GATE();
	result = cmr_original.posix_memalign(out, alignment, size);
	cmr_wrapper_got(event, result == 0 ? *out : NULL, size, CMR_KIND_POSIX_MEMALIGN);
	return result;
}

int cmr_hook_posix_memalign(void **out, size_t alignment, size_t size)
{
	if (CMR_CLOSED(cmr_gate_planes()))
		return cmr_original.posix_memalign(out, alignment, size);
	return tracked_posix_memalign(out, alignment, size);
}

ALLOCATOR(_Znwm, CMR_KIND_MALLOC, (size_t size), (size), size)
ALLOCATOR(_Znam, CMR_KIND_MALLOC, (size_t size), (size), size)
ALLOCATOR(_ZnwmRKSt9nothrow_t, CMR_KIND_MALLOC, (size_t size, const void *nothrow),
	  (size, nothrow), size)
ALLOCATOR(_ZnamRKSt9nothrow_t, CMR_KIND_MALLOC, (size_t size, const void *nothrow),
	  (size, nothrow), size)
ALLOCATOR(_ZnwmSt11align_val_t, CMR_KIND_ALIGNED_ALLOC, (size_t size, size_t alignment),
	  (size, alignment), size)
ALLOCATOR(_ZnamSt11align_val_t, CMR_KIND_ALIGNED_ALLOC, (size_t size, size_t alignment),
	  (size, alignment), size)
ALLOCATOR(_ZnwmSt11align_val_tRKSt9nothrow_t, CMR_KIND_ALIGNED_ALLOC,
	  (size_t size, size_t alignment, const void *nothrow), (size, alignment, nothrow), size)
ALLOCATOR(_ZnamSt11align_val_tRKSt9nothrow_t, CMR_KIND_ALIGNED_ALLOC,
	  (size_t size, size_t alignment, const void *nothrow), (size, alignment, nothrow), size)

/* One function that releases a block. */
#define RELEASER(name, parameters, arguments)                                                     \
	static CMR_TRACKED void tracked_##name parameters                                         \
	{                                                                                         \
		struct cmr_event event = cmr_event_begin();                                       \
                                                                                                  \
		CMR_UNWIND_LEAVES_GATE();                                                         \
		cmr_wrapper_gone(event, block);                                                   \
		cmr_original.name arguments;                                                      \
		cmr_event_end(event);                                                             \
	}                                                                                         \
                                                                                                  \
	void cmr_hook_##name parameters                                                           \
	{                                                                                         \
		if (CMR_FROM_LOADER() || CMR_CLOSED(cmr_gate_planes()) || block == NULL)          \
			cmr_original.name arguments;                                              \
		else                                                                              \
			tracked_##name arguments;                                                 \
	}

RELEASER(free, (void *block), (block))
RELEASER(free_sized, (void *block, size_t size), (block, size))
RELEASER(free_aligned_sized, (void *block, size_t alignment, size_t size),
	 (block, alignment, size))

RELEASER(_ZdlPv, (void *block), (block))
RELEASER(_ZdaPv, (void *block), (block))
RELEASER(_ZdlPvm, (void *block, size_t size), (block, size))
RELEASER(_ZdaPvm, (void *block, size_t size), (block, size))
RELEASER(_ZdlPvRKSt9nothrow_t, (void *block, const void *nothrow), (block, nothrow))
RELEASER(_ZdaPvRKSt9nothrow_t, (void *block, const void *nothrow), (block, nothrow))
RELEASER(_ZdlPvSt11align_val_t, (void *block, size_t alignment), (block, alignment))
RELEASER(_ZdaPvSt11align_val_t, (void *block, size_t alignment), (block, alignment))
RELEASER(_ZdlPvmSt11align_val_t, (void *block, size_t size, size_t alignment),
	 (block, size, alignment))
RELEASER(_ZdaPvmSt11align_val_t, (void *block, size_t size, size_t alignment),
	 (block, size, alignment))
RELEASER(_ZdlPvSt11align_val_tRKSt9nothrow_t,
	 (void *block, size_t alignment, const void *nothrow), (block, alignment, nothrow))
RELEASER(_ZdaPvSt11align_val_tRKSt9nothrow_t,
	 (void *block, size_t alignment, const void *nothrow), (block, alignment, nothrow))

/* A resize of BLOCK (not NULL) to BYTES, done by realloc or reallocarray. */
struct resize {
	struct cmr_event event;
	uintptr_t block;
	size_t bytes;
	enum cmr_kind kind;
	struct cmr_taken taken[CMR_N_PLANES];
};

static inline void resize_begin(struct resize *resize)
{
	int saved = errno;

	CMR_EACH_PLANE(plane, resize->event.planes)
		cmr_on_resize_begin(plane, resize->block, &resize->taken[plane]);
	errno = saved;
}

static inline void *resize_end(const struct resize *resize, void *result)
{
	int saved = errno;

	CMR_EACH_PLANE(plane, resize->event.planes) {
		const struct cmr_taken *taken = &resize->taken[plane];

		if (result != NULL)
			cmr_on_resize_done(plane, resize->block, taken, (uintptr_t)result,
					   resize->bytes, resize->kind);
		else if (resize->bytes == 0) /* that is how to free a block with realloc */
			cmr_on_resize_freed(plane, taken);
		else
			cmr_on_resize_failed(plane, resize->block, taken);
	}
	errno = saved;
	cmr_event_end(resize->event);
	return result;
}

static CMR_TRACKED void *tracked_realloc(void *block, size_t size)
{
	struct resize resize = {
		.event = cmr_event_begin(),
		.block = (uintptr_t)block,
		.bytes = size,
		.kind = CMR_KIND_REALLOC,
	};

	CMR_UNWIND_LEAVES_GATE();
	if (block == NULL)
		return cmr_wrapper_got(resize.event, cmr_original.realloc(NULL, size), size,
				       CMR_KIND_REALLOC);
	resize_begin(&resize);
	return resize_end(&resize, cmr_original.realloc(block, size));
}

void *cmr_hook_realloc(void *block, size_t size)
{
	if (CMR_FROM_LOADER() || CMR_CLOSED(cmr_gate_planes()))
		return cmr_original.realloc(block, size);
	return tracked_realloc(block, size);
}

static CMR_TRACKED void *tracked_reallocarray(void *block, size_t n, size_t size)
{
	struct resize resize = {
		.event = cmr_event_begin(),
		.block = (uintptr_t)block,
		.kind = CMR_KIND_REALLOCARRAY,
	};

	CMR_UNWIND_LEAVES_GATE();
	if (__builtin_mul_overflow(n, size, &resize.bytes)) { /* fails and touches nothing */
		cmr_event_end(resize.event);
		return cmr_original.reallocarray(block, n, size);
	}
	if (block == NULL)
		return cmr_wrapper_got(resize.event, cmr_original.reallocarray(NULL, n, size),
				       resize.bytes, CMR_KIND_REALLOCARRAY);
	resize_begin(&resize);
	return resize_end(&resize, cmr_original.reallocarray(block, n, size));
}

void *cmr_hook_reallocarray(void *block, size_t n, size_t size)
{
	if (CMR_CLOSED(cmr_gate_planes()))
		return cmr_original.reallocarray(block, n, size);
	return tracked_reallocarray(block, n, size);
}
