/* The block table, against the picture in blocks.h. */
#include "cmr_test.h"

#include <sys/mman.h>

#include "blocks_rig.h"
#include "os/memory.h"
#include "smaps.h"
#include "table/shards.h"

/* BLOCK comes back as it was put, once. */
static void check_round_trip(struct cmr_blocks *blocks, uintptr_t address, struct cmr_block block)
{
	struct cmr_block out;

	memset(&out, 0x55, sizeof out);
	CHECK(cmr_blocks_put(blocks, address, &block));
	CHECK(cmr_blocks_take(blocks, address, &out));
	CHECK(same(&out, &block));
	CHECK(!cmr_blocks_take(blocks, address, &out));
}

static int refuse_after; /* maps that are still allowed */

static bool allow_some(size_t bytes)
{
	(void)bytes;
	return refuse_after-- > 0;
}

static bool refuse_one(size_t bytes)
{
	(void)bytes;
	return refuse_after-- != 0;
}

static void allow(int n)
{
	refuse_after = n;
	cmr_memory_set_gatekeeper(allow_some);
}

/* --- making --- */

CMR_TEST(making_it_twice_is_once)
{
	struct cmr_blocks *blocks = fresh(), before = *blocks;
	struct cmr_error err;

	CHECK(cmr_blocks_init(blocks, &err) == CMR_OK);
	CHECK_EQ_PTR(blocks->leaves, before.leaves);
	CHECK_EQ_PTR(blocks->shards, before.shards);
	for (unsigned i = 0; i < CMR_N_SHARDS; i++)
		CHECK_EQ_U64(blocks->shards[i].lock.rank, CMR_RANK_SHARD);
}

CMR_TEST(refused_memory_is_a_status_and_leaves_nothing)
{
	size_t before;

	cmr_blocks_fini(&table);
	before = cmr_memory_mapped();
	cmr_memory_set_gatekeeper(refuse_one);
	for (int n = 0; n < 4; n++) {
		struct cmr_error err = { .status = CMR_OK };

		refuse_after = n;
		CHECK_EQ_U64(cmr_blocks_init(&table, &err), CMR_NO_MEMORY);
		CHECK_EQ_U64(err.status, CMR_NO_MEMORY);
		CHECK_EQ_U64(cmr_memory_mapped(), before);
	}
	cmr_memory_set_gatekeeper(NULL);
}

CMR_TEST(finishing_gives_everything_back)
{
	struct cmr_blocks *blocks;
	struct cmr_block block = exact(24, 1, 9), large = plain(10000, 2);
	size_t before;

	cmr_blocks_fini(&table);
	before = cmr_memory_mapped();
	blocks = fresh();
	for (unsigned i = 0; i < 20; i++) {
		CHECK(cmr_blocks_put(blocks, BASE + i * LEAF, &block));
		CHECK(cmr_blocks_put(blocks, BASE + i * LEAF + 64, &large));
	}
	CHECK(cmr_memory_mapped() > before + 20 * (8 << 20));
	cmr_blocks_fini(blocks);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
	cmr_blocks_fini(blocks);
}

/* --- the picture --- */

CMR_TEST(a_small_block_is_tag_and_size)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block block = plain(300, 5);

	CHECK(cmr_blocks_put(blocks, BASE + 32, &block));
	CHECK_EQ_U64(entry_at(blocks, BASE + 32), 5 << 10 | 300);
	CHECK_EQ_U64(entry_at(blocks, BASE + 16), 0);
	CHECK_EQ_U64(entry_at(blocks, BASE + 48), 0);
	block = plain(510, 62);
	CHECK(cmr_blocks_put(blocks, BASE + 32, &block));
	CHECK_EQ_U64(entry_at(blocks, BASE + 32), 62 << 10 | 510);
	CHECK_EQ_U64(hash_entries(blocks), 0);
}

static uint32_t location_at(const struct cmr_blocks *blocks, uintptr_t address)
{
	return atomic_load(&atomic_load(&blocks->locations[address >> 26])[address >> 4 & 0x3fffff]);
}

