#include "region_object.h"

#include <string.h>
#include <unistd.h>

#include "quiet.h"
#include "session/session.h"

bool cmr_region_is_made(PyObject *self)
{
	if (cmr_region_inside(self) == NULL)
		PyErr_SetString(PyExc_RuntimeError, "this Region was not initialised");
	return cmr_region_inside(self) != NULL;
}

void cmr_region_read_children(uint64_t out[CMR_N_CHILDREN])
{
	for (unsigned i = 0; i < CMR_N_CHILDREN; i++)
		out[i] = atomic_load_explicit(&cmr_children[i], memory_order_relaxed);
}

PyObject *cmr_region_get_usage(PyObject *self, PyObject *ignored)
{
	struct cmr_totals t;
	struct cmr_quiet quiet;
	PyObject *result;

	(void)ignored;
	if (!cmr_region_is_made(self))
		return NULL;
	quiet = cmr_quiet_begin();
	cmr_session_totals(cmr_region_inside(self), &t);
	result = Py_BuildValue(
		"{sK sK sK sK sK sK sK sK sK sK sK}", "current", (unsigned long long)t.current,
		"current_blocks", (unsigned long long)t.current_blocks, "peak",
		(unsigned long long)t.peak, "peak_blocks", (unsigned long long)t.peak_blocks, "total",
		(unsigned long long)t.total, "count", (unsigned long long)t.count, "sampling_period",
		(unsigned long long)t.period, "peak_without_old_threads",
		(unsigned long long)t.own_peak, "old_threads_at_peak",
		(unsigned long long)t.old_at_peak, "resized_old_bytes",
		(unsigned long long)t.resized_old, "largest_block", (unsigned long long)t.largest);
	cmr_quiet_end(quiet);
	return result;
}

/* Is there anything to be said of the region beside its numbers? Of one that runs, or that was running
 * when this process was forked, in any case. */
static bool is_remarkable(const struct cmr_region_object *object, const struct cmr_totals *totals)
{
	const struct cmr_region *region = object->region;
	uint64_t found = 0;

	if (!region->stopped || object->pid != getpid())
		return true;
#define X(name) found |= totals->losses.name;
	CMR_LOSS_LIST(X)
#undef X
	for (unsigned c = 0; c < CMR_N_RANGE_CLASSES; c++)
		found |= region->apart.mapped[c];
	return found != 0 || region->old_threads[0].blocks != 0 ||
	       memcmp(object->children_before, object->children_after,
		      sizeof object->children_before) != 0;
}

PyObject *cmr_region_get_figures(PyObject *self, PyObject *ignored)
{
	struct cmr_region_object *object = cmr_region_object(self);
	struct cmr_totals t;
	struct cmr_quiet quiet;
	PyObject *result;
	uint64_t numbers[5];

	(void)ignored;
	if (!cmr_region_is_made(self))
		return NULL;
	quiet = cmr_quiet_begin();
	cmr_session_totals(cmr_region_inside(self), &t);
	numbers[0] = t.peak;
	numbers[1] = t.total;
	numbers[2] = t.count;
	numbers[3] = t.current;
	numbers[4] = (uint64_t)(object->closing_time * 1e6);
	result = PyTuple_New(6);
	for (Py_ssize_t i = 0; result != NULL && i < 5; i++)
		PyTuple_SET_ITEM(result, i, PyLong_FromUnsignedLongLong(numbers[i]));
	if (result != NULL) {
		PyTuple_SET_ITEM(result, 5, PyBool_FromLong(is_remarkable(object, &t)));
	}
	for (Py_ssize_t i = 0; result != NULL && i < 5; i++)
		if (PyTuple_GET_ITEM(result, i) == NULL)
			Py_CLEAR(result);
	cmr_quiet_end(quiet);
	return result;
}

PyObject *cmr_region_get_apart(PyObject *self, PyObject *ignored)
{
	uint64_t resident[CMR_N_RANGE_CLASSES];
	struct cmr_quiet quiet;
	struct cmr_apart apart;
	PyObject *result;

	(void)ignored;
	if (!cmr_region_is_made(self))
		return NULL;
	quiet = cmr_quiet_begin();
	cmr_region_apart(cmr_region_inside(self), &apart);
	cmr_session_resident(cmr_region_inside(self), resident);
#define PAIR(class)                                                                                \
	(unsigned long long)apart.mapped[class], (unsigned long long)resident[class]
	result = Py_BuildValue("{s(KK) s(KK) s(KK)}", "reserved", PAIR(CMR_RANGE_RESERVED), "shared",
			       PAIR(CMR_RANGE_SHARED), "file", PAIR(CMR_RANGE_FILE));
#undef PAIR
	cmr_quiet_end(quiet);
	return result;
}

/* Adds NAME: NUMBER to DICT; false with an exception set. */
static bool set_number(PyObject *dict, const char *name, uint64_t number)
{
	PyObject *value = PyLong_FromUnsignedLongLong(number);
	bool done = value != NULL && PyDict_SetItemString(dict, name, value) == 0;

	Py_XDECREF(value);
	return done;
}

PyObject *cmr_region_get_losses(PyObject *self, PyObject *ignored)
{
	struct cmr_totals totals;
	struct cmr_quiet quiet;
	PyObject *result;

	(void)ignored;
	if (!cmr_region_is_made(self))
		return NULL;
	quiet = cmr_quiet_begin();
	cmr_session_totals(cmr_region_inside(self), &totals);
	result = PyDict_New();
#define X(name)                                                                                    \
	if (result != NULL && !set_number(result, #name, totals.losses.name))                      \
		Py_CLEAR(result);
	CMR_LOSS_LIST(X)
#undef X
	cmr_quiet_end(quiet);
	return result;
}

PyObject *cmr_region_get_children(PyObject *self, PyObject *ignored)
{
	static const char *const names[CMR_N_CHILDREN] = { "fork", "vfork", "posix_spawn", "system",
							   "popen" };
	struct cmr_region_object *object = cmr_region_object(self);
	uint64_t now[CMR_N_CHILDREN];
	struct cmr_quiet quiet;
	PyObject *result;

	(void)ignored;
	if (!cmr_region_is_made(self))
		return NULL;
	quiet = cmr_quiet_begin();
	if (object->region->stopped)
		memcpy(now, object->children_after, sizeof now);
	else
		cmr_region_read_children(now);
	result = PyDict_New();
	for (unsigned i = 0; result != NULL && object->region->started && i < CMR_N_CHILDREN; i++)
		if (now[i] != object->children_before[i] &&
		    !set_number(result, names[i], now[i] - object->children_before[i]))
			Py_CLEAR(result);
	cmr_quiet_end(quiet);
	return result;
}

PyObject *cmr_region_get_old_threads(PyObject *self, PyObject *ignored)
{
	struct cmr_old_thread threads[CMR_MAX_OLD_THREADS];
	struct cmr_quiet quiet;
	PyObject *result, *item;
	unsigned n;

	(void)ignored;
	if (!cmr_region_is_made(self))
		return NULL;
	quiet = cmr_quiet_begin();
	n = cmr_region_old_threads(cmr_region_inside(self), threads);
	result = PyList_New((Py_ssize_t)n);
	for (unsigned i = 0; result != NULL && i < n; i++) {
		item = Py_BuildValue("(iKK)", (int)threads[i].native_id,
				     (unsigned long long)threads[i].bytes,
				     (unsigned long long)threads[i].blocks);
		if (item == NULL)
			Py_CLEAR(result);
		else
			PyList_SET_ITEM(result, (Py_ssize_t)i, item);
	}
	cmr_quiet_end(quiet);
	return result;
}
