/* The kernel refuses memory to the tracker at the Nth request, for every N: nothing crashes, what was
 * booked is booked back, and no loss goes uncounted. Each N in a process of its own, so that every
 * table is made anew. */
#include "cmr_test.h"

#include <sys/mman.h>
#include <sys/wait.h>

#include "os/memory.h"
#include "region_rig.h"

enum { N_BLOCKS = 60, PAGE = 4096 };

static int allowed;

static bool allow_some(size_t bytes)
{
	(void)bytes;
	return allowed-- > 0;
}

/* Every third block is far from the others: on a leaf of its own. */
static uintptr_t address(unsigned i)
{
	return BASE + ((uintptr_t)i << (i % 3 == 0 ? CMR_LEAF_LOG2 : 10));
}

static void resize(unsigned i, size_t size)
{
	struct cmr_taken taken;

	cmr_on_resize_begin(OUTER, address(i), &taken);
	cmr_on_resize_failed(OUTER, address(i), &taken);
	cmr_on_resize_begin(OUTER, address(i), &taken);
	cmr_on_resize_done(OUTER, address(i), &taken, address(i), size, CMR_KIND_REALLOC);
}

static void play(void)
{
	struct cmr_range_taken taken;

	for (unsigned i = 0; i < N_BLOCKS; i++) {
		fake_stack_at(1 + i);
		cmr_on_alloc_hot(OUTER, address(i), 10 * i, CMR_KIND_MALLOC);
	}
	for (unsigned i = 0; i < N_BLOCKS; i += 2)
		resize(i, 20 * i);
	for (unsigned i = 0; i < N_BLOCKS; i++)
		cmr_on_map(OUTER, BASE + ((uintptr_t)i * 16 << 30), 3 * PAGE,
			   PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, CMR_KIND_MMAP);
	for (unsigned i = 0; i < N_BLOCKS; i++) {
		uintptr_t start = BASE + ((uintptr_t)i * 16 << 30);

		cmr_on_unmap(OUTER, start + PAGE, PAGE);
		cmr_on_remap_begin(OUTER, start, PAGE, &taken);
		cmr_on_remap_failed(OUTER, &taken);
	}
}

static void undo(void)
{
	for (unsigned i = 0; i < N_BLOCKS; i++) {
		cmr_on_free_hot(OUTER, address(i));
		cmr_on_unmap(OUTER, BASE + ((uintptr_t)i * 16 << 30), 3 * PAGE);
	}
}

static uint64_t losses_of(const struct cmr_region *region)
{
	struct cmr_losses losses = totals(region).losses;
	uint64_t sum = 0;

#define X(name) sum += losses.name;
	CMR_LOSS_LIST(X)
#undef X
	return sum;
}

/* How it went, as an exit status. */
enum { NO_REGION = 10, LOST, COMPLETE };

static int play_with(int n, bool from_the_start, bool exact)
{
	struct cmr_region_options options = { .exact = exact, .max_period = 64 };
	struct cmr_region *r = NULL;
	bool open = false, complete;

	allowed = from_the_start ? n : INT32_MAX;
	cmr_memory_set_gatekeeper(allow_some);
	fake_stack_init();
	if (cmr_thread_init(NULL) == CMR_OK && cmr_nodes_init(NULL) == CMR_OK &&
	    cmr_locations_init(NULL) == CMR_OK) {
		r = cmr_region_new(&options);
		open = r != NULL && cmr_region_open(r, NULL) == CMR_OK;
	}
	if (!open) {
		cmr_region_free(r);
		return NO_REGION;
	}
	if (!from_the_start)
		allowed = n;
	play();
	complete = losses_of(r) == 0;
	if (complete) {
		CHECK_EQ_U64(totals(r).count, N_BLOCKS + N_BLOCKS / 2 + N_BLOCKS);
		CHECK_EQ_U64(totals(r).current_blocks, 3 * N_BLOCKS);
	}
	CHECK(totals(r).current_blocks <= 3 * N_BLOCKS);
	cmr_memory_set_gatekeeper(NULL);
	undo();
	CHECK_EQ_U64(totals(r).current, 0);
	CHECK_EQ_U64(totals(r).current_blocks, 0);
	cmr_region_free(r);
	return complete ? COMPLETE : LOST;
}

/* The outcomes over all N must be: first no region (or losses), at last complete. */
static void try_all(bool from_the_start, bool exact)
{
	unsigned seen[COMPLETE + 1] = { 0 };

	for (int n = 0; n < 400 && seen[COMPLETE] == 0; n++) {
		int status = -1;
		pid_t pid = fork();

		REQUIRE(pid >= 0);
		if (pid == 0) {
			int outcome = play_with(n, from_the_start, exact);

			_exit(atomic_load(&cmr_test_failures) == 0 ? outcome : 1);
		}
		REQUIRE(waitpid(pid, &status, 0) == pid);
		if (!CHECK(WIFEXITED(status)) || !CHECK(WEXITSTATUS(status) >= NO_REGION)) {
			cmr_test_print("with %d requests granted\n", n);
			return;
		}
		seen[WEXITSTATUS(status)]++;
	}
	CHECK(seen[COMPLETE] == 1);
	CHECK(seen[LOST] > 0);
	if (from_the_start)
		CHECK(seen[NO_REGION] > 0);
}

CMR_TEST(refusals_before_and_after_an_exact_region_opens)
{
	try_all(true, true);
	try_all(false, true);
}

CMR_TEST(refusals_before_and_after_a_budgeted_region_opens)
{
	try_all(true, false);
	try_all(false, false);
}
