/* Frames of CPython 3.12: as in 3.11 the top frame hangs on a struct on the C stack (`cframe`); code and
 * instruction are plain pointers. Frames of entries from C run no Python code. */
#ifndef CMR_BINDING_FRAMES_312_H
#define CMR_BINDING_FRAMES_312_H

#ifndef Py_BUILD_CORE_MODULE
#define Py_BUILD_CORE_MODULE 1
#endif
#include "compat.h"

#include <stddef.h>

CMR_QUIET_BEGIN
#include <internal/pycore_frame.h>
#include <internal/pycore_runtime.h>
CMR_QUIET_END

#define CMR_FRAME_CODE offsetof(_PyInterpreterFrame, f_code)
/* The code unit before the next instruction: may be an inline cache, or one before the first. */
#define CMR_FRAME_INSTRUCTION offsetof(_PyInterpreterFrame, prev_instr)
#define CMR_FRAME_TLBC 0
#define CMR_FRAME_CODE_MASK (~(uintptr_t)0)
#define CMR_FRAME_SKIP_OWNER FRAME_OWNED_BY_CSTACK
#define CMR_HAVE_DEBUG_OFFSETS 0

#endif
