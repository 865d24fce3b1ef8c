/* Python frames of the running interpreter, as plain data for the core (stack/provider.h). */
#ifndef CMR_BINDING_FRAMES_H
#define CMR_BINDING_FRAMES_H

#include "compat.h"

#include "stack/provider.h"

/* The layout this file was compiled for. */
struct cmr_frame_layout cmr_frames_layout(void);

/* Top frame of the calling thread, NULL when it runs no Python code. Any thread, with or without
 * the interpreter's lock; reads the calling thread's own state only. */
const void *cmr_frames_top(void);

/* Bytecode that FRAME of the calling thread runs, when it may have its own copy of CODE's; 0 when
 * that cannot be told. NULL where frames never have one. */
extern uintptr_t (*const cmr_frames_bytecode_base)(const void *frame, const void *code);

/* The interpreter's frame behind a frame object. */
const void *cmr_frames_of_object(PyFrameObject *frame);

/* Why the running interpreter's structs are not as LAYOUT and cmr_offsets (offsets.h) have them, or
 * NULL: compares what the interpreter itself publishes (3.13+). Where the frames of this minor version
 * are not known at all, it says so. Static storage. */
const char *cmr_frames_published_mismatch(const struct cmr_frame_layout *layout);

#endif
