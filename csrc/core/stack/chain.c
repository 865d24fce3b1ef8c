#include "stack/chain.h"

#include <string.h>

#include "os/losses.h"
#include "os/memory.h"
#include "os/thread.h"
#include "os/ticks.h"

/* Entries of the first mapping: a page, and more than most programs need. */
#define FIRST_ENTRIES (4096 / sizeof(struct entry))

/* So many of the newest entries are searched for each of so many newest frames, before the walk goes
 * down to a frame that the clock proves to be there still. */
#define WINDOW ((size_t)8)

/* Stacks up to this many frames are verified whole: that costs no more than to read the clock. */
#define SHALLOW ((size_t)64)

/* Walks by the clock before one goes down to the bottom, and at least one for every frame. */
#define MOST_BOUNDED ((size_t)1024)

struct entry {
	const char *frame;
	uintptr_t instruction;
	cmr_node_id node;
	uint32_t cost; /* nanoseconds to leave and enter again this frame and all below it, at least */
};

/* Used by the owning thread only. One array holds both the entries, from its beginning, and during a
 * walk the fresh frames that were collected above them, from its end, topmost last:
 *
 *   e[0] e[1] ... e[n]    (room)    fresh[n_fresh-1] ... fresh[1] fresh[0]
 *
 * e[0] stands for the empty stack: node 0, cost 0, and as its frame what the lowest frame links to,
 * which is NULL or the root. */
struct cmr_chain {
	/* All that the common walk reads of this struct is in one line. */
	uint32_t epoch;  /* cmr_code_epoch for which all below holds */
	uint32_t serial; /* cmr_nodes_serial for which all below holds */
	const char *root;     /* thread->root for which the entries hold */
	struct entry *newest; /* e[n] of a stack that is to be verified whole; else NULL */
	struct entry *entries;
	struct cmr_spot *spot; /* of e[n], when n is not 0 */
	size_t n;
	uint64_t ticks;   /* the entries were the stack then; 0: not known */
	size_t n_bounded; /* walks by the clock since the last down to the bottom */
	size_t n_fresh, capacity;
	struct cmr_spots spots;
};
_Static_assert(sizeof(struct cmr_chain) <= 4096, "a thread that does little takes two pages");

/* --- storage ------------------------------------------------------------------------------- */

void cmr_chain_free(struct cmr_chain *chain)
{
	if (chain == NULL)
		return;
	cmr_memory_unmap(chain->entries, chain->capacity * sizeof *chain->entries);
	cmr_spots_fini(&chain->spots);
	cmr_memory_unmap(chain, sizeof *chain);
}

/* Knows nothing from here on. */
static void empty(struct cmr_chain *chain)
{
	chain->n = 0;
	chain->newest = NULL;
}

/* Gives up the array as well: it may have been filled by damaged frames. */
static void drop_entries(struct cmr_chain *chain)
{
	cmr_memory_unmap(chain->entries, chain->capacity * sizeof *chain->entries);
	chain->entries = NULL;
	chain->capacity = 0;
	empty(chain);
}

static bool grow(struct cmr_chain *chain)
{
	size_t old = chain->capacity, capacity = old != 0 ? 2 * old : FIRST_ENTRIES;
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
	if (1 + chain->n + chain->n_fresh >= chain->capacity && !grow(chain))
		return false;
	chain->n_fresh++;
	chain->entries[chain->capacity - chain->n_fresh].frame = frame;
	return true;
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
	while (entries[j].cost > target)
		j -= (entries[j].cost - target - 1) / CMR_CHAIN_NS_OF_CALL + 1;
	return j > CMR_CHAIN_SLACK ? j - CMR_CHAIN_SLACK : 0;
}

/* An entry that is on the stack still and below which nothing changed, whatever is above; 0 if
 * there is none for certain. Only the leaving is proven to take its time here: half the cost. */
static size_t find_pinned(const struct cmr_chain *chain, uint32_t elapsed)
{
	if (chain->n == 0 || elapsed >= CMR_TICKS_LONG / 2)
		return 0;
	return unchanged_below(chain, chain->n, 2 * elapsed);
}

/* Notes that the entries are the stack at READING. BOUNDED: the clock vouched for some. */
static inline void note_time(struct cmr_chain *chain, struct reading reading, bool bounded)
{
	if (chain->n <= SHALLOW)
		reading.now = 0;
	else if (reading.now == 0)
		reading.now = cmr_ticks_now();
	chain->ticks = reading.now;
	chain->n_bounded = bounded ? chain->n_bounded + 1 : 0;
}

