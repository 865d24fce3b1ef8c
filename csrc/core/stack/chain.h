/* Per-thread chain: the frames of the last walk with their nodes, verified in place by the next.
 *
 * A frame address, even a whole equal top part, proves nothing about the frames below it: callers
 * may have moved on while the same addresses were reused. So links and instructions are checked, in
 * the order of the array: loads do not depend on each other, and nothing is re-interned from the first
 * unchanged frame down. A cached pointer is dereferenced only after a live frame was found to link to
 * it.
 *
 *   bottom                                                top
 *   e[0] ── e[1] ── ... ── e[j] ── e[j+1] ── ... ── e[k] ── popped
 *   proven by the clock ───────┘ └── verified ───────┘  └── pushed since: collected from the top
 *                                                           until one is e[k].frame
 *
 *   e: { frame, instruction, node, cost }
 *
 * Two words tell a frame: an instruction lies inside one code object's bytecode, and the death of a
 * code object bumps cmr_code_epoch, which voids what may have been left since.
 *
 * How far down: control comes back to e[j], so that its instruction moves on or it ends, only when all
 * frames above have been left; and if they are there again, each was entered again. An interpreter
 * cannot leave and enter a frame in no time. cost(e[k]) - cost(e[j]) is the least that it can take for
 * e[j+1..k], summed up when they are numbered:
 *
 *   CMR_CHAIN_NS_OF_CALL    a return and a call of a Python function: 18 ns or more on a machine of
 *                           2024, from CPython 3.11 to 3.13
 *   CMR_CHAIN_NS_OF_RESUME  a yield and a resumption of one generator of a chain of `yield from`: 8 ns
 *                           or more there. The same for every other kind of frame.
 *
 * So whatever lies below e[j] is as it was if the last walk of this thread is less than that ago. The
 * clock is read without fences (os/ticks.h): CMR_CHAIN_SLACK frames more are verified, for what a
 * processor may have in flight. A test measures both costs on the interpreter that runs it.
 *
 * What has no such cost. Whole stacks are exchanged at once by green threads, by thread states that
 * an extension swaps, and by sub-interpreters. Both stacks exist then, at different addresses: the
 * walk finds no known frame, or one whose link is another, and goes to the bottom or to a frame that
 * the clock vouches for. That an exchanged stack is released as a whole and another one is made at its
 * addresses takes the calls that make it. A generator brings no frames along: those that it runs end
 * when it is suspended, and a chain of `yield from` is resumed one by one. Code that moves on a frame
 * which does not run is a debugger's: setting f_lineno of a caller. That is seen late: stacks deeper
 * than a few are verified to the bottom at the latest once in 1024 walks, or once in as many as there
 * are frames if that is more. So is what a counter that was set back may hide.
 *
 * Without a clock, and on stacks of a few dozen frames, every walk verifies to the bottom. */
#ifndef CMR_STACK_CHAIN_H
#define CMR_STACK_CHAIN_H

#include <stddef.h>

#include "stack/nodes.h"
#include "stack/spots.h"

struct cmr_thread;
struct cmr_chain;

#define CMR_MOST_FRAMES ((size_t)1 << 20)

/* See above. No cost may be more than that of a call. */
#define CMR_CHAIN_NS_OF_CALL 3u
#define CMR_CHAIN_NS_OF_RESUME 1u
#define CMR_CHAIN_SLACK ((size_t)16)

/* Node of the calling thread's present stack. Walks only the caller's own frames; call after a
 * successful allocation only, never on free, resize to zero or unmap (a switching green thread may
 * have no readable stack then). Stops below thread->root when that frame is met: `root` itself and
 * its callers are left out. Node 0 when no Python code runs, or without a provider. CMR_NODE_LOST
 * (with a `stacks` loss counted) when memory was refused or the frames are damaged: more than
 * CMR_MOST_FRAMES of them. [hot] [nomalloc] */
cmr_node_id cmr_chain_walk(struct cmr_thread *thread);

/* As cmr_chain_walk, with room for what the caller keeps about the stack: the node is
 * spot->node. Valid until this thread's next call. NULL: no Python code runs, or there is no
 * memory for a chain, and thread->last_node says which (0, CMR_NODE_LOST). [hot] [nomalloc] */
struct cmr_spot *cmr_chain_spot(struct cmr_thread *thread);

/* Frees a thread's chain (thread exit); NULL is ignored. */
void cmr_chain_free(struct cmr_chain *chain);

#endif
