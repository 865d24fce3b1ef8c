#include "cmr_test.h"

#include <pthread.h>

#include "fake_stack.h"
#include "os/kinds.h"
#include "os/losses.h"
#include "os/memory.h"
#include "os/thread.h"

static struct cmr_thread *begin(void)
{
	REQUIRE(cmr_thread_init(NULL) == CMR_OK);
	REQUIRE(cmr_nodes_init(NULL) == CMR_OK);
	REQUIRE(cmr_locations_init(NULL) == CMR_OK);
	REQUIRE(cmr_locations_init(NULL) == CMR_OK); /* again: nothing to do */
	fake_stack_init();
	fake_stack_at(1);
	return cmr_thread_self();
}

CMR_TEST(reset_before_init_is_nothing)
{
	uint32_t before = atomic_load(&cmr_interning);

	cmr_locations_reset();
	CHECK_EQ_U64(atomic_load(&cmr_interning), before);
}

CMR_TEST(a_location_is_a_stack_and_an_allocator)
{
	uint32_t a, b;

	(void)begin();
	a = cmr_locations_add(7, CMR_KIND_MALLOC);
	b = cmr_locations_add(7, CMR_KIND_CALLOC);
	CHECK(a != 0 && b != 0 && a != b);
	CHECK_EQ_U64(cmr_locations_add(7, CMR_KIND_MALLOC), a);
	CHECK_EQ_U64(cmr_locations_get(b).node, 7);
	CHECK_EQ_U64(cmr_locations_get(b).kind, CMR_KIND_CALLOC);
	CHECK_EQ_U64(cmr_locations_get(cmr_locations_add(CMR_NODE_LOST, 6)).node, CMR_NODE_LOST);
	CHECK_EQ_U64(cmr_locations_count(), 3);
}

CMR_TEST(here_is_the_present_stack)
{
	struct cmr_thread *self = begin();
	uint32_t a = cmr_locations_here(self, CMR_KIND_MALLOC), b;

	CHECK(a != 0);
	CHECK_EQ_U64(fake_site_of(a), 1);
	CHECK_EQ_U64(cmr_locations_here(self, CMR_KIND_MALLOC), a);
	b = cmr_locations_here(self, CMR_KIND_MMAP);
	CHECK(b != a);
	CHECK_EQ_U64(cmr_locations_get(b).kind, CMR_KIND_MMAP);
	fake_stack_at(2);
	CHECK_EQ_U64(fake_site_of(cmr_locations_here(self, CMR_KIND_MMAP)), 2);
	fake_stack_at(1);
	CHECK_EQ_U64(cmr_locations_here(self, CMR_KIND_MALLOC), a);
}

CMR_TEST(after_a_reset_numbers_begin_anew)
{
	struct cmr_thread *self = begin();
	uint32_t interning = atomic_load(&cmr_interning), a;

	a = cmr_locations_here(self, CMR_KIND_MALLOC);
	CHECK(a != 0);
	cmr_locations_reset();
	CHECK(atomic_load(&cmr_interning) != interning);
	CHECK_EQ_U64(cmr_locations_count(), 0);
	CHECK_EQ_U64(cmr_nodes_count(), 0);
	/* The thread's own note of its last location is void. */
	fake_stack_at(5);
	a = cmr_locations_here(self, CMR_KIND_MALLOC);
	CHECK_EQ_U64(a, 1);
	CHECK_EQ_U64(fake_site_of(a), 5);
	cmr_locations_after_fork();
	CHECK_EQ_U64(cmr_locations_here(self, CMR_KIND_MALLOC), 1);
}

static void *locate_once(void *unused)
{
	(void)unused;
	fake_stack_at(3);
	return (void *)(uintptr_t)cmr_locations_here(cmr_thread_self(), CMR_KIND_MALLOC);
}

CMR_TEST(threads_leave_no_memory_behind)
{
	size_t before = 0;

	(void)begin();
	for (int i = 0; i < 20; i++) {
		pthread_t thread;
		void *location;

		REQUIRE(pthread_create(&thread, NULL, locate_once, NULL) == 0);
		REQUIRE(pthread_join(thread, &location) == 0);
		CHECK_EQ_U64(fake_site_of((uint32_t)(uintptr_t)location), 3);
		if (i == 0)
			before = cmr_memory_mapped();
	}
	CHECK_EQ_U64(cmr_memory_mapped(), before);
}

