/* What an object of the type Region holds, and its methods that only read numbers. */
#ifndef CMR_BINDING_REGION_OBJECT_H
#define CMR_BINDING_REGION_OBJECT_H

#include "compat.h"

#include <sys/types.h>

#include "hook/hooks.h"
#include "heap/region.h"

struct cmr_region_object {
	PyObject ob_base;
	struct cmr_region *region;                 /* never NULL after init */
	uint64_t children_before[CMR_N_CHILDREN]; /* at start */
	uint64_t children_after[CMR_N_CHILDREN];  /* at stop */
	pid_t pid;                                /* of the process that started it */
	double sealed_at, closing_time;           /* seconds: when, and from there to the stop */
};

static inline struct cmr_region_object *cmr_region_object(PyObject *self)
{
	return (struct cmr_region_object *)self;
}

static inline struct cmr_region *cmr_region_inside(PyObject *self)
{
	return cmr_region_object(self)->region;
}

/* False with an exception set: a subclass or a failed __init__ could leave none. */
bool cmr_region_is_made(PyObject *self);

/* Copies the counts of child processes started so far. */
void cmr_region_read_children(uint64_t out[CMR_N_CHILDREN]);

/* Methods without arguments; what they return is in cmemray/_core.pyi. */
PyObject *cmr_region_get_figures(PyObject *self, PyObject *ignored);
PyObject *cmr_region_get_usage(PyObject *self, PyObject *ignored);
PyObject *cmr_region_get_apart(PyObject *self, PyObject *ignored);
PyObject *cmr_region_get_losses(PyObject *self, PyObject *ignored);
PyObject *cmr_region_get_children(PyObject *self, PyObject *ignored);
PyObject *cmr_region_get_old_threads(PyObject *self, PyObject *ignored);

#endif
