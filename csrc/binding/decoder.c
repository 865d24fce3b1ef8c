/* Everything is a dense number in an append-only set (table/intern.h):
 *
 *   node ──> frame = (name, file, line)          line decoded once per node
 *        └─> stack = (stack of the parent node, frame)
 *
 * so nodes that differ only in what a report does not show come out as one stack. The sets live as
 * long as the numbers of the nodes do. */
#include "rows.h"

#include <string.h>

#include "codes.h"
#include "heap/location.h"
#include "lines.h"
#include "os/memory.h"
#include "table/intern.h"

#define MOST_NUMBERS (1u << 28)

/* Protected like a decoder (rows.h). */
static struct {
	uint32_t interning;       /* cmr_interning for which all below holds; 0 = nothing made yet */
	uint32_t capacity;        /* nodes that the two arrays have room for */
	struct cmr_intern frames; /* a = name << 32 | file, b = line */
	struct cmr_intern stacks; /* a = outer stack << 32 | frame */
	uint32_t *stack_of;       /* by node: stack + 1; 0 = not decoded yet */
	uint32_t *path;           /* scratch */
} known;

static void forget(void)
{
	cmr_intern_fini(&known.frames);
	cmr_intern_fini(&known.stacks);
	cmr_memory_unmap(known.stack_of, known.capacity * sizeof *known.stack_of);
	cmr_memory_unmap(known.path, known.capacity * sizeof *known.path);
	known.stack_of = known.path = NULL;
	known.capacity = known.interning = 0;
}

/* Room for node numbers below N. */
static bool make_room(uint32_t n)
{
	uint32_t capacity = known.capacity ? known.capacity : 16384;
	uint32_t *stack_of, *path;

	if (n <= known.capacity)
		return true;
	while (capacity < n)
		capacity *= 2;
	stack_of = cmr_memory_map(capacity * sizeof *stack_of);
	path = cmr_memory_map(capacity * sizeof *path);
	if (stack_of == NULL || path == NULL) {
		cmr_memory_unmap(stack_of, capacity * sizeof *stack_of);
		cmr_memory_unmap(path, capacity * sizeof *path);
		return false;
	}
	if (known.capacity != 0) {
		memcpy(stack_of, known.stack_of, known.capacity * sizeof *stack_of);
		cmr_memory_unmap(known.stack_of, known.capacity * sizeof *stack_of);
		cmr_memory_unmap(known.path, known.capacity * sizeof *path);
	}
	known.stack_of = stack_of;
	known.path = path;
	known.capacity = capacity;
	return true;
}

bool cmr_decoder_init(struct cmr_decoder *decoder)
{
	uint32_t interning = atomic_load_explicit(&cmr_interning, memory_order_relaxed);

	*decoder = (struct cmr_decoder){ 0 };
	if (known.interning != interning) {
		forget();
		if (cmr_intern_init(&known.frames, MOST_NUMBERS, NULL) == CMR_OK &&
		    cmr_intern_init(&known.stacks, MOST_NUMBERS, NULL) == CMR_OK)
			known.interning = interning;
	}
	if (known.interning == interning && make_room(cmr_nodes_count() + 1))
		return true;
	PyErr_NoMemory();
	return false;
}

static void free_objects(PyObject **objects, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		Py_XDECREF(objects[i]);
	PyMem_RawFree(objects);
}

void cmr_decoder_fini(struct cmr_decoder *d)
{
	free_objects(d->stacks, d->n_stacks);
	free_objects(d->frames, d->n_frames);
	free_objects(d->texts, d->n_texts);
}

/* Number of the frame that NODE shows, 0 when there is no memory. */
static uint32_t add_frame(struct cmr_node node)
{
	struct cmr_code_copy code;
	struct cmr_key key = { 0, 0 };
	int line;

	if (cmr_codes_get(node.code, &code)) {
		line = cmr_lines_find(code.lines, code.n_lines, code.first_line, node.offset);
		key.a = (uint64_t)code.name << 32 | code.file;
		key.b = (uint32_t)line;
	}
	return cmr_intern_add(&known.frames, key);
}

uint32_t cmr_decoder_stack(cmr_node_id id)
{
	uint32_t n = 0, stack = 0, frame;

	/* Up to the first node that is decoded already, or the empty stack. */
	for (; id != 0 && id < known.capacity && known.stack_of[id] == 0;
	     id = cmr_nodes_get(id).parent)
		known.path[n++] = id;
	if (id != 0 && id < known.capacity)
		stack = known.stack_of[id] - 1;
	while (n > 0) {
		id = known.path[--n];
		frame = add_frame(cmr_nodes_get(id));
		if (frame != 0)
			stack = cmr_intern_add(&known.stacks,
					       (struct cmr_key){ (uint64_t)stack << 32 | frame, 0 });
		if (frame == 0 || stack == 0) {
			PyErr_NoMemory();
			return UINT32_MAX;
		}
		known.stack_of[id] = stack + 1;
	}
	return stack;
}

