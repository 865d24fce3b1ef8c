/* Order of things: start lets the gate open as its very last act, seal and stop begin with closing
 * it, and all Python objects in between are made quiet (quiet.h). So a region sees nothing of its own
 * handling. Methods take their arguments without a tuple for the same reason. */
#include "region_type.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include "frames.h"
#include "os/memory.h"
#include "quiet.h"
#include "rows.h"
#include "session/session.h"
#include "status.h"

struct region_object {
	PyObject ob_base;
	struct cmr_region *region;                 /* never NULL after init */
	uint64_t children_before[CMR_N_CHILDREN]; /* at start */
	uint64_t children_after[CMR_N_CHILDREN];  /* at stop */
	pid_t pid;                                /* of the process that started it */
	double sealed_at, closing_time;           /* seconds: when, and from there to the stop */
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct region_object *as_region(PyObject *self)
{
	return (struct region_object *)self;
}

static struct cmr_region *region_of(PyObject *self)
{
	return as_region(self)->region;
}

/* --- life ------------------------------------------------------------------------------------ */

static bool check_options(int basis, int threads, unsigned long long period)
{
	if (basis != CMR_BASIS_REQUESTED && basis != CMR_BASIS_SYSTEM)
		PyErr_Format(PyExc_ValueError, "basis %d is neither BASIS_REQUESTED nor BASIS_SYSTEM",
			     basis);
	else if (threads < CMR_SCOPE_ALL || threads > CMR_SCOPE_CURRENT)
		PyErr_Format(PyExc_ValueError, "threads %d is none of the THREADS_ constants", threads);
	else if (period == 0 || (period & (period - 1)) != 0)
		PyErr_Format(PyExc_ValueError, "max_period %llu is no power of two", period);
	else
		return true;
	return false;
}

static int region_init(PyObject *self, PyObject *args, PyObject *keywords)
{
	static const char *const names[] = { "basis",   "exact", "max_period",
					     "threads", "trace_python_allocators",
					     "seed",    NULL };
	int basis = CMR_BASIS_REQUESTED, exact = 0, threads = CMR_SCOPE_ALL, trace = 0;
	unsigned long long max_period = 65536, seed = 0;
	struct cmr_region_options options;
	struct cmr_quiet quiet;

	if (!PyArg_ParseTupleAndKeywords(args, keywords, "|$ipKipK:Region",
					 (char **)(uintptr_t)names, &basis, &exact, &max_period,
					 &threads, &trace, &seed) ||
	    !check_options(basis, threads, max_period))
		return -1;
	if (region_of(self) != NULL) {
		PyErr_SetString(PyExc_RuntimeError, "a Region is initialised once");
		return -1;
	}
	options = (struct cmr_region_options){
		.basis = (enum cmr_basis)basis,
		.trace_python = trace != 0,
		.exact = exact != 0,
		.max_period = max_period,
		.scope = (enum cmr_scope)threads,
		.seed = seed,
	};
	CMR_BINDING_ENTER();
	quiet = cmr_quiet_begin();
	as_region(self)->region = cmr_region_new(&options);
	cmr_quiet_end(quiet);
	CMR_BINDING_LEAVE();
	if (region_of(self) == NULL) {
		PyErr_NoMemory();
		return -1;
	}
	return 0;
}

static void region_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);

	CMR_BINDING_ENTER();
	cmr_session_free(region_of(self));
	CMR_BINDING_LEAVE();
	type->tp_free(self);
	Py_DECREF(type);
}

/* A subclass or a failed __init__ could leave none. */
static bool has_region(PyObject *self)
{
	if (region_of(self) == NULL)
		PyErr_SetString(PyExc_RuntimeError, "this Region was not initialised");
	return region_of(self) != NULL;
}

/* --- start, seal, stop ----------------------------------------------------------------------- */

