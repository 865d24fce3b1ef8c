/* Rows of the mapping calls through real slots: success, failure, overlays, partial unmaps, moves. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "hook_rig.h"

#define PAGE ((size_t)sysconf(_SC_PAGESIZE))
#define RW (PROT_READ | PROT_WRITE)
#define ANONYMOUS (MAP_PRIVATE | MAP_ANONYMOUS)

static const char *const one_variant[] = { FIXTURE("calls_now"), NULL };

static char *get(struct rig *rig, size_t bytes)
{
	char *start = rig->c->mmap(NULL, bytes, RW, ANONYMOUS, -1, 0);

	REQUIRE(start != MAP_FAILED);
	CHANGED(rig, (int64_t)bytes, 1, (int64_t)bytes, 1);
	return start;
}

static bool refuse(size_t bytes)
{
	(void)bytes;
	return false;
}

/* The first munmap of this process finds no memory to note what it takes. */
CMR_TEST(taking_mappings_away_without_memory_is_a_loss)
{
	const struct calls *c = rig_calls(FIXTURE("calls_now"));
	struct cmr_region *region = rig_start(CMR_BASIS_REQUESTED);
	struct cmr_totals totals;
	char *start = c->mmap(NULL, 4 * PAGE, RW, ANONYMOUS, -1, 0);

	cmr_memory_set_gatekeeper(refuse);
	start = c->mremap4(start, 4 * PAGE, 2 * PAGE, 0);
	CHECK_EQ_I64(c->munmap(start, 2 * PAGE), 0);
	cmr_memory_set_gatekeeper(NULL);
	cmr_region_totals(region, &totals);
	CHECK_EQ_U64(totals.losses.mappings, 2);
	CHECK_EQ_U64(totals.current, 0);
	cmr_session_stop(region);
	cmr_region_free(region);
}

static void row_mmap(struct rig *rig)
{
	int64_t page = (int64_t)PAGE;
	char *start;

	MARK_ERRNO();
	start = get(rig, 3 * PAGE);
	ERRNO_KEPT();
	CHECK_EQ_I64(rig_live(rig, CMR_KIND_MMAP), 3 * page);
	CHECK_EQ_I64(rig->c->munmap(start, 3 * PAGE), 0);
	ERRNO_KEPT();
	CHANGED(rig, -3 * page, -1, 0, 0);
	start = rig->c->mmap64(NULL, PAGE, RW, ANONYMOUS, -1, 0);
	CHANGED(rig, page, 1, page, 1);
	CHECK_EQ_I64(rig->c->munmap(start, PAGE), 0);
	CHANGED(rig, -page, -1, 0, 0);
	CHECK(rig->c->mmap(NULL, 0, RW, ANONYMOUS, -1, 0) == MAP_FAILED);
	CHECK_EQ_I64(errno, EINVAL);
	CHECK(rig->c->mmap(NULL, PAGE, RW, MAP_PRIVATE, -1, 0) == MAP_FAILED);
	CHECK_EQ_I64(errno, EBADF);
	CHECK(rig->c->mmap64(NULL, SIZE_MAX / 2, RW, ANONYMOUS, -1, 0) == MAP_FAILED);
	CHECK_EQ_I64(errno, ENOMEM);
	UNCHANGED(rig);
}

CMR_TEST(mmap_counts_until_munmap)
{
	rig_each(rig_variants, row_mmap);
}

static void row_overlay(struct rig *rig)
{
	int64_t page = (int64_t)PAGE;
	char *start = get(rig, 4 * PAGE), *again;

	again = rig->c->mmap(start + PAGE, PAGE, RW, ANONYMOUS | MAP_FIXED, -1, 0);
	CHECK_EQ_PTR(again, start + PAGE);
	CHANGED(rig, 0, 2, page, 1); /* the old one is split, its middle replaced */
	CHECK_EQ_I64(rig->c->munmap(start, 4 * PAGE), 0);
	CHANGED(rig, -4 * page, -3, 0, 0);
}

CMR_TEST(a_fixed_mapping_replaces_what_it_covers)
{
	rig_each(one_variant, row_overlay);
}

static void row_partial(struct rig *rig)
{
	int64_t page = (int64_t)PAGE;
	char *start = get(rig, 5 * PAGE);

	CHECK_EQ_I64(rig->c->munmap(start, PAGE), 0);
	CHANGED(rig, -page, 0, 0, 0);
	CHECK_EQ_I64(rig->c->munmap(start + 2 * PAGE, PAGE), 0);
	CHANGED(rig, -page, 1, 0, 0);
	CHECK_EQ_I64(rig->c->munmap(start, 5 * PAGE), 0); /* holes are no error */
	CHANGED(rig, -3 * page, -2, 0, 0);
}

CMR_TEST(munmap_of_a_part_trims_or_splits)
{
	rig_each(one_variant, row_partial);
}

static void row_refused_munmap(struct rig *rig)
{
	char *start = get(rig, 2 * PAGE);

	CHECK_EQ_I64(rig->c->munmap(start, 0), -1);
	CHECK_EQ_I64(errno, EINVAL);
	CHECK_EQ_I64(rig->c->munmap(start + 1, PAGE), -1);
	CHECK_EQ_I64(errno, EINVAL);
	if (!UNDER_SANITIZER) { /* which ends the process over this */
		CHECK_EQ_I64(rig->c->munmap(start, SIZE_MAX - PAGE), -1);
		CHECK_EQ_I64(errno, EINVAL);
	}
	UNCHANGED(rig);
	CHECK_EQ_I64(rig->c->munmap(start, 2 * PAGE), 0);
}

CMR_TEST(a_refused_munmap_changes_nothing)
{
	rig_each(one_variant, row_refused_munmap);
}

