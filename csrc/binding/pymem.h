/* Hooks in the interpreter's allocators: the domains raw, mem and obj, and its arena allocator. */
#ifndef CMR_BINDING_PYMEM_H
#define CMR_BINDING_PYMEM_H

#include "compat.h"

#include "os/thread.h"

/* For cmr_session_set_callbacks: hooks are set while a plane that wants them is open. Called with
 * the interpreter's lock and CMR_GUARD_ALL. An open may come again without a close, after a fork. */
void cmr_pymem_first_open(enum cmr_plane_id plane);
void cmr_pymem_last_closed(enum cmr_plane_id plane);

/* To be called, like these, before a region starts or ends while others run or this one does: a tool
 * that was there before us may have put its own originals back, and ours were gone since. That is
 * counted as a loss, and they are set again. */
void cmr_pymem_check(void);

/* Domains that are hooked now, counting those where another tool's hook lies over ours. */
unsigned cmr_pymem_n_hooked(void);

#endif
