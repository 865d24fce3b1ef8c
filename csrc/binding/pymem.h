/* Hooks in the interpreter's allocators: the domains raw, mem and obj, and its arena allocator. */
#ifndef CMR_BINDING_PYMEM_H
#define CMR_BINDING_PYMEM_H

#include "session/session.h"

/* For cmr_session_set_callbacks: hooks are set while a plane that wants them is open. Called with
 * the interpreter's lock and CMR_GUARD_ALL. */
extern const struct cmr_session_callbacks cmr_pymem_callbacks;

/* Domains that are hooked now, counting those where another tool's hook lies over ours. */
unsigned cmr_pymem_n_hooked(void);

#endif
