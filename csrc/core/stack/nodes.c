#include "stack/nodes.h"

#include <stdatomic.h>
#include <stddef.h>

#include "os/lock.h"
#include "os/losses.h"
#include "os/ticks.h"
#include "stack/provider.h"
#include "table/column.h"
#include "table/intern.h"

const struct cmr_provider *cmr_provider;
_Atomic uint32_t cmr_code_epoch = 1;
_Atomic uint32_t cmr_nodes_serial;

static struct cmr_intern nodes;

/* Node -> its first child. Most have one only, so most stacks need no hash. The lock is that of the
 * nodes' set, except for the making of a chunk, which has one of its own. */
static struct cmr_column first_children;
static struct cmr_lock column_lock = CMR_LOCK(CMR_RANK_INTERN);

enum cmr_status cmr_nodes_init(struct cmr_error *err)
{
	enum cmr_status status = CMR_OK;

	if (first_children.chunks == NULL)
		status = cmr_column_init(&first_children, CMR_MOST_NODES, err);
	if (status != CMR_OK || nodes.chunks != NULL)
		return status;
	cmr_ticks_init();
	return cmr_intern_init_words(&nodes, 3, CMR_MOST_NODES, err);
}

/* Where the first child of PARENT is kept. Always the same, since a child needs it: NULL when memory is
 * refused. */
static cmr_word *first_child_of(cmr_node_id parent)
{
	cmr_word *word = cmr_column_at(&first_children, parent);

	if (__builtin_expect(word == NULL, 0)) {
		cmr_lock_take(&column_lock);
		word = cmr_column_make(&first_children, parent);
		cmr_lock_drop(&column_lock);
	}
	return word;
}

cmr_node_id cmr_nodes_child(cmr_node_id parent, uint32_t code, int32_t offset)
{
	struct cmr_key key = { (uint64_t)parent << 32 | code, (uint32_t)offset };
	uint32_t number = 0;
	cmr_word *place;

	if (parent != CMR_NODE_LOST && nodes.chunks != NULL) {
		place = first_child_of(parent);
		if (place != NULL)
			number = cmr_intern_add_at(&nodes, key, place);
	}
	if (number != 0)
		return number;
	cmr_lose(CMR_LOSS_stacks);
	return CMR_NODE_LOST;
}

struct cmr_node cmr_nodes_get(cmr_node_id id)
{
	struct cmr_key key = cmr_intern_key(&nodes, id);

	return (struct cmr_node){ .parent = (cmr_node_id)(key.a >> 32),
				  .code = (uint32_t)key.a,
				  .offset = (int32_t)(uint32_t)key.b };
}

uint32_t cmr_nodes_count(void)
{
	return cmr_intern_count(&nodes);
}

void cmr_nodes_reset(void)
{
	atomic_fetch_add_explicit(&cmr_nodes_serial, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&cmr_code_epoch, 1, memory_order_release);
	if (cmr_provider != NULL && cmr_provider->forget != NULL)
		cmr_provider->forget();
	if (nodes.chunks != NULL) {
		cmr_column_reset(&first_children);
		cmr_intern_reset(&nodes);
	}
}

void cmr_nodes_after_fork(void)
{
	cmr_intern_after_fork(&nodes);
	column_lock = (struct cmr_lock)CMR_LOCK(CMR_RANK_INTERN);
}
