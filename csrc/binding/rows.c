#include "rows.h"

#include <stdlib.h>

#include "heap/location.h"
#include "os/kinds.h"

__extension__ typedef unsigned __int128 wide;

/* Standard deviations that a sum of samples is off by once in 16,000 times. */
#define UNLIKELY 4

/* Rows with the same stack, as shown, and the same allocator. */
struct group {
	uint32_t stack, kind;
	int64_t bytes, blocks, variance; /* blocks in CMR_BLOCK_UNIT */
	uint64_t shown_bytes, shown_blocks, remainder;
};

/* What estimates rest on, in the terms of Samples (cmemray/estimate.py): as if `samples` blocks had
 * been taken, each with the variance UNIT^2, to divide `size` bytes among the places. */
struct evidence {
	double unit, samples, size, total;
	bool scaled; /* all parts alike, by their bytes */
};

struct builder {
	struct cmr_decoder decoder;
	struct group *groups;
	uint32_t *order; /* scratch of scaling */
	uint32_t n;
	struct evidence evidence;
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
		.variance = row->variance,
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
			b->groups[n - 1].variance += b->groups[i].variance;
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

	if (a->shown_bytes != b->shown_bytes)
		return a->shown_bytes > b->shown_bytes ? -1 : 1;
	if (a->shown_blocks != b->shown_blocks)
		return a->shown_blocks > b->shown_blocks ? -1 : 1;
	if (a->bytes != b->bytes)
		return a->bytes > b->bytes ? -1 : 1;
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

/* VALUE * NUMERATOR / DENOMINATOR, rounded down, in full width; nothing of nothing is 0. */
static uint64_t scale(uint64_t value, uint64_t numerator, uint64_t denominator, uint64_t *rest)
{
	wide product = (wide)value * numerator;

	*rest = 0;
	if (denominator == 0)
		return 0;
	*rest = (uint64_t)(product % denominator);
	return (uint64_t)(product / denominator);
}

struct sums {
	uint64_t bytes, blocks, variance;
};

static struct sums sum_groups(const struct builder *b)
{
	struct sums sums = { 0, 0, 0 };

	for (uint32_t i = 0; i < b->n; i++) {
		sums.bytes += positive(b->groups[i].bytes);
		sums.blocks += positive(b->groups[i].blocks);
		sums.variance += positive(b->groups[i].variance);
	}
	return sums;
}

/* More is missing than the samples that are left can account for: what is missing was sampled more
 * thinly than anything that is left. */
static bool hides_more(const struct evidence *e, const struct sums *sums, double missing)
{
	double beyond = missing - UNLIKELY * e->unit;

	return beyond > 0 && beyond * beyond > UNLIKELY * UNLIKELY * (double)sums->variance;
}

/* How well the samples know what they say, given what all of it is exactly. The unit is the largest
 * variance for each byte that some group has: that of a group of small blocks, if there is one. */
static void weigh_evidence(struct builder *b, const struct sums *sums, uint64_t total)
{
	struct evidence *e = &b->evidence;
	double missing = (double)total - (double)sums->bytes;

	for (uint32_t i = 0; i < b->n; i++) {
		const struct group *group = &b->groups[i];
		double unit = 0;

		if (group->bytes > 0)
			unit = (double)positive(group->variance) / (double)group->bytes;
		e->unit = unit > e->unit ? unit : e->unit;
	}
	if (hides_more(e, sums, missing))
		e->unit = missing / UNLIKELY;
	if (e->unit > 0)
		e->samples = (double)sums->variance / (e->unit * e->unit);
	e->total = (double)total;
	e->size = missing + e->samples * e->unit;
	e->scaled = e->samples == 0 || e->size < 1;
	if (e->scaled && e->samples > 0)
		e->size = e->samples * e->unit * ((double)total / (double)sums->bytes);
}

/* GROUP's part of TOTAL. What the sum of all estimates is off by goes where it can come from: to each
 * group in proportion to its variance, which makes the error of each as small as can be, and leaves
 * blocks alone that were certain to be taken. Without variances, or when that would make some part
 * negative (of few samples, taken with different periods): in proportion to its bytes. */
static void scale_group(const struct builder *b, struct group *group, const struct sums *sums,
			uint64_t total)
{
	uint64_t bytes = positive(group->bytes), variance = positive(group->variance), part;

	if (b->evidence.scaled) {
		group->shown_bytes = scale(bytes, total, sums->bytes, &group->remainder);
	} else if (total >= sums->bytes) {
		part = scale(variance, total - sums->bytes, sums->variance, &group->remainder);
		group->shown_bytes = bytes + part;
	} else {
		part = scale(variance, sums->bytes - total, sums->variance, &group->remainder);
		if (group->remainder != 0) {
			group->remainder = sums->variance - group->remainder;
			part++;
		}
		group->shown_bytes = bytes > part ? bytes - part : 0;
	}
}

/* Samples to the exact total: parts rounded down; the bytes that are left go to the largest
 * remainders. */
static void scale_groups(struct builder *b, const struct cmr_rows_total *total)
{
	struct sums sums = sum_groups(b);
	uint64_t left = total->bytes, rest;

	if (sums.bytes == 0 || sums.blocks == 0) {
		b->n = 0;
		return;
	}
	weigh_evidence(b, &sums, total->bytes);
	for (uint32_t i = 0; i < b->n; i++) {
		struct group *group = &b->groups[i];

		b->order[i] = i;
		scale_group(b, group, &sums, total->bytes);
		left -= group->shown_bytes;
		group->shown_blocks =
			scale(positive(group->blocks), total->blocks, sums.blocks, &rest);
		if (rest >= sums.blocks - rest || group->shown_blocks == 0)
			group->shown_blocks++;
	}
	qsort_r(b->order, b->n, sizeof *b->order, compare_remainders, b);
	for (uint32_t i = 0; i < b->n && left > 0; i++, left--)
		b->groups[b->order[i]].shown_bytes++;
	qsort(b->groups, b->n, sizeof *b->groups, compare_groups);
}

static void show_groups(struct builder *b)
{
	for (uint32_t i = 0; i < b->n; i++) {
		b->groups[i].shown_bytes = positive(b->groups[i].bytes);
		b->groups[i].shown_blocks =
			(positive(b->groups[i].blocks) + CMR_BLOCK_UNIT / 2) / CMR_BLOCK_UNIT;
	}
}

/* (own, all, size, total) of GROUP; a new reference, or NULL with an exception set. */
static PyObject *build_samples(const struct builder *b, const struct group *group)
{
	const struct evidence *e = &b->evidence;
	double own = 0;

	if (e->unit > 0)
		own = (double)positive(group->variance) / (e->unit * e->unit);
	return Py_BuildValue("(dddd)", own, e->samples, e->size > 0 ? e->size : 0.0, e->total);
}

static PyObject *build_row(struct builder *b, const struct group *group, bool estimated)
{
	PyObject *samples = estimated ? build_samples(b, group) : Py_NewRef(Py_None);
	PyObject *frames;

	if (samples == NULL)
		return NULL;
	frames = cmr_decoder_frames(&b->decoder, group->stack);
	if (frames == NULL) {
		Py_DECREF(samples);
		return NULL;
	}
	return Py_BuildValue("(KKsNON)", (unsigned long long)group->shown_bytes,
			     (unsigned long long)group->shown_blocks, cmr_kind_text(group->kind),
			     frames, estimated ? Py_True : Py_False, samples);
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
