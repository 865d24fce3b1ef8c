#include "stack/spots.h"

#include "os/losses.h"

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

/* Not cached are frames to be skipped, whose instruction says nothing, and instructions in a thread's
 * own copy of the bytecode: such a copy may go before its code object does. */
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
	*slot = (struct cmr_spot){ .instruction = instruction, .parent = parent, .node = node, .epoch = epoch };
	return slot;
}
