/* See loops.h. */
#include "loops.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#define N_QUEUE 1000
#define N_RANDOM 100000

static void pairs(size_t n, size_t bytes)
{
	for (size_t i = 0; i < n; i++)
		free(malloc(bytes));
}

static void queue(size_t n, size_t bytes)
{
	static void *live[N_QUEUE];

	for (size_t i = 0; i < n; i++) {
		free(live[i % N_QUEUE]);
		live[i % N_QUEUE] = malloc(bytes);
	}
	for (size_t i = 0; i < N_QUEUE; i++) {
		free(live[i]);
		live[i] = NULL;
	}
}

static void random_order(size_t n, size_t bytes)
{
	static void *live[N_RANDOM];
	uint64_t state = 1;

	for (size_t i = 0; i < n; i++) {
		size_t at;

		state = state * 6364136223846793005u + 1442695040888963407u;
		at = (size_t)(state >> 33) % N_RANDOM;
		free(live[at]);
		live[at] = malloc(bytes);
	}
	for (size_t i = 0; i < N_RANDOM; i++) {
		free(live[i]);
		live[i] = NULL;
	}
}

static void resizes(size_t n, size_t bytes)
{
	for (size_t i = 0; i < n; i++)
		free(realloc(malloc(bytes), 2 * bytes));
}

static void maps(size_t n, size_t bytes)
{
	for (size_t i = 0; i < n; i++) {
		void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		if (memory != MAP_FAILED)
			munmap(memory, bytes);
	}
}

static void *get(size_t bytes)
{
	return malloc(bytes);
}

static void put(void *block)
{
	free(block);
}

const struct loops *loops(void)
{
	static const struct loops table = { pairs, queue, random_order, resizes, maps, get, put };

	return &table;
}
