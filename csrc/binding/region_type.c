/* Order of things: start lets the gate open as its very last act, seal and stop begin with closing
 * it, and all Python objects in between are made quiet (quiet.h). So a region sees nothing of its own
 * handling. Methods take their arguments without a tuple for the same reason. */
#include "region_type.h"

#include <time.h>
#include <unistd.h>

#include "collect.h"
#include "frames.h"
#include "os/memory.h"
#include "pymem.h"
#include "quiet.h"
#include "region_object.h"
#include "rows.h"
#include "session/session.h"
#include "status.h"

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* --- life ------------------------------------------------------------------------------------ */

static bool check_period(const char *name, unsigned long long period)
{
	if (period != 0 && (period & (period - 1)) == 0)
		return true;
	PyErr_Format(PyExc_ValueError, "%s %llu is no power of two", name, period);
	return false;
}

static bool check_options(int basis, int threads)
{
	if (basis != CMR_BASIS_REQUESTED && basis != CMR_BASIS_SYSTEM)
		PyErr_Format(PyExc_ValueError, "basis %d is neither BASIS_REQUESTED nor BASIS_SYSTEM",
			     basis);
	else if (threads < CMR_SCOPE_ALL || threads > CMR_SCOPE_CURRENT)
		PyErr_Format(PyExc_ValueError, "threads %d is none of the THREADS_ constants", threads);
	else
		return true;
	return false;
}

/* False with MemoryError set. */
static bool make(struct cmr_region_object *object, const struct cmr_region_options *options)
{
	struct cmr_quiet quiet;

	CMR_BINDING_ENTER();
	quiet = cmr_quiet_begin();
	object->region = cmr_region_new(options);
	cmr_quiet_end(quiet);
	CMR_BINDING_LEAVE();
	if (object->region == NULL)
		PyErr_SetString(PyExc_MemoryError, "no memory for a measurement");
	return object->region != NULL;
}

static int region_init(PyObject *self, PyObject *args, PyObject *keywords)
{
	static const char *const names[] = { "basis", "exact", "max_period", "first_period",
					     "threads", "trace_python_allocators", "seed", NULL };
	int basis = CMR_BASIS_REQUESTED, exact = 0, threads = CMR_SCOPE_ALL, trace = 0;
	unsigned long long max_period = 65536, first_period = 1, seed = 0;
	struct cmr_region_options options;

	if (!PyArg_ParseTupleAndKeywords(args, keywords, "|$ipKKipK:Region",
					 (char **)(uintptr_t)names, &basis, &exact, &max_period,
					 &first_period, &threads, &trace, &seed) ||
	    !check_options(basis, threads) || !check_period("max_period", max_period) ||
	    !check_period("first_period", first_period))
		return -1;
	if (cmr_region_inside(self) != NULL) {
		PyErr_SetString(PyExc_RuntimeError, "a Region is initialised once");
		return -1;
	}
	options = (struct cmr_region_options){
		.basis = (enum cmr_basis)basis,
		.trace_python = trace != 0,
		.exact = exact != 0,
		.max_period = max_period,
		.first_period = first_period,
		.scope = (enum cmr_scope)threads,
		.seed = seed,
	};
	return make(cmr_region_object(self), &options) ? 0 : -1;
}

static void region_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);

	CMR_BINDING_ENTER();
	cmr_session_free(cmr_region_inside(self));
	CMR_BINDING_LEAVE();
	type->tp_free(self);
	Py_DECREF(type);
}

