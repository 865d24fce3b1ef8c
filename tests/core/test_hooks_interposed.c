/* This program has an allocator of its own, in front of libc's: the originals are its functions. So
 * it can count what the hooks do to the allocator, make it throw, and refuse mprotect. */
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "hook/table.h"
#include "hook_rig.h"

#if UNDER_SANITIZER
#define SKIP_UNDER_SANITIZER() CMR_TEST_SKIP("a sanitizer brings its own allocator")
#else
#define SKIP_UNDER_SANITIZER()

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void __libc_free(void *block);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void *__libc_valloc(size_t size);
#endif

static atomic_uint n_calls;
static void (*_Atomic instead_of_valloc)(void);
static atomic_bool mprotect_refused;

#if !UNDER_SANITIZER
void *malloc(size_t size)
{
	atomic_fetch_add(&n_calls, 1);
	return __libc_malloc(size);
}

void *calloc(size_t n, size_t size)
{
	atomic_fetch_add(&n_calls, 1);
	return __libc_calloc(n, size);
}

void *realloc(void *block, size_t size)
{
	atomic_fetch_add(&n_calls, 1);
	return __libc_realloc(block, size);
}

void free(void *block)
{
	atomic_fetch_add(&n_calls, 1);
	__libc_free(block);
}

void *memalign(size_t alignment, size_t size)
{
	atomic_fetch_add(&n_calls, 1);
	return __libc_memalign(alignment, size);
}

void *valloc(size_t size)
{
	void (*instead)(void) = atomic_load(&instead_of_valloc);

	atomic_fetch_add(&n_calls, 1);
	if (instead != NULL)
		instead();
	return __libc_valloc(size);
}

int mprotect(void *start, size_t bytes, int prot)
{
	if (!atomic_load(&mprotect_refused))
		return (int)syscall(SYS_mprotect, start, bytes, prot);
	errno = EACCES;
	return -1;
}
#endif

static struct rig rig_of(enum cmr_basis basis)
{
	struct rig rig = { .variant = "calls_now", .basis = basis };

	rig.c = rig_calls(FIXTURE("calls_now"));
	rig.region = rig_start(basis);
	return rig;
}

#define CALLS(n, call)                                                                            \
	do {                                                                                      \
		unsigned before_ = atomic_load(&n_calls);                                         \
		call;                                                                             \
		CHECK_EQ_U64(atomic_load(&n_calls) - before_, n);                                 \
	} while (0)

static void *allocate_in_thread(void *data)
{
	const struct calls *c = data;
	void *block;

	CALLS(1, block = c->malloc(77)); /* the first event of a thread makes its state */
	CALLS(1, c->free(block));
	return NULL;
}

