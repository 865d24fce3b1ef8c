/* Small things of csrc/core/os: statuses, kinds, losses, random numbers. */
#include "cmr_test.h"

#include "os/kinds.h"
#include "os/losses.h"
#include "os/random.h"
#include "os/status.h"

CMR_TEST(a_failure_fills_the_error_and_returns_its_status)
{
	struct cmr_error err;

	memset(&err, 0x55, sizeof err);
	CHECK_EQ_U64(cmr_fail(&err, CMR_SYSTEM, EPERM, "not allowed"), CMR_SYSTEM);
	CHECK_EQ_U64(err.status, CMR_SYSTEM);
	CHECK_EQ_I64(err.sys_errno, EPERM);
	CHECK_EQ_STR(err.text, "not allowed");
	CHECK_EQ_U64(cmr_fail(NULL, CMR_NO_MEMORY, ENOMEM, "nobody listens"), CMR_NO_MEMORY);
}

CMR_TEST(a_long_text_is_cut_to_fit)
{
	struct cmr_error err;
	char text[400];

	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	cmr_fail(&err, CMR_STATE, 0, text);
	CHECK_EQ_U64(strlen(err.text), sizeof err.text - 1);
	text[sizeof err.text] = '\0'; /* one character too many */
	cmr_fail(&err, CMR_STATE, 0, text);
	CHECK_EQ_U64(strlen(err.text), sizeof err.text - 1);
	text[sizeof err.text - 1] = '\0'; /* just fits */
	cmr_fail(&err, CMR_STATE, 0, text);
	CHECK(strcmp(err.text, text) == 0);
}

CMR_TEST(every_kind_has_its_text)
{
	CHECK_EQ_STR(cmr_kind_text(CMR_KIND_MALLOC), "malloc");
	CHECK_EQ_STR(cmr_kind_text(CMR_KIND_PYMALLOC_CALLOC), "pymalloc_calloc");
	CHECK_EQ_STR(cmr_kind_text(CMR_KIND_MPROTECT), "mprotect");
	CHECK_EQ_STR(cmr_kind_text(0), "unknown");
	CHECK_EQ_STR(cmr_kind_text(5), "unknown");
	CHECK_EQ_STR(cmr_kind_text(4000000000u), "unknown");
#define X(number, name, text) CHECK_EQ_STR(cmr_kind_text(number), text);
	CMR_KIND_LIST(X)
#undef X
}

CMR_TEST(losses_are_counted_by_kind)
{
	struct cmr_losses before, after;

	cmr_losses_read(&before);
	cmr_lose(CMR_LOSS_blocks);
	cmr_lose(CMR_LOSS_hooks);
	cmr_lose(CMR_LOSS_hooks);
	cmr_losses_read(&after);
	CHECK_EQ_U64(after.blocks - before.blocks, 1);
	CHECK_EQ_U64(after.stacks - before.stacks, 0);
	CHECK_EQ_U64(after.threads - before.threads, 0);
	CHECK_EQ_U64(after.mappings - before.mappings, 0);
	CHECK_EQ_U64(after.hooks - before.hooks, 2);
}

CMR_TEST(the_generator_is_splitmix64)
{
	/* First numbers of the reference implementation for these seeds. */
	uint64_t zero = 0, other = 1234567;

	CHECK_EQ_U64(cmr_random_next(&zero), 0xe220a8397b1dcdafu);
	CHECK_EQ_U64(cmr_random_next(&zero), 0x6e789e6aa1b965f4u);
	CHECK_EQ_U64(cmr_random_next(&zero), 0x06c45d188009454fu);
	CHECK_EQ_U64(cmr_random_next(&other), 6457827717110365317u);
	CHECK_EQ_U64(cmr_random_next(&other), 3203168211198807973u);
}

CMR_TEST(the_generator_mixes_its_state)
{
	uint64_t state = 99, step = 99 + 0x9e3779b97f4a7c15u;

	CHECK_EQ_U64(cmr_random_next(&state), cmr_mix(step));
	CHECK_EQ_U64(state, step);
	CHECK(cmr_mix(1) != cmr_mix(2));
}
