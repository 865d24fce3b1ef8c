#include "stack/chain.h"

#include <string.h>

#include "os/losses.h"
#include "os/memory.h"
#include "os/thread.h"

/* Entries of the first mapping: more than most programs need. */
#define FIRST_FRAMES ((size_t)256)

/* So many of the newest frames may be pushed, and so many popped, between two walks, before the walk
 * goes down to the bottom. */
#define WINDOW ((size_t)8)

/* Direct-mapped caches. */
#define NODE_CACHE_LOG2 9
#define CODE_CACHE_LOG2 7

struct entry {
	const char *frame;
	uintptr_t instruction;
	cmr_node_id node;
};

/* What a frame's instruction became below a parent, earlier in this epoch. */
struct cached_node {
	uintptr_t instruction; /* 0: none */
	cmr_node_id parent, node;
};

struct cached_code {
	uintptr_t code; /* 0: none */
	const struct cmr_code *copy;
};

/* Used by the owning thread only. One array holds both the entries, from its beginning, and during a
 * walk the fresh frames that were collected above them, from its end, topmost last:
 *
 *   e[0] e[1] ... e[n-1]    (room)    fresh[n_fresh-1] ... fresh[1] fresh[0]
 */
struct cmr_chain {
	uint32_t epoch;   /* cmr_code_epoch for which all below holds */
	const char *root; /* thread->root for which the entries hold */
	size_t n, n_fresh, capacity;
	struct entry *entries;
	struct cached_node nodes[1 << NODE_CACHE_LOG2];
	struct cached_code codes[1 << CODE_CACHE_LOG2];
};

/* --- reading a frame ----------------------------------------------------------------------- */

/* Words of structs that this file has no types for. */
typedef uintptr_t __attribute__((may_alias)) any_word;
typedef int32_t __attribute__((may_alias)) any_int32;

static inline uintptr_t word_at(const char *frame, uint32_t offset)
{
	return *(const any_word *)(const void *)(frame + offset);
}

static inline const char *previous_of(const struct cmr_frame_layout *layout, const char *frame)
{
	return (const char *)word_at(frame, layout->previous);
}

static inline uintptr_t instruction_of(const struct cmr_frame_layout *layout, const char *frame)
{
	return word_at(frame, layout->instruction);
}

static inline bool is_skipped(const struct cmr_frame_layout *layout, const char *frame)
{
	return layout->skip_owner != 255 && (uint8_t)frame[layout->owner] >= layout->skip_owner;
}

static inline bool has_own_bytecode(const struct cmr_frame_layout *layout, const char *frame)
{
	return layout->tlbc != 0 && *(const any_int32 *)(const void *)(frame + layout->tlbc) != 0;
}

/* Slot of a cache of 1 << LOG2 entries (Knuth's multiplicative hash). */
static inline size_t slot_of(uint64_t key, unsigned log2)
{
	return (size_t)(key * 0x9e3779b97f4a7c15u >> (64 - log2));
}

/* --- from frames to nodes ------------------------------------------------------------------ */

