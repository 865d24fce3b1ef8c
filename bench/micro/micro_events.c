/* Events one kind after the other, for counting instructions: run by `make instructions` under callgrind.
 *
 * A call of getpriority() marks the end of a stretch (the counter dumps there), and a line on stdout
 * says what the stretch was: "NAME<tab>TURNS", or "-" for one that does not count. Every kind of event
 * runs N and 2 N turns, so that their difference has nothing but N turns in it.
 *
 * "plain" turns call from the program itself, whose slots are never patched; all others from a library
 * with the same code. Stacks are made-up frames. */
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "loops.h"
#include "os/thread.h"
#include "session/session.h"
#include "stack/chain.h"
#include "stack/provider.h"

#define MOST_FRAMES 400
#define FEW_FRAMES 10

static void mark(const char *name, size_t turns)
{
	(void)getpriority(PRIO_PROCESS, 0);
	if (turns != 0)
		printf("%s\t%zu\n", name, turns);
	else
		printf("-\n");
}

static void give_up(const char *why)
{
	fprintf(stderr, "micro_events: %s\n", why);
	exit(1);
}

/* --- stacks ------------------------------------------------------------------------------------- */

struct frame {
	uintptr_t code;
	struct frame *previous;
	uintptr_t other[5];
	uintptr_t instruction;
	uintptr_t owner;
	uintptr_t locals[9]; /* what a function of a few variables needs */
};

static struct frame frames[MOST_FRAMES];
static struct frame *top;
static struct cmr_code code = { .number = 1, .bytecode = 4096, .n_units = 1000 };

static const void *top_frame(void)
{
	return top;
}

static const struct cmr_code *find_code(const void *object)
{
	(void)object;
	return &code;
}

static void forget(void)
{
}

static const struct cmr_provider provider = {
	.layout = { .previous = offsetof(struct frame, previous),
		    .code = offsetof(struct frame, code),
		    .instruction = offsetof(struct frame, instruction),
		    .owner = offsetof(struct frame, owner),
		    .code_mask = UINTPTR_MAX,
		    .skip_owner = 3 },
	.top_frame = top_frame,
	.find_code = find_code,
	.forget = forget,
};

static void stand_at(int depth)
{
	for (int i = 0; i < depth; i++) {
		frames[i].code = 64;
		frames[i].instruction = code.bytecode + 2 * (uintptr_t)(i % 50);
		frames[i].previous = i > 0 ? &frames[i - 1] : NULL;
	}
	top = depth > 0 ? &frames[depth - 1] : NULL;
}

enum motion { STILL, LINES, CALLS };

/* What the program does between two events: nothing, another line of the same function, or three calls
 * that returned and were made anew. */
static void move(enum motion motion, size_t i, int depth)
{
	if (motion != STILL)
		top->instruction = code.bytecode + 200 + 2 * (uintptr_t)(i % 16);
	if (motion == CALLS) {
		frames[depth - 3].instruction = code.bytecode + 2 * (uintptr_t)(i % 8);
		frames[depth - 2].instruction = code.bytecode + 100 + 2 * (uintptr_t)(i % 4);
	}
}

/* --- measuring ---------------------------------------------------------------------------------- */

/* UNSAMPLED holds a block of 256 MiB, so that one byte in 64 KiB is sampled; SAMPLED samples every
 * block; WEIGHTED one byte in 256, as under a limit of 64 KiB, so that samples stand for others. */
enum way { PLAIN, CLOSED, UNSAMPLED, SAMPLED, WEIGHTED, EXACT, SYSTEM, N_WAYS };

static const char *const way_names[N_WAYS] = { "plain",    "closed", "unsampled", "sampled",
					       "weighted", "exact",  "system" };

static struct cmr_region *start(enum way way)
{
	struct cmr_region_options options = {
		.basis = way == SYSTEM ? CMR_BASIS_SYSTEM : CMR_BASIS_REQUESTED,
		.exact = way == EXACT || way == SYSTEM,
		.max_period = way == UNSAMPLED ? 65536 : way == WEIGHTED ? 32 : 1,
		.first_period = way == WEIGHTED ? 32 : 1,
	};
	struct cmr_region *region = cmr_region_new(&options);
	struct cmr_error error = { .text = "no memory" };

	if (region == NULL || cmr_session_start(region, &error) != CMR_OK)
		give_up(error.text);
	return region;
}

static void end(struct cmr_region *region)
{
	cmr_session_stop(region);
	cmr_region_free(region);
}

/* --- events ------------------------------------------------------------------------------------- */

struct event {
	const char *name;
	size_t turns, bytes;
	size_t run;    /* offset in struct loops, when motion is STILL */
	unsigned ways; /* bit for each */
	int depth;
	enum motion motion;
};

#define BIT(way) (1u << (way))
#define EVERY_WAY (BIT(N_WAYS) - 1)
#define DEEP_WAYS (BIT(PLAIN) | BIT(SAMPLED) | BIT(EXACT))
#define LOOP(f) offsetof(struct loops, f)

