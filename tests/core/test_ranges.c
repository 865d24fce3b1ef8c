/* Mappings, against a naive map of bytes. */
#include "cmr_test.h"

#include "os/memory.h"
#include "os/random.h"
#include "table/ranges.h"

static struct cmr_ranges table;

#define MOST_CUTS 600
static struct cmr_range_cut cuts[MOST_CUTS];
static unsigned n_cuts;

static void note_cut(void *data, const struct cmr_range_cut *cut)
{
	CHECK_EQ_PTR(data, &table);
	REQUIRE(n_cuts < MOST_CUTS);
	cuts[n_cuts++] = *cut;
}

static struct cmr_range interval(uintptr_t start, uintptr_t end, uint32_t id)
{
	return (struct cmr_range){ .start = start,
				   .end = end,
				   .location = id,
				   .tag = (uint8_t)(1 + id % 63),
				   .class = (uint8_t)(id % CMR_N_RANGE_CLASSES),
				   .located = (id & 1) != 0 };
}

static bool same(const struct cmr_range *a, const struct cmr_range *b)
{
	return a->start == b->start && a->end == b->end && a->location == b->location &&
	       a->tag == b->tag && a->class == b->class && a->located == b->located;
}

static bool add(uintptr_t start, uintptr_t end, uint32_t id)
{
	struct cmr_range range = interval(start, end, id);
	bool added;

	cmr_lock_take(&table.lock);
	added = cmr_ranges_add_locked(&table, &range);
	cmr_lock_drop(&table.lock);
	return added;
}

static bool cut(uintptr_t start, uintptr_t end)
{
	bool whole;

	n_cuts = 0;
	cmr_lock_take(&table.lock);
	whole = cmr_ranges_cut_locked(&table, start, end, note_cut, &table);
	cmr_lock_drop(&table.lock);
	return whole;
}

static const struct cmr_range *find(uintptr_t address)
{
	const struct cmr_range *found;

	cmr_lock_take(&table.lock);
	found = cmr_ranges_find_locked(&table, address);
	cmr_lock_drop(&table.lock);
	return found;
}

static void check_cut(unsigned i, uintptr_t start, uintptr_t end, uint32_t id, size_t bytes,
		      int blocks)
{
	struct cmr_range before = interval(start, end, id);

	if (!CHECK(i < n_cuts))
		return;
	CHECK(same(&cuts[i].range, &before));
	CHECK_EQ_U64(cuts[i].bytes, bytes);
	CHECK_EQ_I64(cuts[i].blocks, blocks);
}

static void check_item(size_t i, uintptr_t start, uintptr_t end, uint32_t id)
{
	struct cmr_range expected = interval(start, end, id);

	if (CHECK(i < table.n_items))
		CHECK(same(&table.items[i], &expected));
}

static void fresh(void)
{
	cmr_ranges_fini(&table);
}

static bool refuse(size_t bytes)
{
	(void)bytes;
	return false;
}

CMR_TEST(intervals_stand_in_address_order)
{
	fresh();
	CHECK(add(300, 400, 3));
	CHECK(add(100, 200, 1));
	CHECK(add(200, 300, 2));
	CHECK(add(500, 500, 9)); /* empty */
	CHECK(add(500, 400, 9));
	CHECK_EQ_U64(table.n_items, 3);
	check_item(0, 100, 200, 1);
	check_item(1, 200, 300, 2);
	check_item(2, 300, 400, 3);
}

CMR_TEST(finding_is_by_the_end)
{
	fresh();
	CHECK(find(0) == NULL);
	CHECK(add(100, 200, 1));
	CHECK(add(300, 400, 2));
	CHECK_EQ_U64(find(0)->location, 1);
	CHECK_EQ_U64(find(100)->location, 1);
	CHECK_EQ_U64(find(199)->location, 1);
	CHECK_EQ_U64(find(200)->location, 2);
	CHECK_EQ_U64(find(399)->location, 2);
	CHECK(find(400) == NULL);
	CHECK(find(UINTPTR_MAX) == NULL);
}

CMR_TEST(a_cut_in_the_middle_splits)
{
	fresh();
	CHECK(add(100, 200, 1));
	CHECK(cut(120, 150));
	CHECK_EQ_U64(n_cuts, 1);
	check_cut(0, 100, 200, 1, 30, 1);
	CHECK_EQ_U64(table.n_items, 2);
	check_item(0, 100, 120, 1);
	check_item(1, 150, 200, 1);
}

