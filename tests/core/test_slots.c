/* Which slots are patched, when, and what their pages are like afterwards. */
#include <link.h>
#include <sys/mman.h>
#include <time.h>

#include "hook/elf_object.h"
#include "hook/page.h"
#include "hook/table.h"
#include "hook_rig.h"
#include "os/losses.h"

static struct cmr_hook_report refresh(void)
{
	struct cmr_hook_report report = { 0, 0, 0 };
	struct cmr_error error;

	CHECK_EQ_I64(cmr_hooks_refresh(&report, &error), CMR_OK);
	return report;
}

/* --- one object's slot, found by the same tables as the hooks do -------------------------------- */

struct wanted {
	const char *file, *name;
	uintptr_t slot, relro_start, relro_end;
};

static void look(struct wanted *wanted, const struct cmr_elf *elf, const ElfW(Rela) *table, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const ElfW(Sym) *symbol = &elf->symbols[ELF64_R_SYM(table[i].r_info)];

		if (strcmp(elf->strings + symbol->st_name, wanted->name) == 0)
			wanted->slot = elf->base + table[i].r_offset;
	}
}

static int find_object(struct dl_phdr_info *info, size_t size, void *data)
{
	struct wanted *wanted = data;
	struct cmr_elf elf;

	(void)size;
	if (strcmp(info->dlpi_name, wanted->file) != 0 || !cmr_elf_read(&elf, info))
		return 0;
	look(wanted, &elf, elf.rela, elf.n_rela);
	look(wanted, &elf, elf.plt, elf.n_plt);
	wanted->relro_start = elf.relro_start;
	wanted->relro_end = elf.relro_end;
	return 1;
}

/* The slot of FILE for NAME, if it has one. */
static struct wanted find_any(const char *file, const char *name)
{
	struct wanted wanted = { .file = file, .name = name };

	dl_iterate_phdr(find_object, &wanted);
	return wanted;
}

static struct wanted find(const char *file, const char *name)
{
	struct wanted wanted = find_any(file, name);

	REQUIRE(wanted.slot != 0);
	return wanted;
}

static uintptr_t slot_of(const char *file, const char *name)
{
	return find(file, name).slot;
}

/* Changes the pages that the loader of FILE made read-only. */
static void protect_relro(const struct wanted *wanted, int prot)
{
	REQUIRE(mprotect((void *)wanted->relro_start, wanted->relro_end - wanted->relro_start,
			 prot) == 0);
}

static uintptr_t value_at(uintptr_t slot)
{
	return *(volatile uintptr_t *)slot;
}

static uint64_t n_replaced(void)
{
	struct cmr_losses losses;

	cmr_losses_read(&losses);
	return losses.replaced;
}

/* --- tests -------------------------------------------------------------------------------------- */

CMR_TEST(a_second_refresh_finds_nothing_to_do)
{
	struct cmr_hook_report first = refresh(), second = refresh();

	CHECK(first.objects >= 1); /* libc */
	CHECK(first.slots >= 2);
	CHECK_EQ_U64(first.failed, 0);
	CHECK_EQ_U64(second.objects, first.objects);
	CHECK_EQ_U64(second.slots, first.slots);
	CHECK_EQ_U64(second.failed, 0);
}

CMR_TEST(a_refresh_leaves_guard_and_errno_as_they_were)
{
	MARK_ERRNO();
	(void)rig_calls(FIXTURE("calls_now"));
	MARK_ERRNO();
	cmr_gate_enter(CMR_GUARD(CMR_PLANE_SYSTEM));
	refresh();
	CHECK_EQ_U64(GUARD(), CMR_GUARD(CMR_PLANE_SYSTEM));
	cmr_gate_leave(CMR_GUARD(CMR_PLANE_SYSTEM));
	ERRNO_KEPT();
	CHECK(dlerror() == NULL);
}

CMR_TEST(originals_are_those_of_the_whole_process)
{
	refresh();
	CHECK_EQ_PTR((uintptr_t)cmr_original.malloc, dlsym(RTLD_DEFAULT, "malloc"));
	CHECK_EQ_PTR((uintptr_t)cmr_original.munmap, dlsym(RTLD_DEFAULT, "munmap"));
	CHECK_EQ_PTR(cmr_tail_dlopen, dlsym(RTLD_DEFAULT, "dlopen"));
	CHECK_EQ_PTR((uintptr_t)cmr_original.free_sized, dlsym(RTLD_DEFAULT, "free_sized"));
	CHECK(UNDER_SANITIZER || cmr_original._Znwm == NULL); /* libstdc++'s calls malloc */
}

