/* Wrappers of the mapping calls. */
#include "hook/wrapper.h"

#include <sys/mman.h>
#include <unistd.h>

#include "os/losses.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static inline void *mapped(uintptr_t planes, void *start, size_t bytes, int prot, int flags, int fd)
{
	if (start != MAP_FAILED) {
		int saved = errno;

		CMR_EACH_PLANE(plane, planes)
			cmr_on_map(plane, (uintptr_t)start, bytes, prot, flags, fd, CMR_KIND_MMAP);
		errno = saved;
	}
	cmr_gate_leave(planes);
	return start;
}

/* What a MAP_FIXED call overlays stays the caller's throughout, so that cmr_on_map may replace it
 * afterwards; a failed call has, as a rule, overlaid nothing. */
#define MAPPER(name)                                                                              \
	static CMR_TRACKED void *tracked_##name(void *hint, size_t bytes, int prot, int flags,    \
						int fd, off_t offset)                             \
	{                                                                                         \
		uintptr_t planes = cmr_gate_planes();                                             \
                                                                                                  \
		CMR_UNWIND_LEAVES_GATE();                                                         \
		cmr_wrapper_enter(planes);                                                        \
		return mapped(planes, cmr_original.name(hint, bytes, prot, flags, fd, offset),    \
			      bytes, prot, flags, fd);                                            \
	}                                                                                         \
                                                                                                  \
	void *cmr_hook_##name(void *hint, size_t bytes, int prot, int flags, int fd,              \
			      off_t offset)                                                       \
	{                                                                                         \
		if (CMR_CLOSED(cmr_gate_planes()))                                                \
			return cmr_original.name(hint, bytes, prot, flags, fd, offset);           \
		return tracked_##name(hint, bytes, prot, flags, fd, offset);                      \
	}

MAPPER(mmap)
MAPPER(mmap64)

/* Whether the kernel will refuse [START, START + BYTES) for its form alone. */
static bool is_malformed(uintptr_t start, size_t bytes)
{
	return bytes == 0 || (start & ((uintptr_t)sysconf(_SC_PAGESIZE) - 1)) != 0 ||
	       start + bytes < start || (intptr_t)(start + bytes) < 0;
}

/* The cut comes first: another thread may be given the addresses as soon as they are free. A call
 * that fails after that (the kernel's limit on the number of mappings, when one must be split) has
 * unmapped nothing, and what was cut is known to nobody any more: a loss. */
static CMR_TRACKED int tracked_munmap(void *start, size_t bytes)
{
	uintptr_t planes = cmr_gate_planes();
	int saved = errno, result;

	CMR_UNWIND_LEAVES_GATE();
	if (is_malformed((uintptr_t)start, bytes))
		return cmr_original.munmap(start, bytes);
	cmr_wrapper_enter(planes);
	CMR_EACH_PLANE(plane, planes)
		cmr_on_unmap(plane, (uintptr_t)start, bytes);
	errno = saved;
	result = cmr_original.munmap(start, bytes);
	if (result != 0)
		cmr_lose(CMR_LOSS_mappings);
	cmr_gate_leave(planes);
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
	uintptr_t old;
	size_t old_bytes, bytes;
	int flags;
	struct cmr_range_taken taken[CMR_N_PLANES];
};

static void remap_end(const struct remap *remap, void *result)
{
	CMR_EACH_PLANE(plane, remap->planes) {
		const struct cmr_range_taken *taken = &remap->taken[plane];

		if (result == MAP_FAILED) {
			cmr_on_remap_failed(plane, taken);
		} else if ((remap->flags & MREMAP_DONTUNMAP) != 0 || remap->old_bytes == 0) {
			/* The old addresses stay mapped, empty or shared with the new ones. */
			cmr_on_remap_failed(plane, taken);
			cmr_on_map(plane, (uintptr_t)result, remap->bytes, PROT_READ | PROT_WRITE,
				   remap->old_bytes == 0 ? MAP_SHARED | MAP_ANONYMOUS
							 : MAP_PRIVATE | MAP_ANONYMOUS,
				   -1, CMR_KIND_MREMAP);
		} else {
			cmr_on_remap_done(plane, taken, remap->old, remap->old_bytes,
					  (uintptr_t)result, remap->bytes);
		}
	}
}

static CMR_TRACKED void *tracked_mremap(void *start, size_t old, size_t bytes, int flags,
					void *target)
{
	struct remap remap = {
		.planes = cmr_gate_planes(),
		.old = (uintptr_t)start,
		.old_bytes = old,
		.bytes = bytes,
		.flags = flags,
	};
	int saved = errno;
	void *result;

	CMR_UNWIND_LEAVES_GATE();
	cmr_wrapper_enter(remap.planes);
	CMR_EACH_PLANE(plane, remap.planes)
		cmr_on_remap_begin(plane, remap.old, old, &remap.taken[plane]);
	errno = saved;
	result = cmr_original.mremap(start, old, bytes, flags, target);
	saved = errno;
	remap_end(&remap, result);
	errno = saved;
	cmr_gate_leave(remap.planes);
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
	uintptr_t planes = cmr_gate_planes();
	int result;

	CMR_UNWIND_LEAVES_GATE();
	cmr_wrapper_enter(planes);
	result = cmr_original.mprotect(start, bytes, prot);
	if (result == 0) {
		int saved = errno;

		CMR_EACH_PLANE(plane, planes)
			cmr_on_protect(plane, (uintptr_t)start, bytes, prot);
		errno = saved;
	}
	cmr_gate_leave(planes);
	return result;
}

int cmr_hook_mprotect(void *start, size_t bytes, int prot)
{
	if (CMR_CLOSED(cmr_gate_planes()))
		return cmr_original.mprotect(start, bytes, prot);
	return tracked_mprotect(start, bytes, prot);
}
