/* What the tables and the walk of a stack cost, alone: `micro_core [ROUNDS]`.
 *
 * First the block table: nanoseconds of a put and take, and the ratio to a plain malloc and free of
 * the same order. Then walks of made-up frames, as ratios to a bare walk that reads every frame's
 * link and instruction and keeps nothing. Every round runs all; the smallest time of each counts. */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "os/random.h"
#include "os/thread.h"
#include "stack/chain.h"
#include "table/blocks.h"

#define PAIRS 100000u
#define LIVE 100000u
#define WALKS 20000u
#define MOST_FRAMES 1000

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void keep(const void *pointer)
{
	__asm__ volatile("" : : "g"(pointer) : "memory");
}

static void require(bool held)
{
	if (!held)
		abort();
}

/* --- blocks -------------------------------------------------------------------------------- */

static struct cmr_blocks blocks;
static void *live[LIVE];

/* The next place of `live` to free and fill again. */
static uint32_t place(uint32_t i, uint32_t n_live, bool random)
{
	return random ? (uint32_t)(cmr_mix(i) % n_live) : i % n_live;
}

static void pairs_plain(uint32_t n_live, bool random)
{
	for (uint32_t i = 0; i < PAIRS; i++) {
		uint32_t at = place(i, n_live, random);

		free(live[at]);
		live[at] = malloc(64);
		keep(live[at]);
	}
}

static void pairs_small(uint32_t n_live, bool random)
{
	for (uint32_t i = 0; i < PAIRS; i++) {
		uintptr_t address = (uintptr_t)live[place(i, n_live, random)];
		_Atomic uint16_t *granule = cmr_blocks_granule(&blocks, address);

		if (granule == NULL)
			continue;
		keep((void *)(uintptr_t)cmr_blocks_load(granule));
		cmr_blocks_store(granule, 0);
		cmr_blocks_store(granule, 1 << CMR_TAG_SHIFT | 64);
		keep(&blocks);
	}
}

static void pairs_of(const struct cmr_block *block, uint32_t n_live, bool random)
{
	struct cmr_block out;

	for (uint32_t i = 0; i < PAIRS; i++) {
		uintptr_t address = (uintptr_t)live[place(i, n_live, random)];

		cmr_blocks_take(&blocks, address, &out);
		cmr_blocks_put(&blocks, address, block);
		keep(&out);
	}
}

static void pairs_exact(uint32_t n_live, bool random)
{
	const struct cmr_block block = { 64, 64, 5, 1, true, true };

	pairs_of(&block, n_live, random);
}

static void pairs_hashed(uint32_t n_live, bool random)
{
	const struct cmr_block block = { .size = 4000, .tag = 1 };

	pairs_of(&block, n_live, random);
}

static const struct {
	const char *name;
	void (*run)(uint32_t n_live, bool random);
} pairs[] = { { "plain malloc and free", pairs_plain },
	      { "small", pairs_small },
	      { "small, exact", pairs_exact },
	      { "in the hash", pairs_hashed } };
#define N_PAIRS (sizeof pairs / sizeof *pairs)

static const struct {
	uint32_t n_live;
	bool random;
} orders[] = { { 1, false }, { 1000, false }, { LIVE, true } };
#define N_ORDERS (sizeof orders / sizeof *orders)

static void measure_blocks(int rounds)
{
	double best[N_PAIRS][N_ORDERS];
	struct cmr_error err;

	require(cmr_blocks_init(&blocks, &err) == CMR_OK);
	for (size_t p = 0; p < N_PAIRS; p++)
		for (size_t o = 0; o < N_ORDERS; o++)
			best[p][o] = 1e300;
	for (uint32_t i = 0; i < LIVE; i++)
		live[i] = malloc(64);
	for (int round = 0; round < rounds; round++)
		for (size_t p = 0; p < N_PAIRS; p++)
			for (size_t o = 0; o < N_ORDERS; o++) {
				double start = now(), taken;

				pairs[p].run(orders[o].n_live, orders[o].random);
				taken = (now() - start) / PAIRS;
				if (taken < best[p][o])
					best[p][o] = taken;
			}
	printf("ns per put and take (ratio to plain) %12s %16s %16s\n", "1 live", "1000 in turn",
	       "100000 random");
	for (size_t p = 0; p < N_PAIRS; p++) {
		printf("  %-32s", pairs[p].name);
		for (size_t o = 0; o < N_ORDERS; o++)
			printf("   %6.1f (%4.2f)", best[p][o], best[p][o] / best[0][o]);
		printf("\n");
	}
}