/* again(seed, first_period): another one of the same options but for these. */
static PyObject *region_again(PyObject *self, PyObject *const *args, Py_ssize_t n_args)
{
	PyTypeObject *type = Py_TYPE(self);
	struct cmr_region_options options;
	PyObject *other;

	if (!cmr_region_is_made(self))
		return NULL;
	if (n_args != 2)
		return PyErr_Format(PyExc_TypeError, "again() takes seed and first_period");
	options = cmr_region_inside(self)->options;
	options.root = NULL;
	options.seed = PyLong_AsUnsignedLongLongMask(args[0]);
	options.first_period = PyLong_AsUnsignedLongLong(args[1]);
	if (PyErr_Occurred() || !check_period("first_period", options.first_period))
		return NULL;
	other = type->tp_alloc(type, 0);
	if (other != NULL && !make(cmr_region_object(other), &options))
		Py_CLEAR(other);
	return other;
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

/* What others that run have missed so far is theirs to know. */
static void check_hooks(void)
{
	struct cmr_quiet quiet = cmr_quiet_begin();

	cmr_pymem_check();
	cmr_quiet_end(quiet);
}

static PyObject *start(PyObject *self, PyObject *root)
{
	struct cmr_error err;
	enum cmr_status status;

	CMR_BINDING_ENTER();
	if (!cmr_region_inside(self)->started) {
		cmr_region_inside(self)->options.root =
			root != NULL ? cmr_frames_of_object((PyFrameObject *)root) : NULL;
		cmr_region_read_children(cmr_region_object(self)->children_before);
		cmr_region_object(self)->pid = getpid();
	}
	check_hooks();
	status = cmr_session_start(cmr_region_inside(self), &err);
	CMR_BINDING_LEAVE();
	if (status != CMR_OK)
		return cmr_raise(&err);
	Py_RETURN_NONE;
}

static PyObject *region_start(PyObject *self, PyObject *const *args, Py_ssize_t n_args,
			      PyObject *names)
{
	PyObject *root;

	if (!cmr_region_is_made(self) || !parse_root(args, n_args, names, &root))
		return NULL;
	return start(self, root);
}

static bool any_running(void)
{
	unsigned open = 0;

	for (unsigned plane = 0; plane < CMR_N_PLANES; plane++)
		open |= cmr_planes[plane].open;
	return open != 0;
}

/* What comes from the interpreter's free lists is never requested, so they are emptied before, lest
 * numbers depend on what ran before. To others that run it would look like frees. */
static PyObject *region_begin(PyObject *self, PyObject *const *args, Py_ssize_t n_args,
			      PyObject *names)
{
	PyObject *root;

	if (!cmr_region_is_made(self) || !parse_root(args, n_args, names, &root) ||
	    (!any_running() && !cmr_collect_or_fully()))
		return NULL;
	return start(self, root);
}

static void seal(struct cmr_region_object *object)
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
	if (!cmr_region_is_made(self))
		return NULL;
	CMR_BINDING_ENTER();
	seal(cmr_region_object(self));
	CMR_BINDING_LEAVE();
	Py_RETURN_NONE;
}

static void stop(struct cmr_region_object *object)
{
	struct cmr_region *region = object->region;

	CMR_BINDING_ENTER();
	seal(object);
	if (region->started && !region->stopped) {
		check_hooks();
		cmr_session_check();
		cmr_region_read_children(object->children_after);
		cmr_session_stop(region);
		object->closing_time = now() - object->sealed_at;
	}
	CMR_BINDING_LEAVE();
}

static PyObject *region_stop(PyObject *self, PyObject *ignored)
{
	(void)ignored;
	if (!cmr_region_is_made(self))
		return NULL;
	stop(cmr_region_object(self));
	Py_RETURN_NONE;
}

/* Garbage that is to be gone before leaks are read. COLLECT is True, or the least number of live
 * bytes that a full collection is worth; False: only what free lists take; None: nothing at all. */
static bool collect_before_leaks(struct cmr_region *region, PyObject *collect)
{
	struct cmr_totals totals;
	unsigned long long least;

	if (collect == Py_None)
		return true;
	if (collect == Py_True)
		return cmr_collect_fully() && cmr_collect_or_fully();
	if (collect != Py_False) {
		least = PyLong_AsUnsignedLongLong(collect);
		if (PyErr_Occurred() || !cmr_collect_young())
			return false;
		/* Who leaks less in all than matters cannot leak too much anywhere. */
		cmr_session_totals(region, &totals);
		if (totals.current >= least && !cmr_collect_fully())
			return false;
	}
	return cmr_collect_or_fully();
}

