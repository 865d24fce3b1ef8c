/* What happened to memory, told by the hooks to one plane; the hot path.
 *
 * Call with the plane's guard set (gate.h) and the gate open for it. Nothing fails: what cannot be
 * recorded is counted (os/losses.h). errno is left alone by all that does no system call; wrappers
 * save it.
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

/* A block of SIZE requested bytes now lives at ADDRESS (not 0). hot.h has an inline form. [hot]
 * [nomalloc] */
void cmr_on_alloc(enum cmr_plane_id plane, uintptr_t address, size_t size, enum cmr_kind kind);

/* The block at ADDRESS is about to be freed. Unknown addresses are ignored. hot.h has an inline
 * form. [hot] [nomalloc] */
void cmr_on_free(enum cmr_plane_id plane, uintptr_t address);

/* The two halves of either: small blocks of exact attribution and larger ones that are not sampled, as
 * far as a pass covers them (heap/region.h; false: nothing was done), and whatever that was false for.
 * [hot] [nomalloc] */
bool cmr_on_alloc_by_pass(enum cmr_plane_id plane, uintptr_t address, size_t size,
			  enum cmr_kind kind);
bool cmr_on_free_by_pass(enum cmr_plane_id plane, uintptr_t address);
void cmr_on_alloc_other(enum cmr_plane_id plane, uintptr_t address, size_t size, enum cmr_kind kind);
void cmr_on_free_other(enum cmr_plane_id plane, uintptr_t address);

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

/* The block is gone after resize to zero freed it. */
void cmr_on_resize_freed(enum cmr_plane_id plane, const struct cmr_taken *taken);

/* --- mappings: maps.c -------------------------------------------------------------------------
 * An interval is kept as [start, start + bytes asked); the kernel's rounding up to pages is added
 * where something is cut out. Starts that are not on a page are ignored, as the kernel refuses
 * them.
 *
 * Before munmap / MAP_FIXED mmap the old part is cut by cmr_on_unmap; what the call then leaves in
 * place is put back by the caller with cmr_on_map of the same kind. */

/* mmap succeeded. PROT, FLAGS and FD as given; BYTES as asked. Replaces what it overlays. */
void cmr_on_map(enum cmr_plane_id plane, uintptr_t start, size_t bytes, int prot, int flags, int fd,
		enum cmr_kind kind);

/* munmap is about to be called. */
void cmr_on_unmap(enum cmr_plane_id plane, uintptr_t start, size_t bytes);

/* mprotect succeeded. */
void cmr_on_protect(enum cmr_plane_id plane, uintptr_t start, size_t bytes, int prot);

/* Mappings taken out for munmap or mremap, one piece for each interval and basis. Those that there is
 * no room for are booked as unmapped at once; unless that is what happens, a `mappings` loss. */
#define CMR_MAX_TAKEN 4
struct cmr_range_taken {
	uintptr_t start, end; /* that was cut, in whole pages */
	struct cmr_range_cut pieces[CMR_MAX_TAKEN];
	uint8_t basis[CMR_MAX_TAKEN]; /* of each piece: whose table it came from */
	unsigned n, n_booked;         /* pieces; and how many there was no room for */
};

/* munmap or mremap of [START, START + BYTES) is about to be called. Takes it out. */
void cmr_on_remap_begin(enum cmr_plane_id plane, uintptr_t start, size_t bytes,
			struct cmr_range_taken *taken);

/* It failed: all as before. */
void cmr_on_remap_failed(enum cmr_plane_id plane, const struct cmr_range_taken *taken);

/* munmap succeeded: books the end of TAKEN. */
void cmr_on_unmap_done(enum cmr_plane_id plane, const struct cmr_range_taken *taken);

/* mremap succeeded: books the end of TAKEN and a new mapping [START, START + BYTES) of the class it had.
 * Nothing taken, and OLD_BYTES not 0: a mapping older than the region, counted as new and reported
 * apart. OLD_BYTES 0 makes a second view of a shared mapping. */
void cmr_on_remap_done(enum cmr_plane_id plane, const struct cmr_range_taken *taken,
		       uintptr_t old_start, size_t old_bytes, uintptr_t start, size_t bytes);

/* Between them the calling thread's mappings are the interpreter's own: arenas of its allocator,
 * frame stacks, code of its compiler. Nothing of that counts in basis requested. They nest. */
void cmr_stock_begin(void);
void cmr_stock_end(void);

#endif
