/* The chain of frames that is verified in place, against a naive walk of made-up frames. */
#include "cmr_test.h"

#include "frames_rig.h"
#include "os/losses.h"
#include "os/memory.h"

#define CHECK_WALK() CHECK_EQ_U64(cmr_chain_walk(&thread), naive_walk())

static uint64_t stack_losses(void)
{
	struct cmr_losses losses;

	cmr_losses_read(&losses);
	return losses.stacks;
}

static int allowed;

static bool allow_some(size_t bytes)
{
	(void)bytes;
	return allowed-- > 0;
}

static void allow(int n)
{
	allowed = n;
	cmr_memory_set_gatekeeper(allow_some);
}

static void check_node(cmr_node_id id, cmr_node_id parent, uint32_t code, int32_t offset)
{
	struct cmr_node node;

	if (!CHECK(id != 0 && id != CMR_NODE_LOST))
		return;
	node = cmr_nodes_get(id);
	CHECK_EQ_U64(node.parent, parent);
	CHECK_EQ_U64(node.code, code);
	CHECK_EQ_I64(node.offset, offset);
}

/* --- what a stack is --- */

CMR_TEST(without_python_code_the_stack_is_empty)
{
	fresh_rig();
	CHECK_EQ_U64(cmr_chain_walk(&thread), 0);
	CHECK(thread.chain == NULL);
	cmr_provider = NULL;
	top = call(frame_at(0), 1, 10);
	CHECK_EQ_U64(cmr_chain_walk(&thread), 0);
	CHECK_EQ_U64(cmr_nodes_count(), 0);
}

CMR_TEST(a_stack_is_its_frames_from_the_bottom)
{
	cmr_node_id node, caller;

	fresh_rig();
	call(frame_at(0), 4, 10);
	caller = cmr_chain_walk(&thread);
	check_node(caller, 0, 5, 10);
	call(frame_at(1), 7, 20);
	node = cmr_chain_walk(&thread);
	check_node(node, caller, 8, 20);
	CHECK_EQ_U64(cmr_chain_walk(&thread), node);
	leave();
	CHECK_EQ_U64(cmr_chain_walk(&thread), caller);
	CHECK_EQ_U64(cmr_nodes_count(), 2);
}

CMR_TEST(frames_without_python_code_are_passed_over)
{
	cmr_node_id node;

	fresh_rig();
	call(frame_at(0), 1, 10);
	node = cmr_chain_walk(&thread);
	call(frame_at(1), 2, 10)->owner = OWNER_ENTRY;
	CHECK_EQ_U64(cmr_chain_walk(&thread), node);
	call(frame_at(2), 3, 10);
	check_node(cmr_chain_walk(&thread), node, 4, 10);
	call(frame_at(3), 3, 10)->owner = OWNER_ENTRY + 1;
	check_node(cmr_chain_walk(&thread), node, 4, 10);
	call(frame_at(4), 0, 0)->code = 2; /* no object behind the tag bits */
	check_node(cmr_chain_walk(&thread), node, 4, 10);
	CHECK_EQ_U64(cmr_nodes_count(), 2);
	/* Whatever stands where its instruction would be. */
	for (int i = 0; i < 4; i++)
		leave();
	call(frame_at(5), 2, 10);
	check_node(cmr_chain_walk(&thread), node, 3, 10);
	leave();
	call(frame_at(6), 2, 10)->owner = OWNER_ENTRY;
	CHECK_EQ_U64(cmr_chain_walk(&thread), node);
	/* An interpreter that has no such frames. */
	provider.layout.skip_owner = 256;
	top->owner = 255;
	top->code = CODE_AT(5);
	top->instruction = AT(5, 50);
	CHECK_EQ_U64(cmr_nodes_get(cmr_chain_walk(&thread)).code, 6);
	provider.layout.skip_owner = OWNER_ENTRY;
}

