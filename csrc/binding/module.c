/* cmemray._core: the module, its constants and its functions. */
#include "compat.h"

#include <string.h>

#include "codes.h"
#include "collect.h"
#include "jit.h"
#include "lines.h"
#include "pymem.h"
#include "quiet.h"
#include "region_type.h"
#include "session/session.h"
#include "stacks.h"
#include "status.h"
#include "tracer_type.h"

#if CMR_FREE_THREADED
PyMutex cmr_binding_mutex;
#endif

/* --- functions ------------------------------------------------------------------------------- */

static PyObject *core_n_running(PyObject *module, PyObject *ignored)
{
	unsigned n = 0;

	(void)module;
	(void)ignored;
	for (unsigned plane = 0; plane < CMR_N_PLANES; plane++)
		n += (unsigned)__builtin_popcount(cmr_planes[plane].open);
	return PyLong_FromUnsignedLong(n);
}

static PyObject *core_install(PyObject *module, PyObject *ignored)
{
	struct cmr_hook_report report = { 0 };
	struct cmr_quiet quiet;
	struct cmr_error err;
	enum cmr_status status;

	(void)module;
	(void)ignored;
	quiet = cmr_quiet_begin();
	status = cmr_hooks_refresh(&report, &err);
	cmr_quiet_end(quiet);
	if (status != CMR_OK)
		return cmr_raise(&err);
	return Py_BuildValue("{sn sn sn}", "objects", (Py_ssize_t)report.objects, "slots",
			     (Py_ssize_t)report.slots, "failed", (Py_ssize_t)report.failed);
}

static PyObject *core_status(PyObject *module, PyObject *ignored)
{
	struct cmr_session_status s;
	struct cmr_quiet quiet;
	PyObject *result;

	(void)module;
	(void)ignored;
	quiet = cmr_quiet_begin();
	cmr_session_status(&s);
	result = Py_BuildValue("{sn sn sn sn sn sn sn sn}", "mapped", (Py_ssize_t)s.mapped,
			       "hash_entries", (Py_ssize_t)s.hash_entries, "leaves",
			       (Py_ssize_t)s.leaves, "nodes", (Py_ssize_t)s.nodes, "locations",
			       (Py_ssize_t)s.locations, "regions_open", (Py_ssize_t)s.regions_open,
			       "codes", (Py_ssize_t)cmr_codes_count(), "hooked_domains",
			       (Py_ssize_t)cmr_pymem_n_hooked());
	cmr_quiet_end(quiet);
	return result;
}

/* Collects pairs as text while the loader's lock is held, where no Python object may be made. */
struct pairs {
	char text[16384]; /* file NUL allocator or function NUL ... */
	size_t used;
};

static void add_pair(const char *file, const char *allocator, void *data)
{
	struct pairs *pairs = data;
	size_t n_file = strlen(file) + 1, n_allocator = strlen(allocator) + 1;

	if (pairs->used + n_file + n_allocator > sizeof pairs->text)
		return;
	memcpy(pairs->text + pairs->used, file, n_file);
	memcpy(pairs->text + pairs->used + n_file, allocator, n_allocator);
	pairs->used += n_file + n_allocator;
}

/* What EACH tells its visitor, as a list of pairs. */
static PyObject *pairs_of(void (*each)(void (*)(const char *, const char *, void *), void *))
{
	static struct pairs pairs; /* protected by the interpreter's lock, or the binding's */
	PyObject *list = PyList_New(0), *item;
	const char *file, *allocator;
	struct cmr_quiet quiet;

	CMR_BINDING_ENTER();
	quiet = cmr_quiet_begin();
	pairs.used = 0;
	each(add_pair, &pairs);
	for (size_t i = 0; list != NULL && i < pairs.used;) {
		file = pairs.text + i;
		allocator = file + strlen(file) + 1;
		i += strlen(file) + strlen(allocator) + 2;
		item = Py_BuildValue("(O&s)", PyUnicode_DecodeFSDefault, file, allocator);
		if (item == NULL || PyList_Append(list, item) != 0)
			Py_CLEAR(list);
		Py_XDECREF(item);
	}
	cmr_quiet_end(quiet);
	CMR_BINDING_LEAVE();
	return list;
}

