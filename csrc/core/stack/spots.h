/* From frames to nodes, by a cache per thread: a spot is an instruction below a stack.
 *
 *   frame's instruction, node of its caller ──> spot { node, notes }
 *                                        else ──> code object ──> cmr_code ──> cmr_nodes_child
 *
 * A spot takes half a cache line, and has room for what the caller keeps about it: so a block that is
 * allocated where another was before costs one line for its stack and its location together. */
#ifndef CMR_STACK_SPOTS_H
#define CMR_STACK_SPOTS_H

#include <stddef.h>

#include "stack/frame.h"
#include "stack/nodes.h"

#define CMR_SPOT_NOTES 3

struct cmr_spot {
	uintptr_t instruction;
	cmr_node_id parent, node;
	uint32_t epoch; /* cmr_code_epoch for which all here holds; never that of an empty spot */
	uint32_t notes[CMR_SPOT_NOTES]; /* the caller's business; 0 in a new spot */
};

/* The table begins small, for threads that do little, and grows fourfold for those that miss
 * often. */
#define CMR_FIRST_SPOTS_LOG2 6
#define CMR_MOST_SPOTS_LOG2 12
#define CMR_SPOT_CODES_LOG2 4

/* Used by one thread only. */
struct cmr_spots {
	struct cmr_spot *slots; /* direct-mapped */
	unsigned shift;         /* what makes a hash an index */
	uint32_t misses;        /* since the table was made */
	struct {
		uintptr_t object;
		const struct cmr_code *code;
		uint32_t epoch;
	} codes[1 << CMR_SPOT_CODES_LOG2]; /* direct-mapped */
	/* Of a frame that is not cached. Its notes are kept while its node is the same. */
	struct cmr_spot loose;
	struct cmr_spot first[1 << CMR_FIRST_SPOTS_LOG2];
};

/* SPOTS is all zero. */
void cmr_spots_init(struct cmr_spots *spots);

/* Gives back what it took beside itself. */
void cmr_spots_fini(struct cmr_spots *spots);

/* As cmr_spot_of, when it is not in SLOT. */
struct cmr_spot *cmr_spot_make(struct cmr_spots *spots, struct cmr_spot *slot, uint32_t epoch,
			       const char *frame, uintptr_t instruction, cmr_node_id parent);

/* The loose spot, for NODE. */
struct cmr_spot *cmr_spot_loose(struct cmr_spots *spots, uint32_t epoch, cmr_node_id node);

/* Where a spot is or would be (Knuth's multiplicative hash). */
static inline struct cmr_spot *cmr_spot_slot(struct cmr_spots *spots, uintptr_t instruction,
					     cmr_node_id parent)
{
	uint64_t key = instruction ^ (uint64_t)parent << 32;

	return &spots->slots[key * 0x9e3779b97f4a7c15u >> spots->shift];
}

/* Whether SLOT is the spot of live FRAME, whose instruction is INSTRUCTION, below PARENT. Frames
 * in a thread's own bytecode are never found: none that lives has the address of one that was
 * put in. */
static inline bool cmr_spot_is(const struct cmr_spot *slot, uint32_t epoch, const char *frame,
			       uintptr_t instruction, cmr_node_id parent)
{
	return slot->instruction == instruction && slot->parent == parent && slot->epoch == epoch &&
	       !cmr_frame_is_skipped(&cmr_provider->layout, frame);
}

/* The spot of live FRAME, whose instruction is INSTRUCTION, below PARENT; EPOCH is
 * cmr_code_epoch. Frames that hold no Python code, or have not begun to run, take the node of
 * their parent. Valid until the next call. Its node is CMR_NODE_LOST when memory was refused
 * (the loss is counted). [hot] [nomalloc] */
static inline struct cmr_spot *cmr_spot_of(struct cmr_spots *spots, uint32_t epoch,
					   const char *frame, uintptr_t instruction,
					   cmr_node_id parent)
{
	struct cmr_spot *slot = cmr_spot_slot(spots, instruction, parent);

	if (__builtin_expect(cmr_spot_is(slot, epoch, frame, instruction, parent), 1))
		return slot;
	return cmr_spot_make(spots, slot, epoch, frame, instruction, parent);
}

#endif
