/* The interpreter's own compiler (CPython 3.14 and newer, when it is switched on). */
#ifndef CMR_BINDING_JIT_H
#define CMR_BINDING_JIT_H

#include "compat.h"

/* Makes the mappings for compiled code stock, like arenas, in basis requested: which code is hot enough
 * to be compiled depends on what ran before. Call once at import, with the interpreter's lock. False
 * with an exception set when something could not be asked. */
bool cmr_jit_init(void);

#endif
