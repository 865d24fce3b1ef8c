/* Deep stacks, of which the clock proves the lower part: nothing is missed that a program has
 * had the time for, and nothing is read that it cannot have changed. */
#include "cmr_test.h"

#include "frames_rig.h"
#include "os/random.h"

#define CHECK_WALK() CHECK_EQ_U64(cmr_chain_walk(&thread), naive_walk())

#define TICKS_OF_NS 2
#define DEPTH 400u
#define MOST_DEEP 2000u

static struct frame deep[MOST_DEEP];
static unsigned depth;

static void enter(unsigned code, unsigned units)
{
	call(&deep[depth++], code, units);
}

static void drop(void)
{
	top = top->previous;
	depth--;
}

static void pass(uint64_t ns)
{
	rig_time += ns * TICKS_OF_NS;
}

/* N frames that the chain knows; from here on time stands still. */
static void begin(unsigned n)
{
	fresh_rig();
	depth = 0;
	while (depth < n)
		enter(depth % N_CODES, 10 + depth % 50);
	CHECK_WALK();
	rig_lapse = 0;
}

static void move_on(struct frame *frame)
{
	frame->instruction ^= 2;
}

/* --- what is seen --- */

/* Frame J is back in control, and those above it again where they were, in the least time that this
 * can take. */
CMR_TEST(a_change_that_there_was_time_for_is_seen)
{
	begin(DEPTH);
	for (unsigned j = DEPTH; j-- > 0;) {
		move_on(&deep[j]);
		pass((uint64_t)(DEPTH - 1 - j) * CMR_CHAIN_NS_OF_CALL);
		CHECK_WALK();
	}
}

/* The same of generators that run each other: they are faster. */
CMR_TEST(generators_are_faster)
{
	begin(DEPTH);
	for (unsigned i = 0; i < DEPTH; i++)
		deep[i].owner = OWNER_GENERATOR;
	atomic_fetch_add(&cmr_nodes_serial, 1); /* the chain begins anew */
	atomic_fetch_add(&cmr_code_epoch, 1);
	CHECK_WALK();
	for (unsigned j = DEPTH; j-- > 0;) {
		move_on(&deep[j]);
		pass((uint64_t)(DEPTH - 1 - j) * CMR_CHAIN_NS_OF_RESUME);
		CHECK_WALK();
	}
}

/* Frame J hangs on another caller; the rest is the same. */
CMR_TEST(another_caller_that_there_was_time_for_is_seen)
{
	static struct frame other;

	begin(DEPTH);
	for (unsigned j = DEPTH - 1; j > 0; j--) {
		other = deep[j - 1];
		move_on(&other);
		deep[j].previous = &other;
		pass((uint64_t)(DEPTH - j) * CMR_CHAIN_NS_OF_CALL);
		CHECK_WALK();
		deep[j].previous = &deep[j - 1];
		pass((uint64_t)(DEPTH - j) * CMR_CHAIN_NS_OF_CALL);
		CHECK_WALK();
	}
}

/* Green threads: the whole stack is exchanged in no time. */
CMR_TEST(another_stack_is_seen_at_once)
{
	static struct frame others[DEPTH];
	struct frame *here;

	begin(DEPTH);
	here = top;
	top = NULL;
	for (unsigned i = 0; i < DEPTH; i++)
		call(&others[i], i % N_CODES, 10);
	for (unsigned i = 0; i < 10; i++) {
		struct frame *there = top;

		CHECK_WALK();
		top = here;
		CHECK_WALK();
		top = there;
		move_on(top);
	}
}

CMR_TEST(what_no_program_can_do_is_seen_in_time)
{
	cmr_node_id right;
	unsigned walks = 0;

	begin(DEPTH);
	move_on(&deep[0]);
	right = naive_walk();
	while (cmr_chain_walk(&thread) != right && walks < 10000)
		walks++;
	CHECK(walks > 0); /* else the other tests say little */
	CHECK(walks <= 1024);
}

/* --- clocks --- */

static unsigned n_readings;

static uint64_t counting_clock(void)
{
	n_readings++;
	return rig_time;
}

CMR_TEST(a_counter_that_goes_back_proves_nothing)
{
	begin(DEPTH);
	CHECK_WALK();
	for (unsigned i = 0; i < 10; i++) {
		rig_time -= 1;
		move_on(&deep[0]);
		CHECK_WALK();
	}
}

CMR_TEST(without_a_clock_all_is_verified)
{
	begin(DEPTH);
	cmr_ticks_set_source(counting_clock, 0);
	n_readings = 0;
	for (unsigned i = 0; i < 10; i++) {
		move_on(&deep[0]);
		CHECK_WALK();
	}
	CHECK_EQ_U64(n_readings, 0);
	cmr_ticks_set_source(counting_clock, 1000000); /* too coarse */
	move_on(&deep[0]);
	CHECK_WALK();
	CHECK_EQ_U64(n_readings, 0);
}

CMR_TEST(small_stacks_do_without_a_clock)
{
	begin(40);
	cmr_ticks_set_source(counting_clock, RIG_HZ);
	n_readings = 0;
	for (unsigned i = 0; i < 40; i++) {
		move_on(&deep[i]);
		CHECK_WALK();
	}
	CHECK_EQ_U64(n_readings, 0);
}

/* --- what is read --- */

#define READABLE 80u

/* All frames but the newest READABLE lie on pages that nobody may read. */
static void hide_lower(void)
{
	for (unsigned i = 0; i < N_PAGES - 1 - READABLE; i++)
		bury(i);
}

