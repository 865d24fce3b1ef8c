#include "os/ticks.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define NS_OF_S 1000000000u
#define SLOWEST_HZ 10000000u
/* Of one reading: counters answer within 10 to 40, one that traps takes a microsecond. */
#define MOST_NS_OF_READING 100u
#define READINGS ((uint64_t)16)
#define CALIBRATION_NS 50000u
#define ATTEMPTS 4

struct cmr_ticks cmr_ticks;

static bool initialised;

static void set_rate(uint64_t ticks, uint64_t ns)
{
	/* One per cent for a clock of the system that is slewed. */
	uint64_t scale = (uint64_t)((double)ns / (double)ticks * 1.01 * 4294967296.0) + 1;

	cmr_ticks.scale = scale <= ((uint64_t)NS_OF_S << 32) / SLOWEST_HZ * 102 / 100 ? scale : 0;
}

void cmr_ticks_set_source(uint64_t (*source)(void), uint64_t hz)
{
	cmr_ticks = (struct cmr_ticks){ .source = source };
	initialised = source != NULL;
	if (hz != 0)
		set_rate(hz, NS_OF_S);
}

#if defined(__x86_64__) || defined(__aarch64__)
static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_OF_S + (uint64_t)now.tv_nsec;
}

static bool reading_is_cheap(void)
{
	uint64_t least = UINT64_MAX;

	/* The best of some rounds: any of them may have been interrupted. */
	for (unsigned round = 0; round < 8; round++) {
		uint64_t start = now_ns(), taken;

		for (uint64_t i = 0; i < READINGS; i++)
			(void)cmr_ticks_counter();
		taken = now_ns() - start;
		least = taken < least ? taken : least;
	}
	return least <= READINGS * MOST_NS_OF_READING;
}
#endif

#if defined(__x86_64__)
/* The kernel watches the counters of all processors and takes another clock when they disagree.
 * Where it does not say (no /sys), the processor's word counts alone. */
static bool kernel_trusts_counter(void)
{
	static const char *const others[] = { "hpet", "acpi_pm", "jiffies", "refined-jiffies" };
	char name[32];
	ssize_t n;
	int file = open("/sys/devices/system/clocksource/clocksource0/current_clocksource",
			O_RDONLY | O_CLOEXEC);

	if (file < 0)
		return true;
	n = read(file, name, sizeof name - 1);
	close(file);
	if (n <= 0)
		return true;
	name[n] = '\0';
	name[strcspn(name, "\n")] = '\0';
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (strcmp(name, others[i]) == 0)
			return false;
	return true;
}

static bool counter_is_steady(void)
{
	unsigned a, b, c, d = 0;
	int allowed = 0;

	/* A process may have given the reading up for a signal; clock_gettime would crash there,
	 * too. */
	if (prctl(PR_GET_TSC, &allowed) == 0 && allowed != PR_TSC_ENABLE)
		return false;
	return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d & 1u << 8) != 0 &&
	       kernel_trusts_counter();
}

/* The rate is published nowhere that all machines have: measured. Bounded from above, since the
 * reading of the system's clock before the first tick and that after the last enclose both. Each
 * attempt says at least as many ns for a tick as there are, more when it was interrupted: the
 * least of them is as right as any. */
static void calibrate(void)
{
	uint64_t ticks = 0, ns = 1;

	for (unsigned attempt = 0; attempt < ATTEMPTS; attempt++) {
		uint64_t start = now_ns(), from = cmr_ticks_counter(), to, end;

		do {
			to = cmr_ticks_counter();
			end = now_ns();
		} while (end - start < CALIBRATION_NS / ATTEMPTS);
		/* Nothing ticks faster than 20 GHz; what does is no clock. */
		if (to > from && to - from < (end - start) * 20 &&
		    (to - from) * ns > ticks * (end - start)) {
			ticks = to - from;
			ns = end - start;
		}
	}
	if (ticks != 0)
		set_rate(ticks, ns);
}
#elif defined(__aarch64__)
/* Counters that err are trapped by the kernel, and then slow. */
static bool counter_is_steady(void)
{
	return true;
}

static void calibrate(void)
{
	uint64_t hz;

	__asm__ volatile("mrs %0, cntfrq_el0" : "=r"(hz));
	if (hz != 0 && hz < (uint64_t)20 * NS_OF_S)
		set_rate(hz, NS_OF_S);
}
#endif

void cmr_ticks_init(void)
{
	if (initialised)
		return;
	initialised = true;
#if defined(__x86_64__) || defined(__aarch64__)
	if (counter_is_steady() && reading_is_cheap())
		calibrate();
#endif
}
