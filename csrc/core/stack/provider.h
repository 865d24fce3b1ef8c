/* What the core needs to know to walk an interpreter's frames, as plain data from the binding. */
#ifndef CMR_STACK_PROVIDER_H
#define CMR_STACK_PROVIDER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Byte offsets inside a frame, and how to read them. */
struct cmr_frame_layout {
	uint32_t previous;    /* pointer to the caller's frame; NULL at the bottom */
	uint32_t code;        /* code object, after `code_mask` */
	uint32_t instruction; /* pointer into the code object's bytecode */
	uint32_t owner;       /* one byte: what kind of frame this is */
	uint32_t tlbc;        /* int32: index of the thread's own bytecode; 0 = field not there */
	uintptr_t code_mask;  /* ANDed to the code word (tag bits off) */
	uint16_t skip_owner;  /* frames whose owner >= this are no Python code; 256 = none */
	uint8_t function_owner; /* owner of frames that are left and entered only by return and call */
};

/* One code object, copied by the binding when first seen; lives until cmr_provider.forget. */
struct cmr_code {
	uint32_t number;          /* of the code object, dense, from 1 */
	uint32_t first_traceable; /* code units; a frame before this one has not begun to run */
	uintptr_t bytecode;       /* address of the first code unit (main copy) */
	uint32_t n_units;
};

/* Functions may run on any thread, with or without the interpreter's lock, inside a hook: no
 * allocation, no reference counts, no interpreter calls that could block. */
struct cmr_provider {
	struct cmr_frame_layout layout;
	/* Top frame of the calling thread, or NULL when it runs no Python code. */
	const void *(*top_frame)(void);
	/* The copy of CODE, which some frame of the calling thread is running. NULL: no memory; the
	 * stack is lost then. */
	const struct cmr_code *(*find_code)(const void *code);
	/* Bytecode base for a frame with its own copy (free-threaded); NULL function otherwise. A
	 * return of 0 means unknown: the frame is recorded without a line. */
	uintptr_t (*bytecode_base)(const void *frame, const void *code);
	/* Drops all copies; numbers restart. Called when nodes are reset. May be NULL. */
	void (*forget)(void);
	/* There are moments, between two instructions of the interpreter, at which its top frame is not
	 * to be found. Allocations do not happen then, but in a signal's handler mappings may. */
	bool loose;
};

/* The provider in use, or NULL: stacks are empty then. Set once, before any region starts. */
extern const struct cmr_provider *cmr_provider;

/* Bumped, before the memory is released, whenever a code object dies that find_code had copied, and
 * when nodes are reset. Cached frames and code lookups of older epochs are void. */
extern _Atomic uint32_t cmr_code_epoch;

#endif
