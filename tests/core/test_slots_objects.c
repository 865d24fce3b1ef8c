/* Objects with allocators of their own, objects that come and go, C++, other allocators preloaded. */
#include <link.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "hook/table.h"
#include "hook_rig.h"

typedef void *(*get_function)(size_t);
typedef void (*put_function)(void *);
typedef int (*owns_function)(const void *);

static struct rig rig_of(enum cmr_basis basis)
{
	struct rig rig = { .variant = "calls_now", .basis = basis };

	rig.c = rig_calls(FIXTURE("calls_now"));
	rig.region = rig_start(basis);
	return rig;
}

static void refresh(void)
{
	struct cmr_error error;

	CHECK_EQ_I64(cmr_hooks_refresh(NULL, &error), CMR_OK);
}

/* --- allocators of their own -------------------------------------------------------------------- */

/* FILE, opened with MODE, must go on with its own malloc and free. */
static void keeps_its_own(const char *file, int mode)
{
	struct rig rig = rig_of(CMR_BASIS_REQUESTED);
	void *object = rig_open(file, mode), *block;
	get_function get;
	put_function put;
	owns_function owns;

	RIG_FUNCTION(object, get, "own_get");
	RIG_FUNCTION(object, put, "own_put");
	RIG_FUNCTION(object, owns, "own_owns");
	refresh();
	block = get(100);
	CHECK(owns(block));
	put(block);
	UNCHANGED((&rig));
	rig_end(rig.region);
	dlclose(object);
}

CMR_TEST(a_deeply_bound_object_keeps_its_own_malloc)
{
	if (UNDER_SANITIZER)
		CMR_TEST_SKIP("sanitizers refuse RTLD_DEEPBIND");
	keeps_its_own(FIXTURE("own_malloc"), RTLD_NOW | RTLD_DEEPBIND);
}

CMR_TEST(a_lazy_deeply_bound_object_keeps_its_own_malloc)
{
	if (UNDER_SANITIZER)
		CMR_TEST_SKIP("sanitizers refuse RTLD_DEEPBIND");
	keeps_its_own(FIXTURE("own_malloc_lazy"), RTLD_LAZY | RTLD_DEEPBIND);
}

/* Its malloc is that of a library that it needs. */
static void keeps_that_of_its_library(const char *file, int mode)
{
	struct rig rig = rig_of(CMR_BASIS_REQUESTED);
	void *object = rig_open(file, mode), *block;
	get_function get;
	put_function put;
	owns_function owns;

	RIG_FUNCTION(object, get, "client_get");
	RIG_FUNCTION(object, put, "client_put");
	RIG_FUNCTION(object, owns, "own_owns");
	refresh();
	block = get(100);
	CHECK(owns(block));
	put(block);
	UNCHANGED((&rig));
	rig_end(rig.region);
	dlclose(object);
}

CMR_TEST(a_deeply_bound_object_keeps_the_malloc_of_its_library)
{
	if (UNDER_SANITIZER)
		CMR_TEST_SKIP("sanitizers refuse RTLD_DEEPBIND");
	keeps_that_of_its_library(FIXTURE("client_now"), RTLD_NOW | RTLD_DEEPBIND);
}

CMR_TEST(a_lazy_deeply_bound_object_keeps_the_malloc_of_its_library)
{
	if (UNDER_SANITIZER)
		CMR_TEST_SKIP("sanitizers refuse RTLD_DEEPBIND");
	keeps_that_of_its_library(FIXTURE("client_lazy"), RTLD_LAZY | RTLD_DEEPBIND);
}

struct seen {
	unsigned own, jemalloc, stripped, mimalloc, inside, others;
};

static void on_allocator(const char *file, const char *allocator, void *data)
{
	struct seen *seen = data;

	if (strstr(file, "own_malloc") != NULL)
		seen->own += strcmp(allocator, "own malloc") == 0;
	else if (strstr(file, "hidden_jemalloc") != NULL)
		seen->jemalloc += strcmp(allocator, "jemalloc") == 0;
	else if (strstr(file, "stripped_jemalloc") != NULL)
		seen->stripped += strcmp(allocator, "jemalloc") == 0;
	else if (strstr(file, "shown_mimalloc") != NULL)
		seen->mimalloc += strcmp(allocator, "mimalloc") == 0;
	else if (strstr(file, "inner_malloc") != NULL)
		seen->inside += strcmp(allocator, "own malloc") == 0;
	else if (!UNDER_SANITIZER) {
		seen->others++;
		cmr_test_print("%s: %s\n", file, allocator);
	}
}

