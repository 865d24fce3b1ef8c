#include "stack/spots.h"

#include "os/losses.h"
#include "os/memory.h"

static size_t table_bytes(const struct cmr_spots *spots)
{
	return sizeof(struct cmr_spot) << (64 - spots->shift);
}

void cmr_spots_init(struct cmr_spots *spots)
{
	spots->slots = spots->first;
	spots->shift = 64 - CMR_FIRST_SPOTS_LOG2;
}

void cmr_spots_fini(struct cmr_spots *spots)
{
	if (spots->slots != spots->first)
		cmr_memory_unmap(spots->slots, table_bytes(spots));
}

/* What is in the table is found again, so it is left behind. Without memory the table stays. */
static void grow(struct cmr_spots *spots)
{
	struct cmr_spot *slots = cmr_memory_map(4 * table_bytes(spots));

	spots->misses = 0;
	if (slots == NULL)
		return;
	cmr_spots_fini(spots);
	spots->slots = slots;
	spots->shift -= 2;
}

static const struct cmr_code *find_code(struct cmr_spots *spots, uint32_t epoch, uintptr_t object)
{
	size_t i = (size_t)(object * 0x9e3779b97f4a7c15u >> (64 - CMR_SPOT_CODES_LOG2));
	const struct cmr_code *code;

	if (spots->codes[i].object == object && spots->codes[i].epoch == epoch)
		return spots->codes[i].code;
	code = cmr_provider->find_code((const void *)object);
	if (code != NULL) {
		spots->codes[i].object = object;
		spots->codes[i].code = code;
		spots->codes[i].epoch = epoch;
	}
	return code;
}

/* Where INSTRUCTION lies in CODE, in code units. */
static int32_t offset_of(const struct cmr_code *code, uintptr_t base, uintptr_t instruction)
{
	intptr_t bytes = (intptr_t)(instruction - base);

	/* One unit before the first is where a frame stands that has not begun. */
	if (base == 0 || bytes < -2 || bytes >= (intptr_t)code->n_units * 2)
		return CMR_NO_OFFSET;
	return (int32_t)(bytes >> 1);
}

static cmr_node_id make_node(struct cmr_spots *spots, uint32_t epoch, const char *frame,
			     uintptr_t instruction, cmr_node_id parent)
{
	const struct cmr_frame_layout *layout = &cmr_provider->layout;
	const struct cmr_code *code;
	uintptr_t object, base;
	int32_t offset;

	object = cmr_frame_word(frame, layout->code) & layout->code_mask;
	if (object == 0)
		return parent;
	code = find_code(spots, epoch, object);
	if (code == NULL) {
		cmr_lose(CMR_LOSS_stacks);
		return CMR_NODE_LOST;
	}
	base = code->bytecode;
	if (cmr_frame_has_own_bytecode(layout, frame) && cmr_provider->bytecode_base != NULL)
		base = cmr_provider->bytecode_base(frame, (const void *)object);
	offset = offset_of(code, base, instruction);
	if (offset != CMR_NO_OFFSET && offset < (int32_t)code->first_traceable)
		return parent;
	return cmr_nodes_child(parent, code->number, offset);
}

struct cmr_spot *cmr_spot_loose(struct cmr_spots *spots, uint32_t epoch, cmr_node_id node)
{
	if (spots->loose.node != node || spots->loose.epoch != epoch)
		spots->loose = (struct cmr_spot){ .node = node, .epoch = epoch };
	return &spots->loose;
}

/* Not cached are frames to be skipped, whose instruction says nothing, and instructions in a
 * thread's own copy of the bytecode: such a copy may go before its code object does. */
struct cmr_spot *cmr_spot_make(struct cmr_spots *spots, struct cmr_spot *slot, uint32_t epoch,
			       const char *frame, uintptr_t instruction, cmr_node_id parent)
{
	const struct cmr_frame_layout *layout = &cmr_provider->layout;
	cmr_node_id node;

	if (cmr_frame_is_skipped(layout, frame))
		return cmr_spot_loose(spots, epoch, parent);
	node = make_node(spots, epoch, frame, instruction, parent);
	if (node == CMR_NODE_LOST || cmr_frame_has_own_bytecode(layout, frame))
		return cmr_spot_loose(spots, epoch, node);
	/* Twice as many misses as there are slots. */
	if (spots->misses++ >> (65 - spots->shift) != 0 &&
	    spots->shift > 64 - CMR_MOST_SPOTS_LOG2) {
		grow(spots);
		slot = cmr_spot_slot(spots, instruction, parent);
	}
	*slot = (struct cmr_spot){
		.instruction = instruction, .parent = parent, .node = node, .epoch = epoch
	};
	return slot;
}