CMR_TEST(an_exact_small_block_has_bit_9_and_no_hash_entry)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block block = exact(510, 62, 0x7ffffe);

	CHECK(cmr_blocks_put(blocks, BASE, &block));
	CHECK_EQ_U64(entry_at(blocks, BASE), 62 << 10 | 1 << 9 | 510);
	CHECK_EQ_U64(hash_entries(blocks), 0);
	CHECK_EQ_U64(location_at(blocks, BASE), 0x7ffffe);
}

CMR_TEST(a_small_block_of_small_weight_has_it_beside_its_location)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block block = sampled(24, 3, 5, 24 + 511);

	CHECK(cmr_blocks_put(blocks, BASE, &block));
	CHECK_EQ_U64(entry_at(blocks, BASE), 3 << 10 | 1 << 9 | 24);
	CHECK_EQ_U64(location_at(blocks, BASE), 511u << 23 | 5);
	block.weight++;
	CHECK(cmr_blocks_put(blocks, BASE + 32, &block));
	CHECK_EQ_U64(entry_at(blocks, BASE + 32), 3 << 10 | 511);
	CHECK_EQ_U64(hash_entries(blocks), 1);
}

CMR_TEST(a_larger_block_has_its_size_in_granules_behind)
{
	struct cmr_blocks *blocks = fresh();
	const unsigned picture[] = { 0xfc00, 0xfc04, 0xfc00, 0xfc00 };
	struct cmr_block block, out;

	/* Groups are aligned, wherever the block begins. */
	for (unsigned at = 0; at < 4; at++) {
		block = plain(4096, 3);
		CHECK(cmr_blocks_put(blocks, BASE + 16 * at, &block));
		CHECK_EQ_U64(entry_at(blocks, BASE + 16 * at), 0x0fff);
		for (unsigned i = 0; i < 4; i++)
			CHECK_EQ_U64(entry_at(blocks, BASE + 64 + 16 * i),
				     picture[i] | (i == 3 ? at << 6 : 0));
		CHECK(!cmr_blocks_take(blocks, BASE + 64, &out)); /* no block of its own */
		CHECK_EQ_U64(entry_at(blocks, BASE + 64), 0xfc00);
		CHECK(cmr_blocks_take(blocks, BASE + 16 * at, &out) && same(&out, &block));
		CHECK_EQ_U64(entry_at(blocks, BASE + 16 * at), 0);
		/* What is left of the groups is nobody's block. */
		for (unsigned i = 0; i < 16; i++)
			CHECK(!cmr_blocks_take(blocks, BASE + 16 * i, &out));
	}
	block = sampled(511, 62, 7, 511 + 8191);
	CHECK(cmr_blocks_put(blocks, BASE, &block));
	CHECK_EQ_U64(entry_at(blocks, BASE + 64 + 48), 0xfc00 | 1 << 4);
	CHECK_EQ_U64(entry_at(blocks, BASE + 128), 0xfc00 | 7);
	CHECK_EQ_U64(entry_at(blocks, BASE + 192) & ~0xfc00u, 0);
	block.weight++; /* needs the third group */
	CHECK(cmr_blocks_put(blocks, BASE, &block));
	CHECK_EQ_U64(entry_at(blocks, BASE + 192), 0xfc00 | 1);
	CHECK_EQ_U64(hash_entries(blocks), 0);
	CHECK(cmr_blocks_take(blocks, BASE, &out) && same(&out, &block));
	for (unsigned i = 0; i < 32; i++)
		CHECK(!cmr_blocks_take(blocks, BASE + 16 * i, &out));
}

CMR_TEST(what_does_not_fit_is_in_the_hash)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block small = sampled(8, 4, 77, 65536);
	struct cmr_block large = plain(CMR_WIDE_MAX, 3), last = plain(1000, 3);

	CHECK(cmr_blocks_put(blocks, BASE, &large));
	CHECK(cmr_blocks_put(blocks, BASE + LEAF - 256, &last));
	CHECK_EQ_U64(hash_entries(blocks), 0);
	large.size++;
	CHECK(cmr_blocks_put(blocks, BASE, &large));
	CHECK_EQ_U64(entry_at(blocks, BASE), 3 << 10 | 511);
	CHECK_EQ_U64(hash_entries(blocks), 1);
	CHECK(cmr_blocks_put(blocks, BASE + LEAF - 240, &last)); /* its last granule is in another leaf */
	CHECK_EQ_U64(hash_entries(blocks), 2);
	CHECK(cmr_blocks_put(blocks, BASE + 1024, &small));
	CHECK_EQ_U64(entry_at(blocks, BASE + 1024), 4 << 10 | 511);
	CHECK_EQ_U64(hash_entries(blocks), 3);
}

