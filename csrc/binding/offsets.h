/* Where those fields of the interpreter's structs lie that are read directly, beside what the core's
 * walk needs of a frame (struct cmr_frame_layout): the way to the top frame, and code objects.
 *
 * A build for developers can move each of them by the environment, as another patch release of the
 * interpreter might have, to show that the check at import notices (stacks.c). Elsewhere they are
 * constants of the compiler. */
#ifndef CMR_BINDING_OFFSETS_H
#define CMR_BINDING_OFFSETS_H

#include "compat.h"

#include <stddef.h>

#include "stack/provider.h"

#if !CMR_FRAMES_KNOWN
#define CMR_OFFSETS { .cframe = 0 } /* nobody reads by them */
#else
#if PY_VERSION_HEX < 0x030D0000
#define CMR_TOP_OFFSETS                                                                            \
	.cframe = offsetof(PyThreadState, cframe),                                                 \
	.current_frame = offsetof(_PyCFrame, current_frame)
#else
#define CMR_TOP_OFFSETS .current_frame = offsetof(PyThreadState, current_frame)
#endif
#define CMR_OFFSETS                                                                                \
	{                                                                                          \
		CMR_TOP_OFFSETS, .bytecode = offsetof(PyCodeObject, co_code_adaptive),             \
				 .name = offsetof(PyCodeObject, co_name),                          \
				 .file = offsetof(PyCodeObject, co_filename),                      \
				 .lines = offsetof(PyCodeObject, co_linetable),                    \
				 .first_line = offsetof(PyCodeObject, co_firstlineno),             \
				 .first_traceable = offsetof(PyCodeObject, _co_firsttraceable),    \
	}
#endif

/* In bytes. Written at import at most. */
struct cmr_offsets {
	uint32_t cframe;        /* thread state: what holds the top frame; up to 3.12 */
	uint32_t current_frame; /* what holds it (3.13+: the thread state): the top frame */
	/* Code objects. */
	uint32_t bytecode, name, file, lines, first_line, first_traceable;
};

#ifdef CMR_TEST_DOORS
extern struct cmr_offsets cmr_offsets;

/* CMEMRAY_TEST_MOVE=FIELD:BYTES moves that field of LAYOUT or of cmr_offsets. */
void cmr_doors_move(struct cmr_frame_layout *layout);

/* CMEMRAY_TEST_UNPUBLISHED is set: what the interpreter says about itself is not asked for, as if it
 * were wrong too. */
bool cmr_doors_unpublished(void);
#else
static const struct cmr_offsets cmr_offsets = CMR_OFFSETS;

static inline void cmr_doors_move(struct cmr_frame_layout *layout)
{
	(void)layout;
}
static inline bool cmr_doors_unpublished(void)
{
	return false;
}
#endif

/* The address of CODE's field at OFFSET, one of cmr_offsets. */
static inline const void *cmr_code_field(const void *code, uint32_t offset)
{
	return (const char *)code + offset;
}

/* The object that CODE refers to there, borrowed. */
static inline PyObject *cmr_code_object(const void *code, uint32_t offset)
{
	return *(PyObject *const *)cmr_code_field(code, offset);
}

/* The number there. */
static inline int32_t cmr_code_int(const void *code, uint32_t offset)
{
	return *(const int32_t *)cmr_code_field(code, offset);
}

#endif
