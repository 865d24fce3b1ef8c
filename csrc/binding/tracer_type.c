/* The interpreter calls one reference tracer at the creation and destruction of every object. Ours
 * notes the address and the stack of the creator, in memory of its own, and forgets both at the
 * destruction; what is left at the end is alive and can be referred to. An earlier tracer goes on to
 * be called. */
#include "tracer_type.h"

#include "frames.h"
#include "objects.h"
#include "os/thread.h"
#include "quiet.h"
#include "rows.h"
#include "session/session.h"
#include "stack/chain.h"
#include "status.h"

struct tracer_object {
	PyObject ob_base;
	const void *root;          /* frame below which stacks of the owner are cut */
	const void *owner;         /* the thread that started, as its struct cmr_thread */
	struct cmr_region *pin;    /* while it is not freed no stack number is forgotten */
	struct cmr_objects objects;
	bool started, stopped;
	bool lost;                 /* memory was refused: some object is missing */
};

bool cmr_tracing_works(void)
{
	/* Without the interpreter's lock an object can be dying in another thread while it is looked
	 * at; nothing public tells. */
	return cmr_ref_tracer_works() && !CMR_FREE_THREADED;
}

static struct tracer_object *as_tracer(PyObject *self)
{
	return (struct tracer_object *)self;
}

#if CMR_HAVE_REF_TRACER

static struct tracer_object *active; /* protected by the interpreter's lock, as all here */
static PyRefTracer earlier_tracer;
static void *earlier_data;

static cmr_node_id walk(const struct tracer_object *tracer)
{
	struct cmr_thread *thread = cmr_thread_self();
	const void *root;
	cmr_node_id node;

	if (thread == NULL || cmr_provider == NULL)
		return 0;
	root = thread->root;
	thread->root = (const void *)thread == tracer->owner ? tracer->root : NULL;
	node = cmr_chain_walk(thread);
	thread->root = root;
	return node;
}

/* An object made while the guard is set is the tracker's own, and not noted; one that dies then may
 * be anybody's. */
static int on_object(PyObject *object, PyRefTracerEvent event, void *data)
{
	struct tracer_object *tracer = data;
	uintptr_t guard = cmr_tls.guard & CMR_GUARD_ALL;

	if (earlier_tracer != NULL)
		(void)earlier_tracer(object, event, earlier_data);
	if (tracer != active)
		return 0;
	cmr_gate_enter(CMR_GUARD_ALL);
	if (event == PyRefTracer_DESTROY)
		cmr_objects_remove(&tracer->objects, (uintptr_t)object);
	else if (event == PyRefTracer_CREATE && guard == 0 &&
		 !cmr_objects_put(&tracer->objects, (uintptr_t)object, walk(tracer)))
		tracer->lost = true;
	cmr_gate_leave(CMR_GUARD_ALL & ~guard);
	return 0;
}

static bool start_tracing(struct tracer_object *tracer)
{
	earlier_tracer = PyRefTracer_GetTracer(&earlier_data);
	active = tracer;
	if (PyRefTracer_SetTracer(on_object, tracer) == 0)
		return true;
	active = NULL;
	return false;
}

static void stop_tracing(void)
{
	void *data;

	active = NULL;
	/* Another tool may have put its tracer in place of ours. */
	if (PyRefTracer_GetTracer(&data) == on_object)
		(void)PyRefTracer_SetTracer(earlier_tracer, earlier_data);
	earlier_tracer = NULL;
}

static bool is_active(const struct tracer_object *tracer)
{
	return active == tracer;
}

static bool is_any_active(void)
{
	return active != NULL;
}

#else

static bool start_tracing(struct tracer_object *tracer)
{
	(void)tracer;
	return false;
}

static void stop_tracing(void)
{
}

static bool is_active(const struct tracer_object *tracer)
{
	(void)tracer;
	return false;
}

static bool is_any_active(void)
{
	return false;
}

#endif

/* A region that is opened and closed makes all that a walk needs. */
static bool prepare(struct tracer_object *tracer, PyObject *root)
{
	struct cmr_region_options options = { .max_period = 1 };
	struct cmr_error err = { .status = CMR_NO_MEMORY, .text = "no memory to trace objects" };
	struct cmr_quiet quiet = cmr_quiet_begin();
	enum cmr_status status = CMR_NO_MEMORY;

	tracer->pin = cmr_region_new(&options);
	if (tracer->pin != NULL)
		status = cmr_session_start(tracer->pin, &err);
	if (status == CMR_OK) {
		cmr_session_stop(tracer->pin);
		tracer->owner = cmr_thread_self();
		tracer->root =
			root != NULL ? cmr_frames_of_object((PyFrameObject *)root) : NULL;
	}
	cmr_quiet_end(quiet);
	if (status == CMR_OK)
		return true;
	cmr_session_free(tracer->pin);
	tracer->pin = NULL;
	cmr_raise(&err);
	return false;
}