/* A block whose free was not seen leaves its entry; others live in its place when somebody frees an
 * unknown block that begins where it did. */
CMR_TEST(an_old_wide_entry_does_not_touch_what_came_after)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block old = plain(4096, 3), young = plain(16, 4), out;

	CHECK(cmr_blocks_put(blocks, BASE, &old));
	CHECK(cmr_blocks_put(blocks, BASE + 64, &young));
	CHECK(!cmr_blocks_take(blocks, BASE, &out));
	CHECK(cmr_blocks_take(blocks, BASE + 64, &out) && same(&out, &young));
}

/* The same with a large block, whose groups are where those of the old one were. */
CMR_TEST(an_old_wide_entry_leaves_a_large_neighbour_its_size)
{
	const struct cmr_block olds[] = { plain(4096, 3), exact(4096, 3, 9),
					  sampled(4096, 3, 9, 1 << 20) };
	const struct cmr_block youngs[] = { plain(100000, 4), sampled(600, 4, 5, 1 << 20) };
	struct cmr_block out;

	for (unsigned o = 0; o < 3; o++)
		for (unsigned y = 0; y < 2; y++)
			for (unsigned gap = 16; gap <= 256; gap += 16) {
				struct cmr_blocks *blocks = fresh();

				CHECK(cmr_blocks_put(blocks, BASE, &olds[o]));
				CHECK(cmr_blocks_put(blocks, BASE + gap, &youngs[y]));
				/* Its own numbers, if they are there still, and no others. */
				CHECK(!cmr_blocks_take(blocks, BASE, &out) ||
				      same(&out, &olds[o]));
				CHECK(cmr_blocks_take(blocks, BASE + gap, &out) &&
				      same(&out, &youngs[y]));
			}
}

CMR_TEST(every_block_comes_back_as_it_was_put)
{
	struct cmr_blocks *blocks = fresh();
	const uintptr_t addresses[] = { 16,       BASE,        BASE + LEAF - 16,  HIGH - 16,
					BASE + 8, HIGH,        HIGH + 16,         BASE + 1,
					64,       HIGH | BASE, (uintptr_t)1 << 55 };

	for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
		uintptr_t address = addresses[i];

		check_round_trip(blocks, address, plain(0, 1));
		check_round_trip(blocks, address, plain(510, 62));
		check_round_trip(blocks, address, plain(511, 1));
		check_round_trip(blocks, address, plain((uint64_t)1 << 40, 2));
		check_round_trip(blocks, address, exact(0, 7, 3));
		check_round_trip(blocks, address, exact(16, 7, 0x7fffff));
		check_round_trip(blocks, address, exact(510, 8, 1));
		check_round_trip(blocks, address, exact(511, 9, 4));
		check_round_trip(blocks, address, exact(1 << 20, 9, 5));
		check_round_trip(blocks, address, sampled(1, 10, 6, 4096));
		check_round_trip(blocks, address, sampled(511, 11, 7, 65536));
	}
	CHECK_EQ_U64(hash_entries(blocks), 0);
}

CMR_TEST(what_has_no_granule_is_in_the_hash_only)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block block = plain(20, 1), out;
	size_t entries, leaves;

	CHECK(cmr_blocks_put(blocks, BASE + 8, &block));
	CHECK(cmr_blocks_put(blocks, HIGH + 16, &block));
	cmr_blocks_measure(blocks, &entries, &leaves);
	CHECK_EQ_U64(entries, 2);
	CHECK_EQ_U64(leaves, 0);
	/* The aligned neighbour is another block. */
	CHECK(!cmr_blocks_take(blocks, BASE, &out));
	CHECK(cmr_blocks_take(blocks, BASE + 8, &out));
	CHECK(cmr_blocks_take(blocks, HIGH + 16, &out));
}

