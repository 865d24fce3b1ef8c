#include "rows.h"

#include <stdlib.h>

#include "heap/location.h"
#include "os/kinds.h"

__extension__ typedef unsigned __int128 wide;

/* Rows with the same stack, as shown, and the same allocator. */
struct group {
	uint32_t stack, kind;
	int64_t bytes, blocks; /* blocks in CMR_BLOCK_UNIT */
	uint64_t shown_bytes, shown_blocks, remainder;
};

struct builder {
	struct cmr_decoder decoder;
	struct group *groups;
	uint32_t *order; /* scratch of scaling */
	uint32_t n;
};

static bool add_row(struct builder *b, const struct cmr_usage_row *row)
{
	struct cmr_location location = cmr_locations_get(row->location);
	uint32_t stack = 0;

	if (location.node != CMR_NODE_LOST)
		stack = cmr_decoder_stack(location.node);
	if (stack == UINT32_MAX)
		return false;
	b->groups[b->n++] = (struct group){
		.stack = stack,
		.kind = location.kind,
		.bytes = row->bytes,
		.blocks = row->blocks,
	};
	return true;
}

static int compare_keys(const void *left, const void *right)
{
	const struct group *a = left, *b = right;

	if (a->stack != b->stack)
		return a->stack < b->stack ? -1 : 1;
	return (a->kind > b->kind) - (a->kind < b->kind);
}

static void merge_groups(struct builder *b)
{
	uint32_t n = 0;

	qsort(b->groups, b->n, sizeof *b->groups, compare_keys);
	for (uint32_t i = 0; i < b->n; i++) {
		if (n > 0 && compare_keys(&b->groups[n - 1], &b->groups[i]) == 0) {
			b->groups[n - 1].bytes += b->groups[i].bytes;
			b->groups[n - 1].blocks += b->groups[i].blocks;
		} else {
			b->groups[n++] = b->groups[i];
		}
	}
	b->n = n;
}

/* Largest first; what is equal in size is ordered by content. */
static int compare_groups(const void *left, const void *right)
{
	const struct group *a = left, *b = right;
	int order;

	if (a->bytes != b->bytes)
		return a->bytes > b->bytes ? -1 : 1;
	if (a->blocks != b->blocks)
		return a->blocks > b->blocks ? -1 : 1;
	order = cmr_decoder_compare(a->stack, b->stack);
	return order != 0 ? order : (a->kind > b->kind) - (a->kind < b->kind);
}

static int compare_remainders(const void *left, const void *right, void *data)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
	const struct builder *builder = data;
	uint64_t x = builder->groups[a].remainder, y = builder->groups[b].remainder;

	return x != y ? (x > y ? -1 : 1) : (a > b) - (a < b);
}

static uint64_t positive(int64_t value)
{
	return value > 0 ? (uint64_t)value : 0;
}

/* VALUE * NUMERATOR / DENOMINATOR, rounded down, in full width. */
static uint64_t scale(uint64_t value, uint64_t numerator, uint64_t denominator, uint64_t *rest)
{
	wide product = (wide)value * numerator;

	*rest = (uint64_t)(product % denominator);
	return (uint64_t)(product / denominator);
}

/* Samples to the exact total: shares in proportion, rounded down; the bytes that are left go to the
 * largest remainders. */
static void scale_groups(struct builder *b, const struct cmr_rows_total *total)
{
	uint64_t sum_bytes = 0, sum_blocks = 0, left = total->bytes, rest;
	struct group *group;

	for (uint32_t i = 0; i < b->n; i++) {
		sum_bytes += positive(b->groups[i].bytes);
		sum_blocks += positive(b->groups[i].blocks);
	}
	if (sum_bytes == 0 || sum_blocks == 0) {
		b->n = 0;
		return;
	}
	for (uint32_t i = 0; i < b->n; i++) {
		group = &b->groups[i];
		b->order[i] = i;
		group->shown_bytes = scale(positive(group->bytes), total->bytes, sum_bytes,
					   &group->remainder);
		left -= group->shown_bytes;
		group->shown_blocks =
			scale(positive(group->blocks), total->blocks, sum_blocks, &rest);
		if (rest >= sum_blocks - rest || group->shown_blocks == 0)
			group->shown_blocks++;
	}
	qsort_r(b->order, b->n, sizeof *b->order, compare_remainders, b);
	for (uint32_t i = 0; i < b->n && left > 0; i++, left--)
		b->groups[b->order[i]].shown_bytes++;
}

static void show_groups(struct builder *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		b->groups[i].shown_bytes = positive(b->groups[i].bytes);
		b->groups[i].shown_blocks =
			(positive(b->groups[i].blocks) + CMR_BLOCK_UNIT / 2) / CMR_BLOCK_UNIT;
	}
}

static PyObject *build_row(struct builder *b, const struct group *group, bool estimated)
{
	PyObject *frames = cmr_decoder_frames(&b->decoder, group->stack);

	if (frames == NULL)
		return NULL;
	return Py_BuildValue("(KKsNO)", (unsigned long long)group->shown_bytes,
			     (unsigned long long)group->shown_blocks, cmr_kind_text(group->kind),
			     frames, estimated ? Py_True : Py_False);
}

static PyObject *build_list(struct builder *b, bool estimated)
{
	PyObject *list = PyList_New((Py_ssize_t)b->n), *row;

	for (uint32_t i = 0; list != NULL && i < b->n; i++) {
		row = build_row(b, &b->groups[i], estimated);
		if (row == NULL)
			Py_CLEAR(list);
		else
			PyList_SET_ITEM(list, (Py_ssize_t)i, row);
	}
	return list;
}

PyObject *cmr_rows_build(const struct cmr_usage_row *rows, uint32_t n, struct cmr_rows_total total)
{
	struct builder b = { .n = 0 };
	PyObject *list = NULL;

	if (n == 0)
		return PyList_New(0);
	if (!cmr_decoder_init(&b.decoder))
		return NULL;
	b.groups = PyMem_RawMalloc(n * sizeof *b.groups);
	b.order = PyMem_RawMalloc(n * sizeof *b.order);
	if (b.groups == NULL || b.order == NULL) {
		PyErr_NoMemory();
		goto out;
	}
	for (uint32_t i = 0; i < n; i++)
		if (!add_row(&b, &rows[i]))
			goto out;
	merge_groups(&b);
	qsort(b.groups, b.n, sizeof *b.groups, compare_groups);
	if (total.estimated)
		scale_groups(&b, &total);
	else
		show_groups(&b);
	list = build_list(&b, total.estimated);
out:
	PyMem_RawFree(b.order);
	PyMem_RawFree(b.groups);
	cmr_decoder_fini(&b.decoder);
	return list;
}
