/* The type cmemray._core.Region. */
#ifndef CMR_BINDING_REGION_TYPE_H
#define CMR_BINDING_REGION_TYPE_H

#include "compat.h"

/* A new type object, or NULL with an exception set. */
PyObject *cmr_region_type_new(PyObject *module);

#endif
