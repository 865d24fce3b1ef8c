#include "collect.h"

#include "frozen.h"
#include "quiet.h"

/* Functions of the module gc, kept so that a start does not look them up. */
static struct {
	PyObject *freeze, *unfreeze, *collect, *one;
	PyObject *callbacks; /* the list gc.callbacks */
	PyObject *aside;     /* its items while they are not to be called */
} gc;

bool cmr_collect_init(void)
{
	PyObject *module = PyImport_ImportModule("gc");

	if (module == NULL)
		return false;
	Py_XSETREF(gc.freeze, PyObject_GetAttrString(module, "freeze"));
	Py_XSETREF(gc.unfreeze, PyObject_GetAttrString(module, "unfreeze"));
	Py_XSETREF(gc.collect, PyObject_GetAttrString(module, "collect"));
	Py_XSETREF(gc.one, PyLong_FromLong(1));
	Py_XSETREF(gc.callbacks, PyObject_GetAttrString(module, "callbacks"));
	Py_XSETREF(gc.aside, PyList_New(0));
	Py_DECREF(module);
	return gc.freeze != NULL && gc.unfreeze != NULL && gc.collect != NULL &&
	       gc.one != NULL && gc.callbacks != NULL && PyList_Check(gc.callbacks) &&
	       gc.aside != NULL;
}

static bool call(PyObject *function)
{
	PyObject *result = PyObject_CallNoArgs(function);

	Py_XDECREF(result);
	return result != NULL;
}

bool cmr_collect_young(void)
{
	PyObject *result = PyObject_CallOneArg(gc.collect, gc.one);

	Py_XDECREF(result);
	return result != NULL;
}

bool cmr_collect_fully(void)
{
	return call(gc.collect);
}

/* Empties the free lists by a full collection that has nothing to look at: all objects are frozen
 * meanwhile. Young garbage is collected first, else it would be promoted unseen. */
static bool collect_frozen(void)
{
	bool done;

	if (!cmr_collect_young() || !call(gc.freeze))
		return false;
	done = call(gc.collect);
	return call(gc.unfreeze) && done;
}

/* Moves the items of FROM to the front of TO, unseen by any region. */
static bool move_items(PyObject *to, PyObject *from)
{
	struct cmr_quiet quiet = cmr_quiet_begin();
	bool done = PyList_SetSlice(to, 0, 0, from) == 0 &&
		    PyList_SetSlice(from, 0, PY_SSIZE_T_MAX, NULL) == 0;

	cmr_quiet_end(quiet);
	return done;
}

int cmr_collect_free_lists(void)
{
	bool done;

	if (CMR_FREE_THREADED || cmr_frozen_any())
		return 0;
	if (PyList_GET_SIZE(gc.callbacks) == 0)
		return collect_frozen() ? 1 : -1;
	/* Callbacks get a dict that goes to a free list afterwards; and it is no collection of theirs. */
	if (!move_items(gc.aside, gc.callbacks))
		return -1;
	done = collect_frozen();
	return move_items(gc.callbacks, gc.aside) && done ? 1 : -1;
}

bool cmr_collect_or_fully(void)
{
	int done = cmr_collect_free_lists();

	return done > 0 || (done == 0 && cmr_collect_fully());
}
