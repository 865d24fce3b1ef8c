/* Mappings, pools and arenas of the tracker. */
#include "cmr_test.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "child.h"
#include "os/memory.h"
#include "smaps.h"

static size_t page_size(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static bool all_zero(const void *memory, size_t bytes)
{
	const char *p = memory;

	for (size_t i = 0; i < bytes; i++)
		if (p[i] != 0)
			return false;
	return true;
}

static bool refuse(size_t bytes)
{
	(void)bytes;
	return false;
}

static size_t last_asked;

static bool note(size_t bytes)
{
	last_asked = bytes;
	return true;
}

/* Pages of [MEMORY, MEMORY + BYTES) that are resident. */
static size_t resident(void *memory, size_t bytes)
{
	unsigned char map[4096];
	size_t n = 0, pages = bytes / page_size();

	REQUIRE(pages <= sizeof map && mincore(memory, bytes, map) == 0);
	for (size_t i = 0; i < pages; i++)
		n += map[i] & 1;
	return n;
}

CMR_TEST(a_mapping_is_zeroed_writable_and_counted_in_pages)
{
	size_t before = cmr_memory_mapped();
	char *memory = cmr_memory_map(page_size() + 1);

	REQUIRE(memory != NULL);
	CHECK_EQ_U64((uintptr_t)memory % page_size(), 0);
	CHECK_EQ_U64(cmr_memory_mapped() - before, 2 * page_size());
	CHECK(all_zero(memory, 2 * page_size()));
	memset(memory, 1, 2 * page_size());
	cmr_memory_unmap(memory, page_size() + 1);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
}

CMR_TEST(an_unmapped_mapping_is_gone)
{
	char *memory = cmr_memory_map(16 * page_size());

	cmr_memory_unmap(memory, 16 * page_size());
	CHECK(msync(memory, 16 * page_size(), MS_ASYNC) == -1 && errno == ENOMEM);
	cmr_memory_unmap(NULL, 1);
}

CMR_TEST(a_mapping_grows_with_its_contents)
{
	size_t before = cmr_memory_mapped(), page = page_size();
	char *memory = cmr_memory_map(page), *grown;

	memset(memory, 7, page);
	grown = cmr_memory_grow(memory, page, 64 * page);
	REQUIRE(grown != NULL);
	CHECK_EQ_U64(cmr_memory_mapped() - before, 64 * page);
	CHECK_EQ_U64(grown[0], 7);
	CHECK_EQ_U64(grown[page - 1], 7);
	CHECK(all_zero(grown + page, 63 * page));
	cmr_memory_unmap(grown, 64 * page);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
}

CMR_TEST(refusals_are_null_and_change_nothing)
{
	size_t page = page_size(), before;
	char *memory = cmr_memory_map(page);
	struct cmr_pool pool = CMR_POOL(100);
	struct cmr_arena arena = { 0 };

	memory[0] = 5;
	before = cmr_memory_mapped();
	cmr_memory_set_gatekeeper(refuse);
	CHECK(cmr_memory_map(page) == NULL);
	CHECK(cmr_memory_grow(memory, page, 2 * page) == NULL);
	CHECK(cmr_pool_get(&pool) == NULL);
	CHECK(cmr_arena_take(&arena, 10) == NULL);
	CHECK(cmr_arena_take(&arena, 1 << 20) == NULL);
	cmr_memory_set_gatekeeper(NULL);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
	CHECK_EQ_U64(memory[0], 5);
	CHECK(cmr_pool_get(&pool) != NULL);
	CHECK(cmr_arena_take(&arena, 10) != NULL);
	cmr_arena_reset(&arena);
	cmr_memory_unmap(memory, page);
}

CMR_TEST(the_gatekeeper_is_told_what_is_asked)
{
	void *memory;

	cmr_memory_set_gatekeeper(note);
	memory = cmr_memory_map(12345);
	CHECK_EQ_U64(last_asked, 12345);
	memory = cmr_memory_grow(memory, 12345, 54321);
	CHECK_EQ_U64(last_asked, 54321);
	cmr_memory_set_gatekeeper(NULL);
	cmr_memory_unmap(memory, 54321);
}

CMR_TEST(what_is_no_size_is_refused)
{
	char *memory = cmr_memory_map(1);
	struct cmr_arena arena = { 0 };

	CHECK(cmr_memory_map(0) == NULL);
	CHECK(cmr_memory_map(SIZE_MAX) == NULL);
	CHECK(cmr_memory_map(SIZE_MAX - 100) == NULL);
	CHECK(cmr_memory_grow(memory, 1, SIZE_MAX) == NULL);
	CHECK(cmr_arena_take(&arena, SIZE_MAX) == NULL);
	CHECK(cmr_arena_take(&arena, SIZE_MAX - 14) == NULL);
	cmr_memory_unmap(memory, 1);
}

CMR_TEST(the_kernels_refusal_keeps_errno)
{
	size_t page = page_size(), before = cmr_memory_mapped();
	void *memory = cmr_memory_map(page);

	errno = 77;
	CHECK(cmr_memory_map(SIZE_MAX / 2) == NULL);
	CHECK_EQ_I64(errno, 77);
	CHECK(cmr_memory_grow(memory, page, SIZE_MAX / 2) == NULL);
	CHECK_EQ_I64(errno, 77);
	cmr_memory_small_pages((void *)(page * 2), page); /* nothing is mapped down there */
	CHECK_EQ_I64(errno, 77);
	cmr_memory_unmap(memory, page);
	CHECK_EQ_I64(errno, 77);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
}

CMR_TEST(discarded_pages_read_as_zero_and_are_given_back)
{
	size_t bytes = 64 * page_size();
	char *memory = cmr_memory_map(bytes);

	cmr_memory_small_pages(memory, bytes);
	memset(memory, 9, bytes);
	CHECK_EQ_U64(resident(memory, bytes), 64);
	cmr_memory_discard(memory, bytes);
	CHECK_EQ_U64(resident(memory, bytes), 0);
	CHECK(all_zero(memory, bytes));
	cmr_memory_unmap(memory, bytes);
}

CMR_TEST(huge_pages_are_refused)
{
	size_t bytes = (size_t)4 << 20;
	char *memory = cmr_memory_map(bytes);

	if (!has_huge_pages())
		CMR_TEST_SKIP("this kernel has no huge pages");
	cmr_memory_small_pages(memory, bytes);
	CHECK(refuses_huge_pages(memory));
	cmr_memory_unmap(memory, bytes);
}

#define USED_PAGES 1000

static char *used_memory;
static unsigned char used[USED_PAGES]; /* times each page was visited */
static unsigned n_stretches;

static void note_used(void *data, void *start, size_t bytes)
{
	size_t first = (size_t)((char *)start - used_memory) / page_size();

	CHECK_EQ_PTR(data, &n_stretches);
	CHECK_EQ_U64((uintptr_t)start % page_size(), 0);
	CHECK(bytes > 0 && bytes % page_size() == 0);
	n_stretches++;
	for (size_t i = first; i < first + bytes / page_size() && CHECK(i < USED_PAGES); i++)
		used[i]++;
}

static void visit_used(void)
{
	memset(used, 0, sizeof used);
	n_stretches = 0;
	errno = 88;
	cmr_memory_each_used(used_memory, USED_PAGES * page_size(), note_used, &n_stretches);
	CHECK_EQ_I64(errno, 88);
}

/* In a process that may open no files: everything counts as used. */
static void visit_all_without_proc(void)
{
	struct rlimit none, before;

	getrlimit(RLIMIT_NOFILE, &before);
	none = before;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &none);
	visit_used();
	setrlimit(RLIMIT_NOFILE, &before);
	CHECK_EQ_U64(n_stretches, 1);
	for (unsigned i = 0; i < USED_PAGES; i++)
		CHECK_EQ_U64(used[i], 1);
}

