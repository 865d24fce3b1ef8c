#include "os/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static _Atomic size_t mapped;
static _Atomic(bool (*)(size_t)) gatekeeper;

void cmr_memory_set_gatekeeper(bool (*allow)(size_t bytes))
{
	atomic_store(&gatekeeper, allow);
}

size_t cmr_memory_mapped(void)
{
	return atomic_load_explicit(&mapped, memory_order_relaxed);
}

static bool allowed(size_t bytes)
{
	bool (*allow)(size_t) = atomic_load_explicit(&gatekeeper, memory_order_relaxed);

	return allow == NULL || allow(bytes);
}

/* BYTES in whole pages; 0 when that is no number. */
static size_t whole_pages(size_t bytes)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE); /* no system call */

	return bytes > SIZE_MAX - page ? 0 : (bytes + page - 1) & ~(page - 1);
}

void *cmr_memory_map(size_t bytes)
{
	int saved = errno;
	size_t size = whole_pages(bytes);
	void *memory;

	if (size == 0 || !allowed(bytes))
		return NULL;
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (memory == MAP_FAILED) {
		errno = saved;
		return NULL;
	}
	atomic_fetch_add_explicit(&mapped, size, memory_order_relaxed);
	return memory;
}

void cmr_memory_unmap(void *memory, size_t bytes)
{
	int saved = errno;
	size_t size = whole_pages(bytes);

	if (memory == NULL)
		return;
	/* It fails only where it would have to split a mapping beyond the limit of their number. */
	if (munmap(memory, size) == 0)
		atomic_fetch_sub_explicit(&mapped, size, memory_order_relaxed);
	else
		madvise(memory, size, MADV_DONTNEED);
	errno = saved;
}

void *cmr_memory_grow(void *memory, size_t old, size_t bytes)
{
	int saved = errno;
	size_t before = whole_pages(old), size = whole_pages(bytes);
	void *grown;

	if (size == 0 || !allowed(bytes))
		return NULL;
	grown = mremap(memory, before, size, MREMAP_MAYMOVE);
	if (grown == MAP_FAILED) {
		errno = saved;
		return NULL;
	}
	atomic_fetch_add_explicit(&mapped, size - before, memory_order_relaxed);
	return grown;
}

void cmr_memory_discard(void *memory, size_t bytes)
{
	int saved = errno;

	/* Locked pages (mlockall) cannot be dropped. */
	if (madvise(memory, whole_pages(bytes), MADV_DONTNEED) != 0)
		memset(memory, 0, bytes);
	errno = saved;
}

void cmr_memory_let_go(void *memory, size_t bytes)
{
	int saved = errno;

	(void)madvise(memory, whole_pages(bytes), MADV_DONTNEED);
	errno = saved;
}

void cmr_memory_small_pages(void *memory, size_t bytes)
{
	int saved = errno;

	/* A kernel without huge pages refuses: nothing to prevent there. */
	madvise(memory, whole_pages(bytes), MADV_NOHUGEPAGE);
	errno = saved;
}

/* --- pages in use -------------------------------------------------------------------------- */

#define PAGES_AT_ONCE 256

/* Reads what the kernel says of N pages from FIRST on. */
static bool read_pagemap(int file, size_t first, uint64_t *words, size_t n)
{
	size_t bytes = n * sizeof *words;

	return file >= 0 &&
	       pread(file, words, bytes, (off_t)(first * sizeof *words)) == (ssize_t)bytes;
}

void cmr_memory_each_used(void *memory, size_t bytes,
			  void (*visit)(void *data, void *start, size_t bytes), void *data)
{
	int saved = errno, file = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n_pages = whole_pages(bytes) / page;
	uint64_t words[PAGES_AT_ONCE];
	size_t used = 0; /* pages before page i that are to be visited */
	size_t i = 0;

	for (; i < n_pages; i++) {
		size_t k = i % PAGES_AT_ONCE;
		size_t n = n_pages - i < PAGES_AT_ONCE ? n_pages - i : PAGES_AT_ONCE;

		if (k == 0 && !read_pagemap(file, (uintptr_t)memory / page + i, words, n))
			memset(words, 0xff, sizeof words);
		if (words[k] >> 62 != 0) { /* bit 63 present, bit 62 swapped */
			used++;
			continue;
		}
		if (used != 0)
			visit(data, (char *)memory + (i - used) * page, used * page);
		used = 0;
	}
	if (used != 0)
		visit(data, (char *)memory + (i - used) * page, used * page);
	if (file >= 0)
		close(file);
	errno = saved;
}

