/* Everything is a dense number in an append-only set (table/intern.h):
 *
 *   node ──> frame = (name, file, line)          line decoded once per node
 *        └─> stack = (stack of the parent node, frame)
 *
 * so nodes that differ only in what a report does not show come out as one stack. */
#include "rows.h"

#include "codes.h"
#include "lines.h"
#include "os/memory.h"
#include "table/intern.h"

struct cmr_decoder {
	struct cmr_intern frames; /* a = name << 32 | file, b = line */
	struct cmr_intern stacks; /* a = outer stack << 32 | frame */
	uint32_t n_nodes, n_texts;
	uint32_t *stack_of;   /* of node: stack + 1; 0 = not decoded yet */
	uint32_t *path;       /* scratch, one entry per node */
	PyObject **texts;     /* of text number, made on demand */
	PyObject **tuples;    /* of frame number, made on demand */
	PyObject **whole;     /* tuple of tuples, of stack number, made on demand */
};

static void *map_array(size_t n, size_t item)
{
	return cmr_memory_map(n * item);
}

struct cmr_decoder *cmr_decoder_new(void)
{
	struct cmr_decoder *d = cmr_memory_map(sizeof *d);

	if (d == NULL)
		return (struct cmr_decoder *)PyErr_NoMemory();
	d->n_nodes = cmr_nodes_count() + 1;
	d->n_texts = cmr_codes_n_texts() + 1;
	d->stack_of = map_array(d->n_nodes, sizeof *d->stack_of);
	d->path = map_array(d->n_nodes, sizeof *d->path);
	d->texts = map_array(d->n_texts, sizeof *d->texts);
	d->tuples = map_array(d->n_nodes, sizeof *d->tuples);
	d->whole = map_array(d->n_nodes, sizeof *d->whole);
	if (d->stack_of == NULL || d->path == NULL || d->texts == NULL || d->tuples == NULL ||
	    d->whole == NULL || cmr_intern_init(&d->frames, d->n_nodes, NULL) != CMR_OK ||
	    cmr_intern_init(&d->stacks, d->n_nodes, NULL) != CMR_OK) {
		cmr_decoder_free(d);
		return (struct cmr_decoder *)PyErr_NoMemory();
	}
	return d;
}

static void free_objects(PyObject **objects, uint32_t n)
{
	if (objects == NULL)
		return;
	for (uint32_t i = 0; i < n; i++)
		Py_XDECREF(objects[i]);
	cmr_memory_unmap(objects, n * sizeof *objects);
}

void cmr_decoder_free(struct cmr_decoder *d)
{
	if (d == NULL)
		return;
	free_objects(d->whole, d->n_nodes);
	free_objects(d->tuples, d->n_nodes);
	free_objects(d->texts, d->n_texts);
	if (d->stack_of != NULL)
		cmr_memory_unmap(d->stack_of, d->n_nodes * sizeof *d->stack_of);
	if (d->path != NULL)
		cmr_memory_unmap(d->path, d->n_nodes * sizeof *d->path);
	cmr_intern_fini(&d->frames);
	cmr_intern_fini(&d->stacks);
	cmr_memory_unmap(d, sizeof *d);
}

/* Number of the frame that NODE shows, 0 when there is no memory. */
static uint32_t add_frame(struct cmr_decoder *d, struct cmr_node node)
{
	struct cmr_code_copy code;
	struct cmr_key key = { 0, 0 };
	int line;

	if (cmr_codes_get(node.code, &code)) {
		line = cmr_lines_find(code.lines, code.n_lines, code.first_line, node.offset);
		key.a = (uint64_t)code.name << 32 | code.file;
		key.b = (uint32_t)line;
	}
	return cmr_intern_add(&d->frames, key);
}

uint32_t cmr_decoder_stack(struct cmr_decoder *d, cmr_node_id id)
{
	uint32_t n = 0, stack = 0, frame;
	struct cmr_node node;

	/* Up to the first node that is decoded already, or the empty stack. */
	for (; id != 0 && id < d->n_nodes && d->stack_of[id] == 0; id = cmr_nodes_get(id).parent)
		d->path[n++] = id;
	if (id != 0 && id < d->n_nodes)
		stack = d->stack_of[id] - 1;
	while (n > 0) {
		id = d->path[--n];
		node = cmr_nodes_get(id);
		frame = add_frame(d, node);
		if (frame != 0)
			stack = cmr_intern_add(&d->stacks,
					       (struct cmr_key){ (uint64_t)stack << 32 | frame, 0 });
		if (frame == 0 || stack == 0) {
			PyErr_NoMemory();
			return UINT32_MAX;
		}
		d->stack_of[id] = stack + 1;
	}
	return stack;
}

static uint32_t outer_of(const struct cmr_decoder *d, uint32_t stack)
{
	return (uint32_t)(cmr_intern_key(&d->stacks, stack).a >> 32);
}

static uint32_t frame_of(const struct cmr_decoder *d, uint32_t stack)
{
	return (uint32_t)cmr_intern_key(&d->stacks, stack).a;
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
static PyObject *get_tuple(struct cmr_decoder *d, uint32_t frame)
{
	struct cmr_key key = cmr_intern_key(&d->frames, frame);
	PyObject *name, *file;

	if (d->tuples[frame] == NULL) {
		name = get_text(d, (uint32_t)(key.a >> 32));
		file = get_text(d, (uint32_t)key.a);
		if (name != NULL && file != NULL)
			d->tuples[frame] = Py_BuildValue("(OOi)", name, file, (int)key.b);
	}
	return d->tuples[frame];
}

static PyObject *build_frames(struct cmr_decoder *d, uint32_t stack)
{
	Py_ssize_t depth = 0, i = 0;
	PyObject *frames, *tuple;

	for (uint32_t s = stack; s != 0; s = outer_of(d, s))
		depth++;
	frames = PyTuple_New(depth);
	for (; frames != NULL && stack != 0; stack = outer_of(d, stack)) {
		tuple = get_tuple(d, frame_of(d, stack));
		if (tuple == NULL)
			Py_CLEAR(frames);
		else
			PyTuple_SET_ITEM(frames, i++, Py_NewRef(tuple));
	}
	return frames;
}

PyObject *cmr_decoder_frames(struct cmr_decoder *d, uint32_t stack)
{
	if (d->whole[stack] == NULL)
		d->whole[stack] = build_frames(d, stack);
	return Py_XNewRef(d->whole[stack]);
}

static int compare_frames(const struct cmr_decoder *d, uint32_t a, uint32_t b)
{
	struct cmr_key x = cmr_intern_key(&d->frames, a), y = cmr_intern_key(&d->frames, b);
	int order = cmr_codes_compare((uint32_t)x.a, (uint32_t)y.a);

	if (order == 0)
		order = (x.b > y.b) - (x.b < y.b);
	if (order == 0)
		order = cmr_codes_compare((uint32_t)(x.a >> 32), (uint32_t)(y.a >> 32));
	return order;
}

int cmr_decoder_compare(const struct cmr_decoder *d, uint32_t a, uint32_t b)
{
	int order;

	for (; a != b; a = outer_of(d, a), b = outer_of(d, b)) {
		if (a == 0 || b == 0)
			return a == 0 ? -1 : 1;
		order = compare_frames(d, frame_of(d, a), frame_of(d, b));
		if (order != 0)
			return order;
	}
	return 0;
}