CMR_TEST(pages_in_use_are_told)
{
	const unsigned touched[] = { 0, 3, 4, 5, 255, 256, 511, 513, 998, 999 };
	size_t bytes = USED_PAGES * page_size();
	bool expected[USED_PAGES] = { false };
	int next_file;

	if (access("/proc/self/pagemap", R_OK) != 0)
		CMR_TEST_SKIP("the kernel does not tell which pages are in use");
	used_memory = cmr_memory_map(bytes);
	cmr_memory_small_pages(used_memory, bytes);
	next_file = dup(STDOUT_FILENO);
	close(next_file);
	visit_used();
	CHECK_EQ_U64(n_stretches, 0);
	CHECK_EQ_I64(dup(STDOUT_FILENO), next_file); /* nothing was left open */
	close(next_file);
	for (unsigned i = 0; i < sizeof touched / sizeof *touched; i++) {
		used_memory[touched[i] * page_size() + i] = 1;
		expected[touched[i]] = true;
	}
	visit_used();
	for (unsigned i = 0; i < USED_PAGES; i++)
		CHECK_EQ_U64(used[i], expected[i]);
	CHECK_EQ_U64(n_stretches, 6); /* 0, 3-5, 255-256, 511, 513, 998-999 */
	CHECK_EQ_U64(resident(used_memory, bytes), 10);
	CHECK(passes_in_child(visit_all_without_proc));
	cmr_memory_unmap(used_memory, bytes);
}

CMR_TEST(locked_pages_are_cleared_by_hand)
{
	size_t bytes = 2 * page_size();
	char *memory = cmr_memory_map(bytes);

	if (mlock(memory, bytes) != 0)
		CMR_TEST_SKIP("this process may not lock memory");
	memset(memory, 9, bytes);
	errno = 99;
	cmr_memory_discard(memory, bytes);
	CHECK_EQ_I64(errno, 99);
	CHECK(all_zero(memory, bytes));
	munlock(memory, bytes);
	cmr_memory_unmap(memory, bytes);
}

