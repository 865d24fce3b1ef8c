#include "session/resident.h"

#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include "heap/booking.h"

#define BATCH 2048 /* pages asked for at once */

static bool is_apart(unsigned class)
{
	return class == CMR_RANGE_RESERVED || class == CMR_RANGE_SHARED || class == CMR_RANGE_FILE ||
	       class == CMR_RANGE_UNWRITABLE;
}

static bool has_any(const struct cmr_region *region)
{
	for (unsigned c = 0; c < CMR_N_RANGE_CLASSES; c++)
		if (is_apart(c) && region->apart.current[c] != 0)
			return true;
	return false;
}

/* The next interval of REGION at or above *AT, copied, since the kernel is asked with no lock held;
 * *AT moves behind it. False: there is none. */
static bool next_range(struct cmr_region *region, uintptr_t *at, struct cmr_range *out)
{
	struct cmr_plane *plane = &cmr_planes[region->plane];
	struct cmr_ranges *ranges = &plane->ranges[CMR_BASIS_REQUESTED];
	const struct cmr_range *found;
	bool hit = false;

	cmr_lock_take(&ranges->lock);
	while (!hit && (found = cmr_ranges_find_locked(ranges, *at)) != NULL) {
		*out = *found;
		*at = found->end;
		hit = is_apart(found->class) && cmr_booking_concerns(plane, found->tag, region);
	}
	cmr_lock_drop(&ranges->lock);
	return hit;
}

static uint64_t resident_bytes(const struct cmr_range *range, size_t page)
{
	unsigned char in_core[BATCH];
	uint64_t pages = 0;

	for (uintptr_t at = range->start; at < range->end; at += BATCH * page) {
		size_t bytes = range->end - at < BATCH * page ? range->end - at : BATCH * page;

		/* The program may have unmapped it meanwhile. */
		if (mincore((void *)at, bytes, in_core) != 0)
			continue;
		for (size_t i = 0; i < (bytes + page - 1) / page; i++)
			pages += in_core[i] & 1;
	}
	return pages * page;
}

void cmr_resident_keep(struct cmr_region *region)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct cmr_range range;
	uintptr_t at = 0;

	for (unsigned c = 0; c < CMR_N_RANGE_CLASSES; c++)
		region->resident[c] = 0;
	if (region->options.basis != CMR_BASIS_REQUESTED || !has_any(region))
		return;
	while (next_range(region, &at, &range))
		region->resident[range.class] += resident_bytes(&range, page);
}
