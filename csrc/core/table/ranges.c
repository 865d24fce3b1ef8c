#include "table/ranges.h"

#include <string.h>

#include "os/memory.h"

#define FIRST_ITEMS 128
#define BYTES(items) ((items) * sizeof(struct cmr_range))

void cmr_ranges_init(struct cmr_ranges *ranges)
{
	*ranges = (struct cmr_ranges){ .lock = CMR_LOCK(CMR_RANK_RANGES) };
}

void cmr_ranges_fini(struct cmr_ranges *ranges)
{
	cmr_memory_unmap(ranges->items, BYTES(ranges->capacity));
	cmr_ranges_init(ranges);
}

void cmr_ranges_reset(struct cmr_ranges *ranges)
{
	cmr_lock_take(&ranges->lock);
	if (ranges->capacity > FIRST_ITEMS) {
		cmr_memory_unmap(ranges->items, BYTES(ranges->capacity));
		ranges->items = NULL;
		ranges->capacity = 0;
	}
	ranges->n_items = 0;
	cmr_lock_drop(&ranges->lock);
}

/* Index of the first interval that ends after ADDRESS. */
static size_t find_index_locked(const struct cmr_ranges *ranges, uintptr_t address)
{
	size_t low = 0, high = ranges->n_items;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ranges->items[middle].end > address)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

const struct cmr_range *cmr_ranges_find_locked(const struct cmr_ranges *ranges, uintptr_t address)
{
	size_t i = find_index_locked(ranges, address);

	return i < ranges->n_items ? &ranges->items[i] : NULL;
}

static bool reserve_locked(struct cmr_ranges *ranges)
{
	size_t capacity = ranges->capacity != 0 ? ranges->capacity * 2 : FIRST_ITEMS;
	struct cmr_range *items;

	if (ranges->n_items < ranges->capacity)
		return true;
	if (ranges->items == NULL)
		items = cmr_memory_map(BYTES(capacity));
	else
		items = cmr_memory_grow(ranges->items, BYTES(ranges->capacity), BYTES(capacity));
	if (items == NULL)
		return false;
	ranges->items = items;
	ranges->capacity = capacity;
	return true;
}

static bool insert_locked(struct cmr_ranges *ranges, size_t i, const struct cmr_range *range)
{
	if (!reserve_locked(ranges))
		return false;
	memmove(&ranges->items[i + 1], &ranges->items[i], BYTES(ranges->n_items - i));
	ranges->items[i] = *range;
	ranges->n_items++;
	return true;
}

bool cmr_ranges_add_locked(struct cmr_ranges *ranges, const struct cmr_range *range)
{
	if (range->start >= range->end)
		return true;
	return insert_locked(ranges, find_index_locked(ranges, range->start), range);
}

/* Cuts [START, END) out of the middle of interval I. False: its upper rest is gone, too. */
static bool split_locked(struct cmr_ranges *ranges, size_t i, uintptr_t start, uintptr_t end,
			 struct cmr_range_cut *cut)
{
	struct cmr_range upper = ranges->items[i];
	bool room;

	upper.start = end;
	room = insert_locked(ranges, i + 1, &upper);
	ranges->items[i].end = start;
	cut->blocks = room ? 1 : 0;
	cut->bytes = room ? end - start : upper.end - start;
	return room;
}

bool cmr_ranges_cut_locked(struct cmr_ranges *ranges, uintptr_t start, uintptr_t end,
			   cmr_range_visit visit, void *data)
{
	size_t i = find_index_locked(ranges, start), first_gone, after;
	bool whole = true;

	if (start >= end)
		return true;
	if (i < ranges->n_items && ranges->items[i].start < start) {
		struct cmr_range_cut cut = { .range = ranges->items[i] };

		if (cut.range.end > end) {
			whole = split_locked(ranges, i, start, end, &cut);
		} else {
			cut.bytes = cut.range.end - start;
			ranges->items[i].end = start;
		}
		visit(data, &cut);
		i++;
	}
	first_gone = i;
	for (; i < ranges->n_items && ranges->items[i].end <= end; i++) {
		struct cmr_range_cut cut = { .range = ranges->items[i], .blocks = -1 };

		cut.bytes = cut.range.end - cut.range.start;
		visit(data, &cut);
	}
	after = i;
	if (i < ranges->n_items && ranges->items[i].start < end) {
		struct cmr_range_cut cut = { .range = ranges->items[i] };

		cut.bytes = end - cut.range.start;
		ranges->items[i].start = end;
		visit(data, &cut);
	}
	if (after > first_gone) {
		memmove(&ranges->items[first_gone], &ranges->items[after],
			BYTES(ranges->n_items - after));
		ranges->n_items -= after - first_gone;
	}
	return whole;
}

void cmr_ranges_retag(struct cmr_ranges *ranges, const uint8_t map[63])
{
	size_t kept = 0;

	cmr_lock_take(&ranges->lock);
	for (size_t i = 0; i < ranges->n_items; i++) {
		struct cmr_range range = ranges->items[i];

		if (range.tag != 0) {
			range.tag = map[range.tag];
			if (range.tag == 0)
				continue;
		}
		ranges->items[kept++] = range;
	}
	ranges->n_items = kept;
	cmr_lock_drop(&ranges->lock);
}
