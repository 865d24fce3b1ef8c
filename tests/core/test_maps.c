/* Mappings: which of them count, for whom, and what becomes of them piece by piece. */
#include "cmr_test.h"

#include <sys/mman.h>

#include "region_rig.h"
#include "os/memory.h"

#define PAGE ((size_t)4096)
#define MIB ((size_t)1 << 20)
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define AT(page) (BASE + (uintptr_t)(page) * PAGE)

static void map(unsigned page, size_t bytes, int prot, int flags)
{
	cmr_on_map(OUTER, AT(page), bytes, prot, flags, (flags & MAP_ANONYMOUS) ? -1 : 3,
		   CMR_KIND_MMAP);
}

static void unmap(unsigned page, size_t bytes)
{
	cmr_on_unmap(OUTER, AT(page), bytes);
}

static struct cmr_apart apart(const struct cmr_region *region)
{
	struct cmr_apart out;

	cmr_region_apart(region, &out);
	return out;
}

static const struct cmr_region_options requested = { .exact = true };
static const struct cmr_region_options traced = {
	.basis = CMR_BASIS_SYSTEM, .trace_python = true, .exact = true
};

/* Each way to map, in basis requested and in basis system of the same plane. */
CMR_TEST(each_kind_of_mapping_has_its_class)
{
	static const struct {
		int prot, flags;
		size_t bytes;
		enum cmr_range_class class;
	} rows[] = {
		{ RW, ANON, 5000, CMR_RANGE_COUNTED },
		{ PROT_WRITE, ANON, PAGE, CMR_RANGE_COUNTED },
		{ RW, ANON | MAP_NORESERVE, 64 * MIB - 1, CMR_RANGE_COUNTED },
		{ RW, ANON, 64 * MIB, CMR_RANGE_COUNTED },
		{ RW, ANON | MAP_NORESERVE, 64 * MIB, CMR_RANGE_RESERVED },
		{ PROT_NONE, ANON | MAP_NORESERVE, 64 * MIB, CMR_RANGE_UNWRITABLE },
		{ PROT_NONE, ANON, PAGE, CMR_RANGE_UNWRITABLE },
		{ PROT_READ | PROT_EXEC, ANON, PAGE, CMR_RANGE_UNWRITABLE },
		{ RW, MAP_SHARED | MAP_ANONYMOUS, PAGE, CMR_RANGE_SHARED },
		{ RW, MAP_PRIVATE, PAGE, CMR_RANGE_FILE },
		{ RW, MAP_SHARED, PAGE, CMR_RANGE_FILE },
	};

	for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct cmr_region *own = open_with(requested), *peer = open_with(traced);

		map(0, rows[i].bytes, rows[i].prot, rows[i].flags);
		CHECK_EQ_U64(totals(peer).current, rows[i].bytes);
		CHECK_EQ_U64(totals(peer).current_blocks, 1);
		if (rows[i].class == CMR_RANGE_COUNTED) {
			CHECK_EQ_U64(totals(own).current, rows[i].bytes);
			CHECK_EQ_I64(share(own, true, 1), (int64_t)rows[i].bytes);
		} else {
			CHECK_EQ_U64(totals(own).current, 0);
			CHECK_EQ_U64(apart(own).current[rows[i].class], rows[i].bytes);
		}
		unmap(0, rows[i].bytes);
		CHECK_EQ_U64(totals(own).current, 0);
		CHECK_EQ_U64(totals(own).current_blocks, 0);
		CHECK_EQ_U64(totals(peer).current, 0);
		CHECK_EQ_U64(totals(peer).peak, rows[i].bytes);
		CHECK_EQ_U64(apart(own).current[rows[i].class], 0);
		if (rows[i].class != CMR_RANGE_COUNTED)
			CHECK_EQ_U64(apart(own).mapped[rows[i].class], rows[i].bytes);
		cmr_region_free(own);
		cmr_region_free(peer);
	}
}