static const struct cmr_code *find_code(struct cmr_chain *chain, uintptr_t code)
{
	struct cached_code *cached = &chain->codes[slot_of(code, CODE_CACHE_LOG2)];
	const struct cmr_code *copy;

	if (cached->code == code)
		return cached->copy;
	copy = cmr_provider->find_code((const void *)code);
	if (copy != NULL)
		*cached = (struct cached_code){ code, copy };
	return copy;
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

/* Node of FRAME, which is not to be skipped, below PARENT. Frames that hold no Python code, or have not
 * begun to run, take the node of their parent. */
static cmr_node_id make_node(struct cmr_chain *chain, const char *frame, uintptr_t instruction,
			     cmr_node_id parent)
{
	const struct cmr_frame_layout *layout = &cmr_provider->layout;
	const struct cmr_code *code;
	uintptr_t object, base;
	int32_t offset;

	object = word_at(frame, layout->code) & layout->code_mask;
	if (object == 0)
		return parent;
	code = find_code(chain, object);
	if (code == NULL) {
		cmr_lose(CMR_LOSS_stacks);
		return CMR_NODE_LOST;
	}
	base = code->bytecode;
	if (has_own_bytecode(layout, frame) && cmr_provider->bytecode_base != NULL)
		base = cmr_provider->bytecode_base(frame, (const void *)object);
	offset = offset_of(code, base, instruction);
	if (offset != CMR_NO_OFFSET && offset < (int32_t)code->first_traceable)
		return parent;
	return cmr_nodes_child(parent, code->number, offset);
}

/* As make_node, from the cache when it can. Not cached are frames to be skipped, whose instruction
 * says nothing, and instructions in a thread's own copy of the bytecode: such a copy may go before
 * its code object does. */
static cmr_node_id node_of(struct cmr_chain *chain, const char *frame, uintptr_t instruction,
			   cmr_node_id parent)
{
	uint64_t key = instruction ^ (uint64_t)parent << 32;
	struct cached_node *cached = &chain->nodes[slot_of(key, NODE_CACHE_LOG2)];
	cmr_node_id node;

	if (is_skipped(&cmr_provider->layout, frame))
		return parent;
	if (has_own_bytecode(&cmr_provider->layout, frame))
		return make_node(chain, frame, instruction, parent);
	if (cached->instruction == instruction && cached->parent == parent && instruction != 0)
		return cached->node;
	node = make_node(chain, frame, instruction, parent);
	if (node != CMR_NODE_LOST)
		*cached = (struct cached_node){ instruction, parent, node };
	return node;
}

/* --- storage ------------------------------------------------------------------------------- */

void cmr_chain_free(struct cmr_chain *chain)
{
	if (chain == NULL)
		return;
	cmr_memory_unmap(chain->entries, chain->capacity * sizeof *chain->entries);
	cmr_memory_unmap(chain, sizeof *chain);
}

/* Gives up what the chain knows, and its array with it: it may have been filled by damaged frames. */
static void drop_entries(struct cmr_chain *chain)
{
	cmr_memory_unmap(chain->entries, chain->capacity * sizeof *chain->entries);
	chain->entries = NULL;
	chain->capacity = chain->n = 0;
}

/* Voids what holds no longer. */
static void refresh(struct cmr_chain *chain, uint32_t epoch, const char *root)
{
	if (chain->epoch != epoch) {
		memset(chain->nodes, 0, sizeof chain->nodes);
		memset(chain->codes, 0, sizeof chain->codes);
	}
	chain->epoch = epoch;
	chain->root = root;
	chain->n = 0;
}

static bool grow(struct cmr_chain *chain)
{
	size_t old = chain->capacity, capacity = old != 0 ? 2 * old : FIRST_FRAMES;
	struct entry *entries;

	if (old == 0)
		entries = cmr_memory_map(capacity * sizeof *entries);
	else
		entries = cmr_memory_grow(chain->entries, old * sizeof *entries,
					  capacity * sizeof *entries);
	if (entries == NULL)
		return false;
	memmove(&entries[capacity - chain->n_fresh], &entries[old - chain->n_fresh],
		chain->n_fresh * sizeof *entries);
	chain->entries = entries;
	chain->capacity = capacity;
	return true;
}

static bool push_fresh(struct cmr_chain *chain, const char *frame)
{
	if (chain->n_fresh == CMR_MOST_FRAMES)
		return false;
	if (chain->n + chain->n_fresh == chain->capacity && !grow(chain))
		return false;
	chain->n_fresh++;
	chain->entries[chain->capacity - chain->n_fresh].frame = frame;
	return true;
}

/* --- the walk ------------------------------------------------------------------------------ */

/* 1 + index of the entry of FRAME among the newest, or 0. */
static size_t find_recent(const struct cmr_chain *chain, const char *frame)
{
	size_t last = chain->n > WINDOW ? chain->n - WINDOW : 0;

	for (size_t k = chain->n; k > last; k--)
		if (chain->entries[k - 1].frame == frame)
			return k;
	return 0;
}

/* Checks entries K..0, of which K is known to be live. False: the stack below is another one now.
 * *CHANGED becomes the lowest index whose instruction moved on, K + 1 if none did. */
static bool verify(const struct cmr_chain *chain, size_t k, size_t *changed)
{
	const struct cmr_frame_layout layout = cmr_provider->layout;
	const struct entry *entry = &chain->entries[k];
	const char *previous;

	*changed = k + 1;
	for (;; entry--) {
		previous = previous_of(&layout, entry->frame);
		if (instruction_of(&layout, entry->frame) != entry->instruction)
			*changed = (size_t)(entry - chain->entries);
		if (entry == chain->entries)
			return previous == NULL || previous == chain->root;
		if (previous != entry[-1].frame)
			return false;
	}
}

/* All live frames are fresh: keeps the entries that they agree with from the bottom up. Returns the
 * number of them. */
static size_t keep_common(struct cmr_chain *chain)
{
	const struct entry *fresh = &chain->entries[chain->capacity - chain->n_fresh];
	size_t most = chain->n < chain->n_fresh ? chain->n : chain->n_fresh, n = 0;

	while (n < most && chain->entries[n].frame == fresh[n].frame &&
	       chain->entries[n].instruction ==
		       instruction_of(&cmr_provider->layout, fresh[n].frame))
		n++;
	chain->n = n;
	chain->n_fresh -= n;
	return n;
}

/* Numbers the entries from FROM up. False: one is lost (which was counted). */
static bool renew(struct cmr_chain *chain, size_t from)
{
	const struct cmr_frame_layout *layout = &cmr_provider->layout;
	cmr_node_id node = from != 0 ? chain->entries[from - 1].node : 0;

	for (size_t i = from; i < chain->n; i++) {
		struct entry *entry = &chain->entries[i];

		entry->instruction = instruction_of(layout, entry->frame);
		node = node_of(chain, entry->frame, entry->instruction, node);
		if (node == CMR_NODE_LOST)
			return false;
		entry->node = node;
	}
	return true;
}

/* Appends the fresh frames and numbers all entries from FROM up. */
static bool settle(struct cmr_chain *chain, size_t from)
{
	if (chain->n_fresh != 0)
		memmove(&chain->entries[chain->n],
			&chain->entries[chain->capacity - chain->n_fresh],
			chain->n_fresh * sizeof *chain->entries);
	chain->n += chain->n_fresh;
	return renew(chain, from);
}

/* Makes the entries those of the stack whose newest frame is TOP. False: lost, counted. */
static bool update(struct cmr_chain *chain, const char *top)
{
	bool meets = true;
	size_t k, from;

	chain->n_fresh = 0;
	for (const char *frame = top; frame != NULL && frame != chain->root;
	     frame = previous_of(&cmr_provider->layout, frame)) {
		k = meets && chain->n_fresh <= WINDOW ? find_recent(chain, frame) : 0;
		if (k != 0 && verify(chain, k - 1, &from)) {
			chain->n = k;
			return settle(chain, from);
		}
		meets = meets && k == 0;
		if (!push_fresh(chain, frame)) {
			cmr_lose(CMR_LOSS_stacks);
			drop_entries(chain);
			return false;
		}
	}
	return settle(chain, keep_common(chain));
}

cmr_node_id cmr_chain_walk(struct cmr_thread *thread)
{
	struct cmr_chain *chain = thread->chain;
	const char *top, *root = thread->root;
	uint32_t epoch;

	top = cmr_provider != NULL ? cmr_provider->top_frame() : NULL;
	if (top == NULL)
		return 0;
	if (__builtin_expect(chain == NULL, 0)) {
		chain = thread->chain = cmr_memory_map(sizeof *chain);
		if (chain == NULL) {
			cmr_lose(CMR_LOSS_stacks);
			return CMR_NODE_LOST;
		}
	}
	/* Pairs with the release in who bumps it: a code object that took the place of a dead one
	 * reached this thread after that. */
	epoch = atomic_load_explicit(&cmr_code_epoch, memory_order_acquire);
	if (__builtin_expect(chain->epoch != epoch || chain->root != root, 0))
		refresh(chain, epoch, root);
	if (__builtin_expect(!update(chain, top), 0)) {
		chain->n = 0;
		return CMR_NODE_LOST;
	}
	return chain->n != 0 ? chain->entries[chain->n - 1].node : 0;
}
