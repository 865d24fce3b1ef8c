#include "heap/location.h"

#include <stddef.h>

#include "heap/usage.h"
#include "os/losses.h"
#include "os/thread.h"
#include "stack/chain.h"
#include "table/intern.h"

/* As many as a region has room for. */
#define MAX_LOCATIONS (CMR_USAGE_CHUNK * CMR_USAGE_CHUNKS - 1)

_Atomic uint32_t cmr_interning = 1;

static struct cmr_intern locations;

enum cmr_status cmr_locations_init(struct cmr_error *err)
{
	if (locations.chunks != NULL)
		return CMR_OK;
	return cmr_intern_init(&locations, MAX_LOCATIONS, err);
}

uint32_t cmr_locations_add(cmr_node_id node, uint32_t kind)
{
	struct cmr_key key = { node, kind };
	uint32_t number = cmr_intern_add(&locations, key);

	if (number == 0)
		cmr_lose(CMR_LOSS_stacks);
	return number;
}

/* Past what the thread knows of its last location. */
static uint32_t look_up(struct cmr_thread *thread, cmr_node_id node, uint32_t kind,
			uint32_t interning)
{
	struct cmr_chain_note *note = NULL;
	uint32_t number;

	if (thread->chain != NULL) {
		note = cmr_chain_note(thread->chain, node, kind);
		if (note->node == node && note->kind == kind && note->serial == interning &&
		    note->number != 0)
			return note->number;
	}
	number = cmr_locations_add(node, kind);
	if (note != NULL)
		*note = (struct cmr_chain_note){ node, kind, number, interning };
	return number;
}

uint32_t cmr_locations_here(struct cmr_thread *thread, uint32_t kind)
{
	cmr_node_id node = cmr_chain_walk(thread);
	uint32_t interning = atomic_load_explicit(&cmr_interning, memory_order_relaxed);

	if (thread->last_node == node && thread->last_kind == kind &&
	    thread->last_interning == interning && thread->last_location != 0)
		return thread->last_location;
	thread->last_location = look_up(thread, node, kind, interning);
	thread->last_node = node;
	thread->last_kind = kind;
	thread->last_interning = interning;
	return thread->last_location;
}

struct cmr_location cmr_locations_get(uint32_t number)
{
	struct cmr_key key = cmr_intern_key(&locations, number);

	return (struct cmr_location){ (cmr_node_id)key.a, (uint32_t)key.b };
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
