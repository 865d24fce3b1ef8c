/* How much of a region's mappings apart from the peak is in memory. */
#ifndef CMR_SESSION_RESIDENT_H
#define CMR_SESSION_RESIDENT_H

#include "heap/region.h"

/* Fills region->resident (bytes, by class) from the kernel's answer for each page of the mappings of
 * REGION, which is open, that do not count in the peak. Takes and drops locks; does system calls. */
void cmr_resident_keep(struct cmr_region *region);

#endif
