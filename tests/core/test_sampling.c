/* Weights and draws against libm in long double, and against what they must mean. */
#include "cmr_test.h"

#include <math.h>

#include "heap/sampling.h"
#include "os/random.h"

static double relative(double a, long double b)
{
	return b == 0 ? fabs(a) : (double)fabsl(((long double)a - b) / b);
}

#define BOUND (4 * 0x1p-52)

CMR_TEST(one_minus_exp_is_libms)
{
	uint64_t random = 1;
	double worst = 0;

	for (int i = 0; i < 200000; i++) {
		double x = ldexp((double)(cmr_random_next(&random) >> 11), -53) *
			   ldexp(1, (int)(cmr_random_next(&random) % 60) - 53);
		double error = relative(cmr_one_minus_exp(x), -expm1l(-(long double)x));

		worst = error > worst ? error : worst;
	}
	CHECK(worst < BOUND);
	CHECK(cmr_one_minus_exp(100) == 1);
	CHECK(cmr_one_minus_exp(0.35) > 0 && cmr_one_minus_exp(39.9) <= 1);
}

CMR_TEST(minus_log_is_libms)
{
	uint64_t random = 2;
	double worst = 0;

	for (int i = 0; i < 200000; i++) {
		double x = ((double)(cmr_random_next(&random) >> 11) + 0.5) * 0x1p-53;
		double error;

		if ((i & 1) != 0) /* the two ends, where cancellation would show */
			x = 1 - ldexp(x, -(i % 50));
		else
			x = ldexp(x, -(i % 60));
		if (x <= 0 || x >= 1)
			continue;
		error = relative(cmr_minus_log(x), -logl((long double)x));
		worst = error > worst ? error : worst;
	}
	CHECK(worst < BOUND);
}

CMR_TEST(weight_is_rounded_once)
{
	uint64_t random = 3;

	for (int i = 0; i < 100000; i++) {
		uint64_t size = cmr_random_next(&random) >> (24 + cmr_random_next(&random) % 40);
		unsigned log2 = (unsigned)(cmr_random_next(&random) % 17);
		long double x = (long double)size / (long double)(1u << log2);
		long double exact = log2 == 0 || size == 0 ? (long double)size
							   : (long double)size / -expm1l(-x);
		long double off = fabsl((long double)cmr_sample_weight(size, log2) - exact);

		if (!CHECK(off <= 0.5L + exact * 0x1p-50L))
			return;
	}
	CHECK_EQ_U64(cmr_sample_weight(0, 0), 0);
	CHECK_EQ_U64(cmr_sample_weight(0, 10), 0);
	CHECK_EQ_U64(cmr_sample_weight(1, 10), 1025); /* 1024.50002: P + s/2 */
	CHECK_EQ_U64(cmr_sample_weight((uint64_t)1 << 46, 16), (uint64_t)1 << 46);
}

/* s = w p, so (1 - p) w^2 needs no exponential: as good as the weight, which is rounded to a byte. */
CMR_TEST(variance_follows_from_size_and_weight)
{
	uint64_t random = 11;

	for (int i = 0; i < 100000; i++) {
		unsigned log2 = (unsigned)(1 + cmr_random_next(&random) % CMR_MAX_PERIOD_LOG2);
		uint64_t size = 1 + (cmr_random_next(&random) >> (64 - log2 - 4));
		double period = ldexp(1, (int)log2), x = (double)size / period;
		double p = -expm1(-x), weight = (double)size / p;
		double exact = (1 - p) * weight * weight;
		double got = (double)cmr_sample_variance(size, cmr_sample_weight(size, log2));

		double rounding = 0.5 * (2 * weight - (double)size) + 0.25 + exact * 1e-12;

		if (!CHECK(fabs(got - exact) <= rounding) ||
		    !CHECK(got <= period * period + period))
			return;
	}
	CHECK_EQ_I64(cmr_sample_variance(100, 100), 0);
	CHECK_EQ_I64(cmr_sample_variance(0, 0), 0);
	CHECK_EQ_I64(cmr_sample_variance(1, 1025), 1025 * 1024);
}

/* A block of s bytes is chosen when the draw is at most s: chance 1 - exp(-s / P). */
CMR_TEST(draws_choose_by_bytes)
{
	enum { N = 400000 };
	static const unsigned logs[] = { 1, 6, 10, 16 };

	for (unsigned k = 0; k < sizeof logs / sizeof *logs; k++) {
		uint64_t random = 40 + k;
		double period = ldexp(1, (int)logs[k]), sum = 0;
		unsigned within[3] = { 0, 0, 0 };
		static const double part[3] = { 0.5, 1, 3 };

		for (int i = 0; i < N; i++) {
			int64_t draw = cmr_sample_draw(&random, logs[k]);

			if (!CHECK(draw >= 1))
				return;
			sum += (double)draw;
			for (int j = 0; j < 3; j++)
				within[j] += (double)draw <= floor(part[j] * period);
		}
		for (int j = 0; j < 3; j++) {
			double p = -expm1(-floor(part[j] * period) / period);
			double error = sqrt(p * (1 - p) / N);

			CHECK(fabs((double)within[j] / N - p) < 4 * error);
		}
		/* The mean of an exponential that is rounded up. */
		CHECK(fabs(sum / N - 1 / -expm1(-1 / period)) < 4 * period / sqrt(N));
	}
}

/* Sum of weights of the chosen ones, over many runs, is the sum of all bytes. */
CMR_TEST(weights_are_unbiased)
{
	enum { RUNS = 4000, N = 50 };
	const unsigned log2 = 8;
	double mean = 0, square = 0, variance = 0, spread;
	uint64_t truth = 0;

	for (int run = 0; run < RUNS; run++) {
		uint64_t random = cmr_mix((uint64_t)run + 1);
		int64_t countdown = cmr_sample_draw(&random, log2) - 1;
		uint64_t sum = 0;

		truth = 0;
		for (int i = 0; i < N; i++) {
			uint64_t size = (uint64_t)(1 + i * i % 97) << (i % 5);

			truth += size;
			countdown -= (int64_t)size;
			if (countdown >= 0)
				continue;
			sum += cmr_sample_weight(size, log2);
			variance += (double)cmr_sample_variance(
					    size, cmr_sample_weight(size, log2)) /
				    RUNS;
			countdown = cmr_sample_draw(&random, log2) - 1;
		}
		mean += (double)sum / RUNS;
		square += (double)sum * (double)sum / RUNS;
	}
	spread = square - mean * mean;
	CHECK(fabs(mean - (double)truth) < 3 * sqrt(spread / RUNS));
	/* So is what is said of their spread; that of 4000 runs is itself known to 2.2 %. */
	CHECK(fabs(variance / spread - 1) < 3 * sqrt(2.0 / RUNS));
}
