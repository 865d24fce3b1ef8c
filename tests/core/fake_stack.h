/* Stacks of an interpreter that is not there: two frames per thread, the upper one at a chosen
 * instruction, so that "where" is one small number. Include in one .c file. */
#ifndef CMR_FAKE_STACK_H
#define CMR_FAKE_STACK_H

#include "heap/location.h"
#include "stack/provider.h"

#define FAKE_UNITS 4096

struct fake_frame {
	struct fake_frame *previous;
	const void *code;
	const uint16_t *instruction;
	uintptr_t owner;
};

static const uint16_t fake_bytecode[FAKE_UNITS];
static const struct cmr_code fake_code = {
	.number = 1,
	.first_traceable = 0,
	.n_units = FAKE_UNITS,
};
static struct cmr_code fake_code_filled;

static _Thread_local struct fake_frame fake_bottom = { NULL, &fake_code, fake_bytecode, 0 };
static _Thread_local struct fake_frame fake_top = { NULL, &fake_code, fake_bytecode, 0 };
static _Thread_local bool fake_running;

static const void *fake_top_frame(void)
{
	return fake_running ? &fake_top : NULL;
}

static const struct cmr_code *fake_find_code(const void *code)
{
	return code == &fake_code ? &fake_code_filled : NULL;
}

static void fake_forget(void)
{
}

static struct cmr_provider fake_provider = {
	.layout = {
		.previous = offsetof(struct fake_frame, previous),
		.code = offsetof(struct fake_frame, code),
		.instruction = offsetof(struct fake_frame, instruction),
		.owner = offsetof(struct fake_frame, owner),
		.code_mask = UINTPTR_MAX,
		.skip_owner = 256,
	},
	.top_frame = fake_top_frame,
	.find_code = fake_find_code,
	.forget = fake_forget,
};

/* Before the first walk; again: nothing. */
static inline void fake_stack_init(void)
{
	if (cmr_provider == &fake_provider)
		return;
	fake_code_filled = fake_code;
	fake_code_filled.bytecode = (uintptr_t)fake_bytecode;
	cmr_provider = &fake_provider;
}

/* The calling thread now runs instruction SITE. */
static inline void fake_stack_at(unsigned site)
{
	fake_running = true;
	fake_top.previous = &fake_bottom;
	fake_top.instruction = fake_bytecode + site;
}

/* The site of a location that was recorded under fake_stack_at. */
static inline unsigned fake_site_of(uint32_t location)
{
	struct cmr_location key = cmr_locations_get(location);

	return key.node == 0 || key.node == CMR_NODE_LOST ? FAKE_UNITS
							  : (unsigned)cmr_nodes_get(key.node).offset;
}

#endif