/* --- the walk ------------------------------------------------------------------------------ */

/* Index of the entry of FRAME among the newest, or 0. */
static size_t find_recent(const struct cmr_chain *chain, const char *frame)
{
	size_t last = chain->n > WINDOW ? chain->n - WINDOW : 0;

	for (size_t k = chain->n; k > last; k--)
		if (chain->entries[k].frame == frame)
			return k;
	return 0;
}

/* Checks ENTRY, which is known to be live, and those below it down to STOP, which is not looked
 * at itself. Returns the lowest whose instruction moved on, ENTRY + 1 if none did; NULL: the
 * stack below is another one now. The addresses come from the array and not from the links just
 * read: so the processor need not wait for one frame before it loads from the next. */
static __attribute__((noinline)) struct entry *verify(struct entry *entry, const struct entry *stop)
{
	const size_t previous_at = cmr_provider->layout.previous;
	const size_t instruction_at = cmr_provider->layout.instruction;
	struct entry *changed = entry + 1;

	for (; entry != stop; entry--) {
		if (cmr_frame_word(entry->frame, previous_at) != (uintptr_t)entry[-1].frame)
			return NULL;
		if (cmr_frame_word(entry->frame, instruction_at) != entry->instruction)
			changed = entry;
	}
	return changed;
}

/* Whether the N entries from NEWEST down, which is live, are as they were; its own instruction
 * is not looked at. If not, *MOVED is the first that is live and whose instruction moved on, for
 * verify to go on with, or NULL: the stack below is another one now. */
static inline __attribute__((always_inline)) bool callers_stand(struct entry *newest, size_t n,
								struct entry **moved)
{
	const size_t previous_at = cmr_provider->layout.previous;
	const size_t instruction_at = cmr_provider->layout.instruction;
	struct entry *entry = newest - 1;
	const char *frame = newest->frame;

	*moved = NULL;
#define STAND(i)                                                                                   \
	do {                                                                                       \
		if (cmr_frame_word(frame, previous_at) != (uintptr_t)entry[-(i)].frame)            \
			return false;                                                              \
		frame = entry[-(i)].frame;                                                         \
		if (cmr_frame_word(frame, instruction_at) != entry[-(i)].instruction) {            \
			*moved = &entry[-(i)];                                                     \
			return false;                                                              \
		}                                                                                  \
	} while (0)
	for (n--; n >= 4; n -= 4, entry -= 4) {
		STAND(0);
		STAND(1);
		STAND(2);
		STAND(3);
	}
	for (; n > 0; n--, entry--)
		STAND(0);
#undef STAND
	return cmr_frame_word(frame, previous_at) == (uintptr_t)entry->frame;
}

/* All live frames above e[BASE] are fresh: keeps the entries that they agree with, from there
 * up. Returns the first that is not kept. */
static size_t keep_common(struct cmr_chain *chain, size_t base)
{
	const struct entry *fresh = &chain->entries[chain->capacity - chain->n_fresh];
	const struct entry *known = &chain->entries[base + 1];
	size_t most = chain->n - base < chain->n_fresh ? chain->n - base : chain->n_fresh, n = 0;

	while (n < most && known[n].frame == fresh[n].frame &&
	       known[n].instruction ==
		       cmr_frame_instruction(&cmr_provider->layout, fresh[n].frame))
		n++;
	chain->n = base + n;
	chain->n_fresh -= n;
	return chain->n + 1;
}

/* What ENTRY costs, with all below it. */
static inline uint32_t cost_up_to(const struct entry *entry)
{
	return entry[-1].cost + (cmr_frame_is_function(&cmr_provider->layout, entry->frame)
					 ? CMR_CHAIN_NS_OF_CALL
					 : CMR_CHAIN_NS_OF_RESUME);
}

/* Numbers the entries from ENTRY to the newest. Returns the spot of that; when one is lost
 * (which was counted), a spot that says so, and nothing is known from here on. */
static __attribute__((noinline)) struct cmr_spot *renew(struct cmr_chain *chain,
							struct entry *entry)
{
	const struct entry *end = &chain->entries[chain->n];
	struct cmr_spot *spot;

