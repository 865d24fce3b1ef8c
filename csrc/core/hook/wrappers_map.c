/* Wrappers of the mapping calls. */
#include "hook/wrapper.h"

#include <sys/mman.h>

#include "os/losses.h"
#include "os/memory.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static inline void *mapped(struct cmr_event event, void *start, size_t bytes, int prot, int flags,
			   int fd)
{
	if (start != MAP_FAILED) {
		int saved = errno;

		CMR_EACH_PLANE(plane, event.planes)
			cmr_on_map(plane, (uintptr_t)start, bytes, prot, flags, fd, CMR_KIND_MMAP);
		errno = saved;
	}
	cmr_event_end(event);
	return start;
}

/* Set before any region opens. */
static uintptr_t stock_start, stock_end;

void cmr_hooks_stock_code(uintptr_t start, uintptr_t end)
{
	stock_start = start;
	stock_end = end;
}

static inline bool is_stock_code(const void *caller)
{
	return (uintptr_t)caller - stock_start < stock_end - stock_start;
}

/* What a MAP_FIXED call overlays stays the caller's throughout, so that cmr_on_map may replace it
 * afterwards; a failed call has, as a rule, overlaid nothing. */
#define MAPPER(name)                                                                              \
	static CMR_TRACKED void *tracked_##name(void *hint, size_t bytes, int prot, int flags,    \
						int fd, off_t offset)                             \
	{                                                                                         \
		struct cmr_event event = cmr_event_begin();                                       \
                                                                                                  \
		CMR_UNWIND_LEAVES_GATE();                                                         \
		return mapped(event, cmr_original.name(hint, bytes, prot, flags, fd, offset),     \
			      bytes, prot, flags, fd);                                            \
	}                                                                                         \
                                                                                                  \
	static __attribute__((noinline)) void *stock_##name(void *hint, size_t bytes, int prot,   \
							    int flags, int fd, off_t offset)      \
	{                                                                                         \
		void *start;                                                                      \
                                                                                                  \
		cmr_stock_begin();                                                                \
		start = tracked_##name(hint, bytes, prot, flags, fd, offset);                     \
		cmr_stock_end();                                                                  \
		return start;                                                                     \
	}                                                                                         \
                                                                                                  \
	void *cmr_hook_##name(void *hint, size_t bytes, int prot, int flags, int fd,              \
			      off_t offset)                                                       \
	{                                                                                         \
		if (CMR_CLOSED(cmr_gate_planes()))                                                \
			return cmr_original.name(hint, bytes, prot, flags, fd, offset);           \
		if (is_stock_code(__builtin_return_address(0)))                                   \
			return stock_##name(hint, bytes, prot, flags, fd, offset);                \
		return tracked_##name(hint, bytes, prot, flags, fd, offset);                      \
	}

MAPPER(mmap)
MAPPER(mmap64)

/* --- calls that take mappings away -------------------------------------------------------------- */

/* What one such call has taken out of the tables. From a pool, because it would be large on a stack
 * that may be a signal handler's. */
struct taking {
	struct cmr_range_taken plane[CMR_N_PLANES];
};

static struct cmr_pool takings = CMR_POOL(sizeof(struct taking));

/* Before the call: another thread may be given the addresses as soon as they are free. NULL when
 * memory is refused: nothing was taken. */
static struct taking *take(uintptr_t planes, uintptr_t start, size_t bytes)
{
	struct taking *taking = cmr_pool_get(&takings);

	if (taking != NULL)
		CMR_EACH_PLANE(plane, planes)
			cmr_on_remap_begin(plane, start, bytes, &taking->plane[plane]);
	return taking;
}

static void put_back(uintptr_t planes, const struct taking *taking)
{
	CMR_EACH_PLANE(plane, planes)
		cmr_on_remap_failed(plane, &taking->plane[plane]);
}

/* Nothing could be kept for a failure of the call: cut all the same, or another thread's mapping
 * could be mistaken for this one. */
static void take_for_good(uintptr_t planes, uintptr_t start, size_t bytes)
{
	cmr_lose(CMR_LOSS_mappings);
	CMR_EACH_PLANE(plane, planes)
		cmr_on_unmap(plane, start, bytes);
}

