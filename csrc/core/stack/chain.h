/* Per-thread chain: the frames of the last walk with their nodes, verified in place by the next.
 *
 * A frame address, even a whole equal top part, proves nothing about the frames below it: callers
 * may have moved on while the same addresses were reused. So every link and instruction is checked,
 * but in the order of the array: loads do not depend on each other, and nothing is re-interned from
 * the first unchanged frame down. A cached pointer is dereferenced only after a live frame was
 * found to link to it.
 *
 *   bottom                                          top
 *   e[0] ── e[1] ── ... ── e[k] ── popped           { frame, instruction, node }
 *                            └──── pushed since: collected from the top until one is e[k].frame
 *
 * Two words tell a frame: an instruction lies inside one code object's bytecode, and the death of a
 * code object bumps cmr_code_epoch, which voids everything here. */
#ifndef CMR_STACK_CHAIN_H
#define CMR_STACK_CHAIN_H

#include <stddef.h>

#include "stack/nodes.h"
#include "stack/provider.h"

struct cmr_thread;
struct cmr_chain;

#define CMR_MOST_FRAMES ((size_t)1 << 20)

/* Node of the calling thread's present stack. Walks only the caller's own frames; call after a
 * successful allocation only, never on free, resize to zero or unmap (a switching green thread may
 * have no readable stack then). Stops below thread->root when that frame is met: `root` itself and
 * its callers are left out. Node 0 when no Python code runs, or without a provider. CMR_NODE_LOST
 * (with a `stacks` loss counted) when memory was refused or the frames are damaged: more than
 * CMR_MOST_FRAMES of them. [hot] [nomalloc] */
cmr_node_id cmr_chain_walk(struct cmr_thread *thread);

/* Frees a thread's chain (thread exit); NULL is ignored. */
void cmr_chain_free(struct cmr_chain *chain);

#endif