/* The one argument `root`, by position or name. False with TypeError set. */
static bool parse_root(PyObject *const *args, Py_ssize_t n_args, PyObject *names, PyObject **root)
{
	Py_ssize_t n_names = names != NULL ? PyTuple_GET_SIZE(names) : 0;

	*root = NULL;
	if (n_args + n_names > 1) {
		PyErr_SetString(PyExc_TypeError, "start() takes one argument, root");
		return false;
	}
	if (n_names == 1 &&
	    PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "root") != 0) {
		PyErr_Format(PyExc_TypeError, "start() takes no argument %R",
			     PyTuple_GET_ITEM(names, 0));
		return false;
	}
	if (n_args + n_names == 1 && args[0] != Py_None)
		*root = args[0];
	if (*root != NULL && !PyFrame_Check(*root)) {
		PyErr_Format(PyExc_TypeError, "root must be a frame or None, not %.100s",
			     Py_TYPE(*root)->tp_name);
		return false;
	}
	return true;
}

static void read_children(uint64_t out[CMR_N_CHILDREN])
{
	for (unsigned i = 0; i < CMR_N_CHILDREN; i++)
		out[i] = atomic_load_explicit(&cmr_children[i], memory_order_relaxed);
}

static PyObject *region_start(PyObject *self, PyObject *const *args, Py_ssize_t n_args,
			      PyObject *names)
{
	struct cmr_error err;
	enum cmr_status status;
	PyObject *root;

	if (!has_region(self) || !parse_root(args, n_args, names, &root))
		return NULL;
	CMR_BINDING_ENTER();
	if (!region_of(self)->started) {
		region_of(self)->options.root =
			root != NULL ? cmr_frames_of_object((PyFrameObject *)root) : NULL;
		read_children(as_region(self)->children_before);
		as_region(self)->pid = getpid();
	}
	status = cmr_session_start(region_of(self), &err);
	CMR_BINDING_LEAVE();
	if (status != CMR_OK)
		return cmr_raise(&err);
	Py_RETURN_NONE;
}

static void seal(struct region_object *object)
{
	if (!object->region->started || object->region->stopped)
		return;
	cmr_session_seal(object->region);
	if (object->sealed_at == 0)
		object->sealed_at = now();
}

static PyObject *region_seal(PyObject *self, PyObject *ignored)
{
	(void)ignored;
	if (!has_region(self))
		return NULL;
	CMR_BINDING_ENTER();
	seal(as_region(self));
	CMR_BINDING_LEAVE();
	Py_RETURN_NONE;
}

static PyObject *region_stop(PyObject *self, PyObject *ignored)
{
	struct region_object *object = as_region(self);
	struct cmr_region *region = object->region;

	(void)ignored;
	if (!has_region(self))
		return NULL;
	CMR_BINDING_ENTER();
	seal(object);
	if (region->started && !region->stopped) {
		read_children(object->children_after);
		cmr_session_stop(region);
		object->closing_time = now() - object->sealed_at;
	}
	CMR_BINDING_LEAVE();
	Py_RETURN_NONE;
}

static PyObject *region_is_running(PyObject *self, PyObject *ignored)
{
	(void)ignored;
	if (!has_region(self))
		return NULL;
	return PyBool_FromLong(region_of(self)->started && !region_of(self)->stopped);
}

static PyObject *region_is_forked(PyObject *self, PyObject *ignored)
{
	struct region_object *object = as_region(self);

	(void)ignored;
	return PyBool_FromLong(object->pid != 0 && object->pid != getpid());
}

static PyObject *region_closing_time(PyObject *self, PyObject *ignored)
{
	(void)ignored;
	return PyFloat_FromDouble(as_region(self)->closing_time);
}

/* --- numbers --------------------------------------------------------------------------------- */

