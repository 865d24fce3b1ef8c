/* CPython's headers, and all that differs between its versions except frames (frames_3NN.h). */
#ifndef CMR_BINDING_COMPAT_H
#define CMR_BINDING_COMPAT_H

/* CPython's own headers do not hold our bar of warnings; what lies between these two is exempt. */
#define CMR_QUIET_BEGIN                                                                            \
	_Pragma("GCC diagnostic push") _Pragma("GCC diagnostic ignored \"-Wconversion\"")          \
	_Pragma("GCC diagnostic ignored \"-Wsign-conversion\"")                                    \
	_Pragma("GCC diagnostic ignored \"-Wshadow\"")                                             \
	_Pragma("GCC diagnostic ignored \"-Wpedantic\"")                                           \
	_Pragma("GCC diagnostic ignored \"-Wcast-qual\"")                                          \
	_Pragma("GCC diagnostic ignored \"-Wundef\"")                                              \
	_Pragma("GCC diagnostic ignored \"-Wunused-parameter\"")                                   \
	_Pragma("GCC diagnostic ignored \"-Wmissing-field-initializers\"")                         \
	_Pragma("GCC diagnostic ignored \"-Wstrict-prototypes\"")
#define CMR_QUIET_END _Pragma("GCC diagnostic pop")

#ifndef PY_SSIZE_T_CLEAN
#define PY_SSIZE_T_CLEAN
#endif
CMR_QUIET_BEGIN
#include <Python.h>
CMR_QUIET_END

#include <stdbool.h>
#include <stdint.h>

#if PY_VERSION_HEX < 0x030B0000
#error "CPython 3.11 or newer is needed"
#endif

/* Is there a frames_3NN.h for this minor version? Where not, everything is counted as ever, without
 * Python stacks. CMR_UNKNOWN_CPYTHON pretends that there is none. */
#ifdef CMR_UNKNOWN_CPYTHON
#define CMR_FRAMES_KNOWN 0
#else
#define CMR_FRAMES_KNOWN (PY_VERSION_HEX < 0x03100000)
#endif

#ifdef Py_GIL_DISABLED
#define CMR_FREE_THREADED 1
#else
#define CMR_FREE_THREADED 0
#endif

/* PyRefTracer_SetTracer exists from 3.13.0; before 3.13.3 it missed some destructions, so a tracer
 * would hand out freed objects. That is asked of the running interpreter. */
#define CMR_HAVE_REF_TRACER (PY_VERSION_HEX >= 0x030D0000)
static inline bool cmr_ref_tracer_works(void)
{
	return CMR_HAVE_REF_TRACER && Py_Version >= 0x030D0300;
}

/* Is the interpreter shutting down? Then thread states may be freed memory. */
static inline bool cmr_is_finalizing(void)
{
#if PY_VERSION_HEX >= 0x030D0000
	return Py_IsFinalizing() != 0;
#else
	return _Py_IsFinalizing() != 0;
#endif
}

/* The binding's functions change state that the interpreter's lock protects. Without that lock a
 * mutex of the interpreter's own does: it gives way to a stopping world while it waits. */
#if CMR_FREE_THREADED
extern PyMutex cmr_binding_mutex;
#define CMR_BINDING_ENTER() PyMutex_Lock(&cmr_binding_mutex)
#define CMR_BINDING_LEAVE() PyMutex_Unlock(&cmr_binding_mutex)
#else
#define CMR_BINDING_ENTER() ((void)0)
#define CMR_BINDING_LEAVE() ((void)0)
#endif

#endif
