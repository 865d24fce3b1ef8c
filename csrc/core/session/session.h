/* Start and stop of regions: the only door that the binding uses for measuring.
 *
 * start: hooks are refreshed, tables made, the region opened, the gate opened last.
 * stop : the gate is closed first if this was the last region of its plane. Both O(1) in what
 * earlier regions did. All functions here set CMR_GUARD_ALL for their duration. */
#ifndef CMR_SESSION_SESSION_H
#define CMR_SESSION_SESSION_H

#include "heap/location.h"
#include "heap/region.h"
#include "hook/hooks.h"
#include "os/status.h"

/* Called on the first region of a plane / after the last one, by the thread that starts or stops:
 * the binding sets and unsets the interpreter's allocator hooks there. May be NULL. */
struct cmr_session_callbacks {
	void (*first_open)(enum cmr_plane_id plane);
	void (*last_closed)(enum cmr_plane_id plane);
};
void cmr_session_set_callbacks(const struct cmr_session_callbacks *callbacks);

/* A region that counts from now on. CMR_STATE if it was started before. */
enum cmr_status cmr_session_start(struct cmr_region *region, struct cmr_error *err) CMR_CHECKED;

/* Closes the peak; the rest goes on. */
void cmr_session_seal(struct cmr_region *region);

/* Ends it. Safe to repeat, and in the child of a fork. */
void cmr_session_stop(struct cmr_region *region);

/* Exact numbers of a region, for the moment or final. */
struct cmr_usage_totals {
	uint64_t current, current_blocks, peak, peak_blocks, total, count;
	uint64_t period; /* sampling period, bytes; 1 = every block located */
	uint64_t own_peak, old_at_peak, resized_old, largest;
	bool exact;
};
void cmr_session_totals(const struct cmr_region *region, struct cmr_usage_totals *out);

/* Rows by location (peak or live) in memory of the tracker: *OUT with *N rows, to be given back by
 * cmr_memory_unmap(*OUT, *BYTES). False: no memory. */
bool cmr_session_rows(struct cmr_region *region, bool peak, struct cmr_usage_row **out,
		      uint32_t *n, size_t *bytes);

/* Resident bytes of the region's mappings apart, by class; reads page residency, so only when a
 * class has any. */
void cmr_session_resident(struct cmr_region *region, uint64_t resident[CMR_N_RANGE_CLASSES]);

/* Closes the gate for good: interpreter shutdown. */
void cmr_session_shutdown(void);

/* Installs the fork handlers (session/fork.c); called by the first start. */
enum cmr_status cmr_fork_init(struct cmr_error *err) CMR_CHECKED;

/* Own memory and sizes, for diagnostics. */
struct cmr_session_status {
	size_t mapped, hash_entries, leaves, nodes, locations, regions_open;
};
void cmr_session_status(struct cmr_session_status *out);

#endif