CMR_TEST(stock_is_nobodys_but_the_systems)
{
	struct cmr_region *own = open_with(requested), *peer = open_with(traced);

	cmr_stock_begin();
	cmr_stock_begin();
	cmr_stock_end();
	map(0, MIB, RW, ANON);
	cmr_stock_end();
	cmr_stock_end(); /* one too many does no harm */
	map(1000, PAGE, RW, ANON);
	CHECK_EQ_U64(totals(own).current, PAGE);
	CHECK_EQ_U64(apart(own).current[CMR_RANGE_STOCK], MIB);
	CHECK_EQ_U64(totals(peer).current, MIB + PAGE);
	/* Code of the interpreter's compiler: written, then made executable. */
	cmr_stock_begin();
	cmr_on_protect(OUTER, AT(1000), PAGE, PROT_READ | PROT_EXEC);
	cmr_stock_end();
	CHECK_EQ_U64(totals(own).current, 0);
	CHECK_EQ_U64(apart(own).current[CMR_RANGE_STOCK], MIB + PAGE);
	CHECK_EQ_U64(totals(peer).current, MIB + PAGE);
	unmap(1000, PAGE);
	unmap(0, MIB);
	CHECK_EQ_U64(apart(own).current[CMR_RANGE_STOCK], 0);
	CHECK_EQ_U64(totals(peer).current, 0);
	cmr_region_free(own);
	cmr_region_free(peer);
}

CMR_TEST(executable_code_of_the_program_counts)
{
	struct cmr_region *own = open_with(requested);

	map(0, PAGE, RW, ANON);
	cmr_on_protect(OUTER, AT(0), PAGE, PROT_READ | PROT_EXEC);
	cmr_on_protect(OUTER, AT(0), PAGE, PROT_NONE); /* the pages still hold data */
	CHECK_EQ_U64(totals(own).current, PAGE);
	cmr_region_free(own);
}

CMR_TEST(bytes_count_once_they_are_writable)
{
	struct cmr_region *own = open_with(requested), *peer = open_with(traced);

	fake_stack_at(3);
	map(0, 10 * PAGE, PROT_NONE, ANON);
	fake_stack_at(4);
	cmr_on_protect(OUTER, AT(2), 2 * PAGE - 5, RW);
	CHECK_EQ_U64(totals(own).current, 2 * PAGE);
	CHECK_EQ_U64(totals(own).current_blocks, 1);
	CHECK_EQ_U64(totals(own).count, 1);
	CHECK_EQ_I64(share(own, true, 4), (int64_t)(2 * PAGE));
	CHECK_EQ_U64(apart(own).current[CMR_RANGE_UNWRITABLE], 8 * PAGE);
	cmr_on_protect(OUTER, AT(0), 10 * PAGE, RW); /* the rest, on both sides */
	CHECK_EQ_U64(totals(own).current, 10 * PAGE);
	CHECK_EQ_U64(totals(own).current_blocks, 3);
	CHECK_EQ_U64(apart(own).current[CMR_RANGE_UNWRITABLE], 0);
	CHECK_EQ_U64(apart(own).mapped[CMR_RANGE_UNWRITABLE], 10 * PAGE);
	/* To the peer it is one mapping all the time. */
	CHECK_EQ_U64(totals(peer).current_blocks, 1);
	CHECK_EQ_U64(totals(peer).count, 1);
	unmap(0, 10 * PAGE);
	CHECK_EQ_U64(totals(own).current_blocks, 0);
	CHECK_EQ_U64(totals(peer).current_blocks, 0);
	CHECK_EQ_I64(share(own, false, 4), 0);
	cmr_region_free(own);
	cmr_region_free(peer);
}

CMR_TEST(unmapping_trims_splits_and_ends)
{
	struct cmr_region *r[2] = { open_with(requested), open_with(traced) };

	map(0, 10 * PAGE - 100, RW, ANON);
	unmap(0, PAGE); /* trimmed below */
	for (int i = 0; i < 2; i++) {
		CHECK_EQ_U64(totals(r[i]).current, 9 * PAGE - 100);
		CHECK_EQ_U64(totals(r[i]).current_blocks, 1);
	}
	unmap(4, 2 * PAGE - 7); /* split; lengths are rounded up to pages */
	unmap(9, PAGE);         /* trimmed above, where the last page is not full */
	for (int i = 0; i < 2; i++) {
		CHECK_EQ_U64(totals(r[i]).current, 6 * PAGE);
		CHECK_EQ_U64(totals(r[i]).current_blocks, 2);
	}
	unmap(0, 10 * PAGE);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ_U64(totals(r[i]).current, 0);
		CHECK_EQ_U64(totals(r[i]).current_blocks, 0);
		CHECK_EQ_U64(totals(r[i]).peak, 10 * PAGE - 100);
		CHECK_EQ_U64(totals(r[i]).peak_blocks, 1);
		CHECK_EQ_U64(totals(r[i]).count, 1);
		cmr_region_free(r[i]);
	}
}