	for (;; entry++) {
		entry->instruction =
			cmr_frame_instruction(&cmr_provider->layout, entry->frame);
		entry->cost = cost_up_to(entry);
		spot = cmr_spot_of(&chain->spots, chain->epoch, entry->frame,
				   entry->instruction, entry[-1].node);
		entry->node = spot->node;
		if (__builtin_expect(spot->node == CMR_NODE_LOST, 0)) {
			empty(chain);
			return spot;
		}
		if (entry == end)
			return chain->spot = spot;
	}
}

/* As renew of the newest entry alone, whose instruction is INSTRUCTION now. */
static inline struct cmr_spot *renew_newest(struct cmr_chain *chain, struct entry *newest,
					    uintptr_t instruction)
{
	struct cmr_spot *slot = cmr_spot_slot(&chain->spots, instruction, newest[-1].node);

	if (!cmr_spot_is(slot, chain->epoch, newest->frame, instruction, newest[-1].node))
		return renew(chain, newest);
	newest->instruction = instruction;
	newest->cost = cost_up_to(newest);
	newest->node = slot->node;
	return chain->spot = slot;
}

/* The lowest entry above STOP whose instruction moved on since; K + 1 if none did; 0: the stack
 * below e[K], which is live, is another one now. */
static inline size_t first_changed(const struct cmr_chain *chain, size_t k, size_t stop)
{
	struct entry *entry = &chain->entries[k], *moved;

	if (__builtin_expect(callers_stand(entry, k - stop, &moved), 1))
		return cmr_frame_instruction(&cmr_provider->layout, entry->frame) ==
				       entry->instruction
			       ? k + 1
			       : k;
	if (moved != NULL)
		moved = verify(moved, &chain->entries[stop]);
	return moved != NULL ? (size_t)(moved - chain->entries) : 0;
}

/* The entries, of which there are some, are the stack at READING once those from FROM up are
 * numbered. Returns the spot of the newest. BOUNDED: the clock vouched for some. */
static inline __attribute__((always_inline)) struct cmr_spot *
settle(struct cmr_chain *chain, size_t from, struct reading reading, bool bounded)
{
	struct entry *newest = &chain->entries[chain->n];

	chain->newest = chain->n <= SHALLOW ? newest : NULL;
	note_time(chain, reading, bounded);
	if (from < chain->n)
		return renew(chain, &chain->entries[from]);
	return renew_newest(chain, newest,
			    cmr_frame_instruction(&cmr_provider->layout, newest->frame));
}

/* Makes the entries those of the stack whose newest frame is TOP, when few were pushed and
 * popped since: one of the newest frames is one of the newest entries. Else returns NULL. */
static struct cmr_spot *meet(struct cmr_chain *chain, const char *top, struct reading reading)
{
	size_t n_fresh = 0, k = chain->n, stop, from;
	const char *fresh[WINDOW], *frame = top;

	if (top == chain->root)
		return NULL;
	/* One call more is what it is most of the time. */
	if (cmr_frame_previous(&cmr_provider->layout, top) == chain->entries[k].frame)
		fresh[n_fresh++] = top;
	else
		for (; (k = find_recent(chain, frame)) == 0; n_fresh++) {
			if (n_fresh == WINDOW)
				return NULL;
			fresh[n_fresh] = frame;
			frame = cmr_frame_previous(&cmr_provider->layout, frame);
			if (frame == NULL || frame == chain->root)
				return NULL;
		}
	stop = unchanged_below(chain, k, reading.elapsed);
	from = first_changed(chain, k, stop);
	if (from == 0 || k + n_fresh >= chain->capacity)
		return NULL;
	chain->n = k + n_fresh;
	for (size_t i = 0; i < n_fresh; i++)
		chain->entries[chain->n - i].frame = fresh[i];
	return settle(chain, from, reading, stop != 0);
}

/* Collects frames from TOP down until they meet e[PIN], or the bottom with PIN 0. Returns the
 * first entry that is not kept, the fresh ones above those that are; 0: too many, or no memory. */
static size_t collect(struct cmr_chain *chain, const char *top, size_t *pin)
{
	const char *pinned = *pin != 0 ? chain->entries[*pin].frame : NULL, *frame = top;

	chain->n_fresh = 0;
	for (; frame != NULL && frame != chain->root && frame != pinned;
	     frame = cmr_frame_previous(&cmr_provider->layout, frame))
		if (!push_fresh(chain, frame))
			return 0;
	if (frame != NULL && frame == pinned)
		return keep_common(chain, *pin);
	*pin = 0;
	if (chain->n_fresh == 0) {
		chain->n = 0;
		return 1;
	}
	chain->entries[0] = (struct entry){ .frame = frame };
	return keep_common(chain, 0);
}

