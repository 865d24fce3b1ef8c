/* Outcomes of the core as Python exceptions. */
#ifndef CMR_BINDING_STATUS_H
#define CMR_BINDING_STATUS_H

#include "compat.h"

#include "os/status.h"

/* Sets the exception that ERR stands for: MemoryError, OSError or RuntimeError. Returns NULL. */
PyObject *cmr_raise(const struct cmr_error *err);

#endif