static void show_lower(void)
{
	REQUIRE(mprotect(pages, N_PAGES * PAGE, PROT_READ | PROT_WRITE) == 0);
}

CMR_TEST(what_cannot_have_changed_is_not_read)
{
	cmr_node_id lower, node;

	fresh_rig();
	for (unsigned i = 0; i < N_PAGES - 1; i++)
		call(frame_at(i), i % N_CODES, 10);
	CHECK_WALK();
	lower = cmr_nodes_get(cmr_chain_walk(&thread)).parent;
	rig_lapse = 0;
	hide_lower();
	for (unsigned i = 0; i < 500; i++) {
		top->instruction = AT((N_PAGES - 2) % N_CODES, 20 + i % 50);
		pass(i % 150);
		node = cmr_chain_walk(&thread);
		CHECK_EQ_U64(cmr_nodes_get(node).parent, lower);
		CHECK_EQ_I64(cmr_nodes_get(node).offset, 20 + i % 50);
	}
	/* Nor when more frames were left than the walk looks for one by one. */
	for (unsigned i = 0; i < 30; i++)
		top = top->previous;
	pass(30 * CMR_CHAIN_NS_OF_CALL / 2);
	call(frame_at(N_PAGES - 1), 0, 10);
	node = cmr_chain_walk(&thread);
	show_lower();
	CHECK_EQ_U64(node, naive_walk());
}

/* A recursion that allocates on each level; fewer walks than go by without one down to the
 * bottom. */
#define FEW 500u

CMR_TEST(on_the_way_down_and_up_only_the_newest_are_read)
{
	cmr_node_id nodes[FEW];

	fresh_rig();
	for (unsigned i = 0; i < FEW; i++) {
		call(frame_at(i), i % N_CODES, 10);
		nodes[i] = cmr_chain_walk(&thread);
		CHECK_EQ_U64(cmr_nodes_get(nodes[i]).parent, i > 0 ? nodes[i - 1] : 0);
		rig_lapse = i >= 70 ? 0 : RIG_AGE;
		pass(CMR_CHAIN_NS_OF_CALL + 50);
		if (i >= READABLE)
			bury(i - READABLE);
	}
	for (unsigned i = FEW; --i > 0;) {
		if (i >= READABLE)
			(void)frame_at(i - READABLE);
		else
			rig_lapse = RIG_AGE;
		leave();
		pass(CMR_CHAIN_NS_OF_CALL + 50);
		CHECK_EQ_U64(cmr_chain_walk(&thread), nodes[i - 1]);
	}
}

CMR_TEST(a_dead_code_object_voids_no_live_frame)
{
	fresh_rig();
	for (unsigned i = 0; i < N_PAGES - 1; i++)
		call(frame_at(i), i % N_CODES, 10);
	CHECK_WALK();
	CHECK_WALK();
	rig_lapse = 0;
	hide_lower();
	for (unsigned i = 0; i < 100; i++) {
		atomic_fetch_add(&cmr_code_epoch, 1);
		pass(10);
		(void)cmr_chain_walk(&thread);
	}
	show_lower();
	CHECK_WALK();
	/* Of one that was left it may be another. */
	leave();
	call(frame_at(N_PAGES - 2), (N_PAGES - 2) % N_CODES, 10);
	copies[(N_PAGES - 2) % N_CODES].number = 700;
	atomic_fetch_add(&cmr_code_epoch, 1);
	pass(CMR_CHAIN_NS_OF_CALL);
	CHECK_EQ_U64(cmr_nodes_get(cmr_chain_walk(&thread)).code, 700);
}

CMR_TEST(a_reset_of_nodes_voids_live_frames_too)
{
	begin(DEPTH);
	for (unsigned i = 0; i < 3; i++) {
		cmr_nodes_reset();
		CHECK_EQ_U64(cmr_nodes_child(0, 99, 99 + (int32_t)i), 1);
		CHECK_WALK();
	}
}

/* --- random programs --- */

/* Calls and returns that cost exactly what the chain takes for granted, and allocations that cost
 * nothing, from shallow to deep and back. */
static void run_program(uint64_t seed, unsigned steps)
{
	uint64_t random = seed;
	unsigned most = 70 + (unsigned)(cmr_random_next(&random) % (MOST_DEEP - 70));

	begin(1);
	for (unsigned s = 0; s < steps; s++) {
		uint64_t r = cmr_random_next(&random);
		/* Mostly down at first, then mostly up, then both alike. */
		bool down = (r & 15) < (s < steps / 3 ? 11 : s < steps / 2 ? 6 : 8);

		for (unsigned k = (r >> 4) % 8 != 0 ? 1 : (unsigned)(r >> 8) % 40; k > 0; k--)
			if (down && depth < most) {
				rig_time += CMR_CHAIN_NS_OF_CALL;
				move_on(top);
				enter((unsigned)(r >> 16) % N_CODES, 10 + (unsigned)(r >> 24) % 8);
			} else if (!down && depth > 1) {
				rig_time += CMR_CHAIN_NS_OF_CALL;
				drop();
			}
		move_on(top);
		if ((r >> 32) % 4 == 0)
			CHECK_WALK();
		if (atomic_load(&cmr_test_failures) > 0) {
			cmr_test_print("seed %" PRIu64 ", step %u\n", seed, s);
			return;
		}
	}
}

CMR_TEST(programs_at_the_bound_walk_as_the_naive_walk)
{
	for (uint64_t seed = 1; seed <= 2000; seed++)
		run_program(seed, 400);
	run_program(1, 100000);
}
