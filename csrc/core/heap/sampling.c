#include "heap/sampling.h"

#include <stdatomic.h>

#include "os/random.h"

#define LN2_HIGH 6.93147180369123816490e-01 /* upper 32 bits, so that k * LN2_HIGH is exact */
#define LN2_LOW 1.90821492927058770002e-10
#define LN2 0.693147180559945309417

/* exp(r) - 1 for |r| <= 0.35: the series, from its small end. */
static double exp_minus_one(double r)
{
	double sum = 0;

#pragma GCC unroll 16
	for (int n = 15; n > 1; n--)
		sum = (sum + 1) * (r * (1.0 / n)); /* the quotient is a constant */
	return (sum + 1) * r;
}

/* A double and its bits. */
union both {
	double number;
	uint64_t bits;
};

/* 2 to the power N, -1022 < N < 1024. */
static double two_to(int n)
{
	union both power = { .bits = (uint64_t)(1023 + n) << 52 };

	return power.number;
}

double cmr_one_minus_exp(double x)
{
	int k;
	double r;

	if (x < 0.35)
		return -exp_minus_one(-x);
	if (x > 40)
		return 1;
	k = (int)(x / LN2 + 0.5);
	r = (x - k * LN2_HIGH) - k * LN2_LOW;
	return 1 - (1 + exp_minus_one(-r)) * two_to(-k);
}

double cmr_minus_log(double x)
{
	union both both = { .number = x };
	int exponent = (int)(both.bits >> 52) - 1023;
	double m, t, t2, sum = 0;

	both.bits = (both.bits & 0x000fffffffffffffu) | 0x3ff0000000000000u;
	m = both.number;
	if (m > 1.41421356) {
		m /= 2;
		exponent++;
	}
	/* log m = 2 atanh t, |t| < 0.1716: the odd terms up to t^23. */
	t = (m - 1) / (m + 1);
	t2 = t * t;
#pragma GCC unroll 16
	for (int n = 23; n > 1; n -= 2)
		sum = (sum + 1.0 / n) * t2;
	return -exponent * LN2_HIGH - (2 * t * (1 + sum) + exponent * LN2_LOW);
}

/* Weights of small blocks, by period and size, computed when first asked for; 0 = not yet. */
#define CACHED_LOGS 18
#define CACHED_SIZES 512
static _Atomic uint32_t cached[CACHED_LOGS][CACHED_SIZES];

static uint64_t compute_weight(uint64_t size, unsigned period_log2)
{
	double x = (double)size / (double)((uint64_t)1 << period_log2);

	return x > 0 ? (uint64_t)((double)size / cmr_one_minus_exp(x) + 0.5) : 0;
}

uint64_t cmr_sample_weight(uint64_t size, unsigned period_log2)
{
	_Atomic uint32_t *slot;
	uint64_t weight;

	if (period_log2 == 0 || size >> period_log2 >= 45)
		return size;
	if (size >= CACHED_SIZES || period_log2 >= CACHED_LOGS)
		return compute_weight(size, period_log2);
	slot = &cached[period_log2][size];
	weight = atomic_load_explicit(slot, memory_order_relaxed);
	if (__builtin_expect(weight == 0, 0)) {
		weight = compute_weight(size, period_log2);
		atomic_store_explicit(slot, (uint32_t)weight, memory_order_relaxed);
	}
	return weight;
}

int64_t cmr_sample_draw(uint64_t *random, unsigned period_log2)
{
	double u = ((double)(cmr_random_next(random) >> 11) + 0.5) * 0x1p-53;
	double draw = cmr_minus_log(u) * (double)((uint64_t)1 << period_log2);

	return (int64_t)draw + 1; /* the chance of a whole number is nil */
}
