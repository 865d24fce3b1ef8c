/* Start and stop of regions: the only door that the binding uses for measuring.
 *
 * start: hooks are refreshed, tables made, the region opened, the gate opened last.
 * stop : the gate is closed first if this was the last region of its plane. Both O(1) in what
 * earlier regions did, and neither waits for other threads (start does, when block tags have run
 * out). All functions here set CMR_GUARD_ALL for their duration, and may be called by any thread. */
#ifndef CMR_SESSION_SESSION_H
#define CMR_SESSION_SESSION_H

#include "heap/location.h"
#include "heap/region.h"
#include "hook/hooks.h"
#include "os/status.h"

/* Called on the first region of a plane / after the last one, by the thread that starts or stops,
 * which holds the session's lock: the binding sets and unsets the interpreter's allocator hooks
 * there. first_open comes before the gate opens and may come again without last_closed (after a
 * fork). after_fork runs in the child of a fork, where only the calling thread is left: locks of the
 * caller are made anew. Each may be NULL. */
struct cmr_session_callbacks {
	void (*first_open)(enum cmr_plane_id plane);
	void (*last_closed)(enum cmr_plane_id plane);
	void (*after_fork)(void);
};

/* CALLBACKS stays the caller's and must live on. Before the first start. */
void cmr_session_set_callbacks(const struct cmr_session_callbacks *callbacks);

/* A region that counts from now on. CMR_STATE if it was started before, or after
 * cmr_session_shutdown; else as cmr_region_open. */
enum cmr_status cmr_session_start(struct cmr_region *region, struct cmr_error *err) CMR_CHECKED;

/* Closes the peak; what is live goes on to be tracked. Safe to repeat. */
void cmr_session_seal(struct cmr_region *region);

/* Looks whether calls still lead to the tracker, as each start does: another tool may have changed that
 * since. To be called before a region ends; what was missed is a loss of all that run. */
void cmr_session_check(void);

/* Ends it. Safe to repeat, and in the child of a fork. */
void cmr_session_stop(struct cmr_region *region);

/* Stops REGION if it runs and gives it back. NULL: nothing. */
void cmr_session_free(struct cmr_region *region);

/* Exact numbers of a region, for the moment or final. */
void cmr_session_totals(const struct cmr_region *region, struct cmr_totals *out);

/* Rows by location (peak or live) in memory of the tracker: *OUT with *N rows, to be given back by
 * cmr_memory_unmap(*OUT, *BYTES). False: no memory. */
bool cmr_session_rows(struct cmr_region *region, bool peak, struct cmr_usage_row **out,
		      uint32_t *n, size_t *bytes);

/* Resident bytes of the region's mappings apart, by class. While it runs: now; else what it was at
 * stop. Asks the kernel about every page of them, so nothing is done for classes that have none. */
void cmr_session_resident(struct cmr_region *region, uint64_t resident[CMR_N_RANGE_CLASSES]);

/* Closes the gate for good: interpreter shutdown. */
void cmr_session_shutdown(void);

/* Installs the fork handler (session/fork.c); called by the first start. */
enum cmr_status cmr_fork_init(struct cmr_error *err) CMR_CHECKED;

/* What the fork handlers do (session/session.c): before, in the parent afterwards, in the child. */
void cmr_session_before_fork(void);
void cmr_session_fork_over(void);
void cmr_session_after_fork(void);

/* Own memory and sizes, for diagnostics. */
struct cmr_session_status {
	size_t mapped, hash_entries, leaves, nodes, locations, regions_open;
};
void cmr_session_status(struct cmr_session_status *out);

#endif
