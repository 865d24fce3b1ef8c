/* Budgeted attribution: exact totals, unbiased shares, weights that come and go unchanged. */
#include "cmr_test.h"

#include <math.h>

#include "heap/sampling.h"
#include "os/random.h"
#include "region_rig.h"

enum { SITES = 5, LIVE = 400 };

struct walk {
	size_t size[LIVE];
	unsigned site[LIVE];
	uint64_t random;
	double live[SITES], at_peak[SITES], peak, sum;
};

/* A skewed program: few sites, sizes over four decades, frees and resizes; the same for every seed of
 * the sampler. */
static void play(struct walk *w, unsigned steps)
{
	memset(w, 0, sizeof *w);
	w->random = 99;
	for (unsigned at = 0; at < steps; at++) {
		unsigned i = (unsigned)(cmr_random_next(&w->random) % LIVE);
		unsigned site = (unsigned)(cmr_random_next(&w->random) % 16);
		size_t size = 1 + cmr_random_next(&w->random) % 500;

		site = site < 9 ? 0 : site < 13 ? 1 : site < 15 ? 2 : 3;
		if (at % 50 == 0) {
			site = 4;
			size = 1000 + cmr_random_next(&w->random) % 60000;
		}
		fake_stack_at(site + 1);
		if (w->size[i] != 0 && at % 3 == 0) {
			struct cmr_taken taken;

			cmr_on_resize_begin(OUTER, BASE + i * 1024, &taken);
			cmr_on_resize_done(OUTER, BASE + i * 1024, &taken, BASE + i * 1024, size,
					   CMR_KIND_REALLOC);
		} else if (w->size[i] != 0) {
			release(i);
		} else {
			alloc(i, size);
		}
		if (w->size[i] != 0) {
			w->live[w->site[i]] -= (double)w->size[i];
			w->sum -= (double)w->size[i];
		}
		if (w->size[i] != 0 && at % 3 != 0) {
			w->size[i] = 0;
			continue;
		}
		w->size[i] = size;
		w->site[i] = site;
		w->live[site] += (double)size;
		w->sum += (double)size;
		if (w->sum >= w->peak) {
			w->peak = w->sum;
			memcpy(w->at_peak, w->live, sizeof w->live);
		}
	}
}

static void drain(struct walk *w)
{
	for (unsigned i = 0; i < LIVE; i++)
		if (w->size[i] != 0)
			release(i);
}

static double variance(const struct cmr_region *region, bool peak, unsigned site)
{
	struct cmr_usage_row rows[256];
	uint32_t n = cmr_usages_rows(&region->usages, &region->ledger, peak, rows, 256);
	double sum = 0;

	for (uint32_t i = 0; i < n; i++)
		if (fake_site_of(rows[i].location) == site)
			sum += (double)rows[i].variance;
	return sum;
}

CMR_TEST(shares_are_unbiased_over_seeds)
{
	enum { SEEDS = 300, STEPS = 4000 };
	double mean[2][SITES] = { { 0 } }, square[2][SITES] = { { 0 } };
	double said[2][SITES] = { { 0 } };
	struct walk w;

	for (uint64_t seed = 0; seed < SEEDS; seed++) {
		struct cmr_region *r = open_with((struct cmr_region_options){
			.max_period = 4096, .seed = seed * 7919 });

		play(&w, STEPS);
		for (unsigned s = 0; s < SITES; s++) {
			for (int peak = 0; peak < 2; peak++) {
				double got = (double)share(r, peak, s + 1);

				mean[peak][s] += got / SEEDS;
				square[peak][s] += got * got / SEEDS;
				said[peak][s] += variance(r, peak, s + 1) / SEEDS;
			}
		}
		CHECK_EQ_U64(totals(r).current, (uint64_t)w.sum);
		CHECK_EQ_U64(totals(r).peak, (uint64_t)w.peak);
		CHECK(totals(r).period > 64);
		cmr_region_close(r);
		drain(&w);
		cmr_region_free(r);
	}
	for (unsigned s = 0; s < SITES; s++) {
		for (int peak = 0; peak < 2; peak++) {
			double truth = peak ? w.at_peak[s] : w.live[s], m = mean[peak][s];
			double spread = fmax(square[peak][s] - m * m, 0);
			double error = sqrt(spread / SEEDS);

			/* Not by luck of a wide error either. */
			CHECK(fabs(m - truth) <= 3 * error + 0.5);
			CHECK(error <= truth / 20);
			/* The spread is what is said, as well as so many seeds can tell. */
			CHECK(fabs(spread - said[peak][s]) <=
			      4 * said[peak][s] * sqrt(2.0 / SEEDS) + 1);
		}
	}
}

