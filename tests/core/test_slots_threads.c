/* Objects come and go in some threads while others allocate, and regions start and stop: nothing may
 * crash, hang, or be counted wrong. */
#include <pthread.h>
#include <time.h>

#include "hook_rig.h"

#define SECONDS 1
#define PATIENCE 240 /* seconds, where a second is not enough: on a loaded machine, under valgrind */
#define OFTEN 10

static const struct calls *caller;
static atomic_bool over;
static atomic_uint n_opened;

/* Opens FILE through a patched slot, enters it, closes it. */
static void *open_and_close(void *file)
{
	while (!atomic_load(&over)) {
		void *object = caller->dlopen(file, RTLD_NOW | RTLD_LOCAL);
		void *(*get)(void);
		void (*put)(void *);
		void *found, *block;

		if (!CHECK(object != NULL))
			break;
		found = caller->dlsym(object, "late_get");
		memcpy(&get, &found, sizeof get);
		found = caller->dlsym(object, "late_put");
		memcpy(&put, &found, sizeof put);
		block = get();
		CHECK(block != NULL);
		put(block);
		CHECK_EQ_I64(dlclose(object), 0);
		atomic_fetch_add(&n_opened, 1);
	}
	return NULL;
}

static void *allocate(void *unused)
{
	for (size_t size = 1; !atomic_load(&over); size = size % 5000 + 1) {
		void *block = caller->malloc(size);

		block = caller->realloc(block, size + 100);
		caller->free(block);
	}
	return unused;
}

/* Whether the threads have done all of it OFTEN and for SECONDS, or PATIENCE is over. */
static bool is_enough(const struct timespec *begin, unsigned n_regions)
{
	bool often = n_regions > OFTEN && atomic_load(&n_opened) > OFTEN;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec - begin->tv_sec > (often ? SECONDS : PATIENCE);
}

CMR_TEST(objects_come_and_go_while_regions_start_and_stop)
{
	static char late[] = FIXTURE("late"), twin[] = FIXTURE("twin");
	pthread_t threads[4];
	struct timespec begin;
	unsigned n_regions = 0;

	caller = rig_calls(FIXTURE("calls_now"));
	rig_end(rig_start(CMR_BASIS_REQUESTED)); /* the threads call patched slots from the start */
	clock_gettime(CLOCK_MONOTONIC, &begin);
	REQUIRE(pthread_create(&threads[0], NULL, open_and_close, late) == 0);
	REQUIRE(pthread_create(&threads[1], NULL, open_and_close, twin) == 0);
	REQUIRE(pthread_create(&threads[2], NULL, allocate, NULL) == 0);
	REQUIRE(pthread_create(&threads[3], NULL, allocate, NULL) == 0);
	while (!is_enough(&begin, n_regions)) {
		struct cmr_region *region = rig_start(CMR_BASIS_REQUESTED);
		struct cmr_totals totals;
		void *block = caller->malloc(1000);

		cmr_region_totals(region, &totals);
		CHECK(totals.total >= 1000);
		caller->free(block);
		rig_end(region);
		n_regions++;
	}
	atomic_store(&over, true);
	for (int i = 0; i < 4; i++)
		CHECK_EQ_I64(pthread_join(threads[i], NULL), 0);
	CHECK(n_regions > OFTEN);
	CHECK(atomic_load(&n_opened) > OFTEN);
}
