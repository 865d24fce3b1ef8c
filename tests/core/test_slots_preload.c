/* Other processes: an allocator in LD_PRELOAD, a program that is not position independent. */
#include <spawn.h>
#include <sys/wait.h>

#include "hook_rig.h"

/* Exit status of ARGV with PRELOAD (may be NULL) in its environment; -1 if it did not exit. */
static int run(char *const argv[], const char *preload)
{
	char setting[512];
	char *environment[] = { setting,
				(char[]){ "ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1" },
				NULL };
	int status = -1;
	pid_t pid;

	snprintf(setting, sizeof setting, "LD_PRELOAD=%s", preload == NULL ? "" : preload);
	REQUIRE(posix_spawn(&pid, argv[0], NULL, NULL, argv, environment) == 0);
	CHECK_EQ_I64(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		cmr_test_print("%s ended by signal %d\n", argv[0], WTERMSIG(status));
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* Path of a test binary next to this one. */
static void sibling(char path[512], const char *name)
{
	ssize_t n = readlink("/proc/self/exe", path, 512 - 32);

	REQUIRE(n > 0);
	path[n] = 0;
	strcpy(strrchr(path, '/') + 1, name);
}

/* Runs the tests of the malloc family that hold with every allocator, under PRELOAD. */
static void heap_tests_under(const char *preload)
{
	char binary[512];
	char *const argv[] = { binary,
			       (char[]){ "malloc_counts_what_was_asked_for" },
			       (char[]){ "calloc_counts_the_product" },
			       (char[]){ "posix_memalign_counts_the_block_it_stored" },
			       (char[]){ "free_ignores_null_and_unknown_blocks" },
			       (char[]){ "two_planes_count_the_same_call" },
			       (char[]){ "a_closed_gate_passes_everything_through" },
			       (char[]){ "calls_go_to_the_preloaded_allocator" },
			       NULL };

	sibling(binary, "test_hooks_heap");
	CHECK_EQ_I64(run(argv, preload), 0);
}

/* The same calls of new and delete lead to the preloaded library's own operators. */
static void cxx_test_under(const char *preload)
{
	char binary[512];
	char *const argv[] = { binary,
			       (char[]){ "new_and_delete_are_seen_inside_the_cxx_library" },
			       (char[]){ "every_form_of_new_and_delete_is_seen" },
			       NULL };
	int status;

	sibling(binary, "test_slots_objects");
	status = run(argv, preload);
	CHECK(status == 0 || status == CMR_TEST_EXIT_SKIPPED);
}

CMR_TEST(a_preloaded_address_sanitizer_keeps_its_blocks)
{
	if (UNDER_SANITIZER)
		CMR_TEST_SKIP("this program has a sanitizer already");
	if (access(CMR_ASAN_LIBRARY, R_OK) != 0)
		CMR_TEST_SKIP("no libasan of gcc on this machine");
	heap_tests_under(CMR_ASAN_LIBRARY);
}

CMR_TEST(a_preloaded_jemalloc_keeps_its_blocks)
{
	static const char *const places[] = { "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2",
					      "/usr/lib/aarch64-linux-gnu/libjemalloc.so.2",
					      "/usr/lib64/libjemalloc.so.2" };

	if (UNDER_SANITIZER)
		CMR_TEST_SKIP("a sanitizer must be the first library");
	for (size_t i = 0; i < sizeof places / sizeof *places; i++)
		if (access(places[i], R_OK) == 0) {
			heap_tests_under(places[i]);
			cxx_test_under(places[i]);
			return;
		}
	CMR_TEST_SKIP("no libjemalloc.so.2 on this machine (Debian: libjemalloc2)");
}

CMR_TEST(a_stub_of_the_program_is_not_taken_for_the_original)
{
	char *const argv[] = { (char[]){ CMR_FIXTURES "/host" }, (char[]){ FIXTURE("driver") },
			       NULL };

	if (access(argv[0], X_OK) != 0)
		CMR_TEST_SKIP("not built with a sanitizer");
	CHECK_EQ_I64(run(argv, NULL), 0);
}
