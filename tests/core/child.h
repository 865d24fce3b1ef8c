/* Running part of a test in a process of its own: what is tried there cannot be undone. */
#ifndef CMR_TEST_CHILD_H
#define CMR_TEST_CHILD_H

#include <sys/wait.h>

/* exit, so that gcov counts what the child executed, but where a sanitizer would then look for leaks
 * and for threads that the child never had. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define END_CHILD _exit
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define END_CHILD _exit
#endif
#endif
#ifndef END_CHILD
#define END_CHILD exit
#endif

/* Runs BODY in a child; its failed checks are printed there. False if there were any, or if it did
 * not come to its end within four minutes: less than test_core.py waits, and enough on any machine. */
static inline bool passes_in_child(void (*body)(void))
{
	int status = -1;
	pid_t child = fork();

	if (child == 0) {
		alarm(240);
		body();
		END_CHILD(atomic_load(&cmr_test_failures) == 0 ? 0 : 1);
	}
	REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#endif
