#include "table/intern.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "os/memory.h"
#include "os/random.h"

#define FIRST_SLOTS_LOG2 9
#define MOST_WORDS 4u

struct cmr_intern_slots {
	struct cmr_intern_slots *older;
	uint32_t mask;  /* number of slots - 1 */
	uint32_t shift; /* what makes a hash of 32 bits an index */
	_Atomic uint64_t slot[];
};

static size_t chunk_bytes(const struct cmr_intern *set)
{
	return (size_t)CMR_INTERN_CHUNK * set->words * sizeof(uint32_t);
}

static size_t slots_bytes(uint32_t n_slots)
{
	return sizeof(struct cmr_intern_slots) + (size_t)n_slots * sizeof(uint64_t);
}

static struct cmr_intern_slots *map_slots(unsigned log2)
{
	struct cmr_intern_slots *slots = cmr_memory_map(slots_bytes((uint32_t)1 << log2));

	if (slots != NULL) {
		slots->mask = ((uint32_t)1 << log2) - 1;
		slots->shift = 32 - log2;
	}
	return slots;
}

static size_t directory_bytes(const struct cmr_intern *set)
{
	return ((size_t)(set->capacity >> CMR_INTERN_CHUNK_LOG2) + 1) * sizeof *set->chunks;
}

enum cmr_status cmr_intern_init(struct cmr_intern *set, uint32_t capacity, struct cmr_error *err)
{
	return cmr_intern_init_words(set, MOST_WORDS, capacity, err);
}

enum cmr_status cmr_intern_init_words(struct cmr_intern *set, uint32_t words, uint32_t capacity,
				      struct cmr_error *err)
{
	*set = (struct cmr_intern){ .lock = CMR_LOCK(CMR_RANK_INTERN),
				    .capacity = capacity,
				    .words = words };
	set->chunks = cmr_memory_map(directory_bytes(set));
	atomic_store(&set->slots, map_slots(FIRST_SLOTS_LOG2));
	if (set->chunks == NULL || atomic_load(&set->slots) == NULL) {
		cmr_intern_fini(set);
		return cmr_fail(err, CMR_NO_MEMORY, ENOMEM, "no memory for a set of keys");
	}
	return CMR_OK;
}

static void free_slots(struct cmr_intern_slots *slots)
{
	while (slots != NULL) {
		struct cmr_intern_slots *older = slots->older;

		cmr_memory_unmap(slots, slots_bytes(slots->mask + 1));
		slots = older;
	}
}

/* Unmaps the chunks from FIRST on. */
static void free_chunks(struct cmr_intern *set, size_t first)
{
	size_t n_chunks = directory_bytes(set) / sizeof *set->chunks;

	for (size_t c = first; c < n_chunks && set->chunks[c] != NULL; c++) {
		cmr_memory_unmap(set->chunks[c], chunk_bytes(set));
		set->chunks[c] = NULL;
	}
}

void cmr_intern_fini(struct cmr_intern *set)
{
	free_slots(atomic_load(&set->slots));
	if (set->chunks != NULL) {
		free_chunks(set, 0);
		cmr_memory_unmap(set->chunks, directory_bytes(set));
	}
	*set = (struct cmr_intern){ 0 };
}

void cmr_intern_reset(struct cmr_intern *set)
{
	struct cmr_intern_slots *slots = atomic_load(&set->slots), *first = slots;

	while (first->older != NULL)
		first = first->older;
	for (; slots != first; slots = atomic_load(&set->slots)) {
		atomic_store(&set->slots, slots->older);
		cmr_memory_unmap(slots, slots_bytes(slots->mask + 1));
	}
	for (uint32_t i = 0; i <= first->mask; i++)
		atomic_store_explicit(&first->slot[i], 0, memory_order_relaxed);
	free_chunks(set, 1);
	if (set->chunks[0] != NULL)
		cmr_memory_discard(set->chunks[0], chunk_bytes(set));
	atomic_store(&set->n_keys, 0);
	set->n_used = 0;
}

void cmr_intern_after_fork(struct cmr_intern *set)
{
	set->lock = (struct cmr_lock)CMR_LOCK(CMR_RANK_INTERN);
}

/* The upper half decides, and is kept. */
static uint64_t hash_of(struct cmr_key key)
{
	return cmr_mix(key.a + cmr_mix(key.b + 0x9e3779b97f4a7c15u));
}

static uint32_t first_slot(const struct cmr_intern_slots *slots, uint64_t hash)
{
	return (uint32_t)(hash >> 32) >> slots->shift;
}

static bool is_key(const struct cmr_intern *set, uint32_t number, struct cmr_key key)
{
	struct cmr_key known = cmr_intern_key(set, number);

	return known.a == key.a && known.b == key.b;
}

/* Number of KEY in SLOTS, or 0. There is always a free slot to end at. */
static uint32_t find(const struct cmr_intern *set, const struct cmr_intern_slots *slots,
		     struct cmr_key key, uint64_t hash)
{
	for (uint32_t i = first_slot(slots, hash);; i = (i + 1) & slots->mask) {
		/* Pairs with the release store of add_locked. */
		uint64_t slot = atomic_load_explicit(&slots->slot[i], memory_order_acquire);

		if (slot == 0)
			return 0;
		if ((slot ^ hash) >> 32 == 0 && is_key(set, (uint32_t)slot, key))
			return (uint32_t)slot;
	}
}

