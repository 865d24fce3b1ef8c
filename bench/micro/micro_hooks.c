/* What the hooks cost, without an interpreter: `micro_hooks [ROUNDS]`.
 *
 * Per loop: nanoseconds of a plain turn, and ratios to it (and differences) with the slots patched and
 * the gate closed, and while a region is open in several ways. Every round runs all of them in turn;
 * the smallest time of each counts. Then what patching costs, with 200 more objects loaded. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "loops.h"
#include "session/session.h"

#define N_OBJECTS 200
#define N_TIMES 1000

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time); /* other programs run too */
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static struct cmr_region *start(enum cmr_basis basis, bool exact)
{
	struct cmr_region_options options = { .basis = basis,
					      .exact = exact,
					      .max_period = exact ? 1 : 65536 };
	struct cmr_region *region = cmr_region_new(&options);
	struct cmr_error error = { .text = "no memory" };

	if (region == NULL || cmr_session_start(region, &error) != CMR_OK) {
		fprintf(stderr, "micro_hooks: %s\n", error.text);
		exit(1);
	}
	return region;
}

static void end(struct cmr_region *region)
{
	cmr_session_stop(region);
	cmr_region_free(region);
}

/* SAMPLED has a small heap, of which nearly every block is located; LARGE_HEAP holds a block of
 * 256 MiB, so that one byte in 64 KiB is. */
enum way { PLAIN, GATE_CLOSED, LARGE_HEAP, SAMPLED, EXACT, BOTH, N_WAYS };

static const char *const way_names[N_WAYS] = { "plain", "closed", "large heap", "sampled", "exact",
					       "both bases" };

struct task {
	const char *name;
	size_t n, bytes;
	size_t run; /* offset in struct loops */
};

static double time_of(const struct loops *loops, const struct task *task)
{
	void (*run)(size_t, size_t);
	double begin;

	memcpy(&run, (const char *)loops + task->run, sizeof run);
	begin = now();
	run(task->n, task->bytes);
	return (now() - begin) / (double)task->n;
}

static double time_way(enum way way, const struct loops *hooked, const struct task *task)
{
	struct cmr_region *first = NULL, *second = NULL;
	void *ballast = NULL;
	double time;

	if (way == PLAIN)
		return time_of(loops(), task);
	if (way != GATE_CLOSED)
		first = start(CMR_BASIS_REQUESTED, way == EXACT);
	if (way == BOTH)
		second = start(CMR_BASIS_SYSTEM, true);
	if (way == LARGE_HEAP)
		ballast = hooked->get(256 << 20);
	time = time_of(hooked, task);
	hooked->put(ballast);
	if (second != NULL)
		end(second);
	if (first != NULL)
		end(first);
	return time;
}

static void compare(const struct loops *hooked, const struct task *task, int rounds)
{
	double best[N_WAYS];

	for (int way = 0; way < N_WAYS; way++)
		best[way] = 1e99;
	for (int round = 0; round < rounds; round++)
		for (int way = 0; way < N_WAYS; way++) {
			double time = time_way((enum way)way, hooked, task);

			best[way] = time < best[way] ? time : best[way];
		}
	printf("%-8s %4zu B  plain %5.1f ns", task->name, task->bytes, best[PLAIN]);
	for (int way = 1; way < N_WAYS; way++)
		printf("  %s %.2f (%+.1f)", way_names[way], best[way] / best[PLAIN],
		       best[way] - best[PLAIN]);
	printf("\n");
}

/* --- patching ----------------------------------------------------------------------------------- */

static void copy_file(const char *from, const char *to)
{
	char buffer[65536];
	ssize_t n;
	int in = open(from, O_RDONLY), out = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0700);

	while (in >= 0 && out >= 0 && (n = read(in, buffer, sizeof buffer)) > 0)
		if (write(out, buffer, (size_t)n) != n)
			break;
	close(in);
	close(out);
}

static void refresh(struct cmr_hook_report *report)
{
	struct cmr_error error;

	if (cmr_hooks_refresh(report, &error) != CMR_OK)
		exit(1);
}

static double time_refresh(struct cmr_hook_report *report)
{
	double begin = now();

	refresh(report);
	return now() - begin;
}

static void patching(double first, const struct cmr_hook_report *at_first)
{
	char folder[] = "/tmp/micro_hooks.XXXXXX", path[64];
	struct cmr_hook_report report;
	double best = 1e99;

	printf("patch      first time, %zu objects: %.0f us, %zu slots\n", at_first->objects,
	       first / 1e3, at_first->slots);
	if (mkdtemp(folder) == NULL)
		return;
	for (int i = 0; i < N_OBJECTS; i++) {
		snprintf(path, sizeof path, "%s/%d.so", folder, i);
		copy_file(MICRO_LOOPS, path);
		if (dlopen(path, RTLD_NOW) == NULL)
			printf("%s\n", dlerror());
		unlink(path);
	}
	rmdir(folder);
	first = time_refresh(&report);
	printf("patch      %d more objects, %zu in all: %.0f us, %zu slots\n", N_OBJECTS,
	       report.objects, first / 1e3, report.slots);
	for (int round = 0; round < 20; round++) {
		double begin = now(), time;

		for (int i = 0; i < N_TIMES; i++)
			refresh(NULL);
		time = (now() - begin) / N_TIMES;
		best = time < best ? time : best;
	}
	printf("refresh    nothing new: %.0f ns\n", best);
	best = 1e99;
	for (int round = 0; round < 20; round++) {
		double begin = now(), time;

		for (int i = 0; i < N_TIMES; i++)
			end(start(CMR_BASIS_REQUESTED, false));
		time = (now() - begin) / N_TIMES;
		best = time < best ? time : best;
	}
	printf("region     start and stop: %.1f us\n", best / 1e3);
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 40;
	void *library = dlopen(MICRO_LOOPS, RTLD_NOW);
	static const struct task tasks[] = {
		{ "pairs", 200000, 64, offsetof(struct loops, pairs) },
		{ "pairs", 100000, 2000, offsetof(struct loops, pairs) },
		{ "queue", 200000, 100, offsetof(struct loops, queue) },
		{ "random", 300000, 100, offsetof(struct loops, random) },
		{ "resizes", 100000, 100, offsetof(struct loops, resizes) },
	};
	const struct loops *hooked;
	struct cmr_hook_report report;
	loops_function function;
	double first;
	void *symbol;

	if (library == NULL || (symbol = dlsym(library, "loops")) == NULL) {
		fprintf(stderr, "micro_hooks: %s\n", dlerror());
		return 1;
	}
	memcpy(&function, &symbol, sizeof symbol);
	hooked = function();
	first = time_refresh(&report);
	for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
		compare(hooked, &tasks[i], rounds);
	patching(first, &report);
	return 0;
}