static PyObject *region_usage(PyObject *self, PyObject *ignored)
{
	struct cmr_totals t;
	struct cmr_quiet quiet;
	PyObject *result;

	(void)ignored;
	if (!has_region(self))
		return NULL;
	quiet = cmr_quiet_begin();
	cmr_session_totals(region_of(self), &t);
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

static PyObject *region_apart(PyObject *self, PyObject *ignored)
{
	uint64_t resident[CMR_N_RANGE_CLASSES];
	struct cmr_quiet quiet;
	struct cmr_apart apart;
	PyObject *result;

	(void)ignored;
	if (!has_region(self))
		return NULL;
	quiet = cmr_quiet_begin();
	cmr_region_apart(region_of(self), &apart);
	cmr_session_resident(region_of(self), resident);
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

static PyObject *region_losses(PyObject *self, PyObject *ignored)
{
	struct cmr_totals totals;
	struct cmr_quiet quiet;
	PyObject *result;

	(void)ignored;
	if (!has_region(self))
		return NULL;
	quiet = cmr_quiet_begin();
	cmr_session_totals(region_of(self), &totals);
	result = PyDict_New();
#define X(name)                                                                                    \
	if (result != NULL && !set_number(result, #name, totals.losses.name))                      \
		Py_CLEAR(result);
	CMR_LOSS_LIST(X)
#undef X
	cmr_quiet_end(quiet);
	return result;
}

static PyObject *region_children(PyObject *self, PyObject *ignored)
{
	static const char *const names[CMR_N_CHILDREN] = { "fork", "vfork", "posix_spawn", "system",
							   "popen" };
	struct region_object *object = as_region(self);
	uint64_t now[CMR_N_CHILDREN];
	struct cmr_quiet quiet;
	PyObject *result;

	(void)ignored;
	if (!has_region(self))
		return NULL;
	quiet = cmr_quiet_begin();
	if (object->region->stopped)
		memcpy(now, object->children_after, sizeof now);
	else
		read_children(now);
	result = PyDict_New();
	for (unsigned i = 0; result != NULL && object->region->started && i < CMR_N_CHILDREN; i++)
		if (now[i] != object->children_before[i] &&
		    !set_number(result, names[i], now[i] - object->children_before[i]))
			Py_CLEAR(result);
	cmr_quiet_end(quiet);
	return result;
}

static PyObject *region_old_threads(PyObject *self, PyObject *ignored)
{
	struct cmr_old_thread threads[CMR_MAX_OLD_THREADS];
	struct cmr_quiet quiet;
	PyObject *result, *item;
	unsigned n;

	(void)ignored;
	if (!has_region(self))
		return NULL;
	quiet = cmr_quiet_begin();
	n = cmr_region_old_threads(region_of(self), threads);
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

/* --- locations ------------------------------------------------------------------------------- */

static PyObject *build_rows(struct cmr_region *region, bool peak)
{
	struct cmr_totals totals;
	struct cmr_usage_row *rows = NULL;
	struct cmr_rows_total total;
	PyObject *list;
	size_t bytes;
	uint32_t n;

	if (!region->started)
		return PyList_New(0);
	cmr_session_totals(region, &totals);
	if (!cmr_session_rows(region, peak, &rows, &n, &bytes))
		return PyErr_NoMemory();
	total = (struct cmr_rows_total){
		.bytes = peak ? totals.peak : totals.current,
		.blocks = peak ? totals.peak_blocks : totals.current_blocks,
		.estimated = !totals.exact,
	};
	list = cmr_rows_build(rows, n, total);
	if (rows != NULL)
		cmr_memory_unmap(rows, bytes);
	return list;
}

static PyObject *locate(PyObject *self, bool peak)
{
	struct cmr_quiet quiet;
	PyObject *list;

	if (!has_region(self))
		return NULL;
	CMR_BINDING_ENTER();
	quiet = cmr_quiet_begin();
	list = build_rows(region_of(self), peak);
	cmr_quiet_end(quiet);
	CMR_BINDING_LEAVE();
	return list;
}

static PyObject *region_locations_at_peak(PyObject *self, PyObject *ignored)
{
	(void)ignored;
	return locate(self, true);
}

static PyObject *build_largest(const struct cmr_region *region)
{
	struct cmr_totals totals;
	struct cmr_usage_row row;
	PyObject *list, *result;

	cmr_session_totals(region, &totals);
	if (totals.largest_location == 0)
		return Py_NewRef(Py_None);
	row = (struct cmr_usage_row){ .location = totals.largest_location,
				      .bytes = (int64_t)totals.largest_located,
				      .blocks = CMR_BLOCK_UNIT };
	list = cmr_rows_build(&row, 1, (struct cmr_rows_total){ .estimated = false });
	if (list == NULL)
		return NULL;
	result = Py_NewRef(PyList_GET_ITEM(list, 0));
	Py_DECREF(list);
	return result;
}

static PyObject *region_largest_located(PyObject *self, PyObject *ignored)
{
	struct cmr_quiet quiet;
	PyObject *row;

	(void)ignored;
	if (!has_region(self))
		return NULL;
	CMR_BINDING_ENTER();
	quiet = cmr_quiet_begin();
	row = build_largest(region_of(self));
	cmr_quiet_end(quiet);
	CMR_BINDING_LEAVE();
	return row;
}

static PyObject *region_leaks(PyObject *self, PyObject *ignored)
{
	(void)ignored;
	return locate(self, false);
}

/* --- type ------------------------------------------------------------------------------------ */

#define METHOD(name, text)                                                                         \
	{ #name, region_##name, METH_NOARGS, PyDoc_STR(#name "($self, /)\n--\n\n" text) }

static PyMethodDef region_methods[] = {
	{ "start", (PyCFunction)(void (*)(void))region_start, METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("start($self, /, root=None)\n--\n\n"
		    "Begin to count; stacks of this thread end above frame root.") },
	METHOD(seal, "Close the peak: peak, total and count no longer change."),
	METHOD(stop, "End; what is live now are the leaks."),
	METHOD(is_running, "Has it been started, and not stopped?"),
	METHOD(is_forked, "Is this a child process, forked after the start?"),
	METHOD(closing_time, "Seconds from seal to stop, 0.0 before."),
	METHOD(usage, "Exact numbers, for the moment or final: bytes and blocks by name."),
	METHOD(apart, "Mappings beside the peak: (bytes mapped at the most, resident at the end)."),
	METHOD(losses, "What could not be recorded, by kind."),
	METHOD(locations_at_peak, "Rows (bytes, blocks, allocator, frames, estimated)."),
	METHOD(leaks, "Rows of what is live now, or was at the stop."),
	METHOD(largest_located, "Row of the largest block that was sampled, or None."),
	METHOD(old_threads, "(native id, bytes, blocks) of threads older than the region."),
	METHOD(children, "Child processes started meanwhile, by function."),
	{ NULL, NULL, 0, NULL },
};

#define REGION_DOC                                                                                 \
	"Region(*, basis=0, exact=False, max_period=65536, threads=0, "                            \
	"trace_python_allocators=False, seed=0)\n--\n\n"                                           \
	"A stretch of the program whose allocations are counted."

static PyType_Slot region_slots[] = {
	{ Py_tp_doc, (void *)(uintptr_t)REGION_DOC },
	{ Py_tp_init, (void *)(uintptr_t)region_init },
	{ Py_tp_dealloc, (void *)(uintptr_t)region_dealloc },
	{ Py_tp_methods, region_methods },
	{ 0, NULL },
};

static PyType_Spec region_spec = {
	.name = "cmemray._core.Region",
	.basicsize = (int)sizeof(struct region_object),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
	.slots = region_slots,
};

PyObject *cmr_region_type_new(PyObject *module)
{
	return PyType_FromModuleAndSpec(module, &region_spec, NULL);
}