CMR_TEST(private_allocators_are_named)
{
	struct seen seen = { 0, 0, 0, 0, 0, 0 };
	void *objects[5];

	refresh();
	cmr_hooks_private_allocators(on_allocator, &seen);
	CHECK_EQ_U64(seen.own + seen.jemalloc + seen.mimalloc + seen.inside + seen.others, 0);
	objects[0] = rig_open(FIXTURE("own_malloc"), RTLD_NOW | RTLD_LOCAL);
	objects[1] = rig_open(FIXTURE("hidden_jemalloc"), RTLD_NOW | RTLD_LOCAL);
	objects[2] = rig_open(FIXTURE("shown_mimalloc"), RTLD_NOW | RTLD_LOCAL);
	objects[3] = rig_open(FIXTURE("stripped_jemalloc"), RTLD_NOW | RTLD_LOCAL);
	objects[4] = rig_open(FIXTURE("inner_malloc"), RTLD_NOW | RTLD_LOCAL);
	cmr_hooks_private_allocators(on_allocator, &seen);
	CHECK_EQ_U64(seen.own, 1);
	CHECK_EQ_U64(seen.inside, 1);
	CHECK_EQ_U64(seen.jemalloc, 1);
	CHECK_EQ_U64(seen.mimalloc, 1);
	CHECK_EQ_U64(seen.stripped, 1);
	CHECK_EQ_U64(seen.others, 0);
	for (int i = 0; i < 5; i++)
		dlclose(objects[i]);
}

/* A library in a file of its own, to be taken away from under it. */
struct copy {
	char folder[64], file[96];
};

static struct copy copy_of(const char *file)
{
	struct copy copy = { "/tmp/cmr-copy-XXXXXX", "" };
	char buffer[65536];
	int from = open(file, O_RDONLY | O_CLOEXEC), to;
	ssize_t n;