CMR_TEST(an_overlay_replaces)
{
	struct cmr_region *own = open_with(requested);

	fake_stack_at(3);
	map(0, 8 * PAGE, RW, ANON);
	fake_stack_at(4);
	map(2, 2 * PAGE, RW, ANON | MAP_FIXED);
	CHECK_EQ_U64(totals(own).current, 8 * PAGE);
	CHECK_EQ_U64(totals(own).current_blocks, 3);
	CHECK_EQ_I64(share(own, false, 3), (int64_t)(6 * PAGE));
	CHECK_EQ_I64(share(own, false, 4), (int64_t)(2 * PAGE));
	map(0, 8 * PAGE, PROT_READ, MAP_SHARED | MAP_FIXED);
	CHECK_EQ_U64(totals(own).current, 0);
	CHECK_EQ_U64(apart(own).current[CMR_RANGE_FILE], 8 * PAGE);
	cmr_region_free(own);
}

CMR_TEST(what_the_kernel_refuses_is_ignored)
{
	struct cmr_region *own = open_with(requested);
	struct cmr_range_taken taken;

	map(0, 2 * PAGE, RW, ANON);
	cmr_on_unmap(OUTER, AT(0) + 1, PAGE);
	cmr_on_unmap(OUTER, AT(0), 0);
	cmr_on_unmap(OUTER, AT(0), UINTPTR_MAX - AT(0) + 2);
	cmr_on_map(OUTER, AT(9) + 8, PAGE, RW, ANON, -1, CMR_KIND_MMAP);
	cmr_on_protect(OUTER, AT(0) + 1, PAGE, RW);
	cmr_on_remap_begin(OUTER, AT(0) + 1, PAGE, &taken);
	CHECK_EQ_U64(taken.n, 0);
	cmr_on_remap_failed(OUTER, &taken);
	CHECK_EQ_U64(totals(own).current, 2 * PAGE);
	cmr_region_free(own);
}

static void remap(unsigned page, size_t old, unsigned to, size_t bytes)
{
	struct cmr_range_taken taken;

	cmr_on_remap_begin(OUTER, AT(page), old, &taken);
	cmr_on_remap_done(OUTER, &taken, AT(page), old, AT(to), bytes);
}

CMR_TEST(remapping_is_a_free_and_a_mapping)
{
	struct cmr_region *r[2] = { open_with(requested), open_with(traced) };

	map(0, 4 * PAGE, RW, ANON);
	fake_stack_at(5);
	remap(0, 4 * PAGE, 100, 6 * PAGE - 1);
	for (int i = 0; i < 2; i++) {
		CHECK_EQ_U64(totals(r[i]).current, 6 * PAGE - 1);
		CHECK_EQ_U64(totals(r[i]).current_blocks, 1);
		CHECK_EQ_U64(totals(r[i]).total, 10 * PAGE - 1);
		CHECK_EQ_U64(totals(r[i]).count, 2);
		CHECK_EQ_U64(totals(r[i]).resized_old, 0);
		CHECK_EQ_I64(share(r[i], true, 5), (int64_t)(6 * PAGE - 1));
	}
	unmap(0, 4 * PAGE);
	CHECK_EQ_U64(totals(r[0]).current_blocks, 1);
	for (int i = 0; i < 2; i++)
		cmr_region_free(r[i]);
}

CMR_TEST(a_class_survives_remapping)
{
	struct cmr_region *own = open_with(requested);

	map(0, 4 * PAGE, PROT_NONE, ANON);
	remap(0, 4 * PAGE, 0, 8 * PAGE);
	CHECK_EQ_U64(totals(own).current, 0);
	CHECK_EQ_U64(apart(own).current[CMR_RANGE_UNWRITABLE], 8 * PAGE);
	remap(20, 0, 40, 3 * PAGE); /* a second view of a shared mapping */
	CHECK_EQ_U64(apart(own).current[CMR_RANGE_SHARED], 3 * PAGE);
	CHECK_EQ_U64(totals(own).resized_old, 0);
	cmr_region_free(own);
}

