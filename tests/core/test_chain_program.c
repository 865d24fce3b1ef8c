/* Random programs of calls, generators, green threads and dying code objects: after any step the
 * chain says what a naive walk says. That also when no more time passes than the chain takes for
 * granted. */
#include "cmr_test.h"

#include "frames_rig.h"
#include "os/random.h"

#define CHECK_WALK() CHECK_EQ_U64(cmr_chain_walk(&thread), naive_walk())

#define N_STACKS 4 /* green threads, each with pages of its own */
#define STACK_PAGES 150
#define N_GENERATORS 12
#define GENERATOR_PAGE (N_STACKS * STACK_PAGES)

static struct {
	struct frame *top;
	unsigned depth; /* pages in use */
} stacks[N_STACKS];
static unsigned current;

/* Half nanoseconds of one of the two: what the chain takes for granted of both together is twice
 * that. */
#define CALL_TICKS CMR_CHAIN_NS_OF_CALL
#define RESUME_TICKS CMR_CHAIN_NS_OF_RESUME
/* How early or late the processor takes a reading, at most, each: what the chain allows for both. */
#define MOST_SHIFT (CMR_CHAIN_SLACK * RESUME_TICKS)
static uint64_t program_time, readings;

/* The time of the program, misread. Now and then the counter is set back, or starts from nothing. */
static uint64_t shifting_clock(void)
{
	uint64_t r = cmr_random_next(&readings);

	if (r % 1024 == 0)
		program_time = (r & 1024) != 0 ? RIG_AGE : program_time / 2 + RIG_AGE;
	return program_time + (r >> 32) % (MOST_SHIFT + 1);
}

static struct {
	struct frame *frame; /* NULL: none lives */
	bool running;
} generators[N_GENERATORS];

static bool is_generator(const struct frame *frame)
{
	return frame != NULL && page_of(frame) >= GENERATOR_PAGE;
}

static void push(uint64_t r)
{
	unsigned i = (unsigned)(r >> 8) % N_CODES;

	if (stacks[current].depth == STACK_PAGES)
		return;
	program_time += CALL_TICKS;
	call(frame_at(current * STACK_PAGES + stacks[current].depth++), i,
	     (unsigned)(r >> 16) % CODE_UNITS);
	if (r % 16 == 0) {
		top->owner = OWNER_ENTRY;
		top->instruction = 0x1234;
	}
}

static void pop(void)
{
	if (top == NULL)
		return;
	if (is_generator(top)) { /* it yields */
		struct frame *frame = top;

		program_time += RESUME_TICKS;
		top = frame->previous;
		frame->previous = NULL;
		frame->instruction = AT((frame->code - CODE_AT(0)) / 0x1000, 5 + rand() % 90);
		generators[page_of(frame) - GENERATOR_PAGE].running = false;
		return;
	}
	program_time += CALL_TICKS;
	leave();
	stacks[current].depth--;
}

/* Makes a generator, resumes it, or ends it while it is suspended. */
static void use_generator(uint64_t r)
{
	unsigned g = (unsigned)(r >> 8) % N_GENERATORS;

	if (generators[g].running)
		return;
	program_time += RESUME_TICKS;
	if (generators[g].frame == NULL) {
		generators[g].frame =
			call(frame_at(GENERATOR_PAGE + g), (unsigned)(r >> 16) % N_CODES, 10);
		generators[g].frame->owner = OWNER_GENERATOR;
		generators[g].running = true;
	} else if ((r & 7) == 0) {
		bury(GENERATOR_PAGE + g);
		generators[g].frame = NULL;
	} else {
		generators[g].frame->previous = top;
		top = generators[g].frame;
		generators[g].running = true;
	}
}

static void switch_stack(uint64_t r)
{
	stacks[current].top = top;
	current = (unsigned)(r >> 8) % N_STACKS;
	top = stacks[current].top;
}

static void move_on(uint64_t r)
{
	struct frame *frame = top;

	if (frame != NULL && frame->owner != OWNER_ENTRY)
		frame->instruction =
			AT((frame->code - CODE_AT(0)) / 0x1000, (unsigned)(r >> 8) % CODE_UNITS);
}

static bool is_running(uintptr_t code)
{
	for (unsigned s = 0; s < N_STACKS; s++)
		for (const struct frame *f = s == current ? top : stacks[s].top; f != NULL;
		     f = f->previous)
			if (f->code == code)
				return true;
	for (unsigned g = 0; g < N_GENERATORS; g++)
		if (generators[g].frame != NULL && generators[g].frame->code == code)
			return true;
	return false;
}

/* A code object dies, and another one is made at its address. */
static void replace_code(uint64_t r)
{
	static uint32_t next_number = 1000;
	unsigned i = (unsigned)(r >> 8) % N_CODES;

	if (is_running(CODE_AT(i)))
		return;
	copies[i].number = next_number++;
	atomic_fetch_add(&cmr_code_epoch, 1);
}

static void choose_root(uint64_t r)
{
	struct frame *frame = top;

	for (unsigned k = (unsigned)(r >> 8) % 20; k > 0 && frame != NULL; k--)
		frame = frame->previous;
	thread.root = (r & 1) != 0 ? frame : NULL;
}

/* Whether the root lives still: regions end before their root returns. */
static void drop_dead_root(void)
{
	bool found = false;

	for (unsigned s = 0; s < N_STACKS; s++)
		for (const struct frame *f = s == current ? top : stacks[s].top; f != NULL;
		     f = f->previous)
			found = found || f == thread.root;
	if (!found)
		thread.root = NULL;
}

static void step(uint64_t r)
{
	unsigned what = (unsigned)(r >> 58); /* 0..63 */

	if (what < 22)
		push(r);
	else if (what < 43)
		pop();
	else if (what < 52)
		use_generator(r);
	else if (what < 55)
		switch_stack(r);
	else if (what < 62)
		move_on(r);
	else if (what < 63)
		choose_root(r);
	else if (r % 8 == 0)
		replace_code(r);
}

/* With CLOCK, the rest of the program takes no time at all. */
static void run_program(uint64_t seed, unsigned steps, bool clock)
{
	uint64_t random = seed;

	fresh_rig();
	program_time = RIG_AGE;
	readings = seed;
	if (clock)
		cmr_ticks_set_source(shifting_clock, RIG_HZ);
	srand((unsigned)seed);
	memset(stacks, 0, sizeof stacks);
	memset(generators, 0, sizeof generators);
	current = 0;
	for (unsigned s = 0; s < steps; s++) {
		uint64_t r = cmr_random_next(&random);

		step(r);
		/* Long runs of pushes or pops now and then. */
		for (unsigned k = (r & 63) == 1 ? (unsigned)(r >> 40) % 40 : 0; k > 0; k--)
			(r & 64) != 0 ? push(cmr_random_next(&random)) : pop();
		drop_dead_root();
		if ((r & 3) == 0)
			CHECK_WALK();
		if (atomic_load(&cmr_test_failures) > 0) {
			cmr_test_print("seed %" PRIu64 ", step %u\n", seed, s);
			return;
		}
	}
}

CMR_TEST(random_programs_walk_as_the_naive_walk)
{
	for (uint64_t seed = 1; seed <= 4; seed++)
		run_program(seed, 100000, false);
}

CMR_TEST(random_programs_are_as_fast_as_any_can_be)
{
	for (uint64_t seed = 11; seed <= 14; seed++)
		run_program(seed, 100000, true);
}