static PyObject *region_end(PyObject *self, PyObject *collect)
{
	struct cmr_region_object *object = cmr_region_object(self);
	bool done;

	if (!cmr_region_is_made(self))
		return NULL;
	if (!object->region->started || object->region->stopped)
		Py_RETURN_NONE;
	CMR_BINDING_ENTER();
	seal(object);
	CMR_BINDING_LEAVE();
	/* A collection may end a region, by the finaliser of something: then stop does nothing. */
	done = collect_before_leaks(object->region, collect);
	stop(object);
	if (!done)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *region_is_running(PyObject *self, PyObject *ignored)
{
	(void)ignored;
	if (!cmr_region_is_made(self))
		return NULL;
	return PyBool_FromLong(cmr_region_inside(self)->started && !cmr_region_inside(self)->stopped);
}

static PyObject *region_is_forked(PyObject *self, PyObject *ignored)
{
	struct cmr_region_object *object = cmr_region_object(self);

	(void)ignored;
	return PyBool_FromLong(object->pid != 0 && object->pid != getpid());
}

static PyObject *region_closing_time(PyObject *self, PyObject *ignored)
{
	(void)ignored;
	return PyFloat_FromDouble(cmr_region_object(self)->closing_time);
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
		return PyErr_Format(PyExc_MemoryError, "no memory for a list of locations");
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

	if (!cmr_region_is_made(self))
		return NULL;
	CMR_BINDING_ENTER();
	quiet = cmr_quiet_begin();
	list = build_rows(cmr_region_inside(self), peak);
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
	if (!cmr_region_is_made(self))
		return NULL;
	CMR_BINDING_ENTER();
	quiet = cmr_quiet_begin();
	row = build_largest(cmr_region_inside(self));
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

#define NUMBERS(name, text)                                                                        \
	{ #name, cmr_region_get_##name, METH_NOARGS, PyDoc_STR(#name "($self, /)\n--\n\n" text) }

#define METHOD(name, text)                                                                         \
	{ #name, region_##name, METH_NOARGS, PyDoc_STR(#name "($self, /)\n--\n\n" text) }

static PyMethodDef region_methods[] = {
	{ "start", (PyCFunction)(void (*)(void))region_start, METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("start($self, /, root=None)\n--\n\n"
		    "Begin to count; stacks of this thread end above frame root.") },
	{ "begin", (PyCFunction)(void (*)(void))region_begin, METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("begin($self, /, root=None)\n--\n\n"
		    "Empty the free lists if no other region runs, then start.") },
	{ "end", region_end, METH_O,
	  PyDoc_STR("end($self, collect, /)\n--\n\n"
		    "Seal, collect garbage as asked, empty the free lists, stop.") },
	{ "again", (PyCFunction)(void (*)(void))region_again, METH_FASTCALL,
	  PyDoc_STR("again($self, seed, first_period, /)\n--\n\n"
		    "A new one with the options of this one but for these two.") },
	NUMBERS(figures, "(peak, total, count, current, closing time, whether there is more to say)."),
	METHOD(seal, "Close the peak: peak, total and count no longer change."),
	METHOD(stop, "End; what is live now are the leaks."),
	METHOD(is_running, "Has it been started, and not stopped?"),
	METHOD(is_forked, "Is this a child process, forked after the start?"),
	METHOD(closing_time, "Seconds from seal to stop, 0.0 before."),
	NUMBERS(usage, "Exact numbers, for the moment or final: bytes and blocks by name."),
	NUMBERS(apart, "Mappings beside the peak: (bytes mapped at the most, resident at the end)."),
	NUMBERS(losses, "What could not be recorded, by kind."),
	METHOD(locations_at_peak, "Rows (bytes, blocks, allocator, frames, estimated)."),
	METHOD(leaks, "Rows of what is live now, or was at the stop."),
	METHOD(largest_located, "Row of the largest block that was sampled, or None."),
	NUMBERS(old_threads, "(native id, bytes, blocks) of threads older than the region."),
	NUMBERS(children, "Child processes started meanwhile, by function."),
	{ NULL, NULL, 0, NULL },
};

#define REGION_DOC                                                                                 \
	"Region(*, basis=0, exact=False, max_period=65536, first_period=1, threads=0, "            \
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
	.basicsize = (int)sizeof(struct cmr_region_object),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
	.slots = region_slots,
};

PyObject *cmr_region_type_new(PyObject *module)
{
	return PyType_FromModuleAndSpec(module, &region_spec, NULL);
}
