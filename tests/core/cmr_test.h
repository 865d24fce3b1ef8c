/*
 * A unit-test frame of one header: include it in exactly one .c file per test binary.
 *
 *     CMR_TEST(free_of_null_is_ignored) {
 *         CHECK(cmr_thing_free(NULL) == CMR_OK);
 *         CHECK_EQ_U64(cmr_thing_count(), 0);
 *     }
 *
 * Tests register themselves before main and run in the order in which they are written.
 *     ./test_thing            every test, one line each, then a summary; exit 1 when one failed
 *     ./test_thing NAME...    only these; exit 77 when every one of them was skipped
 *     ./test_thing --list     the names, one a line
 *
 * Output goes through write(2) from stack buffers: nothing here calls malloc, so a test of the
 * allocation hooks sees only its own allocations. CHECK* may be used from any thread.
 */
#ifndef CMR_TEST_H
#define CMR_TEST_H

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CMR_TEST_EXIT_SKIPPED 77

struct cmr_test {
	const char *name;
	void (*run)(void);
	struct cmr_test *next;
};

static struct cmr_test *cmr_test_first;
static struct cmr_test **cmr_test_tail = &cmr_test_first;
static const char *cmr_test_current = "?";
static atomic_uint cmr_test_failures;      /* failed checks of the running test */
static _Atomic(const char *) cmr_test_skip; /* why the running test is skipped, or NULL */

static inline void cmr_test_write(const char *text, size_t length)
{
	while (length > 0) {
		ssize_t n = write(STDOUT_FILENO, text, length);
		if (n < 0 && errno == EINTR) {
			continue;
		}
		if (n <= 0) {
			return;
		}
		text += n;
		length -= (size_t)n;
	}
}

__attribute__((format(printf, 1, 2))) static inline void cmr_test_print(const char *format, ...)
{
	char line[1024];
	va_list arguments;
	va_start(arguments, format);
	int n = vsnprintf(line, sizeof line, format, arguments);
	va_end(arguments);
	if (n > 0) {
		size_t length = (size_t)n;
		cmr_test_write(line, length < sizeof line ? length : sizeof line - 1);
	}
}

static inline void cmr_test_register(struct cmr_test *test)
{
	*cmr_test_tail = test;
	cmr_test_tail = &test->next;
}

static inline bool cmr_test_fail(const char *file, int line, const char *what)
{
	atomic_fetch_add(&cmr_test_failures, 1);
	cmr_test_print("%s:%d: in %s: %s\n", file, line, cmr_test_current, what);
	return false;
}

static inline bool cmr_test_check(bool held, const char *file, int line, const char *what)
{
	return held || cmr_test_fail(file, line, what);
}

static inline bool cmr_test_eq_u64(uint64_t a, uint64_t b, const char *a_text, const char *b_text,
				   const char *file, int line)
{
	if (a == b) {
		return true;
	}
	char what[512];
	snprintf(what, sizeof what,
		 "%s == %s: %" PRIu64 " (0x%" PRIx64 ") != %" PRIu64 " (0x%" PRIx64 ")", a_text,
		 b_text, a, a, b, b);
	return cmr_test_fail(file, line, what);
}

static inline bool cmr_test_eq_i64(int64_t a, int64_t b, const char *a_text, const char *b_text,
				   const char *file, int line)
{
	if (a == b) {
		return true;
	}
	char what[512];
	snprintf(what, sizeof what, "%s == %s: %" PRId64 " != %" PRId64, a_text, b_text, a, b);
	return cmr_test_fail(file, line, what);
}

static inline bool cmr_test_eq_str(const char *a, const char *b, const char *a_text,
				   const char *b_text, const char *file, int line)
{
	if (a == b || (a != NULL && b != NULL && strcmp(a, b) == 0)) {
		return true;
	}
	char what[512];
	snprintf(what, sizeof what, "%s == %s: \"%s\" != \"%s\"", a_text, b_text, a ? a : "(null)",
		 b ? b : "(null)");
	return cmr_test_fail(file, line, what);
}