/* Makes the entries those of the stack whose newest frame is TOP; returns the spot of that. */
static struct cmr_spot *update(struct cmr_chain *chain, const char *top, struct reading reading)
{
	size_t pin = find_pinned(chain, reading.elapsed), from;

	from = collect(chain, top, &pin);
	if (from == 0) {
		cmr_lose(CMR_LOSS_stacks);
		drop_entries(chain);
		return cmr_spot_loose(&chain->spots, chain->epoch, CMR_NODE_LOST);
	}
	if (chain->n + chain->n_fresh == 0) {
		empty(chain);
		return cmr_spot_loose(&chain->spots, chain->epoch, 0);
	}
	memmove(&chain->entries[from], &chain->entries[chain->capacity - chain->n_fresh],
		chain->n_fresh * sizeof *chain->entries);
	chain->n += chain->n_fresh;
	return settle(chain, from, reading, pin != 0);
}

/* Voids what holds no longer. */
static void refresh(struct cmr_chain *chain, uint32_t epoch, const char *root,
		    struct reading reading)
{
	uint32_t serial = atomic_load_explicit(&cmr_nodes_serial, memory_order_relaxed);

	if (chain->root != root || chain->serial != serial)
		chain->n = 0;
	else if (chain->epoch != epoch) /* a live frame keeps its code alive */
		chain->n = find_pinned(chain, reading.elapsed);
	chain->newest = NULL;
	chain->epoch = epoch;
	chain->serial = serial;
	chain->root = root;
}

/* The walk of a stack that is new, or deep. */
static __attribute__((noinline)) struct cmr_spot *walk_on(struct cmr_thread *thread,
							  const char *top)
{
	uint32_t epoch = atomic_load_explicit(&cmr_code_epoch, memory_order_acquire);
	struct cmr_chain *chain = thread->chain;
	struct cmr_spot *spot = NULL;
	struct reading reading;

	if (__builtin_expect(chain == NULL, 0)) {
		chain = thread->chain = cmr_memory_map(sizeof *chain);
		if (chain == NULL) {
			cmr_lose(CMR_LOSS_stacks);
			thread->last_node = CMR_NODE_LOST;
			return NULL;
		}
		cmr_spots_init(&chain->spots);
	}
	reading = read_clock(chain);
	if (__builtin_expect(chain->epoch != epoch || chain->root != thread->root, 0))
		refresh(chain, epoch, thread->root, reading);
	else if (chain->n != 0)
		spot = meet(chain, top, reading);
	return spot != NULL ? spot : update(chain, top, reading);
}

/* The same top, but MOVED, which is live, is not where it was. */
static __attribute__((noinline)) struct cmr_spot *walk_moved(struct cmr_thread *thread,
							     const char *top, struct entry *moved)
{
	moved = verify(moved, thread->chain->entries);
	return moved != NULL ? renew(thread->chain, moved) : walk_on(thread, top);
}

struct cmr_spot *cmr_chain_spot(struct cmr_thread *thread)
{
	const char *top = cmr_provider != NULL ? cmr_provider->top_frame() : NULL;
	struct cmr_chain *chain = thread->chain;
	struct entry *newest, *moved;
	uintptr_t instruction;

	if (__builtin_expect(top == NULL, 0)) {
		thread->last_node = 0;
		return NULL;
	}
	/* Acquire pairs with the release in who bumps the epoch: a code object that took the
	 * place of a dead one reached this thread after that. */
	if (__builtin_expect(chain == NULL || chain->root != thread->root ||
				     chain->epoch != atomic_load_explicit(&cmr_code_epoch,
									  memory_order_acquire),
			     0))
		return walk_on(thread, top);
	newest = chain->newest;
	if (newest == NULL || newest->frame != top)
		return walk_on(thread, top);
	if (__builtin_expect(!callers_stand(newest, chain->n, &moved), 0))
		return moved != NULL ? walk_moved(thread, top, moved) : walk_on(thread, top);
	instruction = cmr_frame_instruction(&cmr_provider->layout, top);
	if (instruction == newest->instruction)
		return chain->spot;
	return renew_newest(chain, newest, instruction);
}

cmr_node_id cmr_chain_walk(struct cmr_thread *thread)
{
	const struct cmr_spot *spot = cmr_chain_spot(thread);

	return spot != NULL ? spot->node : thread->last_node;
}
