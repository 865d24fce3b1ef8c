#include "stacks.h"

#include <stdlib.h>
#include <string.h>

#include "codes.h"
#include "frames.h"
#include "offsets.h"

static struct cmr_provider provider;

#ifdef CMR_TEST_DOORS
struct cmr_offsets cmr_offsets = CMR_OFFSETS;

struct door {
	const char *name;
	size_t place; /* of an uint32_t */
};

/* Moves the uint32_t of STRUCTURE that FIELD names by BY, if it is among the N of DOORS. */
static void move(void *structure, const struct door *doors, size_t n, const char *field, long by)
{
	size_t length = strcspn(field, ":");
	uint32_t value;
	char *place;

	for (size_t i = 0; i < n; i++) {
		if (strlen(doors[i].name) != length || memcmp(doors[i].name, field, length) != 0)
			continue;
		place = (char *)structure + doors[i].place;
		memcpy(&value, place, sizeof value);
		value = (uint32_t)(value + by);
		memcpy(place, &value, sizeof value);
	}
}

void cmr_doors_move(struct cmr_frame_layout *layout)
{
#define DOOR(kind, field) { #field, offsetof(struct kind, field) }
	static const struct door of_layout[] = {
		DOOR(cmr_frame_layout, previous),    DOOR(cmr_frame_layout, code),
		DOOR(cmr_frame_layout, instruction), DOOR(cmr_frame_layout, owner),
		DOOR(cmr_frame_layout, tlbc),
	};
	static const struct door of_offsets[] = {
		DOOR(cmr_offsets, cframe),     DOOR(cmr_offsets, current_frame),
		DOOR(cmr_offsets, bytecode),   DOOR(cmr_offsets, name),
		DOOR(cmr_offsets, file),       DOOR(cmr_offsets, lines),
		DOOR(cmr_offsets, first_line), DOOR(cmr_offsets, first_traceable),
	};
#undef DOOR
	/* At import, with the interpreter's lock. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *field = getenv("CMEMRAY_TEST_MOVE"), *by;

	if (field == NULL || (by = strchr(field, ':')) == NULL)
		return;
	move(layout, of_layout, sizeof of_layout / sizeof *of_layout, field, atol(by + 1));
	move(&cmr_offsets, of_offsets, sizeof of_offsets / sizeof *of_offsets, field,
	     atol(by + 1));
}

bool cmr_doors_unpublished(void)
{
	/* As above. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	return getenv("CMEMRAY_TEST_UNPUBLISHED") != NULL;
}
#endif

bool cmr_stacks_init(const char **reason)
{
	const char *mismatch = NULL;

	*reason = "";
	if (cmr_provider != NULL)
		return true;
	provider = (struct cmr_provider){
		.layout = cmr_frames_layout(),
		.top_frame = cmr_frames_top,
		.find_code = cmr_codes_find,
		.bytecode_base = cmr_frames_bytecode_base,
		.forget = cmr_codes_forget,
		/* A cframe is linked before its frame is written. */
		.loose = Py_Version < 0x030D0000,
	};
	cmr_doors_move(&provider.layout);
	/* They cleared a frame before unlinking it. */
	if (Py_Version < 0x030B0200)
		mismatch = "CPython 3.11.0 and 3.11.1 unlink frames too late";
	if (mismatch == NULL && !cmr_doors_unpublished())
		mismatch = cmr_frames_published_mismatch(&provider.layout);
	if (mismatch == NULL && !cmr_selftest_run(&provider.layout, &mismatch))
		return false;
	if (mismatch == NULL)
		cmr_provider = &provider;
	else
		*reason = mismatch;
	return true;
}
