#include "heap/location.h"

#include <stddef.h>
#include <string.h>

#include "heap/usage.h"
#include "os/lock.h"
#include "os/losses.h"
#include "os/thread.h"
#include "stack/chain.h"
#include "table/column.h"

/* As many as a region has room for. */
#define MAX_LOCATIONS (CMR_USAGE_CHUNK * CMR_USAGE_CHUNKS - 1)
#define NUMBER_BITS 24
#define NUMBER_MASK (((uint32_t)1 << NUMBER_BITS) - 1)
_Static_assert(MAX_LOCATIONS <= NUMBER_MASK, "a number must fit beside a kind");

_Atomic uint32_t cmr_interning = 1;

/* A stack has few allocators, mostly one, so its locations are a list, from the number of its node on:
 *
 *   firsts   of each node, the newest location; 0 = none
 *   nodes    of each location, its node
 *   links    of each location, { kind (8) | next of the same node (24) }
 *
 * Reading takes no lock: what a list begins with is published with release order after its location,
 * and locations never change. */
static struct {
	struct cmr_lock lock; /* CMR_RANK_INTERN; all writing */
	struct cmr_column firsts, nodes, links;
	cmr_word first_of_lost; /* that of CMR_NODE_LOST */
	_Atomic uint32_t n;     /* numbers 1..n are valid */
} locations = { .lock = CMR_LOCK(CMR_RANK_INTERN) };

static void end_thread(struct cmr_thread *thread)
{
	cmr_chain_free(thread->chain);
	thread->chain = NULL;
}

enum cmr_status cmr_locations_init(struct cmr_error *err)
{
	enum cmr_status status = CMR_OK;

	cmr_thread_on_exit = end_thread;
	if (locations.firsts.chunks == NULL)
		status = cmr_column_init(&locations.firsts, CMR_MOST_NODES, err);
	if (status == CMR_OK && locations.nodes.chunks == NULL)
		status = cmr_column_init(&locations.nodes, MAX_LOCATIONS, err);
	if (status == CMR_OK && locations.links.chunks == NULL)
		status = cmr_column_init(&locations.links, MAX_LOCATIONS, err);
	return status;
}

/* What COLUMN says of location NUMBER, which is there. */
static uint32_t word_of(const struct cmr_column *column, uint32_t number)
{
	return atomic_load_explicit(cmr_column_at(column, number), memory_order_relaxed);
}

/* Where the list of NODE begins; NULL when there is no such place yet. */
static cmr_word *first_of(cmr_node_id node)
{
	return node == CMR_NODE_LOST ? &locations.first_of_lost
				     : cmr_column_at(&locations.firsts, node);
}

/* The location of KIND in the list that begins at FIRST, or 0. */
static uint32_t find(const cmr_word *first, uint32_t kind)
{
	/* Pairs with the release store of add_locked. */
	uint32_t number = atomic_load_explicit(first, memory_order_acquire);

	while (number != 0) {
		uint32_t link = word_of(&locations.links, number);

		if (link >> NUMBER_BITS == kind)
			return number;
		number = link & NUMBER_MASK;
	}
	return 0;
}

static uint32_t add_locked(cmr_node_id node, uint32_t kind)
{
	uint32_t number = atomic_load_explicit(&locations.n, memory_order_relaxed) + 1, known;
	cmr_word *first = node == CMR_NODE_LOST ? &locations.first_of_lost
						: cmr_column_make(&locations.firsts, node);
	cmr_word *of_node, *link;

	if (first == NULL)
		return 0;
	known = find(first, kind);
	if (known != 0)
		return known;
	of_node = cmr_column_make(&locations.nodes, number);
	link = cmr_column_make(&locations.links, number);
	if (of_node == NULL || link == NULL)
		return 0;
	atomic_store_explicit(of_node, node, memory_order_relaxed);
	atomic_store_explicit(link,
			      kind << NUMBER_BITS |
				      atomic_load_explicit(first, memory_order_relaxed),
			      memory_order_relaxed);
	/* The number is taken before it is published, so that a fork in between wastes it. */
	atomic_store_explicit(&locations.n, number, memory_order_release);
	atomic_store_explicit(first, number, memory_order_release);
	return number;
}

uint32_t cmr_locations_add(cmr_node_id node, uint32_t kind)
{
	const cmr_word *first = first_of(node);
	uint32_t number = first != NULL ? find(first, kind) : 0;

	if (number != 0)
		return number;
	cmr_lock_take(&locations.lock);
	number = add_locked(node, kind);
	cmr_lock_drop(&locations.lock);
	if (number == 0)
		cmr_lose(CMR_LOSS_stacks);
	return number;
}

/* A note in a spot is kind and number, 0 for none.
 *
 * Where no note tells, which is where no spot is as well. */
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
			return spot->notes[i] & NUMBER_MASK;
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
		return spot->notes[0] & NUMBER_MASK;
	return look_up(thread, spot, kind);
}

struct cmr_location cmr_locations_get(uint32_t number)
{
	return (struct cmr_location){ word_of(&locations.nodes, number),
				      word_of(&locations.links, number) >> NUMBER_BITS };
}

uint32_t cmr_locations_count(void)
{
	return atomic_load_explicit(&locations.n, memory_order_acquire);
}

void cmr_locations_reset(void)
{
	if (locations.firsts.chunks == NULL || locations.nodes.chunks == NULL ||
	    locations.links.chunks == NULL)
		return;
	atomic_fetch_add_explicit(&cmr_interning, 1, memory_order_relaxed);
	cmr_column_reset(&locations.firsts);
	cmr_column_reset(&locations.nodes);
	cmr_column_reset(&locations.links);
	atomic_store(&locations.first_of_lost, 0);
	atomic_store(&locations.n, 0);
	cmr_nodes_reset();
}

void cmr_locations_after_fork(void)
{
	locations.lock = (struct cmr_lock)CMR_LOCK(CMR_RANK_INTERN);
}
