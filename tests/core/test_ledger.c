#include "cmr_test.h"

#include "heap/ledger.h"

static void take(struct cmr_ledger *l, uint64_t size)
{
	if (size != 0)
		(void)cmr_ledger_edge(l);
	cmr_ledger_sub(l, size);
}

CMR_TEST(an_addition_changes_every_number)
{
	struct cmr_ledger l;

	cmr_ledger_clear(&l);
	cmr_ledger_add(&l, 100);
	cmr_ledger_add(&l, 30);
	CHECK_EQ_U64(cmr_ledger_current(&l), 130);
	CHECK_EQ_U64(cmr_ledger_blocks(&l), 2);
	CHECK_EQ_U64(l.total, 130);
	CHECK_EQ_U64(l.count, 2);
	CHECK_EQ_U64(l.largest, 100);
	CHECK_EQ_U64(l.epoch, 0);
	CHECK(!cmr_ledger_rises(&l));
	CHECK_EQ_U64(sizeof l, 64);
}

CMR_TEST(a_fall_from_the_peak_ends_the_epoch)
{
	struct cmr_ledger l;

	cmr_ledger_clear(&l);
	cmr_ledger_add(&l, 100);
	cmr_ledger_add(&l, 30);
	take(&l, 30);
	CHECK_EQ_U64(l.peak, 130);
	CHECK_EQ_U64(l.peak_blocks, 2);
	CHECK_EQ_U64(l.epoch, 1);
	CHECK_EQ_U64(cmr_ledger_current(&l), 100);
	CHECK_EQ_U64(cmr_ledger_blocks(&l), 1);
	CHECK_EQ_U64(l.total, 130);
	CHECK_EQ_U64(l.count, 2);
	take(&l, 100); /* below the peak: no new epoch */
	CHECK_EQ_U64(l.epoch, 1);
	CHECK_EQ_U64(l.peak, 130);
}

CMR_TEST(of_equal_peaks_the_last_one_counts)
{
	struct cmr_ledger l;

	cmr_ledger_clear(&l);
	cmr_ledger_add(&l, 64);
	take(&l, 64);
	for (int i = 0; i < 4; i++)
		cmr_ledger_add(&l, 16);
	take(&l, 16);
	CHECK_EQ_U64(l.peak, 64);
	CHECK_EQ_U64(l.peak_blocks, 4);
	CHECK_EQ_U64(l.epoch, 2);
}

CMR_TEST(an_empty_block_ends_no_epoch)
{
	struct cmr_ledger l;

	cmr_ledger_clear(&l);
	cmr_ledger_add(&l, 8);
	cmr_ledger_add(&l, 0);
	take(&l, 0);
	CHECK_EQ_U64(l.epoch, 0);
	CHECK_EQ_U64(cmr_ledger_blocks(&l), 1);
	CHECK_EQ_U64(l.count, 2);
}

CMR_TEST(sealed_numbers_stay)
{
	struct cmr_ledger l;

	cmr_ledger_clear(&l);
	CHECK(cmr_ledger_plain(&l));
	cmr_ledger_add(&l, 10);
	CHECK(cmr_ledger_edge(&l));
	l.sealed = true;
	CHECK(!cmr_ledger_plain(&l));
	cmr_ledger_add(&l, 1000);
	CHECK(!cmr_ledger_edge(&l));
	take(&l, 10);
	CHECK_EQ_U64(l.peak, 10);
	CHECK_EQ_U64(l.total, 10);
	CHECK_EQ_U64(l.count, 1);
	CHECK_EQ_U64(l.largest, 10);
	CHECK_EQ_U64(l.epoch, 1);
	CHECK_EQ_U64(cmr_ledger_current(&l), 1000);
	CHECK_EQ_U64(cmr_ledger_blocks(&l), 1);
}

CMR_TEST(a_ledger_rises_at_its_mark)
{
	struct cmr_ledger l;

	cmr_ledger_clear(&l);
	l.rise_log2 = 11;
	cmr_ledger_add(&l, 2047);
	CHECK(!cmr_ledger_rises(&l));
	cmr_ledger_add(&l, 1);
	CHECK(cmr_ledger_rises(&l));
	l.old_threads = true;
	CHECK(!cmr_ledger_plain(&l));
}
