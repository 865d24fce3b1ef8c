/* Every row of the malloc family through real slots and the real allocator: success, failure, size
 * 0, NULL, overflow; errno as the original leaves it; live bytes and counts of the region. */
#include "hook_rig.h"

#define TOO_MUCH ((size_t)PTRDIFF_MAX - 4096)

/* free(NULL) and friends are nothing; an unknown block is only freed. */
static void row_free(struct rig *rig)
{
	void *block = malloc(10); /* by this object, which is not patched */

	MARK_ERRNO();
	rig->c->free(NULL);
	rig->c->free(block);
	ERRNO_KEPT();
	UNCHANGED(rig);
}

CMR_TEST(free_ignores_null_and_unknown_blocks)
{
	rig_each(rig_variants, row_free);
}

/* SIZE bytes by GET, which is to be booked as KIND. */
static void one_block(struct rig *rig, void *block, int64_t size, enum cmr_kind kind)
{
	ERRNO_KEPT();
	REQUIRE(block != NULL);
	CHANGED(rig, size, 1, size, 1);
	CHECK_EQ_I64(rig_live(rig, kind), size);
	MARK_ERRNO();
	rig->c->free(block);
	ERRNO_KEPT();
	CHANGED(rig, -size, -1, 0, 0);
	CHECK_EQ_I64(rig_live(rig, kind), 0);
	MARK_ERRNO();
}

/* A request that failed with ENOMEM. */
static void no_block(struct rig *rig, void *block)
{
	CHECK(block == NULL);
	CHECK_EQ_I64(errno, ENOMEM);
	UNCHANGED(rig);
	MARK_ERRNO();
}

static void row_malloc(struct rig *rig)
{
	static const int sizes[] = { 1, 24, 510, 511, 512, 4096, 1 << 20, 1 << 26 };

	MARK_ERRNO();
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		one_block(rig, rig->c->malloc((size_t)sizes[i]), sizes[i], CMR_KIND_MALLOC);
	one_block(rig, rig->c->malloc(0), 0, CMR_KIND_MALLOC);
	no_block(rig, rig->c->malloc(TOO_MUCH));
}

CMR_TEST(malloc_counts_what_was_asked_for)
{
	rig_each(rig_variants, row_malloc);
}

static void row_calloc(struct rig *rig)
{
	MARK_ERRNO();
	one_block(rig, rig->c->calloc(7, 11), 77, CMR_KIND_CALLOC);
	one_block(rig, rig->c->calloc(1 << 10, 1 << 12), 1 << 22, CMR_KIND_CALLOC);
	one_block(rig, rig->c->calloc(0, 11), 0, CMR_KIND_CALLOC);
	no_block(rig, rig->c->calloc(SIZE_MAX / 2, 4));
	no_block(rig, rig->c->calloc(1, TOO_MUCH));
}

CMR_TEST(calloc_counts_the_product)
{
	rig_each(rig_variants, row_calloc);
}

static void row_realloc(struct rig *rig)
{
	void *block, *kept;

	MARK_ERRNO();
	one_block(rig, rig->c->realloc(NULL, 40), 40, CMR_KIND_REALLOC);
	block = rig->c->malloc(100);
	CHANGED(rig, 100, 1, 100, 1);
	block = rig->c->realloc(block, 5000);
	ERRNO_KEPT();
	CHANGED(rig, 4900, 0, 5000, 1);
	CHECK_EQ_I64(rig_live(rig, CMR_KIND_REALLOC), 5000);
	CHECK_EQ_I64(rig_live(rig, CMR_KIND_MALLOC), 0);
	kept = block;
	no_block(rig, rig->c->realloc(block, TOO_MUCH));
	CHECK_EQ_I64(rig_live(rig, CMR_KIND_REALLOC), 5000);
	block = rig->c->realloc(kept, 10);
	CHANGED(rig, -4990, 0, 10, 1);
	MARK_ERRNO();
	CHECK(rig->c->realloc(block, 0) == NULL);
	ERRNO_KEPT();
	CHANGED(rig, -10, -1, 0, 0);
}

CMR_TEST(realloc_frees_and_allocates)
{
	rig_each(rig_variants, row_realloc);
}