/* --- pools --------------------------------------------------------------------------------- */

#define CHUNK ((size_t)64 * 1024)

/* Of all pools: they are asked seldom. The fences below keep each pool usable after any single store,
 * since a fork may copy it there. */
static struct cmr_lock pools_lock = CMR_LOCK(CMR_RANK_LEAF);

void cmr_pools_after_fork(void)
{
	pools_lock = (struct cmr_lock)CMR_LOCK(CMR_RANK_LEAF);
}

static void *get_locked(struct cmr_pool *pool)
{
	void *item = pool->free_list;
	size_t chunk = pool->item > CHUNK ? pool->item : CHUNK;

	if (item != NULL) {
		memcpy(&pool->free_list, item, sizeof pool->free_list);
		memset(item, 0, pool->item);
		return item;
	}
	if (pool->bump == NULL || (size_t)(pool->end - pool->bump) < pool->item) {
		char *memory = cmr_memory_map(chunk);

		if (memory == NULL)
			return NULL;
		pool->bump = NULL;
		atomic_signal_fence(memory_order_seq_cst);
		pool->end = memory + chunk;
		atomic_signal_fence(memory_order_seq_cst);
		pool->bump = memory;
	}
	item = pool->bump;
	pool->bump += pool->item;
	return item;
}

void *cmr_pool_get(struct cmr_pool *pool)
{
	void *item;

	cmr_lock_take(&pools_lock);
	item = get_locked(pool);
	cmr_lock_drop(&pools_lock);
	return item;
}

void cmr_pool_put(struct cmr_pool *pool, void *item)
{
	if (item == NULL)
		return;
	cmr_lock_take(&pools_lock);
	memcpy(item, &pool->free_list, sizeof pool->free_list);
	atomic_signal_fence(memory_order_seq_cst);
	pool->free_list = item;
	cmr_lock_drop(&pools_lock);
}

/* --- arenas -------------------------------------------------------------------------------- */

/* Head of each mapping; what is taken follows it. */
struct cmr_arena_chunk {
	struct cmr_arena_chunk *next;
	size_t bytes; /* of the mapping */
};

#define HEAD ((sizeof(struct cmr_arena_chunk) + 15) & ~(size_t)15)

static struct cmr_arena_chunk *map_chunk(size_t bytes)
{
	struct cmr_arena_chunk *chunk = cmr_memory_map(bytes);

	if (chunk != NULL)
		chunk->bytes = bytes;
	return chunk;
}

/* A piece that would waste much of a chunk gets a mapping of its own, behind the newest chunk, so
 * that the rest of that one stays in use. */
static void *take_large(struct cmr_arena *arena, size_t bytes)
{
	struct cmr_arena_chunk *chunk = map_chunk(HEAD + bytes);

	if (chunk == NULL)
		return NULL;
	if (arena->chunks == NULL) {
		arena->chunks = chunk;
		arena->used = arena->size = HEAD + bytes;
	} else {
		chunk->next = arena->chunks->next;
		arena->chunks->next = chunk;
	}
	return (char *)chunk + HEAD;
}

void *cmr_arena_take(struct cmr_arena *arena, size_t bytes)
{
	struct cmr_arena_chunk *chunk;
	void *piece;

	if (bytes > SIZE_MAX / 2)
		return NULL;
	bytes = bytes != 0 ? (bytes + 15) & ~(size_t)15 : 16;
	if (bytes > arena->size - arena->used) {
		if (bytes > CHUNK / 4)
			return take_large(arena, bytes);
		chunk = map_chunk(CHUNK);
		if (chunk == NULL)
			return NULL;
		chunk->next = arena->chunks;
		arena->chunks = chunk;
		arena->used = HEAD;
		arena->size = CHUNK;
	}
	piece = (char *)arena->chunks + arena->used;
	arena->used += bytes;
	return piece;
}

void cmr_arena_reset(struct cmr_arena *arena)
{
	struct cmr_arena_chunk *chunk = arena->chunks;

	while (chunk != NULL) {
		struct cmr_arena_chunk *next = chunk->next;

		cmr_memory_unmap(chunk, chunk->bytes);
		chunk = next;
	}
	*arena = (struct cmr_arena){ 0 };
}
