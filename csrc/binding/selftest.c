#include "compat.h"

#include <fcntl.h>
#include <opcode.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "frames.h"
#include "lines.h"
#include "offsets.h"
#include "stacks.h"

static const char source[] = "def inner():\n"
			     "    return (\n"
			     "        probe())\n"
			     "def generate():\n"
			     "    for _ in 'x':\n"
			     "        yield inner()\n"
			     "class Nested:\n"
			     "    def call(self, depth):\n"
			     "        if depth:\n"
			     "            return self.call(depth - 1)\n"
			     "        return sum(1 for _ in [\n"
			     "            x for x in generate()])\n"
			     "list(map(lambda nested: nested.call(3), [Nested()]))\n";
static const char source_name[] = "<cmemray self-test>";

/* State of the one test that runs, at import. */
static const struct cmr_frame_layout *tested;
static const char *found;
static int pipe_ends[2];
static unsigned n_own_frames;

/* Copies SIZE bytes (at most 8) from FROM. The kernel tells of an address that is not mapped where
 * a load would crash. */
static bool read_safely(void *to, uintptr_t from, size_t size)
{
	const void *source_bytes = (const void *)from;

	return write(pipe_ends[1], source_bytes, size) == (ssize_t)size &&
	       read(pipe_ends[0], to, size) == (ssize_t)size;
}

/* One frame as the layout under test has it. */
struct raw_frame {
	uintptr_t address, previous, code, instruction;
	uint8_t owner;
};

static bool read_frame(uintptr_t address, struct raw_frame *frame)
{
	frame->address = address;
	if (!read_safely(&frame->previous, address + tested->previous, sizeof frame->previous) ||
	    !read_safely(&frame->code, address + tested->code, sizeof frame->code) ||
	    !read_safely(&frame->instruction, address + tested->instruction,
			 sizeof frame->instruction) ||
	    !read_safely(&frame->owner, address + tested->owner, sizeof frame->owner))
		return false;
	frame->code &= tested->code_mask;
	return true;
}

static bool is_skipped(const struct raw_frame *frame)
{
	return frame->owner >= tested->skip_owner;
}

/* --- code objects ---------------------------------------------------------------------------- */

/* Is the attribute NAME of CODE the very object that lies at OFFSET? */
static bool is_attribute(PyCodeObject *code, uint32_t offset, const char *name)
{
	PyObject *said = PyObject_GetAttrString((PyObject *)code, name);
	uintptr_t there = 0;
	bool same = read_safely(&there, (uintptr_t)code + offset, sizeof there) &&
		    said != NULL && there == (uintptr_t)said;

	Py_XDECREF(said);
	PyErr_Clear();
	return same;
}

/* The same of a number. */
static bool is_number(PyCodeObject *code, uint32_t offset, const char *name)
{
	PyObject *said = PyObject_GetAttrString((PyObject *)code, name);
	int32_t there = 0;
	bool same = read_safely(&there, (uintptr_t)code + offset, sizeof there) &&
		    said != NULL && PyLong_AsLong(said) == there;

	Py_XDECREF(said);
	PyErr_Clear();
	return same;
}

/* Code begins to run, as far as a traceback tells, with its first RESUME. */
static bool begins_there(PyCodeObject *code)
{
	PyObject *units = PyCode_GetCode(code);
	int32_t first = -1;
	bool fine = units != NULL &&
		    read_safely(&first, (uintptr_t)code + cmr_offsets.first_traceable,
				sizeof first) &&
		    first >= 0 && first < PyBytes_GET_SIZE(units) / 2;
	const uint8_t *bytes = fine ? (const uint8_t *)PyBytes_AS_STRING(units) : NULL;

	for (int32_t i = 0; fine && i < first; i++)
		fine = bytes[2 * i] != RESUME;
	fine = fine && bytes[2 * first] == RESUME;
	Py_XDECREF(units);
	PyErr_Clear();
	return fine;
}

/* Nothing that a field of CODE refers to is followed before it is known to be what it should be. */
static const char *compare_code(PyCodeObject *code)
{
	if (!is_attribute(code, cmr_offsets.name, "co_name") ||
	    !is_attribute(code, cmr_offsets.file, "co_filename") ||
	    !is_attribute(code, cmr_offsets.lines, "co_linetable") ||
	    !is_number(code, cmr_offsets.first_line, "co_firstlineno"))
		return "a code object's field differs";
	return NULL;
}

/* --- frames ---------------------------------------------------------------------------------- */

static const char *compare_line(PyFrameObject *frame, PyCodeObject *code, int32_t unit)
{
	PyObject *lines = cmr_code_object(code, cmr_offsets.lines);

	/* Lines of other code may be set by a debugger. */
	if (PyUnicode_CompareWithASCIIString(cmr_code_object(code, cmr_offsets.file),
					     source_name) != 0)
		return NULL;
	n_own_frames++;
	if (!begins_there(code))
		return "a code object's beginning differs";
	if (cmr_lines_find((const uint8_t *)PyBytes_AS_STRING(lines),
			   (uint32_t)PyBytes_GET_SIZE(lines),
			   cmr_code_int(code, cmr_offsets.first_line),
			   unit) != PyFrame_GetLineNumber(frame))
		return "a frame's line differs";
	return NULL;
}

/* The bytecode of CODE that RAW, a frame known to run it, runs. */
static uintptr_t bytecode_of(const struct raw_frame *raw, const void *code)
{
	if (cmr_frames_bytecode_base != NULL)
		return cmr_frames_bytecode_base((const void *)raw->address, code);
	return (uintptr_t)cmr_code_field(code, cmr_offsets.bytecode);
}