/* A block from before the region counts as new, at its new size. */
CMR_TEST(realloc_of_an_older_block_counts_it_as_new)
{
	struct rig rig = { .c = rig_calls(FIXTURE("calls_now")), .variant = "calls_now" };
	void *block = rig.c->malloc(100);

	rig.region = rig_start(CMR_BASIS_REQUESTED);
	block = rig.c->realloc(block, 300);
	CHANGED(&rig, 300, 1, 300, 1);
	CHECK_EQ_U64(rig.last.resized_old, 300);
	rig.c->free(block);
	CHANGED(&rig, -300, -1, 0, 0);
	block = rig.c->malloc(100);
	rig_end(rig.region);
	rig.c->free(block); /* and of an ended region is ignored */
}

static void row_reallocarray(struct rig *rig)
{
	void *block;

	MARK_ERRNO();
	one_block(rig, rig->c->reallocarray(NULL, 5, 30), 150, CMR_KIND_REALLOCARRAY);
	block = rig->c->reallocarray(NULL, 1, 8);
	block = rig->c->reallocarray(block, 100, 10);
	ERRNO_KEPT();
	CHANGED(rig, 1000, 1, 1008, 2);
	no_block(rig, rig->c->reallocarray(block, SIZE_MAX / 2, 4));
	no_block(rig, rig->c->reallocarray(block, 1, TOO_MUCH));
	CHECK_EQ_I64(rig_live(rig, CMR_KIND_REALLOCARRAY), 1000);
	CHECK(rig->c->reallocarray(block, 0, 10) == NULL);
	CHANGED(rig, -1000, -1, 0, 0);
}

CMR_TEST(reallocarray_is_a_realloc_that_checks_the_product)
{
	rig_each(rig_variants, row_reallocarray);
}

static void row_posix_memalign(struct rig *rig)
{
	void *block = NULL;

	MARK_ERRNO();
	CHECK_EQ_I64(rig->c->posix_memalign(&block, 64, 100), 0);
	CHECK_EQ_U64((uintptr_t)block % 64, 0);
	one_block(rig, block, 100, CMR_KIND_POSIX_MEMALIGN);
	CHECK_EQ_I64(rig->c->posix_memalign(&block, 16, 0), 0);
	if (block != NULL)
		one_block(rig, block, 0, CMR_KIND_POSIX_MEMALIGN);
	CHECK_EQ_I64(rig->c->posix_memalign(&block, 3, 100), EINVAL);
	CHECK_EQ_I64(rig->c->posix_memalign(&block, 64, TOO_MUCH), ENOMEM);
	UNCHANGED(rig);
}

CMR_TEST(posix_memalign_counts_the_block_it_stored)
{
	rig_each(rig_variants, row_posix_memalign);
}

static void row_aligned(struct rig *rig)
{
	MARK_ERRNO();
	one_block(rig, rig->c->aligned_alloc(256, 512), 512, CMR_KIND_ALIGNED_ALLOC);
	one_block(rig, rig->c->aligned_alloc(256, 0), 0, CMR_KIND_ALIGNED_ALLOC);
	no_block(rig, rig->c->aligned_alloc(64, TOO_MUCH & ~(size_t)63));
	one_block(rig, rig->c->memalign(128, 1000), 1000, CMR_KIND_MEMALIGN);
	no_block(rig, rig->c->memalign(128, TOO_MUCH));
	one_block(rig, rig->c->valloc(3000), 3000, CMR_KIND_VALLOC);
	no_block(rig, rig->c->valloc(TOO_MUCH));
	one_block(rig, rig->c->pvalloc(3000), 3000, CMR_KIND_PVALLOC);
	no_block(rig, rig->c->pvalloc(TOO_MUCH));
}

CMR_TEST(aligned_allocators_count_what_was_asked_for)
{
	rig_each(rig_variants, row_aligned);
}

static void row_sized_frees(struct rig *rig)
{
	void *block = rig->c->malloc(48);

	MARK_ERRNO();
	rig->c->free_sized(NULL, 5);
	rig->c->free_sized(block, 48);
	ERRNO_KEPT();
	CHANGED(rig, 0, 0, 48, 1);
	block = rig->c->aligned_alloc(64, 128);
	rig->c->free_aligned_sized(block, 64, 128);
	CHANGED(rig, 0, 0, 128, 1);
}

