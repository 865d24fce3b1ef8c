/* Tags of one plane: made for threads, emptied when regions end, merged when they run out.
 *
 * A tag may be reused only when no entry of the tables can carry it any more. With no region open the
 * tables are dropped whole; otherwise entries are re-tagged so that equal sets share one number.
 * Either needs that no thread goes on with what it read before: a new configuration is published,
 * then events in flight are waited for, once before the change (late stores of a retired tag) and
 * once after it (late bookings of an entry that was taken out before). */
#ifndef CMR_HEAP_TAGS_H
#define CMR_HEAP_TAGS_H

#include "heap/region.h"

/* Number of the tag {REGIONS, OLD, EXACT}, known or new; 0 = all in use. Lock held. */
unsigned cmr_tags_find_locked(struct cmr_plane *plane, uint16_t regions, uint16_t old, bool exact);

/* Takes slot bits GONE out of all tags. Lock held. */
void cmr_tags_leave_locked(struct cmr_plane *plane, uint16_t gone);

/* Publishes a new configuration. Lock held. */
void cmr_tags_publish_locked(struct cmr_plane *plane);

/* Makes sure that tags are to be had for one more region, and that stale entries of earlier regions
 * do not pile up. Called with the lock free, before a region opens. False: no tag can be had. */
bool cmr_tags_tidy(struct cmr_plane *plane) CMR_CHECKED;

#endif