#ifdef __aarch64__
CMR_TEST(the_top_byte_is_no_part_of_an_address)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block block = plain(20, 1), out;

	CHECK(cmr_blocks_put(blocks, BASE | (uintptr_t)0x5a << 56, &block));
	CHECK(cmr_blocks_take(blocks, BASE, &out));
}
#endif

CMR_TEST(unknown_addresses_are_no_blocks)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block out;

	CHECK(!cmr_blocks_take(blocks, BASE, &out)); /* no leaf */
	CHECK(!cmr_blocks_take(blocks, BASE + 4, &out));
	CHECK(!cmr_blocks_take(blocks, HIGH, &out));
	check_round_trip(blocks, BASE, plain(5, 1)); /* a leaf */
	CHECK(!cmr_blocks_take(blocks, BASE + 32, &out));
}

CMR_TEST(the_newest_put_counts)
{
	struct cmr_blocks *blocks = fresh();
	const struct cmr_block forms[] = { plain(10, 1), exact(10, 2, 5), plain(1000, 3),
					   sampled(10, 4, 6, 99) };
	struct cmr_block out;

	for (int a = 0; a < 4; a++)
		for (int b = 0; b < 4; b++) {
			CHECK(cmr_blocks_put(blocks, BASE, &forms[a]));
			CHECK(cmr_blocks_put(blocks, BASE, &forms[b]));
			CHECK(cmr_blocks_take(blocks, BASE, &out));
			CHECK(same(&out, &forms[b]));
			CHECK(!cmr_blocks_take(blocks, BASE, &out));
		}
}

/* --- the hash --- */

CMR_TEST(the_hash_grows_and_shrinks_with_its_entries)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block out;

	for (unsigned i = 0; i < 100000; i++) {
		struct cmr_block block = plain(1000 + i, 1 + i % 63);

		CHECK(cmr_blocks_put(blocks, BASE + 16 * (uintptr_t)i + 8, &block));
	}
	CHECK_EQ_U64(hash_entries(blocks), 100000);
	for (unsigned k = 0; k < 100000; k++) {
		unsigned i = (unsigned)((uint64_t)k * 70001 % 100000); /* another order */

		CHECK(cmr_blocks_take(blocks, BASE + 16 * (uintptr_t)i + 8, &out));
		CHECK_EQ_U64(out.size, 1000 + i);
		CHECK_EQ_U64(out.tag, 1 + i % 63);
		CHECK(!cmr_blocks_take(blocks, BASE + 16 * (uintptr_t)i + 8, &out));
	}
	CHECK_EQ_U64(hash_entries(blocks), 0);
}

CMR_TEST(without_memory_the_hash_is_filled_and_then_refuses)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block block = plain(1000, 1), out;
	unsigned n = 0, kept = 0;

	for (; n < 1000; n++)
		CHECK(cmr_blocks_put(blocks, 8 + 16 * (uintptr_t)n, &block));
	allow(0);
	for (; n < 100000; n++)
		cmr_blocks_put(blocks, 8 + 16 * (uintptr_t)n, &block);
	cmr_memory_set_gatekeeper(NULL);
	/* 64 shards of 128 slots, one of which stays free to end a search. */
	CHECK_EQ_U64(hash_entries(blocks), 64 * 127);
	for (unsigned i = 0; i < n; i++) {
		bool there = cmr_blocks_take(blocks, 8 + 16 * (uintptr_t)i, &out);

		CHECK(there || i >= 1000);
		kept += there;
	}
	CHECK_EQ_U64(kept, 64 * 127);
	CHECK(cmr_blocks_put(blocks, 8, &block));
}

