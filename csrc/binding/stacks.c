#include "stacks.h"

#include <stdlib.h>
#include <string.h>

#include "codes.h"
#include "frames.h"

static struct cmr_provider provider;

/* Test door: CMEMRAY_TEST_BREAK_LAYOUT=FIELD moves one offset, as another build of the interpreter
 * might, to show that the self-test notices and the tracker goes on without Python stacks. */
static void break_layout(struct cmr_frame_layout *layout)
{
	/* At import, with the interpreter's lock. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *field = getenv("CMEMRAY_TEST_BREAK_LAYOUT");

	if (field == NULL)
		return;
	if (strcmp(field, "previous") == 0)
		layout->previous += 8;
	else if (strcmp(field, "code") == 0)
		layout->code += 8;
	else if (strcmp(field, "instruction") == 0)
		layout->instruction -= 8;
	else if (strcmp(field, "owner") == 0)
		layout->skip_owner = 0;
}

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
	};
	break_layout(&provider.layout);
	/* They cleared a frame before unlinking it. */
	if (Py_Version < 0x030B0200)
		mismatch = "CPython 3.11.0 and 3.11.1 unlink frames too late";
	if (mismatch == NULL)
		mismatch = cmr_frames_published_mismatch();
	if (mismatch == NULL && !cmr_selftest_run(&provider.layout, &mismatch))
		return false;
	if (mismatch == NULL)
		cmr_provider = &provider;
	else
		*reason = mismatch;
	return true;
}