/* --- stacks -------------------------------------------------------------------------------- */

struct frame {
	uintptr_t code;
	struct frame *previous;
	uintptr_t other[5];
	uintptr_t instruction;
	uintptr_t owner;
	uintptr_t locals[9]; /* what a function of a few variables needs */
};

static struct frame frames[MOST_FRAMES + 2];
static struct frame *top;
static struct cmr_code code;
static struct cmr_thread thread;

static const void *top_frame(void)
{
	return top;
}

static const struct cmr_code *find_code(const void *object)
{
	(void)object;
	return &code;
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
};

static void push(int i)
{
	frames[i].code = 64;
	frames[i].instruction = code.bytecode + 2 * (uintptr_t)(i % 50);
	frames[i].previous = i > 0 ? &frames[i - 1] : NULL;
	top = &frames[i];
}

static void walk_bare(uint32_t i, int depth)
{
	uintptr_t sum = 0;

	(void)i;
	(void)depth;
	for (const struct frame *f = top_frame(); f != NULL; f = f->previous)
		sum += f->instruction;
	keep((const void *)sum);
}

static void walk_same(uint32_t i, int depth)
{
	(void)i;
	(void)depth;
	cmr_chain_walk(&thread);
}

/* The same function allocates on another line. */
static void walk_moved(uint32_t i, int depth)
{
	(void)depth;
	top->instruction = code.bytecode + 2 * (uintptr_t)(i % 16);
	cmr_chain_walk(&thread);
}

/* Two calls have returned, and two others run at their places. */
static void walk_other_calls(uint32_t i, int depth)
{
	frames[depth - 3].instruction = code.bytecode + 2 * (uintptr_t)(i % 8);
	frames[depth - 2].instruction = code.bytecode + 100 + 2 * (uintptr_t)(i % 4);
	cmr_chain_walk(&thread);
}

/* Goes from this depth to one frame and back. */
static void walk_up_and_down(uint32_t i, int depth)
{
	top = (i & 1) != 0 ? &frames[0] : &frames[depth - 1];
	cmr_chain_walk(&thread);
}

static const struct {
	const char *name;
	void (*run)(uint32_t i, int depth);
} walks[] = { { "bare walk", walk_bare },
	      { "nothing changed", walk_same },
	      { "top moved on", walk_moved },
	      { "two other calls", walk_other_calls },
	      { "all popped, all pushed (mean)", walk_up_and_down } };
#define N_WALKS (sizeof walks / sizeof *walks)

static const int depths[] = { 10, 50, 200, 400 };
#define N_DEPTHS (sizeof depths / sizeof *depths)

static double time_walk(size_t w, int depth)
{
	double start;

	for (int i = 0; i < depth; i++)
		push(i);
	cmr_chain_walk(&thread);
	start = now();
	for (uint32_t i = 0; i < WALKS; i++)
		walks[w].run(i, depth);
	return (now() - start) / WALKS;
}

static void measure_walks(int rounds)
{
	double best[N_WALKS][N_DEPTHS];
	struct cmr_error err;

	require(cmr_nodes_init(&err) == CMR_OK);
	cmr_provider = &provider;
	code = (struct cmr_code){ .number = 1, .bytecode = 4096, .n_units = 1000 };
	for (size_t w = 0; w < N_WALKS; w++)
		for (size_t d = 0; d < N_DEPTHS; d++)
			best[w][d] = 1e300;
	for (int round = 0; round < rounds; round++)
		for (size_t w = 0; w < N_WALKS; w++)
			for (size_t d = 0; d < N_DEPTHS; d++) {
				double taken = time_walk(w, depths[d]);

				if (taken < best[w][d])
					best[w][d] = taken;
			}
	printf("ns per walk (ratio to bare), frames ");
	for (size_t d = 0; d < N_DEPTHS; d++)
		printf(" %14d", depths[d]);
	printf("\n");
	for (size_t w = 0; w < N_WALKS; w++) {
		printf("  %-32s", walks[w].name);
		for (size_t d = 0; d < N_DEPTHS; d++)
			printf("   %5.0f (%4.2f)", best[w][d], best[w][d] / best[0][d]);
		printf("\n");
	}
}

int main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 20;

	measure_blocks(rounds);
	measure_walks(rounds);
	return 0;
}
