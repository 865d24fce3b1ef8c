/* The real functions, as the whole process sees them.
 *
 * dlsym(RTLD_DEFAULT) answers with the first definition in the global scope, so an allocator that
 * was preloaded (jemalloc, libasan) is found before libc's. One answer is wrong for our purpose:
 * in a program that is not position independent it can be an entry of the program's PLT, which
 * jumps through a slot that we are about to patch. The definition is then searched in load order. */
#include "hook/table.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <string.h>

#include "hook/elf_object.h"
#include "hook/hooks.h"

struct cmr_originals cmr_original;

struct cmr_hook cmr_hook_table[CMR_N_HOOKS] = {
#define ENTRY(hook) [CMR_HOOK_##hook] = { #hook, 0, 0, 0 },
#define X(hook, type, parameters) ENTRY(hook)
#define T(hook) ENTRY(hook)
	CMR_HOOK_LIST(X, T)
#undef X
#undef T
#undef ENTRY
};

#define X(name, type, parameters)
#define T(name) __attribute__((used)) uintptr_t cmr_tail_##name;
CMR_HOOK_LIST(X, T)
#undef X
#undef T

static pthread_once_t resolved_once = PTHREAD_ONCE_INIT;

/* Bit i: hook i has an original and begins with this character. Nearly all of a program's symbols fall
 * through here. */
static uint64_t hooks_by_letter[256];
_Static_assert(CMR_N_HOOKS <= 64, "one bit per hook");

enum cmr_hook_index cmr_hook_find(const char *name)
{
	uint64_t candidates = hooks_by_letter[(unsigned char)name[0]];

	for (; candidates != 0; candidates &= candidates - 1) {
		int i = __builtin_ctzll(candidates);

		if (strcmp(name, cmr_hook_table[i].name) == 0)
			return (enum cmr_hook_index)i;
	}
	return CMR_N_HOOKS;
}

struct search {
	const char *name;
	uintptr_t value; /* what dlsym said; then the definition */
	bool at_program; /* the next object is the first one, the program itself */
	bool is_stub;    /* VALUE lies in the program, which does not define NAME */
	bool is_ifunc;   /* the definition must be asked for its value */
	char file[4096]; /* where it is */
};

static int look_into(struct dl_phdr_info *info, size_t size, void *data)
{
	struct search *search = data;
	const ElfW(Sym) *symbol;
	struct cmr_elf elf;

	(void)size;
	if (!cmr_elf_read(&elf, info))
		return search->at_program; /* a static program: nothing to correct */
	symbol = cmr_elf_find(&elf, search->name);
	if (search->at_program) {
		search->at_program = false;
		search->is_stub = symbol == NULL && cmr_elf_contains(&elf, search->value, 0);
		return !search->is_stub;
	}
	if (symbol == NULL)
		return 0;
	search->value = elf.base + symbol->st_value;
	search->is_ifunc = ELF64_ST_TYPE(symbol->st_info) == STT_GNU_IFUNC;
	strncpy(search->file, elf.name, sizeof search->file - 1);
	return 1;
}

/* An indirect function's value is what its resolver returns, and how to call that differs between
 * processors: let the loader do it, starting the search at the object that defines it. */
static uintptr_t ask_object(const char *file, const char *name)
{
	void *object = dlopen(file, RTLD_LAZY | RTLD_NOLOAD);
	uintptr_t value;

	if (object == NULL)
		return 0;
	value = (uintptr_t)dlsym(object, name);
	dlclose(object);
	return value;
}

/* Whether FUNCTION, an operator new or delete, is of the object that has the process's malloc. */
static bool is_of_allocator(uintptr_t function)
{
	Dl_info own, allocator;

	return dladdr((void *)function, &own) != 0 &&
	       dladdr((void *)cmr_hook_table[CMR_HOOK_malloc].original, &allocator) != 0 &&
	       own.dli_fbase == allocator.dli_fbase;
}

/* malloc comes first in the list. */
static void resolve_one(struct cmr_hook *hook)
{
	struct search search = { .name = hook->name, .at_program = true };

	search.value = (uintptr_t)dlsym(RTLD_DEFAULT, hook->name);
	if (search.value == 0 || (hook->name[0] == '_' && !is_of_allocator(search.value)))
		return;
	hook->original = search.value;
	dl_iterate_phdr(look_into, &search);
	if (!search.is_stub)
		return;
	hook->canonical = hook->original;
	hook->original = search.value != hook->canonical ? search.value : 0;
	if (search.is_ifunc)
		hook->original = ask_object(search.file, hook->name);
}

#ifdef CMR_DYNAMIC_TLS
uintptr_t cmr_loader_start, cmr_loader_bytes;

static void find_loader(void)
{
	const struct r_debug *debug = dlsym(RTLD_DEFAULT, "_r_debug");
	uintptr_t base = debug != NULL ? debug->r_ldbase : 0;
	const ElfW(Ehdr) *header = (const void *)base;
	const ElfW(Phdr) *segments;

	if (base == 0)
		return;
	segments = (const void *)(base + header->e_phoff);
	cmr_loader_start = base;
	for (unsigned i = 0; i < header->e_phnum; i++)
		if (segments[i].p_type == PT_LOAD)
			cmr_loader_bytes = segments[i].p_vaddr + segments[i].p_memsz;
}
#else
static void find_loader(void)
{
}
#endif

static void resolve_all(void)
{
	find_loader();
	for (int i = 0; i < CMR_N_HOOKS; i++) {
		unsigned char letter = (unsigned char)cmr_hook_table[i].name[0];

		resolve_one(&cmr_hook_table[i]);
		if (cmr_hook_table[i].original != 0)
			hooks_by_letter[letter] |= (uint64_t)1 << i;
	}
	/* Names that this libc lacks left a message there, of this thread. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	dlerror();
#define X(hook, type, parameters)                                                                 \
	cmr_hook_table[CMR_HOOK_##hook].wrapper = (uintptr_t)cmr_hook_##hook;                     \
	cmr_original.hook = (__typeof__(cmr_original.hook))cmr_hook_table[CMR_HOOK_##hook].original;
#define T(hook)                                                                                   \
	cmr_hook_table[CMR_HOOK_##hook].wrapper = (uintptr_t)cmr_hook_##hook;                     \
	cmr_tail_##hook = cmr_hook_table[CMR_HOOK_##hook].original;
	CMR_HOOK_LIST(X, T)
#undef X
#undef T
}

bool cmr_hooks_allocator_is_libc(void)
{
	return cmr_originals_resolve() &&
	       is_of_allocator((uintptr_t)dlsym(RTLD_DEFAULT, "__libc_start_main"));
}

bool cmr_originals_resolve(void)
{
	pthread_once(&resolved_once, resolve_all);
	return cmr_original.malloc != NULL && cmr_original.free != NULL;
}
