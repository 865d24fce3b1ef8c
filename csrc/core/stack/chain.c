#include "stack/chain.h"

#include <string.h>

#include "os/losses.h"
#include "os/memory.h"
#include "os/thread.h"
#include "os/ticks.h"

/* Entries of the first mapping: more than most programs need. */
#define FIRST_FRAMES ((size_t)256)

/* So many of the newest entries are searched for each of so many newest frames, before the walk goes
 * down to a frame that the clock proves to be there still. */
#define WINDOW ((size_t)8)

/* Stacks up to this many frames are checked whole: that costs no more than to read the clock. */
#define SHALLOW ((size_t)64)

/* Walks by the clock before one goes down to the bottom, and at least one for every frame. */
#define MOST_BOUNDED ((size_t)1024)

/* User-space addresses end here, but on machines that were asked for more. */
#define TAG_SHIFT 48

/* Direct-mapped caches. */
#define NODE_CACHE_LOG2 9
#define CODE_CACHE_LOG2 7

struct entry {
	const char *frame;
	uintptr_t instruction;
	cmr_node_id node;
	uint32_t cost; /* nanoseconds to leave and enter again this frame and all below it, at least */
};

/* What a frame's instruction became below a parent, earlier in this epoch. */
struct cached_node {
	uintptr_t instruction; /* tagged; 0: none */
	cmr_node_id parent, node;
};

struct cached_code {
	uintptr_t code; /* tagged; 0: none */
	const struct cmr_code *copy;
};

/* Used by the owning thread only. One array holds both the entries, from its beginning, and during a
 * walk the fresh frames that were collected above them, from its end, topmost last:
 *
 *   e[0] e[1] ... e[n-1]    (room)    fresh[n_fresh-1] ... fresh[1] fresh[0]
 */