CMR_TEST(tag_bits_are_no_part_of_a_code_object)
{
	fresh_rig();
	call(frame_at(0), 1, 10)->code |= 3;
	check_node(cmr_chain_walk(&thread), 0, 2, 10);
}

CMR_TEST(a_frame_that_has_not_begun_is_its_callers)
{
	cmr_node_id node;

	fresh_rig();
	call(frame_at(0), 1, 10);
	node = cmr_chain_walk(&thread);
	call(frame_at(1), 2, FIRST_TRACEABLE - 1);
	CHECK_EQ_U64(cmr_chain_walk(&thread), node);
	top->instruction = AT(2, 0) - 2; /* one unit before the first */
	CHECK_EQ_U64(cmr_chain_walk(&thread), node);
	top->instruction = AT(2, FIRST_TRACEABLE);
	check_node(cmr_chain_walk(&thread), node, 3, FIRST_TRACEABLE);
}

CMR_TEST(an_instruction_outside_its_code_has_no_offset)
{
	fresh_rig();
	call(frame_at(0), 1, CODE_UNITS - 1);
	check_node(cmr_chain_walk(&thread), 0, 2, CODE_UNITS - 1);
	top->instruction = AT(1, CODE_UNITS);
	check_node(cmr_chain_walk(&thread), 0, 2, CMR_NO_OFFSET);
	top->instruction = AT(1, 0) - 4;
	check_node(cmr_chain_walk(&thread), 0, 2, CMR_NO_OFFSET);
	top->instruction = 0;
	check_node(cmr_chain_walk(&thread), 0, 2, CMR_NO_OFFSET);
	top->instruction = UINTPTR_MAX;
	check_node(cmr_chain_walk(&thread), 0, 2, CMR_NO_OFFSET);
}

static uintptr_t own_base; /* of a thread's own bytecode */

static uintptr_t bytecode_base(const void *frame, const void *code)
{
	(void)frame;
	(void)code;
	return own_base;
}

CMR_TEST(a_thread_may_have_its_own_bytecode)
{
	fresh_rig();
	provider.layout.tlbc = offsetof(struct frame, tlbc);
	provider.bytecode_base = bytecode_base;
	own_base = 0x777000;
	call(frame_at(0), 1, 10);
	check_node(cmr_chain_walk(&thread), 0, 2, 10); /* index 0: the main copy */
	top->tlbc = 3;
	top->instruction = 0x777000 + 2 * 44;
	check_node(cmr_chain_walk(&thread), 0, 2, 44);
	own_base = 0; /* not known */
	top->instruction = 0x777000 + 2 * 45;
	check_node(cmr_chain_walk(&thread), 0, 2, CMR_NO_OFFSET);
	/* The copy went, and the same address is in another one now. */
	own_base = 0x777000 + 2 * 5;
	top->instruction = 0x777000 + 2 * 44;
	check_node(cmr_chain_walk(&thread), 0, 2, 39);
	/* An interpreter without a way to find it. */
	provider.bytecode_base = NULL;
	top->instruction = 0x777000 + 2 * 46;
	check_node(cmr_chain_walk(&thread), 0, 2, CMR_NO_OFFSET);
}

/* --- soundness --- */

/* main calls A from one place, A calls B; later main calls A from another place. Frames of A and B
 * are the same in address, code and instruction; only main has moved on. */
CMR_TEST(an_equal_top_says_nothing_about_what_is_below)
{
	struct frame *main_frame;
	cmr_node_id first, second;

	fresh_rig();
	main_frame = call(frame_at(0), 0, 10);
	call(frame_at(1), 1, 20);
	call(frame_at(2), 2, 30);
	first = cmr_chain_walk(&thread);
	leave();
	leave();
	main_frame->instruction = AT(0, 15);
	call(frame_at(1), 1, 20);
	call(frame_at(2), 2, 30);
	second = cmr_chain_walk(&thread);
	CHECK(second != first);
	check_node(cmr_nodes_get(cmr_nodes_get(second).parent).parent, 0, 1, 15);
	CHECK_WALK();
}

