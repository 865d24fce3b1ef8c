#include "cmr_test.h"

#include "heap/usage.h"
#include "os/memory.h"
#include "os/random.h"

#define UNIT CMR_BLOCK_UNIT

static void add(struct cmr_usages *u, struct cmr_ledger *l, uint32_t location, uint64_t size)
{
	cmr_ledger_add(l, size);
	CHECK(cmr_usages_book(u, l, location, (int64_t)size, UNIT, 0));
}

static void take(struct cmr_usages *u, struct cmr_ledger *l, uint32_t location, uint64_t size)
{
	if (size != 0)
		(void)cmr_ledger_edge(l);
	cmr_ledger_sub(l, size);
	CHECK(cmr_usages_book(u, l, location, -(int64_t)size, -UNIT, 0));
}

static int64_t bytes_of(const struct cmr_usages *u, const struct cmr_ledger *l, bool peak,
			uint32_t location)
{
	struct cmr_usage_row rows[16];
	uint32_t n = cmr_usages_rows(u, l, peak, rows, 16);

	for (uint32_t i = 0; i < n; i++)
		if (rows[i].location == location)
			return rows[i].bytes;
	return 0;
}

struct fixture {
	struct cmr_usages usages;
	struct cmr_ledger ledger;
};

static void begin(struct fixture *f)
{
	memset(f, 0, sizeof *f);
	cmr_ledger_clear(&f->ledger);
	REQUIRE(cmr_usages_init(&f->usages));
	cmr_usages_restart(&f->usages);
}

CMR_TEST(the_peak_share_is_what_was_held_then)
{
	struct fixture f;

	begin(&f);
	add(&f.usages, &f.ledger, 1, 100);
	add(&f.usages, &f.ledger, 2, 50);
	take(&f.usages, &f.ledger, 1, 100); /* falls from 150 */
	add(&f.usages, &f.ledger, 3, 60);   /* 110: never the peak */
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, true, 1), 100);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, true, 2), 50);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, true, 3), 0);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, false, 1), 0);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, false, 2), 50);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, false, 3), 60);
	add(&f.usages, &f.ledger, 3, 60); /* 170: the peak is now */
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, true, 1), 0);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, true, 2), 50);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, true, 3), 120);
	cmr_usages_fini(&f.usages);
}

/* Variances belong to the peak by the same epochs as the bytes they are of. */
CMR_TEST(variances_come_and_go_with_their_bytes)
{
	struct fixture f;
	struct cmr_usage_row row;

	begin(&f);
	cmr_ledger_add(&f.ledger, 10);
	REQUIRE(cmr_usages_book(&f.usages, &f.ledger, 1, 100, 10 * UNIT, 9000));
	cmr_ledger_add(&f.ledger, 10);
	REQUIRE(cmr_usages_book(&f.usages, &f.ledger, 1, 200, 20 * UNIT, 38000));
	REQUIRE(cmr_usages_rows(&f.usages, &f.ledger, true, &row, 1) == 1);
	CHECK_EQ_I64(row.variance, 47000);
	CHECK(cmr_ledger_edge(&f.ledger));
	cmr_ledger_sub(&f.ledger, 10);
	REQUIRE(cmr_usages_book(&f.usages, &f.ledger, 1, -200, -20 * UNIT, -38000));
	add(&f.usages, &f.ledger, 1, 3); /* exact: adds none */
	REQUIRE(cmr_usages_rows(&f.usages, &f.ledger, true, &row, 1) == 1);
	CHECK_EQ_I64(row.variance, 47000);
	REQUIRE(cmr_usages_rows(&f.usages, &f.ledger, false, &row, 1) == 1);
	CHECK_EQ_I64(row.variance, 9000);
	CHECK_EQ_I64(row.bytes, 103);
	add(&f.usages, &f.ledger, 2, 1000); /* a new peak, in the same epoch of location 1 */
	CHECK(cmr_ledger_edge(&f.ledger));
	REQUIRE(cmr_usages_rows(&f.usages, &f.ledger, true, &row, 1) == 1);
	CHECK_EQ_U64(row.location, 2);
	CHECK_EQ_I64(row.variance, 0);
	CHECK_EQ_U64(sizeof(struct cmr_usage), 64);
	cmr_usages_fini(&f.usages);
}

CMR_TEST(sealed_shares_stay_and_live_ones_go_on)
{
	struct fixture f;

	begin(&f);
	add(&f.usages, &f.ledger, 1, 100);
	CHECK(cmr_ledger_edge(&f.ledger));
	f.ledger.sealed = true;
	add(&f.usages, &f.ledger, 1, 7);
	add(&f.usages, &f.ledger, 2, 500);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, true, 1), 100);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, true, 2), 0);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, false, 1), 107);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, false, 2), 500);
	take(&f.usages, &f.ledger, 1, 100);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, true, 1), 100);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, false, 1), 7);
	cmr_usages_fini(&f.usages);
}