struct cmr_chain {
	uint32_t epoch;  /* cmr_code_epoch for which the caches hold */
	uint32_t serial; /* cmr_nodes_serial for which all below holds */
	uintptr_t tag;   /* low 16 bits of epoch, where addresses have none */
	const char *root; /* thread->root for which the entries hold */
	size_t n, n_fresh, capacity;
	struct entry *entries;
	uint64_t ticks;   /* the entries were the stack then; 0: not known */
	size_t n_bounded; /* walks by the clock since the last down to the bottom */
	struct cmr_chain_note notes[CMR_CHAIN_NOTES];
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

/* What it takes at least to leave FRAME and to enter it again. */
static inline uint32_t cost_of(const struct cmr_frame_layout *layout, const char *frame)
{
	return (uint8_t)frame[layout->owner] == layout->function_owner ? CMR_CHAIN_NS_OF_CALL
								       : CMR_CHAIN_NS_OF_RESUME;
}

/* Slot of a cache of 1 << LOG2 entries (Knuth's multiplicative hash). */
static inline size_t slot_of(uint64_t key, unsigned log2)
{
	return (size_t)(key * 0x9e3779b97f4a7c15u >> (64 - log2));
}

/* --- from frames to nodes ------------------------------------------------------------------ */

/* Addresses that leave room for a tag; others are not cached. */
static inline bool has_room(uintptr_t address)
{
	return address >> TAG_SHIFT == 0;
}

static const struct cmr_code *find_code(struct cmr_chain *chain, uintptr_t code)
{
	struct cached_code *cached = &chain->codes[slot_of(code, CODE_CACHE_LOG2)];
	const struct cmr_code *copy;

	if (cached->code == (code ^ chain->tag) && has_room(code))
		return cached->copy;
	copy = cmr_provider->find_code((const void *)code);
	if (copy != NULL && has_room(code))
		*cached = (struct cached_code){ code ^ chain->tag, copy };
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

/* As node_of, past the cache. */
static cmr_node_id node_past_cache(struct cmr_chain *chain, const char *frame,
				   uintptr_t instruction, cmr_node_id parent,
				   struct cached_node *cached)
{
	cmr_node_id node;

	if (is_skipped(&cmr_provider->layout, frame))
		return parent;
	node = make_node(chain, frame, instruction, parent);
	if (node != CMR_NODE_LOST && has_room(instruction) &&
	    !has_own_bytecode(&cmr_provider->layout, frame))
		*cached = (struct cached_node){ instruction ^ chain->tag, parent, node };
	return node;
}

/* As make_node, from the cache when it can. Not cached are frames to be skipped, whose instruction
 * says nothing, and instructions in a thread's own copy of the bytecode: such a copy may go before
 * its code object does. */
static inline cmr_node_id node_of(struct cmr_chain *chain, const char *frame,
				  uintptr_t instruction, cmr_node_id parent)
{
	const struct cmr_frame_layout *layout = &cmr_provider->layout;
	uint64_t key = instruction ^ (uint64_t)parent << 32;
	struct cached_node *cached = &chain->nodes[slot_of(key, NODE_CACHE_LOG2)];

	if (__builtin_expect(cached->instruction == (instruction ^ chain->tag) &&
				     cached->parent == parent && instruction != 0 &&
				     has_room(instruction) && !is_skipped(layout, frame) &&
				     !has_own_bytecode(layout, frame),
			     1))
		return cached->node;
	return node_past_cache(chain, frame, instruction, parent, cached);
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

struct cmr_chain_note *cmr_chain_note(struct cmr_chain *chain, cmr_node_id node, uint32_t kind)
{
	return &chain->notes[(node * 8 + kind) % CMR_CHAIN_NOTES];
}

/* --- the clock ----------------------------------------------------------------------------- */

struct reading {
	uint64_t now;     /* 0: not taken, or no clock */
	uint32_t elapsed; /* no less than the nanoseconds since the entries were the stack */
};

/* Reads the clock when the stack is deep enough to make use of it. */
static inline struct reading read_clock(const struct cmr_chain *chain)
{
	struct reading reading = { 0, CMR_TICKS_LONG };

	if (chain->n <= SHALLOW)
		return reading;
	reading.now = cmr_ticks_now();
	if (chain->n_bounded < MOST_BOUNDED || chain->n_bounded < chain->n)
		reading.elapsed = cmr_ticks_between(chain->ticks, reading.now);
	return reading;
}

/* The highest entry below K that cannot have changed if K and those between are found to be as they
 * were, nor be gone; 0 if that cannot be said of any. */
static inline size_t unchanged_below(const struct cmr_chain *chain, size_t k, uint32_t elapsed)
{
	const struct entry *entries = chain->entries;
	uint32_t target;
	size_t j;

	if (elapsed >= entries[k].cost)
		return 0;
	/* No entry costs more than a call: it cannot be nearer than this. */
	target = entries[k].cost - elapsed;
	j = k - elapsed / CMR_CHAIN_NS_OF_CALL;
	while (entries[j].cost > target) {
		size_t step = (entries[j].cost - target - 1) / CMR_CHAIN_NS_OF_CALL + 1;

		if (step >= j)
			return 0;
		j -= step;
	}
	return j > CMR_CHAIN_SLACK ? j - CMR_CHAIN_SLACK : 0;
}

/* Notes that the entries are the stack at READING. */
static inline void note_time(struct cmr_chain *chain, struct reading reading, bool bounded)
{
	if (chain->n > SHALLOW && reading.now == 0)
		reading.now = cmr_ticks_now();
	chain->ticks = reading.now;
	chain->n_bounded = bounded ? chain->n_bounded + 1 : 0;
}

/* --- the walk ------------------------------------------------------------------------------ */

/* Where the entries begin to differ from the stack, and whether the clock vouches for some of those
 * below. */
struct place {
	size_t from;
	bool bounded;
};

/* 1 + index of the entry of FRAME among the newest, or 0. */
static size_t find_recent(const struct cmr_chain *chain, const char *frame)
{
	size_t last = chain->n > WINDOW ? chain->n - WINDOW : 0;

	for (size_t k = chain->n; k > last; k--)
		if (chain->entries[k - 1].frame == frame)
			return k;
	return 0;
}

/* Checks ENTRY, which is known to be live, and those below it down to STOP, which need not be looked
 * at itself, or to the bottom when it is the first. Returns the lowest whose instruction moved on,
 * ENTRY + 1 if none did; NULL: the stack below is another one now. */
static inline struct entry *verify(const struct cmr_chain *chain, struct entry *entry,
				   const struct entry *stop)
{
	const size_t previous_at = cmr_provider->layout.previous;
	const size_t instruction_at = cmr_provider->layout.instruction;
	struct entry *changed = entry + 1;
	const any_word *previous;

	/* The addresses come from the array and not from the links just read: so the processor need not
	 * wait for one frame before it loads from the next. */
	for (; entry != stop; entry--) {
		previous = (const any_word *)(const void *)(entry->frame + previous_at);
		if (*(const any_word *)(const void *)(entry->frame + instruction_at) !=
		    entry->instruction)
			changed = entry;
		if (*previous != (uintptr_t)entry[-1].frame)
			return NULL;
	}
	if (stop != chain->entries)
		return changed;
	previous = (const any_word *)(const void *)(entry->frame + previous_at);
	if (*(const any_word *)(const void *)(entry->frame + instruction_at) != entry->instruction)
		changed = entry;
	return *previous == 0 || *previous == (uintptr_t)chain->root ? changed : NULL;
}

/* All live frames above the entry before FROM are fresh: keeps the entries that they agree with, from
 * there up. Returns the number of all that are kept. */
static size_t keep_common(struct cmr_chain *chain, size_t from)
{
	const struct entry *fresh = &chain->entries[chain->capacity - chain->n_fresh];
	size_t most = chain->n - from < chain->n_fresh ? chain->n - from : chain->n_fresh, n = 0;

	while (n < most && chain->entries[from + n].frame == fresh[n].frame &&
	       chain->entries[from + n].instruction ==
		       instruction_of(&cmr_provider->layout, fresh[n].frame))
		n++;
	chain->n = from + n;
	chain->n_fresh -= n;
	return chain->n;
}

/* Numbers the entries from FROM up. False: one is lost (which was counted). */
static bool renew(struct cmr_chain *chain, size_t from)
{
	const struct cmr_frame_layout *layout = &cmr_provider->layout;
	cmr_node_id node = from != 0 ? chain->entries[from - 1].node : 0;
	uint32_t cost = from != 0 ? chain->entries[from - 1].cost : 0;

	for (size_t i = from; i < chain->n; i++) {
		struct entry *entry = &chain->entries[i];

		entry->instruction = instruction_of(layout, entry->frame);
		entry->cost = cost += cost_of(layout, entry->frame);
		node = node_of(chain, entry->frame, entry->instruction, node);
		if (__builtin_expect(node == CMR_NODE_LOST, 0))
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

/* FRAME is the live frame below those that are fresh. True: it is one of the newest entries, all below
 * is as it was but for instructions that moved on, and the newer entries are gone. *KNOWN becomes true
 * when there is no more use to ask. */
static bool meets_recent(struct cmr_chain *chain, const char *frame, struct reading reading,
			 bool *known, struct place *place)
{
	size_t k = find_recent(chain, frame), stop;
	const struct entry *changed;

	if (k == 0)
		return false;
	*known = true;
	stop = unchanged_below(chain, k - 1, reading.elapsed);
	changed = verify(chain, &chain->entries[k - 1], &chain->entries[stop]);
	if (changed == NULL)
		return false;
	chain->n = k;
	*place = (struct place){ (size_t)(changed - chain->entries), stop != 0 };
	return true;
}

/* An entry that is on the stack still and below which nothing changed, whatever is above; NULL if there
 * is none for certain. Only the leaving is proven to take its time here: half the cost. */
static const struct entry *find_pinned(const struct cmr_chain *chain, uint32_t elapsed)
{
	size_t pin = 0;

	if (chain->n != 0 && elapsed < CMR_TICKS_LONG / 2)
		pin = unchanged_below(chain, chain->n - 1, 2 * elapsed);
	return pin != 0 ? &chain->entries[pin] : NULL;
}

/* Collects frames from TOP down until they meet an entry that holds, or the bottom. False: too many, or
 * no memory. */
static bool collect(struct cmr_chain *chain, const char *top, struct reading reading,
		    struct place *place)
{
	const struct entry *pinned = NULL;
	const char *pinned_frame = NULL;
	bool known = false, looked = false;
	size_t pin = 0;

	for (const char *frame = top; frame != NULL && frame != chain->root;
	     frame = previous_of(&cmr_provider->layout, frame)) {
		if (!known && meets_recent(chain, frame, reading, &known, place))
			return true;
		if (frame == pinned_frame) {
			*place = (struct place){ keep_common(chain, pin + 1), true };
			return true;
		}
		if (!push_fresh(chain, frame))
			return false;
		known = known || chain->n_fresh > WINDOW;
		if (known && !looked) {
			looked = true;
			pinned = find_pinned(chain, reading.elapsed);
			if (pinned != NULL) {
				pin = (size_t)(pinned - chain->entries);
				pinned_frame = pinned->frame;
			}
		}
	}
	*place = (struct place){ keep_common(chain, 0), false };
	return true;
}

/* Makes the entries those of the stack whose newest frame is TOP; returns its node. */
static cmr_node_id update(struct cmr_chain *chain, const char *top, struct reading reading)
{
	struct place place;

	chain->n_fresh = 0;
	if (!collect(chain, top, reading, &place)) {
		cmr_lose(CMR_LOSS_stacks);
		drop_entries(chain);
		return CMR_NODE_LOST;
	}
	if (!settle(chain, place.from)) {
		chain->n = 0;
		return CMR_NODE_LOST;
	}
	note_time(chain, reading, place.bounded);
	return chain->n != 0 ? chain->entries[chain->n - 1].node : 0;
}

/* Voids what holds no longer. */
static void refresh(struct cmr_chain *chain, uint32_t epoch, const char *root,
		    struct reading reading)
{
	uint32_t serial = atomic_load_explicit(&cmr_nodes_serial, memory_order_relaxed);
	const struct entry *pinned;

	if (chain->root != root || chain->serial != serial) {
		chain->n = 0;
	} else if (chain->epoch != epoch) {
		/* A live frame keeps its code alive. */
		pinned = find_pinned(chain, reading.elapsed);
		chain->n = pinned != NULL ? (size_t)(pinned - chain->entries) + 1 : 0;
	}
	if ((chain->epoch ^ epoch) >> 16 != 0) {
		memset(chain->nodes, 0, sizeof chain->nodes);
		memset(chain->codes, 0, sizeof chain->codes);
	}
	chain->epoch = epoch;
	chain->tag = (uintptr_t)(epoch & 0xffff) << TAG_SHIFT;
	chain->serial = serial;
	chain->root = root;
}

/* The walk of a chain that is not there, empty, or not of this epoch and root. */
static cmr_node_id walk_anew(struct cmr_thread *thread, const char *top, uint32_t epoch)
{
	struct cmr_chain *chain = thread->chain;
	struct reading reading;

	if (chain == NULL) {
		chain = thread->chain = cmr_memory_map(sizeof *chain);
		if (chain == NULL) {
			cmr_lose(CMR_LOSS_stacks);
			return CMR_NODE_LOST;
		}
	}
	reading = read_clock(chain);
	refresh(chain, epoch, thread->root, reading);
	return update(chain, top, reading);
}

cmr_node_id cmr_chain_walk(struct cmr_thread *thread)
{
	struct cmr_chain *chain = thread->chain;
	const char *top = cmr_provider != NULL ? cmr_provider->top_frame() : NULL;
	struct entry *entry, *changed;
	struct reading reading;
	uint32_t epoch;
	size_t stop = 0;

	if (top == NULL)
		return 0;
	/* Pairs with the release in who bumps it: a code object that took the place of a dead one
	 * reached this thread after that. */
	epoch = atomic_load_explicit(&cmr_code_epoch, memory_order_acquire);
	if (__builtin_expect(chain == NULL || chain->epoch != epoch ||
				     chain->root != thread->root || chain->n == 0,
			     0))
		return walk_anew(thread, top, epoch);
	reading = read_clock(chain);
	entry = &chain->entries[chain->n - 1];
	if (entry->frame != top)
		return update(chain, top, reading);
	if (__builtin_expect(chain->n > SHALLOW, 0))
		stop = unchanged_below(chain, chain->n - 1, reading.elapsed);
	changed = verify(chain, entry, &chain->entries[stop]);
	if (__builtin_expect(changed == NULL, 0))
		return update(chain, top, reading);
	if (__builtin_expect(chain->n > SHALLOW, 0))
		note_time(chain, reading, stop != 0);
	if (changed <= entry && !renew(chain, (size_t)(changed - chain->entries))) {
		chain->n = 0;
		return CMR_NODE_LOST;
	}
	return entry->node;
}