CMR_TEST(an_older_mapping_that_is_resized_is_named)
{
	struct cmr_region *outer = open_with(requested), *own;

	map(0, 4 * PAGE, RW, ANON);
	own = open_with(requested);
	remap(0, 4 * PAGE, 0, 5 * PAGE);
	CHECK_EQ_U64(totals(own).current, 5 * PAGE);
	CHECK_EQ_U64(totals(own).resized_old, 5 * PAGE);
	CHECK_EQ_U64(totals(outer).resized_old, 0);
	CHECK_EQ_U64(totals(outer).current, 5 * PAGE);
	remap(50, PAGE, 60, 2 * PAGE); /* nobody has seen it made */
	CHECK_EQ_U64(totals(own).current, 7 * PAGE);
	CHECK_EQ_U64(totals(own).resized_old, 7 * PAGE);
	CHECK_EQ_U64(totals(outer).resized_old, 2 * PAGE);
	cmr_region_free(own);
	cmr_region_free(outer);
}

CMR_TEST(a_failed_remap_leaves_all_as_it_was)
{
	static const unsigned parts[][2] = { { 0, 9 }, { 0, 3 }, { 6, 9 }, { 3, 6 } };
	struct cmr_region *r[2] = { open_with(requested), open_with(traced) };

	for (unsigned i = 0; i < 4; i++) {
		struct cmr_range_taken taken;

		map(0, 9 * PAGE - 10, RW, ANON);
		cmr_on_remap_begin(OUTER, AT(parts[i][0]),
				   (parts[i][1] - parts[i][0]) * PAGE, &taken);
		CHECK_EQ_U64(taken.n, 2);
		cmr_on_remap_failed(OUTER, &taken);
		for (int k = 0; k < 2; k++)
			CHECK_EQ_U64(totals(r[k]).current, 9 * PAGE - 10);
		unmap(0, 9 * PAGE);
		for (int k = 0; k < 2; k++) {
			CHECK_EQ_U64(totals(r[k]).current, 0);
			CHECK_EQ_U64(totals(r[k]).current_blocks, 0);
		}
	}
	for (int k = 0; k < 2; k++) {
		CHECK_EQ_U64(totals(r[k]).losses.mappings, 0);
		cmr_region_free(r[k]);
	}
}

/* Meanwhile another thread unmapped, or mapped anew, what was left on either side. */
CMR_TEST(what_is_put_back_joins_its_own_rest_only)
{
	for (unsigned i = 0; i < 4; i++) {
		struct cmr_region *own = open_with(requested);
		struct cmr_range_taken taken;

		fake_stack_at(3);
		map(0, 9 * PAGE, RW, ANON);
		cmr_on_remap_begin(OUTER, AT(3), 3 * PAGE, &taken);
		fake_stack_at(4);
		unmap(i % 2 == 0 ? 0 : 6, 3 * PAGE);
		if (i >= 2) /* another mapping, side by side with the piece */
			map(i % 2 == 0 ? 0 : 6, 3 * PAGE, RW, ANON);
		cmr_on_remap_failed(OUTER, &taken);
		CHECK_EQ_U64(totals(own).current, (i < 2 ? 6 : 9) * PAGE);
		CHECK_EQ_U64(totals(own).current_blocks, i < 2 ? 1 : 2);
		CHECK_EQ_I64(share(own, false, 3), (int64_t)(6 * PAGE));
		unmap(i % 2 == 0 ? 0 : 6, 3 * PAGE);
		CHECK_EQ_U64(totals(own).current_blocks, 1);
		CHECK_EQ_I64(share(own, false, 3), (int64_t)(6 * PAGE));
		unmap(0, 9 * PAGE);
		CHECK_EQ_U64(totals(own).current, 0);
		CHECK_EQ_U64(totals(own).current_blocks, 0);
		cmr_region_free(own);
	}
}

CMR_TEST(more_pieces_than_can_be_taken_are_a_loss)
{
	struct cmr_region *own = open_with(requested);
	struct cmr_range_taken taken;

	for (unsigned i = 0; i < CMR_MAX_TAKEN + 2; i++)
		map(i, PAGE, RW, ANON);
	cmr_on_remap_begin(OUTER, AT(0), (CMR_MAX_TAKEN + 2) * PAGE, &taken);
	CHECK_EQ_U64(taken.n, CMR_MAX_TAKEN);
	CHECK_EQ_U64(totals(own).losses.mappings, 0);
	CHECK_EQ_U64(totals(own).current, CMR_MAX_TAKEN * PAGE);
	cmr_on_remap_failed(OUTER, &taken);
	CHECK_EQ_U64(totals(own).losses.mappings, 2);
	CHECK_EQ_U64(totals(own).current, CMR_MAX_TAKEN * PAGE);
	cmr_on_remap_begin(OUTER, AT(0), CMR_MAX_TAKEN * PAGE, &taken);
	cmr_on_unmap_done(OUTER, &taken);
	CHECK_EQ_U64(totals(own).losses.mappings, 2);
	CHECK_EQ_U64(totals(own).current, 0);
	CHECK_EQ_U64(totals(own).current_blocks, 0);
	cmr_region_free(own);
}

