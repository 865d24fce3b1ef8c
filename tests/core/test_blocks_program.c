/* The block table against a naive model, and in many threads. */
#include "cmr_test.h"

#include <pthread.h>

#include "blocks_rig.h"
#include "os/memory.h"
#include "os/random.h"

/* --- a random program against a naive model --- */

#define N_ADDRESSES 5000

static struct {
	struct cmr_block block;
	bool there;
} model[N_ADDRESSES];

static uintptr_t address_of(unsigned i)
{
	switch (i % 8) {
	case 0:
		return BASE + 8 + 16 * (uintptr_t)i; /* unaligned */
	case 1:
		return HIGH + 16 * (uintptr_t)i;
	case 2:
		return BASE + LEAF + 4096 * (uintptr_t)i;
	default:
		return BASE + 256 * (uintptr_t)i; /* room for the granules of a wide entry */
	}
}

static struct cmr_block random_block(uint64_t *random)
{
	uint64_t r = cmr_random_next(random);
	uint64_t size = (r >> 8) % ((r & 1) != 0 ? 600 : 1000000);
	unsigned tag = 1 + (unsigned)(r >> 40) % 62;
	uint32_t location = 1 + (uint32_t)(r >> 20) % 100000;

	switch ((r >> 1) % 3) {
	case 0:
		return plain(size, tag);
	case 1:
		return exact(size, tag, location);
	default:
		return sampled(size, tag, location, size + 1 + (r >> 12) % 1000);
	}
}

static void check_model(struct cmr_blocks *blocks, unsigned i)
{
	struct cmr_block out;
	bool there = cmr_blocks_take(blocks, address_of(i), &out);

	CHECK_EQ_U64(there, model[i].there);
	if (there && model[i].there)
		CHECK(same(&out, &model[i].block));
	model[i].there = false;
}

static void random_retag(struct cmr_blocks *blocks, uint64_t *random)
{
	uint8_t map[CMR_N_TAGS] = { 0 };

	/* As regions ask for it: some tags stay, some become one that stays, some go. */
	for (unsigned t = 1; t < CMR_N_TAGS; t++) {
		uint64_t r = cmr_random_next(random);

		if (t == 1 || r % 4 < 2)
			map[t] = (uint8_t)t;
		else if (r % 4 == 2)
			map[t] = map[1 + (r >> 8) % t]; /* one below, or where that one goes */
	}
	cmr_blocks_retag(blocks, map);
	for (unsigned i = 0; i < N_ADDRESSES; i++) {
		model[i].block.tag = map[model[i].block.tag];
		model[i].there = model[i].there && model[i].block.tag != 0;
	}
}

CMR_TEST(a_random_program_does_as_the_model)
{
	struct cmr_blocks *blocks = fresh();
	uint64_t random = 42;

	memset(model, 0, sizeof model);
	for (unsigned step = 0; step < 400000; step++) {
		uint64_t r = cmr_random_next(&random);
		unsigned i = (unsigned)(r >> 16) % N_ADDRESSES;

		if (r % 100 < 55) {
			model[i].block = random_block(&random);
			model[i].there = true;
			CHECK(cmr_blocks_put(blocks, address_of(i), &model[i].block));
		} else {
			check_model(blocks, i);
		}
		if (step % 100000 == 99999) {
			cmr_blocks_reset(blocks);
			memset(model, 0, sizeof model);
		} else if (step % 20000 == 19999) {
			random_retag(blocks, &random);
		}
	}
	random_retag(blocks, &random);
	for (unsigned i = 0; i < N_ADDRESSES; i++)
		check_model(blocks, i);
	CHECK_EQ_U64(hash_entries(blocks), 0);
}

/* --- threads --- */

#define N_THREADS 4
#define OWN 3000

static struct cmr_blocks *shared;
static atomic_uint ready;

static struct cmr_block block_number(unsigned i, unsigned tag)
{
	switch (i % 4) {
	case 0:
		return plain(i % 500, tag);
	case 1:
		return exact(i % 500, tag, i + 1);
	case 2:
		return plain(1000 + i, tag);
	default:
		return sampled(i % 500, tag, i + 1, 5000);
	}
}