CMR_TEST(every_hook_has_a_wrapper_and_is_found_by_its_name)
{
	refresh();
	for (int i = 0; i < CMR_N_HOOKS; i++) {
		CHECK(cmr_hook_table[i].wrapper != 0);
		CHECK_EQ_I64(cmr_hook_find(cmr_hook_table[i].name),
			     cmr_hook_table[i].original != 0 ? i : CMR_N_HOOKS);
	}
	CHECK_EQ_I64(cmr_hook_find("mallo"), CMR_N_HOOKS);
	CHECK_EQ_I64(cmr_hook_find("malloc2"), CMR_N_HOOKS);
	CHECK_EQ_I64(cmr_hook_find(""), CMR_N_HOOKS);
}

CMR_TEST(every_kind_of_slot_is_patched)
{
	for (const char *const *file = rig_variants; *file != NULL; file++) {
		const char *name = strstr(*file, "pointers") != NULL ? "calloc" : "malloc";
		uintptr_t slot;

		(void)rig_calls(*file);
		slot = slot_of(*file, name);
		refresh();
		if (!CHECK_EQ_PTR(value_at(slot), cmr_hook_table[cmr_hook_find(name)].wrapper))
			cmr_test_print("    in %s\n", *file);
	}
}

CMR_TEST(read_only_pages_are_read_only_again)
{
	void *object = rig_open(FIXTURE("twin"), RTLD_NOW);
	struct wanted malloc_slot = find(FIXTURE("twin"), "malloc");

	CHECK(!cmr_page_is_writable(malloc_slot.slot));
	refresh();
	CHECK_EQ_PTR(value_at(malloc_slot.slot), cmr_hook_table[CMR_HOOK_malloc].wrapper);
	CHECK(!cmr_page_is_writable(malloc_slot.slot));
	CHECK(!cmr_page_is_writable(malloc_slot.relro_start));
	dlclose(object);
}

CMR_TEST(whether_a_page_is_writable_is_told_without_changing_it)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint64_t *memory = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	REQUIRE(memory != MAP_FAILED);
	memory[0] = 0x123456789abcdef0;
	CHECK(cmr_page_is_writable((uintptr_t)memory));
	CHECK_EQ_U64(memory[0], 0x123456789abcdef0);
	CHECK_EQ_I64(mprotect(memory, page, PROT_READ), 0);
	CHECK(!cmr_page_is_writable((uintptr_t)memory));
	CHECK(cmr_page_is_writable((uintptr_t)memory + page));
	CHECK_EQ_I64(munmap(memory, 2 * page), 0);
	CHECK(!cmr_page_is_writable((uintptr_t)memory));
}

/* A library's malloc pointer that the program has set to a function of its own. */
static void *own_function(size_t size)
{
	(void)size;
	return NULL;
}

CMR_TEST(a_pointer_that_the_program_changed_is_left_alone)
{
	void *object = rig_open(FIXTURE("calls_pointers"), RTLD_NOW);
	void *(*volatile *pointer)(size_t) = rig_symbol(object, "calls_p_malloc");
	uint64_t before = n_replaced();

	*pointer = own_function;
	refresh();
	CHECK(*pointer == own_function);
	CHECK_EQ_PTR(value_at(slot_of(FIXTURE("calls_pointers"), "realloc")),
		     cmr_hook_table[CMR_HOOK_realloc].wrapper);
	*pointer = (void *(*)(size_t))cmr_hook_table[CMR_HOOK_malloc].original;
	refresh();
	*pointer = own_function; /* whatever it was before */
	refresh();
	CHECK(*pointer == own_function);
	CHECK_EQ_U64(n_replaced(), before); /* nobody else's doing */
}

/* --- other tools that patch slots --------------------------------------------------------------- */

static void put_into(uintptr_t slot, uintptr_t value)
{
	*(volatile uintptr_t *)slot = value;
}

/* The slot for malloc of a library that has called it, so that its loader leaves it alone. */
static uintptr_t bound_slot(void)
{
	const struct calls *c = rig_calls(FIXTURE("calls_lazy"));

	c->free(c->malloc(1));
	return slot_of(FIXTURE("calls_lazy"), "malloc");
}