CMR_TEST(a_restart_reads_as_empty)
{
	struct fixture f;
	struct cmr_usage_row row;
	size_t mapped = cmr_memory_mapped();

	begin(&f);
	add(&f.usages, &f.ledger, 5, 100);
	CHECK_EQ_U64(f.usages.n_touched, 1);
	cmr_usages_restart(&f.usages);
	cmr_ledger_clear(&f.ledger);
	CHECK_EQ_U64(f.usages.n_touched, 0);
	CHECK_EQ_U64(cmr_usages_rows(&f.usages, &f.ledger, false, &row, 1), 0);
	add(&f.usages, &f.ledger, 5, 3);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, false, 5), 3);
	/* The last serial: entries are dropped, not taken for those of the next one. */
	f.usages.serial = UINT32_MAX;
	f.usages.first = 0;
	add(&f.usages, &f.ledger, 5, 9);
	cmr_usages_restart(&f.usages);
	CHECK_EQ_U64(f.usages.serial, 1);
	CHECK_EQ_U64(cmr_usages_rows(&f.usages, &f.ledger, false, &row, 1), 0);
	add(&f.usages, &f.ledger, 5, 4);
	CHECK_EQ_I64(bytes_of(&f.usages, &f.ledger, false, 5), 4);
	cmr_usages_fini(&f.usages);
	cmr_usages_fini(&f.usages);
	CHECK_EQ_U64(cmr_memory_mapped(), mapped);
}

CMR_TEST(counts_of_empty_blocks_are_rows)
{
	struct fixture f;
	struct cmr_usage_row row = { 0, -1, -1, -1 };

	begin(&f);
	add(&f.usages, &f.ledger, 9, 0);
	CHECK_EQ_U64(cmr_usages_rows(&f.usages, &f.ledger, true, &row, 1), 1);
	CHECK_EQ_I64(row.bytes, 0);
	CHECK_EQ_I64(row.blocks, UNIT);
	CHECK_EQ_U64(cmr_usages_rows(&f.usages, &f.ledger, true, &row, 0), 0);
	cmr_usages_fini(&f.usages);
}

static bool refuse(size_t bytes)
{
	(void)bytes;
	return false;
}

CMR_TEST(refused_memory_is_said_and_taken_from_nobody)
{
	struct fixture f;
	struct cmr_usages none = { 0 };

	begin(&f);
	add(&f.usages, &f.ledger, 1, 10);
	cmr_memory_set_gatekeeper(refuse);
	CHECK(!cmr_usages_book(&f.usages, &f.ledger, CMR_USAGE_CHUNK + 1, 10, UNIT, 0));
	/* Its end is no loss again, and leaves nothing negative behind. */
	CHECK(cmr_usages_book(&f.usages, &f.ledger, CMR_USAGE_CHUNK + 1, -10, -UNIT, 0));
	CHECK(!cmr_usages_init(&none));
	cmr_memory_set_gatekeeper(NULL);
	CHECK(cmr_usages_book(&f.usages, &f.ledger, CMR_USAGE_CHUNK + 2, -10, -UNIT, 0));
	CHECK(cmr_usages_book(&f.usages, &f.ledger, 2, -10, -UNIT, 0));
	CHECK_EQ_U64(f.usages.n_touched, 1);
	/* A number beyond the directory. */
	CHECK(!cmr_usages_book(&f.usages, &f.ledger, CMR_USAGE_CHUNK * CMR_USAGE_CHUNKS, 10, UNIT, 0));
	cmr_usages_fini(&f.usages);
}

/* Random bookings against copies of the whole table, taken whenever live bytes are at their highest. */
CMR_TEST(shares_equal_a_naive_model)
{
	enum { N = 40, STEPS = 100000 };
	struct fixture f;
	uint64_t live[N] = { 0 }, at_peak[N] = { 0 }, sum = 0, best = 0, random = 7;

	begin(&f);
	for (int step = 0; step < STEPS; step++) {
		uint32_t at = (uint32_t)(cmr_random_next(&random) % N);
		uint64_t size = 1 + cmr_random_next(&random) % 100;

		if ((cmr_random_next(&random) >> 20) % 1000 < (sum < 5000 ? 700 : 400)) {
			add(&f.usages, &f.ledger, at + 1, size);
			live[at] += size;
			sum += size;
		} else if (live[at] >= size) {
			take(&f.usages, &f.ledger, at + 1, size);
			live[at] -= size;
			sum -= size;
		}
		if (sum >= best) {
			best = sum;
			memcpy(at_peak, live, sizeof live);
		}
		if (step % 1000 != 0)
			continue;
		for (uint32_t i = 0; i < N; i++) {
			struct cmr_usage_row rows[N];
			uint32_t n = cmr_usages_rows(&f.usages, &f.ledger, i % 2, rows, N);
			uint64_t got = 0;

			for (uint32_t j = 0; j < n; j++)
				got += rows[j].location == i + 1 ? (uint64_t)rows[j].bytes : 0;
			if (!CHECK_EQ_U64(got, i % 2 ? at_peak[i] : live[i]))
				return;
		}
	}
	cmr_usages_fini(&f.usages);
}