static CMR_TRACKED int tracked_munmap(void *start, size_t bytes)
{
	struct cmr_event event = cmr_event_begin();
	const uintptr_t planes = event.planes;
	int saved = errno, result;
	struct taking *taking;

	CMR_UNWIND_LEAVES_GATE();
	taking = take(planes, (uintptr_t)start, bytes);
	if (taking == NULL)
		take_for_good(planes, (uintptr_t)start, bytes);
	errno = saved;
	result = cmr_original.munmap(start, bytes);
	saved = errno;
	if (taking != NULL && result != 0)
		put_back(planes, taking);
	else if (taking != NULL)
		CMR_EACH_PLANE(plane, planes)
			cmr_on_unmap_done(plane, &taking->plane[plane]);
	cmr_pool_put(&takings, taking);
	errno = saved;
	cmr_event_end(event);
	return result;
}

int cmr_hook_munmap(void *start, size_t bytes)
{
	if (CMR_CLOSED(cmr_gate_planes()))
		return cmr_original.munmap(start, bytes);
	return tracked_munmap(start, bytes);
}

struct remap {
	uintptr_t planes;
	uintptr_t old, new;
	size_t old_bytes, bytes;
	int flags;
};

/* A mapping of RW memory at the new place, while the old one stays. */
static void map_second(const struct remap *remap)
{
	int flags = remap->old_bytes == 0 ? MAP_SHARED : MAP_PRIVATE;

	CMR_EACH_PLANE(plane, remap->planes)
		cmr_on_map(plane, remap->new, remap->bytes, PROT_READ | PROT_WRITE,
			   flags | MAP_ANONYMOUS, -1, CMR_KIND_MREMAP);
}

static void remap_done(const struct remap *remap, const struct taking *taking)
{
	if ((remap->flags & MREMAP_DONTUNMAP) != 0 || remap->old_bytes == 0) {
		put_back(remap->planes, taking);
		map_second(remap);
		return;
	}
	CMR_EACH_PLANE(plane, remap->planes)
		cmr_on_remap_done(plane, &taking->plane[plane], remap->old, remap->old_bytes,
				  remap->new, remap->bytes);
}

static CMR_TRACKED void *tracked_mremap(void *start, size_t old, size_t bytes, int flags,
					void *target)
{
	struct cmr_event event = cmr_event_begin();
	struct remap remap = { event.planes, (uintptr_t)start, 0, old, bytes, flags };
	struct taking *taking;
	int saved = errno;
	void *result;

	CMR_UNWIND_LEAVES_GATE();
	taking = take(remap.planes, remap.old, old);
	if (taking == NULL)
		take_for_good(remap.planes, remap.old, old);
	errno = saved;
	result = cmr_original.mremap(start, old, bytes, flags, target);
	saved = errno;
	remap.new = (uintptr_t)result;
	if (taking != NULL && result != MAP_FAILED)
		remap_done(&remap, taking);
	else if (taking != NULL)
		put_back(remap.planes, taking);
	else if (result != MAP_FAILED)
		map_second(&remap);
	cmr_pool_put(&takings, taking);
	errno = saved;
	cmr_event_end(event);
	return result;
}

/* In C mremap has a variable argument list. The fifth word is passed on whether the caller gave one
 * or not: it is read by the original only with MREMAP_FIXED, and both of our platforms pass it in a
 * register. */
void *cmr_hook_mremap(void *start, size_t old, size_t bytes, int flags, void *target)
{
	if (CMR_CLOSED(cmr_gate_planes()))
		return cmr_original.mremap(start, old, bytes, flags, target);
	return tracked_mremap(start, old, bytes, flags, target);
}

static CMR_TRACKED int tracked_mprotect(void *start, size_t bytes, int prot)
{
	struct cmr_event event = cmr_event_begin();
	int result;

	CMR_UNWIND_LEAVES_GATE();
	result = cmr_original.mprotect(start, bytes, prot);
	if (result == 0) {
		int saved = errno;

		CMR_EACH_PLANE(plane, event.planes)
			cmr_on_protect(plane, (uintptr_t)start, bytes, prot);
		errno = saved;
	}
	cmr_event_end(event);
	return result;
}

int cmr_hook_mprotect(void *start, size_t bytes, int prot)
{
	if (CMR_CLOSED(cmr_gate_planes()))
		return cmr_original.mprotect(start, bytes, prot);
	return tracked_mprotect(start, bytes, prot);
}
