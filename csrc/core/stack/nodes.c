#include "stack/nodes.h"

#include <stdatomic.h>
#include <stddef.h>

#include "os/losses.h"
#include "os/ticks.h"
#include "stack/provider.h"
#include "table/intern.h"

#define MOST_NODES ((uint32_t)1 << 26)

const struct cmr_provider *cmr_provider;
_Atomic uint32_t cmr_code_epoch = 1;
_Atomic uint32_t cmr_nodes_serial;

static struct cmr_intern nodes;

enum cmr_status cmr_nodes_init(struct cmr_error *err)
{
	if (nodes.chunks != NULL)
		return CMR_OK;
	cmr_ticks_init();
	return cmr_intern_init_words(&nodes, 3, MOST_NODES, err);
}

cmr_node_id cmr_nodes_child(cmr_node_id parent, uint32_t code, int32_t offset)
{
	struct cmr_key key = { (uint64_t)parent << 32 | code, (uint32_t)offset };
	uint32_t number = 0;

	if (parent != CMR_NODE_LOST && nodes.chunks != NULL)
		number = cmr_intern_add(&nodes, key);
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
	if (nodes.chunks != NULL)
		cmr_intern_reset(&nodes);
}

void cmr_nodes_after_fork(void)
{
	cmr_intern_after_fork(&nodes);
}
