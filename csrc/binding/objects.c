#include "objects.h"

#include <stdlib.h>

#include "os/memory.h"
#include "os/random.h"

#define FIRST_CAPACITY 4096u

static size_t home_of(const struct cmr_objects *objects, uintptr_t address)
{
	return (size_t)cmr_mix(address) & (objects->capacity - 1);
}

/* The entry of ADDRESS, or the empty one where it belongs. */
static struct cmr_object *find(const struct cmr_objects *objects, uintptr_t address)
{
	size_t i = home_of(objects, address);

	while (objects->items[i].address != 0 && objects->items[i].address != address)
		i = (i + 1) & (objects->capacity - 1);
	return &objects->items[i];
}

static bool grow(struct cmr_objects *objects)
{
	struct cmr_objects larger = *objects;

	larger.capacity = objects->capacity ? objects->capacity * 2 : FIRST_CAPACITY;
	larger.items = cmr_memory_map(larger.capacity * sizeof *larger.items);
	if (larger.items == NULL)
		return false;
	for (size_t i = 0; i < objects->capacity; i++)
		if (objects->items[i].address != 0)
			*find(&larger, objects->items[i].address) = objects->items[i];
	if (objects->items != NULL)
		cmr_memory_unmap(objects->items, objects->capacity * sizeof *objects->items);
	*objects = larger;
	return true;
}

bool cmr_objects_put(struct cmr_objects *objects, uintptr_t address, cmr_node_id node)
{
	struct cmr_object *entry;

	if (objects->n * 4 >= objects->capacity * 3 && !grow(objects))
		return false;
	entry = find(objects, address);
	objects->n += entry->address == 0;
	*entry = (struct cmr_object){ address, ++objects->next_serial, node };
	return true;
}

void cmr_objects_remove(struct cmr_objects *objects, uintptr_t address)
{
	size_t mask = objects->capacity - 1, hole, i;

	if (objects->n == 0)
		return;
	hole = (size_t)(find(objects, address) - objects->items);
	if (objects->items[hole].address == 0)
		return;
	/* Entries behind the hole move into it unless that would take them before their home. */
	for (i = (hole + 1) & mask; objects->items[i].address != 0; i = (i + 1) & mask) {
		if (((i - home_of(objects, objects->items[i].address)) & mask) <
		    ((i - hole) & mask))
			continue;
		objects->items[hole] = objects->items[i];
		hole = i;
	}
	objects->items[hole] = (struct cmr_object){ 0, 0, 0 };
	objects->n--;
}

static int compare_serials(const void *left, const void *right)
{
	const struct cmr_object *a = left, *b = right;

	return (a->serial > b->serial) - (a->serial < b->serial);
}

size_t cmr_objects_sort(struct cmr_objects *objects)
{
	size_t n = 0;

	for (size_t i = 0; i < objects->capacity; i++)
		if (objects->items[i].address != 0)
			objects->items[n++] = objects->items[i];
	if (n > 0)
		qsort(objects->items, n, sizeof *objects->items, compare_serials);
	return n;
}

void cmr_objects_clear(struct cmr_objects *objects)
{
	if (objects->items != NULL)
		cmr_memory_unmap(objects->items, objects->capacity * sizeof *objects->items);
	*objects = (struct cmr_objects){ 0 };
}