/* Every thread has its own granules, next to those of the others and in the same new leaves. */
static void *own_granules(void *argument)
{
	unsigned me = *(unsigned *)argument;
	struct cmr_block out;

	atomic_fetch_add(&ready, 1);
	while (atomic_load(&ready) < N_THREADS)
		;
	for (unsigned leaf = 0; leaf < 8; leaf++)
		for (unsigned i = 0; i < OWN; i++) {
			uintptr_t at = BASE + leaf * LEAF + 256 * (i * N_THREADS + me);
			struct cmr_block block = block_number(i, 1 + me);

			CHECK(cmr_blocks_put(shared, at, &block));
			if (i % 3 == 0)
				CHECK(cmr_blocks_take(shared, at, &out) && same(&out, &block));
		}
	return NULL;
}

static void run_threads(void *(*body)(void *))
{
	pthread_t threads[N_THREADS];
	unsigned numbers[N_THREADS];

	atomic_store(&ready, 0);
	for (unsigned i = 0; i < N_THREADS; i++) {
		numbers[i] = i;
		REQUIRE(pthread_create(&threads[i], NULL, body, &numbers[i]) == 0);
	}
	for (unsigned i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
}

CMR_TEST(threads_have_their_own_granules)
{
	struct cmr_block out, expected;
	size_t entries, leaves, empty;

	shared = fresh();
	empty = cmr_memory_mapped();
	run_threads(own_granules);
	cmr_blocks_measure(shared, &entries, &leaves);
	CHECK(leaves >= 8 * (size_t)(8 + 16) << 20);
	/* Freed by another thread than the one that allocated. */
	for (unsigned leaf = 0; leaf < 8; leaf++)
		for (unsigned i = 0; i < OWN * N_THREADS; i++) {
			uintptr_t at = BASE + leaf * LEAF + 256 * i;
			bool there = cmr_blocks_take(shared, at, &out);

			CHECK_EQ_U64(there, i / N_THREADS % 3 != 0);
			expected = block_number(i / N_THREADS, 1 + i % N_THREADS);
			if (there)
				CHECK(same(&out, &expected));
		}
	CHECK_EQ_U64(hash_entries(shared), 0);
	cmr_blocks_reset(shared);
	/* Leaves that two threads made at once are there once. */
	CHECK_EQ_U64(cmr_memory_mapped() - empty, leaves);
	for (unsigned leaf = 0; leaf < 8; leaf++)
		CHECK_EQ_U64(entry_at(shared, BASE + leaf * LEAF), 0);
}

/* Puts and takes of tags that stay, while another thread retags. */
static void *churn(void *argument)
{
	unsigned me = *(unsigned *)argument;
	struct cmr_block out;

	if (me == 0) {
		uint8_t map[CMR_N_TAGS] = { 0 };

		for (unsigned t = 1; t < 32; t++)
			map[t] = (uint8_t)t;
		for (unsigned t = 32; t < CMR_N_TAGS; t++)
			map[t] = 1; /* 32..62 become 1 */
		for (int round = 0; round < 3; round++)
			cmr_blocks_retag(shared, map);
		return NULL;
	}
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < OWN; i++) {
			struct cmr_block block = block_number(i, 1 + me);

			CHECK(cmr_blocks_put(shared, BASE + 256 * (i * N_THREADS + me), &block));
		}
		for (unsigned i = 0; i < OWN; i++) {
			struct cmr_block block = block_number(i, 1 + me);

			CHECK(cmr_blocks_take(shared, BASE + 256 * (i * N_THREADS + me), &out) &&
			      same(&out, &block));
		}
	}
	return NULL;
}

CMR_TEST(retagging_goes_on_beside_other_tags)
{
	struct cmr_block out, block;

	shared = fresh();
	for (unsigned i = 0; i < OWN; i++) {
		block = block_number(i, 40);
		CHECK(cmr_blocks_put(shared, BASE + 256 * i * N_THREADS, &block));
	}
	run_threads(churn);
	for (unsigned i = 0; i < OWN; i++) {
		block = block_number(i, 1);
		CHECK(cmr_blocks_take(shared, BASE + 256 * i * N_THREADS, &out) &&
		      same(&out, &block));
	}
	CHECK_EQ_U64(hash_entries(shared), 0);
}