static bool refuse(size_t bytes)
{
	(void)bytes;
	return false;
}

/* The first mapping of a process makes what the ones after it find. */
static void make_tables(void)
{
	map(0, PAGE, RW, ANON);
	unmap(0, PAGE);
}

/* Until the table of intervals is full, then what it cannot take is a loss and is not counted. */
CMR_TEST(refused_memory_is_a_loss)
{
	struct cmr_region *own = open_with(requested);
	struct cmr_range_taken taken;
	unsigned i = 0;

	make_tables();
	cmr_memory_set_gatekeeper(refuse);
	while (i < 1000000 && totals(own).losses.mappings == 0)
		map(2 * i++, PAGE, RW, ANON);
	CHECK(i < 1000000);
	CHECK_EQ_U64(totals(own).current, (i - 1) * PAGE);
	/* A piece that was taken out and whose place is used by now. */
	cmr_on_remap_begin(OUTER, AT(0), PAGE, &taken);
	map(2 * i++, PAGE, RW, ANON);
	CHECK_EQ_U64(totals(own).losses.mappings, 1);
	CHECK_EQ_U64(totals(own).current, (i - 1) * PAGE);
	cmr_on_remap_failed(OUTER, &taken);
	CHECK_EQ_U64(totals(own).losses.mappings, 2);
	CHECK_EQ_U64(totals(own).current, (i - 2) * PAGE);
	cmr_memory_set_gatekeeper(NULL);
	cmr_region_free(own);
}

/* A mapping cannot be split: its upper part is given up, and said to be lost. */
CMR_TEST(a_split_without_memory_is_a_loss)
{
	struct cmr_region *own = open_with(requested);
	unsigned i = 0;

	make_tables();
	cmr_memory_set_gatekeeper(refuse);
	while (i < 1000000 && totals(own).losses.mappings == 0)
		map(4 * i++, 3 * PAGE, RW, ANON);
	CHECK_EQ_U64(totals(own).current, (i - 1) * 3 * PAGE);
	unmap(5, PAGE);
	CHECK_EQ_U64(totals(own).losses.mappings, 2);
	CHECK_EQ_U64(totals(own).current, (i - 1) * 3 * PAGE - 2 * PAGE);
	CHECK_EQ_U64(totals(own).current_blocks, i - 1);
	cmr_memory_set_gatekeeper(NULL);
	unmap(4, 3 * PAGE);
	CHECK_EQ_U64(totals(own).current, (i - 2) * 3 * PAGE);
	cmr_region_free(own);
}

CMR_TEST(a_thread_out_of_scope_may_unmap)
{
	struct cmr_region *own =
		open_with((struct cmr_region_options){ .exact = true, .scope = CMR_SCOPE_CURRENT });
	struct cmr_thread *self = cmr_tls.self;
	uint32_t ordinal = self->ordinal;

	map(0, 4 * PAGE, RW, ANON);
	map(10, 4 * PAGE, PROT_NONE, ANON);
	self->ordinal = 1000000; /* somebody else */
	self->view[OUTER].config = 0;
	map(2, PAGE, RW, ANON);
	map(50, PAGE, RW, ANON);
	CHECK_EQ_U64(self->view[OUTER].tag, 0);
	CHECK_EQ_U64(totals(own).current, 3 * PAGE);
	cmr_on_protect(OUTER, AT(10), PAGE, RW);
	CHECK_EQ_U64(totals(own).current, 3 * PAGE);
	remap(0, PAGE, 70, 9 * PAGE);
	CHECK_EQ_U64(totals(own).current, 2 * PAGE);
	unmap(0, 4 * PAGE);
	CHECK_EQ_U64(totals(own).current, 0);
	CHECK_EQ_U64(totals(own).resized_old, 0);
	self->ordinal = ordinal;
	self->view[OUTER].config = 0;
	cmr_region_free(own);
}