static const struct event events[] = {
	{ "malloc+free 64 B", 4000, 64, LOOP(pairs), EVERY_WAY, FEW_FRAMES, STILL },
	{ "malloc+free 2000 B", 4000, 2000, LOOP(pairs), EVERY_WAY, FEW_FRAMES, STILL },
	{ "malloc+realloc+free 100 B", 2000, 100, LOOP(resizes), EVERY_WAY, FEW_FRAMES, STILL },
	{ "mmap+munmap 1 MiB", 500, 1 << 20, LOOP(maps), EVERY_WAY, FEW_FRAMES, STILL },
	{ "malloc+free 64 B, other lines, 5 frames", 1000, 64, 0, DEEP_WAYS, 5, LINES },
	{ "malloc+free 64 B, other lines, 50 frames", 1000, 64, 0, DEEP_WAYS, 50, LINES },
	{ "malloc+free 64 B, other lines, 200 frames", 1000, 64, 0, DEEP_WAYS, 200, LINES },
	{ "malloc+free 64 B, other lines, 400 frames", 1000, 64, 0, DEEP_WAYS, 400, LINES },
	{ "malloc+free 64 B, other calls, 400 frames", 1000, 64, 0, DEEP_WAYS, 400, CALLS },
};

static void run(const struct loops *loops, const struct event *event, size_t turns)
{
	void (*loop)(size_t, size_t);

	if (event->motion == STILL) {
		memcpy(&loop, (const char *)loops + event->run, sizeof loop);
		loop(turns, event->bytes);
		return;
	}
	for (size_t i = 0; i < turns; i++) {
		move(event->motion, i, event->depth);
		loops->put(loops->get(event->bytes));
	}
}

static void count(const struct loops *hooked, const struct event *event, enum way way)
{
	const struct loops *used = way == PLAIN ? loops() : hooked;
	struct cmr_region *region = NULL;
	void *ballast = NULL;
	char name[128];

	snprintf(name, sizeof name, "%s: %s", event->name, way_names[way]);
	stand_at(event->depth);
	if (way > CLOSED)
		region = start(way);
	if (way == UNSAMPLED)
		ballast = hooked->get(256 << 20);
	/* Of one period so many samples are taken, then it grows to what it remains at. */
	for (int i = 0; way == WEIGHTED && i < 16; i++)
		run(used, event, 1000);
	run(used, event, event->turns);
	mark("", 0);
	run(used, event, event->turns);
	mark(name, event->turns);
	run(used, event, 2 * event->turns);
	mark(name, 2 * event->turns);
	hooked->put(ballast);
	if (region != NULL)
		end(region);
	top = NULL;
}

/* --- walks and regions -------------------------------------------------------------------------- */

static void walk(enum motion motion, int depth, size_t turns)
{
	static struct cmr_thread thread;

	for (size_t i = 0; i < turns; i++) {
		move(motion, i, depth);
		cmr_chain_walk(&thread);
	}
}

static void count_walks(void)
{
	static const char *const names[] = { "nothing changed", "other lines", "other calls" };
	static const int depths[] = { 5, 50, 200, 400 };
	char name[128];

	for (size_t d = 0; d < sizeof depths / sizeof *depths; d++)
		for (int motion = STILL; motion <= CALLS; motion++) {
			snprintf(name, sizeof name, "walk of %d frames, %s", depths[d],
				 names[motion]);
			stand_at(depths[d]);
			walk((enum motion)motion, depths[d], 1000);
			mark("", 0);
			walk((enum motion)motion, depths[d], 1000);
			mark(name, 1000);
			walk((enum motion)motion, depths[d], 2000);
			mark(name, 2000);
		}
	top = NULL;
}

static void start_and_stop(size_t turns)
{
	for (size_t i = 0; i < turns; i++)
		end(start(UNSAMPLED));
}

static void count_regions(void)
{
	start_and_stop(100);
	mark("", 0);
	start_and_stop(100);
	mark("start+stop of a region", 100);
	start_and_stop(200);
	mark("start+stop of a region", 200);
}

int main(void)
{
	void *library = dlopen(MICRO_LOOPS, RTLD_NOW);
	void *symbol = library != NULL ? dlsym(library, "loops") : NULL;
	struct cmr_error error;
	loops_function function;

	if (symbol == NULL)
		give_up(dlerror());
	memcpy(&function, &symbol, sizeof symbol);
	cmr_provider = &provider;
	if (cmr_nodes_init(&error) != CMR_OK)
		give_up(error.text);
	end(start(EXACT)); /* patches the slots */
	for (size_t i = 0; i < sizeof events / sizeof *events; i++)
		for (int way = 0; way < N_WAYS; way++)
			if ((events[i].ways & BIT(way)) != 0)
				count(function(), &events[i], (enum way)way);
	count_walks();
	count_regions();
	return 0;
}
