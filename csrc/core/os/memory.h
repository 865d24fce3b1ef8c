/* Memory for the tracker itself: whole mappings from the kernel, never the program's allocator.
 *
 * A hook runs inside malloc, so nothing here may call it. Everything fails softly: NULL means that
 * the kernel refused, and the caller counts a loss or reports CMR_NO_MEMORY. */
#ifndef CMR_OS_MEMORY_H
#define CMR_OS_MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#include "os/lock.h"

/* Maps BYTES (rounded up to pages), zeroed, readable and writable, private, MAP_NORESERVE.
 * NULL on refusal. errno is preserved. [nomalloc] */
void *cmr_memory_map(size_t bytes);

/* Gives back a mapping of cmr_memory_map (BYTES as asked). errno is preserved. [nomalloc] */
void cmr_memory_unmap(void *memory, size_t bytes);

/* Grows a mapping of cmr_memory_map from OLD to BYTES bytes; the contents move if they must, new
 * bytes are zero. NULL on refusal: the old mapping stays as it was. [nomalloc] */
void *cmr_memory_grow(void *memory, size_t old, size_t bytes);

/* Drops the contents of whole pages; they read as zero again (MADV_DONTNEED). [nomalloc] */
void cmr_memory_discard(void *memory, size_t bytes);

/* As cmr_memory_discard for who does not mind either way: locked pages stay as they are. So
 * others may be reading what they were not told is gone: each word of theirs is the old one or
 * 0. [nomalloc] */
void cmr_memory_let_go(void *memory, size_t bytes);

/* Calls VISIT for stretches of whole pages that together hold all of [MEMORY, MEMORY + BYTES)
 * that is not zero; MEMORY is a mapping of cmr_memory_map. Pages that nobody ever wrote are left
 * out, so that reading does not make them resident, where the kernel tells (/proc/self/pagemap;
 * 10 us for 8 MiB). Not from a hook: opens a file. errno is preserved. */
void cmr_memory_each_used(void *memory, size_t bytes,
			  void (*visit)(void *data, void *start, size_t bytes), void *data);

/* Asks for no huge pages: sparse tables would otherwise become resident 2 MiB at a time. */
void cmr_memory_small_pages(void *memory, size_t bytes);

/* Bytes mapped by the tracker now (address space, not residency). [any] */
size_t cmr_memory_mapped(void);

/* Test door: called before every map or grow; returning false refuses it. NULL restores. */
void cmr_memory_set_gatekeeper(bool (*allow)(size_t bytes));

/* Fixed-size objects cut from mappings; freed objects are reused, mappings never given back.
 * Zero-initialise with item size set: struct cmr_pool p = CMR_POOL(sizeof(struct thing)). */
struct cmr_pool {
	size_t item;      /* bytes, at least sizeof(void *); multiple of 16 */
	void *free_list;  /* protected by the one lock of all pools, as the two below */
	char *bump, *end; /* rest of the newest mapping; bump NULL: none */
};
#define CMR_POOL(bytes) { .item = ((bytes) + 15) & ~(size_t)15 }

/* One zeroed object, or NULL on refusal. [nomalloc] */
void *cmr_pool_get(struct cmr_pool *pool);

/* Returns an object of this pool. ITEM may be NULL. [nomalloc] */
void cmr_pool_put(struct cmr_pool *pool, void *item);

/* In the child of a fork: the lock is made anew. An object that another thread was in the middle of
 * getting or returning is lost at most. */
void cmr_pools_after_fork(void);

/* Growing storage for variable-size copies (names, line tables). Protected by the owner's lock. */
struct cmr_arena {
	struct cmr_arena_chunk *chunks;
	size_t used, size; /* of the newest chunk, bytes */
};

/* BYTES of zeroed storage, 16-byte aligned, valid until cmr_arena_reset. NULL on refusal. */
void *cmr_arena_take(struct cmr_arena *arena, size_t bytes);

/* Unmaps everything that was taken. */
void cmr_arena_reset(struct cmr_arena *arena);

#endif
