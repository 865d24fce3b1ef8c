/* What tests of regions share: set-up, one-line opening, totals. Include in one .c file. */
#ifndef CMR_REGION_RIG_H
#define CMR_REGION_RIG_H

#include "events/events.h"
#include "events/hot.h"
#include "fake_stack.h"
#include "heap/region.h"

#define OUTER CMR_PLANE_OUTER

/* Addresses of blocks that are not there: nothing below looks at them. */
#define BASE ((uintptr_t)0x300000000000)

static inline void rig_begin(void)
{
	REQUIRE(cmr_thread_init(NULL) == CMR_OK);
	REQUIRE(cmr_nodes_init(NULL) == CMR_OK);
	REQUIRE(cmr_locations_init(NULL) == CMR_OK);
	fake_stack_init();
	fake_stack_at(1);
}

static inline struct cmr_region *open_with(struct cmr_region_options options)
{
	struct cmr_region *region;

	rig_begin();
	region = cmr_region_new(&options);
	REQUIRE(region != NULL);
	REQUIRE(cmr_region_open(region, NULL) == CMR_OK);
	return region;
}

static inline struct cmr_totals totals(const struct cmr_region *region)
{
	struct cmr_totals out;

	cmr_region_totals(region, &out);
	return out;
}

/* Live bytes or those at the peak, of one site, as booked. */
static inline int64_t share(const struct cmr_region *region, bool peak, unsigned site)
{
	struct cmr_usage_row rows[256];
	uint32_t n = cmr_usages_rows(&region->usages, &region->ledger, peak, rows, 256);
	int64_t sum = 0;

	for (uint32_t i = 0; i < n; i++)
		if (fake_site_of(rows[i].location) == site)
			sum += rows[i].bytes;
	return sum;
}

static inline void alloc(unsigned i, size_t size)
{
	cmr_on_alloc_hot(OUTER, BASE + (uintptr_t)i * 1024, size, CMR_KIND_MALLOC);
}

static inline void release(unsigned i)
{
	cmr_on_free_hot(OUTER, BASE + (uintptr_t)i * 1024);
}

#endif