CMR_TEST(hooks_make_no_call_of_their_own_to_the_allocator)
{
	struct rig rig;
	struct cmr_region *other;
	pthread_t thread;
	void *block, *start;

	SKIP_UNDER_SANITIZER();
	rig = rig_of(CMR_BASIS_REQUESTED);
	other = rig_start(CMR_BASIS_SYSTEM);
	CALLS(1, block = rig.c->malloc(100));
	CHANGED((&rig), 100, 1, 100, 1);
	CALLS(1, block = rig.c->realloc(block, 100000));
	CALLS(1, block = rig.c->realloc(block, 10));
	CALLS(1, rig.c->free(block));
	CALLS(1, block = rig.c->calloc(10, 10));
	CALLS(1, rig.c->free(block));
	CALLS(1, block = rig.c->memalign(64, 5000));
	CALLS(1, rig.c->free(block));
	CALLS(0, start = rig.c->mmap(NULL, 65536, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	CALLS(0, rig.c->mprotect(start, 4096, PROT_READ));
	CALLS(0, start = rig.c->mremap4(start, 65536, 131072, MREMAP_MAYMOVE));
	CALLS(0, rig.c->munmap(start, 131072));
	for (size_t size = 1; size < 300000; size += size / 3 + 1) {
		CALLS(1, block = rig.c->malloc(size));
		CALLS(1, rig.c->free(block));
	}
	CHECK_EQ_I64(rig.c->pthread_create(&thread, NULL, allocate_in_thread,
					   (void *)(uintptr_t)rig.c),
		     0);
	pthread_join(thread, NULL);
	rig_end(other);
	rig_end(rig.region);
}

/* --- leaving a wrapper other than by return ----------------------------------------------------- */

static void call_valloc(void *data)
{
	const struct rig *rig = data;

	rig->c->valloc(100);
}

CMR_TEST(an_exception_may_pass_through_a_wrapper)
{
	int (*catch_from)(void (*)(void *), void *);
	void (*throw_one)(void);
	struct rig rig;
	void *object;

	SKIP_UNDER_SANITIZER();
	object = dlopen(FIXTURE("cxx"), RTLD_NOW);
	if (object == NULL)
		CMR_TEST_SKIP("no C++ compiler when this was built");
	RIG_FUNCTION(object, catch_from, "cxx_catch");
	RIG_FUNCTION(object, throw_one, "cxx_throw");
	rig = rig_of(CMR_BASIS_REQUESTED);
	atomic_store(&instead_of_valloc, throw_one);
	CHECK_EQ_I64(catch_from(call_valloc, &rig), 1);
	atomic_store(&instead_of_valloc, NULL);
	CHECK_EQ_U64(GUARD(), 0);
	cmr_region_totals(rig.region, &rig.last);
	rig.c->free(rig.c->malloc(50));
	CHANGED((&rig), 0, 0, 50, 1);
	rig_end(rig.region);
}

static uintptr_t guard_at_exit = ~(uintptr_t)0;
static pthread_key_t key;

static void exit_thread(void)
{
	pthread_exit(NULL);
}

static void note_guard(void *data)
{
	(void)data;
	guard_at_exit = GUARD();
}

static void *leave_inside_valloc(void *data)
{
	pthread_setspecific(key, data);
	call_valloc(data);
	return NULL;
}

CMR_TEST(a_thread_may_end_inside_a_wrapper)
{
	pthread_t thread;
	struct rig rig;

	SKIP_UNDER_SANITIZER();
	rig = rig_of(CMR_BASIS_REQUESTED);
	pthread_key_create(&key, note_guard);
	atomic_store(&instead_of_valloc, exit_thread);
	CHECK_EQ_I64(rig.c->pthread_create(&thread, NULL, leave_inside_valloc, &rig), 0);
	CHECK_EQ_I64(pthread_join(thread, NULL), 0);
	CHECK_EQ_U64(guard_at_exit, 0);
	rig_end(rig.region);
}

/* --- stack -------------------------------------------------------------------------------------- */

#define PAINTED 16384
#define PAINT 0xa5

/* About where the frame of a function called from here begins. */
__attribute__((noinline)) static volatile unsigned char *next_frame(void)
{
	volatile unsigned char *frame = __builtin_frame_address(0);

	__asm__ volatile("" : "+r"(frame));
	return frame;
}

/* Bytes of stack that OPERATION touches below this frame. */
__attribute__((noinline)) static size_t depth_of(void (*operation)(struct rig *), struct rig *rig)
{
	volatile unsigned char *base = next_frame();
	size_t depth = PAINTED;

	for (size_t i = 1; i <= PAINTED; i++)
		base[-(ptrdiff_t)i] = PAINT;
	operation(rig);
	while (depth > 0 && base[-(ptrdiff_t)depth] == PAINT)
		depth--;
	return depth;
}

static void *stack_block, *stack_map;

static void get_small(struct rig *rig)
{
	stack_block = rig->c->malloc(100);
}
static void put_block(struct rig *rig)
{
	rig->c->free(stack_block);
}
static void get_large(struct rig *rig)
{
	stack_block = rig->c->calloc(1000, 5);
}
static void resize(struct rig *rig)
{
	stack_block = rig->c->realloc(stack_block, 20000);
}
static void get_map(struct rig *rig)
{
	stack_map = rig->c->mmap(NULL, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
				 -1, 0);
}
static void protect(struct rig *rig)
{
	rig->c->mprotect(stack_map, 4096, PROT_READ);
}
static void move_map(struct rig *rig)
{
	stack_map = rig->c->mremap4(stack_map, 65536, 131072, MREMAP_MAYMOVE);
}
static void put_map(struct rig *rig)
{
	rig->c->munmap(stack_map, 131072);
}

/* What an event may need: signal stacks can be small. Intervals take a little more than blocks, and
 * everything does when compiled without optimisation. */
#ifdef __OPTIMIZE__
#define MOST_STACK 512
#else
#define MOST_STACK 1024
#endif
#define MOST_STACK_OF_MAPS (MOST_STACK + 128)

static const struct {
	const char *name;
	void (*run)(struct rig *);
	size_t most;
} operations[] = {
	{ "malloc", get_small, MOST_STACK },	 { "free", put_block, MOST_STACK },
	{ "calloc", get_large, MOST_STACK },	 { "realloc", resize, MOST_STACK },
	{ "free large", put_block, MOST_STACK }, { "mmap", get_map, MOST_STACK_OF_MAPS },
	{ "mprotect", protect, MOST_STACK },	 { "mremap", move_map, MOST_STACK },
	{ "munmap", put_map, MOST_STACK },
};
#define N_OPERATIONS (sizeof operations / sizeof *operations)

/* Stack that an event needs beyond what the original takes by itself. */
CMR_TEST(an_event_needs_little_stack)
{
	size_t plain[N_OPERATIONS];
	struct rig rig;

	SKIP_UNDER_SANITIZER();
	rig = rig_of(CMR_BASIS_REQUESTED);
	cmr_session_stop(rig.region);
	for (size_t i = 0; i < N_OPERATIONS; i++)
		plain[i] = depth_of(operations[i].run, &rig);
	cmr_region_free(rig.region);
	rig.region = rig_start(CMR_BASIS_REQUESTED);
	for (size_t i = 0; i < N_OPERATIONS; i++) /* tables are made on the way */
		operations[i].run(&rig);
	for (size_t i = 0; i < N_OPERATIONS; i++) {
		size_t depth = depth_of(operations[i].run, &rig);

		if (!CHECK(depth < plain[i] + operations[i].most))
			cmr_test_print("    %s: %zu, plain %zu\n", operations[i].name, depth,
				       plain[i]);
	}
	rig_end(rig.region);
}

/* --- memory protection that cannot be changed --------------------------------------------------- */

/* Last here: every later region of this process is incomplete. */
CMR_TEST(an_object_whose_pages_cannot_be_opened_is_a_loss)
{
	struct cmr_hook_report report;
	struct cmr_losses before, after;
	struct cmr_error error;
	const struct calls *c;

	SKIP_UNDER_SANITIZER();
	CHECK_EQ_I64(cmr_hooks_refresh(&report, &error), CMR_OK);
	CHECK_EQ_U64(report.failed, 0);
	c = rig_calls(FIXTURE("calls_noplt"));
	cmr_losses_read(&before);
	atomic_store(&mprotect_refused, true);
	CHECK_EQ_I64(cmr_hooks_refresh(&report, &error), CMR_OK);
	atomic_store(&mprotect_refused, false);
	cmr_losses_read(&after);
	CHECK_EQ_U64(report.failed, 1);
	CHECK_EQ_U64(after.hooks - before.hooks, 1);
	c->free(c->malloc(1)); /* the host goes on */
	CHECK_EQ_I64(cmr_hooks_refresh(&report, &error), CMR_OK);
	CHECK_EQ_U64(report.failed, 1); /* and it is not tried again and again */
}