/* Defines a test. The body may return early. */
#define CMR_TEST(NAME)                                                                             \
	static void cmr_test_body_##NAME(void);                                                    \
	__attribute__((constructor)) static void cmr_test_register_##NAME(void)                    \
	{                                                                                          \
		static struct cmr_test test = { .name = #NAME,                                     \
						.run = cmr_test_body_##NAME,                       \
						.next = NULL };                                    \
		cmr_test_register(&test);                                                          \
	}                                                                                          \
	static void cmr_test_body_##NAME(void)

/* Each CHECK* notes a failure and goes on; its value is whether it held. */
#define CHECK(COND) cmr_test_check((COND), __FILE__, __LINE__, "CHECK(" #COND ")")
#define CHECK_EQ_U64(A, B) cmr_test_eq_u64((uint64_t)(A), (uint64_t)(B), #A, #B, __FILE__, __LINE__)
#define CHECK_EQ_I64(A, B) cmr_test_eq_i64((int64_t)(A), (int64_t)(B), #A, #B, __FILE__, __LINE__)
#define CHECK_EQ_PTR(A, B)                                                                         \
	cmr_test_eq_u64((uint64_t)(uintptr_t)(A), (uint64_t)(uintptr_t)(B), #A, #B, __FILE__,      \
			__LINE__)
#define CHECK_EQ_STR(A, B) cmr_test_eq_str((A), (B), #A, #B, __FILE__, __LINE__)

/* For what later lines cannot do without: a failure ends the whole binary, from any thread. */
#define REQUIRE(COND)                                                                              \
	do {                                                                                       \
		if (!(COND)) {                                                                     \
			cmr_test_fail(__FILE__, __LINE__, "REQUIRE(" #COND ")");                   \
			cmr_test_print("FAILED %s\n", cmr_test_current);                           \
			exit(1);                                                                   \
		}                                                                                  \
	} while (0)

/* Ends the test body it stands in; REASON says what the machine lacks. */
#define CMR_TEST_SKIP(REASON)                                                                      \
	do {                                                                                       \
		atomic_store(&cmr_test_skip, (REASON));                                            \
		return;                                                                            \
	} while (0)

/* Keeps the compiler from removing an allocation whose value a test does not otherwise use. */
#define CMR_TEST_KEEP(POINTER) __asm__ volatile("" : : "g"(POINTER) : "memory")

struct cmr_test_totals {
	unsigned passed, failed, skipped;
};

static inline void cmr_test_run(const struct cmr_test *test, struct cmr_test_totals *totals)
{
	cmr_test_current = test->name;
	atomic_store(&cmr_test_failures, 0);
	atomic_store(&cmr_test_skip, NULL);
	test->run();
	const char *skip = atomic_load(&cmr_test_skip);
	if (atomic_load(&cmr_test_failures) > 0) {
		totals->failed++;
		cmr_test_print("FAILED %s\n", test->name);
	} else if (skip != NULL) {
		totals->skipped++;
		cmr_test_print("SKIPPED %s: %s\n", test->name, skip);
	} else {
		totals->passed++;
		cmr_test_print("PASSED %s\n", test->name);
	}
}

static inline const struct cmr_test *cmr_test_find(const char *name)
{
	for (const struct cmr_test *test = cmr_test_first; test != NULL; test = test->next) {
		if (strcmp(test->name, name) == 0) {
			return test;
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	struct cmr_test_totals totals = { 0, 0, 0 };
	if (argc == 2 && strcmp(argv[1], "--list") == 0) {
		for (const struct cmr_test *test = cmr_test_first; test != NULL;
		     test = test->next) {
			cmr_test_print("%s\n", test->name);
		}
		return 0;
	}
	for (int i = 1; i < argc; i++) {
		const struct cmr_test *test = cmr_test_find(argv[i]);
		if (test == NULL) {
			cmr_test_print("%s: no test of this name; --list prints them\n", argv[i]);
			return 2;
		}
		cmr_test_run(test, &totals);
	}
	if (argc == 1) {
		for (const struct cmr_test *test = cmr_test_first; test != NULL;
		     test = test->next) {
			cmr_test_run(test, &totals);
		}
	}
	cmr_test_print("%u passed, %u failed, %u skipped\n", totals.passed, totals.failed,
		       totals.skipped);
	if (totals.failed > 0) {
		return 1;
	}
	return totals.passed == 0 && totals.skipped > 0 ? CMR_TEST_EXIT_SKIPPED : 0;
}

#endif
