/* What the tests of the hooks share: the libraries that make the calls, and a region around them. */
#ifndef HOOK_RIG_H
#define HOOK_RIG_H

#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "../fixtures/core/calls.h"
#include "cmr_test.h"
#include "os/kinds.h"
#include "os/memory.h"
#include "session/session.h"

/* CMR_FIXTURES: folder of the libraries, from the build. */
#define FIXTURE(name) CMR_FIXTURES "/" name ".so"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#ifndef UNDER_SANITIZER
#define UNDER_SANITIZER 0
#endif

/* A request that no allocator can meet is to give NULL, as everywhere else. */
const char *__asan_default_options(void);
const char *__tsan_default_options(void);
const char *__asan_default_options(void)
{
	return "allocator_may_return_null=1:alloc_dealloc_mismatch=0";
}
const char *__tsan_default_options(void)
{
	return "allocator_may_return_null=1";
}

static inline void *rig_open(const char *file, int mode)
{
	void *object = dlopen(file, mode);

	if (object == NULL)
		cmr_test_print("%s\n", dlerror());
	REQUIRE(object != NULL);
	return object;
}

static inline void *rig_symbol(void *object, const char *name)
{
	void *symbol = dlsym(object, name);

	if (symbol == NULL)
		cmr_test_print("%s\n", dlerror());
	REQUIRE(symbol != NULL);
	return symbol;
}

/* Fetches function NAME of OBJECT into a pointer of its type. */
#define RIG_FUNCTION(object, pointer, name)                                                       \
	do {                                                                                      \
		void *symbol_ = rig_symbol(object, name);                                         \
		memcpy(&(pointer), &symbol_, sizeof symbol_);                                     \
	} while (0)

static inline const struct calls *rig_calls(const char *file)
{
	calls_function function;

	RIG_FUNCTION(rig_open(file, RTLD_LAZY | RTLD_LOCAL), function, "calls");
	return function();
}

static inline struct cmr_region *rig_start(enum cmr_basis basis)
{
	struct cmr_region_options options = { .basis = basis, .exact = true, .max_period = 1 };
	struct cmr_region *region = cmr_region_new(&options);
	struct cmr_error error = { .text = "" };

	REQUIRE(region != NULL);
	if (cmr_session_start(region, &error) != CMR_OK) {
		cmr_test_print("start: %s\n", error.text);
		REQUIRE(false && "the session starts");
	}
	return region;
}

/* Ends REGION; every loss in it fails the test. */
static inline void rig_end(struct cmr_region *region)
{
	struct cmr_totals totals;

	cmr_session_stop(region);
	cmr_region_totals(region, &totals);
#define X(name) CHECK_EQ_U64(totals.losses.name, 0);
	CMR_LOSS_LIST(X)
#undef X
	cmr_region_free(region);
}

/* One test of one function: the library that calls it, and the region that counts. */
struct rig {
	const struct calls *c;
	const char *variant; /* which library: for messages */
	enum cmr_basis basis;
	struct cmr_region *region;
	struct cmr_totals last;
};

/* Checks what has changed in the region since the last look: live bytes and blocks, bytes and number
 * of allocations. */
static inline void rig_expect(struct rig *rig, int64_t current, int64_t blocks, int64_t total,
			      int64_t count, const char *file, int line)
{
	struct cmr_totals now;
	bool good = true;

	cmr_region_totals(rig->region, &now);
	good &= cmr_test_eq_i64((int64_t)(now.current - rig->last.current), current,
				"change of current", "expected", file, line);
	good &= cmr_test_eq_i64((int64_t)(now.current_blocks - rig->last.current_blocks), blocks,
				"change of blocks", "expected", file, line);
	good &= cmr_test_eq_i64((int64_t)(now.total - rig->last.total), total, "change of total",
				"expected", file, line);
	good &= cmr_test_eq_i64((int64_t)(now.count - rig->last.count), count, "change of count",
				"expected", file, line);
	if (!good)
		cmr_test_print("    with %s, basis %d\n", rig->variant, (int)rig->basis);
	rig->last = now;
}

#define CHANGED(rig, current, blocks, total, count)                                               \
	rig_expect(rig, current, blocks, total, count, __FILE__, __LINE__)
#define UNCHANGED(rig) CHANGED(rig, 0, 0, 0, 0)

/* Bytes that live blocks of KIND hold in RIG's region. */
static inline int64_t rig_live(struct rig *rig, enum cmr_kind kind)
{
	struct cmr_usage_row *rows;
	int64_t sum = 0;
	uint32_t n;
	size_t bytes;

	REQUIRE(cmr_session_rows(rig->region, false, &rows, &n, &bytes));
	for (uint32_t i = 0; i < n; i++)
		if (cmr_locations_get(rows[i].location).kind == kind)
			sum += rows[i].bytes;
	cmr_memory_unmap(rows, bytes);
	return sum;
}

/* Runs ROW with each library in FILES (its last is NULL) and each basis. */
static inline void rig_each(const char *const *files, void (*row)(struct rig *))
{
	for (; *files != NULL; files++)
		for (int basis = 0; basis < CMR_N_BASES; basis++) {
			struct rig rig = { .variant = *files, .basis = (enum cmr_basis)basis };

			rig.c = rig_calls(*files);
			rig.region = rig_start(rig.basis);
			row(&rig);
			rig_end(rig.region);
		}
}

static const char *const rig_variants[] = { FIXTURE("calls_now"), FIXTURE("calls_lazy"),
					    FIXTURE("calls_marked"), FIXTURE("calls_noplt"),
					    FIXTURE("calls_pointers"), NULL };

/* What this thread's guard word says: planes, and the mark of dlopen. */
#define GUARD() (cmr_tls.guard & (CMR_GUARD_ALL | CMR_GUARD_RESCAN))

/* errno as the program left it: EXDEV is set by no function that is tested here. */
#define MARK_ERRNO() (errno = EXDEV)
#define ERRNO_KEPT() CHECK_EQ_I64(errno, EXDEV)

#endif
