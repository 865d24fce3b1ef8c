/* What the files of this folder share. */
#ifndef CMR_EVENTS_OWN_H
#define CMR_EVENTS_OWN_H

#include "heap/region.h"

/* The calling thread, its view made fit for the plane's present configuration. NULL when what it
 * allocates counts for no region, or when memory for its state was refused (a counted loss). */
struct cmr_thread *cmr_events_thread(struct cmr_plane *plane);

#endif