CMR_TEST(what_was_booked_is_taken_back)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ .max_period = 65536, .seed = 5 });
	struct cmr_usage_row rows[16];
	struct walk w;

	play(&w, 20000);
	CHECK(share(r, false, 1) > 0);
	drain(&w);
	CHECK_EQ_U64(totals(r).current, 0);
	CHECK_EQ_U64(cmr_usages_rows(&r->usages, &r->ledger, false, rows, 16), 0);
	for (unsigned s = 0; s < SITES; s++)
		CHECK_EQ_I64(share(r, false, s + 1), 0);
	CHECK(r->usages.n_touched >= SITES);
	for (uint32_t at = r->usages.first; at != 0;) {
		const struct cmr_usage *e =
			&r->usages.chunks[at / CMR_USAGE_CHUNK][at % CMR_USAGE_CHUNK];

		CHECK_EQ_I64(e->at_peak_variance + e->since_variance, 0);
		at = e->next;
	}
	cmr_region_free(r);
}

CMR_TEST(the_same_seed_reads_the_same)
{
	int64_t first[SITES] = { 0 };
	bool differs = false;
	struct walk w;

	for (int run = 0; run < 3; run++) {
		struct cmr_region *r = open_with((struct cmr_region_options){
			.max_period = 4096, .seed = run == 2 ? 2 : 1 });

		play(&w, 3000);
		for (unsigned s = 0; s < SITES; s++) {
			int64_t got = share(r, true, s + 1);

			if (run == 0)
				first[s] = got;
			else if (run == 1)
				CHECK_EQ_I64(got, first[s]);
			else
				differs |= got != first[s];
		}
		drain(&w);
		cmr_region_free(r);
	}
	CHECK(differs);
}

CMR_TEST(small_programs_are_exact)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ .max_period = 65536 });

	for (unsigned i = 0; i < 20; i++) {
		fake_stack_at(1 + i % SITES);
		alloc(i, 10 * i);
	}
	CHECK(totals(r).exact);
	CHECK_EQ_U64(totals(r).period, 1);
	for (unsigned s = 0; s < SITES; s++)
		CHECK_EQ_I64(share(r, true, s + 1), 10 * (4 * s + 5 + 10 + 15));
	cmr_region_free(r);
}

/* Counts: a block that stands for w bytes stands for w / size blocks. */
CMR_TEST(counts_are_estimated_too)
{
	enum { N = 20000 };
	struct cmr_region *r = open_with((struct cmr_region_options){ .max_period = 4096, .seed = 3 });
	struct cmr_usage_row row;
	double blocks;

	for (unsigned i = 0; i < N; i++)
		alloc(i, 100);
	CHECK_EQ_U64(cmr_usages_rows(&r->usages, &r->ledger, true, &row, 1), 1);
	blocks = (double)row.blocks / CMR_BLOCK_UNIT;
	CHECK(fabs(blocks - (double)row.bytes / 100) < 1);
	CHECK(fabs(blocks / N - 1) < 0.15);
	CHECK_EQ_U64(totals(r).peak_blocks, N);
	for (unsigned i = 0; i < N; i++)
		release(i);
	CHECK_EQ_U64(cmr_usages_rows(&r->usages, &r->ledger, false, &row, 1), 0);
	cmr_region_free(r);
}

/* About 2000 samples or more, however large the region: 10 MB in 100-byte blocks. */
CMR_TEST(enough_samples_make_up_a_peak)
{
	enum { N = 100000 };
	struct cmr_region *r = open_with((struct cmr_region_options){ .max_period = 65536, .seed = 9 });
	size_t hash, leaves;

	for (unsigned i = 0; i < N; i++)
		alloc(i, 100);
	cmr_blocks_measure(&cmr_planes[OUTER].blocks, &hash, &leaves);
	CHECK(hash > 1500);
	CHECK(hash < 40000);
	CHECK(fabs((double)share(r, true, 1) / (100.0 * N) - 1) < 0.1);
	CHECK_EQ_U64(totals(r).peak, 100 * N);
	for (unsigned i = 0; i < N; i++)
		release(i);
	cmr_region_free(r);
}