/* The same top again, but another frame between. */
CMR_TEST(an_equal_top_may_hang_on_another_stack)
{
	struct frame *generator;

	fresh_rig();
	generator = frame_at(20);
	call(frame_at(0), 0, 10);
	call(frame_at(1), 1, 10);
	call(generator, 5, 10);
	call(frame_at(2), 2, 10);
	CHECK_WALK();
	top = generator->previous;
	call(frame_at(3), 3, 10); /* one deeper, and resumed from there */
	generator->previous = top;
	top = frame_at(2);
	CHECK_WALK();
	/* Resumed from further down. */
	generator->previous = frame_at(0);
	CHECK_WALK();
	/* Run as the bottom of a stack. */
	generator->previous = NULL;
	CHECK_WALK();
	generator->previous = frame_at(1);
	CHECK_WALK();
}

CMR_TEST(any_frame_may_have_moved_on)
{
	struct frame *frames[30];

	fresh_rig();
	for (unsigned i = 0; i < 30; i++)
		frames[i] = call(frame_at(i), i, 10);
	CHECK_WALK();
	for (unsigned i = 0; i < 30; i++) {
		frames[i]->instruction += 2;
		CHECK_WALK();
		CHECK_WALK();
	}
	frames[3]->instruction += 2;
	frames[17]->instruction += 2;
	frames[29]->instruction += 2;
	CHECK_WALK();
}

CMR_TEST(many_may_be_pushed_and_popped_between_walks)
{
	fresh_rig();
	for (unsigned popped = 0; popped < 25; popped++)
		for (unsigned pushed = 0; pushed < 25; pushed++) {
			while (top != NULL)
				leave();
			for (unsigned i = 0; i < 30; i++)
				call(frame_at(i), i, 10);
			CHECK_WALK();
			for (unsigned i = 0; i < popped; i++)
				leave();
			for (unsigned i = 30 - popped; i < 30 - popped + pushed; i++)
				call(frame_at(i + (popped & 1) * 100), i % N_CODES, 12);
			CHECK_WALK();
		}
}

CMR_TEST(a_dead_code_object_is_told_by_the_epoch)
{
	cmr_node_id before, after;

	fresh_rig();
	call(frame_at(0), 0, 10);
	call(frame_at(1), 1, 10);
	before = cmr_chain_walk(&thread);
	/* Another one lives at its address now: same frame, same instruction. */
	copies[1].number = 500;
	atomic_fetch_add(&cmr_code_epoch, 1);
	after = cmr_chain_walk(&thread);
	CHECK_EQ_U64(cmr_nodes_get(after).code, 500);
	CHECK_EQ_U64(cmr_nodes_get(after).parent, cmr_nodes_get(before).parent);
	CHECK_WALK();
}

CMR_TEST(code_objects_are_looked_up_once_an_epoch)
{
	fresh_rig();
	call(frame_at(0), 0, 10);
	call(frame_at(1), 1, 10);
	for (unsigned i = 0; i < 50; i++) {
		top->instruction = AT(1, 10 + i);
		CHECK_WALK();
	}
	CHECK_EQ_U64(n_found, 2);
	atomic_fetch_add(&cmr_code_epoch, 1);
	CHECK_WALK();
	CHECK_EQ_U64(n_found, 4);
}

CMR_TEST(resetting_nodes_voids_chains)
{
	fresh_rig();
	call(frame_at(0), 0, 10);
	call(frame_at(1), 1, 10);
	cmr_chain_walk(&thread);
	cmr_nodes_reset();
	CHECK_EQ_U64(cmr_nodes_child(0, 99, 99), 1);
	CHECK_WALK();
	CHECK_EQ_U64(cmr_nodes_count(), 3);
}