/* The free slot for a key of HASH that is not in SLOTS. Only for slots that nobody else changes. */
static uint32_t find_free(const struct cmr_intern_slots *slots, uint64_t hash)
{
	uint32_t i = first_slot(slots, hash);

	while (atomic_load_explicit(&slots->slot[i], memory_order_relaxed) != 0)
		i = (i + 1) & slots->mask;
	return i;
}

/* Gives back the pages of slots that are no longer in use, but the first, which says how many
 * there are. Who reads them now finds nothing, and comes for the lock. */
static void retire(struct cmr_intern_slots *slots)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), bytes = slots_bytes(slots->mask + 1);

	if (bytes > 2 * page)
		cmr_memory_let_go((char *)slots + page, bytes - page);
}

/* Doubles the slots. The old ones stay for those who read them now: what they miss there they find
 * under the lock. */
static bool grow_locked(struct cmr_intern *set)
{
	struct cmr_intern_slots *old = atomic_load_explicit(&set->slots, memory_order_relaxed);
	struct cmr_intern_slots *slots = map_slots(32 - old->shift + 1);

	if (slots == NULL)
		return false;
	slots->older = old;
	for (uint32_t i = 0; i <= old->mask; i++) {
		uint64_t slot = atomic_load_explicit(&old->slot[i], memory_order_relaxed);

		if (slot != 0)
			atomic_store_explicit(&slots->slot[find_free(slots, slot)], slot,
					      memory_order_relaxed);
	}
	/* Pairs with the acquire load of cmr_intern_add. */
	atomic_store_explicit(&set->slots, slots, memory_order_release);
	retire(old);
	return true;
}

/* Makes room for one more in the slots. When growing is refused, goes on up to a load of 7/8. */
static bool reserve_slot_locked(struct cmr_intern *set)
{
	const struct cmr_intern_slots *slots =
		atomic_load_explicit(&set->slots, memory_order_relaxed);

	if (set->n_used < slots->mask / 8 * 5)
		return true;
	return grow_locked(set) || set->n_used < slots->mask / 8 * 7;
}

static bool reserve_key_locked(struct cmr_intern *set, uint32_t number)
{
	uint32_t **chunk = &set->chunks[number >> CMR_INTERN_CHUNK_LOG2];

	if (*chunk == NULL)
		*chunk = cmr_memory_map(chunk_bytes(set));
	return *chunk != NULL;
}

static void store_key(struct cmr_intern *set, uint32_t number, struct cmr_key key)
{
	const uint32_t words[MOST_WORDS] = { (uint32_t)key.a, (uint32_t)(key.a >> 32),
					     (uint32_t)key.b, (uint32_t)(key.b >> 32) };

	memcpy(&set->chunks[number >> CMR_INTERN_CHUNK_LOG2]
			   [(size_t)(number & (CMR_INTERN_CHUNK - 1)) * set->words],
	       words, set->words * sizeof *words);
}

/* A new number for KEY, in PLACE if that is free. */
static uint32_t add_locked(struct cmr_intern *set, struct cmr_key key, _Atomic uint32_t *place)
{
	uint32_t number = atomic_load_explicit(&set->n_keys, memory_order_relaxed) + 1;
	bool placed = place != NULL && atomic_load_explicit(place, memory_order_relaxed) == 0;
	struct cmr_intern_slots *slots;
	uint64_t hash = hash_of(key);

	if (number > set->capacity || !reserve_key_locked(set, number) ||
	    (!placed && !reserve_slot_locked(set)))
		return 0;
	store_key(set, number, key);
	/* The number is taken before it is published, so that a fork in between wastes it. */
	atomic_store_explicit(&set->n_keys, number, memory_order_release);
	if (placed) {
		atomic_store_explicit(place, number, memory_order_release);
		return number;
	}
	slots = atomic_load_explicit(&set->slots, memory_order_relaxed);
	set->n_used++;
	atomic_store_explicit(&slots->slot[find_free(slots, hash)],
			      (hash & ~(uint64_t)UINT32_MAX) | number, memory_order_release);
	return number;
}

/* Number of KEY in PLACE or in the slots, or 0. While PLACE is free, none of its keys is known. */
static uint32_t find_at(const struct cmr_intern *set, struct cmr_key key,
			const _Atomic uint32_t *place)
{
	uint32_t number;

	if (place != NULL) {
		/* Pairs with the release store of add_locked. */
		number = atomic_load_explicit(place, memory_order_acquire);
		if (number == 0 || is_key(set, number, key))
			return number;
	}
	/* Pairs with the release store of grow_locked. */
	return find(set, atomic_load_explicit(&set->slots, memory_order_acquire), key,
		    hash_of(key));
}

uint32_t cmr_intern_add_at(struct cmr_intern *set, struct cmr_key key, _Atomic uint32_t *place)
{
	uint32_t number = find_at(set, key, place);

	if (number != 0)
		return number;
	cmr_lock_take(&set->lock);
	number = find_at(set, key, place);
	if (number == 0)
		number = add_locked(set, key, place);
	cmr_lock_drop(&set->lock);
	return number;
}

uint32_t cmr_intern_add(struct cmr_intern *set, struct cmr_key key)
{
	return cmr_intern_add_at(set, key, NULL);
}