static PyObject *core_private_allocators(PyObject *module, PyObject *ignored)
{
	(void)module;
	(void)ignored;
	return pairs_of(cmr_hooks_private_allocators);
}

static PyObject *core_lookups(PyObject *module, PyObject *ignored)
{
	(void)module;
	(void)ignored;
	return pairs_of(cmr_hooks_lookups);
}

static PyObject *core_empty_free_lists(PyObject *module, PyObject *ignored)
{
	int done = cmr_collect_free_lists();

	(void)module;
	(void)ignored;
	return done < 0 ? NULL : PyBool_FromLong(done);
}

static PyObject *core_decode_lines(PyObject *module, PyObject *argument)
{
	PyObject *list, *number, *table, *first;
	struct cmr_lines lines;
	uint32_t n_units;
	int line;

	(void)module;
	if (!PyCode_Check(argument))
		return PyErr_Format(PyExc_TypeError, "decode_lines() takes a code object, not %.100s",
				    Py_TYPE(argument)->tp_name);
	list = PyList_New(0);
	table = PyObject_GetAttrString(argument, "co_linetable");
	first = PyObject_GetAttrString(argument, "co_firstlineno");
	if (table == NULL || first == NULL)
		Py_CLEAR(list);
	else
		cmr_lines_start(&lines, (const uint8_t *)PyBytes_AS_STRING(table),
				(uint32_t)PyBytes_GET_SIZE(table), (int)PyLong_AsLong(first));
	while (list != NULL && cmr_lines_next(&lines, &n_units, &line)) {
		number = PyLong_FromLong(line);
		for (; number != NULL && list != NULL && n_units > 0; n_units--)
			if (PyList_Append(list, number) != 0)
				Py_CLEAR(list);
		if (number == NULL)
			Py_CLEAR(list);
		Py_XDECREF(number);
	}
	Py_XDECREF(table);
	Py_XDECREF(first);
	return list;
}

static PyObject *core_shutdown(PyObject *module, PyObject *ignored)
{
	(void)module;
	(void)ignored;
	cmr_session_shutdown();
	Py_RETURN_NONE;
}