static PyObject *tracer_start(PyObject *self, PyObject *args, PyObject *keywords)
{
	static const char *const names[] = { "root", NULL };
	struct tracer_object *tracer = as_tracer(self);
	PyObject *root = NULL;

	if (!PyArg_ParseTupleAndKeywords(args, keywords, "|O:start", (char **)(uintptr_t)names,
					 &root))
		return NULL;
	if (root == Py_None)
		root = NULL;
	if (root != NULL && !PyFrame_Check(root))
		return PyErr_Format(PyExc_TypeError, "root must be a frame or None, not %.100s",
				    Py_TYPE(root)->tp_name);
	if (!cmr_tracing_works())
		return PyErr_Format(PyExc_RuntimeError,
				    "objects can be traced on CPython 3.13.3 and newer, not on "
				    "free-threaded builds");
	if (tracer->started || is_any_active())
		return PyErr_Format(PyExc_RuntimeError,
				    tracer->started ? "this ObjectTracer was started before"
						    : "another ObjectTracer is running");
	if (!prepare(tracer, root))
		return NULL;
	tracer->started = true;
	if (!start_tracing(tracer))
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *build_survivor(struct cmr_decoder *decoder, const struct cmr_object *entry)
{
	PyObject *frames = cmr_decoder_frames(decoder, entry->node);

	if (frames == NULL)
		return NULL;
	return Py_BuildValue("(ON)", (PyObject *)entry->address, frames);
}

/* Puts the number of the decoded stack in place of each entry's node. */
static bool decode_nodes(struct cmr_object *entries, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		entries[i].node =
			entries[i].node != CMR_NODE_LOST ? cmr_decoder_stack(entries[i].node) : 0;
		if (entries[i].node == UINT32_MAX)
			return false;
	}
	return true;
}

static PyObject *build_survivors(struct cmr_objects *objects)
{
	size_t n = cmr_objects_sort(objects);
	PyObject *list = PyList_New(0), *item;
	struct cmr_decoder decoder;
	bool failed;

	if (!cmr_decoder_init(&decoder)) {
		Py_XDECREF(list);
		return NULL;
	}
	failed = list == NULL || !decode_nodes(objects->items, n);
	for (size_t i = 0; i < n && !failed; i++) {
		/* One that is being torn down is no survivor. */
		if (Py_REFCNT((PyObject *)objects->items[i].address) <= 0)
			continue;
		item = build_survivor(&decoder, &objects->items[i]);
		failed = item == NULL || PyList_Append(list, item) != 0;
		Py_XDECREF(item);
	}
	cmr_decoder_fini(&decoder);
	if (failed)
		Py_CLEAR(list);
	return list;
}

static void release(struct tracer_object *tracer)
{
	cmr_objects_clear(&tracer->objects);
	cmr_session_free(tracer->pin);
	tracer->pin = NULL;
	tracer->stopped = true;
}

static PyObject *tracer_stop(PyObject *self, PyObject *ignored)
{
	struct tracer_object *tracer = as_tracer(self);
	struct cmr_quiet quiet;
	PyObject *list = NULL;

	(void)ignored;
	if (!tracer->started || tracer->stopped) {
		PyErr_SetString(PyExc_RuntimeError, "this ObjectTracer is not running");
		return NULL;
	}
	quiet = cmr_quiet_begin();
	if (is_active(tracer))
		stop_tracing();
	if (tracer->lost)
		PyErr_SetString(PyExc_MemoryError, "some objects could not be recorded");
	else
		list = build_survivors(&tracer->objects);
	release(tracer);
	cmr_quiet_end(quiet);
	return list;
}

static void tracer_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);
	struct cmr_quiet quiet = cmr_quiet_begin();

	if (is_active(as_tracer(self)))
		stop_tracing();
	if (as_tracer(self)->started)
		release(as_tracer(self));
	cmr_quiet_end(quiet);
	type->tp_free(self);
	Py_DECREF(type);
}

static int tracer_init(PyObject *self, PyObject *args, PyObject *keywords)
{
	static const char *const names[] = { NULL };

	(void)self;
	return PyArg_ParseTupleAndKeywords(args, keywords, ":ObjectTracer",
					   (char **)(uintptr_t)names)
		       ? 0
		       : -1;
}

static PyMethodDef tracer_methods[] = {
	{ "start", (PyCFunction)(void (*)(void))tracer_start, METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR("start($self, /, root=None)\n--\n\n"
		    "Begin; stacks of this thread end above frame root.") },
	{ "stop", tracer_stop, METH_NOARGS,
	  PyDoc_STR("stop($self, /)\n--\n\n"
		    "End: a list of (object, frames) of every survivor, oldest first.") },
	{ NULL, NULL, 0, NULL },
};

#define TRACER_DOC                                                                                 \
	"ObjectTracer()\n--\n\nPython objects created, and not destroyed, between start and stop."

static PyType_Slot tracer_slots[] = {
	{ Py_tp_doc, (void *)(uintptr_t)TRACER_DOC },
	{ Py_tp_init, (void *)(uintptr_t)tracer_init },
	{ Py_tp_dealloc, (void *)(uintptr_t)tracer_dealloc },
	{ Py_tp_methods, tracer_methods },
	{ 0, NULL },
};

static PyType_Spec tracer_spec = {
	.name = "cmemray._core.ObjectTracer",
	.basicsize = (int)sizeof(struct tracer_object),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
	.slots = tracer_slots,
};

PyObject *cmr_tracer_type_new(PyObject *module)
{
	return PyType_FromModuleAndSpec(module, &tracer_spec, NULL);
}
