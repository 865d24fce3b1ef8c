#include "heap/location.h"

#include <stddef.h>
#include <string.h>

#include "heap/usage.h"
#include "os/losses.h"
#include "os/thread.h"
#include "stack/chain.h"
#include "table/intern.h"

/* As many as a region has room for. */
#define MAX_LOCATIONS (CMR_USAGE_CHUNK * CMR_USAGE_CHUNKS - 1)

_Atomic uint32_t cmr_interning = 1;

static struct cmr_intern locations;

static void end_thread(struct cmr_thread *thread)
{
	cmr_chain_free(thread->chain);
	thread->chain = NULL;
}

enum cmr_status cmr_locations_init(struct cmr_error *err)
{
	if (locations.chunks != NULL)
		return CMR_OK;
	cmr_thread_on_exit = end_thread;
	return cmr_intern_init_words(&locations, 2, MAX_LOCATIONS, err);
}

uint32_t cmr_locations_add(cmr_node_id node, uint32_t kind)
{
	struct cmr_key key = { (uint64_t)kind << 32 | node, 0 };
	uint32_t number = cmr_intern_add(&locations, key);

	if (number == 0)
		cmr_lose(CMR_LOSS_stacks);
	return number;
}

/* A note in a spot: kind and number, 0 for none. */
#define NUMBER_BITS 24
_Static_assert(MAX_LOCATIONS < 1u << NUMBER_BITS, "a number must fit into a note");

/* Where no note tells, which is where no spot is as well. */
static __attribute__((noinline)) uint32_t look_up(struct cmr_thread *thread,
						  struct cmr_spot *spot, uint32_t kind)
{
	uint32_t interning = atomic_load_explicit(&cmr_interning, memory_order_relaxed), number;

	if (spot == NULL) {
		if (thread->last_kind != kind || thread->last_interning != interning ||
		    thread->last_of != thread->last_node || thread->last_location == 0) {
			thread->last_location = cmr_locations_add(thread->last_node, kind);
			thread->last_of = thread->last_node;
			thread->last_kind = kind;
			thread->last_interning = interning;
		}
		return thread->last_location;
	}
	for (unsigned i = 1; i < CMR_SPOT_NOTES; i++)
		if (spot->notes[i] >> NUMBER_BITS == kind)
			return spot->notes[i] & (((uint32_t)1 << NUMBER_BITS) - 1);
	number = cmr_locations_add(spot->node, kind);
	if (number != 0) {
		memmove(&spot->notes[1], &spot->notes[0],
			(CMR_SPOT_NOTES - 1) * sizeof spot->notes[0]);
		spot->notes[0] = kind << NUMBER_BITS | number;
	}
	return number;
}

/* Numbers die together with nodes, and so do the notes. */
uint32_t cmr_locations_here(struct cmr_thread *thread, uint32_t kind)
{
	struct cmr_spot *spot = cmr_chain_spot(thread);

	if (__builtin_expect(spot != NULL && spot->notes[0] >> NUMBER_BITS == kind, 1))
		return spot->notes[0] & (((uint32_t)1 << NUMBER_BITS) - 1);
	return look_up(thread, spot, kind);
}

struct cmr_location cmr_locations_get(uint32_t number)
{
	struct cmr_key key = cmr_intern_key(&locations, number);

	return (struct cmr_location){ (cmr_node_id)key.a, (uint32_t)(key.a >> 32) };
}

uint32_t cmr_locations_count(void)
{
	return cmr_intern_count(&locations);
}

void cmr_locations_reset(void)
{
	if (locations.chunks == NULL)
		return;
	atomic_fetch_add_explicit(&cmr_interning, 1, memory_order_relaxed);
	cmr_intern_reset(&locations);
	cmr_nodes_reset();
}

void cmr_locations_after_fork(void)
{
	cmr_intern_after_fork(&locations);
}