/* --- root --- */

CMR_TEST(the_root_and_its_callers_are_left_out)
{
	struct frame *frames[6];
	cmr_node_id node;

	fresh_rig();
	for (unsigned i = 0; i < 6; i++)
		frames[i] = call(frame_at(i), i, 10);
	CHECK_WALK();
	thread.root = frames[2];
	node = cmr_chain_walk(&thread);
	CHECK_EQ_U64(node, naive_walk());
	check_node(cmr_nodes_get(cmr_nodes_get(node).parent).parent, 0, 4, 10);
	CHECK_WALK(); /* verified down to the root */
	frames[0]->instruction = AT(0, 20); /* of no concern */
	CHECK_EQ_U64(cmr_chain_walk(&thread), node);
	frames[3]->instruction = AT(3, 20);
	CHECK_WALK();
	thread.root = frames[5];
	CHECK_EQ_U64(cmr_chain_walk(&thread), 0);
	thread.root = frames[4];
	CHECK_WALK();
	thread.root = NULL;
	CHECK_WALK();
	thread.root = &thread; /* a frame that is not on this stack */
	CHECK_WALK();
}

/* A generator that is run below the root, then above it. */
CMR_TEST(the_bottom_may_be_the_root_or_none)
{
	struct frame *generator;

	fresh_rig();
	generator = frame_at(9);
	call(frame_at(0), 0, 10);
	call(frame_at(1), 1, 10);
	thread.root = top;
	call(generator, 2, 10);
	CHECK_WALK();
	generator->previous = NULL;
	CHECK_WALK();
	generator->previous = frame_at(0); /* the root is not on this stack */
	CHECK_WALK();
	generator->previous = frame_at(1);
	CHECK_WALK();
}

/* --- size and memory --- */

#define DEEP 30000

CMR_TEST(deep_stacks_grow_the_chain)
{
	static struct frame frames[DEEP];
	size_t before;

	fresh_rig();
	for (unsigned i = 0; i < DEEP; i++) {
		call(&frames[i], i % N_CODES, 10 + i % 50);
		if (i % 1000 == 0)
			CHECK_WALK();
	}
	CHECK_WALK();
	for (unsigned i = 0; i < 5; i++) {
		top->instruction += 2;
		CHECK_WALK();
	}
	before = cmr_memory_mapped();
	top = &frames[10];
	CHECK_WALK();
	top = &frames[DEEP - 1];
	CHECK_WALK();
	CHECK_EQ_U64(cmr_memory_mapped(), before);
	frames[5].instruction += 2;
	CHECK_WALK();
}

CMR_TEST(refused_memory_loses_the_stack_once_a_walk)
{
	static struct frame frames[2000];
	uint64_t lost;

	fresh_rig();
	for (unsigned i = 0; i < 2000; i++)
		call(&frames[i], i % N_CODES, 10);
	lost = stack_losses();
	for (int n = 0; n < 5; n++) { /* the chain, its array, three times more of that */
		allow(n);
		CHECK_EQ_U64(cmr_chain_walk(&thread), CMR_NODE_LOST);
		CHECK_EQ_U64(stack_losses() - lost, (uint64_t)n + 1);
		cmr_memory_set_gatekeeper(NULL);
		if (n == 0)
			CHECK(thread.chain == NULL);
	}
	CHECK_WALK();
	CHECK_EQ_U64(stack_losses() - lost, 5);
}

CMR_TEST(an_unknown_code_object_loses_the_stack_for_the_moment)
{
	uint64_t lost;

	fresh_rig();
	call(frame_at(0), 0, 10);
	CHECK_WALK();
	call(frame_at(1), 1, 10);
	call(frame_at(2), 2, 10);
	refuse_codes = true;
	lost = stack_losses();
	CHECK_EQ_U64(cmr_chain_walk(&thread), CMR_NODE_LOST);
	CHECK_EQ_U64(stack_losses() - lost, 1);
	CHECK_EQ_U64(cmr_chain_walk(&thread), CMR_NODE_LOST);
	CHECK_EQ_U64(stack_losses() - lost, 2);
	refuse_codes = false;
	CHECK_WALK();
	CHECK_EQ_U64(stack_losses() - lost, 2);
}