CMR_TEST(pool_objects_are_zeroed_aligned_and_reused)
{
	struct cmr_pool pool = CMR_POOL(40);
	char *a, *b, *c;

	CHECK_EQ_U64(pool.item, 48);
	a = cmr_pool_get(&pool);
	b = cmr_pool_get(&pool);
	REQUIRE(a != NULL && b != NULL && a != b);
	CHECK_EQ_U64((uintptr_t)a % 16, 0);
	CHECK_EQ_U64((uintptr_t)b % 16, 0);
	CHECK(b >= a + 48 || a >= b + 48);
	memset(a, 1, 48);
	memset(b, 2, 48);
	CHECK_EQ_U64(a[47], 1);
	cmr_pool_put(&pool, a);
	cmr_pool_put(&pool, b);
	cmr_pool_put(&pool, NULL);
	c = cmr_pool_get(&pool);
	CHECK_EQ_PTR(c, b);
	CHECK(all_zero(c, 48));
	CHECK_EQ_PTR(cmr_pool_get(&pool), a);
}

CMR_TEST(a_pool_takes_chunks_of_64_kib)
{
	struct cmr_pool pool = CMR_POOL(1024), large = CMR_POOL(100000);
	size_t before = cmr_memory_mapped();

	for (int i = 0; i < 64; i++)
		CHECK(cmr_pool_get(&pool) != NULL);
	CHECK_EQ_U64(cmr_memory_mapped() - before, 65536);
	CHECK(cmr_pool_get(&pool) != NULL);
	CHECK_EQ_U64(cmr_memory_mapped() - before, 2 * 65536);
	CHECK(cmr_pool_get(&large) != NULL);
	CHECK(cmr_memory_mapped() - before >= 2 * 65536 + 100000);
}

static struct cmr_pool shared_pool = CMR_POOL(64);

static void *churn(void *own)
{
	char mark = *(const char *)own;

	for (int round = 0; round < 2000; round++) {
		char *items[8];

		for (int i = 0; i < 8; i++) {
			items[i] = cmr_pool_get(&shared_pool);
			REQUIRE(items[i] != NULL);
			CHECK(all_zero(items[i], 64));
			memset(items[i], mark, 64);
		}
		for (int i = 0; i < 8; i++) {
			CHECK_EQ_U64(items[i][0], mark);
			CHECK_EQ_U64(items[i][63], mark);
			cmr_pool_put(&shared_pool, items[i]);
		}
	}
	return NULL;
}

CMR_TEST(threads_share_a_pool)
{
	pthread_t threads[4];
	char marks[4] = { 1, 2, 3, 4 };

	for (int i = 0; i < 4; i++)
		REQUIRE(pthread_create(&threads[i], NULL, churn, &marks[i]) == 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

static atomic_bool stop;

static void *churn_until_stopped(void *own)
{
	while (!atomic_load(&stop))
		churn(own);
	return NULL;
}

static void use_shared_pool(void)
{
	char mark = 9;

	cmr_pools_after_fork();
	churn(&mark);
}

/* The lock may be held by a thread that the child does not have. */
CMR_TEST(a_pool_works_in_the_child_of_a_fork)
{
	pthread_t thread;
	char mark = 1;

	REQUIRE(pthread_create(&thread, NULL, churn_until_stopped, &mark) == 0);
	for (int round = 0; round < 30; round++)
		CHECK(passes_in_child(use_shared_pool));
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
}

CMR_TEST(arena_pieces_are_apart_zeroed_and_aligned)
{
	struct cmr_arena arena = { 0 };
	size_t before = cmr_memory_mapped();
	char *pieces[600];

	for (int i = 0; i < 600; i++) {
		size_t bytes = 1 + (size_t)i * 7 % 500;

		pieces[i] = cmr_arena_take(&arena, bytes);
		REQUIRE(pieces[i] != NULL);
		CHECK_EQ_U64((uintptr_t)pieces[i] % 16, 0);
		CHECK(all_zero(pieces[i], bytes));
		memset(pieces[i], i % 251 + 1, bytes);
	}
	for (int i = 0; i < 600; i++) {
		size_t bytes = 1 + (size_t)i * 7 % 500;

		CHECK_EQ_U64((unsigned char)pieces[i][0], i % 251 + 1);
		CHECK_EQ_U64((unsigned char)pieces[i][bytes - 1], i % 251 + 1);
	}
	cmr_arena_reset(&arena);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
	CHECK(cmr_arena_take(&arena, 0) != NULL);
	cmr_arena_reset(&arena);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
}

CMR_TEST(a_large_piece_leaves_the_chunk_in_use)
{
	struct cmr_arena arena = { 0 };
	size_t before = cmr_memory_mapped();
	char *large = cmr_arena_take(&arena, 200000), *first = cmr_arena_take(&arena, 32);
	char *second, *next;

	REQUIRE(large != NULL && first != NULL);
	memset(large, 1, 200000);
	second = cmr_arena_take(&arena, 100000);
	REQUIRE(second != NULL);
	memset(second, 2, 100000);
	next = cmr_arena_take(&arena, 32);
	CHECK_EQ_PTR(next, first + 32);
	CHECK_EQ_U64(large[199999], 1);
	cmr_arena_reset(&arena);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
}