static uint64_t replaced_in(const struct cmr_region *region)
{
	struct cmr_totals totals;

	cmr_region_totals(region, &totals);
	return totals.losses.replaced;
}

CMR_TEST(another_tools_function_stays_and_is_a_loss_of_all_regions_until_the_tool_leaves)
{
	uintptr_t slot = bound_slot(), original;
	uint64_t before = n_replaced();
	struct cmr_region *during, *next, *after;

	refresh();
	original = cmr_hook_table[CMR_HOOK_malloc].original;
	put_into(slot, (uintptr_t)own_function);
	during = rig_start(CMR_BASIS_REQUESTED);
	CHECK(value_at(slot) == (uintptr_t)own_function);
	next = rig_start(CMR_BASIS_REQUESTED);
	cmr_session_check();
	CHECK_EQ_U64(n_replaced() - before, 1); /* once */
	CHECK_EQ_U64(replaced_in(during), 1);
	CHECK_EQ_U64(replaced_in(next), 1);
	put_into(slot, original); /* it leaves */
	after = rig_start(CMR_BASIS_REQUESTED);
	CHECK_EQ_PTR(value_at(slot), cmr_hook_table[CMR_HOOK_malloc].wrapper);
	CHECK_EQ_U64(replaced_in(during), 1);
	CHECK_EQ_U64(replaced_in(next), 1);
	rig_end(after);
	cmr_session_free(next);
	cmr_session_free(during);
}

CMR_TEST(a_tool_that_came_and_went_is_a_loss_of_what_ran_meanwhile)
{
	uintptr_t slot = bound_slot();
	struct cmr_region *region = rig_start(CMR_BASIS_REQUESTED);

	CHECK_EQ_PTR(value_at(slot), cmr_hook_table[CMR_HOOK_malloc].wrapper);
	put_into(slot, (uintptr_t)own_function);
	put_into(slot, cmr_hook_table[CMR_HOOK_malloc].original);
	cmr_session_check();
	CHECK_EQ_PTR(value_at(slot), cmr_hook_table[CMR_HOOK_malloc].wrapper);
	CHECK_EQ_U64(replaced_in(region), 1);
	rig_end(rig_start(CMR_BASIS_REQUESTED));
	cmr_session_free(region);
}

/* A first call of each function may be under way while its slot is patched. */
CMR_TEST(a_loader_that_binds_late_is_no_other_tool)
{
	const char *file = FIXTURE("calls_lazy");
	uint64_t before = n_replaced();
	uintptr_t malloc_slot;

	refresh();
	(void)rig_calls(file);
	malloc_slot = slot_of(file, "malloc");
	if (value_at(malloc_slot) == cmr_hook_table[CMR_HOOK_malloc].original ||
	    value_at(malloc_slot) == cmr_hook_table[CMR_HOOK_malloc].wrapper)
		CMR_TEST_SKIP("all is bound at once here, or was by an earlier test");
	refresh();
	for (int i = 0; i < CMR_N_HOOKS; i++) {
		uintptr_t slot = find_any(file, cmr_hook_table[i].name).slot;

		if (slot != 0 && value_at(slot) == cmr_hook_table[i].wrapper)
			put_into(slot, cmr_hook_table[i].original);
	}
	refresh();
	CHECK_EQ_PTR(value_at(malloc_slot), cmr_hook_table[CMR_HOOK_malloc].wrapper);
	CHECK_EQ_U64(n_replaced(), before);
}

