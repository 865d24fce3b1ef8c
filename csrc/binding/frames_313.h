/* Frames of CPython 3.13: the thread state points at the top frame; code is a plain pointer; the
 * instruction is the one that runs. The free-threaded build is the same. */
#ifndef CMR_BINDING_FRAMES_313_H
#define CMR_BINDING_FRAMES_313_H

#ifndef Py_BUILD_CORE_MODULE
#define Py_BUILD_CORE_MODULE 1
#endif
#include "compat.h"

#include <stddef.h>

CMR_QUIET_BEGIN
#include <internal/pycore_frame.h>
#include <internal/pycore_runtime.h>
CMR_QUIET_END

#define CMR_FRAME_CODE offsetof(_PyInterpreterFrame, f_executable)
#define CMR_FRAME_INSTRUCTION offsetof(_PyInterpreterFrame, instr_ptr)
#define CMR_FRAME_TLBC 0
#define CMR_FRAME_CODE_MASK (~(uintptr_t)0)
#define CMR_FRAME_SKIP_OWNER FRAME_OWNED_BY_CSTACK
#define CMR_HAVE_DEBUG_OFFSETS 1

#endif
