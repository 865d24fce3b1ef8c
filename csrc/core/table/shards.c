#include "table/shards.h"

#include <string.h>

#include "os/memory.h"
#include "os/random.h"

/* Slots of a shard's first array: one page of 4 KiB. */
#define FIRST_SLOTS 128
#define BYTES(slots) ((slots) * sizeof(struct cmr_shard_entry))

_Static_assert(sizeof(struct cmr_shard_entry) == 32, "see the picture in shards.h");

static inline uint64_t hash_of(uint64_t address)
{
	return cmr_mix(address);
}

static inline struct cmr_shard *shard_of(struct cmr_shard *shards, uint64_t hash)
{
	return &shards[hash >> 58];
}

_Static_assert(CMR_N_SHARDS == 64, "shard_of takes 6 bits");

/* The slot of ADDRESS, or the free one where it belongs. The array is never full. */
static size_t find_locked(const struct cmr_shard *shard, uint64_t address, uint64_t hash)
{
	size_t mask = shard->capacity - 1, i = hash & mask;

	while (shard->entries[i].address != 0 && shard->entries[i].address != address)
		i = (i + 1) & mask;
	return i;
}

/* Removes the entry in slot HOLE: later ones of the same run that may stand further up move there. */
static void remove_locked(struct cmr_shard *shard, size_t hole)
{
	size_t mask = shard->capacity - 1;

	for (size_t i = (hole + 1) & mask; shard->entries[i].address != 0; i = (i + 1) & mask) {
		size_t home = hash_of(shard->entries[i].address) & mask;

		if (((i - home) & mask) < ((i - hole) & mask))
			continue;
		shard->entries[hole] = shard->entries[i];
		hole = i;
	}
	shard->entries[hole].address = 0;
	shard->n_entries--;
}

static bool grow_locked(struct cmr_shard *shard)
{
	size_t slots = shard->capacity != 0 ? shard->capacity * 2 : FIRST_SLOTS;
	struct cmr_shard old = *shard;
	struct cmr_shard_entry *entries = cmr_memory_map(BYTES(slots));

	if (entries == NULL)
		return false;
	shard->entries = entries;
	shard->capacity = slots;
	for (size_t i = 0; i < old.capacity; i++) {
		uint64_t address = old.entries[i].address;

		if (address != 0)
			entries[find_locked(shard, address, hash_of(address))] = old.entries[i];
	}
	cmr_memory_unmap(old.entries, BYTES(old.capacity));
	return true;
}

/* Makes room for one more. When growing is refused, goes on while a slot is left over to end runs. */
static bool reserve_locked(struct cmr_shard *shard)
{
	if ((shard->n_entries + 1) * 4 <= shard->capacity * 3)
		return true;
	return grow_locked(shard) || shard->n_entries + 2 <= shard->capacity;
}

bool cmr_shards_put(struct cmr_shard *shards, uintptr_t address, const struct cmr_block *block)
{
	uint64_t hash = hash_of(address);
	struct cmr_shard *shard = shard_of(shards, hash);
	struct cmr_shard_entry *entry;
	bool room;

	cmr_lock_take(&shard->lock);
	room = reserve_locked(shard);
	if (room) {
		entry = &shard->entries[find_locked(shard, address, hash)];
		shard->n_entries += entry->address == 0;
		*entry = (struct cmr_shard_entry){ .address = address,
						   .size = block->size,
						   .weight = block->weight,
						   .location = block->location,
						   .tag = block->tag,
						   .located = block->located,
						   .exact = block->exact };
	}
	cmr_lock_drop(&shard->lock);
	return room;
}

bool cmr_shards_take(struct cmr_shard *shards, uintptr_t address, struct cmr_block *out)
{
	uint64_t hash = hash_of(address);
	struct cmr_shard *shard = shard_of(shards, hash);
	const struct cmr_shard_entry *entry;
	bool found = false;
	size_t slot;

	cmr_lock_take(&shard->lock);
	if (shard->n_entries != 0) {
		slot = find_locked(shard, address, hash);
		entry = &shard->entries[slot];
		found = entry->address != 0;
		if (found) {
			*out = (struct cmr_block){ .size = entry->size,
						   .weight = entry->weight,
						   .location = entry->location,
						   .tag = entry->tag,
						   .located = entry->located,
						   .exact = entry->exact };
			remove_locked(shard, slot);
		}
	}
	cmr_lock_drop(&shard->lock);
	return found;
}

static void retag_locked(struct cmr_shard *shard, const uint8_t map[CMR_N_TAGS])
{
	for (size_t i = 0; i < shard->capacity;) {
		struct cmr_shard_entry *entry = &shard->entries[i];

		if (entry->address != 0 && map[entry->tag] == 0) {
			remove_locked(shard, i); /* another entry may have moved here */
			continue;
		}
		entry->tag = map[entry->tag];
		i++;
	}
}

void cmr_shards_retag(struct cmr_shard *shards, const uint8_t map[CMR_N_TAGS])
{
	for (unsigned s = 0; s < CMR_N_SHARDS; s++) {
		cmr_lock_take(&shards[s].lock);
		retag_locked(&shards[s], map);
		cmr_lock_drop(&shards[s].lock);
	}
}

size_t cmr_shards_count(struct cmr_shard *shards)
{
	size_t n = 0;

	for (unsigned s = 0; s < CMR_N_SHARDS; s++) {
		cmr_lock_take(&shards[s].lock);
		n += shards[s].n_entries;
		cmr_lock_drop(&shards[s].lock);
	}
	return n;
}

void cmr_shards_init(struct cmr_shard *shards)
{
	for (unsigned s = 0; s < CMR_N_SHARDS; s++)
		shards[s] = (struct cmr_shard){ .lock = CMR_LOCK(CMR_RANK_SHARD) };
}

static void free_locked(struct cmr_shard *shard)
{
	cmr_memory_unmap(shard->entries, BYTES(shard->capacity));
	shard->entries = NULL;
	shard->capacity = shard->n_entries = 0;
}

void cmr_shards_fini(struct cmr_shard *shards)
{
	for (unsigned s = 0; s < CMR_N_SHARDS; s++)
		free_locked(&shards[s]);
}

static void reset_locked(struct cmr_shard *shard)
{
	if (shard->capacity > FIRST_SLOTS)
		free_locked(shard);
	else if (shard->n_entries != 0)
		memset(shard->entries, 0, BYTES(shard->capacity));
	shard->n_entries = 0;
}

void cmr_shards_reset(struct cmr_shard *shards)
{
	for (unsigned s = 0; s < CMR_N_SHARDS; s++) {
		cmr_lock_take(&shards[s].lock);
		reset_locked(&shards[s]);
		cmr_lock_drop(&shards[s].lock);
	}
}