static uint32_t outer_of(uint32_t stack)
{
	return (uint32_t)(cmr_intern_key(&known.stacks, stack).a >> 32);
}

static uint32_t frame_of(uint32_t stack)
{
	return (uint32_t)cmr_intern_key(&known.stacks, stack).a;
}

/* --- objects --------------------------------------------------------------------------------- */

static bool make_arrays(struct cmr_decoder *d)
{
	d->n_texts = cmr_codes_n_texts() + 1;
	d->n_frames = cmr_intern_count(&known.frames) + 1;
	d->n_stacks = cmr_intern_count(&known.stacks) + 1;
	/* Arrays of pointers to objects. NOLINTBEGIN(bugprone-sizeof-expression) */
	d->texts = PyMem_RawCalloc(d->n_texts, sizeof *d->texts);
	d->frames = PyMem_RawCalloc(d->n_frames, sizeof *d->frames);
	d->stacks = PyMem_RawCalloc(d->n_stacks, sizeof *d->stacks);
	/* NOLINTEND(bugprone-sizeof-expression) */
	if (d->texts != NULL && d->frames != NULL && d->stacks != NULL)
		return true;
	PyMem_RawFree(d->texts);
	PyMem_RawFree(d->frames);
	PyMem_RawFree(d->stacks);
	*d = (struct cmr_decoder){ 0 };
	PyErr_NoMemory();
	return false;
}

/* Borrowed. */
static PyObject *get_text(struct cmr_decoder *d, uint32_t text)
{
	if (text >= d->n_texts)
		text = 0;
	if (d->texts[text] == NULL)
		d->texts[text] = cmr_codes_text(text);
	return d->texts[text];
}

/* Borrowed. */
static PyObject *get_frame(struct cmr_decoder *d, uint32_t frame)
{
	struct cmr_key key = cmr_intern_key(&known.frames, frame);
	PyObject *name, *file;

	if (d->frames[frame] == NULL) {
		name = get_text(d, (uint32_t)(key.a >> 32));
		file = get_text(d, (uint32_t)key.a);
		if (name != NULL && file != NULL)
			d->frames[frame] = Py_BuildValue("(OOi)", name, file, (int)key.b);
	}
	return d->frames[frame];
}

static PyObject *build_frames(struct cmr_decoder *d, uint32_t stack)
{
	Py_ssize_t depth = 0, i = 0;
	PyObject *frames, *frame;

	for (uint32_t s = stack; s != 0; s = outer_of(s))
		depth++;
	frames = PyTuple_New(depth);
	for (; frames != NULL && stack != 0; stack = outer_of(stack)) {
		frame = get_frame(d, frame_of(stack));
		if (frame == NULL)
			Py_CLEAR(frames);
		else
			PyTuple_SET_ITEM(frames, i++, Py_NewRef(frame));
	}
	return frames;
}

PyObject *cmr_decoder_frames(struct cmr_decoder *d, uint32_t stack)
{
	if (d->stacks == NULL && !make_arrays(d))
		return NULL;
	if (d->stacks[stack] == NULL)
		d->stacks[stack] = build_frames(d, stack);
	return Py_XNewRef(d->stacks[stack]);
}

/* --- order ----------------------------------------------------------------------------------- */

static int compare_frames(uint32_t a, uint32_t b)
{
	struct cmr_key x = cmr_intern_key(&known.frames, a), y = cmr_intern_key(&known.frames, b);
	int order = cmr_codes_compare((uint32_t)x.a, (uint32_t)y.a);

	if (order == 0)
		order = (x.b > y.b) - (x.b < y.b);
	if (order == 0)
		order = cmr_codes_compare((uint32_t)(x.a >> 32), (uint32_t)(y.a >> 32));
	return order;
}

int cmr_decoder_compare(uint32_t a, uint32_t b)
{
	int order;

	for (; a != b; a = outer_of(a), b = outer_of(b)) {
		if (a == 0 || b == 0)
			return a == 0 ? -1 : 1;
		order = compare_frames(frame_of(a), frame_of(b));
		if (order != 0)
			return order;
	}
	return 0;
}
