/* Stretches of the binding whose own allocations must not count in any region.
 *
 * Objects made in one are unknown to the tables, so their later frees are ignored. Nothing that the
 * program owns may be freed in one, so garbage collection is held off. */
#ifndef CMR_BINDING_QUIET_H
#define CMR_BINDING_QUIET_H

#include "compat.h"

#include "events/gate.h"

struct cmr_quiet {
	uintptr_t guard; /* bits of the planes, as they were */
	int collecting;
};

static inline struct cmr_quiet cmr_quiet_begin(void)
{
	struct cmr_quiet quiet = { cmr_tls.guard & CMR_GUARD_ALL, PyGC_Disable() };

	cmr_gate_enter(CMR_GUARD_ALL);
	return quiet;
}

static inline void cmr_quiet_end(struct cmr_quiet quiet)
{
	cmr_gate_leave(CMR_GUARD_ALL & ~quiet.guard);
	if (quiet.collecting)
		PyGC_Enable();
}

#endif