/* An object can be met while its loader is still at work on it; its pages are writable then. */
CMR_TEST(an_object_that_is_being_loaded_is_left_for_the_next_time)
{
	struct cmr_region *region = rig_start(CMR_BASIS_REQUESTED);
	struct cmr_hook_report before = refresh(), after;
	uintptr_t wrapper = cmr_hook_table[CMR_HOOK_malloc].wrapper;
	void *object = rig_open(FIXTURE("twin"), RTLD_NOW);
	struct wanted malloc_slot = find(FIXTURE("twin"), "malloc");

	protect_relro(&malloc_slot, PROT_READ | PROT_WRITE);
	cmr_tls.guard |= CMR_GUARD_RESCAN;
	cmr_hooks_catch_up_if_marked();
	CHECK_EQ_U64(GUARD(), CMR_GUARD_RESCAN - CMR_GUARD_RESCAN_ONE);
	CHECK(value_at(malloc_slot.slot) != wrapper);
	CHECK(cmr_page_is_writable(malloc_slot.slot));
	protect_relro(&malloc_slot, PROT_READ); /* as its loader does in the end */
	cmr_tls.guard |= CMR_GUARD_RESCAN;
	cmr_hooks_catch_up_if_marked();
	CHECK_EQ_PTR(value_at(malloc_slot.slot), wrapper);
	after = refresh();
	CHECK(after.slots > before.slots);
	CHECK_EQ_U64(after.failed, 0);
	rig_end(region);
	dlclose(object);
}

/* The loader allocates, too, before the object that it loads is anywhere to be seen. */
CMR_TEST(events_before_the_object_is_there_leave_marks_for_later)
{
	struct cmr_region *region = rig_start(CMR_BASIS_REQUESTED);
	struct wanted malloc_slot;
	void *object;

	refresh();
	cmr_tls.guard |= CMR_GUARD_RESCAN; /* dlopen begins */
	for (int i = 0; i < 4; i++)
		cmr_hooks_catch_up_if_marked();
	object = rig_open(FIXTURE("twin"), RTLD_NOW);
	malloc_slot = find(FIXTURE("twin"), "malloc");
	CHECK(value_at(malloc_slot.slot) != cmr_hook_table[CMR_HOOK_malloc].wrapper);
	cmr_hooks_catch_up_if_marked();
	CHECK_EQ_PTR(value_at(malloc_slot.slot), cmr_hook_table[CMR_HOOK_malloc].wrapper);
	for (int i = 0; i < 40; i++)
		cmr_hooks_catch_up_if_marked();
	CHECK_EQ_U64(GUARD(), 0);
	rig_end(region);
	dlclose(object);
}

/* The loader's lock, held by another thread at a fork, would be held for ever in the child. */
CMR_TEST(while_a_thread_forks_nobody_looks_for_objects)
{
	struct cmr_region *region = rig_start(CMR_BASIS_REQUESTED);

	refresh();
	cmr_tls.guard |= CMR_GUARD_RESCAN;
	atomic_store(&cmr_hooks_forking, 1);
	cmr_hooks_catch_up_if_marked();
	CHECK_EQ_U64(GUARD(), CMR_GUARD_RESCAN);
	cmr_hooks_catch_up();
	CHECK_EQ_U64(GUARD(), CMR_GUARD_RESCAN);
	atomic_store(&cmr_hooks_forking, 0);
	CHECK_EQ_U64(atomic_load(&cmr_hooks_looking), 0);
	cmr_hooks_catch_up();
	CHECK_EQ_U64(GUARD(), 0);
	rig_end(region);
}

/* A refresh that waited for the loader knows that nobody will protect the page any more. */
CMR_TEST(writable_pages_stay_writable)
{
	void *object = rig_open(FIXTURE("twin"), RTLD_NOW);
	struct wanted malloc_slot = find(FIXTURE("twin"), "malloc");

	protect_relro(&malloc_slot, PROT_READ | PROT_WRITE);
	refresh();
	CHECK_EQ_PTR(value_at(malloc_slot.slot), cmr_hook_table[CMR_HOOK_malloc].wrapper);
	CHECK(cmr_page_is_writable(malloc_slot.slot));
	dlclose(object);
}

CMR_TEST(while_the_gate_is_closed_the_mark_of_dlopen_waits)
{
	refresh();
	cmr_tls.guard |= CMR_GUARD_RESCAN;
	cmr_hooks_catch_up_if_marked();
	CHECK_EQ_U64(GUARD(), CMR_GUARD_RESCAN);
	CHECK_EQ_U64(cmr_gate_planes(), 0);
	refresh();
	CHECK_EQ_U64(GUARD(), 0);
}

/* --- damaged and odd objects, as program headers made by hand ----------------------------------- */

static ElfW(Dyn) hand_made[16];
static ElfW(Sym) some_symbols[4];
static const char some_names[] = "\0malloc";

static struct dl_phdr_info object_of(ElfW(Phdr) headers[2], size_t n_entries)
{
	uintptr_t low = (uintptr_t)hand_made & ~(uintptr_t)0xffff;