/* A frame that is resumed belongs to a generator or its like; any other one is called. */
static bool has_right_owner(const struct raw_frame *raw, PyObject *flags)
{
	long told = flags != NULL ? PyLong_AsLong(flags) : 0;
	bool resumed = (told & (CO_GENERATOR | CO_COROUTINE | CO_ASYNC_GENERATOR)) != 0;

	Py_XDECREF(flags);
	PyErr_Clear();
	return (raw->owner != tested->function_owner) == resumed;
}

/* RAW is a frame that runs Python code; FRAME what the interpreter says of it. */
static const char *compare_frame(const struct raw_frame *raw, PyFrameObject *frame)
{
	PyCodeObject *code = PyFrame_GetCode(frame);
	const char *mismatch = NULL;
	intptr_t bytes;

	if (raw->code != (uintptr_t)code)
		mismatch = "a frame's code object differs";
	else if (cmr_frames_of_object(frame) != (const void *)raw->address)
		mismatch = "a frame's address differs";
	else if (!has_right_owner(raw, PyObject_GetAttrString((PyObject *)code, "co_flags")))
		mismatch = "a frame's owner differs";
	else
		mismatch = compare_code(code);
	if (mismatch == NULL) {
		bytes = (intptr_t)(raw->instruction - bytecode_of(raw, code));
		mismatch = bytes == PyFrame_GetLasti(frame) ?
				   compare_line(frame, code, (int32_t)(bytes / 2)) :
				   "a frame's instruction differs";
	}
	Py_DECREF(code);
	return mismatch;
}

static bool is_code(uintptr_t address)
{
	uintptr_t type;

	return read_safely(&type, address + offsetof(PyObject, ob_type), sizeof type) &&
	       type == (uintptr_t)&PyCode_Type;
}

/* The next frame, from ADDRESS on, that the interpreter would show. Frames that have not begun to
 * run yet are in the chain but hidden by it. */
static const char *next_raw(uintptr_t *address, struct raw_frame *raw)
{
	int32_t first;
	intptr_t unit;

	for (; *address != 0; *address = raw->previous) {
		if (!read_frame(*address, raw))
			return "a frame's link leads nowhere";
		if (is_skipped(raw))
			continue;
		if (!is_code(raw->code))
			return "a frame runs something that is no code object";
		if (!read_safely(&first, raw->code + cmr_offsets.first_traceable, sizeof first))
			return "a code object ends too early";
		unit = (intptr_t)(raw->instruction - raw->code - cmr_offsets.bytecode) / 2;
		if (cmr_frames_bytecode_base != NULL || unit >= first)
			return NULL;
	}
	return NULL;
}

/* What cmr_frames_top will say, without its trust in where it reads. */
static const char *read_top(uintptr_t *top)
{
	uintptr_t holder = (uintptr_t)PyGILState_GetThisThreadState();

	if ((PY_VERSION_HEX < 0x030D0000 &&
	     !read_safely(&holder, holder + cmr_offsets.cframe, sizeof holder)) ||
	    !read_safely(top, holder + cmr_offsets.current_frame, sizeof *top))
		return "the way to a thread's frames leads nowhere";
	return NULL;
}

static const char *compare_stacks(void)
{
	PyFrameObject *frame = PyEval_GetFrame(), *back;
	uintptr_t address = 0;
	const char *mismatch = read_top(&address);
	struct raw_frame raw = { 0 };

	Py_XINCREF(frame);
	while (frame != NULL && mismatch == NULL) {
		mismatch = next_raw(&address, &raw);
		if (mismatch == NULL && address == 0)
			mismatch = "the chain of frames ends too early";
		if (mismatch == NULL)
			mismatch = compare_frame(&raw, frame);
		address = raw.previous;
		back = PyFrame_GetBack(frame);
		Py_DECREF(frame);
		frame = back;
	}
	Py_XDECREF(frame);
	if (mismatch == NULL)
		mismatch = next_raw(&address, &raw);
	if (mismatch == NULL && address != 0)
		mismatch = "the chain of frames does not end";
	return mismatch;
}

static PyObject *probe(PyObject *self, PyObject *ignored)
{
	(void)self;
	(void)ignored;
	found = compare_stacks();
	Py_RETURN_NONE;
}

static PyMethodDef probe_method = { "probe", probe, METH_NOARGS, NULL };

static bool run_source(void)
{
	PyObject *globals = PyDict_New(), *function = PyCFunction_New(&probe_method, NULL);
	PyObject *code = Py_CompileString(source, source_name, Py_file_input);
	PyObject *result = NULL;

	if (globals != NULL && function != NULL && code != NULL &&
	    PyDict_SetItemString(globals, "__builtins__", PyEval_GetBuiltins()) == 0 &&
	    PyDict_SetItemString(globals, "__name__", Py_None) == 0 &&
	    PyDict_SetItemString(globals, "probe", function) == 0)
		result = PyEval_EvalCode(code, globals, globals);
	if (globals != NULL)
		PyDict_Clear(globals); /* its functions refer to it */
	Py_XDECREF(globals);
	Py_XDECREF(function);
	Py_XDECREF(code);
	Py_XDECREF(result);
	return result != NULL;
}

bool cmr_selftest_run(const struct cmr_frame_layout *layout, const char **mismatch)
{
	bool done;

	if (pipe2(pipe_ends, O_CLOEXEC) != 0) {
		*mismatch = "no pipe could be opened for the check of frame layouts";
		return true;
	}
	tested = layout;
	found = "the self-test did not run";
	n_own_frames = 0;
	done = run_source();
	close(pipe_ends[0]);
	close(pipe_ends[1]);
	if (found == NULL && n_own_frames < 8)
		found = "too few frames were found";
	*mismatch = found;
	return done;
}
