/* Frames of CPython 3.15: as in 3.14, but entries from C have no frames of their own: a chain ends in
 * a frame of the interpreter. Free-threaded builds have bytecode per thread. */
#ifndef CMR_BINDING_FRAMES_315_H
#define CMR_BINDING_FRAMES_315_H

#ifndef Py_BUILD_CORE_MODULE
#define Py_BUILD_CORE_MODULE 1
#endif
#include "compat.h"

#include <stddef.h>

CMR_QUIET_BEGIN
#include <internal/pycore_frame.h>
#include <internal/pycore_interpframe_structs.h>
#include <internal/pycore_runtime_structs.h>
#include <internal/pycore_runtime.h>
CMR_QUIET_END

#define CMR_FRAME_CODE offsetof(_PyInterpreterFrame, f_executable)
#define CMR_FRAME_INSTRUCTION offsetof(_PyInterpreterFrame, instr_ptr)
#if CMR_FREE_THREADED
#define CMR_FRAME_TLBC offsetof(_PyInterpreterFrame, tlbc_index)
#else
#define CMR_FRAME_TLBC 0
#endif
#define CMR_FRAME_CODE_MASK (~(uintptr_t)3)
#define CMR_FRAME_SKIP_OWNER FRAME_OWNED_BY_INTERPRETER
#define CMR_HAVE_DEBUG_OFFSETS 1

#endif
