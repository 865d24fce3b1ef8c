/* Made-up frames and code objects, linked as an interpreter's are, for the tests of the chain.
 *
 * Each frame has a page of its own that cannot be read while no frame lives there, so that whoever
 * follows a stale pointer crashes. */
#ifndef CMR_TEST_FRAMES_RIG_H
#define CMR_TEST_FRAMES_RIG_H

#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "os/thread.h"
#include "os/ticks.h"
#include "stack/chain.h"
#include "stack/nodes.h"
#include "stack/provider.h"

enum owner { OWNER_THREAD, OWNER_GENERATOR, OWNER_ENTRY };

struct frame {
	uint64_t other[3];
	struct frame *previous;
	uintptr_t code;
	uint64_t more[2];
	uintptr_t instruction;
	int32_t tlbc;
	uint8_t owner;
};

#define N_CODES 40
#define CODE_UNITS 100u
#define FIRST_TRACEABLE 3

/* Code objects are numbers of addresses only; nothing reads them but the provider. */
#define CODE_AT(i) ((uintptr_t)0x5550000000 + (uintptr_t)(i) * 0x1000)
#define BYTECODE(i) (CODE_AT(i) + 0xc0)
/* The instruction UNITS after the first of code I. */
#define AT(i, units) (BYTECODE(i) + 2 * (uintptr_t)(units))

static struct cmr_code copies[N_CODES];
static unsigned n_found, n_forgotten;
static bool refuse_codes;
static struct frame *top;

static inline const void *top_frame(void)
{
	return top;
}

static inline const struct cmr_code *find_code(const void *code)
{
	size_t i = ((uintptr_t)code - CODE_AT(0)) / 0x1000;

	n_found++;
	REQUIRE(i < N_CODES && (uintptr_t)code == CODE_AT(i));
	return refuse_codes ? NULL : &copies[i];
}

static inline void forget(void)
{
	n_forgotten++;
}

static struct cmr_provider provider = {
	.layout = { .previous = offsetof(struct frame, previous),
		    .code = offsetof(struct frame, code),
		    .instruction = offsetof(struct frame, instruction),
		    .owner = offsetof(struct frame, owner),
		    .code_mask = ~(uintptr_t)3,
		    .skip_owner = OWNER_ENTRY },
	.top_frame = top_frame,
	.find_code = find_code,
	.forget = forget,
};

/* --- the clock --- */

/* Half nanoseconds. Every reading finds it later by rig_lapse: by default more than any proof by the
 * clock can bear, so that frames may change in ways that take an interpreter longer. */
#define RIG_HZ 2000000000u
#define RIG_AGE ((uint64_t)1 << 25)
static uint64_t rig_time, rig_lapse;

static inline uint64_t rig_clock(void)
{
	return rig_time += rig_lapse;
}

/* --- memory of frames --- */

#define PAGE 4096
#define N_PAGES 1024

static char *pages;

/* Page I, ready to hold a frame. */
static inline struct frame *frame_at(unsigned i)
{
	char *page = pages + (size_t)i * PAGE;

	REQUIRE(i < N_PAGES && mprotect(page, PAGE, PROT_READ | PROT_WRITE) == 0);
	return (struct frame *)(void *)(page + 16 * (i % 7));
}

/* The frame on page I is no more. */
static inline void bury(unsigned i)
{
	REQUIRE(mprotect(pages + (size_t)i * PAGE, PAGE, PROT_NONE) == 0);
}

static inline unsigned page_of(const struct frame *frame)
{
	return (unsigned)(((uintptr_t)frame - (uintptr_t)pages) / PAGE);
}

static struct cmr_thread thread;

/* No frames, no nodes, no chain. */
static inline void fresh_rig(void)
{
	struct cmr_error err;

	if (pages == NULL)
		pages = mmap(NULL, N_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	REQUIRE(pages != MAP_FAILED);
	REQUIRE(mprotect(pages, N_PAGES * PAGE, PROT_NONE) == 0);
	REQUIRE(cmr_nodes_init(&err) == CMR_OK);
	cmr_provider = &provider;
	cmr_nodes_reset();
	cmr_chain_free(thread.chain);
	memset(&thread, 0, sizeof thread);
	for (unsigned i = 0; i < N_CODES; i++)
		copies[i] = (struct cmr_code){ .number = i + 1,
					       .first_traceable = FIRST_TRACEABLE,
					       .bytecode = BYTECODE(i),
					       .n_units = CODE_UNITS };
	top = NULL;
	n_found = n_forgotten = 0;
	refuse_codes = false;
	provider.layout.tlbc = 0;
	provider.bytecode_base = NULL;
	rig_time = RIG_AGE;
	rig_lapse = RIG_AGE;
	cmr_ticks_set_source(rig_clock, RIG_HZ);
}

/* Fills FRAME with a call of code I that stands UNITS after its beginning, and makes it the top. */
static inline struct frame *call(struct frame *frame, unsigned i, unsigned units)
{
	memset(frame, 0xee, sizeof *frame);
	frame->code = CODE_AT(i);
	frame->instruction = AT(i, units);
	frame->owner = OWNER_THREAD;
	frame->tlbc = 0;
	frame->previous = top;
	top = frame;
	return frame;
}

/* Takes the top off. */
static inline void leave(void)
{
	unsigned page = page_of(top);

	top = top->previous;
	bury(page);
}

/* --- the naive walk --- */

static struct frame **naive_frames;
static size_t naive_capacity;

static inline cmr_node_id naive_walk(void)
{
	cmr_node_id node = 0;
	size_t n = 0;

	for (struct frame *f = top; f != NULL && f != thread.root; f = f->previous) {
		if (n == naive_capacity) {
			naive_capacity = naive_capacity != 0 ? naive_capacity * 2 : 1024;
			naive_frames = realloc(naive_frames, naive_capacity * sizeof(void *));
		}
		naive_frames[n++] = f;
	}
	while (n-- > 0) {
		const struct frame *f = naive_frames[n];
		const struct cmr_code *code;
		int32_t offset;

		if (f->owner >= OWNER_ENTRY)
			continue;
		code = &copies[(f->code - CODE_AT(0)) / 0x1000];
		offset = (int32_t)((intptr_t)(f->instruction - code->bytecode) / 2);
		if (offset >= (int32_t)code->first_traceable)
			node = cmr_nodes_child(node, code->number, offset);
	}
	return node;
}

#endif