	hand_made[n_entries] = (ElfW(Dyn)){ .d_tag = DT_NULL };
	headers[0] = (ElfW(Phdr)){ .p_type = PT_LOAD,
				   .p_flags = PF_R | PF_W,
				   .p_vaddr = low,
				   .p_memsz = 0x20000 };
	headers[1] = (ElfW(Phdr)){ .p_type = PT_DYNAMIC, .p_vaddr = (uintptr_t)hand_made };
	return (struct dl_phdr_info){ .dlpi_name = "hand made",
				      .dlpi_phdr = headers,
				      .dlpi_phnum = 2 };
}

static ElfW(Dyn) entry(ElfW(Sxword) tag, uintptr_t value)
{
	return (ElfW(Dyn)){ .d_tag = tag, .d_un.d_ptr = value };
}

CMR_TEST(tables_outside_of_their_object_are_not_read)
{
	static ElfW(Rela) relocations[2];
	uintptr_t low = (uintptr_t)hand_made & ~(uintptr_t)0xffff;
	ElfW(Phdr) headers[2];
	struct dl_phdr_info info;
	struct cmr_elf elf;

	hand_made[0] = entry(DT_SYMTAB, (uintptr_t)some_symbols);
	hand_made[1] = entry(DT_STRTAB, low + 16);
	hand_made[2] = entry(DT_RELA, (uintptr_t)relocations);
	hand_made[3] = entry(DT_RELASZ, sizeof relocations);
	hand_made[4] = entry(DT_RELACOUNT, 99);
	info = object_of(headers, 5);
	CHECK(cmr_elf_read(&elf, &info));
	CHECK_EQ_U64(elf.n_relative, 2);
	CHECK(cmr_elf_find(&elf, "malloc") == NULL); /* no hash table */
	hand_made[3] = entry(DT_RELASZ, 0x7fffffff);
	CHECK(!cmr_elf_read(&elf, &info));
	hand_made[3] = entry(DT_RELASZ, sizeof relocations);
	hand_made[2] = entry(DT_RELA, 64); /* nowhere near */
	CHECK(!cmr_elf_read(&elf, &info));
	hand_made[2] = entry(DT_PLTREL, DT_REL);
	hand_made[3] = entry(DT_PLTRELSZ, 48);
	CHECK(cmr_elf_read(&elf, &info));
	CHECK_EQ_U64(elf.n_plt, 0);
	hand_made[1] = entry(DT_NULL, 0);
	CHECK(!cmr_elf_read(&elf, &info)); /* no names */
	headers[1].p_type = PT_NOTE;
	CHECK(!cmr_elf_read(&elf, &info)); /* no dynamic section */
}

CMR_TEST(addresses_of_the_file_are_shifted_to_where_it_is_loaded)
{
	ElfW(Phdr) headers[2];
	uintptr_t low = (uintptr_t)hand_made & ~(uintptr_t)0xffff;
	struct dl_phdr_info info;
	struct cmr_elf elf;

	hand_made[0] = entry(DT_SYMTAB, (uintptr_t)some_symbols - low);
	hand_made[1] = entry(DT_STRTAB, (uintptr_t)some_symbols - low);
	info = object_of(headers, 2);
	info.dlpi_addr = low;
	headers[0].p_vaddr = 0;
	headers[1].p_vaddr -= low;
	CHECK(cmr_elf_read(&elf, &info));
	CHECK_EQ_PTR(elf.symbols, some_symbols);
	(void)some_names;
}

/* --- a slot that cannot be patched -------------------------------------------------------------- */

/* Last here: every later region of this process is incomplete. */
CMR_TEST(a_slot_among_constants_is_a_loss)
{
	struct cmr_hook_report before = refresh(), after;
	void *object = dlopen(FIXTURE("fixed_slot"), RTLD_NOW), *block;
	void *(*get)(size_t);

	if (object == NULL)
		CMR_TEST_SKIP("constants with addresses cannot be loaded here");
	RIG_FUNCTION(object, get, "fixed_get");
	after = refresh();
	CHECK_EQ_U64(after.failed - before.failed, 1);
	block = get(10);
	CHECK(block != NULL); /* the library goes on */
	free(block);
	CHECK_EQ_U64(refresh().failed, after.failed); /* and is not tried again */
	dlclose(object);
}