/* Where libc lacks them they come from a library in the global scope. Before any test: originals are
 * looked for once. */
__attribute__((constructor)) static void load_sized_frees(void)
{
	rig_open(FIXTURE("sized_frees"), RTLD_NOW | RTLD_GLOBAL);
}

CMR_TEST(free_sized_and_free_aligned_sized_are_frees)
{
	static const char *const files[] = { FIXTURE("calls_now"), NULL };

	rig_each(files, row_sized_frees);
}

static void row_strdup(struct rig *rig)
{
	char *text;

	MARK_ERRNO();
	text = rig->c->strdup("eleven char");
	one_block(rig, text, 12, CMR_KIND_MALLOC);
}

CMR_TEST(calls_inside_the_c_library_are_seen)
{
	if (UNDER_SANITIZER)
		CMR_TEST_SKIP("a sanitizer replaces strdup");
	rig_each(rig_variants, row_strdup);
}

/* Both views of memory at once, each with its own books. */
CMR_TEST(two_planes_count_the_same_call)
{
	const struct calls *c = rig_calls(FIXTURE("calls_now"));
	struct rig outer = { .c = c, .variant = "outer", .basis = CMR_BASIS_REQUESTED };
	struct rig system = { .c = c, .variant = "system", .basis = CMR_BASIS_SYSTEM };
	void *block;

	outer.region = rig_start(CMR_BASIS_REQUESTED);
	system.region = rig_start(CMR_BASIS_SYSTEM);
	MARK_ERRNO();
	block = c->calloc(3, 100);
	CHANGED(&outer, 300, 1, 300, 1);
	CHANGED(&system, 300, 1, 300, 1);
	block = c->realloc(block, 20);
	CHANGED(&outer, -280, 0, 20, 1);
	CHANGED(&system, -280, 0, 20, 1);
	/* An event inside another one of the first plane is one of the second only. */
	cmr_gate_enter(CMR_GUARD(CMR_PLANE_OUTER));
	c->free(block);
	block = c->malloc(70);
	cmr_gate_leave(CMR_GUARD(CMR_PLANE_OUTER));
	ERRNO_KEPT();
	UNCHANGED(&outer);
	CHANGED(&system, 50, 0, 70, 1);
	rig_end(outer.region);
	c->free(block);
	CHANGED(&system, -70, -1, 0, 0);
	rig_end(system.region);
}

/* With the gate closed a call leaves no trace in books that are opened later. */
CMR_TEST(a_closed_gate_passes_everything_through)
{
	struct rig rig = { .c = rig_calls(FIXTURE("calls_now")), .variant = "calls_now" };
	void *before, *during, *resized;

	rig.region = rig_start(CMR_BASIS_REQUESTED);
	during = rig.c->malloc(100);
	rig_end(rig.region);
	MARK_ERRNO();
	before = rig.c->malloc(200);
	resized = rig.c->realloc(rig.c->calloc(2, 2), 50);
	ERRNO_KEPT();
	rig.region = rig_start(CMR_BASIS_REQUESTED);
	rig.c->free(before);
	rig.c->free(during);
	rig.c->free(resized);
	UNCHANGED(&rig);
	rig_end(rig.region);
}

/* Run by test_slots_preload.c with another allocator in front of libc's. */
CMR_TEST(calls_go_to_the_preloaded_allocator)
{
	const struct calls *c = rig_calls(FIXTURE("calls_now"));
	const char *preload = getenv("LD_PRELOAD");
	Dl_info info;
	void *block;

	if (preload == NULL || preload[0] == 0)
		CMR_TEST_SKIP("nothing is preloaded");
	cmr_session_stop(rig_start(CMR_BASIS_REQUESTED));
	REQUIRE(dladdr((void *)(uintptr_t)cmr_original.malloc, &info) != 0);
	if (!CHECK(strcmp(info.dli_fname, preload) == 0))
		cmr_test_print("malloc is that of %s\n", info.dli_fname);
	block = c->malloc(1000);
	block = c->realloc(block, 100000);
	c->free(block);
	c->free(c->strdup("made inside the C library"));
}
