/* The type cmemray._core.ObjectTracer (CPython 3.13.3+): objects created and not destroyed. */
#ifndef CMR_BINDING_TRACER_TYPE_H
#define CMR_BINDING_TRACER_TYPE_H

#include "compat.h"

/* A new type object, or NULL with an exception set. Its instances refuse to start where the
 * interpreter cannot tell of destroyed objects reliably (cmr_tracing_works). */
PyObject *cmr_tracer_type_new(PyObject *module);

/* Can objects be traced in the running interpreter? */
bool cmr_tracing_works(void);

#endif