CMR_TEST(a_cut_at_an_end_trims)
{
	fresh();
	CHECK(add(100, 200, 1));
	CHECK(cut(50, 110));
	CHECK_EQ_U64(n_cuts, 1);
	check_cut(0, 100, 200, 1, 10, 0);
	CHECK(cut(190, 300));
	CHECK_EQ_U64(n_cuts, 1);
	check_cut(0, 110, 200, 1, 10, 0);
	CHECK(cut(110, 111));
	check_cut(0, 110, 190, 1, 1, 0);
	CHECK(cut(189, 190));
	check_cut(0, 111, 190, 1, 1, 0);
	CHECK_EQ_U64(table.n_items, 1);
	check_item(0, 111, 189, 1);
}

CMR_TEST(a_cut_over_all_removes)
{
	fresh();
	CHECK(add(100, 200, 1));
	CHECK(cut(100, 200));
	check_cut(0, 100, 200, 1, 100, -1);
	CHECK_EQ_U64(n_cuts, 1);
	CHECK_EQ_U64(table.n_items, 0);
	CHECK(add(100, 200, 2));
	CHECK(cut(0, 1000));
	check_cut(0, 100, 200, 2, 100, -1);
	CHECK_EQ_U64(table.n_items, 0);
}

CMR_TEST(a_cut_may_concern_many)
{
	fresh();
	for (uint32_t i = 0; i < 10; i++)
		CHECK(add(100 * i, 100 * i + 60, i));
	CHECK(cut(130, 830));
	CHECK_EQ_U64(n_cuts, 8);
	check_cut(0, 100, 160, 1, 30, 0);
	for (uint32_t i = 2; i < 8; i++)
		check_cut(i - 1, 100 * i, 100 * i + 60, i, 60, -1);
	check_cut(7, 800, 860, 8, 30, 0);
	CHECK_EQ_U64(table.n_items, 4);
	check_item(0, 0, 60, 0);
	check_item(1, 100, 130, 1);
	check_item(2, 830, 860, 8);
	check_item(3, 900, 960, 9);
}

CMR_TEST(a_cut_beside_all_is_nothing)
{
	fresh();
	CHECK(add(100, 200, 1));
	CHECK(add(300, 400, 2));
	CHECK(cut(0, 100));
	CHECK_EQ_U64(n_cuts, 0);
	CHECK(cut(200, 300));
	CHECK_EQ_U64(n_cuts, 0);
	CHECK(cut(400, UINTPTR_MAX));
	CHECK_EQ_U64(n_cuts, 0);
	CHECK(cut(150, 150));
	CHECK_EQ_U64(n_cuts, 0);
	CHECK(cut(160, 150));
	CHECK_EQ_U64(n_cuts, 0);
	CHECK_EQ_U64(table.n_items, 2);
}

CMR_TEST(refused_memory_is_told)
{
	uint32_t n = 0;

	fresh();
	cmr_memory_set_gatekeeper(refuse);
	CHECK(!add(0, 10, 1));
	CHECK_EQ_U64(table.n_items, 0);
	cmr_memory_set_gatekeeper(NULL);
	CHECK(add(0, 100, 0));
	cmr_memory_set_gatekeeper(refuse);
	for (n = 1; add(200 * (uintptr_t)n, 200 * (uintptr_t)n + 100, n); n++)
		REQUIRE(n < 100000);
	CHECK_EQ_U64(table.n_items, n);
	/* A split that finds no room loses the upper rest, and says so. */
	CHECK(!cut(420, 430));
	CHECK_EQ_U64(n_cuts, 1);
	check_cut(0, 400, 500, 2, 80, 0);
	CHECK_EQ_U64(table.n_items, n);
	check_item(2, 400, 420, 2);
	cmr_memory_set_gatekeeper(NULL);
	CHECK(cut(220, 230));
	check_cut(0, 200, 300, 1, 10, 1);
	CHECK_EQ_U64(table.n_items, n + 1);
	check_item(3, 400, 420, 2);
	check_item(n, 200 * (uintptr_t)(n - 1), 200 * (uintptr_t)(n - 1) + 100, n - 1);
}

