/* What happened to memory, told by the hooks to one plane; the hot path.
 *
 * Call with the plane's guard set (gate.h) and the gate open for it. Nothing fails: what cannot be
 * recorded is counted (os/losses.h).
 *
 * Order rule: free, unmap and resize un-track BEFORE the real call, because another thread may get
 * the address at once; a failed resize puts the entry back; allocation tracks AFTER the real call.
 * Stacks are walked only after a successful allocation. */
#ifndef CMR_EVENTS_EVENTS_H
#define CMR_EVENTS_EVENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "events/gate.h"
#include "heap/region.h"
#include "os/kinds.h"

/* A block of SIZE requested bytes now lives at ADDRESS (not 0). [hot] [nomalloc] */
void cmr_on_alloc(enum cmr_plane_id plane, uintptr_t address, size_t size, enum cmr_kind kind);

/* The block at ADDRESS is about to be freed. Unknown addresses are ignored. [hot] [nomalloc] */
void cmr_on_free(enum cmr_plane_id plane, uintptr_t address);

/* What cmr_on_resize_begin took out of the table. */
struct cmr_taken {
	struct cmr_block block;
	bool found;
};

/* The block at ADDRESS (may be 0) is about to be resized. Takes its entry out, books nothing. */
void cmr_on_resize_begin(enum cmr_plane_id plane, uintptr_t address, struct cmr_taken *taken);

/* The resize failed: the block still lives at ADDRESS. */
void cmr_on_resize_failed(enum cmr_plane_id plane, uintptr_t address,
			  const struct cmr_taken *taken);

/* The resize succeeded: books the free of TAKEN and an allocation of SIZE at ADDRESS. OLD is the
 * address before (0: this was an allocation). A block that was not found, and OLD not 0, is older
 * than the region: it counts as new, and its size is reported apart. */
void cmr_on_resize_done(enum cmr_plane_id plane, uintptr_t old, const struct cmr_taken *taken,
			uintptr_t address, size_t size, enum cmr_kind kind);

/* The block at ADDRESS is gone after resize to zero freed it. */
void cmr_on_resize_freed(enum cmr_plane_id plane, const struct cmr_taken *taken);

/* Mappings. PROT and FLAGS as given to mmap. on_map replaces what a MAP_FIXED call overlaid. BYTES
 * is what was asked; intervals are kept in whole pages, bytes as asked.
 * Before munmap / mremap / MAP_FIXED mmap the old part is cut; what the call then leaves in place is
 * put back by the caller with cmr_on_map of the same kind. [nomalloc] */
void cmr_on_map(enum cmr_plane_id plane, uintptr_t start, size_t bytes, int prot, int flags, int fd,
		enum cmr_kind kind);
void cmr_on_unmap(enum cmr_plane_id plane, uintptr_t start, size_t bytes);
void cmr_on_protect(enum cmr_plane_id plane, uintptr_t start, size_t bytes, int prot);

/* mremap, in two steps: the old interval is taken out, then either put back (failure) or booked as
 * a free and a new mapping at the new place with the class it had. */
struct cmr_range_taken {
	struct cmr_range range;
	bool found;
};
void cmr_on_remap_begin(enum cmr_plane_id plane, uintptr_t start, size_t bytes,
			struct cmr_range_taken *taken);
void cmr_on_remap_failed(enum cmr_plane_id plane, const struct cmr_range_taken *taken);
void cmr_on_remap_done(enum cmr_plane_id plane, const struct cmr_range_taken *taken,
		       uintptr_t old_start, size_t old_bytes, uintptr_t start, size_t bytes);

#endif