CMR_TEST(without_memory_nothing_is_recorded)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block small = plain(10, 1), located = exact(10, 1, 5), large = plain(1000, 1);
	struct cmr_block out;

	allow(0);
	CHECK(!cmr_blocks_put(blocks, BASE, &small)); /* no leaf */
	CHECK(!cmr_blocks_put(blocks, BASE + 8, &small)); /* no shard */
	allow(1);
	CHECK(cmr_blocks_put(blocks, BASE, &small));
	CHECK(!cmr_blocks_put(blocks, BASE + 16, &located)); /* no locations */
	large.size = CMR_WIDE_MAX + 1;
	CHECK(!cmr_blocks_put(blocks, BASE + 32, &large)); /* no shard */
	cmr_memory_set_gatekeeper(NULL);
	CHECK(!cmr_blocks_take(blocks, BASE + 8, &out));
	CHECK(!cmr_blocks_take(blocks, BASE + 16, &out));
	CHECK(!cmr_blocks_take(blocks, BASE + 32, &out));
	CHECK(cmr_blocks_take(blocks, BASE, &out));
	check_round_trip(blocks, BASE + 16, located);
	check_round_trip(blocks, BASE + 32, large);
}

/* --- reset, fork, measure --- */

CMR_TEST(reset_forgets_all_and_gives_pages_back)
{
	struct cmr_blocks *blocks = fresh();
	size_t empty = cmr_memory_mapped(), entries, leaves;
	struct cmr_block out;

	for (unsigned i = 0; i < 50000; i++) {
		uintptr_t address = BASE + i % 3 * LEAF + (uintptr_t)i * 48;
		struct cmr_block small = plain(40, 1), located = exact(40, 2, 3);
		struct cmr_block large = sampled(20, 4, 5, 65536);

		CHECK(cmr_blocks_put(blocks, address, &small));
		CHECK(cmr_blocks_put(blocks, address + 16, &located));
		CHECK(cmr_blocks_put(blocks, address + 32, &large));
	}
	cmr_blocks_measure(blocks, &entries, &leaves);
	CHECK_EQ_U64(entries, 50000);
	CHECK_EQ_U64(leaves, 3 * (size_t)(8 + 16) << 20);
	cmr_blocks_reset(blocks);
	cmr_blocks_measure(blocks, &entries, &leaves);
	CHECK_EQ_U64(entries, 0);
	/* The leaves stay as address space; the hash, which had grown, is gone. */
	CHECK_EQ_U64(cmr_memory_mapped() - empty, leaves);
	for (unsigned i = 0; i < 50000; i++) {
		uintptr_t address = BASE + i % 3 * LEAF + (uintptr_t)i * 48;

		CHECK(!cmr_blocks_take(blocks, address, &out));
		CHECK(!cmr_blocks_take(blocks, address + 16, &out));
		CHECK(!cmr_blocks_take(blocks, address + 32, &out));
	}
	check_round_trip(blocks, BASE, exact(40, 2, 3));
	check_round_trip(blocks, BASE, plain(4000, 3));
}

static size_t resident_pages(void *memory, size_t bytes)
{
	static unsigned char map[8192];
	size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;

	REQUIRE(bytes / page <= sizeof map && mincore(memory, bytes, map) == 0);
	for (size_t i = 0; i < bytes / page; i++)
		n += map[i] & 1;
	return n;
}

CMR_TEST(sparse_memory_refuses_huge_pages)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block block = exact(16, 1, 1);

	if (!has_huge_pages())
		CMR_TEST_SKIP("this kernel has no huge pages");
	CHECK(cmr_blocks_put(blocks, BASE, &block));
	CHECK(refuses_huge_pages(atomic_load(&blocks->leaves[BASE >> 26])));
	CHECK(refuses_huge_pages(atomic_load(&blocks->locations[BASE >> 26])));
	CHECK(refuses_huge_pages(blocks->leaves));
	CHECK(refuses_huge_pages(blocks->locations));
	CHECK(refuses_huge_pages(blocks->made));
}