CMR_TEST(damaged_frames_lose_the_stack_and_no_memory)
{
	struct frame *a, *b;
	size_t before;
	uint64_t lost;

	fresh_rig();
	a = call(frame_at(0), 0, 10);
	CHECK_WALK();
	before = cmr_memory_mapped();
	b = call(frame_at(1), 1, 10);
	a->previous = b; /* a ring */
	lost = stack_losses();
	CHECK_EQ_U64(cmr_chain_walk(&thread), CMR_NODE_LOST);
	CHECK_EQ_U64(stack_losses() - lost, 1);
	CHECK(cmr_memory_mapped() <= before);
	a->previous = NULL;
	CHECK_WALK();
}

CMR_TEST(the_most_frames_are_still_a_stack)
{
	struct frame *frames = calloc(CMR_MOST_FRAMES + 1, sizeof *frames);
	cmr_node_id node;
	size_t depth = 0;

	fresh_rig();
	REQUIRE(frames != NULL);
	for (size_t i = 0; i < CMR_MOST_FRAMES; i++)
		call(&frames[i], (unsigned)(i % N_CODES), 10);
	for (node = cmr_chain_walk(&thread); node != 0 && node != CMR_NODE_LOST; depth++)
		node = cmr_nodes_get(node).parent;
	CHECK_EQ_U64(depth, CMR_MOST_FRAMES);
	/* Pushed onto a known stack, too: what counts is what is new. */
	fresh_rig();
	for (size_t i = 0; i <= CMR_MOST_FRAMES; i++)
		call(&frames[i], (unsigned)(i % N_CODES), 10);
	CHECK_EQ_U64(cmr_chain_walk(&thread), CMR_NODE_LOST);
	fresh_rig();
	free(frames);
}

CMR_TEST(a_chain_gives_its_memory_back)
{
	size_t before;

	fresh_rig();
	call(frame_at(0), 0, 10);
	CHECK_WALK(); /* makes the first keys of the nodes, which stay */
	fresh_rig();
	before = cmr_memory_mapped();
	call(frame_at(0), 0, 10);
	CHECK_WALK();
	CHECK(cmr_memory_mapped() > before);
	CHECK(cmr_memory_mapped() <= before + 8192);
	cmr_chain_free(thread.chain);
	thread.chain = NULL;
	CHECK_EQ_U64(cmr_memory_mapped(), before);
	cmr_chain_free(NULL);
}

/* What is remembered of the way from frames to nodes grows with the number of places, up to a
 * bound. */
CMR_TEST(a_thread_of_many_places_remembers_more_of_them)
{
	size_t before, small;

	fresh_rig();
	call(frame_at(0), 0, 10);
	CHECK_WALK();
	before = cmr_memory_mapped();
	for (unsigned i = 0; i < 20; i++) {
		top->instruction = AT(0, 10 + i);
		CHECK_WALK();
	}
	small = cmr_memory_mapped();
	CHECK_EQ_U64(small, before);
	for (unsigned round = 0; round < 3; round++)
		for (unsigned code = 0; code < N_CODES; code++)
			for (unsigned units = FIRST_TRACEABLE; units < CODE_UNITS; units++) {
				top->code = CODE_AT(code);
				top->instruction = AT(code, units);
				CHECK_WALK();
				CHECK_WALK();
			}
	CHECK(cmr_memory_mapped() > small);
	CHECK(cmr_memory_mapped() <= small + (1 << 20));
	fresh_rig();
	CHECK(cmr_memory_mapped() < small + (1 << 18)); /* nodes keep theirs */
}