#define FUNCTION(name, text)                                                                       \
	{ #name, core_##name, METH_NOARGS, PyDoc_STR(#name "($module, /)\n--\n\n" text) }

static PyMethodDef functions[] = {
	FUNCTION(install, "Patch the relocation slots of all loaded objects."),
	FUNCTION(n_running, "Number of regions that run now."),
	FUNCTION(status, "Own memory and table sizes."),
	FUNCTION(private_allocators, "(file, allocator) of objects whose allocator is not measured."),
	FUNCTION(lookups, "(file, function) of intercepted functions that were looked up by dlsym."),
	FUNCTION(empty_free_lists, "Drop the free lists; False when that is not possible."),
	{ "decode_lines", core_decode_lines, METH_O,
	  PyDoc_STR("decode_lines($module, code, /)\n--\n\n"
		    "Line of every code unit, 0 where there is none.") },
	{ NULL, NULL, 0, NULL },
};

static PyMethodDef shutdown_function = { "shutdown", core_shutdown, METH_NOARGS, NULL };

/* --- module ---------------------------------------------------------------------------------- */

/* Another thread may have held them when the process was forked. What they protect is complete at
 * every moment, but for what that thread was adding. */
static void after_fork_in_child(void)
{
	cmr_codes_after_fork();
#if CMR_FREE_THREADED
	cmr_binding_mutex = (PyMutex){ 0 };
#endif
}

static const struct cmr_session_callbacks callbacks = {
	.first_open = cmr_pymem_first_open,
	.last_closed = cmr_pymem_last_closed,
	.after_fork = after_fork_in_child,
};

/* Process-wide set-up, once; the module is one per process. The self-test runs Python code, so an
 * import may be interrupted there: the next one begins again. */
static bool init_process(const char **reason)
{
	static const char *why;
	static bool done;
	struct cmr_error err;

	if (!done) {
		if (cmr_codes_init(&err) != CMR_OK) {
			cmr_raise(&err);
			return false;
		}
		if (!cmr_stacks_init(&why) || !cmr_jit_init())
			return false;
		cmr_session_set_callbacks(&callbacks);
		done = true;
	}
	*reason = why;
	return true;
}

/* The gate closes before the interpreter begins to tear its threads down. */
static bool register_shutdown(void)
{
	PyObject *atexit = PyImport_ImportModule("atexit");
	PyObject *function = PyCFunction_New(&shutdown_function, NULL), *result = NULL;

	if (atexit != NULL && function != NULL)
		result = PyObject_CallMethod(atexit, "register", "O", function);
	Py_XDECREF(result);
	Py_XDECREF(function);
	Py_XDECREF(atexit);
	return result != NULL;
}

static bool add_new(PyObject *module, const char *name, PyObject *value)
{
	bool done = value != NULL && PyModule_AddObjectRef(module, name, value) == 0;

	Py_XDECREF(value);
	return done;
}

#ifdef CMR_DYNAMIC_TLS
#define NO_ROOM                                                                                    \
	"no static thread-local storage is left for cmemray's core, which needs 16 bytes of it where "     \
	"another malloc than the C library's is preloaded. Call cmemray.measure() before the libraries "   \
	"that use it up are loaded, or raise the reserve with the environment variable "                   \
	"GLIBC_TUNABLES=glibc.rtld.optional_static_tls=4096"
#endif

static int exec_module(PyObject *module)
{
	const char *reason;

	/* From 3.12 on the slot below says so, and the interpreter heeds it. */
	if (PyInterpreterState_Get() != PyInterpreterState_Main()) {
		PyErr_SetString(PyExc_ImportError, "cmemray measures from the main interpreter only");
		return -1;
	}
#ifdef CMR_DYNAMIC_TLS
	if (!cmr_hooks_allocator_is_libc()) {
		PyErr_SetString(PyExc_ImportError, NO_ROOM);
		return -1;
	}
#endif
	if (!init_process(&reason) || !register_shutdown() || !cmr_collect_init())
		return -1;
	if (PyModule_AddIntConstant(module, "BASIS_REQUESTED", CMR_BASIS_REQUESTED) != 0 ||
	    PyModule_AddIntConstant(module, "BASIS_SYSTEM", CMR_BASIS_SYSTEM) != 0 ||
	    PyModule_AddIntConstant(module, "THREADS_ALL", CMR_SCOPE_ALL) != 0 ||
	    PyModule_AddIntConstant(module, "THREADS_TEST", CMR_SCOPE_TEST) != 0 ||
	    PyModule_AddIntConstant(module, "THREADS_CURRENT", CMR_SCOPE_CURRENT) != 0 ||
	    !add_new(module, "PYTHON_STACKS", PyBool_FromLong(cmr_provider != NULL)) ||
	    PyModule_AddStringConstant(module, "PYTHON_STACKS_REASON", reason) != 0 ||
	    !add_new(module, "OBJECT_TRACING", PyBool_FromLong(cmr_tracing_works())) ||
	    !add_new(module, "FREE_THREADED", PyBool_FromLong(CMR_FREE_THREADED)) ||
	    !add_new(module, "Region", cmr_region_type_new(module)) ||
	    !add_new(module, "ObjectTracer", cmr_tracer_type_new(module)))
		return -1;
	return 0;
}

static PyModuleDef_Slot slots[] = {
	{ Py_mod_exec, (void *)(uintptr_t)exec_module },
#if PY_VERSION_HEX >= 0x030C0000
	{ Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED },
#endif
#if PY_VERSION_HEX >= 0x030D0000
	{ Py_mod_gil, Py_MOD_GIL_NOT_USED },
#endif
	{ 0, NULL },
};

static PyModuleDef definition = {
	.m_base = PyModuleDef_HEAD_INIT,
	.m_name = "cmemray._core",
	.m_doc = PyDoc_STR("The compiled part of cmemray; private."),
	.m_methods = functions,
	.m_slots = slots,
};

/* CMR_INIT: of the build, which makes the module twice. */
PyMODINIT_FUNC CMR_INIT(void);

PyMODINIT_FUNC CMR_INIT(void)
{
	return PyModuleDef_Init(&definition);
}
