#include "cmr_test.h"

#include <time.h>

#include "os/ticks.h"

static uint64_t made_up_time;

static uint64_t made_up_clock(void)
{
	return made_up_time;
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* --- the counter of this machine --- */

#define FIND_COUNTER()                                                                             \
	do {                                                                                       \
		cmr_ticks_set_source(NULL, 0);                                                     \
		cmr_ticks_init();                                                                  \
		if (cmr_ticks.scale == 0)                                                          \
			CMR_TEST_SKIP("this machine has no counter that is fit for use");          \
	} while (0)

/* The one who asks must never be told less than has passed. */
CMR_TEST(no_less_than_the_time_between)
{
	FIND_COUNTER();
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t from = cmr_ticks_now(), start = now_ns(), passed;

		while ((passed = now_ns() - start) < 500u + i)
			;
		CHECK(cmr_ticks_between(from, cmr_ticks_now()) >= passed);
	}
}

/* Nor much more, or nobody would save anything: the best of many, since any may be interrupted. */
CMR_TEST(about_the_time_between)
{
	double best = 1e9;

	FIND_COUNTER();
	for (unsigned i = 0; i < 2000; i++) {
		uint64_t start = now_ns(), from = cmr_ticks_now(), told;

		while (now_ns() - start < 10000)
			;
		told = cmr_ticks_between(from, cmr_ticks_now());
		if ((double)told / (double)(now_ns() - start) < best)
			best = (double)told / (double)(now_ns() - start);
	}
	CHECK(best < 1.2);
}

CMR_TEST(it_is_found_once)
{
	struct cmr_ticks before;

	FIND_COUNTER();
	before = cmr_ticks;
	cmr_ticks_init();
	CHECK_EQ_U64(cmr_ticks.scale, before.scale);
	CHECK(cmr_ticks.source == NULL);
	/* Not in place of another. */
	cmr_ticks_set_source(made_up_clock, 0);
	cmr_ticks_init();
	CHECK_EQ_U64(cmr_ticks_now(), 0);
}

/* --- counters of all rates --- */

CMR_TEST(rates_are_rounded_up)
{
	static const uint64_t rates[] = { 10000000,   19200000,	  24000000,   62500000,
					  1000000000, 2600000000, 5100000000, 20000000000 };

	for (unsigned i = 0; i < sizeof rates / sizeof *rates; i++) {
		cmr_ticks_set_source(made_up_clock, rates[i]);
		for (uint64_t ticks = 0; ticks < 1u << 24; ticks = ticks * 3 / 2 + 1) {
			double ns = (double)(ticks + 1) * 1e9 / (double)rates[i];
			uint32_t told = cmr_ticks_between(7, 7 + ticks);

			CHECK((double)told >= ns);
			CHECK((double)told <= ns * 1.03 + 2);
		}
	}
}

CMR_TEST(what_is_not_known_is_long)
{
	cmr_ticks_set_source(made_up_clock, 1000000000);
	CHECK_EQ_U64(cmr_ticks_between(0, 5), CMR_TICKS_LONG);
	CHECK_EQ_U64(cmr_ticks_between(100, 99), CMR_TICKS_LONG);
	CHECK_EQ_U64(cmr_ticks_between(100, 100 + (1u << 24)), CMR_TICKS_LONG);
	CHECK_EQ_U64(cmr_ticks_between(1, UINT64_MAX), CMR_TICKS_LONG);
	CHECK(cmr_ticks_between(UINT64_MAX - 5, UINT64_MAX) < 20);
}

CMR_TEST(coarse_counters_are_none)
{
	made_up_time = 5;
	cmr_ticks_set_source(made_up_clock, 9000000);
	CHECK_EQ_U64(cmr_ticks_now(), 0);
	cmr_ticks_set_source(made_up_clock, 10000000);
	CHECK_EQ_U64(cmr_ticks_now(), 5);
	cmr_ticks_set_source(made_up_clock, 0);
	CHECK_EQ_U64(cmr_ticks_now(), 0);
}