CMR_TEST(reset_forgets_and_fini_gives_back)
{
	size_t before;

	fresh();
	before = cmr_memory_mapped();
	for (uint32_t i = 0; i < 10000; i++)
		CHECK(add(100 * (uintptr_t)i, 100 * (uintptr_t)i + 50, i));
	cmr_ranges_reset(&table);
	CHECK_EQ_U64(table.n_items, 0);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
	CHECK(add(1, 2, 3));
	cmr_ranges_reset(&table);
	CHECK_EQ_U64(table.n_items, 0);
	CHECK(find(0) == NULL);
	CHECK(add(1, 2, 3));
	cmr_ranges_fini(&table);
	CHECK_EQ_U64(cmr_memory_mapped(), before);
	CHECK_EQ_U64(table.lock.rank, CMR_RANK_RANGES);
}

CMR_TEST(retag_maps_and_drops)
{
	uint8_t map[64] = { 0 };
	struct cmr_range untagged = { .start = 900, .end = 1000 };

	fresh();
	for (uint32_t id = 0; id < 5; id++) /* tags 1..5 */
		CHECK(add(100 * id, 100 * id + 50, id));
	cmr_lock_take(&table.lock);
	CHECK(cmr_ranges_add_locked(&table, &untagged));
	cmr_lock_drop(&table.lock);
	map[1] = 1;
	map[2] = 1;
	map[4] = 4;
	map[0] = 3; /* tag 0 is none, whatever the map says */
	cmr_ranges_retag(&table, map);
	CHECK_EQ_U64(table.n_items, 4);
	check_item(0, 0, 50, 0);
	CHECK_EQ_U64(table.items[1].tag, 1);
	CHECK_EQ_U64(table.items[1].start, 100);
	CHECK_EQ_U64(table.items[1].location, 1);
	check_item(2, 300, 350, 3);
	CHECK_EQ_U64(table.items[3].tag, 0);
	CHECK_EQ_U64(table.items[3].start, 900);
}

/* --- random programs --- */

#define SPACE 500
static uint32_t owner[SPACE]; /* id of the interval that has this byte; 0 = none */

/* End of the run of bytes from AT that have one owner. */
static unsigned run_end(unsigned at)
{
	unsigned end = at;

	while (end < SPACE && owner[end] == owner[at])
		end++;
	return end;
}

/* What a cut of [START, END) must report, in order. */
static void check_cuts(unsigned start, unsigned end)
{
	unsigned k = 0;

	for (unsigned at = 0, stop; at < SPACE; at = stop) {
		unsigned low, high;

		stop = run_end(at);
		if (owner[at] == 0 || stop <= start || at >= end || start == end)
			continue;
		low = at > start ? at : start;
		high = stop < end ? stop : end;
		check_cut(k++, at, stop, owner[at], high - low, (at < start) + (stop > end) - 1);
	}
	CHECK_EQ_U64(n_cuts, k);
}

static void check_items(void)
{
	size_t n = 0;

	for (unsigned at = 0, stop; at < SPACE; at = stop) {
		stop = run_end(at);
		if (owner[at] != 0)
			check_item(n++, at, stop, owner[at]);
	}
	CHECK_EQ_U64(table.n_items, n);
}

CMR_TEST(random_programs_do_as_the_model)
{
	uint64_t random = 7;
	uint32_t next_id = 1;

	fresh();
	memset(owner, 0, sizeof owner);
	for (int step = 0; step < 30000; step++) {
		uint64_t r = cmr_random_next(&random);
		unsigned start = (unsigned)(r >> 8) % SPACE;
		unsigned length = (unsigned)(r >> 20) % ((r & 3) == 0 ? 200 : 12);
		unsigned end = start + length < SPACE ? start + length : SPACE;

		CHECK(cut(start, end));
		check_cuts(start, end);
		memset(&owner[start], 0, (end - start) * sizeof *owner);
		if ((r & 4) != 0) {
			CHECK(add(start, end, next_id));
			for (unsigned i = start; i < end; i++)
				owner[i] = next_id;
			next_id++;
		}
		check_items();
		if (atomic_load(&cmr_test_failures) > 0)
			return;
	}
}
