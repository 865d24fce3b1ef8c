/* Reading one of an interpreter's frames by the layout that the provider gave. */
#ifndef CMR_STACK_FRAME_H
#define CMR_STACK_FRAME_H

#include <stddef.h>

#include "stack/provider.h"

/* Words of structs that this program has no types for. */
typedef uintptr_t __attribute__((may_alias)) cmr_any_word;
typedef int32_t __attribute__((may_alias)) cmr_any_int32;

/* The word OFFSET bytes after FRAME. */
static inline uintptr_t cmr_frame_word(const char *frame, size_t offset)
{
	return *(const cmr_any_word *)(const void *)(frame + offset);
}

/* The frame of the caller, NULL at the bottom. */
static inline const char *cmr_frame_previous(const struct cmr_frame_layout *layout,
					     const char *frame)
{
	return (const char *)cmr_frame_word(frame, layout->previous);
}

static inline uintptr_t cmr_frame_instruction(const struct cmr_frame_layout *layout,
					      const char *frame)
{
	return cmr_frame_word(frame, layout->instruction);
}

/* One of the interpreter's own, between two that run Python code. */
static inline bool cmr_frame_is_skipped(const struct cmr_frame_layout *layout, const char *frame)
{
	return (uint8_t)frame[layout->owner] >= layout->skip_owner;
}

/* Left and entered by return and call only: no generator's, and none of the interpreter's own. */
static inline bool cmr_frame_is_function(const struct cmr_frame_layout *layout, const char *frame)
{
	return (uint8_t)frame[layout->owner] == layout->function_owner;
}

/* Runs a copy of the bytecode that is the thread's own. */
static inline bool cmr_frame_has_own_bytecode(const struct cmr_frame_layout *layout,
					      const char *frame)
{
	return layout->tlbc != 0 &&
	       *(const cmr_any_int32 *)(const void *)(frame + layout->tlbc) != 0;
}

#endif