/* The period follows live bytes at once, whether the block that did it was sampled or not. */
/* The period is looked at whenever a block is sampled, which is once in a period. */
CMR_TEST(the_period_follows_the_peak)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ .max_period = 65536, .seed = 8 });

	for (unsigned i = 0; i < 30000; i++) {
		alloc(i, 100);
		if (!CHECK(totals(r).current < 3u << (10 + r->period_log2)) ||
		    !CHECK_EQ_U64(cmr_planes[OUTER].period_log2, r->period_log2))
			break;
	}
	CHECK(r->period_log2 >= 11);
	for (unsigned i = 0; i < 30000; i++)
		release(i);
	cmr_region_free(r);
}

/* A small peak does not make a long program exact: it would pay for every block. */
CMR_TEST(many_samples_are_enough)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ .max_period = 256, .seed = 6 });

	for (unsigned i = 0; i < 400000; i++) {
		alloc(i % 10, 50);
		release(i % 10);
	}
	CHECK_EQ_U64(totals(r).peak, 50);
	CHECK_EQ_U64(totals(r).period, 8 * 256); /* that much above the largest while nothing grows */
	CHECK_EQ_U64(r->ledger.rise_log2, CMR_NEVER_RISES);
	CHECK_EQ_U64(cmr_planes[OUTER].period_log2, 11);
	/* Live bytes at a new height: all that the estimate has to go by comes from here on. */
	for (unsigned i = 0; i < 400; i++)
		alloc(i, 50);
	CHECK_EQ_U64(totals(r).current, 20000);
	CHECK_EQ_U64(cmr_planes[OUTER].period_log2, 8);
	CHECK_EQ_U64(cmr_thread_self()->view[OUTER].period_log2, 8); /* threads have learned of it */
	CHECK_EQ_U64(totals(r).period, 8 * 256);
	cmr_region_free(r);
}

/* An exact region inside a budgeted one makes every block count as itself in both. */
CMR_TEST(two_attributions_at_once)
{
	struct cmr_region *budgeted =
		open_with((struct cmr_region_options){ .max_period = 65536, .seed = 4 });
	struct cmr_region *exact;
	int64_t before;

	for (unsigned i = 0; i < 2000; i++)
		alloc(i, 100);
	before = share(budgeted, false, 2);
	exact = open_with((struct cmr_region_options){ .exact = true });
	fake_stack_at(2);
	for (unsigned i = 2000; i < 2100; i++)
		alloc(i, 100);
	alloc(2100, 5000);
	CHECK_EQ_I64(share(exact, true, 2), 15000);
	CHECK_EQ_I64(share(budgeted, false, 2) - before, 15000);
	CHECK(totals(exact).exact);
	cmr_region_free(exact);
	for (unsigned i = 0; i <= 2100; i++)
		release(i);
	CHECK_EQ_I64(share(budgeted, false, 1), 0);
	CHECK_EQ_I64(share(budgeted, false, 2), 0);
	CHECK_EQ_U64(totals(budgeted).current, 0);
	cmr_region_free(budgeted);
}

/* For a peak that no sample is left of: what was largest among those that were taken. */
CMR_TEST(the_largest_sampled_block_keeps_its_location)
{
	struct cmr_region *r = open_with((struct cmr_region_options){ .max_period = 256, .seed = 2 });
	struct cmr_region *exact;

	CHECK_EQ_U64(totals(r).largest_location, 0);
	fake_stack_at(2);
	alloc(0, 300);
	fake_stack_at(3);
	alloc(1, 299);
	release(0);
	CHECK_EQ_U64(totals(r).largest_located, 300);
	CHECK_EQ_U64(fake_site_of(totals(r).largest_location), 2);
	alloc(0, 100000); /* as good as certain to be taken at any period */
	CHECK_EQ_U64(fake_site_of(totals(r).largest_location), 3);
	cmr_region_seal(r);
	alloc(2, 200000);
	CHECK_EQ_U64(totals(r).largest_located, 100000);
	cmr_region_free(r);
	exact = open_with((struct cmr_region_options){ .exact = true });
	alloc(3, 10);
	CHECK_EQ_U64(totals(exact).largest_location, 0);
	cmr_region_free(exact);
}
