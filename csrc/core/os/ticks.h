/* A clock that costs a few nanoseconds, for who must know how much may have happened since.
 *
 * The processor's own counter (x86-64: time-stamp counter, AArch64: virtual counter), where it
 * runs at one rate on all processors whatever they do, and where reading it does not trap; else
 * none, and readers do without. It is read without a fence: the processor may take the reading
 * earlier or later than the program says, by as many instructions as it holds in flight, some
 * hundreds. */
#ifndef CMR_OS_TICKS_H
#define CMR_OS_TICKS_H

#include <stdint.h>

struct cmr_ticks {
	uint64_t scale; /* 2^32 times the nanoseconds of one tick, rounded up; 0: no clock */
	uint64_t (*source)(void); /* read in place of the counter; NULL but in tests */
};

/* Written before the first thread is measured. */
extern struct cmr_ticks cmr_ticks;

/* Longer than anybody asks for. */
#define CMR_TICKS_LONG UINT32_MAX

/* Finds out whether there is a clock, and its rate: takes about 50 microseconds, and opens a file.
 * Once is enough; later calls do nothing. */
void cmr_ticks_init(void);

/* Test door: SOURCE that ticks at HZ takes the place of the counter; HZ 0: there is no clock; NULL
 * and 0: none, and cmr_ticks_init may look again. Rates below 10 MHz are too coarse: no clock. */
void cmr_ticks_set_source(uint64_t (*source)(void), uint64_t hz);

/* The counter of this machine, whether it is fit for use or not. */
static inline uint64_t cmr_ticks_counter(void)
{
#if defined(__x86_64__)
	return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
	uint64_t count;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(count));
	return count;
#else
	return 0;
#endif
}

/* The present reading; 0 without a clock. [hot] [nomalloc] */
static inline uint64_t cmr_ticks_now(void)
{
	if (cmr_ticks.scale == 0)
		return 0;
	if (__builtin_expect(cmr_ticks.source != 0, 0))
		return cmr_ticks.source();
	return cmr_ticks_counter();
}

/* No less than the nanoseconds between two readings of this process, up to CMR_TICKS_LONG; that also
 * when one of them is 0 or they go backwards. [hot] [nomalloc] */
static inline uint32_t cmr_ticks_between(uint64_t from, uint64_t to)
{
	uint64_t ticks = to - from;

	/* 2^24 ticks of at most 100 ns stay below 2^32 ns, and their product with a scale below
	 * 2^64. */
	if (__builtin_expect(from == 0 || to < from || ticks >= (uint64_t)1 << 24, 0))
		return CMR_TICKS_LONG;
	return (uint32_t)(((ticks + 1) * cmr_ticks.scale >> 32) + 1);
}

#endif