static void row_mremap(struct rig *rig)
{
	int64_t page = (int64_t)PAGE;
	char *start = get(rig, 2 * PAGE), *target, *moved;

	MARK_ERRNO();
	start = rig->c->mremap4(start, 2 * PAGE, 6 * PAGE, MREMAP_MAYMOVE);
	ERRNO_KEPT();
	REQUIRE(start != MAP_FAILED);
	CHANGED(rig, 4 * page, 0, 6 * page, 1);
	start[6 * PAGE - 1] = 1;
	CHECK_EQ_PTR(rig->c->mremap4(start, 6 * PAGE, PAGE, 0), start);
	CHANGED(rig, -5 * page, 0, page, 1);
	target = get(rig, 4 * PAGE);
	moved = rig->c->mremap5(start, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target);
	CHECK_EQ_PTR(moved, target); /* over the first page of four */
	CHANGED(rig, -page, 0, page, 1);
	CHECK(rig->c->mremap4(target + 1, PAGE, PAGE, 0) == MAP_FAILED);
	CHECK_EQ_I64(errno, EINVAL);
	CHECK(rig->c->mremap4(target, 4 * PAGE, SIZE_MAX / 2, MREMAP_MAYMOVE) == MAP_FAILED);
	UNCHANGED(rig);
	CHECK_EQ_I64(rig->c->munmap(target, 4 * PAGE), 0);
	CHANGED(rig, -4 * page, -2, 0, 0);
}

CMR_TEST(mremap_moves_grows_and_shrinks)
{
	rig_each(rig_variants, row_mremap);
}

static void row_dontunmap(struct rig *rig)
{
	int64_t page = (int64_t)PAGE;
	char *start = get(rig, 2 * PAGE), *moved;

	moved = rig->c->mremap4(start, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | 4 /* DONTUNMAP */);
	if (moved == MAP_FAILED) /* kernels before 5.7 */
		CHECK_EQ_I64(errno, EINVAL);
	else
		CHANGED(rig, 2 * page, 1, 2 * page, 1);
	if (moved != MAP_FAILED)
		CHECK_EQ_I64(rig->c->munmap(moved, 2 * PAGE), 0);
	CHECK_EQ_I64(rig->c->munmap(start, 2 * PAGE), 0);
}

CMR_TEST(mremap_that_keeps_the_old_place_counts_both)
{
	rig_each(one_variant, row_dontunmap);
}

static void row_mprotect(struct rig *rig)
{
	int64_t page = (int64_t)PAGE, writable = rig->basis == CMR_BASIS_REQUESTED ? page : 0;
	char *start = rig->c->mmap(NULL, 4 * PAGE, PROT_NONE, ANONYMOUS, -1, 0);

	REQUIRE(start != MAP_FAILED);
	if (rig->basis == CMR_BASIS_REQUESTED)
		UNCHANGED(rig);
	else
		CHANGED(rig, 4 * page, 1, 4 * page, 1);
	MARK_ERRNO();
	CHECK_EQ_I64(rig->c->mprotect(start + PAGE, PAGE, RW), 0);
	ERRNO_KEPT();
	CHANGED(rig, writable, writable != 0, writable, writable != 0);
	CHECK_EQ_I64(rig->c->mprotect(start + 1, PAGE, RW), -1);
	CHECK_EQ_I64(errno, EINVAL);
	CHECK_EQ_I64(rig->c->mprotect(start + PAGE, PAGE, PROT_READ), 0);
	UNCHANGED(rig);
	CHECK_EQ_I64(rig->c->munmap(start, 4 * PAGE), 0);
	CHECK_EQ_U64(rig->last.current != 0, rig->basis == CMR_BASIS_SYSTEM || writable != 0);
	cmr_region_totals(rig->region, &rig->last);
	CHECK_EQ_U64(rig->last.current, 0);
}

CMR_TEST(memory_counts_from_the_mprotect_that_makes_it_writable)
{
	rig_each(rig_variants, row_mprotect);
}

/* The kernel must split a mapping and may not: its limit on their number is reached. */
CMR_TEST(a_munmap_that_cannot_split_changes_nothing)
{
	struct rig rig = { .c = rig_calls(FIXTURE("calls_now")), .variant = "calls_now" };
	size_t page = PAGE, n = 0;
	char *area, *victim;
	int result;

	if (UNDER_SANITIZER)
		CMR_TEST_SKIP("a sanitizer needs mappings of its own");
	area = mmap(NULL, (size_t)1 << 30, PROT_NONE, ANONYMOUS | MAP_NORESERVE, -1, 0);
	REQUIRE(area != MAP_FAILED);
	rig.region = rig_start(CMR_BASIS_REQUESTED);
	victim = get(&rig, 3 * page);
	CHECK_EQ_I64(rig.c->munmap(victim + 2 * page, page), 0); /* all tables are made */
	CHANGED((&rig), -(int64_t)page, 0, 0, 0);
	CHECK(rig.c->mmap(victim + 2 * page, page, RW, ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
	CHANGED((&rig), (int64_t)page, 1, (int64_t)page, 1);
	while (n < 200000 && mprotect(area + 2 * n * page, page, PROT_READ) == 0)
		n++;
	result = rig.c->munmap(victim + page, page);
	munmap(area, (size_t)1 << 30);
	if (result == 0) {
		rig_end(rig.region);
		CMR_TEST_SKIP("the kernel's limit on mappings could not be reached");
	}
	CHECK_EQ_I64(errno, ENOMEM);
	UNCHANGED((&rig));
	CHECK_EQ_I64(rig.c->munmap(victim, 3 * page), 0);
	CHANGED((&rig), -3 * (int64_t)page, -2, 0, 0);
	rig_end(rig.region);
}