CMR_TEST(pages_of_leaves_are_resident_only_while_they_are_used)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block block = exact(16, 1, 1);
	void *granules, *locations;

	for (uintptr_t i = 0; i < 100000; i++)
		CHECK(cmr_blocks_put(blocks, BASE + 16 * i, &block));
	granules = atomic_load(&blocks->leaves[BASE >> 26]);
	locations = atomic_load(&blocks->locations[BASE >> 26]);
	/* 2 bytes per granule, no huge pages. */
	CHECK_EQ_U64(resident_pages(granules, 8 << 20), (100000 * 2 + 4095) / 4096);
	CHECK_EQ_U64(resident_pages(locations, 16 << 20), (100000 * 4 + 4095) / 4096);
	cmr_blocks_reset(blocks);
	CHECK_EQ_U64(resident_pages(granules, 8 << 20), 0);
	CHECK_EQ_U64(resident_pages(locations, 16 << 20), 0);
}

CMR_TEST(a_small_hash_is_kept_for_the_next_region)
{
	struct cmr_blocks *blocks = fresh();
	size_t mapped;
	struct cmr_block block = plain(1000, 1), out;

	for (uintptr_t i = 0; i < 2000; i++)
		CHECK(cmr_blocks_put(blocks, 8 + 16 * i, &block));
	mapped = cmr_memory_mapped();
	cmr_blocks_reset(blocks);
	CHECK_EQ_U64(cmr_memory_mapped(), mapped);
	for (uintptr_t i = 0; i < 2000; i++)
		CHECK(!cmr_blocks_take(blocks, 8 + 16 * i, &out));
}

CMR_TEST(after_a_fork_the_hash_is_empty_and_its_locks_free)
{
	struct cmr_blocks *blocks = fresh();
	struct cmr_block large = sampled(100, 1, 2, 65536), small = plain(10, 1), out;

	CHECK(cmr_blocks_put(blocks, BASE, &large));
	CHECK(cmr_blocks_put(blocks, BASE + 16, &small));
	cmr_blocks_after_fork(blocks);
	CHECK_EQ_U64(hash_entries(blocks), 0);
	/* A granule that points into the hash, where nothing is: no block, and cleared. */
	CHECK_EQ_U64(entry_at(blocks, BASE), 1 << 10 | 511);
	CHECK(!cmr_blocks_take(blocks, BASE, &out));
	CHECK_EQ_U64(entry_at(blocks, BASE), 0);
	CHECK(cmr_blocks_take(blocks, BASE + 16, &out) && same(&out, &small));
	check_round_trip(blocks, BASE, large);
}

CMR_TEST(a_table_that_was_never_made_measures_nothing)
{
	struct cmr_blocks blocks = { 0 };
	size_t entries = 1, leaves = 1;

	cmr_blocks_measure(&blocks, &entries, &leaves);
	CHECK_EQ_U64(entries, 0);
	CHECK_EQ_U64(leaves, 0);
}

/* --- retag --- */

CMR_TEST(retag_keeps_all_but_the_tag)
{
	struct cmr_blocks *blocks = fresh();
	const struct cmr_block before[] = {
		plain(0, 5),    plain(510, 5),      exact(510, 5, 77),      exact(0, 5, 78),
		plain(9999, 5), exact(9999, 5, 79), sampled(1, 5, 80, 4096)
	};
	uint8_t map[CMR_N_TAGS] = { 0 };
	struct cmr_block out, expected;

	map[1] = map[5] = 1;
	map[6] = 6;
	for (unsigned i = 0; i < 7; i++)
		for (unsigned tag = 5; tag < 8; tag++) {
			struct cmr_block block = before[i];

			block.tag = (uint8_t)tag;
			CHECK(cmr_blocks_put(blocks, BASE + 256 * (i * 3 + tag), &block));
			CHECK(cmr_blocks_put(blocks, BASE + 8 + 256 * (i * 3 + tag), &block));
		}
	cmr_blocks_retag(blocks, map);
	for (unsigned i = 0; i < 7; i++)
		for (unsigned tag = 5; tag < 8; tag++)
			for (unsigned odd = 0; odd <= 8; odd += 8) {
				uintptr_t at = BASE + odd + 256 * (i * 3 + tag);

				expected = before[i];
				expected.tag = map[tag];
				if (tag == 7)
					CHECK(!cmr_blocks_take(blocks, at, &out));
				else
					CHECK(cmr_blocks_take(blocks, at, &out) &&
					      same(&out, &expected));
			}
	CHECK_EQ_U64(hash_entries(blocks), 0);
}
