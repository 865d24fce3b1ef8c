/* Byte-weighted Poisson sampling: each byte is chosen with the same small chance, a block is chosen
 * when one of its bytes is, and counts with the inverse of its probability. */
#ifndef CMR_HEAP_SAMPLING_H
#define CMR_HEAP_SAMPLING_H

#include <stdint.h>

/* Largest period: 1 MiB. The sum of variances is at most that times the sum of weights, so 64 bits
 * are enough for 8 TB of live blocks. */
#define CMR_MAX_PERIOD_LOG2 20

/* Bytes that a sampled block of SIZE stands for: SIZE / (1 - exp(-SIZE / P)) with P =
 * 1 << PERIOD_LOG2, rounded once. PERIOD_LOG2 0 means that every block is taken: SIZE. The quotient
 * before rounding is right to 4 units of 2^-52. [nomalloc] */
uint64_t cmr_sample_weight(uint64_t size, unsigned period_log2);

/* What a sampled block of SIZE and WEIGHT adds to the variance of its location's sum of weights, by
 * the estimator of Horvitz and Thompson, in bytes squared: (1 - p) WEIGHT^2 with p = SIZE / WEIGHT,
 * the chance that it was taken. At most P^2 + P. 0 for a block that was certain to be. [hot] */
static inline int64_t cmr_sample_variance(uint64_t size, uint64_t weight)
{
	return (int64_t)(weight * (weight - size));
}

/* Number of the next chosen byte, from 1: an exponential draw of mean 1 << PERIOD_LOG2, rounded up,
 * which makes the chance that none of s bytes is chosen exp(-s / P) exactly. [nomalloc] */
int64_t cmr_sample_draw(uint64_t *random, unsigned period_log2);

/* The two functions they are made of, for x > 0: 1 - exp(-x), and -log(x) for x <= 1. Relative error
 * below 4 units of 2^-52; written out because the extension needs libc only. */
double cmr_one_minus_exp(double x);
double cmr_minus_log(double x);

#endif
