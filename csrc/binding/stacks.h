/* Gives the core its stack provider, if this interpreter's frames are as this file was compiled. */
#ifndef CMR_BINDING_STACKS_H
#define CMR_BINDING_STACKS_H

#include "compat.h"

#include "stack/provider.h"

/* Sets cmr_provider, or leaves it NULL: then regions count as ever, but without Python stacks.
 * REASON is "" or says why, static storage. Call once at import, with the interpreter's lock and
 * after cmr_codes_init. False with an exception set when the check could not be made at all. */
bool cmr_stacks_init(const char **reason);

/* Self-test of LAYOUT (selftest.c): runs nested Python code with a method, a generator and a call
 * through C, and compares each frame found by LAYOUT with the interpreter's own frame objects: code,
 * instruction and line. *MISMATCH is NULL or says what differs. Reads frames through the kernel, so
 * that a wrong offset cannot crash. False with an exception set when the code could not be run. */
bool cmr_selftest_run(const struct cmr_frame_layout *layout, const char **mismatch);

#endif
