/* Usage by location as Python objects: names and lines instead of numbers. */
#ifndef CMR_BINDING_ROWS_H
#define CMR_BINDING_ROWS_H

#include "compat.h"

#include "heap/usage.h"
#include "stack/nodes.h"

/* What the rows of one list add up to. */
struct cmr_rows_total {
	uint64_t bytes, blocks;
	bool estimated; /* rows are samples: scale them to these totals */
};

/* A list of (bytes, blocks, allocator, frames, estimated, samples), largest first; frames innermost
 * first, each (function, file, line); samples None, or (own, all, size, total) as in cmemray/estimate.py
 * when the row is an estimate. Rows of equal frames and allocator become one; the order of equal
 * sizes depends on nothing but their contents. NULL with an exception set. Call quiet (quiet.h). */
PyObject *cmr_rows_build(const struct cmr_usage_row *rows, uint32_t n, struct cmr_rows_total total);

/* Decodes stacks of one moment; equal names, frames and tails of stacks are one object. What nodes
 * are called is remembered across decoders, as numbers; Python objects are not. One decoder at a time
 * (the interpreter's lock, or CMR_BINDING_ENTER). */
struct cmr_decoder {
	PyObject **texts;  /* by text number, made on demand; as the two below */
	PyObject **frames; /* (function, file, line) by frame number */
	PyObject **stacks; /* tuple of frames, by stack number */
	uint32_t n_texts, n_frames, n_stacks;
};

/* False with MemoryError set. */
bool cmr_decoder_init(struct cmr_decoder *decoder);
void cmr_decoder_fini(struct cmr_decoder *decoder);

/* Number of the decoded stack of NODE: equal for nodes of equal names, files and lines. 0 is the
 * empty stack; UINT32_MAX with MemoryError set when there is no memory. */
uint32_t cmr_decoder_stack(cmr_node_id node);

/* Tuple of frames of a stack number; a new reference, or NULL with an exception set. All numbers
 * come from cmr_decoder_stack before the first call. */
PyObject *cmr_decoder_frames(struct cmr_decoder *decoder, uint32_t stack);

/* Order of two stack numbers by files, lines and functions, innermost frame first. */
int cmr_decoder_compare(uint32_t a, uint32_t b);

#endif