	REQUIRE(mkdtemp(copy.folder) != NULL);
	snprintf(copy.file, sizeof copy.file, "%s/copied.so", copy.folder);
	to = open(copy.file, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	REQUIRE(from >= 0 && to >= 0);
	while ((n = read(from, buffer, sizeof buffer)) > 0)
		REQUIRE(write(to, buffer, (size_t)n) == n);
	close(from);
	close(to);
	return copy;
}

static void remove_copy(const struct copy *copy)
{
	(void)unlink(copy->file);
	CHECK_EQ_I64(rmdir(copy->folder), 0);
}

struct said {
	char of_copy[64];
	unsigned n;
};

static void on_copy(const char *file, const char *allocator, void *data)
{
	struct said *said = data;

	if (strstr(file, "copied.so") == NULL)
		return;
	strncpy(said->of_copy, allocator, sizeof said->of_copy - 1);
	said->n++;
}

/* The one thing that is said of COPY, which is loaded. */
static void is_said_of(const char *what)
{
	struct said said = { "", 0 };

	cmr_hooks_private_allocators(on_copy, &said);
	CHECK_EQ_U64(said.n, 1);
	CHECK_EQ_STR(said.of_copy, what);
}

CMR_TEST(a_file_that_has_gone_was_not_examined)
{
	struct copy copy = copy_of(FIXTURE("hidden_jemalloc"));
	void *object = rig_open(copy.file, RTLD_NOW | RTLD_LOCAL);

	refresh();
	is_said_of("jemalloc");
	remove_copy(&copy);
	is_said_of("unreadable");
	dlclose(object);
}

CMR_TEST(what_the_dynamic_symbols_tell_needs_no_file)
{
	struct copy copy = copy_of(FIXTURE("shown_mimalloc"));
	void *object = rig_open(copy.file, RTLD_NOW | RTLD_LOCAL);

	refresh();
	remove_copy(&copy);
	is_said_of("mimalloc");
	dlclose(object);
}

CMR_TEST(a_name_that_led_from_another_folder_was_not_examined)
{
	struct copy copy = copy_of(FIXTURE("hidden_jemalloc"));
	void *object;

	refresh();
	REQUIRE(chdir(copy.folder) == 0);
	object = rig_open("./copied.so", RTLD_NOW | RTLD_LOCAL);
	is_said_of("jemalloc");
	REQUIRE(chdir("/") == 0);
	is_said_of("unreadable");
	dlclose(object);
	remove_copy(&copy);
}

/* Gives FILE a table of names of BYTES at its end; the names in it are all "". */
static void lengthen_names(const char *file, off_t bytes)
{
	int fd = open(file, O_RDWR | O_CLOEXEC);
	ElfW(Ehdr) header;
	ElfW(Shdr) section;
	off_t end = lseek(fd, 0, SEEK_END);

	REQUIRE(fd >= 0 && pread(fd, &header, sizeof header, 0) == sizeof header);
	for (unsigned i = 0; i < header.e_shnum; i++) {
		off_t at = (off_t)(header.e_shoff + i * sizeof section), of_names;

		REQUIRE(pread(fd, &section, sizeof section, at) == sizeof section);
		if (section.sh_type != SHT_SYMTAB)
			continue;
		of_names = (off_t)(header.e_shoff + section.sh_link * sizeof section);
		REQUIRE(pread(fd, &section, sizeof section, of_names) == sizeof section);
		section.sh_offset = (ElfW(Off))end;
		section.sh_size = (ElfW(Xword))bytes;
		REQUIRE(pwrite(fd, &section, sizeof section, of_names) == sizeof section);
	}
	REQUIRE(ftruncate(fd, end + bytes) == 0);
	close(fd);
}

CMR_TEST(a_file_with_very_many_symbols_was_not_examined)
{
	struct copy copy = copy_of(FIXTURE("hidden_jemalloc"));
	void *object;

	lengthen_names(copy.file, (off_t)129 << 20); /* takes no room on the disk */
	object = rig_open(copy.file, RTLD_NOW | RTLD_LOCAL);
	refresh();
	is_said_of("too large");
	dlclose(object);
	remove_copy(&copy);
}

CMR_TEST(every_object_is_looked_at_however_many_there_are)
{
	enum { MANY = 1100 };
	static void *objects[MANY];
	struct said said = { "", 0 };

	refresh();
	for (int i = 0; i < MANY; i++) { /* links to one file would be one object */
		struct copy copy = copy_of(FIXTURE("shown_mimalloc"));

		objects[i] = rig_open(copy.file, RTLD_NOW | RTLD_LOCAL);
		remove_copy(&copy);
	}
	cmr_hooks_private_allocators(on_copy, &said);
	CHECK_EQ_U64(said.n, MANY);
	CHECK_EQ_STR(said.of_copy, "mimalloc");
	for (int i = 0; i < MANY; i++)
		dlclose(objects[i]);
}

/* --- pointers that were looked up --------------------------------------------------------------- */

struct lookups {
	unsigned valloc, others;
	char file[4096];
};

static void on_lookup(const char *file, const char *function, void *data)
{
	struct lookups *lookups = data;

	if (strcmp(function, "valloc") != 0) {
		lookups->others++;
		return;
	}
	lookups->valloc++;
	strncpy(lookups->file, file, sizeof lookups->file - 1);
}

CMR_TEST(a_lookup_of_an_intercepted_function_is_told_with_its_caller)
{
	struct rig rig = rig_of(CMR_BASIS_REQUESTED);
	struct lookups lookups = { .file = "" };
	void *(*by_pointer)(size_t);
	void *found, *block;

	cmr_hooks_lookups(on_lookup, &lookups);
	CHECK_EQ_U64(lookups.valloc + lookups.others, 0);
	(void)rig.c->dlsym(RTLD_DEFAULT, "getpid");
	(void)rig.c->dlsym(RTLD_DEFAULT, "pthread_create");
	found = rig.c->dlsym(RTLD_DEFAULT, "valloc");
	CHECK_EQ_PTR(rig.c->dlsym(RTLD_DEFAULT, "valloc"), found);
	memcpy(&by_pointer, &found, sizeof found);
	block = by_pointer(100);
	CHECK(block != NULL);
	UNCHANGED((&rig)); /* that is the gap */
	rig.c->free(block);
	cmr_hooks_lookups(on_lookup, &lookups);
	CHECK_EQ_U64(lookups.valloc, 1);
	CHECK_EQ_U64(lookups.others, 0);
	CHECK(strstr(lookups.file, "calls_now") != NULL);
	rig_end(rig.region);
}

/* --- objects that come late --------------------------------------------------------------------- */

static void late_object(const char *file, const struct calls *opener, bool by_dlvsym)
{
	struct rig rig = rig_of(CMR_BASIS_REQUESTED);
	void *object = opener->dlopen(file, RTLD_NOW | RTLD_LOCAL), *block, *found;
	void *(*get)(void);
	put_function put;

	REQUIRE(object != NULL);
	CHECK((cmr_tls.guard & CMR_GUARD_RESCAN) != 0);
	/* Nothing is allocated between dlopen and this call; the new object is entered here. */
	found = by_dlvsym ? opener->dlvsym(object, "late_get", "NONE")
			  : opener->dlsym(object, "late_get");
	CHECK_EQ_U64(GUARD(), 0);
	CHECK(by_dlvsym || found != NULL);
	RIG_FUNCTION(object, get, "late_get");
	RIG_FUNCTION(object, put, "late_put");
	cmr_region_totals(rig.region, &rig.last);
	block = get();
	CHANGED((&rig), 1000, 1, 1000, 1);
	put(block);
	CHANGED((&rig), -1000, -1, 0, 0);
	rig_end(rig.region);
	dlclose(object);
}

CMR_TEST(an_object_opened_late_is_patched_before_it_is_entered)
{
	refresh();
	late_object(FIXTURE("late"), rig_calls(FIXTURE("calls_lazy")), false);
}

CMR_TEST(dlvsym_is_an_entrance_too)
{
	refresh();
	late_object(FIXTURE("late"), rig_calls(FIXTURE("calls_lazy")), true);
}

CMR_TEST(the_next_event_of_the_thread_patches_what_it_opened)
{
	struct rig rig = rig_of(CMR_BASIS_REQUESTED);
	void *object = rig.c->dlmopen(FIXTURE("late"), RTLD_NOW | RTLD_LOCAL), *block;
	void *(*get)(void);

	REQUIRE(object != NULL);
	CHECK((cmr_tls.guard & CMR_GUARD_RESCAN) != 0);
	RIG_FUNCTION(object, get, "late_get"); /* by this object, which is not patched */
	MARK_ERRNO();
	rig.c->free(rig.c->malloc(1));
	ERRNO_KEPT();
	CHECK_EQ_U64(GUARD(), CMR_GUARD_RESCAN - 2 * CMR_GUARD_RESCAN_ONE);
	cmr_region_totals(rig.region, &rig.last);
	block = get();
	CHANGED((&rig), 1000, 1, 1000, 1);
	rig.c->free(block);
	rig_end(rig.region);
	dlclose(object);
}

/* The loader finds these by the RUNPATH of the caller only. */
CMR_TEST(tail_jumps_leave_the_caller_in_place)
{
	struct rig rig;
	void *(*open_by_name)(const char *);
	void *object;

	if (UNDER_SANITIZER)
		CMR_TEST_SKIP("the sanitizer's dlopen stands between caller and loader");
	rig = rig_of(CMR_BASIS_REQUESTED);
	object = rig_open(FIXTURE("opener"), RTLD_NOW);
	RIG_FUNCTION(object, open_by_name, "opener_open");
	refresh();
	CHECK(open_by_name("found_by_runpath.so") != NULL);
	CHECK(dlopen("found_by_runpath.so", RTLD_NOW | RTLD_NOLOAD) != NULL);
	RIG_FUNCTION(object, open_by_name, "opener_open_in_namespace");
	CHECK(open_by_name("found_by_runpath.so") != NULL);
	CHECK(open_by_name("no_such_object.so") == NULL);
	CHECK(dlerror() != NULL);
	rig_end(rig.region);
}

/* RTLD_NEXT is the definition after the caller, wherever that is in the order of objects. */
CMR_TEST(dlsym_of_the_next_definition_starts_at_its_caller)
{
	void *object = rig_open(FIXTURE("opener"), RTLD_NOW);
	void *(*next)(const char *);
	void *plain;

	RIG_FUNCTION(object, next, "opener_next");
	plain = next("malloc");
	refresh();
	CHECK_EQ_PTR(next("malloc"), plain);
	cmr_tls.guard |= CMR_GUARD_RESCAN;
	CHECK_EQ_PTR(next("malloc"), plain);
	cmr_tls.guard &= ~CMR_GUARD_RESCAN;
}

/* --- objects that go ---------------------------------------------------------------------------- */

static uintptr_t base_of(void *object)
{
	struct link_map *map = NULL;

	CHECK_EQ_I64(dlinfo(object, RTLD_DI_LINKMAP, &map), 0);
	return map->l_addr;
}

static uintptr_t counts(struct rig *rig, const char *file, int64_t bytes)
{
	void *object = rig_open(file, RTLD_NOW | RTLD_LOCAL), *block;
	uintptr_t base = base_of(object);
	void *(*get)(void);
	put_function put;

	refresh();
	RIG_FUNCTION(object, get, "late_get");
	RIG_FUNCTION(object, put, "late_put");
	cmr_region_totals(rig->region, &rig->last);
	block = get();
	CHANGED(rig, bytes, 1, bytes, 1);
	put(block);
	CHECK_EQ_I64(dlclose(object), 0);
	return base;
}

CMR_TEST(another_object_at_the_same_address_is_noticed)
{
	struct rig rig = rig_of(CMR_BASIS_REQUESTED);
	unsigned same = 0;

	for (int i = 0; i < 5; i++) {
		uintptr_t late = counts(&rig, FIXTURE("late"), 1000);

		same += counts(&rig, FIXTURE("late"), 1000) == late;
		same += counts(&rig, FIXTURE("twin"), 2000) == late;
	}
	rig_end(rig.region);
	if (same == 0)
		CMR_TEST_SKIP("the kernel never gave the same address again");
}

CMR_TEST(unloaded_objects_are_forgotten)
{
	struct cmr_hook_report before, during, after;
	struct cmr_error error;
	void *object;

	refresh();
	dlclose(rig_open(FIXTURE("twin"), RTLD_NOW));
	CHECK_EQ_I64(cmr_hooks_refresh(&before, &error), CMR_OK);
	object = rig_open(FIXTURE("late"), RTLD_NOW);
	CHECK_EQ_I64(cmr_hooks_refresh(&during, &error), CMR_OK);
	CHECK_EQ_U64(during.objects, before.objects + 1);
	dlclose(object);
	CHECK_EQ_I64(cmr_hooks_refresh(&after, &error), CMR_OK);
	object = rig_open(FIXTURE("twin"), RTLD_NOW); /* a pass drops what the one before missed */
	CHECK_EQ_I64(cmr_hooks_refresh(&after, &error), CMR_OK);
	CHECK_EQ_U64(after.objects, before.objects + 1);
	dlclose(object);
}

/* --- C++ ---------------------------------------------------------------------------------------- */

CMR_TEST(new_and_delete_are_seen_inside_the_cxx_library)
{
	struct rig rig;
	void *object = dlopen(FIXTURE("cxx"), RTLD_NOW), *block;
	get_function get;
	put_function put;
	int (*too_much)(void);

	if (object == NULL)
		CMR_TEST_SKIP("no C++ compiler when this was built");
	if (UNDER_SANITIZER)
		CMR_TEST_SKIP("a sanitizer has its own operator new");
	rig = rig_of(CMR_BASIS_SYSTEM);
	RIG_FUNCTION(object, get, "cxx_new");
	RIG_FUNCTION(object, put, "cxx_delete");
	block = get(123);
	CHANGED((&rig), 123, 1, 123, 1);
	CHECK_EQ_I64(rig_live(&rig, CMR_KIND_MALLOC), 123);
	put(block);
	CHANGED((&rig), -123, -1, 0, 0);
	RIG_FUNCTION(object, get, "cxx_new_aligned");
	RIG_FUNCTION(object, put, "cxx_delete_aligned");
	block = get(512);
	CHANGED((&rig), 512, 1, 512, 1);
	put(block);
	CHANGED((&rig), -512, -1, 0, 0);
	RIG_FUNCTION(object, too_much, "cxx_new_too_much");
	CHECK_EQ_I64(too_much(), 1);
	CHECK_EQ_U64(GUARD(), 0);
	rig_end(rig.region);
}

/* Each form of new with each form of delete that may follow it. */
CMR_TEST(every_form_of_new_and_delete_is_seen)
{
	void *object = dlopen(FIXTURE("cxx"), RTLD_NOW), *block;
	void (*put)(int, void *, size_t);
	void *(*get)(int, size_t);
	struct rig rig;

	if (object == NULL)
		CMR_TEST_SKIP("no C++ compiler when this was built");
	if (UNDER_SANITIZER)
		CMR_TEST_SKIP("a sanitizer has its own operator new");
	rig = rig_of(CMR_BASIS_REQUESTED);
	RIG_FUNCTION(object, get, "cxx_new_as");
	RIG_FUNCTION(object, put, "cxx_delete_as");
	for (int aligned = 0; aligned < 2; aligned++)
		for (int how = 0; how < 6; how++) {
			block = get(4 * aligned + how % 4, 640);
			CHANGED((&rig), 640, 1, 640, 1);
			put(6 * aligned + how, block, 640);
			CHANGED((&rig), -640, -1, 0, 0);
			put(6 * aligned + how, NULL, 640);
			UNCHANGED((&rig));
		}
	rig_end(rig.region);
}