/* Several allocators at one place, in turn. */
CMR_TEST(allocators_take_turns_at_one_place)
{
	static const enum cmr_kind kinds[] = { CMR_KIND_MALLOC, CMR_KIND_CALLOC, CMR_KIND_REALLOC,
					       CMR_KIND_MMAP, CMR_KIND_MREMAP };
	struct cmr_thread *self = begin();
	uint32_t before = cmr_locations_count();

	for (unsigned i = 0; i < 100; i++) {
		enum cmr_kind kind = kinds[i * i % 5];
		struct cmr_location known;

		fake_stack_at(7 + i % 3);
		known = cmr_locations_get(cmr_locations_here(self, kind));
		CHECK_EQ_U64(known.kind, kind);
		CHECK_EQ_I64(cmr_nodes_get(known.node).offset, 7 + i % 3);
	}
	CHECK(cmr_locations_count() <= before + 15);
}

/* Two threads, each from the other end: the same numbers, dense, each with its own key. */
#define N_NODES 100000u
static uint32_t numbers_of[2][N_NODES][2];

static void *add_all(void *argument)
{
	unsigned me = *(unsigned *)argument;

	for (uint32_t i = 0; i < N_NODES; i++) {
		uint32_t node = me == 0 ? i : N_NODES - 1 - i;

		for (unsigned k = 0; k < 2; k++) {
			uint32_t kind = (me ^ k) != 0 ? CMR_KIND_CALLOC : CMR_KIND_MALLOC;

			numbers_of[me][node][me ^ k] = cmr_locations_add(node, kind);
		}
	}
	return NULL;
}

CMR_TEST(threads_agree_on_the_numbers_of_many)
{
	unsigned me[2] = { 0, 1 };
	pthread_t threads[2];

	(void)begin();
	cmr_locations_reset();
	for (unsigned i = 0; i < 2; i++)
		REQUIRE(pthread_create(&threads[i], NULL, add_all, &me[i]) == 0);
	for (unsigned i = 0; i < 2; i++)
		REQUIRE(pthread_join(threads[i], NULL) == 0);
	CHECK_EQ_U64(cmr_locations_count(), 2 * N_NODES);
	for (uint32_t node = 0; node < N_NODES; node++)
		for (unsigned k = 0; k < 2; k++) {
			struct cmr_location known;

			REQUIRE(numbers_of[0][node][k] != 0);
			CHECK_EQ_U64(numbers_of[1][node][k], numbers_of[0][node][k]);
			known = cmr_locations_get(numbers_of[0][node][k]);
			CHECK_EQ_U64(known.node, node);
			CHECK_EQ_U64(known.kind, k != 0 ? CMR_KIND_CALLOC : CMR_KIND_MALLOC);
		}
	cmr_locations_reset();
	CHECK_EQ_U64(cmr_locations_count(), 0);
	CHECK_EQ_U64(cmr_locations_add(N_NODES - 1, CMR_KIND_MALLOC), 1);
}

static bool refuse(size_t bytes)
{
	(void)bytes;
	return false;
}

CMR_TEST(refused_memory_loses_a_location)
{
	struct cmr_losses before, after;

	(void)begin();
	cmr_locations_reset();
	cmr_losses_read(&before);
	cmr_memory_set_gatekeeper(refuse);
	CHECK_EQ_U64(cmr_locations_add(5000000, CMR_KIND_MALLOC), 0);
	cmr_memory_set_gatekeeper(NULL);
	cmr_losses_read(&after);
	CHECK_EQ_U64(after.stacks - before.stacks, 1);
	CHECK_EQ_U64(cmr_locations_add(5000000, CMR_KIND_MALLOC), 1);
	CHECK_EQ_U64(cmr_locations_add(CMR_MOST_NODES + 1, CMR_KIND_MALLOC), 0);
}

CMR_TEST(without_python_code_there_is_a_location_too)
{
	struct cmr_thread *self = begin();
	uint32_t a, b;

	fake_running = false;
	a = cmr_locations_here(self, CMR_KIND_MALLOC);
	b = cmr_locations_here(self, CMR_KIND_MMAP);
	CHECK(a != 0 && b != 0 && a != b);
	CHECK_EQ_U64(cmr_locations_get(a).node, 0);
	CHECK_EQ_U64(cmr_locations_get(b).kind, CMR_KIND_MMAP);
	CHECK_EQ_U64(cmr_locations_here(self, CMR_KIND_MMAP), b);
	fake_stack_at(1);
	CHECK_EQ_U64(fake_site_of(cmr_locations_here(self, CMR_KIND_MMAP)), 1);
	cmr_locations_reset();
	fake_running = false;
	CHECK_EQ_U64(cmr_locations_here(self, CMR_KIND_MMAP), 1);
	CHECK_EQ_U64(cmr_locations_get(1).node, 0);
}
